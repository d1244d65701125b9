#!/usr/bin/env bash
# 500 generated PromQL queries, and those of ../shared when it is there, against Debian's Prometheus: ./dev long promql [COUNT]
set -euo pipefail
exec python3 tools/promql_compare/promql_compare.py --telltale build/release/telltale --count "${1:-500}" --queries ../shared/bench/queries.txt
