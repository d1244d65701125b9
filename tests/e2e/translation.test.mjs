// OTLP metrics under other settings than Prometheus' default, sent to the path that Prometheus has for them.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { program, query, startServer, temporaryDirectory } from "./server.mjs";

let server;
const text = (key, value) => ({ key, value: { stringValue: value } });

before(async () => {
  const directory = temporaryDirectory(), config = join(directory, "telltale.yml");
  writeFileSync(config, `otlp:
  translation_strategy: NoUTF8EscapingWithSuffixes
  promote_resource_attributes: [deployment.environment.name]
  promote_scope_metadata: true
  convert_histograms_to_nhcb: true
  keep_identifying_resource_attributes: true
`);
  server = await startServer({ args: ["--config", config] });
});
after(() => server?.stop());

test("names stay as sent, attributes are promoted, histograms are native", async () => {
  const now = BigInt(Date.now()) * 1000000n, time = { timeUnixNano: String(now), startTimeUnixNano: String(now - 60000000000n) };
  const body = { resourceMetrics: [{
    resource: { attributes: [text("service.name", "shop"), text("deployment.environment.name", "prod"), text("host.name", "h1")] },
    scopeMetrics: [{ scope: { name: "lib", version: "1.2" }, metrics: [
      { name: "http.requests", sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: [{ ...time, asInt: "7", attributes: [text("http.route", "/a")] }] } },
      { name: "http.duration", unit: "s", histogram: { aggregationTemporality: 2, dataPoints: [{ ...time, count: "6", sum: 3, bucketCounts: ["1", "2", "3"], explicitBounds: [0.1, 1] }] } },
    ] }],
  }] };
  const answer = await fetch(`${server.web}/api/v1/otlp/v1/metrics`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {});
  const [requests] = await query(server, '{"http.requests_total"}');
  assert.deepEqual(requests, { labels: {
    __name__: "http.requests_total", job: "shop", "http.route": "/a", "deployment.environment.name": "prod", otel_scope_name: "lib", otel_scope_version: "1.2",
  }, value: 7, histogram: undefined });
  const [duration] = await query(server, '{"http.duration_seconds"}');
  assert.equal(duration.histogram.count, "6");
  assert.deepEqual(duration.histogram.buckets.map((b) => b[2]), ["0.1", "1", "+Inf"]);
  const [info] = await query(server, "target_info");
  assert.equal(info.labels["service.name"], "shop");
  assert.equal(info.labels["host.name"], "h1");
  // the info that the attribute on target_info carries is reachable as usual
  const joined = await query(server, '{"http.requests_total"} * on (job) group_left ("host.name") target_info');
  assert.equal(joined[0].labels["host.name"], "h1");
});

test("a strategy that does not exist is a mistake of the configuration", () => {
  const directory = temporaryDirectory(), config = join(directory, "telltale.yml");
  writeFileSync(config, "otlp:\n  translation_strategy: Underscores\n  ignore_resource_attributes: [a]\n");
  const run = spawnSync(program, ["check-config", "--config", config]);
  assert.equal(run.status, 2);
  assert.match(String(run.stderr), /translation_strategy: 'Underscores' is not valid; give UnderscoreEscapingWithSuffixes/);
  assert.match(String(run.stderr), /ignore_resource_attributes: only with promote_all_resource_attributes/);
});
