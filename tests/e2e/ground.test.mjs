// `telltale ground`: a checker made from judged data, measured, and asked, as people and scripts do it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { program, temporaryDirectory } from "./server.mjs";

const home = temporaryDirectory();
process.on("exit", () => rmSync(home, { recursive: true, force: true }));
const model = join(home, "model");
const data = join(home, "data");

const telltale = (args, input) => spawnSync(program, ["ground", ...args], { encoding: "utf8", input, maxBuffer: 1 << 28 });
const towns = ["Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Tunis"];

// Contexts that name a town and a year; of two responses one names another town.
function judged(i) {
  const [town, other, year] = [towns[i % 8], towns[(i + 3) % 8], 1900 + (i % 97)];
  return {
    source_id: i,
    source: i % 2 ? `House ${i} stands in ${town}. It was built in ${year} by masons. Many people like it.` : { name: `House ${i}`, town, built: year, garden: i % 4 === 0 },
    responses: [
      { response: `The house stands in ${town}. It was built in ${year}.`, labels: [] },
      { response: `The house stands in ${other}. It was built in ${year}.`, labels: [{ start: 20, end: 20 + other.length }] },
    ],
  };
}

before(() => {
  mkdirSync(join(data, "more"), { recursive: true });
  writeFileSync(join(data, "houses.jsonl"), Array.from({ length: 120 }, (_, i) => JSON.stringify(judged(i))).join("\n") + "\n");
  writeFileSync(join(data, "more", "one.jsonl"), JSON.stringify({ set: "more", context: "A cat sat.", response: "A dog sat.", spans: [[2, 5]], label: 1 }) + "\n");
  const trained = telltale(["train", data, "--out", model]);
  assert.equal(trained.status, 0, trained.stderr);
});

test("eval prints a row a task, with figures of sources that were not learned from", () => {
  const r = telltale(["eval", data]);
  assert.equal(r.status, 0, r.stderr);
  const all = /^all\s+240\s+0\.500 \|\s+([\d.]+)/m.exec(r.stdout);
  assert.ok(all, r.stdout);
  assert.ok(Number(all[1]) > 0.95, r.stdout);
});

test("score answers a line a response, in code points, and names bad lines while the rest goes on", () => {
  const wrong = "🏠 The house stands in Lima.";
  const lines = [
    JSON.stringify({ source_id: "a", source: "House 7 stands in Paris. It was built in 1931.", responses: [{ response: "The house stands in Paris." }, { response: `Żółw. ${wrong}` }, { response: "" }] }),
    "{not json",
    JSON.stringify({ source_id: 9, source: { name: "House 9", town: "Rome" }, responses: [{ response: "The house stands in Rome." }] }),
    JSON.stringify({ source_id: 10, source: ["House 10 stands in Oslo.", "It is red."], responses: [{ response: "The house stands in Oslo." }] }),
    JSON.stringify({ source_id: 11, source: { question: "Where is it?", passages: "passage 1: House 11 stands in Lima." }, responses: [{ response: "The house stands in Lima." }] }),
    JSON.stringify({ source_id: 12, source: "", responses: [{ response: "The house stands in Lima." }] }),
    JSON.stringify({ source_id: 13, responses: 4 }),
  ];
  const file = join(home, "score.jsonl");
  writeFileSync(file, lines.join("\n"));
  const r = telltale(["score", file, "--model", model]);
  assert.equal(r.status, 1);
  assert.match(r.stderr, /score\.jsonl, line 2: /);
  assert.match(r.stderr, /score\.jsonl, line 7: /);
  assert.match(r.stderr, /7 responses scored, 0 not, 2 bad lines/);
  const out = r.stdout.trim().split("\n").map((l) => JSON.parse(l));
  assert.deepEqual(out.map((o) => [o.source_id, o.response]), [["a", 0], ["a", 1], ["a", 2], [9, 0], [10, 0], [11, 0], [12, 0]]);
  const [good, bad, empty, json, list, qa, bare] = out;
  assert.ok(bad.probability > good.probability);
  const points = [...`Żółw. ${wrong}`];
  const last = bad.sentences.at(-1);
  assert.equal(points.slice(last.start, last.end).join(""), wrong);
  for (const s of bad.spans) assert.ok(s.start < s.end && s.end <= points.length && s.probability <= 1);
  assert.equal(good.sentences[0].evidence[0].text, "House 7 stands in Paris.");
  assert.deepEqual([empty.status, empty.probability, empty.flagged], ["nothing_to_judge", null, false]);
  assert.equal(json.sentences[0].evidence[0].text, "Rome");
  assert.equal(list.sentences[0].evidence[0].document, 0);
  assert.equal(qa.status, "judged");
  assert.deepEqual([bare.status, bare.probability, bare.flagged], ["unverifiable", null, false]);
});

test("one response is judged for people, and a control character does not reach the terminal", () => {
  writeFileSync(join(home, "context"), "House 7 stands in Paris. It was built in 1931.");
  writeFileSync(join(home, "response"), "Sure! Here is the answer:\nThe house stands in Lima. \u001b[31mIt was built in 1931.");
  const r = telltale(["--context", join(home, "context"), "--response", join(home, "response"), "--model", model]);
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stdout, /^flagged: \d+ %/);
  assert.match(r.stdout, /says nothing to check/);
  assert.match(r.stdout, /It was built in 1931\.\n\s+\d+ % of it: It was built in 1931\./);
  assert.ok(!r.stdout.includes("\u001b"));
  const empty = telltale(["--context", "/dev/null", "--response", join(home, "response"), "--model", model]);
  assert.match(empty.stdout, /^unverifiable/);
});

test("the model that the program carries judges without a file being named", { skip: !existsSync(new URL("../../models/telltale-ground.safetensors", import.meta.url)) }, () => {
  const r = telltale(["score", "-"], JSON.stringify({ source_id: 1, source: "The tower is 330 metres tall and stands in Paris.", responses: [{ response: "The tower stands in Paris." }, { response: "Norman Foster finished the bridge in 1905." }] }));
  assert.equal(r.status, 0, r.stderr);
  const [good, bad] = r.stdout.trim().split("\n").map((l) => JSON.parse(l));
  assert.ok(bad.probability > good.probability && bad.flagged, r.stdout);
});

test("what is missing or wrong is said in a sentence", () => {
  assert.equal(telltale([]).status, 2);
  assert.equal(telltale(["train", data]).status, 2);
  const none = telltale(["score", "-", "--model", join(home, "none")], "");
  assert.equal(none.status, 1);
  assert.match(none.stderr, /cannot be read/);
  const wrong = telltale(["score", "-", "--model", join(home, "context")], "");
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /telltale ground: \S+/);
  assert.equal(telltale(["score", join(home, "absent.jsonl"), "--model", model]).status, 1);
});
