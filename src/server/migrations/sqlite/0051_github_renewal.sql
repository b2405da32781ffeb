-- Until when one request alone renews the token: GitHub gives the next one once. 0: nobody does.
ALTER TABLE github_links ADD COLUMN renewing_until INTEGER NOT NULL DEFAULT 0;
