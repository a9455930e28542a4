// openid-client with its defaults: discovery, a code with PKCE, a refresh, introspection and revocation. Reads `{"issuer", "client",
// "resource", "scope", "redirect_uri", "person", "push"}` from standard input, where `client` is `{"id", "secret"}`, and the
// request is pushed before (RFC 9126) if `push` is true; prints the introspected token of the refresh before and after the
// login was revoked.
import { text } from 'node:stream/consumers';
import * as openid from 'openid-client';
import { Browser } from './browser.mjs';

const { issuer, client, resource, scope, redirect_uri: redirectUri, person, push } = JSON.parse(await text(process.stdin));
// A secret and no method: the library chooses one.
const config = await openid.discovery(new URL(issuer), client.id, client.secret, undefined, {
  algorithm: 'oauth2',
  execute: [openid.allowInsecureRequests],
});
const pkceCodeVerifier = openid.randomPKCECodeVerifier();
const expectedState = openid.randomState();
const parameters = {
  redirect_uri: redirectUri,
  scope: `${scope} offline_access`,
  resource,
  state: expectedState,
  code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: 'S256',
};
const address = push
  ? await openid.buildAuthorizationUrlWithPAR(config, parameters)
  : openid.buildAuthorizationUrl(config, parameters);
const browser = new Browser();
const page = await browser.open(address, { callback: redirectUri });
const { url: back } = await browser.submit(page, { name: person.name, password: person.password, decision: 'allow' }, { callback: redirectUri });
const first = await openid.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState }, { resource });
const tokens = await openid.refreshTokenGrant(config, first.refresh_token, { resource });
const before = await openid.tokenIntrospection(config, tokens.access_token);
await openid.tokenRevocation(config, tokens.refresh_token);
const after = await openid.tokenIntrospection(config, tokens.access_token);
console.log(JSON.stringify({ scope: tokens.scope, before, after }));
