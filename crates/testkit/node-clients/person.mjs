// A person logs in at the company's identity provider. Reads `{"issuer", "login", "resource", "scope"}` from standard
// input; prints `{"access_token", "id_token"}`.
import { text } from 'node:stream/consumers';
import { codeFlow, discover } from './app.mjs';

const { issuer, login, resource, scope } = JSON.parse(await text(process.stdin));
const server = await discover(issuer, 'oidc');
const { redeem } = await codeFlow({
  server,
  client: { client_id: 'intranet' },
  redirectUri: 'http://127.0.0.1:9300/callback',
  parameters: { resource, scope: `openid ${scope}` },
  visit: async (browser, page, callback) => {
    const consent = await browser.submit(page, { login, password: 'any' }, { callback });
    return browser.submit(consent, {}, { callback });
  },
});
const { access_token, id_token } = await redeem();
console.log(JSON.stringify({ access_token, id_token }));
