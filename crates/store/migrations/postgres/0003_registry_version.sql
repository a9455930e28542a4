-- Counts the changes of the registry: a change that was planned from an earlier version is refused.
CREATE TABLE registry_version (
    one     BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
);
INSERT INTO registry_version (one, version) VALUES (1, 0);
