#!/usr/bin/env bash
# Tail sampling killed and failed at the n-th place and call: ./dev long sample_faults [PERCENT between two n; 0 = every one]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target sample_faults >/dev/null
exec build/faults/tests/sample_faults --step "${1:-0}"
