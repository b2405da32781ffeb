-- In which database this is: when it is not the one that it was in, somebody restored it, and hosts begin anew.
-- SQLite: empty, but `backup` in what the command of this name wrote.
ALTER TABLE service ADD COLUMN origin TEXT NOT NULL DEFAULT '';

-- Signed requests that were served: where several replicas serve, each of them has to know. SHA-256 of token and
-- nonce.
CREATE TABLE nonces (
    timestamp_s INTEGER NOT NULL,
    digest      BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (timestamp_s, digest)
) STRICT, WITHOUT ROWID;
