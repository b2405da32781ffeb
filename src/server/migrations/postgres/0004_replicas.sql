-- In which database this is: when it is not the one that it was in, somebody restored it, and hosts begin anew.
-- PostgreSQL: system identifier, timeline, and the numbers of the database and of this table; empty when never served.
ALTER TABLE service ADD COLUMN origin TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Signed requests that were served: where several replicas serve, each of them has to know. SHA-256 of token and
-- nonce.
CREATE TABLE nonces (
    timestamp_s BIGINT NOT NULL,
    digest      BYTEA  NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (timestamp_s, digest)
);
