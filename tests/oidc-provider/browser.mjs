// The least that a person's browser does: keep cookies and follow redirects within one origin.

const MAX_REDIRECTS = 20;

export class Browser {
  #cookies = new Map();

  #origin;

  /** @param {string} origin the only origin whose pages are opened */
  constructor(origin) {
    this.#origin = origin;
  }

  /** Opens a page. */
  open(url) {
    return this.#follow(url, {});
  }

  /** Submits a form. */
  submit(url, fields) {
    return this.#follow(url, { method: 'POST', body: new URLSearchParams(fields) });
  }

  /**
   * Follows redirects until a page answers, or until one leads to another origin.
   * @returns {Promise<{status: number, body: string, location?: string}>}
   */
  async #follow(url, request) {
    let target = new URL(url, this.#origin);
    let init = request;
    for (let step = 0; step < MAX_REDIRECTS; step += 1) {
      const headers = { cookie: this.#cookieHeader() };
      const response = await fetch(target, { ...init, headers, redirect: 'manual' });
      this.#keepCookies(response);
      const location = response.headers.get('location');
      const body = await response.text();
      if (!location) {
        return { status: response.status, body };
      }
      target = new URL(location, target);
      if (target.origin !== this.#origin) {
        return { status: response.status, body, location: target.href };
      }
      init = {};
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects`);
  }

  #cookieHeader() {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  /** Paths are ignored: the provider gives each cookie a name of its own. */
  #keepCookies(response) {
    for (const cookie of response.headers.getSetCookie()) {
      const [pair] = cookie.split(';');
      const separator = pair.indexOf('=');
      const name = pair.slice(0, separator);
      const value = pair.slice(separator + 1);
      if (value) {
        this.#cookies.set(name, value);
      } else {
        this.#cookies.delete(name);
      }
    }
  }
}
