-- The language that the account's owner last read pages in; NULL: none yet.
ALTER TABLE accounts ADD COLUMN language TEXT;

-- Mails that wait to be sent: what the trail of changes says, and to whom. They outlive the account.
CREATE TABLE mails (
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    account      INTEGER NOT NULL,
    account_name TEXT    NOT NULL,
    recipient    TEXT    NOT NULL,
    language     TEXT,
    event        TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    via          TEXT    NOT NULL,
    via_label    TEXT,
    address      TEXT,
    created_at   INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    attempts     INTEGER NOT NULL
) STRICT;
CREATE INDEX mails_by_due_at ON mails (due_at);
CREATE INDEX mails_by_account ON mails (account);
