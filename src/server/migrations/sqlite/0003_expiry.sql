-- From when on hosts refuse the key; NULL: never. `entry` says the same to them.
ALTER TABLE keys ADD COLUMN expires_at INTEGER;
