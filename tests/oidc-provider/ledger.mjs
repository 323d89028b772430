// What the token endpoint saw: every refresh token that was presented, by its hash.

import { createHash } from 'node:crypto';

export class Ledger {
  /** @type {Map<string, {presented: number, accepted: number}>} */
  #refreshTokens = new Map();

  /** Successful exchanges by grant type. */
  #exchanges = {};

  /** Koa middleware: counts once the answer of the token endpoint is known. */
  async record(ctx, next) {
    await next();
    if (ctx.oidc?.route !== 'token') {
      return;
    }
    const { grant_type: grantType, refresh_token: refreshToken } = ctx.oidc.params ?? {};
    const accepted = ctx.status === 200;
    if (accepted) {
      this.#exchanges[grantType] = (this.#exchanges[grantType] ?? 0) + 1;
    }
    if (refreshToken) {
      const hash = createHash('sha256').update(refreshToken).digest('hex');
      const entry = this.#refreshTokens.get(hash) ?? { presented: 0, accepted: 0 };
      entry.presented += 1;
      entry.accepted += accepted ? 1 : 0;
      this.#refreshTokens.set(hash, entry);
    }
  }

  /** As JSON: see README.md. */
  report() {
    const entries = [...this.#refreshTokens.values()];
    return {
      exchanges: this.#exchanges,
      refresh_tokens: Object.fromEntries(this.#refreshTokens),
      presented: entries.reduce((sum, entry) => sum + entry.presented, 0),
      presented_twice: entries.filter((entry) => entry.presented > 1).length,
    };
  }
}
