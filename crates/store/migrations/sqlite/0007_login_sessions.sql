-- The sessions of people at identity providers, by a digest of provider and session: which codes came from each.
CREATE TABLE login_sessions (
    session BLOB    NOT NULL,
    code    BLOB    NOT NULL,
    forget  INTEGER NOT NULL,
    PRIMARY KEY (session, code)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_sessions_by_forget ON login_sessions (forget);

-- Sessions that ended a short while ago: a login in one of them that is still on its way gives nothing.
CREATE TABLE ended_login_sessions (
    session BLOB    NOT NULL PRIMARY KEY,
    forget  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_login_sessions_by_forget ON ended_login_sessions (forget);
