// A backup of a running server, by the program, while spans come in: refused to others, restored, served, nothing acknowledged missing.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { getJson, program, sleep, startServer, temporaryDirectory } from "./server.mjs";

const home = temporaryDirectory();
process.on("exit", () => rmSync(home, { recursive: true, force: true }));

function post(server, n) {
  const now = BigInt(Date.now()) * 1000000n;
  const spans = Array.from({ length: 50 }, (_, i) => ({
    traceId: (n + 1).toString(16).padStart(32, "0"),
    spanId: (n * 1000 + i + 1).toString(16).padStart(16, "0"),
    name: "chat",
    startTimeUnixNano: String(now - 1000000n),
    endTimeUnixNano: String(now),
    attributes: [{ key: "gen_ai.operation.name", value: { stringValue: "chat" } }],
  }));
  const body = JSON.stringify({ resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "copied" } }] }, scopeSpans: [{ spans }] }] });
  return fetch(`${server.otlpHttp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body });
}

const spansOf = async (server) => (await getJson(`${server.web}/api/telltale/v1/count?signal=spans`)).body.count;
const has = async (server, n) => (await getJson(`${server.web}/api/telltale/v1/traces/${(n + 1).toString(16).padStart(32, "0")}`)).body.spans?.length ?? 0;
const running = new Set();
after(() => running.forEach((s) => s.kill())); // of a test that failed
async function serve(options) {
  const server = await startServer({ keep: true, ...options });
  running.add(server);
  server.exited.then(() => running.delete(server));
  return server;
}

// Not spawnSync: the server's senders live in this process.
function telltale(...args) {
  return new Promise((resolve) => {
    const child = spawn(program, args);
    let stdout = "", stderr = "";
    child.stdout.on("data", (c) => (stdout += c));
    child.stderr.on("data", (c) => (stderr += c));
    child.on("exit", (status) => resolve({ status, stdout, stderr }));
  });
}

test("a running server is copied while it takes spans, and the copy serves all that was acknowledged", async () => {
  const server = await serve({ data: join(home, "data") });
  let sent = 0, acked = 0, stop = false;
  const sender = (async () => {
    while (!stop) {
      const n = sent++;
      assert.equal((await post(server, n)).status, 200);
      acked = n + 1;
      if (n % 20 === 10) await fetch(`${server.web}/api/telltale/v1/admin/flush`, { method: "POST" });
    }
  })();
  while (acked < 30) await sleep(10);
  const before = acked;
  const made = await telltale("backup", server.web, "first");
  const begun = sent;
  stop = true;
  await sender;
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /data-backups\/first: \d+ rows/);
  const copy = join(home, "data-backups", "first");
  assert.deepEqual(readdirSync(join(home, "data-backups")), ["first"]);
  const again = await telltale("backup", server.web, "first");
  assert.equal(again.status, 1);
  assert.match(again.stderr, /is there already/);
  const offline = await telltale("backup", join(home, "data"), join(home, "second"));
  assert.equal(offline.status, 1);
  assert.match(offline.stderr, /in use by a running telltale/);
  await server.kill();

  const refused = await telltale("restore", copy, join(home, "data"));
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /not empty/);
  const restored = await telltale("restore", copy, join(home, "restored"));
  assert.equal(restored.status, 0, restored.stderr);
  assert.match(restored.stdout, /verified: 0 problems/);
  const back = await serve({ data: join(home, "restored") });
  const spans = await spansOf(back);
  assert.ok(spans >= before * 50 && spans <= begun * 50, `${before * 50} <= ${spans} <= ${begun * 50}`);
  for (let n = 0; n < before; n++) assert.equal(await has(back, n), 50, `trace ${n}`);
  assert.equal((await post(back, 100000)).status, 200); // and it goes on
  assert.equal(await spansOf(back), spans + 50);
  await back.stop();
});

test("a directory at rest is copied, and a damaged copy is not restored unless asked", async () => {
  const made = await telltale("backup", join(home, "restored"), join(home, "third"));
  assert.equal(made.status, 0, made.stderr);
  writeFileSync(join(home, "third", "state", "data.mdb"), "garbage");
  const refused = await telltale("restore", join(home, "third"), join(home, "fourth"));
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /nothing was restored/);
  assert.ok(!existsSync(join(home, "fourth")) && !existsSync(join(home, ".partial-fourth")));
  assert.equal((await telltale("restore", join(home, "third"), join(home, "fourth"), "--damaged")).status, 0);
  assert.equal((await telltale("restore", join(home, "restored"), join(home, "fifth"))).status, 1); // no backup
  assert.equal(spawnSync(program, ["backup", "one"]).status, 2);
});

test("only the machine owner's admin key may ask for a backup, and only for a plain name", async () => {
  mkdirSync(join(home, "kept"));
  const server = await serve({ data: join(home, "keyed"), args: ["--init", "--backups", join(home, "kept")] });
  const [ingest, admin] = [/ingest\S*\s+key\S*\s+(\S+)/i, /admin\S*\s+key\S*\s+(\S+)/i].map((r) => r.exec(server.output())?.[1]);
  const ask = (key, target) => fetch(`${server.web}/api/telltale/v1/admin/backup`, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${key}` }, body: JSON.stringify({ target }) });
  assert.equal((await ask(ingest, "x")).status, 403);
  const made = await (await fetch(`${server.web}/api/telltale/v1/keys`, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${admin}` }, body: JSON.stringify({ role: "read", name: "r" }) })).json();
  assert.equal((await ask(made.key, "x")).status, 403);
  assert.equal((await fetch(`${server.web}/api/telltale/v1/admin/backup`, { headers: { authorization: `Bearer ${made.key}` } })).status, 403);
  for (const bad of ["../x", "/tmp/x", "", ".x", "a/b", "x".repeat(101)]) assert.equal((await ask(admin, bad)).status, 400, bad);
  assert.deepEqual(readdirSync(join(home, "kept")), []);
  const done = await telltale("backup", server.web, "x", "--key", admin);
  assert.equal(done.status, 0, done.stderr);
  assert.deepEqual(readdirSync(join(home, "kept")), ["x"]);
  await server.stop();
});
