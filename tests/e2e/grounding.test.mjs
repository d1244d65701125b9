// From a trace of a RAG application to a verdict, a label and a rate: with the judge that needs no model, so that the path itself is what is tested.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, query, startServer, temporaryDirectory } from "./server.mjs";

let server;
const home = temporaryDirectory(), config = join(home, "telltale.yaml"), data = join(home, "store");
const api = (path, options) => getJson(`${server.web}/api/telltale/v1/${path}`, options);
const post = (path, body) => api(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const hex = (n) => randomBytes(n).toString("hex");
const attributes = (o) => Object.entries(o).map(([key, v]) => ({ key, value: typeof v === "number" ? { intValue: String(v) } : { stringValue: v } }));
const document = "The Alpine Hotel opened in 1962. It has forty rooms and a garden.";

function span(trace, id, name, a, ms) {
  const end = Date.now() - 1000 + ms;
  return { traceId: trace, spanId: id, name, kind: 3, startTimeUnixNano: `${end - 100}000000`, endTimeUnixNano: `${end}000000`, attributes: attributes(a) };
}

async function send(service, spans) {
  const body = { resourceSpans: [{ resource: { attributes: attributes({ "service.name": service }) }, scopeSpans: [{ spans }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
}

const retriever = (trace, id) => span(trace, id, "retrieve", { "gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": JSON.stringify([{ id: "1", content: document }]) }, 0);
const call = (trace, id, answer, more = {}) =>
  span(trace, id, "chat gpt-4o", {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.response.id": `r-${id}`,
    "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
    "gen_ai.input.messages": JSON.stringify([{ role: "user", parts: [{ type: "text", content: "When did it open?" }] }]),
    "gen_ai.output.messages": JSON.stringify([{ role: "assistant", parts: [{ type: "text", content: answer }] }]), ...more,
  }, 500);

const bad = hex(16), badCall = hex(8), source = hex(8), plain = hex(16);
const answer = "The Alpine Hotel opened in 1962. Napoleon stayed there twice.";

before(async () => {
  writeFileSync(config, "grounding:\n  model: lexical\n  sample: 100%\n  services: {muted: 0}\n");
  server = await startServer({ data, keep: true, args: ["--config", config] });
});
after(async () => {
  await server?.stop();
});

test("a sentence that no document of the trace supports is found, with what comes nearest", async () => {
  await send("hotel", [retriever(bad, source)]);
  await send("hotel", [call(bad, badCall, answer)]);
  await send("hotel", [call(plain, hex(8), "I open at nine.")]);
  await send("muted", [retriever(hex(16), hex(8)), call(hex(16), hex(8), answer)]);
  const verdict = await eventually(async () => (await api(`grounding/traces/${bad}`)).body.verdicts[0], 20000);
  assert.equal(verdict.span_id, badCall);
  assert.equal(verdict.flagged, true);
  assert.equal(verdict.inclusion, 1);
  assert.equal(verdict.question, "When did it open?");
  assert.equal(verdict.segments.map((s) => s.text).join(""), answer);
  const [good, , wrong] = verdict.segments;
  assert.equal(good.text, "The Alpine Hotel opened in 1962.");
  assert.equal(good.unsupported, false);
  assert.equal(good.evidence[0].text, "The Alpine Hotel opened in 1962.");
  assert.equal(good.evidence[0].span_id, source);
  assert.equal(wrong.text, "Napoleon stayed there twice.");
  assert.equal(wrong.unsupported, true);
});

test("the record follows the conventions, and the counters tell what was checked and what could not be", async () => {
  await eventually(async () => (await query(server, "sum(llm_grounding_unverifiable_total)"))[0]?.value === 1, 20000);
  const sums = await query(server, "sum by (service) (llm_grounding_checked_total)");
  assert.deepEqual(sums.map((s) => [s.labels.service, s.value]), [["hotel", 1]]);
  assert.equal((await query(server, 'llm_grounding_flagged_total{service="hotel",model="gpt-4o",operation="chat",job="telltale"}'))[0].value, 1);
  assert.ok((await query(server, "llm_grounding_score"))[0].histogram);
  const { body } = await api("grounding");
  assert.equal(body.checker.running, true);
  assert.equal(body.checker.detector, "lexical-1");
  const hotel = body.services.find((s) => s.service === "hotel");
  assert.equal(hotel.requests, 2);
  assert.equal(hotel.checkable_share, 0.5);
  assert.equal(hotel.checked_share, 0.5);
  assert.equal(body.services.find((s) => s.service === "muted").sample, 0);
  assert.equal(body.streams[0].rate, null, "no rate without labels");
});

test("a person's word is taken once, by trace or by response, and outlives a kill", async () => {
  const first = await post("feedback", { trace_id: bad, span_id: badCall, label: "hallucinated", annotator: "ann" });
  assert.equal(first.status, 200, JSON.stringify(first.body));
  assert.deepEqual([first.body.judged, first.body.new], [true, true]);
  const again = await post("feedback", { response_id: `r-${badCall}`, label: "hallucinated" });
  assert.deepEqual([again.body.trace_id, again.body.new, again.body.changed], [bad, false, false]);
  assert.equal((await post("feedback", { response_id: "r-none", label: "supported" })).status, 404);
  assert.equal((await post("feedback", { trace_id: bad, label: "perhaps" })).status, 400);
  assert.equal((await post("feedback", { label: "supported" })).status, 400);
  assert.equal((await post("feedback", { trace_id: "xyz", label: "supported" })).status, 400);
  assert.equal((await query(server, 'sum(llm_feedback_total{label="hallucinated"})'))[0].value, 1);
  await server.kill();
  server = await startServer({ data, keep: true, args: ["--config", config] });
  assert.equal((await api(`grounding/traces/${bad}`)).body.verdicts[0].label, "hallucinated");
  assert.equal((await api("grounding")).body.streams[0].labels.hallucinated, 1);
});

test("a rate comes with its interval once there are labels enough", async () => {
  const calls = Array.from({ length: 40 }, (_, i) => ({ trace: hex(16), id: hex(8), wrong: i % 4 === 0 }));
  for (const c of calls)
    await send("hotel", [retriever(c.trace, hex(8)), call(c.trace, c.id, c.wrong ? answer : "It has forty rooms and a garden.")]);
  for (const c of calls)
    await eventually(async () => (await post("feedback", { response_id: `r-${c.id}`, label: c.wrong ? "hallucinated" : "supported" })).status === 200, 20000);
  const stream = (await api("grounding?service=hotel")).body.streams[0];
  assert.equal(stream.labels.n, 41);
  assert.equal(stream.rate.method, "ppi++");
  assert.ok(stream.rate.low <= 11 / 41 && 11 / 41 <= stream.rate.high, JSON.stringify(stream.rate));
  assert.equal(stream.calibration.method, "platt");
});

test("what waits to be checked is never on disk", async () => {
  const secret = `secret${hex(12)}`;
  const trace = hex(16);
  await send("hotel", [call(trace, hex(8), "It opened in 1962.", { "gen_ai.retrieval.documents": JSON.stringify([{ content: `${secret} opened in 1962.` }]) })]);
  await eventually(async () => (await api(`grounding/traces/${trace}`)).body.verdicts.length === 1, 20000);
  // the span itself is stored as it was sent; no record of a verdict says its text
  const { body } = await api(`traces/${trace}`);
  assert.ok(JSON.stringify(body).includes(secret));
  const files = readdirSync(data, { recursive: true }).map((f) => join(data, f)).filter((f) => statSync(f).isFile());
  const record = files.map((f) => readFileSync(f)).find((b) => b.includes("telltale.grounding.sentences"));
  assert.ok(record, "the records are in the journal");
  for (const b of files.map((f) => readFileSync(f)))
    for (let at = b.indexOf("telltale.grounding.sentences"); at >= 0; at = b.indexOf("telltale.grounding.sentences", at + 1))
      assert.ok(!b.subarray(at, at + 400).includes(secret));
});

test("the model in the program judges, with no word of configuration but the share", async (t) => {
  const own = await startServer({ args: ["--grounding-sample", "100%"] });
  try {
    const ask = async (path) => (await getJson(`${own.web}/api/telltale/v1/${path}`)).body;
    const { checker } = await eventually(async () => { const r = await ask("grounding"); return (r.checker.running || r.checker.error) && r; }, 20000);
    if (!checker.running) return t.skip(checker.error);
    const trace = hex(16), id = hex(8), was = server;
    server = own; // send() and query() go to it
    try {
      await send("hotel", [retriever(trace, hex(8)), call(trace, id, answer)]);
      const verdict = await eventually(async () => (await ask(`grounding/traces/${trace}`)).verdicts[0], 30000);
      assert.notEqual(verdict.detector, "lexical-1");
      assert.equal(verdict.segments.map((s) => s.text).join(""), answer);
      const [first, last] = verdict.segments.filter((s) => s.kind === "claim");
      assert.ok(last.probability > first.probability, JSON.stringify(verdict.segments));
      assert.equal((await query(own, "sum(llm_grounding_checked_total)"))[0].value, 1);
    } finally {
      server = was;
    }
  } finally {
    await own.stop();
  }
});
