// New log records as they come in, over the connection that asked for them.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { eventually, sleep, startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

async function sendLogs(service, bodies, severityNumber = 9) {
  const logRecords = bodies.map((text) => ({ timeUnixNano: String(BigInt(Date.now()) * 1000000n), severityNumber, body: { stringValue: text }, attributes: [{ key: "kind", value: { stringValue: "x" } }] }));
  const resource = { attributes: [{ key: "service.name", value: { stringValue: service } }] };
  const answer = await fetch(`${server.otlpHttp}/v1/logs`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] }) });
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {});
}

// Collects what a tail sends; text() is all of it.
async function tail(query, accept = "text/event-stream") {
  const stop = new AbortController();
  const answer = await fetch(`${server.web}/api/telltale/v1/logs/tail?${query}`, { headers: { accept }, signal: stop.signal });
  let text = "";
  (async () => {
    try {
      for await (const chunk of answer.body) text += Buffer.from(chunk).toString();
    } catch { /* the test has gone away */ }
  })();
  return { answer, text: () => text, stop: () => stop.abort(), rows: () => [...text.matchAll(/^data: (\{.*"time_ns".*\})$/gm)].map((m) => JSON.parse(m[1])) };
}
const gauge = async (name) => Number(new RegExp(`^${name} (\\d+)`, "m").exec(await (await fetch(`${server.web}/metrics`)).text())?.[1]);

test("what matches arrives, what came before or does not match does not", async () => {
  await sendLogs("api", ["before"]);
  const t = await tail("service=api&severity=warn&contains=needle&attr=kind=x");
  assert.equal(t.answer.headers.get("content-type"), "text/event-stream");
  await sendLogs("api", ["a needle of info"]);
  await sendLogs("other", ["a needle elsewhere"], 17);
  await sendLogs("api", ["first needle", "hay"], 13);
  await sendLogs("api", ["second needle"], 17);
  await eventually(() => t.rows().length >= 2);
  await fetch(`${server.web}/api/telltale/v1/admin/flush`, { method: "POST" });
  await sendLogs("api", ["needle behind the flush"], 17);
  await eventually(() => t.rows().length >= 3);
  await sleep(600);
  assert.deepEqual(t.rows().map((r) => [r.body, r.level, r.service]), [["first needle", "warn", "api"], ["second needle", "error", "api"], ["needle behind the flush", "error", "api"]]);
  assert.doesNotMatch(t.text(), /event: dropped/);
  t.stop();
  await eventually(async () => (await gauge("telltale_web_tails")) === 0);
});

test("scripts get a line of JSON for each record", async () => {
  const t = await tail("service=lines", "application/x-ndjson");
  assert.equal(t.answer.headers.get("content-type"), "application/x-ndjson");
  await sendLogs("lines", ["one", "two"]);
  await eventually(() => t.text().includes("two"));
  assert.deepEqual(t.text().split("\n").filter(Boolean).map((l) => JSON.parse(l).body), ["one", "two"]);
  t.stop();
});

test("more than a look shows is dropped, counted and told", async () => {
  const t = await tail("service=flood");
  await sendLogs("flood", Array.from({ length: 2000 }, (_, i) => `record ${i}`));
  const told = await eventually(() => /event: dropped\ndata: (\{.*\})/.exec(t.text()));
  const { dropped, gaps } = JSON.parse(told[1]);
  assert.equal(gaps, 0);
  assert.ok(dropped > 0);
  assert.equal(t.rows().length + dropped, 2000);
  t.stop();
});

test("a reader that does not read is neither kept in memory nor cut off while it lags a little", async () => {
  const url = new URL(server.web);
  const socket = connect({ host: url.hostname, port: url.port });
  socket.pause();
  socket.write(`GET /api/telltale/v1/logs/tail?service=slow HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`);
  await eventually(async () => (await gauge("telltale_web_tails")) >= 1);
  for (let i = 0; i < 12; i++) {
    await sendLogs("slow", Array.from({ length: 400 }, (_, k) => `${i} ${k} ${"x".repeat(1000)}`));
    await sleep(300);
  }
  await eventually(async () => /telltale_web_tail_rows_total\{result="dropped"\} [1-9]/.test(await (await fetch(`${server.web}/metrics`)).text()));
  assert.equal(await gauge("telltale_web_tails"), 1);
  let text = "";
  socket.on("data", (chunk) => (text += chunk));
  socket.resume();
  await eventually(() => text.includes("event: dropped"));
  socket.destroy();
  await eventually(async () => (await gauge("telltale_web_tails")) === 0);
});

test("a filter that is none is refused", async () => {
  const answer = await fetch(`${server.web}/api/telltale/v1/logs/tail?severity=loud`);
  assert.equal(answer.status, 400);
  assert.match((await answer.json()).error, /severity: trace, debug/);
});
