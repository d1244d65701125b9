// Coding CLIs and agents as they send: the files of tests/fixtures/agents over each protocol their settings allow; then one session of Claude Code,
// Codex and Gemini CLI each, read back turn by turn.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import { after, before, test } from "node:test";
import { eventually, getJson, query, startServer } from "./server.mjs";

const fixtures = new URL("../fixtures/agents/", import.meta.url).pathname;
const t0 = 1795168800000, paths = { spans: "/v1/traces", logs: "/v1/logs", metrics: "/v1/metrics" };
const base = Math.floor(Date.now() / 60000) * 60000 - 600000;

let server;
before(async () => (server = await startServer()));
after(async () => server?.stop());

// What was sent at t0 is sent ten minutes ago; each file's services get a suffix, so that the files do not meet.
function moved(value, suffix, key = "") {
  if (Array.isArray(value)) return value.map((v) => moved(v, suffix));
  if (value && typeof value === "object") {
    if (value.key === "service.name" && suffix) return { ...value, value: { stringValue: value.value.stringValue } };
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, moved(v, suffix, k)]));
  }
  if (typeof value !== "string") return value;
  if (key.endsWith("UnixNano")) return String(BigInt(value) + BigInt(base - t0) * 1000000n);
  if (value.startsWith("2026-11-20T")) return new Date(Date.parse(value) + base - t0).toISOString();
  if (key === "traceId") return Buffer.from(suffix.padEnd(16, "0").slice(0, 16)).toString("hex");
  return value;
}

// Chunked, without Content-Length, as several of them do.
function post(path, body, { type = "application/json", chunked = false, gzip = false } = {}) {
  const data = gzip ? gzipSync(body) : Buffer.from(body);
  return new Promise((resolve, reject) => {
    const headers = { "content-type": type, ...(gzip ? { "content-encoding": "gzip" } : {}), ...(chunked ? { "transfer-encoding": "chunked" } : { "content-length": data.length }) };
    const request = http.request(server.otlpHttp + path, { method: "POST", headers }, (answer) => {
      let text = "";
      answer.on("data", (d) => (text += d));
      answer.on("end", () => resolve({ status: answer.statusCode, text }));
    });
    request.on("error", reject);
    if (chunked) for (let i = 0; i < data.length; i += 700) request.write(data.subarray(i, i + 700));
    request.end(chunked ? undefined : data);
  });
}

// The same request as protobuf, by the project's schema; ids are bytes there.
const require = createRequire(import.meta.url);
const schema = require("protobufjs").loadSync(new URL("../../collector/otlp/proto/otlp.proto", import.meta.url).pathname);
const messages = { spans: "Trace", logs: "Logs", metrics: "Metrics" };
function protobuf(signal, body) {
  const bytes = (v, key = "") => (Array.isArray(v) ? v.map((x) => bytes(x)) : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, bytes(x, k)])) : /^(traceId|spanId|parentSpanId)$/.test(key) ? Buffer.from(v, "hex") : v);
  const type = schema.lookupType(`otlp.Export${messages[signal]}ServiceRequest`);
  return Buffer.from(type.encode(type.fromObject(bytes(body))).finish());
}

function grpc(signal, body) {
  const { Client, credentials } = require("@grpc/grpc-js");
  const client = new Client(server.otlpGrpc.replace(/^\w+:\/\//, ""), credentials.createInsecure());
  const name = messages[signal], path = `/opentelemetry.proto.collector.${name.toLowerCase()}.v1.${name}Service/Export`;
  return new Promise((resolve, reject) => client.makeUnaryRequest(path, (b) => b, (b) => b, protobuf(signal, body), (e, answer) => (client.close(), e ? reject(e) : resolve(answer))));
}

const sum = (series) => series.reduce((total, s) => total + s.value, 0);
const attributes = (o) => Object.entries(o).map(([key, v]) => ({ key, value: typeof v === "number" ? { intValue: String(v) } : typeof v === "boolean" ? { boolValue: v } : { stringValue: v } }));
const nanos = (ms) => `${base + ms}000000`;
const record = (t, body, a) => ({ timeUnixNano: nanos(t), observedTimeUnixNano: nanos(t + 30), body: { stringValue: body }, attributes: attributes(a) });
const logs = (service, scope, logRecords) => JSON.stringify({ resourceLogs: [{ resource: { attributes: attributes({ "service.name": service }) }, scopeLogs: [{ scope: { name: scope }, logRecords }] }] });

test("one call told by log, span and metric over three kinds of request is one call, to the nano-USD", async () => {
  const { requests } = JSON.parse(readFileSync(fixtures + "03_claude_code_metric.json", "utf8"));
  const ways = [{ chunked: true }, { gzip: true }, { chunked: true, gzip: true }];
  for (const [i, r] of requests.entries()) assert.equal((await post(paths[r.signal], JSON.stringify(moved(r.body, "claude-one")), ways[i])).status, 200);
  const value = (name, more = "") => query(server, `last_over_time(${name}{service="claude-code"${more}}[1h])`).then(sum);
  await eventually(async () => (await value("llm_requests_total")) === 1);
  assert.equal(await value("llm_tokens_total", ',type="input"'), 600);
  assert.equal(await value("llm_tokens_total", ',type="output"'), 116);
  assert.equal(await value("llm_usage_unclaimed_tokens_total"), 0);
  const { body } = await getJson(`${server.web}/api/telltale/v1/sessions/s1`);
  assert.equal(body.session.calls, 1);
  assert.equal(body.session.reported_cost_nanousd, 9120000);
  assert.equal(body.session.cost_nanousd, await value("llm_cost_nanousd_total"));
});

test("every file of the fixtures is taken as it stands", async () => {
  for (const name of readdirSync(fixtures).sort()) {
    const { requests } = JSON.parse(readFileSync(fixtures + name, "utf8"));
    for (const r of requests) {
      const answer = await post(paths[r.signal], JSON.stringify(moved(r.body, name)), { chunked: true });
      assert.equal(answer.status, 200, `${name}: ${answer.text}`);
      assert.doesNotMatch(answer.text, /rejected/i, name);
    }
  }
});

// By the settings of docs/agents.md. Each file has services of its own, so that a sum per service is a sum per file.
const clis = [
  ["Claude Code", "01_claude_code_log", "claude-code", { "llm_requests_total": 1, 'llm_tokens_total{type="input"}': 600, 'llm_tokens_total{type="output"}': 116 }],
  ["Codex", "04_codex", "codex_cli_rs", { "llm_requests_total": 2, 'llm_tokens_total{type="input"}': 7290, 'llm_tokens_total{type="output"}': 73 }],
  ["Codex, tools", "05_codex_tool", "codex_exec", { "llm_tool_calls_total": 3, 'llm_tool_calls_total{outcome="ok"}': 1, 'llm_tool_calls_total{outcome="rejected"}': 1 }],
  ["Gemini CLI", "06_gemini_cli", "gemini-cli", { "llm_requests_total": 1, 'llm_tokens_total{type="input"}': 1000, 'llm_tokens_total{type="output"}': 80 }],
  ["Cursor", "07_cursor", "cursor", { "llm_requests_total": 2, 'llm_tokens_total{type="input"}': 200, 'llm_tokens_total{type="output"}': 400 }],
  ["Copilot", "08_copilot", "github-copilot", { "llm_requests_total": 2, 'llm_tokens_total{type="input"}': 26219, 'llm_tokens_total{type="output"}': 65 }],
];
const senders = {
  "protobuf over HTTP": async (signal, body) => assert.equal((await post(paths[signal], protobuf(signal, body), { type: "application/x-protobuf", chunked: true })).status, 200),
  "JSON over HTTP": async (signal, body) => assert.equal((await post(paths[signal], JSON.stringify(body), { chunked: true, gzip: true })).status, 200),
  gRPC: grpc,
};
for (const [way, send] of Object.entries(senders))
  test(`${clis.length} programs over ${way}: calls, tokens and tool outcomes match`, async () => {
    const own = await startServer(), shared = server;
    server = own;
    try {
      for (const [, file] of clis) for (const r of JSON.parse(readFileSync(`${fixtures}${file}.json`, "utf8")).requests) await send(r.signal, moved(r.body, file));
      for (const [cli, , service, expect] of clis)
        for (const [selector, want] of Object.entries(expect)) {
          const [name, labels] = selector.split("{");
          const got = sum(await query(own, `last_over_time(${name}{service="${service}"${labels ? "," + labels.slice(0, -1) : ""}}[1h])`));
          assert.equal(got, want, `${cli}: ${selector}`);
        }
    } finally {
      server = shared;
      await own.stop();
    }
  });

// A session of two turns: three calls of the main line, one of a helper, tools that went well, failed and were refused, one compaction.
test("a session of Claude Code: turns, calls, tools, context and cost", async () => {
  const scope = "com.anthropic.claude_code.events";
  const all = (prompt, a) => ({ "session.id": "cc-session", "prompt.id": prompt, ...a });
  const call = (t, prompt, id, input, read, more = {}) =>
    record(t, "claude_code.api_request", all(prompt, { "event.name": "api_request", model: "claude-sonnet-4-5", input_tokens: input, output_tokens: 100, cache_read_tokens: read, cache_creation_tokens: 0, cost_usd_micros: 1000, duration_ms: 900, request_id: id, query_source: "repl_main_thread", ...more }));
  const records = [
    record(0, "claude_code.user_prompt", all("p1", { "event.name": "user_prompt", prompt_length: 12 })),
    call(1000, "p1", "req_a", 1000, 0),
    record(1500, "claude_code.tool_result", all("p1", { "event.name": "tool_result", tool_name: "Bash", tool_use_id: "t1", success: "true", duration_ms: 200 })),
    call(2500, "p1", "req_b", 500, 2000),
    record(2600, "claude_code.tool_result", all("p1", { "event.name": "tool_result", tool_name: "Bash", tool_use_id: "t2", success: "false", duration_ms: 40, error_type: "ShellError" })),
    call(2700, "p1", "req_h", 90, 0, { query_source: "compact", model: "claude-haiku-4-5" }),
    record(2800, "claude_code.compaction", all("p1", { "event.name": "compaction", trigger: "auto", pre_tokens: 2600, post_tokens: 700 })),
    record(4000, "claude_code.user_prompt", all("p2", { "event.name": "user_prompt", prompt_length: 5 })),
    record(4100, "claude_code.tool_decision", all("p2", { "event.name": "tool_decision", decision: "reject", tool_name: "Write", tool_use_id: "t3" })),
    call(5000, "p2", "req_c", 800, 100),
    record(5100, "claude_code.api_error", all("p2", { "event.name": "api_error", model: "claude-sonnet-4-5", error: "Overloaded", status_code: 529, request_id: "req_d" })),
  ];
  assert.equal((await post("/v1/logs", logs("claude-code", scope, records), { chunked: true })).status, 200);
  assert.equal((await post("/v1/logs", logs("claude-code", scope, records.slice(1, 4)))).status, 200, "an exporter sends some of them again");
  const { status, body } = await getJson(`${server.web}/api/telltale/v1/sessions/cc-session`);
  assert.equal(status, 200);
  const { session, turns, steps } = body;
  assert.deepEqual([session.turns, session.calls, session.failed_calls, session.tools, session.compactions], [2, 5, 1, 3, 1]);
  assert.deepEqual(session.tools_by, { ok: 1, error: 1, rejected: 1, aborted: 0, timeout: 0 });
  assert.deepEqual(turns.map((t) => [t.calls, t.tools, t.context_tokens]), [[3, 2, 2500], [2, 1, 900]], "context: what the newest call of the main line read, cache included");
  assert.equal(session.input_tokens, 1000 + 2500 + 90 + 900);
  assert.equal(session.reported_cost_nanousd, 4 * 1000000);
  assert.equal(session.cost_nanousd, turns[0].cost_nanousd + turns[1].cost_nanousd);
  assert.ok(session.cost_nanousd > 0);
  assert.deepEqual(steps.map((s) => s.kind), ["prompt", "call", "tool", "call", "call", "tool", "compaction", "prompt", "tool", "call", "call"]);
  assert.equal(steps.find((s) => s.kind === "compaction").word, "auto");
  const { body: list } = await getJson(`${server.web}/api/telltale/v1/sessions?by=cost&service=claude-code`);
  const found = list.sessions.find((s) => s.id === "cc-session");
  assert.deepEqual({ ...found }, session, "the list says what the session says");
  assert.equal(list.complete, true);
});

test("Codex without times of its own and Gemini CLI with a prompt id: turns and calls of their sessions", async () => {
  const codex = (t, a) => ({ observedTimeUnixNano: nanos(t + 40), eventName: "event otel/src/x.rs:465", attributes: attributes({ "event.timestamp": new Date(base + t).toISOString(), "conversation.id": "cx-session", model: "gpt-5-codex", ...a }) });
  const done = (t, input) => codex(t, { "event.name": "codex.sse_event", "event.kind": "response.completed", input_token_count: String(input), output_token_count: "10", cached_token_count: 0 });
  const records = [codex(0, { "event.name": "codex.user_prompt" }), done(1000, 100), codex(1100, { "event.name": "codex.tool_result", tool_name: "exec_command", call_id: "k1", duration_ms: "45", success: "true" }), codex(3000, { "event.name": "codex.user_prompt" }), done(4000, 300)];
  assert.equal((await post("/v1/logs", logs("codex_cli_rs", "codex_otel.log_only", records))).status, 200);
  const cx = (await getJson(`${server.web}/api/telltale/v1/sessions/cx-session`)).body;
  assert.deepEqual(cx.turns.map((t) => [t.calls, t.tools, t.context_tokens]), [[1, 1, 100], [1, 0, 300]]);
  assert.equal(cx.session.start_ms, base, "the record's own time, not when it was seen");
  const gemini = [record(0, "prompt", { "event.name": "gemini_cli.user_prompt", "session.id": "gm-session", prompt_id: "gm########0" }), record(900, "API response", { "event.name": "gemini_cli.api_response", "session.id": "gm-session", prompt_id: "gm########0", model: "gemini-2.5-pro", input_token_count: 1000, output_token_count: 50, thoughts_token_count: 30, duration_ms: 800 })];
  assert.equal((await post("/v1/logs", logs("gemini-cli", "gemini-cli", gemini))).status, 200);
  const gm = (await getJson(`${server.web}/api/telltale/v1/sessions/gm-session`)).body;
  assert.deepEqual([gm.session.turns, gm.session.calls, gm.session.input_tokens, gm.session.output_tokens], [1, 1, 1000, 80]);
});

test("Copilot's spans: the tool without a session id belongs to that of its trace", async () => {
  const trace = "c0".repeat(16), at = (id, name, a, start, end, parent) => ({ traceId: trace, spanId: id.repeat(8), ...(parent ? { parentSpanId: parent.repeat(8) } : {}), name, kind: name.startsWith("chat") ? 3 : 1, startTimeUnixNano: nanos(start), endTimeUnixNano: nanos(end), attributes: attributes(a) });
  const spans = [
    at("a1", "invoke_agent copilot", { "gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "cp/session", "gen_ai.usage.input_tokens": 900, "gen_ai.usage.output_tokens": 20 }, 0, 5000),
    at("b1", "chat gpt-4o", { "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": "cp/session", "gen_ai.usage.input_tokens": 900, "gen_ai.usage.output_tokens": 20 }, 100, 2000, "a1"),
    at("c1", "execute_tool grep", { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "grep" }, 2100, 2500, "a1"),
  ];
  const body = { resourceSpans: [{ resource: { attributes: attributes({ "service.name": "github-copilot" }) }, scopeSpans: [{ scope: { name: "github.copilot" }, spans }] }] };
  assert.equal((await post("/v1/traces", JSON.stringify(body))).status, 200);
  const { body: s } = await getJson(`${server.web}/api/telltale/v1/sessions/${encodeURIComponent("cp/session")}`);
  assert.deepEqual([s.session.calls, s.session.tools, s.session.input_tokens, s.session.trace_id], [1, 1, 900, trace]);
  const { body: list } = await getJson(`${server.web}/api/telltale/v1/sessions?service=github-copilot`);
  assert.deepEqual(list.sessions.find((x) => x.id === "cp/session"), s.session);
});

test("what was sealed into parts answers as it did before", async () => {
  const ask = async () => Promise.all(["cc-session", "cx-session", "gm-session", "cp%2Fsession", "s1"].map(async (id) => (({ session, turns, steps }) => ({ session, turns, steps }))((await getJson(`${server.web}/api/telltale/v1/sessions/${id}`)).body)));
  const before = await ask();
  assert.ok(before.every((s) => s.session));
  const flushed = await fetch(`${server.web}/api/telltale/v1/admin/flush?compact=full`, { method: "POST" });
  assert.equal(flushed.status, 200);
  assert.deepEqual(await ask(), before);
});

test("questions that make no sense are refused, and a session that is not there is not found", async () => {
  const status = async (path) => (await getJson(`${server.web}/api/telltale/v1/${path}`)).status;
  assert.equal(await status("sessions?by=magic"), 400);
  assert.equal(await status("sessions?from=10&to=5"), 400);
  assert.equal(await status("sessions/nobody"), 404);
});
