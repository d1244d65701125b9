// Screenshots of every state, to be looked at: node shots.mjs DIR [URL]. With URL: of a running server instead of the stand-in.
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { startMock } from './mock.mjs';

const dir = process.argv[2] ?? '/tmp/shots', url = process.argv[3];
mkdirSync(dir, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const server = url ? null : await startMock('ok');
const base = url ?? `http://127.0.0.1:${server.address().port}`;
const shoot = async (name, path, { width = 1440, dark = false, height = 900, act } = {}) => {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', deviceScaleFactor: 1 });
  page.on('console', (m) => m.type() === 'error' && console.log(name, m.text()));
  page.on('pageerror', (e) => console.log(name, String(e)));
  await page.goto(base + path);
  await page.waitForSelector('main h1');
  await page.waitForTimeout(700);
  if (act) await act(page);
  await page.screenshot({ path: `${dir}/${name}.png`, fullPage: true });
  await page.close();
};
await shoot('oncall-light', '/oncall');
await shoot('oncall-dark', '/oncall?range=360', { dark: true });
await shoot('oncall-390', '/oncall', { width: 390, height: 844 });
await shoot('traces', '/traces');
if (server) {
  const id = '0abc0000'.padStart(32, '5');
  await shoot('trace-light', `/trace/${id}`);
  await shoot('trace-390', `/trace/${id}`, { width: 390, height: 844, dark: true });
  for (const state of ['quiet', 'empty', 'no_genai', 'silent']) {
    server.state = state;
    await shoot(state, '/oncall');
  }
  server.state = 'ok';
  await shoot('help', '/oncall', { act: (p) => p.keyboard.press('?') });
  server.fail = { status: 401, error: 'a key is needed here' };
  await shoot('signin', '/oncall', { width: 390, height: 600 });
}
await browser.close();
server?.closeAllConnections();
server?.close();
