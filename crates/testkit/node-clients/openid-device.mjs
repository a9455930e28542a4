// openid-client with its defaults as a device without a browser: it waits, asks again and again, and refreshes. Reads
// `{"issuer", "client", "resource", "scope", "person"}` from standard input, where `client` is `{"id", "secret"}`; prints the
// introspected token of the refresh before and after the login was revoked.
import { text } from 'node:stream/consumers';
import * as openid from 'openid-client';
import { answerDevice } from './app.mjs';

const { issuer, client, resource, scope, person } = JSON.parse(await text(process.stdin));
const config = await openid.discovery(new URL(issuer), client.id, client.secret, undefined, {
  algorithm: 'oauth2',
  execute: [openid.allowInsecureRequests],
});
const waiting = await openid.initiateDeviceAuthorization(config, { resource, scope: `${scope} offline_access` });
const [first] = await Promise.all([
  openid.pollDeviceAuthorizationGrant(config, waiting),
  answerDevice(waiting, person, 'allow'),
]);
const tokens = await openid.refreshTokenGrant(config, first.refresh_token, { resource });
const before = await openid.tokenIntrospection(config, tokens.access_token);
await openid.tokenRevocation(config, tokens.refresh_token);
const after = await openid.tokenIntrospection(config, tokens.access_token);
console.log(JSON.stringify({ scope: tokens.scope, before, after }));
