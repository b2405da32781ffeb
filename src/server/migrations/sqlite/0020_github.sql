-- The account at GitHub that an account is linked to. `sealed_token` opens with the service's secret only.
CREATE TABLE github_links (
    account      INTEGER NOT NULL PRIMARY KEY REFERENCES accounts (number) ON DELETE CASCADE,
    github_user  INTEGER NOT NULL,
    login        TEXT    NOT NULL,
    sealed_token BLOB    NOT NULL,
    linked_at    INTEGER NOT NULL
) STRICT;

-- Which keys came from which account at GitHub. A key that is registered again is another one, with another id.
CREATE TABLE github_imports (
    key_id      TEXT    NOT NULL PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    github_user INTEGER NOT NULL,
    github_key  INTEGER NOT NULL,
    imported_at INTEGER NOT NULL
) STRICT;
CREATE INDEX github_imports_by_account ON github_imports (account);
