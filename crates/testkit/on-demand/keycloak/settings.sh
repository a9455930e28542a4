#!/bin/sh
# The settings on Keycloak's side, by its own command line. docs/src/keycloak.md says what each is for.
#
# KCADM         Keycloak's bin/kcadm.sh
# KEYCLOAK      where Keycloak answers, such as https://sso.example.com
# ADMIN         the name of an administrator there; KC_CLI_PASSWORD has the password
# REALM         the realm; it is made if it is missing
# MANDATE       the issuer of the Mandate server
# REDIRECT_URI  of the realm at that server, as `mandate issuer add --login` prints it
# APP, APP_URI  the client id of the app that logs people in by itself, and its redirect URI
# SCOPE         a scope that agents may get by an exchange of the app's tokens
#
# Prints the secret of the client `mandate`.
set -eu

session=$(mktemp)
trap 'rm -f "$session"' EXIT
kcadm() { "$KCADM" "$@" --config "$session"; }
id_of() { kcadm get "$1" --target-realm "$REALM" --query "$2" --fields id --format csv --noquotes; }

kcadm config credentials --server "$KEYCLOAK" --realm master --user "$ADMIN" >&2
kcadm get "realms/$REALM" --fields realm >&2 ||
  kcadm create realms -s realm="$REALM" -s enabled=true >&2

# People log in: a confidential client with PKCE, which is told of logouts.
kcadm create clients --target-realm "$REALM" -s clientId=mandate -s publicClient=false \
  -s standardFlowEnabled=true -s directAccessGrantsEnabled=false -s "redirectUris=[\"$REDIRECT_URI\"]" \
  -s 'attributes."pkce.code.challenge.method"=S256' \
  -s "attributes.\"backchannel.logout.url\"=$MANDATE/login/backchannel-logout" \
  -s 'attributes."backchannel.logout.session.required"=true' >&2

# Access tokens are subject tokens: a client scope addresses them to the Mandate server, and another one has the
# name of a scope there.
audience=$(kcadm create client-scopes --target-realm "$REALM" --id -s name=mandate-audience \
  -s protocol=openid-connect -s 'attributes."include.in.token.scope"=false' \
  -s 'protocolMappers=[{"name":"mandate","protocol":"openid-connect","protocolMapper":"oidc-audience-mapper",
    "config":{"included.custom.audience":"'"$MANDATE"'","access.token.claim":"true","id.token.claim":"false"}}]')
delegable=$(kcadm create client-scopes --target-realm "$REALM" --id -s "name=$SCOPE" \
  -s protocol=openid-connect -s 'attributes."include.in.token.scope"=true')

# The app whose tokens they are. Without "full scope allowed" no other audience is in its tokens.
app=$(kcadm create clients --target-realm "$REALM" --id -s "clientId=$APP" -s publicClient=true \
  -s standardFlowEnabled=true -s directAccessGrantsEnabled=false -s fullScopeAllowed=false \
  -s "redirectUris=[\"$APP_URI\"]")
kcadm update "clients/$app/default-client-scopes/$audience" --target-realm "$REALM" >&2
kcadm update "clients/$app/optional-client-scopes/$delegable" --target-realm "$REALM" >&2

kcadm get "clients/$(id_of clients clientId=mandate)/client-secret" --target-realm "$REALM" \
  --fields value --format csv --noquotes
