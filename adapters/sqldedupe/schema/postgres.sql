-- What package sqldedupe remembers. Times are the server's.
CREATE TABLE IF NOT EXISTS walletcrew_events (
	event_key  varchar(600) COLLATE "C" NOT NULL PRIMARY KEY, -- name, separator, key
	token      bigint NOT NULL,      -- of the latest lease
	done       boolean NOT NULL,
	expires_at timestamptz NOT NULL  -- the end of the lease, or of the retention once it is done
);

CREATE INDEX IF NOT EXISTS walletcrew_events_expires_at ON walletcrew_events (expires_at);
