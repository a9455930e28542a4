// Makes the key of a client that authenticates by private_key_jwt. Prints `{"private", "jwks"}`.
import { exportJWK, generateKeyPair } from 'jose';

const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
const named = { alg: 'ES256', use: 'sig', kid: 'portal-1' };
console.log(JSON.stringify({
  private: { ...await exportJWK(privateKey), ...named },
  jwks: { keys: [{ ...await exportJWK(publicKey), ...named }] },
}));
