#!/usr/bin/env bash
# Power cuts at every call, with random subsets of what was not synced: ./dev long power_cut [STATES] [SEED]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target power_cut >/dev/null
exec build/faults/tests/power_cut --states "${1:-1000000}" --seed "${2:-1}" --jobs "$(nproc)"
