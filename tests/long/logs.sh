#!/usr/bin/env bash
# Bytes on disk for a line of logs, and what it costs to find words in them: ./dev long logs [LINES] [DIR]
set -euo pipefail
cmake --preset release -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/release --target bench_logs >/dev/null
exec build/release/tests/bench_logs --lines "${1:-1000000}" --dir "${2:-/tmp}"
