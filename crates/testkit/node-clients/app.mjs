// An app: discovery, authorization code with PKCE, token endpoint, all checked by a strict client library.
import * as oauth from 'oauth4webapi';
import { Browser } from './browser.mjs';

/** The tests' servers are on loopback, where plain HTTP is right. */
export const plain = { [oauth.allowInsecureRequests]: true };

export async function discover(issuer, algorithm) {
  const response = await oauth.discoveryRequest(new URL(issuer), { ...plain, algorithm });
  return oauth.processDiscoveryResponse(new URL(issuer), response);
}

/**
 * Logs a person in. `visit(browser, page, callback)` does what the person does on the pages and gives the page on which
 * they end. The answer has the address to which they were sent `back`, and `redeem`, which gives the tokens. `push`:
 * the request is pushed before (RFC 9126).
 */
export async function codeFlow({ server, client, authentication = oauth.None(), redirectUri, parameters, visit, push = false }) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint);
  let query = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: redirectUri,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...parameters,
  });
  if (push) {
    const response = await oauth.pushedAuthorizationRequest(server, client, authentication, query, plain);
    const pushed = await oauth.processPushedAuthorizationResponse(server, client, response);
    query = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri });
  }
  url.search = query.toString();
  const browser = new Browser();
  const { url: back, ...page } = await visit(browser, await browser.open(url, { callback: redirectUri }), redirectUri);
  if (`${back.origin}${back.pathname}` !== redirectUri) throw new Error(`not sent back: ${back} ${page.status} ${page.text}`);
  const callback = oauth.validateAuthResponse(server, client, back, state);
  const additionalParameters = parameters.resource ? { resource: parameters.resource } : {};
  const redeem = async (codeVerifier = verifier) => {
    const response = await oauth.authorizationCodeGrantRequest(
      server, client, authentication, callback, redirectUri, codeVerifier, { ...plain, additionalParameters },
    );
    return oauth.processAuthorizationCodeResponse(server, client, response);
  };
  return { back, redeem };
}

/** Does what a person does for a device that waits: opens its address, enters the code, and answers. */
export async function answerDevice(waiting, person, decision) {
  const browser = new Browser();
  const page = await browser.open(waiting.verification_uri);
  const login = await browser.submit(page, { user_code: waiting.user_code });
  if (!login.text.includes(waiting.user_code)) throw new Error(`the code is not shown: ${login.status} ${login.text}`);
  const end = await browser.submit(login, { name: person.name, password: person.password, decision });
  if (end.status !== 200) throw new Error(`not answered: ${end.status} ${end.text}`);
}
