"""PyJWT as an API's library: validates one access token (RFC 9068 §4) and prints its claims.

Reads {"issuer", "token", "audience"} as JSON from standard input. A token that is refused is an exit with 1 and the
library's reason on standard error.
"""

import json
import sys
import urllib.request

import jwt

world = json.load(sys.stdin)
address = world["issuer"] + "/.well-known/oauth-authorization-server"
with urllib.request.urlopen(address, timeout=10) as answer:
    metadata = json.load(answer)
key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(world["token"])
try:
    claims = jwt.decode(
        world["token"],
        key,
        algorithms=["ES256"],
        audience=world["audience"],
        issuer=world["issuer"],
        options={"require": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]},
    )
except jwt.InvalidTokenError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps(claims))
