-- A change has the chain value after it: SHA-256 over that of the change before, its event, a zero byte, and its data. Numbers of
-- before have none, so that `serve` begins a new epoch.
DROP TABLE changes;
CREATE TABLE changes (
    sequence INTEGER NOT NULL PRIMARY KEY,
    event    TEXT    NOT NULL CHECK (event IN ('put', 'remove')),
    data     TEXT    NOT NULL,
    chain    BLOB    NOT NULL CHECK (length(chain) = 32)
) STRICT;

-- The chain value after the last change, and number and digest of all keys. NULL: `serve` computes them when it opens the database.
ALTER TABLE service ADD COLUMN chain BLOB;
ALTER TABLE service ADD COLUMN keys INTEGER;
ALTER TABLE service ADD COLUMN digest TEXT;
UPDATE service SET pruned = sequence;
