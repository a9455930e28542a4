"""The `spiffe` library with its own gRPC, unconfigured, as an agent in Python uses it; then bare gRPC under other names.

Reads {"socket", "audience"} as JSON from standard input, prints what was found. A refusal is an exit with 1 and the
library's words on standard error.
"""

import json
import sys
from urllib.parse import quote

import grpc
from spiffe import WorkloadApiClient
from spiffe.spiffe_id.spiffe_id import TrustDomain

world = json.load(sys.stdin)
socket, audience = world["socket"], world["audience"]

try:
    with WorkloadApiClient(f"unix://{socket}") as client:
        svid = client.fetch_jwt_svid({audience})
        trust_domain = TrustDomain(svid.spiffe_id.trust_domain.name)
        keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(trust_domain).jwt_authorities
        validated = client.validate_jwt_svid(svid.token, audience)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")

# FetchJWTSVID for one audience: field 1, a string.
request = b"\x0a" + bytes([len(audience)]) + audience.encode()
answers = {}
for authority in [None, socket, quote(socket, safe=""), "localhost"]:
    options = [] if authority is None else [("grpc.default_authority", authority)]
    with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
        fetch = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
        try:
            # Twice: the second call refers to header fields of the first.
            for _ in range(2):
                answer = fetch(request, metadata=[("workload.spiffe.io", "true")], timeout=20)
            answers[str(authority)] = len(answer)
        except grpc.RpcError as error:
            sys.exit(f"authority {authority}: {error.code()}: {error.details()}")

print(
    json.dumps(
        {
            "spiffe_id": str(svid.spiffe_id),
            "validated": str(validated.spiffe_id),
            "keys": len(keys),
            "answers": answers,
            "grpc": grpc.__version__,
        }
    )
)
