// The settings: one JSON object, as the first argument or in OIDC_PROVIDER_SETTINGS.

import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** Loopback redirects of a native client match with any port (RFC 8252 §7.3). */
const NATIVE = {
  application_type: 'native',
  redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', DEVICE_GRANT],
};

/** A service: no person, no redirect. */
const SERVICE = {
  redirect_uris: [],
  response_types: [],
  grant_types: ['client_credentials'],
};

/** The public half of the key that clients of the tests sign with. */
const CLIENT_KEY = createPublicKey(readFileSync(new URL('client-key.pem', import.meta.url)));
const BY_KEY = {
  token_endpoint_auth_method: 'private_key_jwt',
  token_endpoint_auth_signing_alg: 'ES256',
  jwks: { keys: [{ ...CLIENT_KEY.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
};

const DEFAULTS = {
  /** 0: any free port. */
  port: 0,
  /** Seconds. */
  accessTokenTtl: 5,
  /** Seconds; the grant dies with it. */
  refreshTokenTtl: 14 * 24 * 3600,
  /** A new refresh token at each refresh; presenting an old one revokes the family. */
  rotation: true,
  /** Seconds between a device's polls, as told to it. */
  deviceInterval: 1,
  /** Every authorization request must be pushed (RFC 9126); they may be in any case. */
  requirePushedAuthorizationRequests: false,
  /** Proofs of possession (RFC 9449) must hold a nonce of the provider's. */
  dpopNonce: false,
  /** End when stdin is closed, so that no test leaves it behind. */
  untilStdinCloses: false,
  /** Ask a person: the provider's own pages for signing in and for consent, in a real browser. */
  person: false,
  /** Whether clients may register themselves (RFC 7591): `open`, `closed` (never seen), or what it is refused with. */
  registration: 'closed',
  /** Documents that describe clients, by their addresses, which are the clients' ids; null: not taken. */
  clientIdMetadataDocuments: null,
  /** Whether any address of this machine is a resource too, beside the list. */
  loopbackResources: false,
  /** The protected resources that tokens can be asked for (RFC 8707). */
  resources: ['https://one.example.test/', 'https://two.example.test/'],
  clients: [
    { ...NATIVE, client_id: 'public', token_endpoint_auth_method: 'none' },
    {
      ...NATIVE,
      client_id: 'basic',
      client_secret: 'basic-secret-of-the-tests',
      token_endpoint_auth_method: 'client_secret_basic',
    },
    {
      ...NATIVE,
      client_id: 'post',
      client_secret: 'post-secret-of-the-tests',
      token_endpoint_auth_method: 'client_secret_post',
    },
    { ...NATIVE, ...BY_KEY, client_id: 'key' },
    { ...SERVICE, ...BY_KEY, client_id: 'service-key' },
    {
      ...SERVICE,
      client_id: 'service',
      client_secret: 'service-secret-of-the-tests',
      token_endpoint_auth_method: 'client_secret_basic',
    },
  ],
};

/** The defaults with what was given; a name that does not exist is an error. */
export function readSettings([argument], environment) {
  const given = JSON.parse(argument ?? environment.OIDC_PROVIDER_SETTINGS ?? '{}');
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new Error(`unknown setting ${name}; there are: ${Object.keys(DEFAULTS).join(', ')}`);
    }
  }
  return { ...DEFAULTS, ...given };
}
