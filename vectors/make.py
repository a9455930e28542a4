#!/usr/bin/env python3
"""Makes access-tokens.json, checkpoints.json and approval-request.json. Needs the package `cryptography`. See README.md."""

import base64
import hashlib
import json
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HERE = pathlib.Path(__file__).parent
NOW = 1_700_000_000
ISSUER = "https://m.example"
CRM = "https://crm.example"
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# RFC 7515, Appendix A.3.
X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
D = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
KEY = ec.derive_private_key(int.from_bytes(unb64(D), "big"), ec.SECP256R1())
KEYS = {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": X, "y": Y}]}


def es256(message, high=False):
    r, s = decode_dss_signature(KEY.sign(message, ec.ECDSA(hashes.SHA256())))
    s = max(s, N - s) if high else min(s, N - s)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign(header, payload, high=False):
    parts = [part if isinstance(part, str) else json.dumps(part, separators=(",", ":")) for part in (header, payload)]
    message = ".".join(b64(part.encode()) for part in parts)
    return f"{message}.{b64(es256(message.encode(), high))}"


HEADER = {"alg": "ES256", "kid": "k", "typ": "at+jwt"}
AGENT = {"sub": "spiffe://acme.example/agent/a", "iss": ISSUER, "sub_profile": "ai_agent"}
CLAIMS = {
    "iss": ISSUER, "sub": "riley", "aud": CRM, "client_id": "support-app", "jti": "t1", "iat": NOW, "exp": NOW + 300,
    "scope": "read:cases write:case_comments",
}


def but(claims, **changes):
    changed = {**claims, **changes}
    return {name: value for name, value in changed.items() if value is not ...}


def tokens():
    def accepted(name, claims, header=HEADER, profile="own"):
        return {"name": name, "profile": profile, "token": sign(header, claims), "claims": claims}

    def refused(name, code, token, profile="own", at=NOW):
        return {"name": name, "profile": profile, "token": token, "refusal": code, **({"at": at} if at != NOW else {})}

    acting = but(CLAIMS, act=AGENT)
    chain = but(CLAIMS, act={**AGENT, "sub": "spiffe://acme.example/agent/b", "act": AGENT}, jti="t2", client_id="spiffe://acme.example/agent/b",
                lineage={"parents": ["t1"], "grants": ["g1"], "clients": ["support-app"]})
    nested = AGENT
    for _ in range(16):
        nested = {**AGENT, "act": nested}
    good = sign(HEADER, CLAIMS)
    head, body, signature = good.split(".")
    flipped = bytearray(unb64(signature))
    flipped[40] ^= 1
    text = json.dumps(CLAIMS, separators=(",", ":"))
    yield accepted("a person's own token", CLAIMS)
    yield accepted("an agent acts for a person", acting)
    yield accepted("two agents, the outermost first", chain)
    own = but(CLAIMS, sub=AGENT["sub"], sub_profile="ai_agent", client_id=AGENT["sub"])
    yield accepted("an agent's own, for nobody", own)
    yield accepted("an audience in a list of one", but(CLAIMS, aud=[CRM]))
    yield accepted("what the person proved at login", but(acting, auth_time=NOW - 60, acr="urn:x:2", amr=["pwd", "otp"]))
    yield accepted("no scope", but(CLAIMS, scope=...))
    yield accepted("a claim that nobody knows", but(CLAIMS, further={"a": [1, None]}))
    yield accepted("another issuer's, with a header member that means nothing", CLAIMS, {**HEADER, "further": 1}, "foreign")
    yield accepted("another issuer's, in the long form of its type", CLAIMS, {**HEADER, "typ": "application/AT+JWT"}, "foreign")
    for claim in ("iss", "sub", "aud", "client_id", "jti", "iat", "exp"):
        yield refused(f"without {claim}", "claim_missing", sign(HEADER, but(CLAIMS, **{claim: ...})))
    for name, claim in {
        "an empty subject": {"sub": ""}, "a line feed in the subject": {"sub": "a\nb"}, "an empty audience": {"aud": ""}, "no audience": {"aud": []},
        "a number as the audience": {"aud": [7]}, "a time as a text": {"exp": str(NOW + 300)}, "a negative time": {"iat": -1},
        "a time that is no time": {"exp": 1e300}, "an end that is not after the beginning": {"exp": NOW}, "two spaces in the scope": {"scope": "a  b"},
        "an actor that is a text": {"act": "a"}, "an actor that is null": {"act": None}, "a confirmation that is a text": {"cnf": "x"},
    }.items():
        yield refused(name, "claim_invalid", sign(HEADER, but(CLAIMS, **claim)))
    for name, claims in {
        "an agent as subject, and nothing that says so": but(own, sub_profile=...), "an agent's own that is said to be a person's": but(own, sub_profile="user"),
        "a person that is said to be an agent": but(CLAIMS, sub_profile="ai_agent"), "an agent's own with an actor": but(own, act=AGENT),
        "an agent's own of another client": but(own, client_id="support-app"), "an agent's own with a login": but(own, auth_time=NOW - 60),
        "an agent's own that descends from a token": but(own, lineage={"parents": ["t0"]}),
    }.items():
        yield refused(name, "claim_invalid", sign(HEADER, claims))
    yield refused("an agent's own, of another issuer", "not_a_person", sign(HEADER, own), "foreign")
    yield refused("seventeen actors", "actor_chain", sign(HEADER, but(CLAIMS, act=nested)))
    yield refused("another issuer", "issuer", sign(HEADER, but(CLAIMS, iss="https://m.example.evil")))
    yield refused("the issuer with a slash", "issuer", sign(HEADER, but(CLAIMS, iss=f"{ISSUER}/")))
    yield refused("the moment of its end", "expired", good, at=NOW + 300)
    yield refused("from the future", "not_yet_valid", sign(HEADER, but(CLAIMS, iat=NOW + 61, exp=NOW + 300)))
    yield refused("not before a later time", "not_yet_valid", sign(HEADER, but(CLAIMS, nbf=NOW + 61)))
    yield refused("a minute after its end, of another issuer", "expired", good, "foreign", at=NOW + 360)
    yield refused("a claim twice", "duplicate_member", sign(HEADER, f'{text[:-1]},"sub":"admin"}}'))
    yield refused("a claim twice, once escaped", "duplicate_member", sign(HEADER, f'{text[:-1]},"\\u0073ub":"admin"}}'))
    yield refused("a header member twice", "duplicate_member", sign('{"alg":"ES256","kid":"k","typ":"at+jwt","alg":"none"}', CLAIMS))
    yield refused("a signature with one bit changed", "signature", f"{head}.{body}.{b64(bytes(flipped))}")
    yield refused("a payload with another person", "signature", f'{head}.{b64(text.replace("riley", "robin").encode())}.{signature}')
    yield refused("the other of the two signatures of ECDSA", "signature", sign(HEADER, CLAIMS, high=True))
    yield refused("no signature", "signature", f"{head}.{body}.")
    yield refused("an algorithm of none", "alg", f'{b64(json.dumps({**HEADER, "alg": "none"}).encode())}.{body}.{signature}')
    yield refused("a symmetric algorithm", "alg", sign({**HEADER, "alg": "HS256"}, CLAIMS))
    yield refused("an unknown key", "unknown_key", sign({**HEADER, "kid": "other"}, CLAIMS))
    yield refused("no key named", "unknown_key", sign({"alg": "ES256", "typ": "at+jwt"}, CLAIMS))
    yield refused("another type", "typ", sign({**HEADER, "typ": "JWT"}, CLAIMS))
    yield refused("no type", "typ", sign({"alg": "ES256", "kid": "k"}, CLAIMS))
    yield refused("a key in its own header", "header", sign({**HEADER, "jwk": KEYS["keys"][0]}, CLAIMS))
    yield refused("the address of a key", "header", sign({**HEADER, "jku": "https://evil.example/keys"}, CLAIMS))
    yield refused("something critical", "header", sign({**HEADER, "crit": ["b64"], "b64": False}, CLAIMS))
    yield refused("a payload that is a list", "malformed", sign(HEADER, "[]"))
    yield refused("padding", "malformed", f"{head}=.{body}.{signature}")
    yield refused("four parts", "malformed", f"{good}.{head}")
    yield refused("two parts", "malformed", f"{head}.{body}")
    yield refused("a space", "malformed", f"{good} ")
    yield refused("nothing", "malformed", "")


# RFC 8032, Section 7.1, test 1.
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
PUBLIC = ED25519.public_key().public_bytes_raw()
ORIGIN = "log.example/1"


def key_id(name):
    return hashlib.sha256(name.encode() + b"\n\x01" + PUBLIC).digest()[:4]


def note(text, name=ORIGIN, change=0):
    signature = bytearray(ED25519.sign(text.encode()))
    signature[0] ^= change
    return f"{text}\n\u2014 {name} {base64.b64encode(key_id(name) + bytes(signature)).decode()}\n"


def checkpoints():
    root = base64.b64encode(hashlib.sha256(b"\x00x").digest()).decode()
    empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    text = f"{ORIGIN}\n7\n{root}\n"
    good = note(text)
    yield {"name": "a tree of seven", "note": good, "size": 7, "root": root}
    yield {"name": "an empty tree", "note": note(f"{ORIGIN}\n0\n{empty}\n"), "size": 0, "root": empty}
    yield {"name": "with a further line", "note": note(f"{text}further\n"), "size": 7, "root": root}
    yield {"name": "with another's signature beside it", "note": good + note(text, "witness.example").split("\n\n")[1], "size": 7, "root": root}
    yield {"name": "another size", "note": good.replace("\n7\n", "\n8\n"), "refusal": "signature"}
    yield {"name": "a signature with one bit changed", "note": note(text, change=1), "refusal": "signature"}
    yield {"name": "only another's signature", "note": note(text, "witness.example"), "refusal": "signature"}
    yield {"name": "another log, by the same key", "note": note(f"log.other\n7\n{root}\n"), "refusal": "other_log"}
    yield {"name": "a size with a zero before it", "note": note(f"{ORIGIN}\n07\n{root}\n"), "refusal": "malformed"}
    yield {"name": "a size that is no number", "note": note(f"{ORIGIN}\nx\n{root}\n"), "refusal": "malformed"}
    yield {"name": "a root that is too short", "note": note(f"{ORIGIN}\n7\n{root[:-8]}\n"), "refusal": "malformed"}
    yield {"name": "no root", "note": note(f"{ORIGIN}\n7\n"), "refusal": "malformed"}
    yield {"name": "no signature", "note": f"{text}\n", "refusal": "malformed"}
    yield {"name": "no line feed at the end", "note": good[:-1], "refusal": "malformed"}
    yield {"name": "nothing", "note": "", "refusal": "malformed"}


def text(value):
    return len(value.encode()).to_bytes(8, "big") + value.encode()


def texts(values):
    return len(values).to_bytes(8, "big") + b"".join(text(value) for value in values)


APPROVAL = "mandate approval request v1"


def approval_request(name, subject, chain, resource, scopes, client, clients, grants):
    # Without a person, both texts are empty.
    named = subject or {"iss": "", "sub": ""}
    form = text(APPROVAL) + text(ISSUER) + text(named["iss"]) + text(named["sub"]) + len(chain).to_bytes(8, "big")
    form += b"".join(text(actor["iss"]) + text(actor["sub"]) for actor in chain)
    form += text(resource) + texts(scopes) + text(client) + texts(clients) + texts(grants)
    return {"name": name, "issuer": ISSUER, **({"subject": subject} if subject else {}), "chain": chain, "resource": resource, "scopes": scopes, "client": client,
            "clients": clients, "grants": grants, "bytes": form.hex(), "sha256": b64(hashlib.sha256(form).digest())}


def approval_requests():
    def agent(name):
        return {"iss": ISSUER, "sub": f"spiffe://acme.example/agent/{name}"}

    riley = {"iss": ISSUER, "sub": "riley"}
    yield approval_request("an agent for a person", riley, [agent("a")], CRM, ["read:cases", "write:case_comments"], agent("a")["sub"],
                           ["support-app"], ["riley-a-crm"])
    yield approval_request("a person alone", riley, [], CRM, ["read:cases"], "support-app", [], [])
    abroad = "https://login.example"
    yield approval_request("a second hop, for a person and behind an actor of another issuer", {"iss": abroad, "sub": "Zo\u00eb"},
                           [agent("b"), agent("a"), {"iss": abroad, "sub": "batch"}], f"{CRM}/api", ["read:cases"], "support-app",
                           ["portal", "portal-2"], ["g2", "g1"])
    yield approval_request("an agent on its own behalf", None, [agent("a")], CRM, ["read:cases"], agent("a")["sub"], [], [])


def write(name, content):
    (HERE / name).write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")


write("access-tokens.json", {"issuer": ISSUER, "audience": CRM, "now": NOW, "keys": KEYS, "tokens": list(tokens())})
write("checkpoints.json", {"verifier_key": f"{ORIGIN}+{key_id(ORIGIN).hex()}+{base64.b64encode(bytes([1]) + PUBLIC).decode()}",
                           "checkpoints": list(checkpoints())})
write("approval-request.json", {"domain": APPROVAL, "requests": list(approval_requests())})
