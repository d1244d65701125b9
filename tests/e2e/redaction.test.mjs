// Secrets sent in prompts, attributes, events, logs and resources: nowhere in what the server answers and in no file that it writes; the checker
// judges what was said all the same; and what a model lets out pages somebody.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, program, query, startServer, temporaryDirectory } from "./server.mjs";

let server, receiver;
const told = [];
const home = temporaryDirectory(), config = join(home, "telltale.yaml"), data = join(home, "store");
const hex = (n) => randomBytes(n).toString("hex");
const letters = (n) => randomBytes(n * 4).toString("base64").replace(/[^A-Za-z0-9]/g, "").slice(0, n - 2) + "a7";
const api = (path) => getJson(`${server.web}/api/telltale/v1/${path}`);
const attributes = (o) => Object.entries(o).map(([key, value]) => ({ key, value: typeof value === "string" ? { stringValue: value } : value }));
const start = () => startServer({ data, keep: true, args: ["--config", config] });
const message = (role, content) => JSON.stringify([{ role, parts: [{ type: "text", content }] }]);

const secrets = {
  prompt: `sk-proj-${letters(60)}`,
  answer: `ghp_${letters(36)}`,
  attribute: `AKIA${"ABCDEFGH23456723".split("").sort(() => Math.random() - 0.5).join("")}`,
  event: `hf_${letters(34)}`,
  status: `glpat-${letters(20)}`,
  log: `xoxb-${letters(40)}`,
  resource: `gsk_${letters(52)}`,
  nested: `npm_${letters(36)}`,
  url: `p4ss${letters(12)}`,
};
const card = "4111111111111111", mail = `anna.${letters(6).toLowerCase()}@example.com`, code = `ACME-${hex(4)}`;
const kept = `bob.${letters(6).toLowerCase()}@example.com`;
const trace = hex(16), other = hex(16), document = `The Alpine Hotel opened in 1962. Write to ${mail}.`;

function span(id, name, a, more = {}, of = trace) {
  const end = Date.now();
  return { traceId: of, spanId: id, name, kind: 3, startTimeUnixNano: `${end - 100}000000`, endTimeUnixNano: `${end}000000`, attributes: attributes(a), ...more };
}

async function send(signal, service, rows) {
  const resource = { attributes: attributes({ "service.name": service, "deploy.token": secrets.resource }) };
  const body = signal === "traces" ? { resourceSpans: [{ resource, scopeSpans: [{ spans: rows }] }] } : { resourceLogs: [{ resource, scopeLogs: [{ logRecords: rows }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/${signal}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.text());
}

const retriever = (of = trace) => span(hex(8), "retrieve", { "gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": JSON.stringify([{ id: "1", content: document }]) }, {}, of);
const call = (id, answer, of = trace) =>
  span(id, `chat ${secrets.prompt}`, {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.response.id": `r-${id}`, "user.email": kept,
    "gen_ai.input.messages": message("user", `My key is ${secrets.prompt}, my card ${card}, ${code}. Who answers at ${mail}?`),
    "gen_ai.output.messages": message("assistant", answer), "db.connection": `postgres://app:${secrets.url}@db.internal/x`, "aws.id": secrets.attribute,
    "tool.arguments": { kvlistValue: { values: attributes({ token: secrets.nested }) } },
  }, {
    status: { code: 2, message: `refused ${secrets.status}` },
    events: [{ timeUnixNano: `${Date.now()}000000`, name: "exception", attributes: attributes({ "exception.message": `bad token ${secrets.event}` }) }],
  }, of);

// Text blocks are compressed: what lies in sealed parts is asked for through the doors; raw bytes are looked at in the journal and wherever else.
function placesOf(values, folder = data) {
  const places = [];
  for (const file of readdirSync(folder, { recursive: true }).map((f) => join(folder, f)).filter((f) => statSync(f).isFile())) {
    const bytes = readFileSync(file);
    for (const [where, value] of Object.entries(values)) if (bytes.includes(value)) places.push(`${where} in ${file}`);
  }
  return places;
}
const answers = async () => {
  const pages = [`traces/${trace}`, `traces/${other}`, "logs?limit=100", "services"];
  const texts = [];
  for (const p of pages) texts.push(await (await fetch(`${server.web}/api/telltale/v1/${p}`)).text());
  texts.push(await (await fetch(`${server.web}/metrics`)).text());
  texts.push(JSON.stringify(await query(server, '{__name__=~".+"}')));
  return texts.join("\n");
};

before(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      told.push(...JSON.parse(body).alerts);
      response.end();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => receiver.once("listening", resolve));
  writeFileSync(config, `grounding: {model: lexical, sample: 100%}
receivers:
  - {name: team, url: "http://127.0.0.1:${receiver.address().port}/hook", allow_private: true}
redaction:
  services:
    open: {actions: {email: keep, github_token: keep}}
    shut: {actions: {email: hash, openai_key: drop}}
  patterns:
    - {name: acme_code, pattern: "ACME-[0-9a-f]{8}"}
`);
  server = await start();
});
after(async () => {
  receiver?.close();
  await server?.stop();
});

const answer = `The Alpine Hotel opened in 1962. Napoleon stayed there twice. Ask ${mail} with ${secrets.answer}.`;
const callId = hex(8);

test("what was sent is in no answer and in no file, before and after sealing", async () => {
  await send("traces", "hotel", [retriever()]);
  await send("traces", "hotel", [call(callId, answer)]);
  await send("logs", "hotel", [
    { timeUnixNano: `${Date.now()}000000`, severityNumber: 9, body: { stringValue: `connecting with ${secrets.log}` }, attributes: attributes({ "slack.token": secrets.log }), traceId: trace },
    { timeUnixNano: `${Date.now()}000000`, body: { kvlistValue: { values: attributes({ deep: `the card is ${card}` }) } } },
  ]);
  const all = { ...secrets, card, mail, code };
  const { body } = await api(`traces/${trace}`);
  const text = JSON.stringify(body);
  for (const [where, value] of Object.entries(all)) assert.ok(!text.includes(value), `${where} is in the trace`);
  for (const kind of ["OPENAI_KEY", "GITHUB_TOKEN", "AWS_ACCESS_KEY", "HUGGINGFACE_TOKEN", "GITLAB_TOKEN", "NPM_TOKEN", "GROQ_KEY", "URL_PASSWORD", "CARD", "EMAIL", "ACME_CODE"])
    assert.match(text, new RegExp(`${kind}_[0-9]+`), kind);
  assert.ok(text.includes(kept), "an address that costs are told apart by stays, outside of content");
  const said = await answers();
  for (const [where, value] of Object.entries(all)) assert.ok(!said.includes(value), `${where} is in an answer`);
  assert.deepEqual(placesOf(all), []);
  await server.stop(); // seals
  assert.deepEqual(placesOf(all), []);
  server = await start();
  const sealed = await answers();
  for (const [where, value] of Object.entries(all)) assert.ok(!sealed.includes(value), `${where} is in an answer after sealing`);
});

test("one value has one placeholder in context and answer, and another in another trace", async () => {
  const marks = (body) => new Set(JSON.stringify(body).match(/<EMAIL_[0-9]+>/g));
  const here = marks((await api(`traces/${trace}`)).body);
  assert.equal(here.size, 1, [...here].join());
  await send("traces", "hotel", [retriever(other)]);
  await send("traces", "hotel", [call(hex(8), `Write to ${mail}.`, other)]);
  const there = marks((await api(`traces/${other}`)).body);
  assert.equal(there.size, 1);
  assert.notEqual([...here][0], [...there][0]);
});

test("the checker judged what was said, not what is stored", async () => {
  // in this service the document goes as a whole: of what is stored nothing could be checked
  const of = hex(16), id = hex(8), said = JSON.stringify([{ id: "1", content: `The Alpine Hotel opened in 1962. ${secrets.prompt}` }]);
  await send("traces", "shut", [span(hex(8), "retrieve", { "gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": said }, {}, of)]);
  await send("traces", "shut", [call(id, answer, of)]);
  const verdict = await eventually(async () => (await api(`grounding/traces/${of}`)).body.verdicts[0], 20000);
  assert.equal(verdict.span_id, id);
  assert.equal(verdict.flagged, true);
  const { body } = await api(`traces/${of}`);
  assert.ok(!JSON.stringify(body).includes("opened in 1962. sk-"), "the document is not stored");
  assert.match(JSON.stringify(body), /OPENAI_KEY_DROPPED/);
  assert.deepEqual(placesOf(secrets), []);
});

test("what a model let out pages within a minute, with kind, count and service and never the value", async () => {
  const page = await eventually(async () => told.find((a) => a.labels.condition === "sensitive_output" && a.labels.subject.startsWith("github_token")), 60000);
  assert.equal(page.labels.severity, "page");
  assert.match(page.annotations.summary, /answers of hotel: [0-9]+ times github_token since 2/);
  assert.ok(!told.some((a) => a.labels.condition === "sensitive_output" && /openai_key|email/.test(a.labels.subject)), "a prompt is no answer, an address no alarm");
  for (const value of Object.values({ ...secrets, card, mail })) assert.ok(!JSON.stringify(told).includes(value));
  const series = await query(server, 'llm_sensitive_output_total{service="hotel",class="github_token"}');
  assert.equal(series[0].value, 1);
  const masked = await query(server, 'sum by (class, action) (telltale_redactions_total{service="hotel",class="openai_key"})');
  assert.equal(masked[0].labels.action, "mask");
});

test("a service may keep, hash or drop what others mask", async () => {
  const open = hex(16), shut = hex(16), shut2 = hex(16);
  await send("traces", "open", [call(hex(8), `Ask ${mail} with ${secrets.answer}`, open)]);
  await send("traces", "shut", [call(hex(8), `Ask ${mail}`, shut)]);
  await send("traces", "shut", [call(hex(8), `Ask ${mail}`, shut2)]);
  const of = async (id) => JSON.stringify((await api(`traces/${id}`)).body);
  const text = await of(open), one = await of(shut), two = await of(shut2);
  assert.ok(text.includes(mail) && text.includes(secrets.answer), "named kinds are kept");
  assert.ok(!text.includes(secrets.prompt), "and no others");
  const mark = /<EMAIL:[a-p]{16}>/;
  assert.equal(mark.exec(one)[0], mark.exec(two)[0], "a hash is the same in every trace");
  assert.match(one, /<OPENAI_KEY_DROPPED>/);
  assert.ok(!one.includes("Who answers at"), "the whole text is gone");
});

test("a pattern that is wrong is an error of the start that names it", async () => {
  const check = (patterns) => {
    const file = join(home, "bad.yaml");
    writeFileSync(file, `redaction:\n  patterns:\n${patterns}\n`);
    return spawnSync(program, ["check-config", "--config", file], { encoding: "utf8" });
  };
  for (const [name, pattern, why] of [["broken", "(", /broken/], ["empty", "a*", /empty/], ["huge", "(a{1,500}b{1,500}){1,500}", /huge/]]) {
    const r = check(`    - {name: ${name}, pattern: "${pattern}"}`);
    assert.equal(r.status, 2, r.stdout + r.stderr);
    assert.match(r.stderr, why);
    assert.match(r.stderr, /bad\.yaml:3/);
  }
  assert.equal(check('    - {name: fine, pattern: "X[0-9]{4}"}').status, 0);
});

test("the search for raw bytes can fail: switched off, what was sent is on disk", async () => {
  const file = join(home, "off.yaml"), folder = join(home, "off"), was = server;
  writeFileSync(file, "redaction: {enabled: false}\n");
  server = await startServer({ data: folder, keep: true, args: ["--config", file] });
  try {
    await send("traces", "hotel", [call(hex(8), answer)]);
    assert.ok(placesOf({ prompt: secrets.prompt, status: secrets.status }, folder).length >= 2);
  } finally {
    await server.stop();
    server = was;
  }
});
