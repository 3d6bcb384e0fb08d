-- What package sqldedupe remembers. Times are Unix milliseconds.
CREATE TABLE IF NOT EXISTS walletcrew_events (
	event_key  TEXT NOT NULL COLLATE BINARY PRIMARY KEY, -- name, separator, key
	token      INTEGER NOT NULL, -- of the latest lease
	done       INTEGER NOT NULL,
	expires_at INTEGER NOT NULL  -- the end of the lease, or of the retention once it is done
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS walletcrew_events_expires_at ON walletcrew_events (expires_at);
