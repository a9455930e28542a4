// An agent: gets its identity, exchanges a person's token for one that opens one API, and calls the API.
//
//     node agent.mjs ISSUER API_URL PERSON_TOKEN_FILE
//
// Nothing but Node.js. The identity comes from `mandate svid fetch`, so the node attests the program `mandate`: register
// the agent by user (unix:uid).
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [issuer, api, personTokenFile] = process.argv.slice(2);
if (!personTokenFile) {
  console.error('usage: node agent.mjs ISSUER API_URL PERSON_TOKEN_FILE');
  process.exit(2);
}

// The status and the JSON of an answer, also of a refusal.
async function call(url, options) {
  const response = await fetch(url, options);
  return [response.status, await response.json()];
}

// RFC 8693: the person's token and this agent's identity for an access token for the API.
function exchange(svid, personToken, more = {}) {
  const body = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
    client_assertion: svid,
    subject_token: personToken,
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    resource: api,
    ...more,
  });
  return call(`${issuer}/token`, { method: 'POST', body });
}

const svid = execFileSync('mandate', ['svid', 'fetch', '--audience', issuer], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const personToken = readFileSync(personTokenFile, 'utf8').trim();

const [status, answer] = await exchange(svid.trim(), personToken);
if (status !== 200) {
  console.error(`refused: ${answer.error}: ${answer.error_description}`);
  process.exit(1);
}
console.log('may', answer.scope);
const headers = { authorization: `Bearer ${answer.access_token}` };
const say = (what, [code, body]) => console.log(`${what}: ${code} ${JSON.stringify(body)}`);

say('read', await call(`${api}/notes`, { headers }));
say('write', await call(`${api}/notes/new`, { method: 'POST', headers, body: 'hello' }));
say('asked for more', await exchange(svid.trim(), personToken, { scope: 'write:notes' }));
