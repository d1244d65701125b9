// Starts the program under test on free ports and an empty directory, and stops it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const program = process.env.TELLTALE ?? new URL("../../build/dev/telltale", import.meta.url).pathname;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function temporaryDirectory() {
  return mkdtempSync(join(tmpdir(), "telltale-e2e-"));
}

// Resolves with {web, otlpHttp, otlpGrpc, process, stop(), kill(), log()} once the server says that it is ready.
export async function startServer({ data = temporaryDirectory(), args = [], env = {}, keep = false, binary = program, timeoutMs = 30000 } = {}) {
  const any = ["--listen-otlp-grpc", "127.0.0.1:0", "--listen-otlp-http", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];
  const child = spawn(binary, ["serve", "--data", data, ...any, ...args], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let out = "", log = "";
  child.stderr.on("data", (chunk) => (log = (log + chunk).slice(-200000)));
  const exited = new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal })));
  const addresses = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the server was not ready after ${timeoutMs} ms\n${out}${log}`)), timeoutMs);
    child.stdout.on("data", (chunk) => {
      out += chunk;
      const ready = /^ready: web=(\S+) otlp_http=(\S+) otlp_grpc=(\S+)$/m.exec(out);
      if (ready) {
        clearTimeout(timer);
        resolve({ web: ready[1], otlpHttp: ready[2], otlpGrpc: ready[3] });
      }
    });
    exited.then(({ code, signal }) => {
      clearTimeout(timer);
      reject(new Error(`the server ended with ${code ?? signal} before it was ready\n${out}${log}`));
    });
  });
  return {
    ...addresses,
    data,
    process: child,
    exited,
    log: () => log,
    output: () => out,
    // SIGTERM; the server must flush and end with 0.
    async stop() {
      child.kill("SIGTERM");
      const end = await exited;
      if (!keep) rmSync(data, { recursive: true, force: true });
      if (end.code !== 0) throw new Error(`the server ended with ${end.code ?? end.signal}\n${log}`);
      return end;
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

export async function getJson(url, options = {}) {
  const answer = await fetch(url, options);
  const text = await answer.text();
  try {
    return { status: answer.status, headers: answer.headers, body: JSON.parse(text) };
  } catch {
    throw new Error(`${url} answered ${answer.status} and no JSON: ${text.slice(0, 500)}`);
  }
}

// An instant query; resolves with the vector as [{labels, value}].
export async function query(server, expr, time) {
  const at = time === undefined ? "" : `&time=${time}`;
  const { status, body } = await getJson(`${server.web}/api/v1/query?query=${encodeURIComponent(expr)}${at}`);
  if (status !== 200) throw new Error(`${expr}: ${status} ${JSON.stringify(body)}`);
  return body.data.result.map((s) => ({ labels: s.metric, value: s.value ? Number(s.value[1]) : undefined, histogram: s.histogram?.[1] }));
}

// Repeats until check() gives something truthy, or throws what it threw last.
export async function eventually(check, ms = 10000) {
  const end = Date.now() + ms;
  for (;;) {
    try {
      const value = await check();
      if (value) return value;
      if (Date.now() > end) throw new Error("the condition did not come true in time");
    } catch (e) {
      if (Date.now() > end) throw e;
    }
    await sleep(100);
  }
}

// n requests of the service checkout, good or failing, that ended minutesAgo.
export async function sendCheckoutRequests(server, n, failing, minutesAgo) {
  const end = BigInt(Date.now() - minutesAgo * 60000) * 1000000n;
  const hex = (bytes) => randomBytes(bytes).toString("hex");
  const spans = Array.from({ length: n }, () => ({
    traceId: hex(16), spanId: hex(8), name: "POST /checkout", kind: 2, startTimeUnixNano: String(end - 900000000n), endTimeUnixNano: String(end),
    attributes: [{ key: "http.route", value: { stringValue: "/checkout" } }, { key: "http.response.status_code", value: { intValue: failing ? "503" : "200" } }],
    status: failing ? { code: 2, message: "no answer" } : {},
  }));
  const body = { resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "checkout" } }] }, scopeSpans: [{ spans }] }] };
  const answer = await fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
}
