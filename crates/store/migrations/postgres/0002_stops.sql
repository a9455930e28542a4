-- Acts that took authority away and are in the log: each is written once, however often it is tried.
CREATE TABLE stops (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY
);
