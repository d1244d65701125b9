// Alertmanager's API over a burning objective: amtool (where it is installed) lists, silences, expires; the JSON is what Alertmanager's clients read.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { eventually, getJson, sendCheckoutRequests, startServer, temporaryDirectory } from "./server.mjs";

const run = promisify(execFile);
const received = [];
let server, receiver, data, config;

const openslo = (name, llm) => `apiVersion: openslo/v1
kind: SLO
metadata:
  name: ${name}
spec:
  service: checkout
  indicator:
    metadata:
      name: ${name}
    spec:
      llm:
        indicator: ${llm}
        service: checkout
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.995
`;

const send = (...args) => sendCheckoutRequests(server, ...args);

const post = (path, body) => getJson(`${server.web}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const start = () => startServer({ data: join(data, "store"), args: ["--config", config], keep: true });

before(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      received.push({ id: request.headers["webhook-id"], body: JSON.parse(body) });
      response.end();
    });
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  data = temporaryDirectory();
  config = join(data, "telltale.yaml");
  writeFileSync(join(data, "answers.yaml"), openslo("answers", "availability-request"));
  writeFileSync(join(data, "cut.yaml"), openslo("cut", "truncation"));
  writeFileSync(config, `slos: [${join(data, "answers.yaml")}, ${join(data, "cut.yaml")}]
receivers:
  - {name: team, url: "http://127.0.0.1:${receiver.address().port}/hook", allow_private: true}
`);
  server = await start();
});
after(async () => {
  receiver?.close();
  await server?.stop();
});

let silence;
test("a silence that was made before keeps a page back, and survives kill -9", async () => {
  const now = Date.now();
  const made = await post("/api/v2/silences", {
    matchers: [{ name: "service", value: "check.*", isRegex: true, isEqual: true }],
    startsAt: new Date(now).toISOString(), endsAt: new Date(now + 3600000).toISOString(), createdBy: "ann@example.com", comment: "known",
  });
  assert.equal(made.status, 200);
  silence = made.body.silenceID;
  assert.match(silence, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  await server.kill(); // what was answered is kept
  server = await start();
  for (let m = 70; m >= 1; m--) await send(20, m <= 20, m);
  const alerts = await eventually(async () => {
    const { body } = await getJson(`${server.web}/api/v2/alerts?filter=${encodeURIComponent('slo="answers"')}`);
    return body.length && body;
  }, 60000);
  for (const a of alerts) {
    assert.deepEqual(Object.keys(a).sort(), ["annotations", "endsAt", "fingerprint", "generatorURL", "labels", "receivers", "startsAt", "status", "updatedAt"]);
    assert.equal(a.status.state, "suppressed");
    assert.deepEqual(a.status.silencedBy, [silence]);
    assert.deepEqual(a.status.inhibitedBy, []);
    assert.deepEqual(a.receivers, [{ name: "team" }]);
  }
  assert.equal(received.length, 0);
  assert.equal((await getJson(`${server.web}/api/v2/alerts?silenced=false`)).body.length, 0);
  const own = (await getJson(`${server.web}/api/telltale/v1/alerts`)).body.alerts[0];
  assert.equal(own.silenced_by[0].author, "ann@example.com");
  const groups = (await getJson(`${server.web}/api/v2/alerts/groups`)).body;
  assert.deepEqual(groups[0].labels, { alertname: "SLOBurnRate", service: "checkout" });
  assert.deepEqual(groups[0].receiver, { name: "team" });
  const listed = (await getJson(`${server.web}/api/v2/silence/${silence}`)).body;
  assert.equal(listed.status.state, "active");
  assert.deepEqual(listed.matchers, [{ isEqual: true, isRegex: true, name: "service", value: "check.*" }]);
});

test("amtool works against it", async (t) => {
  const tool = (...args) => run("amtool", [`--alertmanager.url=${server.web}`, ...args]);
  if (!(await tool("--version").catch(() => null))) return t.skip("amtool is not installed");
  const listed = await tool("alert", "query", "--silenced", "slo=answers");
  assert.match(listed.stdout, /SLOBurnRate/);
  const made = (await tool("silence", "add", "--author=bob", "--comment=deploy", "--duration=10m", "alertname=NoSuchAlert")).stdout.trim();
  assert.match((await tool("silence", "query", "alertname=NoSuchAlert")).stdout, new RegExp(made));
  await tool("silence", "expire", made);
  assert.doesNotMatch((await tool("silence", "query", "alertname=NoSuchAlert")).stdout, new RegExp(made));
  assert.match((await tool("config", "show").catch((e) => e)).stdout ?? "", /^$|\n/);
});

test("when the silence ends what fires still is told, once", async () => {
  const gone = await fetch(`${server.web}/api/v2/silence/${silence}`, { method: "DELETE" });
  assert.equal(gone.status, 200);
  await eventually(() => received.length >= 1, 30000);
  assert.equal(received[0].body.alerts[0].labels.slo, "answers");
  assert.match(received[0].id, /-team-firing$/);
  assert.equal(new Set(received.map((r) => r.id)).size, received.length);
});

test("the signed link asks, then acknowledges; a forged one does neither", async () => {
  const { fingerprint, annotations } = received[0].body.alerts[0];
  const link = new URL(annotations.acknowledge);
  assert.equal(link.pathname, `/ack/${fingerprint}`);
  const asked = await fetch(link);
  assert.match(await asked.text(), /<form method="post">/);
  const find = async () => (await getJson(`${server.web}/api/telltale/v1/alerts`)).body.alerts.find((a) => a.fingerprint === fingerprint);
  assert.equal((await find()).acknowledged, null, "to look is not to acknowledge");
  const forged = new URL(link);
  forged.searchParams.set("receiver", "other");
  assert.equal((await fetch(forged, { method: "POST" })).status, 403);
  assert.equal((await find()).acknowledged, null);
  assert.equal((await fetch(link, { method: "POST" })).status, 200);
  assert.equal((await find()).acknowledged.by, "link of team");
  const again = await post(`/api/telltale/v1/alerts/${fingerprint}/acknowledge`, { by: "ann" });
  assert.equal(again.status, 200);
  assert.equal((await find()).acknowledged.by, "link of team");
  assert.equal((await post("/api/telltale/v1/alerts/0/acknowledge", { by: "ann" })).status, 404);
});

test("maintenance windows are short and cover no outage; mistakes are sentences", async () => {
  const by = { createdBy: "ann", comment: "deploy" };
  assert.equal((await post("/api/telltale/v1/windows", { slo: "cut", minutes: 30, ...by })).status, 200);
  assert.equal((await post("/api/telltale/v1/windows", { slo: "cut", minutes: 31, ...by })).status, 400);
  assert.equal((await post("/api/telltale/v1/windows", { slo: "answers", minutes: 5, ...by })).status, 403);
  const wrong = await post("/api/v2/silences", { matchers: [{ name: "a", value: "(", isRegex: true }], startsAt: "x", endsAt: "y" });
  assert.equal(wrong.status, 400);
  assert.match(wrong.body, /startsAt/);
  assert.equal((await getJson(`${server.web}/api/v2/silence/nobody`)).status, 404);
  const status = (await getJson(`${server.web}/api/v2/status`)).body;
  assert.equal(status.cluster.status, "disabled");
  assert.deepEqual((await getJson(`${server.web}/api/v2/receivers`)).body, [{ name: "team" }]);
});
