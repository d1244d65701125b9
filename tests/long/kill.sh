#!/usr/bin/env bash
# 200 kills under load with the release program: ./dev long kill [KILLS]
set -euo pipefail
exec node tests/e2e/kill.mjs --kills "${1:-200}" --binary build/release/telltale
