// What a browser does that has no script: cookies, redirects, forms.

export class Browser {
  #cookies = new Map();

  /** Goes to a URL, through redirects, until a page is shown or the way leads to `callback`. */
  async open(url, { callback, method = 'GET', form } = {}) {
    let next = { url: new URL(url), method, body: form && new URLSearchParams(form) };
    for (let hop = 0; hop < 10; hop += 1) {
      const { url: here } = next;
      if (callback && `${here.origin}${here.pathname}` === callback) return { url: here };
      const cookie = [...this.#cookies].filter(([key]) => key.startsWith(`${here.host} `)).map(([, pair]) => pair).join('; ');
      const response = await fetch(here, { method: next.method, body: next.body, headers: cookie ? { cookie } : {}, redirect: 'manual' });
      for (const line of response.headers.getSetCookie()) this.#keep(here.host, line);
      if (response.status < 300 || response.status > 399) {
        return { url: here, status: response.status, text: await response.text() };
      }
      await response.arrayBuffer();
      next = { url: new URL(response.headers.get('location'), here), method: 'GET' };
    }
    throw new Error(`too many redirects from ${url}`);
  }

  /** Sends the one form of a page, its hidden fields as they are. */
  submit(page, fields, { callback } = {}) {
    const unescaped = (text) => text.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>');
    const action = /<form[^>]*\saction="([^"]*)"/.exec(page.text);
    if (!action) throw new Error(`no form: ${page.status} ${page.text}`);
    const hidden = [...page.text.matchAll(/<input[^>]*type="hidden"[^>]*name="([^"]*)"[^>]*value="([^"]*)"/g)];
    const form = { ...Object.fromEntries(hidden.map(([, name, value]) => [name, unescaped(value)])), ...fields };
    return this.open(new URL(unescaped(action[1]), page.url), { callback, method: 'POST', form });
  }

  #keep(host, line) {
    const [pair] = line.split(';');
    const key = `${host} ${pair.slice(0, pair.indexOf('='))}`;
    if (pair.endsWith('=')) this.#cookies.delete(key);
    else this.#cookies.set(key, pair);
  }
}
