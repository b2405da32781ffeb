-- What users connect to: `push.example.com`, or with its port `push.example.com:2222`. NULL is `push_host` of the configuration.
ALTER TABLE hosts ADD COLUMN push_host TEXT;

-- The public host keys of what users connect to. A key is published from its acceptance until it is withdrawn. Withdrawn keys are kept:
-- keys are accepted without the operator only for a name that has never had one.
CREATE TABLE host_keys (
    push_host   TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    key         TEXT    NOT NULL,
    seen_at     INTEGER NOT NULL,
    accepted_at INTEGER,
    withdrawn_at INTEGER,
    PRIMARY KEY (push_host, fingerprint)
) STRICT;

-- The keys of each host, by its last report.
CREATE TABLE host_keys_shown (
    host        TEXT    NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    push_host   TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    PRIMARY KEY (host, fingerprint)
) STRICT;
CREATE INDEX host_keys_shown_by_key ON host_keys_shown (push_host, fingerprint);
