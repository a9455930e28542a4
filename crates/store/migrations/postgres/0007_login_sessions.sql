-- The sessions of people at identity providers, by a digest of provider and session: which codes came from each.
CREATE TABLE login_sessions (
    session BYTEA  NOT NULL,
    code    BYTEA  NOT NULL,
    forget  BIGINT NOT NULL,
    PRIMARY KEY (session, code)
);
CREATE INDEX login_sessions_by_forget ON login_sessions (forget);

-- Sessions that ended a short while ago: a login in one of them that is still on its way gives nothing.
CREATE TABLE ended_login_sessions (
    session BYTEA  NOT NULL PRIMARY KEY,
    forget  BIGINT NOT NULL
);
CREATE INDEX ended_login_sessions_by_forget ON ended_login_sessions (forget);
