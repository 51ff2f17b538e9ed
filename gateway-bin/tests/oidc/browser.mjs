// A user in a browser in front of the gateway: login, several tabs, refresh, changed cookies, another user, logout.
//
//   node browser.mjs CHROMIUM GATEWAY-ORIGIN PROVIDER-ORIGIN
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import puppeteer from 'puppeteer-core';

const [executablePath, gateway, provider] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'],
});
const counts = async () => (await fetch(`${provider}/counts`)).json();
const step = (text) => console.log(`- ${text}`);

// Fills the pages of the provider until the browser is back at the gateway.
async function logIn(page, name) {
  await page.bringToFront();
  for (let pages = 0; new URL(page.url()).origin === provider; pages += 1) {
    assert(pages < 5, `the provider does not return: ${page.url()}`);
    if (await page.$('input[name=login]')) {
      await page.type('input[name=login]', name);
      await page.type('input[name=password]', 'any');
    }
    await Promise.all([page.waitForNavigation(), page.click('button[type=submit]')]);
  }
}

// A browser without cookies.
async function fresh() {
  const context = await browser.createBrowserContext();
  return { context, page: await context.newPage() };
}

try {
  const { context, page } = await fresh();

  step('a page without a session leads to the provider, and the login back to the page');
  await page.goto(`${gateway}/page?x=1`);
  assert.equal(new URL(page.url()).origin, provider);
  const second = await context.newPage();
  await second.goto(`${gateway}/second`);
  await logIn(page, 'ada');
  assert.equal(page.url(), `${gateway}/page?x=1`);
  const cookies = await context.cookies();
  const own = cookies.filter((cookie) => /^(Oauth|Access|IdToken|Refresh)/.test(cookie.name));
  assert(own.length >= 5, `cookies: ${own.map((cookie) => cookie.name)}`);
  assert(own.every((cookie) => cookie.httpOnly && cookie.secure));
  assert(!cookies.some((cookie) => cookie.value.includes('eyJ')), 'a token is readable');

  step('a login that began in another tab ends at its own page');
  await logIn(second, 'ada');
  assert.equal(second.url(), `${gateway}/second`);

  step('requests at once after the end of the access token share one refresh');
  await sleep(5500);
  const before = (await counts()).refresh_token ?? 0;
  const statuses = await page.evaluate(async () => {
    const requests = Array.from({ length: 10 }, (_, n) => fetch(`/parallel/${n}`, { redirect: 'manual' }));
    return (await Promise.all(requests)).map((response) => response.status);
  });
  assert.deepEqual(statuses, Array(10).fill(200));
  assert.equal((await counts()).refresh_token, before + 1);

  step('a second refresh uses the token of the first');
  await sleep(5500);
  const again = await page.goto(`${gateway}/again`);
  assert.equal(again.status(), 200);
  assert.equal(page.url(), `${gateway}/again`);
  assert.equal((await counts()).refresh_token, before + 2);

  step('a changed cookie is no session');
  const expiry = (await context.cookies()).find((cookie) => cookie.name.startsWith('OauthExpires'));
  await context.setCookie({ ...expiry, value: '4102444800' });
  const refused = await page.evaluate(async () => (await fetch('/', { redirect: 'manual' })).type);
  assert.equal(refused, 'opaqueredirect');
  await page.goto(`${gateway}/back`);
  assert.equal(page.url(), `${gateway}/back`, 'the session at the provider logs in again');

  step('another user logs in and is not authorized');
  const other = await fresh();
  await other.page.goto(`${gateway}/`);
  await logIn(other.page, 'eve');
  assert.match(await other.page.evaluate(() => document.body.innerText), /RBAC: access denied/);

  step('a logout ends the session at the gateway and at the provider');
  await page.bringToFront();
  await page.goto(`${gateway}/logout`);
  assert.equal(new URL(page.url()).origin, provider);
  await Promise.all([page.waitForNavigation(), page.click('button[value=yes]')]);
  const left = (await context.cookies()).filter((cookie) => /^(OauthHMAC|Access|Id|Refresh)/.test(cookie.name));
  assert.deepEqual(left, []);
  await page.goto(`${gateway}/page`);
  assert(await page.$('input[name=login]'), `no login page at ${page.url()}`);
} finally {
  await browser.close();
}
