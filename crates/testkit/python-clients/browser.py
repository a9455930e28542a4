"""What a browser does on the login page, without script: one cookie, one form."""

import html
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def log_in(address, name, password):
    """Logs a person in at an authorization URL. Returns the URL to which the browser is sent back."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(jar, _Stay)
    with opener.open(address, timeout=10) as answer:
        page = answer.read().decode()
    action = html.unescape(re.search(r'<form[^>]*\saction="([^"]*)"', page).group(1))
    hidden = re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]*)"[^>]*value="([^"]*)"', page)
    fields = {key: html.unescape(value) for key, value in hidden}
    fields.update(name=name, password=password, decision="allow")
    form = urllib.parse.urlencode(fields).encode()
    try:
        opener.open(urllib.parse.urljoin(address, action), form, timeout=10)
    except urllib.error.HTTPError as answer:
        if answer.code == 303:
            return answer.headers["Location"]
        raise SystemExit(f"not sent back: {answer.code} {answer.read().decode()}")
    raise SystemExit("not sent back: the page is shown again")
