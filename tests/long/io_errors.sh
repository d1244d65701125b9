#!/usr/bin/env bash
# The n-th write, sync and change of a name fails, once and for a while: ./dev long io_errors [PERCENT between two n; 0 = every one]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target io_errors >/dev/null
exec build/faults/tests/io_errors --step "${1:-0}"
