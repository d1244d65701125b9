#!/usr/bin/env python3
"""Who may include whom, file names, READMEs and banned calls.

    check_layers.py ROOT            one line per offence, exit 1 if there is any
    check_layers.py --self-test     proves that each rule can fail
"""
import os
import re
import sys
import tempfile

# folder -> folders whose public headers it may include (besides itself and base)
MAY_INCLUDE = {
    "base": set(),
    "tsdb": set(),
    "gpu": set(),
    "query": {"tsdb"},
    "collector/net": set(),
    "collector/otlp": {"tsdb", "collector/net"},
    "collector/genai": {"tsdb"},
    "collector/tokens": {"tsdb", "collector/otlp"},
    "collector/redact": {"tsdb", "collector/genai"},
    "collector/stage": {"tsdb", "collector/genai", "collector/redact", "collector/tokens"},
    "collector/kafka": {"tsdb", "collector/otlp", "collector/stage", "collector/tokens"},
    "collector": {"tsdb", "collector/net", "collector/otlp", "collector/genai", "collector/stage",
                  "collector/tokens"},
    "detectors": {"query", "tsdb", "gpu"},
    "web": {"query", "detectors", "tsdb", "collector/net"},
    "cli": {"base", "tsdb", "query", "detectors", "web", "collector", "collector/net", "collector/otlp",
            "collector/genai", "collector/redact", "collector/stage", "collector/kafka", "gpu"},
}
BANNED = {
    "strcpy": "memcpy with a checked size, or arena_copy",
    "strcat": "buf_str",
    "sprintf": "snprintf or buf_printf",
    "vsprintf": "vsnprintf",
    "gets": "fgets",
    "strtok": "bytes_find",
    "system": "nothing: Telltale starts no shell",
    "popen": "nothing: Telltale starts no shell",
    "alloca": "an arena",
    "rand": "randombytes_buf for secrets, a seeded generator for tests",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def folder_of(path):
    best = ""
    for folder in MAY_INCLUDE:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def is_public(folder, header):
    name = os.path.basename(folder)
    stem = os.path.basename(header)[:-2]
    return folder == "base" or stem == name or stem.startswith(name + "_")


def strip_comments(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def check_file(path, text, offences):
    folder = folder_of(path)
    for header in INCLUDE.findall(text):
        target = folder_of(header)
        if not target or target == folder or header.endswith(".pb-c.h"):
            continue
        if target != "base" and target not in MAY_INCLUDE[folder]:
            offences.append(f"{path}: {folder}/ may not include {header} (layers, see README.md)")
        elif not is_public(target, header):
            offences.append(f"{path}: {header} is private to {target}/")
    for name in re.findall(r"(?<![A-Za-z0-9_.>])([a-z]+)\s*\(", strip_comments(text)):
        if name in BANNED:
            offences.append(f"{path}: {name}() is banned; use {BANNED[name]}")


def check_tree(root):
    offences, names, folders = [], {}, set()
    for folder in MAY_INCLUDE:
        top = os.path.join(root, folder)
        for file in sorted(os.listdir(top)) if os.path.isdir(top) else []:
            path = f"{folder}/{file}"
            if not file.endswith((".c", ".h", ".cc")):
                continue
            folders.add(folder)
            names.setdefault(file, []).append(path)
            with open(os.path.join(root, path), encoding="utf-8") as f:
                check_file(path, f.read(), offences)
    for file, paths in names.items():
        if len(paths) > 1:
            offences.append(f"{' and '.join(paths)}: file names must be unique")
    for folder in sorted(folders):
        if not os.path.exists(os.path.join(root, folder, "README.md")):
            offences.append(f"{folder}/: has code but no README.md")
    return offences


def self_test():
    cases = [
        ("tsdb/a.c", '#include "query/query.h"\n', "may not include"),
        ("query/b.c", '#include "tsdb/head.h"\n', "is private to"),
        ("base/c.c", "void f(char *p) { strcpy(p, \"x\"); }\n", "is banned"),
    ]
    for path, text, expected in cases:
        offences = []
        check_file(path, text, offences)
        assert any(expected in o for o in offences), (path, offences)
        offences = []
        check_file("query/ok.c", '#include "tsdb/tsdb_read.h"\n/* strcpy(x) */ char *s = "system()";\n', offences)
        assert not offences, offences
    with tempfile.TemporaryDirectory() as root:
        for path in ("base/x.c", "tsdb/x.c"):
            os.makedirs(os.path.join(root, os.path.dirname(path)))
            open(os.path.join(root, path), "w").close()
        found = "\n".join(check_tree(root))
        assert "must be unique" in found and "no README.md" in found, found
    print("each rule can fail")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        sys.exit(0)
    found = check_tree(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(found) if found else "layers, names, READMEs and calls are in order")
    sys.exit(1 if found else 0)
