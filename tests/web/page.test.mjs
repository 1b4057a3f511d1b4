// SPDX-License-Identifier: GPL-2.0-only
// The page as a person uses it: Chromium on the real cordond. The tests tell one story in order.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const URL = 'https://127.0.0.1/';
const PASSWORD = 'correct horse battery';
const SHOTS = process.env.SHOTS;

// ---- the world around the page ----

const wire = connect(process.env.CORDON_CONTROL);
const answers = createInterface({ input: wire })[Symbol.asyncIterator]();

async function site(...call) {
  wire.write(JSON.stringify(call) + '\n');
  const answer = JSON.parse((await answers.next()).value);
  if (answer.error) throw new Error(`${call[0]}: ${answer.error}`);
  return answer.value;
}

let browser, context, page;
const complaints = [];

function listen(p) {
  p.on('console', (m) => /Content Security|Refused to|violates/.test(m.text()) && complaints.push(m.text()));
  p.on('pageerror', (e) => complaints.push(e.message));
  p.on('request', (r) => r.url().startsWith(URL) || complaints.push(`asked ${r.url()}`));
}

async function shot(name, p = page) {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await p.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
}

/** Nothing sticks out sideways on a screen of 320 pixels. */
async function fitsPhone() {
  await page.setViewportSize({ width: 320, height: 640 });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  await page.setViewportSize({ width: 1280, height: 900 });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 1280);
}

const row = (id, p = page) => p.locator(`article[data-device="${id}"]`);
const status = (id) => row(id).locator('.presence');

async function logIn(p) {
  await p.fill('input[name=user]', 'admin');
  await p.fill('input[name=password]', PASSWORD);
  await p.click('button[type=submit]');
  await p.waitForSelector('[data-live=yes]');
}

before(async () => {
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--ignore-certificate-errors'],
  });
  context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, locale: 'en-GB' });
  context.setDefaultTimeout(20_000);
  page = await context.newPage();
  listen(page);
});

after(async () => {
  await browser?.close();
  wire.end();
});

// ---- the story ----

test('the first visit asks for the setup code and a password', async () => {
  await page.goto(URL);
  await page.waitForSelector('input[name=code]');
  assert.equal(await page.evaluate(() => document.activeElement.name), 'code');
  await fitsPhone();
  await shot('1-setup');
  await page.fill('input[name=code]', 'AAAA-BBBB');
  await page.fill('input[name=password]', PASSWORD);
  await page.fill('input[name=again]', PASSWORD + 'x');
  await page.click('button[type=submit]');
  await page.waitForSelector('.problem:not([hidden])');
  await page.fill('input[name=again]', PASSWORD);
  await page.click('button[type=submit]');
  await page.waitForFunction(() => !/differ/.test(document.querySelector('.problem').textContent));
  assert.ok(await page.locator('.problem:not([hidden])').textContent(), 'a wrong code is refused in words');
  await page.fill('input[name=code]', await site('setup_code'));
  await page.click('button[type=submit]');
  await page.waitForSelector('[data-live=yes]');
});

test('gateway, cloud and ports are shown', async () => {
  await page.getByRole('heading', { level: 1, name: 'Test house' }).waitFor();
  await site('plug', 'cam-1');
  await site('plug', 'plug-1');
  await page.locator('[data-port=lan1]').getByText('Guarded').waitFor();
  await page.getByText('Enforcing').waitFor();
  await page.getByRole('region', { name: 'Cloud' }).getByText('Connected').waitFor();
});

test('the isolation is proven at the press of a button', async () => {
  const proof = page.locator('.proof');
  await proof.getByText('Not tested since').waitFor();
  await proof.getByRole('button', { name: 'Test now' }).click();
  await page.locator('[data-test=passed]').getByText(/^Proven: \d{3} checks passed$/).waitFor();
  await proof.getByText(/just now, in \d+ ms/).waitFor();
  const checks = proof.getByRole('list', { name: 'Checks' });
  await checks.getByText('native: isolated by MAC').first().waitFor();
  assert.equal(await checks.locator('[data-result=failed]').count(), 0);
  await shot('1-proven');
  await proof.getByRole('button', { name: 'Hide checks' }).click();
  await checks.waitFor({ state: 'detached' });
  await page.reload();
  await page.locator('[data-test=passed]').waitFor();
  await proof.getByRole('button', { name: 'Show checks' }).click();
  await checks.getByText('egress: to an isolated MAC').first().waitFor();
  await proof.getByRole('button', { name: 'Hide checks' }).click();
});

test('a device paired with the code on the page appears by itself', async () => {
  await page.getByRole('button', { name: 'Add a device' }).click();
  const code = (await page.getByLabel('Pairing code').textContent()).trim();
  assert.match(await page.getByRole('timer').textContent(), /^[45]:\d\d$/);
  await shot('2-pairing');
  await site('enroll', 'cam-1', code);
  await page.getByRole('button', { name: /Done/ }).click();
  await row('cam-1').waitFor();
});

test('who comes and goes is seen without a reload, with the cause', async () => {
  await page.evaluate(() => (window.untouched = true));
  await site('connect', 'cam-1');
  await status('cam-1').and(page.locator('[data-status=online]')).waitFor();
  await site('kill_client', 'cam-1');
  await status('cam-1').and(page.locator('[data-status=offline][data-cause=reset]')).waitFor();
  await status('cam-1').getByText('connection broke').waitFor();
  await page.locator('.events').getByText('cam-1 came online').first().waitFor();
  assert.equal(await page.evaluate(() => window.untouched), true);
});

test('a waiting device is approved with name and class', async () => {
  assert.equal(await site('ask', 'plug-1'), 202);
  await row('plug-1').getByText('Waiting for approval').waitFor();
  await row('plug-1').getByRole('button', { name: 'Approve' }).click();
  await page.getByLabel('Name').fill('Desk plug');
  await page.getByLabel(/Class/).fill('plug');
  await shot('3-approve');
  await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
  await row('plug-1').getByRole('heading', { name: 'Desk plug' }).waitFor();
  const device = await site('known', 'plug-1');
  assert.deepEqual([device.state, device.name, device.class], ['approved', 'Desk plug', 'plug']);
});

test('quarantine and release with the keyboard alone', async () => {
  await site('connect', 'cam-1');
  await status('cam-1').and(page.locator('[data-status=online]')).waitFor();
  assert.equal(await site('pings', 'cam-1'), true);
  const button = row('cam-1').getByRole('button', { name: 'Quarantine' });
  await button.focus();
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.value), 'isolate', 'focus is in the dialog');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await button.evaluate((b) => b === document.activeElement), true, 'and comes back');
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.type('scans the network');
  await shot('4-quarantine');
  await page.keyboard.press('Enter');
  await row('cam-1').getByText('scans the network').waitFor();
  await row('cam-1').getByText('Isolated').waitFor();
  assert.equal(await site('pings', 'cam-1'), false, 'the kernel drops');
  await status('cam-1').and(page.locator('[data-cause=quarantined]')).waitFor();
  await page.waitForFunction(() => Number(document.querySelector('[data-port=lan1] [data-dropped]').dataset.dropped) > 0);
  await shot('5-isolated');
  const release = row('cam-1').getByRole('button', { name: 'Release' });
  await release.focus();
  await page.keyboard.press('Enter');
  await row('cam-1').getByText('Isolated').waitFor({ state: 'detached' });
  assert.equal(await site('pings', 'cam-1'), true);
});

test('what the command does is seen on the page', async () => {
  await site('cordon', 'quarantine', 'plug-1', '--mode', 'remediate', '--for', '1h', '--reason', 'old firmware');
  await row('plug-1').getByText('Repairs only').waitFor();
  await row('plug-1').getByText('old firmware').waitFor();
  await site('cordon', 'release', 'plug-1');
  await row('plug-1').getByText('Repairs only').waitFor({ state: 'detached' });
});

test('what only one address suffers is shown as that, and an address of nobody can be released', async () => {
  await site('cordon', 'quarantine', '198.51.100.77', '--reason', 'nobody');
  const nobody = page.locator('[data-address="198.51.100.77"]');
  await nobody.getByText('nobody').waitFor();
  const figure = page.locator('.figures div', { hasText: 'Quarantined' }).locator('dd');
  assert.equal((await figure.textContent()).trim(), '0', 'no device is');
  const ip = (await site('known', 'cam-1')).addresses.ipv4[0];
  await site('cordon', 'quarantine', ip);
  await row('cam-1').getByText(`${ip} only`).waitFor();
  await row('cam-1').getByRole('button', { name: 'Quarantine' }).waitFor();
  await shot('5-address');
  await row('cam-1').getByRole('button', { name: 'Release' }).click();
  await row('cam-1').getByText('Isolated').waitFor({ state: 'detached' });
  await nobody.getByRole('button', { name: 'Release' }).click();
  await nobody.waitFor({ state: 'detached' });
});

test('an observed device goes on, and is not counted as cut off', async () => {
  await row('cam-1').getByRole('button', { name: 'Quarantine' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Observe').check();
  await dialog.getByLabel(/Reason/).fill('looks odd');
  await dialog.getByRole('button', { name: 'Quarantine' }).click();
  await row('cam-1').getByText('Observed').waitFor();
  assert.equal(await site('pings', 'cam-1'), true);
  assert.equal((await site('known', 'cam-1')).quarantine.mode, 'observe');
  await row('cam-1').getByRole('button', { name: 'Quarantine' }).waitFor();
  await page.getByRole('button', { name: 'Quarantined', exact: true }).click();
  assert.equal(await page.locator('article.device').count(), 0);
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await row('cam-1').getByRole('button', { name: 'Stop observing' }).click();
  await row('cam-1').getByText('Observed').waitFor({ state: 'detached' });
});

test('a refusal is shown in the words of the gateway, and a good name is kept', async () => {
  const details = row('cam-1').getByRole('button', { name: /Details/ });
  await details.click();
  await row('cam-1').getByRole('button', { name: 'Upload MUD file' }).waitFor();
  assert.equal(await page.locator('[hidden]').filter({ visible: true }).count(), 0, 'what is hidden is not seen');
  await row('cam-1').getByRole('button', { name: 'Rename' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('ü'.repeat(64)); // 128 bytes
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByRole('alert').waitFor();
  assert.ok((await dialog.getByRole('alert').textContent()).length > 5);
  await dialog.getByLabel('Name').fill('Tür');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await row('cam-1').getByRole('heading', { name: 'Tür' }).waitFor();
  await details.click();
});

test('search and filters narrow the list', async () => {
  await page.getByLabel('Search devices').fill('cam-');
  assert.equal(await page.locator('article.device').count(), 1);
  await page.getByLabel('Search devices').fill('nobody of that name');
  await page.getByText('No device matches.').waitFor();
  await page.getByLabel('Search devices').fill('');
  await page.getByRole('button', { name: 'Quarantined', exact: true }).click();
  assert.equal(await page.locator('article.device').count(), 0);
  await page.getByRole('button', { name: 'All', exact: true }).click();
});

test('a screen reader finds landmarks, headings and names', async () => {
  const faults = await page.evaluate(() => {
    const out = [];
    for (const part of ['header', 'main', 'h1', '[role=status][aria-live]'])
      if (!document.querySelector(part)) out.push(`no ${part}`);
    for (const b of document.querySelectorAll('button, input, select')) {
      const label = b.getAttribute('aria-label') ?? b.closest('label')?.textContent ?? b.textContent;
      if (!label?.trim()) out.push(`no name: ${b.outerHTML.slice(0, 80)}`);
    }
    const names = [...document.querySelectorAll('article button')].map((b) => b.textContent);
    if (new Set(names).size !== names.length) out.push('two buttons with one name');
    const levels = [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]));
    levels.forEach((l, i) => i && l > levels[i - 1] + 1 && out.push(`h${l} after h${levels[i - 1]}`));
    for (const s of document.querySelectorAll('section'))
      if (!s.getAttribute('aria-label') && !document.getElementById(s.getAttribute('aria-labelledby')))
        out.push('a section without a name');
    return out;
  });
  assert.deepEqual(faults, []);
});

// Every visible text against what is behind it, WCAG 2.2 AA.
function lowContrast() {
  const rgb = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
  const lum = ([r, g, b]) => {
    const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const out = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('.unseen, .skip, noscript')) continue;
    const [a, b] = [lum(rgb(getComputedStyle(e).color)), lum(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) out.push(`${ratio.toFixed(2)}: ${walk.currentNode.data.trim().slice(0, 40)}`);
  }
  return out;
}

test('text has contrast, by day and by night', async () => {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await page.evaluate(lowContrast), [], colorScheme);
    await shot(`6-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
});

test('it fits a phone of 320 pixels', async () => {
  await page.setViewportSize({ width: 320, height: 640 });
  await row('cam-1').getByRole('button', { name: /Details/ }).click();
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll('button')].filter((b) => b.checkVisibility() && b.offsetHeight < 36).map((b) => b.textContent));
  assert.deepEqual(small, []);
  await shot('7-phone');
  await page.setViewportSize({ width: 1280, height: 900 });
});

test('silence of the gateway is said, and heals by itself', async () => {
  await site('stop');
  await page.getByRole('alert').getByText('Not live.').waitFor();
  await page.getByText(/^At .*: all is well/).waitFor();
  await shot('8-not-live');
  await site('start');
  const back = page.locator('[data-live=yes], input[name=user]');
  await back.first().waitFor({ timeout: 30_000 });
  if (await page.locator('input[name=user]').count()) await logIn(page);
  await row('cam-1').waitFor();
});

test('logging out ends it, and only the right password begins it again', async () => {
  await page.getByRole('button', { name: /Log out/ }).click();
  await page.waitForSelector('input[name=user]');
  assert.equal(await page.locator('article.device').count(), 0, 'nothing is left on the screen');
  await page.fill('input[name=user]', 'admin');
  await page.fill('input[name=password]', 'wrong password');
  await page.click('button[type=submit]');
  await page.waitForSelector('.problem:not([hidden])');
  await fitsPhone();
  await shot('9-login');
  await logIn(page);
});

test('the page asked nobody else, ran nothing inline, and is small', async () => {
  const fresh = await context.newPage();
  listen(fresh);
  let bytes = 0;
  fresh.on('response', async (r) => {
    if (!r.url().includes('/api/')) bytes += Number((await r.allHeaders())['content-length'] ?? 0);
  });
  await fresh.goto(URL);
  await fresh.waitForSelector('[data-live=yes]');
  assert.ok(bytes > 1000 && bytes <= 60_000, `${bytes} bytes`);
  const blocked = await fresh.evaluate(() => {
    const s = document.createElement('script');
    s.textContent = 'window.injected = true';
    document.head.append(s);
    return window.injected !== true;
  });
  assert.ok(blocked, 'an injected script does not run');
  await fresh.close();
  assert.deepEqual(complaints.filter((c) => !/injected|inline script/.test(c)), []);
});
