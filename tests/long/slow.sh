#!/usr/bin/env bash
# 10,000 slow connections and the other abuses against the release program: ./dev long slow
set -euo pipefail
ulimit -n 25000
TELLTALE=$PWD/build/release/telltale TELLTALE_SLOW_CONNECTIONS=${1:-10000} exec node --test tests/e2e/abuse.test.mjs
