-- Clients that registered themselves. From `forget` on, the row may be removed.
CREATE TABLE self_registered (
    id     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    forget BIGINT NOT NULL,
    body   TEXT COLLATE "C" NOT NULL
);
CREATE INDEX self_registered_by_forget ON self_registered (forget);
