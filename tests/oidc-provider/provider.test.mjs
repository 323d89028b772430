// The provider does for the end-to-end tests what README.md says. Run: npm test

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

const REDIRECT_URI = 'http://127.0.0.1:45678/callback';
const RESOURCE_ONE = 'https://one.example.test/';
const RESOURCE_TWO = 'https://two.example.test/';

let child;
let issuer;
let metadata;

before(async () => {
  const settings = JSON.stringify({ accessTokenTtl: 2, untilStdinCloses: true });
  child = spawn(process.execPath, [new URL('provider.mjs', import.meta.url).pathname, settings], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  ({ issuer } = JSON.parse(line));
  metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
});

after(async () => {
  child.stdin.end();
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, 'the provider ends when its stdin is closed');
});

async function post(url, fields, headers = {}) {
  const response = await fetch(url, { method: 'POST', body: new URLSearchParams(fields), headers });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : undefined };
}

/** Logs in by code and PKCE; `extra` goes to the authorization request. */
async function login(extra = {}, client = { client_id: 'public' }, headers = {}) {
  const verifier = randomBytes(32).toString('base64url');
  const url = new URL(`${issuer}/test/authorize`);
  const request = {
    client_id: 'public',
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: 'openid offline_access',
    prompt: 'consent',
    state: 'the-state',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...extra,
  };
  for (const [name, value] of Object.entries(request)) {
    [value].flat().forEach((each) => url.searchParams.append(name, each));
  }
  const answer = await fetch(url, { redirect: 'manual' });
  const callback = new URL(answer.headers.get('location'));
  assert.equal(callback.searchParams.get('state'), 'the-state');
  assert.equal(callback.searchParams.get('iss'), issuer);
  if (callback.searchParams.has('error')) {
    return { error: callback.searchParams.get('error') };
  }
  const fields = {
    grant_type: 'authorization_code',
    code: callback.searchParams.get('code'),
    redirect_uri: REDIRECT_URI,
    code_verifier: verifier,
    ...client,
  };
  const { status, body } = await post(metadata.token_endpoint, fields, headers);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

function refresh(refreshToken, extra = {}) {
  return post(metadata.token_endpoint, {
    grant_type: 'refresh_token',
    client_id: 'public',
    refresh_token: refreshToken,
    ...extra,
  });
}

async function isActive(token) {
  return (await (await fetch(`${issuer}/test/introspect?token=${token}`)).json()).active;
}

const ledger = async () => (await fetch(`${issuer}/test/ledger`)).json();

test('a public client logs in on any loopback port and reads userinfo', async () => {
  const tokens = await login({ login_hint: 'bob' });
  assert.equal(tokens.expires_in, 2);
  assert.ok(await isActive(tokens.access_token));
  const headers = { authorization: `Bearer ${tokens.access_token}` };
  const person = await (await fetch(metadata.userinfo_endpoint, { headers })).json();
  assert.equal(person.sub, 'bob');
});

test('confidential clients authenticate by header and by body', async () => {
  const basic = `Basic ${btoa('basic:basic-secret-of-the-tests')}`;
  await login({ client_id: 'basic' }, {}, { authorization: basic });
  await login(
    { client_id: 'post' },
    { client_id: 'post', client_secret: 'post-secret-of-the-tests' },
  );
});

test('offline access is granted with prompt=consent only', async () => {
  const tokens = await login({ prompt: 'login' });
  assert.equal(tokens.refresh_token, undefined);
});

test('a refused consent comes back as access_denied', async () => {
  assert.equal((await login({ login_hint: 'deny' })).error, 'access_denied');
});

test('refresh tokens rotate, and a reused one kills the family and shows in the ledger', async () => {
  const before = await ledger();
  const first = await login();
  const second = await refresh(first.refresh_token);
  assert.notEqual(second.body.refresh_token, first.refresh_token);
  assert.equal((await ledger()).presented_twice, before.presented_twice);

  const reused = await refresh(first.refresh_token);
  assert.equal(reused.status, 400);
  assert.equal(reused.body.error, 'invalid_grant');
  assert.equal((await refresh(second.body.refresh_token)).body.error, 'invalid_grant');
  assert.equal(await isActive(second.body.access_token), false);

  const now = await ledger();
  assert.equal(now.presented_twice, before.presented_twice + 1);
  assert.equal(now.presented, before.presented + 3);
  const hash = createHash('sha256').update(first.refresh_token).digest('hex');
  assert.deepEqual(now.refresh_tokens[hash], { presented: 2, accepted: 1 });
});

test('a device is signed in by its user code, or refused', async () => {
  const start = async () => {
    const scope = 'openid offline_access';
    const fields = { client_id: 'public', scope, prompt: 'consent' };
    return (await post(metadata.device_authorization_endpoint, fields)).body;
  };
  const poll = (device) => post(metadata.token_endpoint, {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id: 'public',
    device_code: device.device_code,
  });

  const device = await start();
  assert.equal(device.interval, 1);
  assert.equal((await poll(device)).body.error, 'authorization_pending');
  await fetch(`${issuer}/test/device?user_code=${device.user_code}`, { method: 'POST' });
  const { status, body } = await poll(device);
  assert.equal(status, 200, JSON.stringify(body));
  assert.ok(body.refresh_token);

  const refused = await start();
  await fetch(`${issuer}/test/device?user_code=${refused.user_code}&deny=1`, { method: 'POST' });
  assert.equal((await poll(refused)).body.error, 'access_denied');
});

test('one login yields opaque tokens for two resources, and none for a third', async () => {
  const tokens = await login({
    scope: 'openid offline_access api:read',
    resource: [RESOURCE_ONE, RESOURCE_TWO],
  });
  let { refresh_token: current } = tokens;
  for (const resource of [RESOURCE_ONE, RESOURCE_TWO]) {
    const { status, body } = await refresh(current, { resource });
    assert.equal(status, 200, JSON.stringify(body));
    const seen = await (await fetch(`${issuer}/test/introspect?token=${body.access_token}`)).json();
    assert.equal(seen.aud, resource);
    assert.equal(seen.scope, 'api:read');
    current = body.refresh_token;
  }
  const unknown = await refresh(current, { resource: 'https://three.example.test/' });
  assert.equal(unknown.body.error, 'invalid_target');
});

test('a revoked refresh token takes its access tokens with it', async () => {
  const tokens = await login();
  const fields = { client_id: 'public', token: tokens.refresh_token };
  assert.equal((await post(metadata.revocation_endpoint, fields)).status, 200);
  assert.equal(await isActive(tokens.access_token), false);
  assert.equal((await refresh(tokens.refresh_token)).body.error, 'invalid_grant');
});

test('introspection answers a confidential client', async () => {
  const tokens = await login();
  const headers = { authorization: `Basic ${btoa('basic:basic-secret-of-the-tests')}` };
  const fields = { token: tokens.access_token };
  const answer = await post(metadata.introspection_endpoint, fields, headers);
  assert.equal(answer.body.active, true);
});
