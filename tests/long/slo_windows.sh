#!/usr/bin/env bash
# Objectives with windows of 30 days over as many days of stored cells: ./dev long slo_windows [OBJECTIVES] [DIR]
set -euo pipefail
cmake --preset release -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/release --target bench_slo_windows >/dev/null
exec build/release/tests/bench_slo_windows --slos "${1:-10000}" --dir "${2:-/tmp}"
