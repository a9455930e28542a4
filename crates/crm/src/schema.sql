CREATE TABLE case_ (
    id       INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    subject  TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('open', 'solved'))
) STRICT;

CREATE TABLE inbound_mail (
    id       INTEGER PRIMARY KEY,
    case_id  INTEGER NOT NULL REFERENCES case_ (id),
    sender   TEXT NOT NULL,
    sent     TEXT NOT NULL,
    body     TEXT NOT NULL
) STRICT;

CREATE TABLE opportunity (
    id            INTEGER PRIMARY KEY,
    customer      TEXT NOT NULL,
    contact       TEXT NOT NULL,
    title         TEXT NOT NULL,
    amount_eur    INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    closed_reason TEXT,
    closed_at     TEXT,
    closed_by     INTEGER REFERENCES cause (id)
) STRICT;

CREATE TABLE comment (
    id       INTEGER PRIMARY KEY,
    case_id  INTEGER NOT NULL REFERENCES case_ (id),
    body     TEXT NOT NULL,
    at       TEXT NOT NULL,
    cause    INTEGER NOT NULL REFERENCES cause (id)
) STRICT;

CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL,
    body      TEXT NOT NULL,
    at        TEXT NOT NULL,
    cause     INTEGER NOT NULL REFERENCES cause (id)
) STRICT;

-- Who caused a change: written in the same transaction as the change, so that no change is without one.
CREATE TABLE cause (
    id      INTEGER PRIMARY KEY,
    sub     TEXT,
    sub_iss TEXT,
    act     TEXT,
    jti     TEXT,
    label   TEXT NOT NULL
) STRICT;

-- Every call, also the refused ones.
CREATE TABLE call (
    id       INTEGER PRIMARY KEY,
    at       TEXT NOT NULL,
    method   TEXT NOT NULL,
    path     TEXT NOT NULL,
    status   INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('permitted', 'refused', 'open')),
    reason   TEXT NOT NULL,
    sub      TEXT,
    act      TEXT,
    jti      TEXT,
    sub_iss  TEXT
) STRICT;
