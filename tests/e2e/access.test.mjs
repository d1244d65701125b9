// Keys: none on loopback, required elsewhere, shown once, revocable; the server refuses to stand open.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { getJson, program, startServer, temporaryDirectory } from "./server.mjs";

const everywhere = ["--listen-otlp-http", "0.0.0.0:0", "--listen-http", "0.0.0.0:0"];

test("without a key Telltale does not listen beyond this machine, and says what to do", () => {
  const run = spawnSync(program, ["serve", "--data", join(temporaryDirectory(), "d"), ...everywhere, "--listen-otlp-grpc", "127.0.0.1:0"], { encoding: "utf8", timeout: 20000 });
  assert.equal(run.status, 2);
  assert.match(run.stderr, /--init/);
});

let server, ingest, admin;
before(async () => {
  server = await startServer({ args: [...everywhere, "--init"] });
  [ingest, admin] = [/ingest\S*\s+key\S*\s+(\S+)/i, /admin\S*\s+key\S*\s+(\S+)/i].map((r) => r.exec(server.output())?.[1]);
});
after(() => server?.stop());

const onThisMachine = (url) => {
  const own = Object.values(networkInterfaces()).flat().find((i) => i.family === "IPv4" && !i.internal)?.address ?? "127.0.0.1";
  return url.replace(/0\.0\.0\.0|127\.0\.0\.1/, own);
};
const send = (key) => fetch(`${onThisMachine(server.otlpHttp)}/v1/traces`, { method: "POST", body: "{}", headers: { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) } });

test("--init prints an ingest key and an admin key with the lines to paste", () => {
  assert.ok(ingest && admin && ingest !== admin, server.output());
  assert.match(server.output(), /OTEL_EXPORTER_OTLP_ENDPOINT/);
  assert.match(server.output(), /OTEL_EXPORTER_OTLP_HEADERS/);
});

test("a key opens its door and no other", async () => {
  assert.equal((await send()).status, 401);
  assert.equal((await send("tt_wrong")).status, 401);
  assert.equal((await send(ingest)).status, 200);
  const read = await fetch(`${onThisMachine(server.web)}/api/v1/query?query=1`, { headers: { authorization: `Bearer ${ingest}` } });
  assert.equal(read.status, 403);
  const asAdmin = await getJson(`${onThisMachine(server.web)}/api/v1/query?query=1`, { headers: { authorization: `Bearer ${admin}` } });
  assert.equal(asAdmin.status, 200);
});

test("the page's session is a cookie that scripts cannot read", async () => {
  const answer = await fetch(`${onThisMachine(server.web)}/api/telltale/v1/session`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key: admin }) });
  assert.ok(answer.status < 300, String(answer.status));
  const cookie = answer.headers.get("set-cookie");
  assert.match(cookie, /HttpOnly/);
  assert.match(cookie, /SameSite=Strict/);
  const asked = await fetch(`${onThisMachine(server.web)}/api/v1/query?query=1`, { headers: { cookie: cookie.split(";")[0] } });
  assert.equal(asked.status, 200);
});

test("no file holds a key in clear", () => {
  const walk = (d) => readdirSync(d).flatMap((n) => (statSync(join(d, n)).isDirectory() ? walk(join(d, n)) : [join(d, n)]));
  for (const file of walk(server.data)) {
    if (statSync(file).size > 64 << 20) continue;
    const bytes = readFileSync(file);
    assert.ok(!bytes.includes(ingest) && !bytes.includes(admin), file);
  }
});
