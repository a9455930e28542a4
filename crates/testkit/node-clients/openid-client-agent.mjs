// openid-client as an agent that proves itself by its JWT-SVID: client credentials, and the exchange of a person's token. Reads
// `{"issuer", "resource", "scope", "redirect_uri", "person", "agent", "api"}` from standard input, where `agent` is
// `{"svid", "spiffe_id"}` and `api` `{"id", "secret"}`; prints what introspection says of both tokens, and of the agent's own after
// it was revoked.
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import * as openid from 'openid-client';
import { Browser } from './browser.mjs';

const { issuer, resource, scope, redirect_uri: redirectUri, person, agent, api } = JSON.parse(await text(process.stdin));
const options = { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] };
const bySvid = (_server, _client, body) => {
  body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe');
  body.set('client_assertion', agent.svid);
};
const asAgent = await openid.discovery(new URL(issuer), agent.spiffe_id, undefined, bySvid, options);
const asApp = await openid.discovery(new URL(issuer), 'support-app', undefined, openid.None(), options);
const asApi = await openid.discovery(new URL(issuer), api.id, undefined, openid.ClientSecretBasic(api.secret), options);

const own = await openid.clientCredentialsGrant(asAgent, { resource, scope });

const pkceCodeVerifier = openid.randomPKCECodeVerifier();
const expectedState = openid.randomState();
const address = openid.buildAuthorizationUrl(asApp, {
  redirect_uri: redirectUri,
  scope,
  state: expectedState,
  code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: 'S256',
});
const browser = new Browser();
const page = await browser.open(address, { callback: redirectUri });
const { url: back } = await browser.submit(page, { name: person.name, password: person.password, decision: 'allow' }, { callback: redirectUri });
const subject = await openid.authorizationCodeGrant(asApp, back, { pkceCodeVerifier, expectedState });
const exchange = (parameters) => openid.genericGrantRequest(asAgent, 'urn:ietf:params:oauth:grant-type:token-exchange', {
  subject_token: subject.access_token,
  subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  resource,
  ...parameters,
});
const mandate = await exchange({ scope });
assert.equal(mandate.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
await assert.rejects(exchange({ scope: 'send:mail' }), { status: 400, error: 'invalid_scope' });

const seen = async (tokens) => openid.tokenIntrospection(asApi, tokens.access_token);
const answers = { own: await seen(own), mandate: await seen(mandate) };
await openid.tokenRevocation(asAgent, own.access_token);
answers.after = await seen(own);
console.log(JSON.stringify(answers));
