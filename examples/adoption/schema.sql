-- For PostgreSQL and SQLite. It is run at each start, and changes nothing that is there.

CREATE TABLE IF NOT EXISTS passes ( -- the CRM's
	pass_id     TEXT PRIMARY KEY,
	customer_id TEXT NOT NULL,             -- identifiers.customerId
	pass_type   TEXT NOT NULL,
	installs    BIGINT NOT NULL,           -- Pass:Installed events
	uninstalls  BIGINT NOT NULL,
	total       BIGINT NOT NULL DEFAULT 0, -- the newest registrationInformation
	active      BIGINT NOT NULL DEFAULT 0,
	installed   BOOLEAN NOT NULL GENERATED ALWAYS AS (CASE WHEN total > 0 THEN active > 0 ELSE installs > uninstalls END) STORED
);

CREATE TABLE IF NOT EXISTS installs ( -- the first one of each pass
	pass_id  TEXT PRIMARY KEY,
	total    BIGINT NOT NULL,
	day      TEXT NOT NULL, -- 2026-11-28, UTC
	campaign TEXT NOT NULL  -- '' for none
);

CREATE TABLE IF NOT EXISTS outbox ( -- your mailer takes rows whose sent_at is NULL
	customer_id TEXT NOT NULL,
	journey     TEXT NOT NULL,
	sent_at     TIMESTAMPTZ,
	PRIMARY KEY (customer_id, journey)
);

CREATE TABLE IF NOT EXISTS events ( -- append-only
	event_id    TEXT NOT NULL, -- "__id"
	name        TEXT NOT NULL,
	received_at TIMESTAMPTZ NOT NULL,
	pass_id     TEXT NOT NULL, -- here and below, '' or 0 for what the event doesn't say
	pass_type   TEXT NOT NULL,
	pass_kind   TEXT NOT NULL,
	customer_id TEXT NOT NULL,
	device      TEXT NOT NULL,
	campaign    TEXT NOT NULL,
	medium      TEXT NOT NULL,
	origin      TEXT NOT NULL,
	active      BIGINT NOT NULL,
	total       BIGINT NOT NULL,
	body        TEXT NOT NULL  -- as it came: what no column has yet can be read from it later
);

CREATE TABLE IF NOT EXISTS redirects (
	store TEXT NOT NULL,
	day   TEXT NOT NULL,
	count BIGINT NOT NULL,
	PRIMARY KEY (store, day)
);
