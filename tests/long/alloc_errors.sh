#!/usr/bin/env bash
# The n-th allocation fails, once and for a while: ./dev long alloc_errors [PERCENT between two n; 0 = every one]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target alloc_errors >/dev/null
exec build/faults/tests/alloc_errors --step "${1:-0}"
