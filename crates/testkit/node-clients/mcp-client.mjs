// The MCP SDK as a client of an API behind Mandate: from its 401 to a token that it accepts. Reads `{"server_url",
// "redirect_uri", "client", "person"}` from standard input, where `client` is one that is registered already, or
// `{"metadata_url"}` where the client's metadata are, or `{"token_endpoint_auth_method"}` to register itself with;
// prints what the API answered, the token, its scope, and the parameters of the authorization request.
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { auth, extractWWWAuthenticateParams } from '@modelcontextprotocol/client';
import { Browser } from './browser.mjs';

const { server_url: serverUrl, redirect_uri: redirectUri, client, person } = JSON.parse(await text(process.stdin));

const kept = { client: client.client_id ? client : undefined };
const provider = {
  redirectUrl: redirectUri,
  clientMetadata: {
    redirect_uris: [redirectUri],
    client_name: 'An MCP client',
    token_endpoint_auth_method: client.token_endpoint_auth_method,
  },
  clientMetadataUrl: client.metadata_url,
  clientInformation: () => kept.client,
  saveClientInformation: (information) => { kept.client = information; },
  state: () => 'the state',
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  redirectToAuthorization: (address) => { kept.address = address; },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
};

const refused = await fetch(serverUrl);
assert.equal(refused.status, 401);
const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(refused);
assert.equal(await auth(provider, { serverUrl, resourceMetadataUrl, scope }), 'REDIRECT');

const browser = new Browser();
const page = await browser.open(kept.address, { callback: redirectUri });
const { url: back } = await browser.submit(page, { name: person.name, password: person.password, decision: 'allow' }, { callback: redirectUri });
assert.equal(back.searchParams.get('state'), 'the state');
const authorizationCode = back.searchParams.get('code');
assert.ok(authorizationCode, `no code: ${back}`);
const iss = back.searchParams.get('iss');
assert.equal(await auth(provider, { serverUrl, resourceMetadataUrl, authorizationCode, iss }), 'AUTHORIZED');

const answer = await fetch(serverUrl, { headers: { authorization: `Bearer ${kept.tokens.access_token}` } });
console.log(JSON.stringify({
  status: answer.status,
  scope: kept.tokens.scope,
  token: kept.tokens.access_token,
  asked: Object.fromEntries(kept.address.searchParams),
}));
