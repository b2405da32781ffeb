-- Who at which OpenID provider is which account. Never an address of mail: those change hands.
CREATE TABLE oidc_identities (
    issuer    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    account   INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    shown_as  TEXT    NOT NULL,
    linked_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (account, issuer)
) STRICT;
