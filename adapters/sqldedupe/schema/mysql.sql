-- What package sqldedupe remembers, for MySQL and MariaDB. Times are the server's, in UTC.
CREATE TABLE IF NOT EXISTS walletcrew_events (
	event_key  VARBINARY(600) NOT NULL PRIMARY KEY, -- name, separator, key; no collation takes two keys for one
	token      BIGINT NOT NULL,                     -- of the latest lease
	done       BOOLEAN NOT NULL,
	expires_at DATETIME(3) NOT NULL,                -- the end of the lease, or of the retention once it is done
	KEY walletcrew_events_expires_at (expires_at)
) ENGINE = InnoDB;
