-- When the account showed that it holds the private key; NULL: never.
ALTER TABLE keys ADD COLUMN verified_at INTEGER;

-- What an account is to see until it dismisses it. None says which other account was concerned.
CREATE TABLE warnings (
    number      INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    account     INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('contested', 'taken_over')),
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    name        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (account, kind, fingerprint)
) STRICT;

-- What an account is to sign to show that it holds a private key. A new one takes the place of the last.
CREATE TABLE challenges (
    number      INTEGER PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    text        TEXT    NOT NULL,
    challenge   TEXT    NOT NULL UNIQUE,
    expires_at  INTEGER NOT NULL,
    UNIQUE (account, fingerprint)
) STRICT;

-- Keys that nobody can register again, reported by an account that had shown to hold the private key.
CREATE TABLE compromised_keys (
    fingerprint BLOB    NOT NULL PRIMARY KEY CHECK (length(fingerprint) = 32),
    created_at  INTEGER NOT NULL
) STRICT;
