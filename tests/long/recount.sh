#!/usr/bin/env bash
# The sums of cells against a recount of the rows, through everything that happens to a store: ./dev long recount [SEEDS] [STEPS] [FIRST SEED]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target test_recount >/dev/null
seeds=${1:-200} steps=${2:-1000} first=${3:-1}
for ((seed = first; seed < first + seeds; seed++)); do
    build/faults/tests/test_recount --seeds 1 --steps "$steps" --first "$seed" >/dev/null ||
        { echo "recount: seed $seed failed: build/faults/tests/test_recount --seeds 1 --steps $steps --first $seed" >&2; exit 1; }
    ((seed % 10)) || echo "recount: seed $seed passed"
done
echo "recount: seeds $first to $((first + seeds - 1)), $steps steps each: every sum is a recount of the rows"
