-- Logins that gave refresh tokens. `root` is the id of the first access token. From `ends` on, nothing can be
-- refreshed and the row may be removed. `person`: their issuer and subject, as JSON. `session`:
-- a digest of their session at the identity provider at which they logged in.
CREATE TABLE refresh_families (
    root   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    client TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    ends   BIGINT NOT NULL,
    ended  BIGINT,
    sealed BYTEA   NOT NULL,
    session BYTEA
);
CREATE INDEX refresh_families_by_client ON refresh_families (client);
CREATE INDEX refresh_families_by_person ON refresh_families (person);
CREATE INDEX refresh_families_by_session ON refresh_families (session);
CREATE INDEX refresh_families_by_ends ON refresh_families (ends);

-- Their refresh tokens, by SHA-256. A used one is kept as long as its family, so that its second use is noticed.
CREATE TABLE refresh_tokens (
    hash    BYTEA   NOT NULL PRIMARY KEY,
    root    TEXT COLLATE "C" NOT NULL,
    expires BIGINT NOT NULL,
    used    BIGINT,
    forget  BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_by_forget ON refresh_tokens (forget);
