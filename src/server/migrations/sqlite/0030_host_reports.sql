-- When a key was used last, and when it was last checked by a greeting, each with the name of the host that says so.
CREATE TABLE key_uses (
    key          INTEGER PRIMARY KEY REFERENCES keys (number) ON DELETE CASCADE,
    used_at      INTEGER NOT NULL,
    used_host    TEXT    NOT NULL,
    checked_at   INTEGER,
    checked_host TEXT
) STRICT;

-- What hosts have revoked by themselves, until it is gone or taken back: a key, or all keys of an account.
CREATE TABLE host_revocations (
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    host         TEXT    NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    fingerprint  BLOB    CHECK (length(fingerprint) = 32),
    account      INTEGER REFERENCES accounts (number) ON DELETE CASCADE,
    since        INTEGER NOT NULL,
    dismissed_at INTEGER,
    CHECK ((fingerprint IS NULL) <> (account IS NULL)),
    UNIQUE (host, fingerprint),
    UNIQUE (host, account)
) STRICT;
CREATE INDEX host_revocations_by_fingerprint ON host_revocations (fingerprint);
CREATE INDEX host_revocations_by_account ON host_revocations (account);
