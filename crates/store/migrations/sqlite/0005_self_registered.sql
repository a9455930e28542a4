-- Clients that registered themselves. From `forget` on, the row may be removed.
CREATE TABLE self_registered (
    id     TEXT    NOT NULL PRIMARY KEY,
    forget INTEGER NOT NULL,
    body   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX self_registered_by_forget ON self_registered (forget);
