#!/usr/bin/env bash
# SIGKILL at each named place of the store, N times at different moments: ./dev long kill_points [N]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target kill_points >/dev/null
exec build/faults/tests/kill_points --times "${1:-100}"
