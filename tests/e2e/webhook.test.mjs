// An outage burns the budget: the page arrives signed, is sent again after two refusals with the same key, and says what burns.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, getJson, startServer, temporaryDirectory } from "./server.mjs";

const secret = Buffer.from("a secret of thirty-two bytes long");
let server, receiver;
const attempts = [];

before(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      attempts.push({ headers: request.headers, body, at: Date.now() });
      response.writeHead(attempts.length <= 2 ? 500 : 200);
      response.end();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => receiver.once("listening", resolve));
  const data = temporaryDirectory();
  const config = join(data, "telltale.yaml"), slo = join(data, "slo.yaml");
  writeFileSync(slo, `apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-answers
spec:
  service: checkout
  indicator:
    metadata:
      name: answers
    spec:
      llm:
        indicator: availability-request
        service: checkout
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.995
`);
  writeFileSync(config, `slos: [${slo}]
receivers:
  - name: team
    url: http://127.0.0.1:${receiver.address().port}/hook
    secrets: ["whsec_${secret.toString("base64")}"]
    allow_private: true
`);
  server = await startServer({ data: join(data, "store"), args: ["--config", config] });
});
after(async () => {
  receiver?.close();
  await server?.stop();
});

async function sendRequests(n, failing, minutesAgo) {
  const end = BigInt(Date.now() - minutesAgo * 60000) * 1000000n;
  const spans = Array.from({ length: n }, () => {
    const hex = (bytes) => randomBytes(bytes).toString("hex");
    return {
      traceId: hex(16), spanId: hex(8), name: "POST /checkout", kind: 2, startTimeUnixNano: String(end - 900000000n), endTimeUnixNano: String(end),
      attributes: [{ key: "http.route", value: { stringValue: "/checkout" } }, { key: "http.response.status_code", value: { intValue: failing ? "503" : "200" } }],
      status: failing ? { code: 2, message: "no answer" } : {},
    };
  });
  const body = { resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "checkout" } }] }, scopeSpans: [{ spans }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
}

test("an outage pages, once, with a signature and a stable key", async () => {
  for (let m = 70; m >= 1; m--) await sendRequests(20, m <= 20, m);
  const delivered = await eventually(() => attempts.length >= 3 && attempts[2], 90000);
  const ids = new Set(attempts.slice(0, 3).map((a) => a.headers["webhook-id"]));
  assert.equal(ids.size, 1, "the idempotency key is the same in every attempt");
  for (const { headers, body } of attempts.slice(0, 3)) {
    const expected = createHmac("sha256", secret).update(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`).digest("base64");
    assert.ok(headers["webhook-signature"].split(" ").includes(`v1,${expected}`), "the signature is that of the body");
    assert.ok(Math.abs(Date.now() / 1000 - Number(headers["webhook-timestamp"])) < 300);
  }
  assert.ok(attempts[1].at > attempts[0].at && attempts[2].at - attempts[1].at >= attempts[1].at - attempts[0].at - 500, "it backs off");
  const message = JSON.parse(delivered.body);
  assert.equal(message.version, "4");
  assert.equal(message.status, "firing");
  const alert = message.alerts[0];
  assert.match(JSON.stringify(alert.labels), /checkout/);
  const told = JSON.stringify(alert.annotations);
  assert.match(told, /1h|5m/, "which window");
  assert.match(told, /burn/i);
  assert.match(told, /budget/i);
});

test("the page's alert list and Prometheus' form show it firing", async () => {
  const { body } = await getJson(`${server.web}/api/v1/alerts`);
  assert.ok(body.data.alerts.some((a) => a.state === "firing"));
  const slos = (await getJson(`${server.web}/api/telltale/v1/slos`)).body;
  assert.match(JSON.stringify(slos), /checkout-answers/);
});
