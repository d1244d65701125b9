// An attack of unique series: the metric and the org are capped, sums stay exact in the overflow series, others go on, memory is bounded.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { eventually, getJson, startServer } from "./server.mjs";

let server;

before(async () => {
  server = await startServer({ args: ["--series-limit", "3000", "--metric-series-limit", "500"] });
});
after(async () => server?.stop());

const anonymous = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${server.process.pid}/status`, "utf8"))[1]);

// count points, one of each series from `first` on.
async function send(name, kind, first, count, add = 1) {
  const now = `${Date.now()}000000`;
  const dataPoints = Array.from({ length: count }, (_, i) => ({
    timeUnixNano: now, startTimeUnixNano: now, asInt: add, attributes: [{ key: "session_id", value: { stringValue: `s-${first + i}` } }],
  }));
  const data = kind === "gauge" ? { gauge: { dataPoints } }
    : { sum: { aggregationTemporality: kind === "delta" ? 1 : 2, isMonotonic: true, dataPoints } };
  const body = JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name, unit: "{request}", ...data }] }] }] });
  const answer = await fetch(`${server.otlpHttp}/v1/metrics`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  assert.equal(answer.status, 200);
  return answer.json();
}

async function query(text) {
  const url = `${server.web}/api/v1/query?query=${encodeURIComponent(text)}`;
  return (await getJson(url)).body.data.result.map((r) => ({ labels: r.metric, value: Number(r.value[1]) }));
}

test("a metric that explodes is folded into one series, and its sum stays exact", async () => {
  await send("attack", "delta", 0, 500);
  const before = anonymous();
  for (let i = 0; i < 40; i++) await send("attack", "delta", 500 + i * 1000, 1000, 3);
  assert.ok(anonymous() - before < 60000, `${anonymous() - before} kB more for 40,000 series`);
  await eventually(async () => {
    const [overflow] = await query('attack_total{otel_metric_overflow="true"}');
    assert.equal(overflow?.value, 40 * 1000 * 3);
    assert.equal((await query("count(attack_total)"))[0].value, 501);
    assert.equal((await query("sum(attack_total)"))[0].value, 500 + 40 * 1000 * 3);
    return true;
  });
});

test("other metrics go on until the org is full, and what cannot be folded is refused and counted", async () => {
  assert.deepEqual(await send("quiet", "delta", 0, 400), {});
  const refused = await send("running", "cumulative", 0, 600);
  assert.equal(Number(refused.partialSuccess.rejectedDataPoints), 100);
  assert.match(refused.partialSuccess.errorMessage, /limit of series/);
  assert.equal((await query("count(quiet_total)"))[0].value, 400);
  assert.equal((await query("count(running_total)"))[0].value, 500);
});

test("what happened is counted and exposed", async () => {
  const cardinality = (await getJson(`${server.web}/api/telltale/v1/cardinality`)).body;
  assert.equal(cardinality.series, 1400);
  assert.equal(cardinality.overflow_series, 1);
  assert.equal(cardinality.folded_points, 40000);
  assert.equal(cardinality.refused_points, 100);
  assert.equal(cardinality.metrics.find((m) => m.metric === "attack_total").folded_points, 40000);
  assert.equal(cardinality.growing[0].label, "session_id");
  const status = (await getJson(`${server.web}/api/v1/status/tsdb?limit=2`)).body.data;
  assert.deepEqual(status.seriesCountByMetricName, [{ name: "attack_total", value: 500 }, { name: "running_total", value: 500 }]);
  assert.equal(status.headStats.numSeries, 1401);
  const page = await (await fetch(`${server.web}/metrics`)).text();
  assert.match(page, /^telltale_series_folded_points_total\{org="1"\} 40000$/m);
  const rows = (state) => Number(new RegExp(`^telltale_rows_total\\{org="1",signal="samples",state="${state}"\\} (\\d+)$`, "m").exec(page)[1]);
  assert.equal(rows("received"), 500 + 40000 + 400 + 600);
  assert.equal(rows("stored"), rows("received") - 100);
  assert.match(page, /^telltale_rows_rejected_total\{org="1",signal="samples",reason="cardinality_limit"\} 100$/m);
});
