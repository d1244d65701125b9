// SIGTERM while everything is busy: a demo fleet, queries that are cut off, open streams, flushes. The server ends with 0, soon, and what it
// had acknowledged is there at the next start.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { eventually, getJson, program, query, sleep, startServer, temporaryDirectory } from "./server.mjs";

const spansPerBatch = 5, senders = 4;
const patience = Number(process.env.TELLTALE_PATIENCE ?? 1); // a sanitizer or a busy machine takes its time

function batch(n) {
  const now = BigInt(Date.now()) * 1000000n;
  const spans = Array.from({ length: spansPerBatch }, (_, i) => ({
    traceId: `e${n.toString(16).padStart(31, "0")}`,
    spanId: `e${(n * 100 + i).toString(16).padStart(15, "0")}`,
    name: "chat",
    kind: 3,
    startTimeUnixNano: String(now - 1000000n),
    endTimeUnixNano: String(now),
    attributes: [
      { key: "gen_ai.operation.name", value: { stringValue: "chat" } },
      { key: "gen_ai.request.model", value: { stringValue: "gpt-4o-mini" } },
    ],
  }));
  const resource = { attributes: [{ key: "service.name", value: { stringValue: "shutdown" } }] };
  return JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] });
}

// Runs work() again and again until the server is gone; a refused or broken connection is what a stopping server gives.
async function loop(state, work) {
  while (!state.over) {
    try {
      await work();
    } catch {
      await sleep(5);
    }
  }
}

test("SIGTERM under load: exit code 0, and nothing acknowledged is lost", async () => {
  const data = temporaryDirectory(), state = { over: false, serial: 0, flushes: 0, answers: 0, events: 0 };
  const acknowledged = [];
  const server = await startServer({ data, keep: true, timeoutMs: 30000 * patience });
  const fleet = spawn(program, ["demo", "--endpoint", server.otlpHttp, "--rate", "100", "--history", "10m", "--quiet"], { stdio: "ignore" });
  const get = async (path, ms) => {
    const signal = ms ? AbortSignal.timeout(ms) : undefined;
    await (await fetch(server.web + path, { signal })).text();
    state.answers++;
  };
  const range = () => {
    const now = Date.now() / 1000;
    return `/api/v1/query_range?query=${encodeURIComponent("sum by (service, model) (rate(llm_requests_total[5m]))")}&start=${now - 3600}&end=${now}&step=5`;
  };
  const loops = [
    ...Array.from({ length: senders }, () => loop(state, async () => {
      const n = ++state.serial;
      const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", body: batch(n), headers: { "content-type": "application/json" } });
      if (answer.status === 200) acknowledged.push(n);
      else await sleep(20);
    })),
    loop(state, () => get(`/api/v1/query?query=${encodeURIComponent("sum(rate(llm_requests_total[5m]))")}`)),
    loop(state, () => get(range())),
    loop(state, () => get(range(), 3)), // gone before the answer
    loop(state, () => get("/api/telltale/v1/oncall")),
    loop(state, () => get("/jaeger/api/traces?service=shutdown&limit=20")),
    loop(state, async () => {
      if ((await fetch(`${server.web}/api/telltale/v1/admin/flush`, { method: "POST" })).ok) state.flushes++;
      await sleep(50);
    }),
    ...[1, 2].map(() => loop(state, async () => {
      for await (const chunk of (await fetch(`${server.web}/api/telltale/v1/stream`)).body) state.events += chunk.length;
    })),
  ];
  try {
    await eventually(() => state.flushes > 1 && acknowledged.length > 50 && state.answers > 20 && state.events > 0, 60000 * patience);
    const from = Date.now();
    await server.stop(); // throws unless the exit code is 0
    assert.ok(Date.now() - from < 20000 * patience, `${Date.now() - from} ms to stop`);
  } finally {
    state.over = true;
    fleet.kill("SIGKILL");
    server.process.kill("SIGKILL");
    await Promise.all(loops);
  }
  const next = await startServer({ data, keep: true, timeoutMs: 30000 * patience });
  const missing = [];
  for (const n of acknowledged) {
    const { status, body } = await getJson(`${next.web}/jaeger/api/traces/e${n.toString(16).padStart(31, "0")}`);
    const ids = new Set(status === 200 ? body.data[0].spans.map((s) => s.spanID) : []);
    if (ids.size !== spansPerBatch) missing.push(n);
  }
  const calls = (await query(next, 'sum(last_over_time(llm_requests_total{service="shutdown"}[1d]))'))[0]?.value ?? 0;
  await next.stop();
  rmSync(data, { recursive: true, force: true });
  assert.deepEqual(missing, []);
  assert.ok(calls >= acknowledged.length * spansPerBatch, `${calls} calls of ${acknowledged.length * spansPerBatch}`);
});
