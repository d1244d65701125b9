// Range queries that are kept, what explain=1 tells, and how bad questions are answered.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { eventually, getJson, startServer } from "./server.mjs";

let server;
const now = Math.floor(Date.now() / 15000) * 15;

async function send(points) {
  const dataPoints = points.map(({ t, v, host }) => ({ asDouble: v, timeUnixNano: `${t}000000000`, startTimeUnixNano: `${now - 7200}000000000`,
    attributes: [{ key: "host", value: { stringValue: host } }] }));
  const body = JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: "jobs.done", sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints } }] }] }] });
  const answer = await fetch(`${server.otlpHttp}/v1/metrics`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  assert.equal(answer.status, 200);
}

const ask = (path, parameters) => getJson(`${server.web}/api/v1/${path}?${new URLSearchParams(parameters)}`);
const range = (extra = {}, end = now) => ask("query_range", { query: "sum by (host) (rate(jobs_done_total[5m]))", start: end - 3600, end, step: 15, ...extra });

before(async () => {
  server = await startServer();
  const points = [];
  for (let t = now - 5400; t < now - 60; t += 15) for (const host of ["a", "b", "c"]) points.push({ t, v: (t - now + 7200) * (host.charCodeAt(0) - 90), host });
  await send(points);
});
after(async () => server?.stop());

test("a refresh computes what is new, and answers as if everything were computed", async () => {
  assert.equal((await range({ explain: 1 })).body.explain.cache.result, "miss");
  const again = (await range({ explain: 1 })).body;
  assert.equal(again.explain.cache.result, "hit");
  assert.equal(again.explain.cache.steps_computed, 0);
  assert.equal(again.explain.samples, 0);
  const later = (await range({ explain: 1 }, now + 30)).body;
  assert.equal(later.explain.cache.result, "partial");
  assert.deepEqual([later.explain.cache.steps_cached, later.explain.cache.steps_computed], [239, 2]);
  const fresh = (await range({ nocache: 1, explain: 1 }, now + 30)).body;
  assert.equal(fresh.explain.cache.result, "off");
  assert.deepEqual(later.data, fresh.data);
  assert.equal(fresh.data.result.length, 3);
});

test("a late row changes what was kept", async () => {
  await range();
  await send([{ t: now - 1800 + 7, v: 1e6, host: "a" }]);
  const kept = (await range({ explain: 1 })).body, fresh = (await range({ nocache: 1 })).body;
  assert.equal(kept.explain.cache.result, "partial");
  assert.deepEqual(kept.data, fresh.data);
});

test("series that are erased are gone from what was kept", async () => {
  await range();
  const answer = await fetch(`${server.web}/api/v1/admin/tsdb/delete_series?${new URLSearchParams({ "match[]": 'jobs_done_total{host="c"}' })}`, { method: "POST" });
  assert.equal(answer.status, 204);
  const kept = (await range({ explain: 1 })).body;
  assert.equal(kept.explain.cache.result, "miss");
  assert.deepEqual(kept.data.result.map((r) => r.metric.host), ["a", "b"]);
});

test("what the cache does is counted", async () => {
  const text = await (await fetch(`${server.web}/metrics`)).text();
  const value = (name) => Number(text.split("\n").find((l) => l.startsWith(name + " "))?.split(" ")[1]);
  for (const result of ["hit", "partial", "miss"]) assert.ok(value(`telltale_query_cache_requests_total{result="${result}"}`) > 0, result);
  assert.ok(value("telltale_query_cache_bytes") > 0);
});

test("explain=1 tells the plan of an instant query, and nothing of it is there unasked", async () => {
  const { explain } = (await ask("query", { query: 'sum(rate(jobs_done_total{host=~"a|b"}[5m])) / 2', time: now - 600, explain: 1 })).body;
  assert.equal(explain.cache.result, "off");
  const { plan } = explain;
  assert.equal(plan.node, "binary");
  assert.equal(plan.rows, 1);
  const [sum, two] = plan.children;
  assert.deepEqual([sum.node, two.node, two.expr], ["aggregation", "number", "2"]);
  const selector = sum.children[0].children[0].children[0];
  assert.equal(selector.node, "selector");
  assert.deepEqual(selector.matchers, ['__name__="jobs_done_total"', 'host=~"a|b"']);
  assert.equal(selector.series, 2);
  assert.equal(selector.samples, 40);
  assert.ok(explain.seconds > 0 && sum.children[0].seconds > 0);
  assert.equal((await ask("query", { query: "jobs_done_total" })).body.explain, undefined);
});

test("bad questions are refused as Prometheus refuses them", async () => {
  const at = { start: now - 60, end: now, step: 15 };
  const cases = [
    ["query", { query: "sum(" }, 400, "bad_data", /1:5: parse error: unclosed left parenthesis/],
    ["query", { query: "nope(1)" }, 400, "bad_data", /1:1: parse error: unknown function with name "nope"/],
    ["query", { query: "rate(a)" }, 400, "bad_data", /expected type range vector in call to function "rate", got instant vector/],
    ["query", { query: 'sum by (9) (a)' }, 400, "bad_data", /parse error/],
    ["query", { query: 'a{b=~"("}' }, 400, "bad_data", /error parsing regexp/],
    ["query", { query: "" }, 400, "bad_data", /no expression found in input/],
    ["query", { query: "a", time: "yesterday" }, 400, "bad_data", /invalid parameter "time": cannot parse "yesterday" to a valid timestamp/],
    ["query", { query: "a", timeout: "-" }, 400, "bad_data", /invalid parameter "timeout"/],
    ["query_range", { query: "a", ...at, step: 0 }, 400, "bad_data", /zero or negative query resolution step widths/],
    ["query_range", { query: "a", ...at, end: now - 600 }, 400, "bad_data", /end timestamp must not be before start time/],
    ["query_range", { query: "a", start: 0, end: now, step: 1 }, 400, "bad_data", /exceeded maximum resolution of 11,000 points/],
    ["query_range", { query: "a[5m]", ...at }, 400, "bad_data", /invalid expression type "range vector" for range query/],
    ["query_range", { query: "a", start: "x", end: now, step: 15 }, 400, "bad_data", /invalid parameter "start"/],
    ["query", { query: "jobs_done_total * on (job) jobs_done_total" }, 422, "execution", /many-to-many|found duplicate series/],
    ["label/a%ffb/values", {}, 400, "bad_data", /invalid label name/],
  ];
  for (const [path, parameters, status, type, message] of cases) {
    const answer = await ask(path, parameters), what = `${path} ${JSON.stringify(parameters)}: ${JSON.stringify(answer.body)}`;
    assert.equal(answer.status, status, what);
    assert.equal(answer.body.status, "error", what);
    assert.equal(answer.body.errorType, type, what);
    assert.match(answer.body.error, message, what);
  }
});

test("a query ends when its client has gone", async () => {
  const before = await cancelled();
  const query = `sum(${Array(40).fill("max_over_time(jobs_done_total[1h:1s] offset 7s)").join(" + ")})`;
  const call = request(`${server.web}/api/v1/query_range?${new URLSearchParams({ query, start: now - 5400, end: now, step: 1, timeout: "30s" })}`);
  call.on("error", () => {});
  call.end();
  await new Promise((resolve) => setTimeout(resolve, 150));
  call.destroy();
  await eventually(async () => (await cancelled()) > before, 15000);
});

async function cancelled() {
  const text = await (await fetch(`${server.web}/metrics`)).text();
  return Number(/^telltale_query_refused_total\{reason="cancelled"\} (\d+)/m.exec(text)?.[1] ?? 0);
}
