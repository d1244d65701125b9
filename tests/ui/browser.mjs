// A page that fails the test on a script error, a violation of the content security policy, or a request to anywhere else.
import { chromium } from 'playwright-core';

let browser;
export async function open({ width = 1440, height = 900, dark = false } = {}) {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  const trouble = [];
  page.on('pageerror', (e) => trouble.push(`script: ${e.stack ?? e}`));
  page.on('console', (m) => {
    if (/Content.Security.Policy/i.test(m.text())) trouble.push(`policy: ${m.text()}`);
  });
  page.on('request', (r) => {
    const url = new URL(r.url());
    if (url.hostname !== '127.0.0.1' && url.protocol !== 'data:') trouble.push(`foreign request: ${r.url()}`);
  });
  page.trouble = trouble;
  return page;
}
export const closeBrowser = () => browser?.close();
