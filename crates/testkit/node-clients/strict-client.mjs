// Strict clients by other authors against Mandate: `node strict-client.mjs CHECK`. Reads the world from standard input
// as JSON (see `World` in the test that calls it); exits 0 if the check named on the command line holds.
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import { answerDevice, codeFlow, discover, plain } from './app.mjs';

const world = JSON.parse(await text(process.stdin));
const { issuer, person, resource, scope, redirect_uri: redirectUri } = world;
const server = await discover(issuer, 'oauth2');

const supportApp = { client_id: 'support-app' };
const deskApp = { client_id: 'desk-app' };
const portal = { client_id: 'portal' };
const crmApi = { client_id: 'crm-api' };
const basic = oauth.ClientSecretBasic(world.secret);
const portalKey = { kid: world.portal_key.kid, key: await crypto.subtle.importKey(
  'jwk', world.portal_key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'],
) };

function logIn(client, authentication, { password = person.password, decision = 'allow', parameters = { resource, scope }, push } = {}) {
  return codeFlow({
    server,
    client,
    authentication,
    redirectUri,
    parameters,
    push,
    visit: (browser, page, callback) => browser.submit(page, { name: person.name, password, decision }, { callback }),
  });
}

async function tokenOf(client, authentication) {
  const { redeem } = await logIn(client, authentication);
  return (await redeem()).access_token;
}

async function introspect(client, authentication, token) {
  const response = await oauth.introspectionRequest(server, client, authentication, token, plain);
  return oauth.processIntrospectionResponse(server, client, response);
}

async function revoke(client, authentication, token) {
  await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, authentication, token, plain));
}

function validate(token, audience) {
  const request = new Request(new URL('/cases', resource), { headers: { authorization: `Bearer ${token}` } });
  return oauth.validateJwtAccessToken(server, request, audience, plain);
}

/** Waits for the refusal of the token endpoint or one of its siblings, as the library reads it. */
async function refused(request, status, error, why) {
  const thrown = await request.then(() => assert.fail(`not refused: ${why ?? error}`), (reason) => reason);
  // A challenge is an error of its own to the library, which then leaves the body to be read.
  const challenged = thrown.code === oauth.WWW_AUTHENTICATE_CHALLENGE;
  if (challenged) assert.equal(thrown.cause[0].scheme, 'basic');
  const body = challenged ? await thrown.response.json() : thrown;
  assert.deepEqual([thrown.status, body.error], [status, error], why);
  assert.equal(challenged, status === 401, 'RFC 9110 section 15.5.2: 401 comes with a challenge');
}

/** Authenticates as the agent, by its JWT-SVID. */
function bySvid(_server, _client, body) {
  body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe');
  body.set('client_assertion', world.agent.svid);
}

const checks = {
  async metadata() {
    assert.equal(server.issuer, issuer);
    assert.deepEqual(server.response_types_supported, ['code']);
    assert.deepEqual(server.code_challenge_methods_supported, ['S256']);
    assert.equal(server.authorization_response_iss_parameter_supported, true);
    for (const endpoint of ['authorization_endpoint', 'token_endpoint', 'introspection_endpoint', 'revocation_endpoint', 'jwks_uri']) {
      assert.equal(new URL(server[endpoint]).origin, new URL(issuer).origin, endpoint);
    }
    await assert.rejects(discover(`${issuer}/tenant`, 'oauth2'), { code: oauth.RESPONSE_IS_NOT_CONFORM });
  },

  async 'public-client'() {
    const { back, redeem } = await logIn(supportApp);
    assert.equal(back.searchParams.get('iss'), issuer);
    const tokens = await redeem();
    assert.equal(tokens.token_type, 'bearer');
    assert.equal(tokens.refresh_token, undefined);
    await refused(redeem(), 400, 'invalid_grant');

    const other = await logIn(supportApp);
    await refused(other.redeem(oauth.generateRandomCodeVerifier()), 400, 'invalid_grant');
  },

  async 'pushed-request'() {
    assert.equal(new URL(server.pushed_authorization_request_endpoint).origin, new URL(issuer).origin);
    for (const [client, authentication] of [[supportApp, oauth.None()], [deskApp, basic], [portal, oauth.PrivateKeyJwt(portalKey)]]) {
      const { back, redeem } = await logIn(client, authentication, { push: true });
      assert.equal(back.searchParams.get('iss'), issuer);
      const claims = await validate((await redeem()).access_token, resource);
      assert.deepEqual([claims.sub, claims.client_id, claims.scope], [person.name, client.client_id, scope]);
    }
    const strictApp = { client_id: 'strict-app' };
    const required = { code: oauth.AUTHORIZATION_RESPONSE_ERROR, error: 'invalid_request' };
    await assert.rejects(
      codeFlow({ server, client: strictApp, redirectUri, parameters: { resource, scope }, visit: (_browser, page) => page }), required,
    );
    await (await logIn(strictApp, oauth.None(), { push: true })).redeem();

    const push = async (client, authentication, parameters) => {
      const response = await oauth.pushedAuthorizationRequest(server, client, authentication, new URLSearchParams(parameters), plain);
      return oauth.processPushedAuthorizationResponse(server, client, response);
    };
    const good = {
      response_type: 'code', redirect_uri: redirectUri, resource, scope, code_challenge_method: 'S256',
      code_challenge: await oauth.calculatePKCECodeChallenge(oauth.generateRandomCodeVerifier()),
    };
    assert.equal((await push(supportApp, oauth.None(), good)).expires_in, 90);
    await refused(push(deskApp, oauth.ClientSecretBasic('guessed'), good), 401, 'invalid_client');
    await refused(push(supportApp, oauth.None(), { ...good, redirect_uri: 'https://evil.example' }), 400, 'invalid_request');
    await refused(push(supportApp, oauth.None(), { ...good, resource: 'https://elsewhere.example' }), 400, 'invalid_target');
  },

  async 'refresh-token'() {
    assert.ok(server.grant_types_supported.includes('refresh_token'));
    assert.ok(server.scopes_supported.includes('offline_access'));
    const awayApp = { client_id: 'away-app' };
    const parameters = { resource, scope: `${scope} offline_access` };
    const login = async () => (await logIn(awayApp, undefined, { parameters })).redeem();
    const refresh = async (token, additionalParameters) => {
      const response = await oauth.refreshTokenGrantRequest(server, awayApp, oauth.None(), token, { ...plain, additionalParameters });
      return oauth.processRefreshTokenResponse(server, awayApp, response);
    };
    const first = await login();
    const next = await refresh(first.refresh_token, { resource });
    assert.deepEqual([next.token_type, next.scope], ['bearer', scope]);
    const claims = await validate(next.access_token, resource);
    assert.deepEqual([claims.sub, claims.client_id], [person.name, awayApp.client_id]);
    await refused(refresh(next.refresh_token, { scope: 'send:mail' }), 400, 'invalid_scope');
    const last = await refresh(next.refresh_token, { scope });
    await refused(refresh(first.refresh_token), 400, 'invalid_grant', 'used twice');
    await refused(refresh(last.refresh_token), 400, 'invalid_grant', 'the login is over');

    const other = await login();
    await revoke(awayApp, oauth.None(), other.refresh_token);
    await refused(refresh(other.refresh_token), 400, 'invalid_grant', 'revoked');
  },

  async 'device-code'() {
    assert.ok(server.grant_types_supported.includes('urn:ietf:params:oauth:grant-type:device_code'));
    const tvApp = { client_id: 'tv-app' };
    const begin = async (client, authentication, parameters) => {
      const response = await oauth.deviceAuthorizationRequest(server, client, authentication, parameters, plain);
      return oauth.processDeviceAuthorizationResponse(server, client, response);
    };
    const ask = async (client, authentication, code) => {
      const response = await oauth.deviceCodeGrantRequest(server, client, authentication, code, plain);
      return oauth.processDeviceCodeResponse(server, client, response);
    };
    for (const [client, authentication] of [[tvApp, oauth.None()], [deskApp, basic]]) {
      const waiting = await begin(client, authentication, { resource, scope });
      await refused(ask(client, authentication, waiting.device_code), 400, 'authorization_pending');
      await refused(ask(client, authentication, waiting.device_code), 400, 'slow_down');
      await answerDevice(waiting, person, 'allow');
      const tokens = await ask(client, authentication, waiting.device_code);
      assert.deepEqual([tokens.token_type, tokens.scope], ['bearer', scope]);
      const claims = await validate(tokens.access_token, resource);
      assert.deepEqual([claims.sub, claims.client_id], [person.name, client.client_id]);
      await refused(ask(client, authentication, waiting.device_code), 400, 'invalid_grant', 'once');
      if (client === deskApp) assert.deepEqual(await introspect(deskApp, basic, tokens.access_token), { active: false });
    }
    const denied = await begin(tvApp, oauth.None(), { resource, scope });
    await answerDevice(denied, person, 'deny');
    await refused(ask(tvApp, oauth.None(), denied.device_code), 400, 'access_denied');
    await refused(ask(deskApp, basic, denied.device_code), 400, 'invalid_grant', 'of another client');
    await refused(begin(supportApp, oauth.None(), { resource, scope }), 400, 'unauthorized_client');
    await refused(begin(deskApp, oauth.ClientSecretBasic('guessed'), { resource, scope }), 401, 'invalid_client');
    await refused(begin(tvApp, oauth.None(), { resource: 'https://elsewhere.example', scope }), 400, 'invalid_target');
  },

  async 'refused-login'() {
    const denied = { code: oauth.AUTHORIZATION_RESPONSE_ERROR, error: 'access_denied' };
    await assert.rejects(logIn(supportApp, undefined, { decision: 'deny' }), denied);
    await assert.rejects(logIn(supportApp, undefined, { password: 'wrong' }), /not sent back/);
    const parameters = { resource: 'https://elsewhere.example', scope };
    const flow = codeFlow({ server, client: supportApp, redirectUri, parameters, visit: (_browser, page) => page });
    await assert.rejects(flow, { code: oauth.AUTHORIZATION_RESPONSE_ERROR, error: 'invalid_target' });
  },

  async 'validate-access-token'() {
    const token = await tokenOf(supportApp);
    const claims = await validate(token, resource);
    assert.equal(claims.sub, person.name);
    assert.equal(claims.client_id, 'support-app');
    await assert.rejects(validate(token, 'https://elsewhere.example'), { code: oauth.JWT_CLAIM_COMPARISON });

    const jwks = jose.createRemoteJWKSet(new URL(server.jwks_uri));
    const expected = { issuer, audience: resource, typ: 'at+jwt', algorithms: ['ES256'], requiredClaims: ['sub', 'jti', 'client_id', 'exp', 'iat'] };
    const { payload } = await jose.jwtVerify(token, jwks, expected);
    assert.deepEqual(payload, claims);
    await assert.rejects(jose.jwtVerify(token, jwks, { ...expected, issuer: 'https://elsewhere.example' }), { claim: 'iss' });
    const [header, , signature] = token.split('.');
    const forged = [header, jose.base64url.encode(JSON.stringify({ ...payload, sub: 'olga' })), signature].join('.');
    await assert.rejects(jose.jwtVerify(forged, jwks, expected), jose.errors.JWSSignatureVerificationFailed);
  },

  async 'client-secret-basic'() {
    const token = await tokenOf(deskApp, basic);
    const own = await introspect(deskApp, basic, token);
    assert.equal(own.active, true);
    assert.deepEqual([own.sub, own.client_id, own.aud, own.scope], [person.name, 'desk-app', resource, scope]);
    assert.equal((await introspect(crmApi, basic, token)).active, true, 'it is addressed to the resource of this client');
    await refused(introspect(crmApi, oauth.ClientSecretBasic('guessed'), token), 401, 'invalid_client');
    await refused(introspect(supportApp, oauth.None(), token), 401, 'invalid_client', 'a client that proves nothing');

    assert.deepEqual(await introspect(deskApp, basic, await tokenOf(supportApp)), { active: false }, 'it is addressed to another resource');
    await refused(revoke(crmApi, basic, token), 400, 'invalid_grant');
    await revoke(deskApp, basic, token);
    assert.deepEqual(await introspect(deskApp, basic, token), { active: false });
    assert.deepEqual(await introspect(crmApi, basic, token), { active: false });
    await revoke(deskApp, basic, 'nothing that we issued');
  },

  async 'private-key-jwt'() {
    const signed = oauth.PrivateKeyJwt(portalKey);
    const token = await tokenOf(portal, signed);
    assert.equal((await introspect(portal, signed, token)).active, true);
    await revoke(portal, signed, token);
    assert.deepEqual(await introspect(portal, signed, token), { active: false });

    const assertion = (change) => oauth.PrivateKeyJwt(portalKey, { [oauth.modifyAssertion]: (_header, payload) => change(payload) });
    const once = assertion((payload) => { payload.jti = 'the same twice'; });
    assert.deepEqual(await introspect(portal, once, token), { active: false });
    await refused(introspect(portal, once, token), 401, 'invalid_client', 'used twice');
    const elsewhere = assertion((payload) => { payload.aud = server.token_endpoint; });
    await refused(introspect(portal, elsewhere, token), 401, 'invalid_client', 'the audience is the issuer alone');
    const { privateKey } = await jose.generateKeyPair('ES256');
    const stranger = oauth.PrivateKeyJwt({ key: privateKey, kid: portalKey.kid });
    await refused(introspect(portal, stranger, token), 401, 'invalid_client');
  },

  async 'token-exchange'() {
    const agent = { client_id: world.agent.spiffe_id };
    // A token that names no resource is addressed to the issuer: to be exchanged.
    const { redeem } = await logIn(supportApp, undefined, { parameters: {} });
    const { access_token: subject } = await redeem();
    assert.equal((await validate(subject, issuer)).sub, person.name);
    const exchange = async (parameters) => {
      const response = await oauth.genericTokenEndpointRequest(
        server, agent, bySvid, 'urn:ietf:params:oauth:grant-type:token-exchange',
        { subject_token: subject, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource, ...parameters }, plain,
      );
      return oauth.processGenericTokenEndpointResponse(server, agent, response);
    };
    const mandate = await exchange({ scope });
    assert.equal(mandate.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
    assert.equal(mandate.token_type, 'bearer');
    const claims = await validate(mandate.access_token, resource);
    assert.deepEqual([claims.sub, claims.act.sub, claims.scope], [person.name, world.agent.spiffe_id, scope]);
    await refused(exchange({ resource: 'https://elsewhere.example', scope }), 400, 'invalid_target');
    await refused(exchange({ scope: 'send:mail' }), 400, 'invalid_scope');
  },

  async 'client-credentials'() {
    assert.ok(server.grant_types_supported.includes('client_credentials'));
    const agent = { client_id: world.agent.spiffe_id };
    const ask = async (client, authentication, parameters) => {
      const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, { resource, ...parameters }, plain);
      return oauth.processClientCredentialsResponse(server, client, response);
    };
    const own = await ask(agent, bySvid, { scope });
    assert.deepEqual([own.token_type, own.scope, own.refresh_token], ['bearer', scope, undefined]);
    const claims = await validate(own.access_token, resource);
    assert.deepEqual([claims.sub, claims.client_id, claims.sub_profile], [agent.client_id, agent.client_id, 'ai_agent']);
    assert.equal(claims.act, undefined);
    const seen = await introspect(crmApi, basic, own.access_token);
    assert.deepEqual([seen.active, seen.sub, seen.sub_profile], [true, agent.client_id, 'ai_agent']);

    await refused(ask(agent, bySvid, { scope, resource: 'https://elsewhere.example' }), 400, 'invalid_target');
    await refused(ask(agent, bySvid, { scope: 'send:mail' }), 400, 'invalid_scope');
    await refused(ask(deskApp, basic, { scope }), 400, 'unauthorized_client', 'an app has no authority of its own');
    await refused(ask(supportApp, oauth.None(), { scope }), 401, 'invalid_client', 'a client that proves nothing');
    const exchange = oauth.genericTokenEndpointRequest(
      server, agent, bySvid, 'urn:ietf:params:oauth:grant-type:token-exchange',
      { subject_token: own.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource }, plain,
    ).then((response) => oauth.processGenericTokenEndpointResponse(server, agent, response));
    await refused(exchange, 400, 'invalid_request', 'it is no subject token');
    await revoke(agent, bySvid, own.access_token);
    assert.deepEqual(await introspect(crmApi, basic, own.access_token), { active: false });
  },
};

const check = process.argv[2];
assert.ok(Object.hasOwn(checks, check), `no check is called ${check}`);
await checks[check]();
