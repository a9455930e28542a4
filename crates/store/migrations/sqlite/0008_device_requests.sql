-- The devices that wait for a person who logs in elsewhere (RFC 8628): both codes by their digests, and the
-- person's answer: 0 none, 1 allowed, 2 refused. What an allowed one gives is in the table codes.
CREATE TABLE device_requests (
    hash      BLOB    NOT NULL PRIMARY KEY,
    user_code BLOB    NOT NULL UNIQUE,
    client    TEXT    NOT NULL,
    expires   INTEGER NOT NULL,
    forget    INTEGER NOT NULL,
    answer    INTEGER NOT NULL,
    sealed    BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_requests_by_expiry ON device_requests (expires);
CREATE INDEX device_requests_by_forget ON device_requests (forget);
