// A full disk as a sender sees it: 503 with Retry-After, queries answer, acceptance resumes, nothing acknowledged is gone and the accounts add up.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, rmSync, statfsSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { getJson, sleep, startServer, temporaryDirectory } from "./server.mjs";

function post(server, n) {
  const now = BigInt(Date.now()) * 1000000n;
  const spans = Array.from({ length: 200 }, (_, i) => ({
    traceId: (n + 1).toString(16).padStart(32, "0"),
    spanId: (n * 1000 + i + 1).toString(16).padStart(16, "0"),
    name: "chat",
    startTimeUnixNano: String(now - 1000000n),
    endTimeUnixNano: String(now),
    attributes: [{ key: "gen_ai.operation.name", value: { stringValue: "chat" } }],
  }));
  const body = JSON.stringify({ resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "disk" } }] }, scopeSpans: [{ spans }] }] });
  return fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body });
}

async function spansOf(server) {
  return (await getJson(`${server.web}/api/telltale/v1/count?signal=spans`)).body.count;
}

test("a full disk refuses with a time to come back, and takes rows again when there is room", async (t) => {
  const mountPoint = temporaryDirectory();
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64m", "none", mountPoint]).status !== 0) {
    rmSync(mountPoint, { recursive: true });
    t.skip("no file system can be mounted here");
    return;
  }
  const filler = join(mountPoint, "filler"), data = join(mountPoint, "data");
  mkdirSync(data);
  let server;
  try {
    server = await startServer({ data, keep: true });
    let n = 0, stored = 0;
    assert.equal((await post(server, n++)).status, 200);
    stored += 200;
    const free = () => { const s = statfsSync(mountPoint); return s.bavail * s.bsize; };
    while (free() > 6 << 20) appendFileSync(filler, Buffer.alloc(1 << 20));
    let answer;
    const filled = Date.now();
    while ((answer = await post(server, n)).status === 200) { n++; stored += 200; await sleep(20); }
    assert.ok(Date.now() - filled < 2000, "refusals begin soon");
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers.get("retry-after")) > 0, "it says when to come back");
    assert.equal(await spansOf(server), stored); // queries answer
    unlinkSync(filler);
    const freed = Date.now();
    while ((answer = await post(server, n)).status !== 200 && Date.now() - freed < 10000) await sleep(50);
    assert.equal(answer.status, 200);
    assert.ok(Date.now() - freed < 5000, "acceptance resumes within 5 s");
    stored += 200;
    await server.kill();
    server = await startServer({ data, keep: true });
    assert.equal(await spansOf(server), stored);
    await server.stop();
    server = undefined;
  } finally {
    await server?.kill();
    spawnSync("umount", [mountPoint]);
    rmSync(mountPoint, { recursive: true, force: true });
  }
});
