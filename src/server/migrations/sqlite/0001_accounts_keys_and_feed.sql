-- Times are milliseconds since 1970-01-01T00:00:00Z. Secrets are kept as SHA-256 only.

CREATE TABLE accounts (
    number     INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL UNIQUE,
    email      TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- The OAuth secret is not here: it is derived from the service's secret and `oauth_token`.
CREATE TABLE tokens (
    id            TEXT    NOT NULL PRIMARY KEY,
    account       INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    label         TEXT,
    bearer_sha256 BLOB    NOT NULL UNIQUE,
    oauth_token   TEXT    NOT NULL UNIQUE,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_account ON tokens (account);

CREATE TABLE hosts (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    token_sha256 BLOB    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL
) STRICT;

-- One row per key of the whole service: the unique fingerprint is what ties a key to one account.
-- `entry` is the JSON object that hosts are told of the key, so that a snapshot is a copy of this column.
CREATE TABLE keys (
    number      INTEGER PRIMARY KEY,
    fingerprint BLOB    NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    account     INTEGER NOT NULL REFERENCES accounts (number),
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    entry       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY,
    event    TEXT NOT NULL CHECK (event IN ('put', 'remove')),
    data     TEXT NOT NULL
) STRICT;

-- One row. `sequence` is the number of the last change, `pruned` that of the last one that was dropped
-- from `changes`; `hosts_version` grows with every change to `hosts`.
CREATE TABLE service (
    one           INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch         TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,
    pruned        INTEGER NOT NULL,
    hosts_version INTEGER NOT NULL
) STRICT;
INSERT INTO service VALUES (1, lower(hex(randomblob(4))), 0, 0, 0);
