-- By what a host is known: the SHA-256 of a token or, where that is NULL, a certificate in the host's name. It has more than one
-- while it changes over to the latest. Numbers are never used again, since open streams go by them.
CREATE TABLE hosts_without_token (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO hosts_without_token SELECT id, name, created_at FROM hosts;

CREATE TABLE host_credentials (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    host         TEXT    NOT NULL REFERENCES hosts_without_token (id) ON DELETE CASCADE,
    token_sha256 BLOB    UNIQUE CHECK (length(token_sha256) = 32),
    created_at   INTEGER NOT NULL,
    used_at      INTEGER
) STRICT;
CREATE INDEX host_credentials_by_host ON host_credentials (host);
INSERT INTO host_credentials (host, token_sha256, created_at)
    SELECT id, token_sha256, created_at FROM hosts ORDER BY created_at, id;

-- SQLite drops no column that is unique, and a dropped table takes along what refers to it.
CREATE TABLE host_revocations_kept (
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    host         TEXT    NOT NULL REFERENCES hosts_without_token (id) ON DELETE CASCADE,
    fingerprint  BLOB    CHECK (length(fingerprint) = 32),
    account      INTEGER REFERENCES accounts (number) ON DELETE CASCADE,
    since        INTEGER NOT NULL,
    dismissed_at INTEGER,
    CHECK ((fingerprint IS NULL) <> (account IS NULL)),
    UNIQUE (host, fingerprint),
    UNIQUE (host, account)
) STRICT;
INSERT INTO host_revocations_kept SELECT number, id, host, fingerprint, account, since, dismissed_at FROM host_revocations;
DROP TABLE host_revocations;
DROP TABLE hosts;
ALTER TABLE hosts_without_token RENAME TO hosts;
ALTER TABLE host_revocations_kept RENAME TO host_revocations;
CREATE INDEX host_revocations_by_fingerprint ON host_revocations (fingerprint);
CREATE INDEX host_revocations_by_account ON host_revocations (account);
