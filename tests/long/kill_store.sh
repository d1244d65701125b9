#!/usr/bin/env bash
# Random SIGKILLs of the store's writer, 200 a directory, each directory with its own seed, one run a core: ./dev long kill_store [KILLS]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target store_writer >/dev/null
kills=${1:-100000}
seq 1 $(((kills + 199) / 200)) | xargs -P "$(nproc)" -I SEED sh -c '
    out=$(build/faults/tests/store_writer --kills 200 --life 24 --seed SEED 2>&1) || {
        echo "kill_store: seed SEED failed: $out" >&2
        exit 255
    }'
echo "kill_store: $(((kills + 199) / 200 * 200)) kills, nothing lost, doubled or altered"
