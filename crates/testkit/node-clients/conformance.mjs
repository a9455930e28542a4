// The MCP conformance tool against an authorization server. Reads `{"issuer", "client_id", "client_secret", "resource",
// "port", "person"}` from standard input, and logs the person in where the tool asks for it; prints the tool's exit code
// and what it said.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';
import { Browser } from './browser.mjs';

const { issuer, client_id: id, client_secret: secret, resource, port, person } = JSON.parse(await text(process.stdin));
const tool = fileURLToPath(new URL('node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url));
const options = ['--url', issuer, '--client-id', id, '--resource', resource, '--port', String(port)];
if (secret) options.push('--client-secret', secret);
const child = spawn(process.execPath, [tool, 'authorization', ...options], { stdio: ['ignore', 'pipe', 'pipe'] });

let said = '';
let asked = false;
async function hear(chunk) {
  said += chunk;
  const address = /https?:\/\/\S+\/authorize\?\S+(?=\s)/.exec(said);
  if (!address || asked) return;
  asked = true;
  const browser = new Browser();
  const callback = `http://127.0.0.1:${port}/callback`;
  const page = await browser.open(address[0], { callback });
  const fields = { name: person.name, password: person.password, decision: 'allow' };
  const { url: back } = await browser.submit(page, fields, { callback });
  await (await fetch(back)).arrayBuffer();
}
const failed = (error) => { said += `\n${error.stack}`; child.kill(); };
for (const stream of [child.stdout, child.stderr]) {
  stream.setEncoding('utf8').on('data', (chunk) => { hear(chunk).catch(failed); });
}
child.on('close', (code) => console.log(JSON.stringify({ code, said })));
