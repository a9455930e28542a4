"""Authlib with its defaults: a code with PKCE, introspection and revocation, by one authentication method.

Reads {"issuer", "method", "client", "secret" or "key", "resource", "scope", "redirect_uri", "person"} as JSON from
standard input; prints the introspected token before and after it was revoked. With "refresh", the token is that of a refresh.
"""

import json
import sys
import urllib.request

from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

from browser import log_in

world = json.load(sys.stdin)
address = world["issuer"] + "/.well-known/oauth-authorization-server"
with urllib.request.urlopen(address, timeout=10) as answer:
    metadata = json.load(answer)

method = world["method"]
key = world.get("key")
session = OAuth2Session(
    world["client"],
    ECKey.import_key(key) if key else world.get("secret"),
    token_endpoint_auth_method=method,
    revocation_endpoint_auth_method=method,
    scope=world["scope"] + (" offline_access" if world.get("refresh") else ""),
    redirect_uri=world["redirect_uri"],
    code_challenge_method="S256",
)
if key:
    # Its assertions are addressed to the token endpoint and live for an hour.
    session.register_client_auth_method(PrivateKeyJWT(metadata["token_endpoint"], alg="ES256", headers={"kid": key["kid"]}))

verifier = generate_token(48)
resource = world["resource"]
where, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, resource=resource)
back = log_in(where, world["person"]["name"], world["person"]["password"])
token = session.fetch_token(
    metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier, resource=resource
)
if world.get("refresh"):
    first, token = token, session.refresh_token(metadata["token_endpoint"], resource=resource)
    assert token["refresh_token"] != first["refresh_token"] and token["access_token"] != first["access_token"], "rotation"
answers = {"scope": token["scope"], "before": None, "after": None}
if method != "none":
    answers["before"] = session.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json()
revoked = session.revoke_token(metadata["revocation_endpoint"], token["access_token"])
answers["revoked"] = revoked.status_code
if method != "none":
    answers["after"] = session.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json()
print(json.dumps(answers))
