#!/usr/bin/env bash
# Random SIGKILLs of the store's writer, fifty a directory, each directory with its own seed: ./dev long kill_store [KILLS]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target store_writer >/dev/null
kills=${1:-100000}
for ((done = 0, seed = 1; done < kills; done += 50, seed++)); do
    build/faults/tests/store_writer --kills 50 --seed "$seed" >/tmp/telltale-kill-store.$$ || {
        cat /tmp/telltale-kill-store.$$ >&2
        echo "kill_store: seed $seed failed after $done kills" >&2
        exit 1
    }
done
rm -f /tmp/telltale-kill-store.$$
echo "kill_store: $done kills, nothing lost, doubled or altered"
