#!/usr/bin/env bash
# Traces by id out of a cold store of 10 million spans (p99 within 20 ms): ./dev long trace_by_id [SPANS] [READS] [DIR]
set -euo pipefail
cmake --preset release -DTELLTALE_TESTS=ON >/dev/null
cmake --build build/release --target bench_trace_by_id >/dev/null
spans="${1:-10000000}"
dir=$(mktemp -d "${3:-/tmp}/telltale-traces-XXXXXX")
trap 'rm -rf "$dir"' EXIT
build/release/tests/bench_trace_by_id --dir "$dir" --make "$spans"
sync
build/release/tests/bench_trace_by_id --dir "$dir" --read "${2:-1000}" --spans "$spans"
