-- Argon2id in its own text form; NULL: nobody signs in to the account with a password.
ALTER TABLE accounts ADD COLUMN password TEXT;

-- From when on the token is worthless; NULL: never.
ALTER TABLE tokens ADD COLUMN expires_at INTEGER;

-- The refused key, for the account that may prove that it is its own; NULL: for the one that holds it.
ALTER TABLE warnings ADD COLUMN text TEXT;

-- Browsers that are signed in. Of the token in the cookie, only the SHA-256 is here.
CREATE TABLE sessions (
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    account      INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    token_sha256 BLOB    NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
    agent        TEXT    NOT NULL,
    address      TEXT,
    created_at   INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    signed_in_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_account ON sessions (account);

-- Tokens of `clever login` that a user approved and the command line has not yet fetched.
CREATE TABLE cli_logins (
    token_sha256 BLOB    NOT NULL PRIMARY KEY CHECK (length(token_sha256) = 32),
    account      INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    label        TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX cli_logins_by_account ON cli_logins (account);

-- What was changed, when, by what and from where. `via_label` is the label of a token.
CREATE TABLE audit (
    number    INTEGER PRIMARY KEY,
    account   INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    event     TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    via       TEXT    NOT NULL CHECK (via IN ('console', 'token', 'operator', 'service')),
    via_label TEXT,
    address   TEXT
) STRICT;
CREATE INDEX audit_by_account ON audit (account, number);
CREATE INDEX audit_by_time ON audit (at);
