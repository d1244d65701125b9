// `telltale receivers test NAME` takes the way of every notification: Slack, PagerDuty, Alertmanager and a mail server get what they read.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer as createTcp } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { eventually, getJson, program, startServer, temporaryDirectory } from "./server.mjs";

const run = promisify(execFile);
const key = "R0123456789abcdef0123456789abcde";
const heard = [];
const mails = [];
let server, http, smtp;

const listening = (s) => new Promise((resolve) => s.listen(0, "127.0.0.1", resolve));

before(async () => {
  http = createHttp((request, response) => {
    let body = "";
    request.on("data", (c) => (body += c));
    request.on("end", () => {
      heard.push({ path: request.url, body: JSON.parse(body) });
      response.writeHead(request.url.startsWith("/gone") ? 404 : request.url.startsWith("/v2") ? 202 : 200);
      response.end("ok");
    });
  });
  smtp = createTcp((socket) => {
    let data = null, rest = "";
    socket.write("220 fake\r\n");
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      rest += chunk;
      for (let end; (end = rest.indexOf("\r\n")) >= 0; ) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 2);
        if (data !== null && line === ".") {
          mails.push(data);
          data = null;
          socket.write("250 taken\r\n");
        } else if (data !== null) data += `${line}\n`;
        else if (line === "DATA") {
          data = "";
          socket.write("354 go on\r\n");
        } else if (line === "QUIT") socket.end("221 bye\r\n");
        else socket.write("250 yes\r\n");
      }
    });
  });
  await Promise.all([listening(http), listening(smtp)]);
  const data = temporaryDirectory();
  const config = join(data, "telltale.yaml");
  const url = `http://127.0.0.1:${http.address().port}`;
  writeFileSync(config, `receivers:
  - {name: chat, type: slack, url: "${url}/services/T0/B0/hidden", allow_private: true}
  - {name: pager, type: pagerduty, routing_key: ${key}, url: "${url}/v2/enqueue", allow_private: true}
  - {name: am, type: alertmanager, url: "${url}", allow_private: true}
  - {name: post, type: email, url: "smtp://127.0.0.1:${smtp.address().port}", from: t@example.com, to: [team@example.com], require_tls: false, allow_private: true}
  - {name: gone, type: teams, url: "${url}/gone/hidden", allow_private: true}
`);
  server = await startServer({ data: join(data, "store"), args: ["--config", config] });
});
after(async () => {
  http?.close();
  smtp?.close();
  await server?.stop();
});

const sendTest = (name) => run(program, ["receivers", "test", name, "--url", server.web]);

test("a test is delivered, and what it opens it closes", async () => {
  for (const name of ["chat", "pager", "am", "post"]) {
    const { stdout } = await sendTest(name);
    assert.match(stdout, /^delivered: the receiver answered 2\d\d/);
  }
  const chat = heard.find((h) => h.path.startsWith("/services"));
  assert.match(chat.body.text, /\[TEST\] A test of this receiver/);
  assert.equal(chat.body.attachments[0].blocks[0].type, "header");
  await eventually(() => heard.filter((h) => h.path === "/v2/enqueue").length === 2);
  const [trigger, resolve] = heard.filter((h) => h.path === "/v2/enqueue").map((h) => h.body);
  assert.equal(trigger.routing_key, key);
  assert.deepEqual([trigger.event_action, resolve.event_action], ["trigger", "resolve"]);
  assert.equal(trigger.dedup_key, resolve.dedup_key);
  const am = heard.find((h) => h.path === "/api/v2/alerts").body[0];
  assert.equal(am.labels.alertname, "TelltaleTest");
  assert.equal(am.endsAt, undefined);
  assert.match(mails[0], /^To: <team@example.com>$/m);
  assert.match(Buffer.from(mails[0].split("\n\n")[1], "base64").toString(), /nothing is wrong/);
});

test("a refusal is said, and no secret with it", async () => {
  const failed = await sendTest("gone").then(() => null, (e) => e);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /not delivered: HTTP 404/);
  const unknown = await sendTest("nobody").then(() => null, (e) => e);
  assert.match(unknown.stderr, /no receiver of this name/);
  const list = await getJson(`${server.web}/api/telltale/v1/receivers`);
  assert.deepEqual(list.body.receivers.map((r) => r.type), ["slack", "pagerduty", "alertmanager", "email", "teams"]);
  assert.equal(list.body.receivers[4].dead, 1);
  const outbox = await getJson(`${server.web}/api/telltale/v1/outbox`);
  const said = JSON.stringify([list.body, outbox.body]) + server.log();
  assert.ok(!said.includes("hidden") && !said.includes(key));
});
