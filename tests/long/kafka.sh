#!/usr/bin/env bash
# A million messages of a real Kafka broker, broker and server killed 20 times each: ./dev long kafka [MESSAGES] [KILLS] [--group]
set -euo pipefail
cmake --preset release >/dev/null
cmake --build build/release --target telltale >/dev/null
exec node tests/e2e/kafka.mjs --messages "${1:-1000000}" --kills "${2:-20}" --broker-kills "${2:-20}" --binary build/release/telltale "${@:3}"
