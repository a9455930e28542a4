#!/bin/sh
# Logs a person in as an app would, by authorization code with PKCE (RFC 7636), and prints their access token.
#
#   examples/login.sh ISSUER CLIENT_ID REDIRECT_URI PERSON [RESOURCE]
#
# Without RESOURCE the token is addressed to the issuer, to be exchanged; with it, to that resource and no other.
# The password is read from standard input: one line, or a prompt on a terminal. A real app opens ISSUER/authorize in
# the person's browser and never sees the password; this script plays the browser as well, so that a terminal is enough.
# Needs curl and openssl.
set -eu
umask 077

[ $# -eq 4 ] || [ $# -eq 5 ] || {
    echo "usage: $0 ISSUER CLIENT_ID REDIRECT_URI PERSON [RESOURCE]  (the password on standard input)" >&2
    exit 2
}
issuer=$1 client=$2 redirect=$3 person=$4 resource=${5-}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

work=$(mktemp -d)
trap 'stty echo 2>/dev/null || true; rm -rf "$work"' EXIT

if [ -t 0 ]; then
    printf 'Password of %s: ' "$person" >&2
    stty -echo
    IFS= read -r password
    stty echo
    echo >&2
else
    IFS= read -r password || [ -n "$password" ]
fi
printf '%s' "$password" > "$work/password"

# RFC 7636 §4.1 and §4.2: a fresh verifier of 43 characters, and its SHA-256 as the challenge.
openssl rand 32 | base64url | tr -d '\n' > "$work/verifier"
challenge=$(openssl dgst -sha256 -binary < "$work/verifier" | base64url)
state=$(openssl rand -hex 16)

# The login page, with the token against forged forms in it and in a cookie. The authorization request stands in the
# query of the page and, again, of its form.
url=$(curl --silent --get --cookie-jar "$work/cookies" --output "$work/page" --write-out '%{url_effective}' "$issuer/authorize" \
    --data-urlencode response_type=code \
    --data-urlencode "client_id=$client" \
    --data-urlencode "redirect_uri=$redirect" \
    --data-urlencode "state=$state" \
    ${resource:+--data-urlencode "resource=$resource"} \
    --data-urlencode "code_challenge=$challenge" \
    --data-urlencode code_challenge_method=S256)

sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p' "$work/page" | tr -d '\n' > "$work/csrf"
refused() {
    echo "refused: $(sed -n 's/.*<p class="bad"[^>]*>\([^<]*\)<.*/\1/p' "$work/page")" >&2
    exit 3
}
[ -s "$work/csrf" ] || refused

# The form, sent; the answer is a redirect to the app with the code in it.
location=$(curl --silent --cookie "$work/cookies" --output "$work/page" --write-out '%{redirect_url}' "$url" \
    --data-urlencode "csrf@$work/csrf" --data-urlencode "name=$person" \
    --data-urlencode "password@$work/password" --data-urlencode decision=allow)
[ -n "$location" ] || refused

# RFC 6749 §10.12 and RFC 9207 §2.4: an answer to another request, or by another issuer, is not used.
parameter() { printf '%s' "$location" | tr '?&' '\n\n' | sed -n "s/^$1=//p"; }
[ "$(parameter state)" = "$state" ] || { echo "the answer is to another request" >&2; exit 1; }
[ "$(parameter iss | sed 's/%3A/:/g; s/%2F/\//g')" = "$issuer" ] || { echo "the answer is by another issuer" >&2; exit 1; }
[ -n "$(parameter code)" ] || { echo "refused: $(parameter error): $(parameter error_description)" >&2; exit 3; }

# The code for the token. The code and the verifier go in files, so that no other user sees them among the processes.
parameter code | tr -d '\n' > "$work/code"
curl --silent "$issuer/token" \
    --data-urlencode grant_type=authorization_code \
    --data-urlencode "client_id=$client" \
    --data-urlencode "redirect_uri=$redirect" \
    --data-urlencode "code@$work/code" \
    --data-urlencode "code_verifier@$work/verifier" > "$work/answer"
sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' "$work/answer" > "$work/token"
[ -s "$work/token" ] || { echo "refused: $(cat "$work/answer")" >&2; exit 3; }
cat "$work/token"
