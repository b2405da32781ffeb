-- What was typed in the session before its owner went elsewhere to say who he is; sealed with the service's secret.
ALTER TABLE sessions ADD COLUMN kept_form BYTEA;
