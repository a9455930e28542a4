-- The sessions of people at identity providers, by a digest of provider and session: which codes came from each.
CREATE TABLE login_sessions (
    session BYTEA  NOT NULL,
    code    BYTEA  NOT NULL,
    forget  BIGINT NOT NULL,
    PRIMARY KEY (session, code)
);
CREATE INDEX login_sessions_by_forget ON login_sessions (forget);
