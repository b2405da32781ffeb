-- The last change that each host says it has applied. A row of a host that was revoked meanwhile says nothing.
CREATE TABLE receipts (
    host_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    epoch    TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL
);
