#!/usr/bin/env bash
# Acknowledgements beside raw fdatasync and, at half the rate, beside a bare LMDB transaction, in the same seconds on the same file system: ./dev long ack [ROUNDS] [DIR]
set -euo pipefail
cmake --preset release -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/release --target bench_ack >/dev/null
exec build/release/tests/bench_ack --rounds "${1:-200}" --dir "${2:-/tmp}"
