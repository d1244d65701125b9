#!/usr/bin/env bash
# One random bit of a store flipped, every question asked: ./dev long bit_flips [FLIPS, 100000 unless said] [SEED]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target bit_flips >/dev/null
exec build/faults/tests/bit_flips --flips "${1:-100000}" --seed "${2:-1}"
