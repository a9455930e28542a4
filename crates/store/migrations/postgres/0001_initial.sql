-- Times are milliseconds since 1970-01-01T00:00:00Z. Text compares bytewise (COLLATE "C").

CREATE TABLE meta (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

-- The audit log. `leaf` is the record; `hashes` are the tree hashes that were completed by it, its own first, 32 bytes
-- each.
CREATE TABLE records (
    idx    BIGINT NOT NULL PRIMARY KEY,
    hashes BYTEA NOT NULL,
    leaf   BYTEA NOT NULL
);

-- The latest checkpoint.
CREATE TABLE checkpoint (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    note BYTEA NOT NULL
);

CREATE TABLE registry (
    kind TEXT COLLATE "C" NOT NULL,
    key  TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, key)
);

-- How many mandates each grant has yielded. Outlives the grant: a grant that is removed and added again has its uses.
CREATE TABLE grant_uses (
    grant_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    uses     BIGINT NOT NULL
);

-- Password and client secret hashes; sealed.
CREATE TABLE secrets (
    kind   TEXT COLLATE "C" NOT NULL,
    name   TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Private keys; `sealed` is the private half.
CREATE TABLE keys (
    purpose  TEXT COLLATE "C" NOT NULL,
    kid      TEXT COLLATE "C" NOT NULL,
    state    TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL,
    until    BIGINT,
    public   BYTEA NOT NULL,
    sealed   BYTEA NOT NULL,
    PRIMARY KEY (purpose, kid)
);

-- Revocations. IDENTITY: a sequence number is never given twice, also after the row is gone.
CREATE TABLE cuts (
    seq    BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    forget BIGINT NOT NULL,
    body   TEXT COLLATE "C" NOT NULL
);
CREATE INDEX cuts_by_forget ON cuts (forget);

-- Authorization codes by hash. A used code is kept so that its second use is noticed.
CREATE TABLE codes (
    hash    BYTEA NOT NULL PRIMARY KEY,
    expires BIGINT NOT NULL,
    forget  BIGINT NOT NULL,
    used    BIGINT,
    jti     TEXT COLLATE "C",
    sealed  BYTEA NOT NULL
);
CREATE INDEX codes_by_forget ON codes (forget);

-- Assertions that were seen, until they expire.
CREATE TABLE replay (
    client TEXT COLLATE "C" NOT NULL,
    jti    TEXT COLLATE "C" NOT NULL,
    exp    BIGINT NOT NULL,
    PRIMARY KEY (client, jti)
);
CREATE INDEX replay_by_exp ON replay (exp);

CREATE TABLE join_tokens (
    hash    BYTEA NOT NULL PRIMARY KEY,
    created_by TEXT COLLATE "C" NOT NULL,
    expires BIGINT NOT NULL,
    used    BIGINT,
    node    TEXT COLLATE "C"
);

CREATE TABLE nodes (
    id        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    spiffe_id TEXT COLLATE "C" NOT NULL,
    state     TEXT COLLATE "C" NOT NULL,
    joined    BIGINT NOT NULL,
    renewed   BIGINT NOT NULL,
    expires   BIGINT NOT NULL
);
