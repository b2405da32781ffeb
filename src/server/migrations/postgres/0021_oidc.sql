-- Who at which OpenID provider is which account. Never an address of mail: those change hands.
CREATE TABLE oidc_identities (
    issuer    TEXT COLLATE "C" NOT NULL,
    subject   TEXT COLLATE "C" NOT NULL,
    account   BIGINT NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    shown_as  TEXT COLLATE "C" NOT NULL,
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (account, issuer)
);
