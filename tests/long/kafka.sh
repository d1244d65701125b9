#!/usr/bin/env bash
# A million messages of a real Kafka broker, broker and nodes killed 20 times each:
# ./dev long kafka [MESSAGES] [KILLS] [--static | --group [--stops N]] [--rebalance]
set -euo pipefail
cmake --preset release >/dev/null
cmake --build build/release --target telltale >/dev/null
messages=1000000 kills=20
[[ ${1:-} != [0-9]* ]] || { messages=$1; shift; }
[[ ${1:-} != [0-9]* ]] || { kills=$1; shift; }
exec node tests/e2e/kafka.mjs --messages "$messages" --kills "$kills" --broker-kills "$kills" --binary build/release/telltale "$@"
