// An API that checks Mandate's access tokens (RFC 9068) with jose.
//
//     npm ci
//     node api.mjs ISSUER OWN_URL [CLIENT_ID SECRET_FILE]
//
// GET /notes needs the scope read:notes, POST /notes/new needs write:notes. OWN_URL is the resource's URI in the registry.
// A signature says nothing about revocation: with CLIENT_ID, the resource's client in the registry, every call that
// changes something asks the issuer whether the token is still active (RFC 7662). Without it, a revoked token works until
// it expires.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import * as jose from 'jose';

const [issuerUrl, ownUrl, clientId, secretFile] = process.argv.slice(2);
if (!ownUrl || (clientId && !secretFile)) {
  console.error('usage: node api.mjs ISSUER OWN_URL [CLIENT_ID SECRET_FILE]');
  process.exit(2);
}
const metadataUrl = `${ownUrl}/.well-known/oauth-protected-resource`;
const issuer = await (await fetch(`${issuerUrl}/.well-known/oauth-authorization-server`)).json();
const keys = jose.createRemoteJWKSet(new URL(issuer.jwks_uri));
const notes = [];

// What is wrong with a request: the HTTP status, and the error of RFC 6750 section 3.1.
class Refused extends Error {
  constructor(status, error, description) {
    super(description);
    Object.assign(this, { status, error });
  }
}

// The claims of the token in an Authorization header (RFC 9068 section 4).
async function verified(header = '') {
  const [scheme, token] = header.split(' ');
  if (scheme.toLowerCase() !== 'bearer' || !token) throw new Refused(401, undefined, 'no access token');
  try {
    const { payload } = await jose.jwtVerify(token, keys, {
      algorithms: ['ES256'],
      typ: 'at+jwt',
      issuer: issuer.issuer,
      audience: ownUrl,
      requiredClaims: ['sub', 'exp', 'iat', 'jti', 'client_id'],
    });
    return { token, claims: payload };
  } catch (error) {
    if (error instanceof jose.errors.JWKSTimeout || !(error instanceof jose.errors.JOSEError)) {
      throw new Refused(503, undefined, "the issuer's keys cannot be fetched");
    }
    throw new Refused(401, 'invalid_token', error.message);
  }
}

// Whether the issuer still stands by the token (RFC 7662).
async function stillActive(token) {
  const secret = (await readFile(secretFile, 'utf8')).trim();
  // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
  const encoded = [clientId, secret].map((part) => new URLSearchParams({ '': part }).toString().slice(1)).join(':');
  const response = await fetch(issuer.introspection_endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(encoded).toString('base64')}` },
    body: new URLSearchParams({ token }),
  });
  if (!response.ok) throw new Refused(503, undefined, 'the issuer does not answer');
  return (await response.json()).active === true;
}

async function guarded(request, scope, changesSomething) {
  const { token, claims } = await verified(request.headers.authorization);
  if (!(claims.scope ?? '').split(' ').includes(scope)) {
    throw new Refused(403, 'insufficient_scope', `the access token lacks ${scope}`);
  }
  if (changesSomething && clientId && !(await stillActive(token))) {
    throw new Refused(401, 'invalid_token', 'the access token is no longer active');
  }
  return claims;
}

const routes = {
  'GET /.well-known/oauth-protected-resource': {
    answer: () => ({ resource: ownUrl, authorization_servers: [issuer.issuer], scopes_supported: ['read:notes', 'write:notes'] }),
  },
  'GET /notes': { scope: 'read:notes', answer: () => notes },
  'POST /notes/new': {
    scope: 'write:notes',
    changesSomething: true,
    async answer(request, claims) {
      const note = { text: await text(request), for: claims.sub, by: claims.act?.sub, token: claims.jti };
      notes.push(note);
      return note;
    },
  },
};

const server = createServer(async (request, response) => {
  const reply = (status, body, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
  const route = routes[`${request.method} ${request.url}`];
  if (!route) return reply(404, { error: 'not_found' });
  try {
    const claims = route.scope && (await guarded(request, route.scope, route.changesSomething));
    return reply(200, await route.answer(request, claims));
  } catch (error) {
    const { status = 503, error: code } = error;
    const challenge = [`resource_metadata="${metadataUrl}"`];
    if (code) challenge.unshift(`error="${code}"`, `scope="${route.scope}"`);
    const headers = status === 503 ? {} : { 'www-authenticate': `Bearer ${challenge.join(', ')}` };
    return reply(status, { error: code ?? 'unavailable', error_description: error.message }, headers);
  }
});
const { hostname, port } = new URL(ownUrl);
server.listen(Number(port), hostname, () => {
  console.log(`The API listens on ${ownUrl}, for tokens of ${issuer.issuer}.`);
});
