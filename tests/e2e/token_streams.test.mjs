// Streams whose events come while the server is killed (-9) again and again: each stream is told once, and exactly as it was sent.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { eventually, getJson, query, sleep, startServer, temporaryDirectory } from "./server.mjs";

const streams = 200, chunks = 6, kills = 4;
const begin = BigInt(Date.now() - 30000) * 1000000n;
const at = (stream, ms) => String(begin + BigInt(stream) * 1000n + BigInt(ms) * 1000000n);

// Event i of a stream: its start, its chunks (of 1 to 6 tokens, the first of them thought), its end.
function event(stream, i) {
  if (i === 0) return { time_unix_nano: at(stream, 0), kind: "start" };
  if (i > chunks) return { time_unix_nano: at(stream, 2000), kind: "end", finish_reason: "stop" };
  return { time_unix_nano: at(stream, 100 * i), tokens: i, channel: i === 1 ? "reasoning" : "output" };
}

// All events of all streams in 120 messages, none of which holds two of one stream; shuffled, but the ends come last.
function messages() {
  const all = [];
  for (let i = 0; i <= chunks + 1; i++)
    for (let first = 0; first < streams; first += 20)
      all.push({ i, body: { service: "gateway", model: "gpt-4o", streams: Array.from({ length: 20 }, (_, n) => ({ request_id: `r-${first + n}`, events: [event(first + n, i)] })) } });
  const early = all.filter((m) => m.i <= chunks), late = all.filter((m) => m.i > chunks);
  for (let k = early.length - 1; k > 0; k--) {
    const j = (k * 7919) % (k + 1);
    [early[k], early[j]] = [early[j], early[k]];
  }
  return [...early, ...late].map((m) => JSON.stringify(m.body));
}

test("streams are told once and exactly, whatever kills the server between their events", async () => {
  const data = temporaryDirectory(), start = () => startServer({ data, keep: true, timeoutMs: 60000 });
  let server = await start(), killed = 0;
  try {
    const all = messages(), every = Math.floor(all.length / (kills + 1));
    for (let k = 0; k < all.length; k++) {
      const post = () => fetch(`${server.otlpHttp}/v1/tokens`, { method: "POST", headers: { "Content-Type": "application/json" }, body: all[k] });
      if (killed < kills && k === every * (killed + 1)) {
        // Killed while one is on its way: the sender does not know whether it arrived, and sends it again.
        const lost = post().then((r) => r.arrayBuffer()).catch(() => undefined);
        await sleep(killed);
        await server.kill();
        await lost;
        killed++;
        server = await start();
      }
      const answer = await post();
      assert.equal(answer.status, 200);
      assert.deepEqual(await answer.json(), {});
    }
    const one = async (q) => (await query(server, q))[0]?.value;
    await eventually(async () => (await one("sum(last_over_time(llm_streams_total[1d]))")) >= streams, 30000);
    await sleep(1000);
    assert.equal(await one('sum(last_over_time(llm_streams_total{result="complete"}[1d]))'), streams);
    assert.equal(await one("sum(last_over_time(llm_streams_total[1d]))"), streams);
    assert.equal(await one('sum(last_over_time(llm_stream_tokens_total{channel="reasoning"}[1d]))'), streams);
    assert.equal(await one('sum(last_over_time(llm_stream_tokens_total{channel="output"}[1d]))'), streams * (2 + 3 + 4 + 5 + 6));
    const { body } = await getJson(`${server.web}/api/telltale/v1/logs?event=telltale.stream&limit=1000`);
    assert.equal(body.logs.length, streams);
    const told = new Map(body.logs.map((l) => Object.fromEntries(l.attributes)).map((s) => [s.request_id, s]));
    assert.equal(told.size, streams);
    for (const [id, s] of told) {
      assert.equal(Number(s.chunks), chunks, id);
      assert.equal(Number(s.tokens_output), 20, id);
      assert.equal(Number(s.tokens_reasoning), 1, id);
      assert.equal(Number(BigInt(s.first_ns) - BigInt(s.start_ns)), 100e6, id);
      assert.equal(Number(s.ttft_ns), 200e6, id); // what is thought is not seen
    }
    assert.equal(killed, kills);
  } finally {
    await server.kill().catch(() => undefined);
    rmSync(data, { recursive: true, force: true });
  }
});
