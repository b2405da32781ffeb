-- Changes of one kind by one actor that are counted in a row, or told in a mail, beside the first one: what a stolen token does
-- again and again must not push out, or drown, what it did before.
ALTER TABLE audit ADD COLUMN repeats BIGINT NOT NULL DEFAULT 0;
ALTER TABLE mails ADD COLUMN repeats BIGINT NOT NULL DEFAULT 0;
