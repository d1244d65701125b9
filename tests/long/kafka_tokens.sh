#!/usr/bin/env bash
# Token events through a real Kafka broker on this machine, end to end: ./dev long kafka_tokens [EVENTS] [EVENTS A MESSAGE]
set -euo pipefail
cmake --preset release -B build/faults -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/faults --target telltale bench_kafka_tokens >/dev/null
exec node tests/long/kafka_tokens.mjs --binary build/faults/telltale --producer build/faults/tests/bench_kafka_tokens --events "${1:-6000000}" --per "${2:-1}"
