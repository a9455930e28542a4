// A company's identity provider on a free loopback port. Reads one JSON object from the first line of standard input,
// `{"resources": {"<audience>": "<scopes>"}}`, with `"opaque"` for resources whose tokens are opaque and
// `"introspector": {"client_id": …, "client_secret": …}` for who may ask about them; prints `{"issuer": …}` once it answers; ends when standard input does.
// With `"login": {"server": "<issuer>", "client_id": …, "client_secret": …, "method": …}` a server whose people log in
// here is a client too, with the redirect URI that the server has for this provider; it hears of logouts.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider, errors } from 'oidc-provider';

const APP = { id: 'intranet', redirectUri: 'http://127.0.0.1:9300/callback' };

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
const [first] = await once(lines, 'line');
const { resources, opaque = {}, introspector, login } = JSON.parse(first);

const keys = [];
for (const alg of ['RS256', 'ES256']) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  keys.push({ ...await exportJWK(privateKey), alg, use: 'sig', kid: alg.toLowerCase() });
}

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = createHash('sha256').update(issuer).digest('hex').slice(0, 16);
const clients = login ? [{
  client_id: login.client_id,
  client_secret: login.client_secret,
  token_endpoint_auth_method: login.method,
  redirect_uris: [`${login.server}/login/callback/${key}`],
  grant_types: ['authorization_code'],
  response_types: ['code'],
  id_token_signed_response_alg: 'ES256',
  require_auth_time: true,
  backchannel_logout_uri: `${login.server}/login/backchannel-logout`,
  backchannel_logout_session_required: true,
}] : [];
if (introspector) {
  clients.push({ ...introspector, grant_types: [], redirect_uris: [], response_types: [] });
}

const provider = new Provider(issuer, {
  jwks: { keys },
  cookies: { keys: [crypto.randomUUID()] },
  clients: [{
    client_id: APP.id,
    token_endpoint_auth_method: 'none',
    redirect_uris: [APP.redirectUri],
    application_type: 'native',
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }, ...clients],
  // Everything here is on loopback, to which the provider's own dispatcher connects nobody.
  fetch: (url, { dispatcher: _, ...options }) => globalThis.fetch(url, options),
  findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  features: {
    // The provider's own login and consent pages, which take any password.
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    introspection: { enabled: Boolean(introspector) },
    revocation: { enabled: Boolean(introspector) },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, audience) => {
        if (Object.hasOwn(opaque, audience)) {
          return { audience, scope: opaque[audience], accessTokenFormat: 'opaque', accessTokenTTL: 600 };
        }
        if (!Object.hasOwn(resources, audience)) throw new errors.InvalidTarget();
        return { audience, scope: resources[audience], accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));
