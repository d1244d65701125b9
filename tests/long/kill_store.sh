#!/usr/bin/env bash
# Random SIGKILLs of the store's writer, 200 a directory, each directory with its own seed, one run a core:
# ./dev long kill_store [KILLS] [FIRST SEED]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target store_writer >/dev/null
kills=${1:-100000} first=${2:-1}
last=$((first + (kills + 199) / 200 - 1))
seq "$first" "$last" | xargs -P "$(nproc)" -I SEED sh -c '
    out=$(build/faults/tests/store_writer --kills 200 --life 24 --seed SEED 2>&1) || {
        echo "kill_store: seed SEED failed: $out" >&2
        exit 255
    }
    [ $((SEED % 10)) != 0 ] || echo "kill_store: seed SEED passed" >&2'
echo "kill_store: $(((last - first + 1) * 200)) kills, nothing lost, doubled or altered"
