-- Logins that gave refresh tokens. `root` is the id of the first access token. From `ends` on, nothing can be
-- refreshed and the row may be removed. `person`: their issuer and subject, as JSON. `session`:
-- a digest of their session at the identity provider at which they logged in.
CREATE TABLE refresh_families (
    root   TEXT    NOT NULL PRIMARY KEY,
    client TEXT    NOT NULL,
    person TEXT    NOT NULL,
    ends   INTEGER NOT NULL,
    ended  INTEGER,
    sealed BLOB    NOT NULL,
    session BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_families_by_client ON refresh_families (client);
CREATE INDEX refresh_families_by_person ON refresh_families (person);
CREATE INDEX refresh_families_by_session ON refresh_families (session);
CREATE INDEX refresh_families_by_ends ON refresh_families (ends);

-- Their refresh tokens, by SHA-256. A used one is kept as long as its family, so that its second use is noticed.
CREATE TABLE refresh_tokens (
    hash    BLOB    NOT NULL PRIMARY KEY,
    root    TEXT    NOT NULL,
    expires INTEGER NOT NULL,
    used    INTEGER,
    forget  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_forget ON refresh_tokens (forget);
