// The page against a stand-in server: states that a live one reaches only after hours, the keyboard, the phone, accessibility.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';
import { closeBrowser, open } from './browser.mjs';
import { sessionId, startMock } from './mock.mjs';

const axeFile = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const id = '0abc0000'.padStart(32, '5');
let server, base, page;
before(async () => {
  server = await startMock('ok');
  base = `http://127.0.0.1:${server.address().port}`;
});
after(async () => {
  await closeBrowser();
  server?.closeAllConnections();
  server?.close();
});
afterEach(async () => {
  const trouble = page?.trouble ?? [];
  await page?.context().close();
  page = undefined;
  server.state = 'ok';
  server.fail = null;
  server.acknowledged = server.silences = undefined;
  assert.deepEqual(trouble, []);
});

async function visit(path, options) {
  page = await open(options);
  await page.goto(base + path);
  await page.waitForSelector('main h1, main .sentence');
  return page;
}

// The axe script is put in by the debugger, which no page policy governs; it looks, it does not load.
async function serious() {
  await page.evaluate((await import('node:fs')).readFileSync(axeFile, 'utf8'));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).slice(0, 3).join(' | ')}`);
}

test('a burning objective: the sentence first, then numbers, the alert, the table and pictures', async () => {
  await visit('/oncall');
  assert.match(await page.textContent('h1.sentence.bad'), /1 SLO burning/);
  assert.match(await page.textContent('[data-tile=budget] .value'), /41/);
  assert.match(await page.textContent('.alert'), /21\.4×/);
  assert.equal(await page.locator('tr[data-row]').first().locator('.state').textContent(), '▲ burning');
  await page.waitForSelector('.plot canvas');
  assert.ok((await page.locator('.plot canvas').count()) >= 8);
  assert.match(await page.title(), /▲ 1 burning/);
  const order = await page.evaluate(() => ['h1.sentence', '.tiles', '.alerts', '.charts'].map((s) => document.querySelector(s).getBoundingClientRect().top));
  assert.deepEqual([...order].sort((a, b) => a - b), order);
});

test('an alert says what changed and what to do, is acknowledged and silenced, and the silence ended', async () => {
  await visit('/oncall');
  const alert = page.locator('.alert').first();
  assert.match(await alert.textContent(), /Changed before: .*deploy: checkout 1\.8\.2/);
  assert.equal(await alert.locator('a', { hasText: 'what to do' }).getAttribute('href'), '/runbooks/errors');
  await page.waitForSelector('[data-section=changes] tbody tr');
  assert.match(await page.textContent('[data-section=changes]'), /new version 1\.8\.2/);
  assert.match(await page.getAttribute('[data-section=changes] a[href^="https://ci"]', 'href'), /ci\.example\.com\/42/);

  await alert.getByRole('button', { name: 'acknowledge' }).click();
  await page.getByLabel('your name').fill('Ann');
  await page.keyboard.press('Enter');
  await page.getByText('Ann works on it').waitFor();
  assert.equal(await alert.getByRole('button', { name: 'acknowledge' }).count(), 0);

  await alert.getByRole('button', { name: 'silence' }).click();
  assert.equal(await page.getByLabel('your name').inputValue(), 'Ann', 'the name is remembered');
  await page.getByLabel('why').fill('provider works on it');
  await page.getByLabel('for').selectOption({ label: '8 h' });
  await alert.getByRole('button', { name: 'silence' }).click();
  await page.getByText('provider works on it').first().waitFor();
  const [silence] = server.silences;
  assert.deepEqual(silence.matchers.map((m) => `${m.name}=${m.value}`).sort(), ['alertname=SLOBurnRate', 'rule=2%-in-1h', 'service=checkout', 'slo=checkout-availability']);
  assert.ok(Math.abs(Date.parse(silence.endsAt) - Date.now() - 8 * 3600000) < 60000);
  await page.waitForSelector('[data-section=silences] tbody tr');
  assert.deepEqual(await serious(), []);
  await page.locator('[data-section=silences]').getByRole('button', { name: 'end now' }).click();
  await page.waitForSelector('[data-section=silences]', { state: 'detached' });
});

for (const [state, needle] of [['empty', /No data yet/], ['no_genai', /no model call among them/]])
  test(`state ${state} says what to do`, async () => {
    server.state = state;
    await visit('/oncall');
    assert.match(await page.textContent(`[data-state=${state}]`), needle);
    if (state === 'empty') assert.match(await page.textContent('.paste'), /OTEL_EXPORTER_OTLP_ENDPOINT=http:\/\/127\.0\.0\.1:4318/);
    assert.equal(await page.locator('.charts').count(), 0);
    assert.deepEqual(await serious(), []);
  });

test('nothing new for minutes is said, and is a gap, not a zero', async () => {
  server.state = 'silent';
  await visit('/oncall');
  assert.match(await page.textContent('.notice.warn'), /No new data since/);
});

test('a server that is gone leaves the last numbers and says from when; it comes back by itself', async () => {
  await visit('/oncall');
  const port = server.address().port;
  await page.focus('tr[data-row] a.rowlink');
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await page.waitForSelector('.notice.bad', { timeout: 15000 });
  assert.match(await page.textContent('.notice.bad'), /does not answer.*as it was at \d\d:\d\d:\d\d/s);
  assert.match(await page.textContent('[data-tile=budget] .value'), /41/);
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  await page.waitForSelector('.notice.bad', { state: 'detached', timeout: 15000 });
  assert.equal(await page.evaluate(() => document.activeElement.className), 'rowlink', 'the focus survived');
});

test('a key is asked for once', async () => {
  server.fail = { status: 401, error: 'a key is needed here' };
  await visit('/oncall');
  assert.match(await page.textContent('h1'), /asks for a key/);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'key');
  await page.keyboard.type('tta_something');
  await page.keyboard.press('Enter');
  await page.waitForSelector('h1.sentence');
});

test('the keyboard does everything: rows, search, help, time, zoom, pages', async () => {
  await visit('/oncall');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  assert.match(await page.evaluate(() => document.activeElement.textContent), /checkout availability/);
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForURL(/slo=ttft/);
  await page.keyboard.press('?');
  assert.match(await page.textContent('.help'), /error budget/);
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('.help').count(), 0);
  await page.keyboard.press('[');
  await page.waitForURL(/to=\d+/);
  await page.keyboard.press('l');
  await page.waitForURL((u) => !u.searchParams.has('to'));
  await page.keyboard.press('+');
  await page.waitForURL(/range=30/);
  await page.keyboard.press('/');
  await page.keyboard.type('mini');
  await page.keyboard.press('Enter');
  await page.waitForURL(/model=gpt-4o-mini/);
  assert.match(await page.textContent('.filters'), /gpt-4o-mini/);
  await page.keyboard.press('Escape');
  await page.waitForURL((u) => !u.searchParams.has('model'));
  await page.keyboard.press('g');
  await page.keyboard.press('t');
  await page.waitForURL(/\/traces/);
  await page.waitForSelector('tr[data-row]');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/trace\//);
  await page.waitForSelector('.waterfall');
  await page.keyboard.press('Escape');
  await page.waitForURL(/\/traces/);
});

test('y copies a link that shows the same tomorrow', async () => {
  await visit('/oncall?range=180');
  await page.keyboard.press('y');
  await page.waitForFunction(() => document.querySelector('.said').textContent.includes('copied'));
  const link = new URL(await page.evaluate(() => navigator.clipboard.readText()));
  assert.equal(link.searchParams.get('range'), '180');
  assert.ok(Number(link.searchParams.get('to')) > Date.now() - 120000);
});

test('dragging over a picture selects its time', async () => {
  await visit('/oncall?range=180');
  await page.waitForSelector('.plot canvas');
  const plot = page.locator('.plot .u-over').nth(3);
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/to=\d+/);
  const range = Number(new URL(page.url()).searchParams.get('range'));
  assert.ok(range > 30 && range < 80, String(range));
  await page.goBack();
  await page.waitForURL((u) => !u.searchParams.has('to'));
});

test('the waterfall: critical path, failure by shape, what the model said, hostile names as text', async () => {
  await visit(`/trace/${id}`);
  assert.equal(await page.locator('.time.critical').count(), 5);
  assert.match(await page.locator('a.span').nth(4).textContent(), /▲.*rate limited/s);
  await page.locator('a.span').nth(5).click();
  await page.waitForURL(/span=06/);
  assert.match(await page.textContent('.messages'), /Where is my order\?/);
  assert.match(await page.textContent('.facts'), /TTFT420 ms/);
  assert.match(await page.locator('a.span').nth(5).textContent(), /‖ stalled 650 ms.*first token after 420 ms, 186 tokens per second/s);
  assert.match(await page.textContent('.facts'), /stalls1: 650 ms at \+1.1 s/);
  assert.match(await page.getAttribute('.flow', 'aria-label'), /^476 tokens in 2\.98 s, the first after 420 ms, 1 stall$/);
  assert.match(await page.textContent('.facts'), /\$0\.0087/);
  await page.locator('a.span').nth(0).click();
  await page.waitForURL(/span=01/);
  assert.match(await page.textContent('.detail'), /__proto__/);
});

test('an answer whose sentence nothing supports: marked by word and line, its nearest passage beside it, and a person has the last word', async () => {
  await visit(`/trace/${id}?span=06`);
  assert.match(await page.locator('a.span').nth(5).textContent(), /◆ probably not supported/);
  const mark = page.locator('mark.unsupported');
  assert.equal(await mark.count(), 1);
  assert.match(await mark.textContent(), /^unsupported 91.%and <b>arrives<\/b> tomorrow\.$/);
  assert.match(await mark.evaluate((e) => getComputedStyle(e).textDecorationLine), /underline/);
  assert.match(await page.textContent('.judged .answer'), /It left our warehouse this morning/);
  assert.match(await page.textContent('.evidence'), /Delivery takes three to five working days\..*similarity 0\.41/s);
  assert.match(await page.textContent('.evidence'), /its document is not stored, or was changed since/);
  assert.equal(await page.getAttribute('.evidence footer a', 'href'), `/trace/${id}?span=02`);
  await page.locator('.feedback button', { hasText: 'confirm' }).click();
  await page.waitForSelector('.feedback button[aria-pressed=true]');
  assert.deepEqual(server.feedback, { trace_id: id, span_id: '06', label: 'hallucinated', annotator: 'page' });
  assert.match(await page.textContent('.feedback'), /a person says: not supported/);
  await page.locator('a.span').nth(0).click();
  await page.waitForURL(/span=01/);
  assert.equal(await page.locator('[data-grounding]').count(), 0);
});

test('grounding: a rate with its interval or the labels that are missing, never the share of flags', async () => {
  await visit('/grounding');
  const rows = page.locator('section[aria-label=streams] tbody tr');
  assert.match(await rows.nth(0).textContent(), /support-bot.*11.%.*7\.1.% to 16.%/s);
  assert.match(await rows.nth(0).textContent(), /surging/);
  assert.match(await rows.nth(1).textContent(), /not known: 4 labels, 30 needed/);
  assert.doesNotMatch(await page.textContent('main'), /11\.8/, '96 of 812 is no rate');
  assert.match(await page.textContent('section[aria-label=services]'), /support-bot.*80.%/s);
  server.state = 'empty';
  await visit('/grounding');
  assert.match(await page.textContent('.notice.warn'), /Answers are not checked: no model file/);
});

const session = `/session/${encodeURIComponent(sessionId)}`;

test('a session: what it cost, how its context grew, its turns and what was done in one', async () => {
  await visit('/sessions');
  assert.equal(await page.locator('table tbody tr').count(), 2);
  assert.match(await page.locator('table tbody tr').nth(1).textContent(), /codex_cli_rs.*\$0\.28\d* \+/s, 'a cost that lacks calls says so');
  await page.locator('a.rowlink').first().click();
  await page.waitForURL(/\/session\/fix%20the%2Flogin%20bug$/);
  await page.waitForSelector('.growth svg');
  assert.match(await page.textContent('h1'), /claude-code: 2 turns, \$0\.28\d* ▲ 1 failed/);
  assert.match(await page.getAttribute('.growth svg', 'aria-label'), /8 calls of the main line: from 12,000 to 61,000 tokens, at most 150,000, 1 compaction/);
  assert.equal(await page.locator('.growth .compaction').count(), 1);
  assert.equal(await page.locator('.growth .turn').count(), 1);
  assert.match(await page.textContent('[data-section=steps]'), /<img src=x>/, 'hostile names are text');
  assert.match(await page.textContent('[data-section=steps]'), /compaction, auto: 150,000 → 20,000 tokens/);
  await page.locator('[data-section=turns] a.rowlink').nth(1).click();
  await page.waitForURL(/turn=1$/);
  assert.match(await page.textContent('[data-section=steps] h2'), /Steps of turn 2 5/);
  assert.match(await page.textContent('[data-section=steps]'), /Write.*▲ rejected/s);
  await page.locator('[data-section=steps] td a', { hasText: 'trace' }).first().click();
  await page.waitForURL(/\/trace\/.*span=0600000000000000/);
  await page.goBack();
  await page.waitForURL(/turn=1$/);
});

test('a session that is not stored, and a list that is not whole', async () => {
  page = await open();
  await page.goto(base + '/session/nobody');
  await page.waitForSelector('h1');
  assert.match(await page.textContent('main'), /No such session/);
  page.trouble.length = 0; // the browser reports the 404 that was asked for
  server.state = 'much';
  await page.goto(base + '/sessions');
  assert.match(await page.textContent('.notice.warn'), /older sessions are missing/);
});

for (const dark of [false, true])
  for (const path of ['/oncall', '/traces', `/trace/${id}`, '/sessions', session, '/grounding', `/trace/${id}?span=06`])
    test(`no serious accessibility fault on ${path.slice(0, 12)} (${dark ? 'dark' : 'light'})`, async () => {
      await visit(path, { dark });
      await page.waitForTimeout(300);
      assert.deepEqual(await serious(), []);
    });

for (const path of ['/oncall', '/traces', `/trace/${id}`, '/sessions', session, '/grounding', `/trace/${id}?span=06`])
  test(`a phone of 390 px shows ${path.slice(0, 12)} without scrolling sideways`, async () => {
    await visit(path, { width: 390, height: 844 });
    await page.waitForTimeout(300);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
    const small = await page.evaluate(() => [...document.querySelectorAll('header a, header button, main button, tr[data-row] a.rowlink')]
      .filter((e) => e.offsetParent && !e.closest('.until') && !e.classList.contains('copy') && e.getBoundingClientRect().height < 44).map((e) => e.textContent));
    assert.deepEqual(small, [], 'touch targets');
  });
