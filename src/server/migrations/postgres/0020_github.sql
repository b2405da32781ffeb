-- The account at GitHub that an account is linked to. `sealed_token` opens with the service's secret only.
CREATE TABLE github_links (
    account      BIGINT NOT NULL PRIMARY KEY REFERENCES accounts (number) ON DELETE CASCADE,
    github_user  BIGINT NOT NULL,
    login        TEXT COLLATE "C" NOT NULL,
    sealed_token BYTEA NOT NULL,
    linked_at    BIGINT NOT NULL
);

-- Which keys came from which account at GitHub. A key that is registered again is another one, with another id.
CREATE TABLE github_imports (
    key_id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    account     BIGINT NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    github_user BIGINT NOT NULL,
    github_key  BIGINT NOT NULL,
    imported_at BIGINT NOT NULL
);
CREATE INDEX github_imports_by_account ON github_imports (account);
