#!/usr/bin/env bash
# clang-tidy over the program's sources (not the tests): tools/check_tidy.sh BUILD_DIR [FILE…]
set -euo pipefail
build=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
# A compiler launcher in front of the compiler would make clang-tidy look at nothing, silently.
database=$(mktemp -d)
trap 'rm -rf "$database"' EXIT
sed -E 's|"command": "[^" ]*ccache |"command": "|' "$build/compile_commands.json" > "$database/compile_commands.json"
if [ $# -eq 0 ]; then
    mapfile -t files < <(git ls-files 'base/*.c' 'tsdb/*.c' 'query/*.c' 'collector/**.c' 'detectors/*.c' 'web/*.c' 'cli/*.c')
else
    files=("$@")
fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-14 -p "$database" --quiet --warnings-as-errors='*' 2>/dev/null |
    grep -v '^$' || [ "${PIPESTATUS[1]}" = 0 ]
