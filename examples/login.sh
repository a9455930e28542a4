#!/bin/sh
# Logs a person in as an app would, by authorization code with PKCE (RFC 7636), and prints their access token.
#
#   examples/login.sh ISSUER CLIENT_ID REDIRECT_URI PERSON [RESOURCE [SCOPE]]
#
# Without RESOURCE the token is addressed to the issuer, to be exchanged; with it, to that resource and no other. Without
# SCOPE it has every scope that the person has there. An operator's token: RESOURCE the issuer, SCOPE mandate:admin.
# The password is read from standard input: one line, or a prompt on a terminal. A real app opens ISSUER/authorize in
# the person's browser and never sees the password; this script plays the browser as well, so that a terminal is enough.
# Needs curl and openssl. Exits with 2 for wrong usage, 3 if it was refused, 4 if the server cannot be reached.
set -eu
umask 077

[ $# -ge 4 ] && [ $# -le 6 ] || {
    echo "usage: $0 ISSUER CLIENT_ID REDIRECT_URI PERSON [RESOURCE [SCOPE]]  (the password on standard input)" >&2
    exit 2
}
issuer=${1%/} client=$2 redirect=$3 person=$4 resource=${5-} scope=${6-}

unreachable() {
    echo "the server at $issuer cannot be reached" >&2
    exit 4
}

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

# Percent and plus, as they stand in a redirect, back to text.
decode() {
    LC_ALL=C awk '{
        gsub(/\+/, " ")
        out = ""
        while (match($0, /%[0-9A-Fa-f][0-9A-Fa-f]/)) {
            hex = toupper(substr($0, RSTART + 1, 2))
            byte = (index(digits, substr(hex, 1, 1)) - 1) * 16 + index(digits, substr(hex, 2, 1)) - 1
            out = out substr($0, 1, RSTART - 1) sprintf("%c", byte)
            $0 = substr($0, RSTART + 3)
        }
        print out $0
    }' digits=0123456789ABCDEF
}
parameter() { printf '%s\n' "$location" | tr '?&' '\n\n' | sed -n "s/^$1=//p" | decode; }

# A refusal stands in the redirect to the app or, where there is no safe way back, on the page.
refused() {
    if [ -n "$(parameter error)" ]; then
        echo "refused: $(parameter error): $(parameter error_description)" >&2
    else
        echo "refused: $(sed -n 's/.*<p class="bad"[^>]*>\([^<]*\)<.*/\1/p' "$work/page")" >&2
    fi
    exit 3
}

# The login page, with the token against forged forms in it and in a cookie. The authorization request stands in the
# query of the page and, again, of its form.
curl --silent --show-error --get --cookie-jar "$work/cookies" --output "$work/page" \
    --write-out '%{url_effective}\n%{redirect_url}\n' "$issuer/authorize" \
    --data-urlencode response_type=code \
    --data-urlencode "client_id=$client" \
    --data-urlencode "redirect_uri=$redirect" \
    --data-urlencode "state=$state" \
    ${resource:+--data-urlencode "resource=$resource"} \
    ${scope:+--data-urlencode "scope=$scope"} \
    --data-urlencode "code_challenge=$challenge" \
    --data-urlencode code_challenge_method=S256 > "$work/urls" || unreachable
url=$(sed -n 1p "$work/urls") location=$(sed -n 2p "$work/urls")

touch "$work/page"
sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p' "$work/page" | tr -d '\n' > "$work/csrf"
[ -s "$work/csrf" ] || refused

# The form, sent; the answer is a redirect to the app with the code in it.
location=$(curl --silent --show-error --cookie "$work/cookies" --output "$work/page" --write-out '%{redirect_url}' "$url" \
    --data-urlencode "csrf@$work/csrf" --data-urlencode "name=$person" \
    --data-urlencode "password@$work/password" --data-urlencode decision=allow) || unreachable
[ -n "$location" ] || refused

# RFC 6749 §10.12 and RFC 9207 §2.4: an answer to another request, or by another issuer, is not used.
[ "$(parameter state)" = "$state" ] || { echo "the answer is to another request" >&2; exit 1; }
by=$(parameter iss)
[ "${by%/}" = "$issuer" ] || { echo "the answer is by another issuer" >&2; exit 1; }
[ -n "$(parameter code)" ] || refused

# The code for the token. The code and the verifier go in files, so that no other user sees them among the processes.
parameter code | tr -d '\n' > "$work/code"
curl --silent --show-error "$issuer/token" \
    --data-urlencode grant_type=authorization_code \
    --data-urlencode "client_id=$client" \
    --data-urlencode "redirect_uri=$redirect" \
    --data-urlencode "code@$work/code" \
    --data-urlencode "code_verifier@$work/verifier" > "$work/answer" || unreachable
sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' "$work/answer" > "$work/token"
[ -s "$work/token" ] || { echo "refused: $(cat "$work/answer")" >&2; exit 3; }
cat "$work/token"
