-- What the key page shows of a key, so that no view of it validates the key again. NULL: not computed yet; the
-- service fills in keys that were stored before, and `bits` stays NULL for a key that today's policy refuses.
ALTER TABLE keys ADD COLUMN algorithm TEXT COLLATE "C";
ALTER TABLE keys ADD COLUMN bits BIGINT;
CREATE INDEX keys_without_facts ON keys (number) WHERE algorithm IS NULL;
