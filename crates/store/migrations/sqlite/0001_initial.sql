-- Times are milliseconds since 1970-01-01T00:00:00Z. Text compares bytewise (BINARY, the default collation).

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit log. `leaf` is the record; `hashes` are the tree hashes that were completed by it, its own first, 32 bytes
-- each. Finding records is the search index's work, in a file of its own.
CREATE TABLE records (
    idx    INTEGER NOT NULL PRIMARY KEY,
    hashes BLOB    NOT NULL,
    leaf   BLOB    NOT NULL
) STRICT;

-- The latest checkpoint.
CREATE TABLE checkpoint (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    note BLOB    NOT NULL
) STRICT;

CREATE TABLE registry (
    kind TEXT NOT NULL,
    key  TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- How many mandates each grant has yielded. Outlives the grant: a grant that is removed and added again has its uses.
CREATE TABLE grant_uses (
    grant_id TEXT    NOT NULL PRIMARY KEY,
    uses     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Password and client secret hashes; sealed.
CREATE TABLE secrets (
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- Private keys; `sealed` is the private half.
CREATE TABLE keys (
    purpose  TEXT    NOT NULL,
    kid      TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    until    INTEGER,
    public   BLOB    NOT NULL,
    sealed   BLOB    NOT NULL,
    PRIMARY KEY (purpose, kid)
) STRICT, WITHOUT ROWID;

-- Revocations. AUTOINCREMENT: a sequence number is never given twice, also after the row is gone.
CREATE TABLE cuts (
    seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    forget INTEGER NOT NULL,
    body   TEXT    NOT NULL
) STRICT;
CREATE INDEX cuts_by_forget ON cuts (forget);

-- Authorization codes by hash. A used code is kept so that its second use is noticed.
CREATE TABLE codes (
    hash    BLOB    NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL,
    forget  INTEGER NOT NULL,
    used    INTEGER,
    jti     TEXT,
    sealed  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_by_forget ON codes (forget);

-- Assertions that were seen, until they expire.
CREATE TABLE replay (
    client TEXT    NOT NULL,
    jti    TEXT    NOT NULL,
    exp    INTEGER NOT NULL,
    PRIMARY KEY (client, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_by_exp ON replay (exp);

CREATE TABLE join_tokens (
    hash    BLOB    NOT NULL PRIMARY KEY,
    created_by TEXT NOT NULL,
    expires INTEGER NOT NULL,
    used    INTEGER,
    node    TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    id        TEXT    NOT NULL PRIMARY KEY,
    spiffe_id TEXT    NOT NULL,
    state     TEXT    NOT NULL,
    joined    INTEGER NOT NULL,
    renewed   INTEGER NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
