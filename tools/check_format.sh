#!/usr/bin/env bash
# Every C and C++ file is as .clang-format lays it out. `tools/check_format.sh --fix` rewrites those that are not.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files '*.c' '*.h' '*.cc')
if [ "${1:-}" = --fix ]; then
    clang-format-14 -i "${files[@]}"
else
    clang-format-14 --dry-run -Werror "${files[@]}" || { echo "run tools/check_format.sh --fix"; exit 1; }
    echo "${#files[@]} files are in order"
fi
