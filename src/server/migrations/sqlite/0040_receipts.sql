-- The last change that each host says it has applied. A row of a host that was revoked meanwhile says nothing.
CREATE TABLE receipts (
    host_id  TEXT    NOT NULL PRIMARY KEY,
    epoch    TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    seen_at  INTEGER NOT NULL
) STRICT;
