#!/bin/sh
# What the test needs beside settings.sh, in the same realm: a person, an app with Keycloak's default settings, and
# a service account. Variables as in settings.sh; PERSON and PERSON_PASSWORD are the person's.
#
# Prints the id of the person and the secret of the service account.
set -eu

session=$(mktemp)
trap 'rm -f "$session"' EXIT
kcadm() { "$KCADM" "$@" --config "$session"; }

kcadm config credentials --server "$KEYCLOAK" --realm master --user "$ADMIN" >&2
person=$(kcadm create users --target-realm "$REALM" --id -s "username=$PERSON" -s enabled=true \
  -s "email=$PERSON@acme.example" -s emailVerified=true -s firstName=Dana -s lastName=Acme)
kcadm set-password --target-realm "$REALM" --username "$PERSON" --new-password "$PERSON_PASSWORD" >&2

audience=$(kcadm get client-scopes --target-realm "$REALM" --fields id,name --format csv --noquotes |
  sed -n 's/,mandate-audience$//p')
for client in default-app batch; do
  id=$(kcadm create clients --target-realm "$REALM" --id -s "clientId=$client" \
    -s "publicClient=$([ $client = batch ] && echo false || echo true)" \
    -s "serviceAccountsEnabled=$([ $client = batch ] && echo true || echo false)" -s "redirectUris=[\"$APP_URI\"]")
  kcadm update "clients/$id/default-client-scopes/$audience" --target-realm "$REALM" >&2
done
secret=$(kcadm get "clients/$id/client-secret" --target-realm "$REALM" --fields value --format csv --noquotes)
printf '%s\n%s\n' "$person" "$secret"
