"""An API that checks Mandate's access tokens (RFC 9068) with PyJWT.

    pip install -r requirements.txt
    python api.py ISSUER OWN_URL [CLIENT_ID SECRET_FILE]

GET /notes needs the scope read:notes, POST /notes/new needs write:notes. OWN_URL is the resource's URI in the registry.
A signature says nothing about revocation: with CLIENT_ID, the resource's client in the registry, every call that changes
something asks the issuer whether the token is still active (RFC 7662). Without it, a revoked token works until it expires.
"""

import base64
import json
import sys
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

if len(sys.argv) not in (3, 5):
    sys.exit(__doc__)
ISSUER, OWN_URL = sys.argv[1].rstrip("/"), sys.argv[2].rstrip("/")
CLIENT = sys.argv[3:]
METADATA = OWN_URL + "/.well-known/oauth-protected-resource"
NOTES = []

# Whose keys are believed is not for HTTP_PROXY of the environment to decide.
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
with urllib.request.urlopen(ISSUER + "/.well-known/oauth-authorization-server", timeout=10) as answer:
    ISSUER_METADATA = json.load(answer)
KEYS = jwt.PyJWKClient(ISSUER_METADATA["jwks_uri"])


class Refused(Exception):
    """What is wrong with a request: the HTTP status, and the error and description of RFC 6750 §3.1."""

    def __init__(self, status, error, description):
        super().__init__(description)
        self.status, self.error, self.description = status, error, description


def verified(header):
    """The claims of the token in an Authorization header (RFC 9068 §4)."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused(401, None, "no access token")
    try:
        if str(jwt.get_unverified_header(token).get("typ")).lower() not in ("at+jwt", "application/at+jwt"):
            raise jwt.InvalidTokenError("this is no access token")
        claims = jwt.decode(
            token,
            KEYS.get_signing_key_from_jwt(token),
            algorithms=["ES256"],
            issuer=ISSUER_METADATA["issuer"],
            audience=OWN_URL,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]},
        )
    except jwt.PyJWKClientConnectionError as error:
        raise Refused(503, None, "the issuer's keys cannot be fetched") from error
    except jwt.PyJWTError as error:
        raise Refused(401, "invalid_token", str(error)) from error
    return token, claims


def still_active(token):
    """Whether the issuer still stands by the token (RFC 7662)."""
    client_id, secret_file = CLIENT
    with open(secret_file, encoding="utf-8-sig") as file:
        secret = file.read().strip()
    # RFC 6749 §2.3.1: both are form-encoded before they are joined.
    pair = ":".join(urllib.parse.quote_plus(part) for part in (client_id, secret))
    request = urllib.request.Request(
        ISSUER_METADATA["introspection_endpoint"],
        data=urllib.parse.urlencode({"token": token}).encode(),
        headers={"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["active"] is True


class Api(BaseHTTPRequestHandler):
    """Two routes and the metadata of RFC 9728."""

    def do_GET(self):
        """Lists the notes."""
        if self.path == "/.well-known/oauth-protected-resource":
            metadata = {"resource": OWN_URL, "authorization_servers": [ISSUER_METADATA["issuer"]]}
            self.reply(200, {**metadata, "scopes_supported": ["read:notes", "write:notes"]})
        elif self.path == "/notes":
            self.guarded("read:notes", lambda claims: NOTES)
        else:
            self.reply(404, {"error": "not_found"})

    def do_POST(self):
        """Adds a note, with who is behind it."""
        length = min(max(int(self.headers.get("Content-Length", 0)), 0), 64 * 1024)
        text = self.rfile.read(length).decode(errors="replace")

        def add(claims):
            note = {"text": text, "for": claims["sub"], "by": claims.get("act", {}).get("sub"), "token": claims["jti"]}
            NOTES.append(note)
            return note

        if self.path == "/notes/new":
            self.guarded("write:notes", add, changes_something=True)
        else:
            self.reply(404, {"error": "not_found"})

    def guarded(self, scope, answer, changes_something=False):
        """Answers if the token is valid here, has the scope and, where it matters, is still active."""
        try:
            token, claims = verified(self.headers.get("Authorization"))
            if scope not in claims.get("scope", "").split():
                raise Refused(403, "insufficient_scope", f"the access token lacks {scope}")
            if changes_something and CLIENT and not still_active(token):
                raise Refused(401, "invalid_token", "the access token is no longer active")
        except Refused as refused:
            challenge = [f'resource_metadata="{METADATA}"']
            if refused.error:
                challenge = [f'error="{refused.error}"', f'scope="{scope}"', *challenge]
            headers = {"WWW-Authenticate": "Bearer " + ", ".join(challenge)} if refused.status in (401, 403) else {}
            self.reply(refused.status, {"error": refused.error or "unauthorized", "error_description": refused.description}, headers)
        except OSError:
            self.reply(503, {"error": "unavailable", "error_description": "the issuer cannot be reached"})
        else:
            self.reply(200, answer(claims))

    def reply(self, status, body, headers=None):
        """Sends JSON."""
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):
        """The address and the status. A token stands in neither."""
        sys.stderr.write("%s\n" % (format % args))


address = urllib.parse.urlsplit(OWN_URL)
server = ThreadingHTTPServer((address.hostname, address.port), Api)
print(f"The API listens on {OWN_URL}, for tokens of {ISSUER_METADATA['issuer']}.", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
