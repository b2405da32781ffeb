-- What users connect to: `push.example.com`, or with its port `push.example.com:2222`. NULL is `push_host` of the configuration.
ALTER TABLE hosts ADD COLUMN push_host TEXT COLLATE "C";

-- The public host keys of what users connect to. A key is published from its acceptance until it is withdrawn. Withdrawn keys are kept:
-- keys are accepted without the operator only for a name that has never had one.
CREATE TABLE host_keys (
    push_host   TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    key         TEXT COLLATE "C" NOT NULL,
    seen_at     BIGINT NOT NULL,
    accepted_at BIGINT,
    withdrawn_at BIGINT,
    PRIMARY KEY (push_host, fingerprint)
);

-- The keys of each host, by its last report.
CREATE TABLE host_keys_shown (
    host        TEXT COLLATE "C" NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    push_host   TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    PRIMARY KEY (host, fingerprint)
);
CREATE INDEX host_keys_shown_by_key ON host_keys_shown (push_host, fingerprint);
