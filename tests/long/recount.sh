#!/usr/bin/env bash
# The sums of cells against a recount of the rows, through everything that happens to a store: ./dev long recount [SEEDS] [STEPS]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target test_recount >/dev/null
exec build/faults/tests/test_recount --seeds "${1:-200}" --steps "${2:-1000}"
