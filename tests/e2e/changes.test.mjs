// What changed: told events and what the calls show come with the alert that they may have caused, and are listed.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, startServer, temporaryDirectory } from "./server.mjs";

let server, receiver;
const bodies = [];

before(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      bodies.push(JSON.parse(body));
      response.end();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => receiver.once("listening", resolve));
  const data = temporaryDirectory(), config = join(data, "telltale.yaml"), slo = join(data, "slo.yaml");
  writeFileSync(slo, `apiVersion: openslo/v1
kind: SLO
metadata: {name: chat-answers}
spec:
  service: chat
  indicator: {metadata: {name: answers}, spec: {llm: {indicator: availability-call, service: chat}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.995}]
`);
  writeFileSync(config, `slos: [${slo}]
receivers:
  - {name: team, url: "http://127.0.0.1:${receiver.address().port}/hook", allow_private: true}
  - {name: pager, type: pagerduty, routing_key: R0123456789abcdef0123456789abcde, url: "http://127.0.0.1:1/", secrets: ["the one of now, made by hand", "the one of before, made by hand"], allow_private: true}
`);
  server = await startServer({ data: join(data, "store"), args: ["--config", config] });
});
after(async () => {
  receiver?.close();
  await server?.stop();
});

// n calls of a version of the service chat, good or failing, that ended minutesAgo.
async function sendCalls(n, { version, model = "gpt-4o", failing = false, minutesAgo }) {
  const end = BigInt(Date.now() - minutesAgo * 60000) * 1000000n, hex = (bytes) => randomBytes(bytes).toString("hex");
  const text = (key, stringValue) => ({ key, value: { stringValue } });
  const spans = Array.from({ length: n }, () => ({
    traceId: hex(16), spanId: hex(8), name: `chat ${model}`, kind: 3, startTimeUnixNano: String(end - 900000000n), endTimeUnixNano: String(end),
    attributes: [text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", model), text("gen_ai.provider.name", "openai"),
      ...(failing ? [text("error.type", "500")] : [{ key: "gen_ai.usage.input_tokens", value: { intValue: "10" } }, { key: "gen_ai.usage.output_tokens", value: { intValue: "10" } }, text("gen_ai.response.finish_reasons", "stop")])],
    status: failing ? { code: 2, message: "no answer" } : {},
  }));
  const body = { resourceSpans: [{ resource: { attributes: [text("service.name", "chat"), text("service.version", version)] }, scopeSpans: [{ spans }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
}
const tell = (event) => fetch(`${server.web}/api/telltale/v1/events`, { method: "POST", body: typeof event === "string" ? event : JSON.stringify(event) });
const list = async (query = "") => (await getJson(`${server.web}/api/telltale/v1/events?${query}`)).body.events;

test("an event that is wrong is refused with what would be right", async () => {
  const wrong = [["{", /./], ["[]", /object/], [{ title: "x" }, /kind/], [{ kind: "De Ploy", title: "x" }, /kind/], [{ kind: "deploy" }, /title/], [{ kind: "deploy", title: 3 }, /title/],
    [{ kind: "deploy", title: "x", link: "javascript:alert(1)" }, /link/], [{ kind: "deploy", title: "x".repeat(301) }, /title/], [{ kind: "deploy", title: "x", at_ms: 1 }, /at_ms/], [{ kind: "deploy", title: "x", at_ms: "now" }, /at_ms/]];
  for (const [event, why] of wrong) {
    const answer = await tell(event);
    assert.equal(answer.status, 400, JSON.stringify(event));
    assert.match((await answer.json()).error, why);
  }
  assert.deepEqual(await list(), []);
  assert.equal((await fetch(`${server.web}/api/telltale/v1/events?from=5&to=4`)).status, 400);
});

test("an alert says what changed before it began, and what that did", async () => {
  const begin = Date.now();
  for (const h of [20, 10, 5, 3]) await sendCalls(50, { version: "1.8.1", minutesAgo: h * 60 });
  for (let m = 100; m >= 21; m--) await sendCalls(20, { version: "1.8.1", minutesAgo: m });
  for (let m = 20; m >= 1; m--) await sendCalls(20, { version: "1.8.2", failing: true, minutesAgo: m });
  for (let m = 40; m >= 30; m--) await sendCalls(3, { version: "1.8.1", model: "gpt-4o-mini", minutesAgo: m });
  const told = await tell({ kind: "deploy", title: "chat 1.8.2", service: "chat", version: "1.8.2", link: "https://ci.example.com/42", by: "ci", at_ms: begin - 22 * 60000 });
  assert.equal(told.status, 200);
  assert.equal((await tell({ kind: "flag", title: "of another service", service: "other", at_ms: begin - 22 * 60000 })).status, 200);

  const found = await list(`service=chat&from=${begin - 3600000}`);
  assert.deepEqual(found.map((e) => [e.kind, e.title, e.found]), [["version", "1.8.2", true], ["deploy", "chat 1.8.2", false], ["model", "gpt-4o-mini", true]]);
  assert.equal(found[0].before, "1.8.1");
  assert.ok(found[0].share > 0.9 && found[2].share < 0.1, "shares of the calls since");
  assert.equal(found[1].link, "https://ci.example.com/42");
  assert.equal((await list(`from=${begin - 3600000}`)).length, 4, "without a service those of all");
  assert.deepEqual((await list(`service=chat&from=${begin - 30 * 3600000}&to=${begin - 26 * 3600000}`)), [], "nothing to compare with, nothing found");

  const alert = await eventually(() => bodies.flatMap((b) => b.alerts).find((a) => a.labels.slo === "chat-answers" && a.annotations.what_changed), 90000);
  const text = alert.annotations.what_changed;
  assert.match(text, /deploy: chat 1\.8\.2 \(bad: 0 % before, \d+(\.\d+)? % after\)/);
  assert.match(text, /new version 1\.8\.2, \d+(\.\d+)? % of the calls since \(before: 1\.8\.1\) \(bad: 0 % before, 100 % after\)/);
  assert.doesNotMatch(text, /another service/);
  const shown = (await getJson(`${server.web}/api/telltale/v1/alerts`)).body.alerts.find((a) => a.slo === "chat-answers" && a.changed);
  assert.equal(shown?.changed, text);
});

test("an event is a log record like any other", async () => {
  const { body } = await getJson(`${server.web}/api/telltale/v1/logs?event=telltale.event&service=chat`);
  assert.deepEqual(body.logs.map((l) => l.body), ["chat 1.8.2"]);
});

test("who acknowledges in PagerDuty acknowledges here; what is not signed does nothing", async () => {
  const find = async () => (await getJson(`${server.web}/api/telltale/v1/alerts`)).body.alerts.find((a) => a.state === "firing" && a.slo === "chat-answers");
  const { fingerprint } = await find();
  const event = (event_type, incident_key = fingerprint) => ({ event: { id: "01", event_type, agent: { type: "user_reference", summary: "Ann Example" }, data: { type: "incident", id: "PGR0VU2", status: "acknowledged", incident_key } } });
  const send = (body, { secret = "the one of before, made by hand", to = "pager", header } = {}) => {
    const text = JSON.stringify(body), signature = createHmac("sha256", secret).update(text).digest("hex");
    return getJson(`${server.web}/pagerduty/${to}`, { method: "POST", headers: { "X-PagerDuty-Signature": header ?? `v1=${"0".repeat(64)},v1=${signature}` }, body: text });
  };
  for (const wrong of [{ secret: "another" }, { to: "team" }, { to: "nobody" }, { header: "" }, { header: "v1=" }]) assert.equal((await send(event("incident.acknowledged"), wrong)).status, 403, JSON.stringify(wrong));
  assert.deepEqual((await send(event("incident.triggered"))).body, { taken: false });
  assert.deepEqual((await send(event("incident.acknowledged", "0".repeat(32)))).body, { taken: false }, "an incident of somebody else's");
  assert.deepEqual((await send({})).body, { taken: false });
  assert.equal((await find()).acknowledged, null);
  assert.deepEqual((await send(event("incident.acknowledged"))).body, { taken: true });
  assert.equal((await find()).acknowledged.by, "Ann Example (PagerDuty)");
  assert.deepEqual((await send(event("incident.resolved"), { secret: "the one of now, made by hand" })).body, { taken: true });
  assert.equal((await find()).acknowledged.by, "Ann Example (PagerDuty)", "the first stays");
});
