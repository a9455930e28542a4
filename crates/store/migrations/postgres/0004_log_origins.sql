-- Several audit logs in one database, each with an origin: the name in its checkpoints. The place of a record is (log, idx).

-- `log` is the number of a log in this database. `note` is its latest checkpoint; NULL if that was removed. `newest` is the
-- latest time of a record; NULL until the first record is written after this migration.
CREATE TABLE logs (
    log    BIGINT NOT NULL PRIMARY KEY,
    origin TEXT COLLATE "C" NOT NULL UNIQUE,
    newest BIGINT,
    note   BYTEA
);
-- What there was is log 1. The first line of a checkpoint is its origin.
INSERT INTO logs (log, origin, note)
    SELECT 1, split_part(convert_from(note, 'UTF8'), chr(10), 1), note FROM checkpoint;
-- Records or a key without a checkpoint: they stay a log whose checkpoint was removed, which is refused.
INSERT INTO logs (log, origin)
    SELECT 1, coalesce((SELECT min(kid) FROM keys WHERE purpose = 'checkpoint'), '')
    WHERE NOT EXISTS (SELECT 1 FROM logs)
    AND (EXISTS (SELECT 1 FROM records) OR EXISTS (SELECT 1 FROM keys WHERE purpose = 'checkpoint'));
DROP TABLE checkpoint;

ALTER TABLE records RENAME TO records_of_one_log;
CREATE TABLE records (
    log    BIGINT NOT NULL,
    idx    BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    leaf   BYTEA NOT NULL,
    PRIMARY KEY (log, idx)
);
INSERT INTO records (log, idx, hashes, leaf) SELECT 1, idx, hashes, leaf FROM records_of_one_log ORDER BY idx;
DROP TABLE records_of_one_log;
