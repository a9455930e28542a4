-- The devices that wait for a person who logs in elsewhere (RFC 8628): both codes by their digests, and the
-- person's answer: 0 none, 1 allowed, 2 refused. What an allowed one gives is in the table codes.
CREATE TABLE device_requests (
    hash      BYTEA  NOT NULL PRIMARY KEY,
    user_code BYTEA  NOT NULL UNIQUE,
    client    TEXT COLLATE "C" NOT NULL,
    expires   BIGINT NOT NULL,
    forget    BIGINT NOT NULL,
    answer    BIGINT NOT NULL,
    sealed    BYTEA  NOT NULL
);
CREATE INDEX device_requests_by_expiry ON device_requests (expires);
CREATE INDEX device_requests_by_forget ON device_requests (forget);
