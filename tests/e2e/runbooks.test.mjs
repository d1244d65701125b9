// The runbooks: each is served as a page, and each of their commands runs against a server with the demo's traffic and says something.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { eventually, program, query, startServer } from "./server.mjs";

const folder = new URL("../../docs/runbooks/", import.meta.url), run = promisify(execFile);
const names = readdirSync(folder).filter((f) => f.endsWith(".md") && f !== "README.md").map((f) => f.slice(0, -3));
let server, demo;

before(async () => {
  server = await startServer({ timeoutMs: 60000 });
  demo = spawn(program, ["demo", "--endpoint", server.otlpHttp, "--rate", "20"], { stdio: ["ignore", "ignore", "inherit"] });
  await eventually(async () => (await query(server, "sum(last_over_time(llm_requests_total[1h]))"))[0]?.value > 100, 60000);
});
after(async () => {
  demo?.kill("SIGKILL");
  await server?.stop();
});

test("there is one for each kind of failure, and each is a page", async () => {
  assert.deepEqual(names.sort(), ["F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "errors", "no-data"]);
  for (const name of names) {
    const answer = await fetch(`${server.web}/runbooks/${name}`), text = await answer.text();
    assert.equal(answer.status, 200, name);
    assert.match(answer.headers.get("content-type"), /^text\/html/);
    assert.match(text, /<h2>Look<\/h2>/, name);
    assert.doesNotMatch(text, /\.md"|\]\(|%BODY%|%TITLE%/, name);
    for (const [, to] of text.matchAll(/href="\/runbooks\/([^"]+)"/g)) assert.ok(names.includes(to), `${name} links ${to}`);
  }
  assert.equal((await fetch(`${server.web}/runbooks/F9`)).status, 404);
});

for (const name of names)
  test(`the commands of ${name} run`, async () => {
    const text = readFileSync(new URL(`${name}.md`, folder), "utf8");
    const commands = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => block.split("\n").map((l) => l.trim()).filter(Boolean));
    assert.ok(commands.length >= 3, `${commands.length} commands`);
    for (const command of commands) {
      // What the checker says of answers comes when nothing else wants the processor: it is waited for.
      await eventually(async () => {
        const { stdout } = await run("bash", ["-c", command], { env: { ...process.env, TELLTALE: server.web, PATH: `${dirname(program)}:${process.env.PATH}` } })
          .catch((e) => assert.fail(`${command}\n${e.stderr}${e.stdout}`));
        assert.ok(stdout.trim(), `${command} says nothing`);
        return true;
      }, 60000);
    }
  });
