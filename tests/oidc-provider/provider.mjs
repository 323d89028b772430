// A certified OpenID provider on an ephemeral loopback port, for the end-to-end tests.
//
// It prints one JSON line, `{"issuer": …, "port": …}`, when it is ready. What it signs in, grants
// and counts needs no person: see README.md for the settings and the test-only endpoints.

import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import Provider, { errors } from 'oidc-provider';

import { Browser } from './browser.mjs';
import { Ledger } from './ledger.mjs';
import { readSettings } from './settings.mjs';

const settings = readSettings(process.argv.slice(2), process.env);

// The issuer names the port, so the port comes first.
const server = createServer();
await new Promise((resolve) => server.listen(settings.port, '127.0.0.1', resolve));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, configuration(settings));
const ledger = new Ledger();
provider.use(addPollingInterval);
provider.use(refuseRegistration);
provider.use((ctx, next) => ledger.record(ctx, next));
provider.use(testEndpoints);
server.on('request', provider.callback());

if (settings.untilStdinCloses) {
  process.stdin.on('close', () => process.exit(0)).resume();
}
process.stdout.write(`${JSON.stringify({ issuer, port })}\n`);

/** oidc-provider's configuration, from ours. */
function configuration({
  accessTokenTtl,
  refreshTokenTtl,
  rotation,
  clients,
  registration,
  clientIdMetadataDocuments,
  loopbackResources,
  resources,
  requirePushedAuthorizationRequests,
  dpopNonce,
  person,
}) {
  return {
    clients,
    jwks: { keys: [newSigningKey()] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    scopes: ['openid', 'offline_access'],
    ...(clientIdMetadataDocuments ? { fetch: fetchFrom(clientIdMetadataDocuments) } : {}),
    findAccount: (_ctx, accountId) => ({
      accountId,
      claims: () => ({
        sub: accountId,
        name: accountId,
        email: `${accountId}@example.test`,
        email_verified: true,
      }),
    }),
    ...(person
      ? {}
      : { interactions: { url: (_ctx, interaction) => `/test/interaction/${interaction.uid}` } }),
    features: {
      // Its place is taken by /test/interaction, unless there is a person.
      devInteractions: { enabled: person },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      pushedAuthorizationRequests: {
        // What a person's browser opens says itself what it asks for.
        enabled: !person,
        requirePushedAuthorizationRequests,
      },
      dPoP: {
        enabled: true,
        nonceSecret: randomBytes(32),
        requireNonce: () => dpopNonce,
      },
      registration: { enabled: registration !== 'closed', initialAccessToken: false },
      // Its draft is named, so that the provider starts with it.
      clientIdMetadataDocument: {
        enabled: clientIdMetadataDocuments !== null,
        ack: 'draft-02',
      },
      revocation: { enabled: true, allowedPolicy: () => true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => false,
        getResourceServerInfo: (_ctx, resource) => {
          const isHere = new URL(resource).hostname === '127.0.0.1';
          if (!resources.includes(resource) && !(loopbackResources && isHere)) {
            throw new errors.InvalidTarget();
          }
          return {
            scope: 'api:read api:write',
            audience: resource,
            accessTokenTTL: accessTokenTtl,
            accessTokenFormat: 'opaque',
          };
        },
      },
    },
    rotateRefreshToken: () => rotation,
    ttl: {
      AccessToken: accessTokenTtl,
      AuthorizationCode: 60,
      ClientCredentials: accessTokenTtl,
      DeviceCode: 300,
      Grant: refreshTokenTtl,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: refreshTokenTtl,
      Session: 3600,
    },
  };
}

/**
 * An RSA key as a JWK, by way of PEM: in Node.js 20 a key that was generated in this process shares
 * a lock with the job that made it, and where that job is collected during the export to a JWK, the
 * process waits for itself for ever.
 */
function newSigningKey() {
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return createPrivateKey(privateKey).export({ format: 'jwk' });
}

/** The web, as far as it is given: clients' documents by their addresses. */
function fetchFrom(documents) {
  return async (url) => {
    const document = documents[String(url)];
    return document ? Response.json(document) : new Response('nothing here', { status: 404 });
  };
}

/** Refuses every registration with the code that the settings name. */
async function refuseRegistration(ctx, next) {
  const refused = !['open', 'closed'].includes(settings.registration);
  if (refused && ctx.method === 'POST' && ctx.path === '/reg') {
    ctx.status = 400;
    ctx.body = { error: settings.registration, error_description: 'as the settings say' };
    return undefined;
  }
  return next();
}

/** Device clients without an interval must wait 5 s between polls (RFC 8628 §3.2). */
async function addPollingInterval(ctx, next) {
  await next();
  if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200) {
    ctx.body = { ...ctx.body, interval: settings.deviceInterval };
  }
}

/** Everything below /test/ that is no part of any specification. */
async function testEndpoints(ctx, next) {
  const parameters = new URLSearchParams(ctx.querystring);
  switch (ctx.path) {
    case '/test/authorize':
      return authorize(ctx);
    case '/test/device':
      return verifyDevice(ctx, parameters);
    case '/test/introspect':
      ctx.body = await introspect(parameters.get('token'));
      return undefined;
    case '/test/ledger':
      ctx.body = ledger.report();
      return undefined;
    default:
      return ctx.path.startsWith('/test/interaction/') ? interact(ctx) : next();
  }
}

/** Walks the person's part of the authorization endpoint and answers with its last redirect. */
async function authorize(ctx) {
  const browser = new Browser(issuer);
  const end = await browser.open(`${provider.pathFor('authorization')}?${ctx.querystring}`);
  if (end.location) {
    ctx.redirect(end.location);
  } else {
    ctx.status = end.status;
    ctx.body = end.body;
  }
}

/** Types the user code in and confirms it, or refuses with `?deny=1`, as a person would. */
async function verifyDevice(ctx, parameters) {
  const browser = new Browser(issuer);
  const page = provider.pathFor('code_verification');
  const form = await browser.open(page);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(form.body)?.[1];
  const answer = parameters.has('deny') ? { abort: 'yes' } : { confirm: 'yes' };
  const end = await browser.submit(page, {
    xsrf,
    user_code: parameters.get('user_code') ?? '',
    ...answer,
  });
  ctx.status = end.status;
  ctx.body = end.body;
}

/** What the provider itself knows of an access token, without a client to ask as. */
async function introspect(value) {
  const kinds = [provider.AccessToken, provider.ClientCredentials];
  const found = await Promise.all(value ? kinds.map((kind) => kind.find(value)) : []);
  const token = found.find(Boolean);
  if (!token?.isValid) {
    return { active: false };
  }
  return {
    active: true,
    sub: token.accountId,
    client_id: token.clientId,
    scope: token.scope,
    aud: token.aud,
    exp: token.exp,
    jkt: token.jkt,
  };
}

/**
 * The person's answers: signs in as `login_hint` (or `alice`), grants all that is asked for.
 * The hint `deny` refuses consent.
 */
async function interact(ctx) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  if (params.login_hint === 'deny') {
    const result = { error: 'access_denied', error_description: 'the person refused' };
    return finish(ctx, result);
  }
  if (prompt.name === 'login') {
    return finish(ctx, { login: { accountId: params.login_hint ?? 'alice' } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) {
    grant.addOIDCScope(missingOIDCScope.join(' '));
  }
  if (missingOIDCClaims) {
    grant.addOIDCClaims(missingOIDCClaims);
  }
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return finish(ctx, { consent: { grantId: await grant.save() } });
}

async function finish(ctx, result) {
  const options = { mergeWithLastSubmission: true };
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result, options));
}
