-- The sessions of people at identity providers, by a digest of provider and session: which codes came from each.
CREATE TABLE login_sessions (
    session BLOB    NOT NULL,
    code    BLOB    NOT NULL,
    forget  INTEGER NOT NULL,
    PRIMARY KEY (session, code)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_sessions_by_forget ON login_sessions (forget);
