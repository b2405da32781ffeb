-- A change has the chain value after it: SHA-256 over that of the change before, its event, a zero byte, and its data. Numbers of
-- before have none, so that `serve` begins a new epoch. A replica of an older version can no longer write.
DROP TABLE changes;
CREATE TABLE changes (
    sequence BIGINT NOT NULL PRIMARY KEY,
    event    TEXT COLLATE "C" NOT NULL CHECK (event IN ('put', 'remove')),
    data     TEXT COLLATE "C" NOT NULL,
    chain    BYTEA NOT NULL CHECK (length(chain) = 32)
);

-- The chain value after the last change, and number and digest of all keys. NULL: `serve` computes them when it opens the database.
ALTER TABLE service ADD COLUMN chain BYTEA;
ALTER TABLE service ADD COLUMN keys BIGINT;
ALTER TABLE service ADD COLUMN digest TEXT COLLATE "C";
UPDATE service SET pruned = sequence;
