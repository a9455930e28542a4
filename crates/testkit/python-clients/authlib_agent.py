"""Authlib as an agent that proves itself by its JWT-SVID: client credentials, and the exchange of a person's token.

Reads {"issuer", "resource", "scope", "redirect_uri", "person", "agent", "api"} as JSON from standard input, where "agent" is
{"svid", "spiffe_id"} and "api" {"id", "secret"}; prints what introspection says of both tokens, and of the agent's own after it
was revoked.
"""

import json
import sys
import urllib.request

from authlib.common.security import generate_token
from authlib.common.urls import add_params_to_qs
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from browser import log_in

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

world = json.load(sys.stdin)
with urllib.request.urlopen(world["issuer"] + "/.well-known/oauth-authorization-server", timeout=10) as answer:
    metadata = json.load(answer)
resource, scope, svid = world["resource"], world["scope"], world["agent"]["svid"]


def by_svid(_client, _method, uri, headers, body):
    """A client authentication method, as Authlib calls it."""
    proof = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        "client_assertion": svid,
    }
    return uri, headers, add_params_to_qs(body or "", list(proof.items()))


agent = OAuth2Session(
    world["agent"]["spiffe_id"],
    token_endpoint_auth_method="jwt_spiffe",
    revocation_endpoint_auth_method="jwt_spiffe",
)
agent.register_client_auth_method(("jwt_spiffe", by_svid))
endpoint = metadata["token_endpoint"]
own = agent.fetch_token(endpoint, grant_type="client_credentials", resource=resource, scope=scope)

app = OAuth2Session(
    "support-app",
    token_endpoint_auth_method="none",
    scope=scope,
    redirect_uri=world["redirect_uri"],
    code_challenge_method="S256",
)
verifier = generate_token(48)
where, state = app.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
back = log_in(where, world["person"]["name"], world["person"]["password"])
subject = app.fetch_token(endpoint, authorization_response=back, state=state, code_verifier=verifier)


def exchange(asked):
    """The person's token for a mandate."""
    return agent.fetch_token(
        endpoint,
        grant_type=EXCHANGE,
        subject_token=subject["access_token"],
        subject_token_type=ACCESS_TOKEN,
        resource=resource,
        scope=asked,
    )


mandate = exchange(scope)
assert mandate["issued_token_type"] == ACCESS_TOKEN, mandate
try:
    raise SystemExit(f"not refused: {exchange('send:mail')}")
except OAuthError as refusal:
    assert refusal.error == "invalid_scope", refusal

api = OAuth2Session(world["api"]["id"], world["api"]["secret"])


def seen(token):
    """What the API is told of a token."""
    return api.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json()


answers = {"own": seen(own), "mandate": seen(mandate)}
agent.revoke_token(metadata["revocation_endpoint"], own["access_token"])
answers["after"] = seen(own)
print(json.dumps(answers))
