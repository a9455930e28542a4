"""An agent: gets its identity, exchanges a person's token for one that opens one API, and calls the API.

    python agent.py ISSUER API_URL PERSON_TOKEN_FILE

Standard library only. The identity comes from `mandate svid fetch`, so the node attests the program `mandate`: register
the agent by user (unix:uid), or fetch with the package `spiffe` to be attested as this interpreter.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

if len(sys.argv) != 4:
    sys.exit(__doc__)
issuer, api, person_token_file = sys.argv[1].rstrip("/"), sys.argv[2].rstrip("/"), sys.argv[3]


# Tokens go to the servers that are named above, and to no proxy that only HTTP_PROXY of the environment names.
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))


def call(request):
    """The status and the JSON of an answer, also of a refusal."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def exchange(svid, person_token, **more):
    """RFC 8693: the person's token and this agent's identity for an access token for the API."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        "client_assertion": svid,
        "subject_token": person_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "resource": api,
        **more,
    }
    return call(urllib.request.Request(issuer + "/token", data=urllib.parse.urlencode(form).encode()))


svid = subprocess.run(["mandate", "svid", "fetch", "--audience", issuer], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
with open(person_token_file, encoding="utf-8-sig") as file:
    person_token = file.read().strip()

status, answer = exchange(svid, person_token)
if status != 200:
    sys.exit(f"refused: {answer['error']}: {answer.get('error_description', '')}")
print("may", answer["scope"])
bearer = {"Authorization": "Bearer " + answer["access_token"]}

status, notes = call(urllib.request.Request(api + "/notes", headers=bearer))
print("read:", status, json.dumps(notes))
status, refusal = call(urllib.request.Request(api + "/notes/new", data=b"hello", headers=bearer))
print("write:", status, json.dumps(refusal))
status, refusal = exchange(svid, person_token, scope="write:notes")
print("asked for more:", status, json.dumps(refusal))
