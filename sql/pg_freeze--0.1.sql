/* sql/pg_freeze--0.1.sql */

\echo Use "CREATE EXTENSION pg_freeze" to load this file. \quit

/* ---- the journal ------------------------------------------------------ */

CREATE TABLE freeze_journal
(
	id					bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	target_kind			text NOT NULL CHECK (target_kind IN ('role', 'schema', 'database', 'cluster')),
	target_oid			oid NOT NULL,
	target_name			text NOT NULL,
	mode				text NOT NULL CHECK (mode IN ('write', 'all')),
	strategy			text NOT NULL,
	why					text NOT NULL,
	state				text NOT NULL CHECK (state IN ('engaging', 'draining', 'frozen', 'thawing', 'thawed', 'aborted', 'lost')),
	label				text CHECK (label <> ''),
	reason				text,
	owner				oid NOT NULL,
	owner_name			text NOT NULL,
	by_session_user		text NOT NULL,
	by_application		text NOT NULL,
	by_address			text,
	by_pid				int NOT NULL,
	drain_timeout		interval NOT NULL,
	on_drain_timeout	text NOT NULL CHECK (on_drain_timeout IN ('abort', 'cancel', 'terminate')),
	thaw_after			interval NOT NULL,
	action				text NOT NULL CHECK (action IN ('wait', 'reject')),
	in_flight			text NOT NULL CHECK (in_flight IN ('hold', 'drain')),
	max_wait			interval,
	notice_after		interval,
	yield_after			interval,
	only_here			boolean NOT NULL,
	superusers			boolean NOT NULL,
	keep_read_only		boolean NOT NULL,
	backup				bigint,
	requested_at		timestamptz NOT NULL DEFAULT clock_timestamp(),
	engaged_at			timestamptz,
	frozen_at			timestamptz,
	frozen_lsn			pg_lsn,
	thaw_at				timestamptz,
	thawed_at			timestamptz,
	thawed_lsn			pg_lsn,
	ended_at			timestamptz,
	end_reason			text,
	held				boolean,
	lost_reason			text,
	lost_at				timestamptz,
	retaken_at			timestamptz,
	stays_lost			boolean NOT NULL DEFAULT false,
	evidence			text,
	leaks				text NOT NULL DEFAULT '',
	also_stops			text NOT NULL DEFAULT '',
	changed				bigint NOT NULL DEFAULT 0,
	restored			bigint NOT NULL DEFAULT 0,
	skipped				bigint NOT NULL DEFAULT 0,
	cancelled			int NOT NULL DEFAULT 0,
	terminated			int NOT NULL DEFAULT 0,
	thaw_failures		int NOT NULL DEFAULT 0,
	retry_at			timestamptz,
	last_error			text,
	reminded_at			timestamptz,
	system_identifier	bigint NOT NULL,
	database_oid		oid NOT NULL,
	timeline			bigint NOT NULL,
	CHECK ((state IN ('frozen', 'lost', 'thawing', 'thawed')) = (frozen_at IS NOT NULL)),
	CHECK (frozen_at IS NULL OR frozen_lsn IS NOT NULL),
	CHECK ((state IN ('thawed', 'aborted')) = (ended_at IS NOT NULL))
);
COMMENT ON TABLE freeze_journal IS 'pg_freeze: one row per freeze; written only by pg_freeze';
COMMENT ON COLUMN freeze_journal.why IS 'how the strategy was chosen';
COMMENT ON COLUMN freeze_journal.max_wait IS 'strategy gate: how long its waiters wait; 0: for ever';
COMMENT ON COLUMN freeze_journal.notice_after IS 'strategy gate: when its waiters are told; NULL: never';
COMMENT ON COLUMN freeze_journal.yield_after IS 'strategy gate: how long its waiters may be in the way of exempt sessions; NULL: for ever';
COMMENT ON COLUMN freeze_journal.only_here IS 'strategy disconnect: the role is kept out of this database only';
COMMENT ON COLUMN freeze_journal.superusers IS 'whether the drain may end sessions of superusers';
COMMENT ON COLUMN freeze_journal.keep_read_only IS 'strategy read_only: leaves sessions alone that were read-only by their settings';
COMMENT ON COLUMN freeze_journal.backup IS 'the backup that it is a part of: freeze_backup.id';
COMMENT ON COLUMN freeze_journal.retaken_at IS 'when the locks of a lost freeze were taken again';
COMMENT ON COLUMN freeze_journal.stays_lost IS 'whether nobody tries to take the locks of a lost freeze again';
COMMENT ON COLUMN freeze_journal.system_identifier IS 'of the cluster where the freeze was made; differs in a restored or cloned one';
COMMENT ON COLUMN freeze_journal.database_oid IS 'of the database where the freeze was made; differs in a copy';
COMMENT ON COLUMN freeze_journal.timeline IS 'of the WAL when the freeze was made; differs after a promotion or a point-in-time recovery';
CREATE INDEX freeze_journal_live ON freeze_journal (state) WHERE state NOT IN ('thawed', 'aborted');

CREATE TABLE freeze_journal_change
(
	freeze_id	bigint NOT NULL REFERENCES freeze_journal ON DELETE CASCADE,
	classid		oid NOT NULL,
	objid		oid NOT NULL,
	objsubid	int NOT NULL,
	kind		text NOT NULL,
	names		text[] NOT NULL,
	args		text[] NOT NULL,
	owner		oid NOT NULL,
	acl_before	text,
	acl_after	text NOT NULL,
	outcome		text,
	PRIMARY KEY (freeze_id, classid, objid, objsubid)
);
COMMENT ON TABLE freeze_journal_change IS 'pg_freeze: what a live freeze took, object by object, and of past ones what could not be put back as it was; written only by pg_freeze';
COMMENT ON COLUMN freeze_journal_change.kind IS 'type of the object as pg_identify_object_as_address() spells it';
COMMENT ON COLUMN freeze_journal_change.names IS 'name of the object as pg_identify_object_as_address() spells it';
COMMENT ON COLUMN freeze_journal_change.acl_before IS 'grantee=privileges/grantor, roles by OID; NULL: the default';
COMMENT ON COLUMN freeze_journal_change.outcome IS 'NULL while taken; after the thaw why it was not put back as it was';

CREATE TABLE freeze_journal_value
(
	freeze_id	bigint NOT NULL REFERENCES freeze_journal ON DELETE CASCADE,
	kind		text NOT NULL CHECK (kind IN ('login', 'connections', 'setting')),
	database	oid NOT NULL,
	role		oid NOT NULL,
	database_name text NOT NULL,
	role_name	text NOT NULL,
	before		text,
	after		text NOT NULL,
	version		xid NOT NULL,
	outcome		text,
	PRIMARY KEY (freeze_id, kind, database, role)
);
COMMENT ON TABLE freeze_journal_value IS 'pg_freeze: what a live freeze changed in the catalogs that all databases share, and of past ones what could not be put back as it was; written only by pg_freeze';
COMMENT ON COLUMN freeze_journal_value.kind IS 'login: rolcanlogin of a role; connections: datallowconn of a database; setting: default_transaction_read_only of a role, a database, both or all';
COMMENT ON COLUMN freeze_journal_value.database IS '0: all of them, or none';
COMMENT ON COLUMN freeze_journal_value.role IS '0: all of them, or none';
COMMENT ON COLUMN freeze_journal_value.before IS 'NULL: was not set';
COMMENT ON COLUMN freeze_journal_value.version IS 'xmin of the row in the catalog as the freeze left it: differs once somebody has changed anything there';
COMMENT ON COLUMN freeze_journal_value.outcome IS 'NULL while changed; after the thaw why it was not put back as it was';

CREATE TABLE freeze_journal_role
(
	freeze_id	bigint NOT NULL REFERENCES freeze_journal ON DELETE CASCADE,
	role		oid NOT NULL,
	name		text NOT NULL,
	PRIMARY KEY (freeze_id, role)
);
COMMENT ON TABLE freeze_journal_role IS 'pg_freeze: names of the roles in freeze_journal_change, for a restored dump';

CREATE TABLE freeze_journal_session
(
	freeze_id		bigint NOT NULL REFERENCES freeze_journal ON DELETE CASCADE,
	at				timestamptz NOT NULL DEFAULT clock_timestamp(),
	rung			text NOT NULL CHECK (rung IN ('idle', 'idle in transaction', 'cancel', 'terminate')),
	pid				int NOT NULL,
	session_user_name text,
	application		text,
	address			text,
	query			text
);
COMMENT ON TABLE freeze_journal_session IS 'pg_freeze: sessions that a drain cancelled or terminated';
CREATE INDEX ON freeze_journal_session (freeze_id);

CREATE TABLE freeze_journal_gap
(
	freeze_id	bigint NOT NULL REFERENCES freeze_journal ON DELETE CASCADE,
	at			timestamptz NOT NULL,
	what		text NOT NULL
);
COMMENT ON TABLE freeze_journal_gap IS 'pg_freeze: what was seen to break a freeze; added to by event triggers in the session that did it, and where locks were lost';
CREATE INDEX freeze_journal_gap_freeze_id ON freeze_journal_gap (freeze_id);

-- in a publication for all tables, too, rows must go away
ALTER TABLE freeze_journal_session REPLICA IDENTITY FULL;
ALTER TABLE freeze_journal_gap REPLICA IDENTITY FULL;

CREATE TABLE freeze_backup
(
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	label			text NOT NULL,
	state			text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
	target			text,
	backup_mode		boolean NOT NULL,
	checkpoint		text NOT NULL CHECK (checkpoint IN ('spread', 'fast', 'none')),
	slot			text,
	label_directory	text,
	timeout			interval NOT NULL,
	owner			oid NOT NULL,
	owner_name		text NOT NULL,
	by_session_user	text NOT NULL,
	by_application	text NOT NULL,
	by_address		text,
	by_pid			int NOT NULL,
	reason			text,
	begun_at		timestamptz NOT NULL,
	deadline		timestamptz,
	start_lsn		pg_lsn,
	stop_lsn		pg_lsn,
	timeline		bigint,
	ended_at		timestamptz,
	failure			text,
	backup_label	text,
	tablespace_map	text,
	CHECK ((state = 'running') = (ended_at IS NULL)),
	CHECK ((state = 'failed') = (failure IS NOT NULL)),
	CHECK (state <> 'done' OR stop_lsn IS NOT NULL)
);
COMMENT ON TABLE freeze_backup IS 'pg_freeze: one row per backup; written only by pg_freeze';
COMMENT ON COLUMN freeze_backup.state IS 'running is true only while the process that keeps it is there: see freeze_backup_status';
COMMENT ON COLUMN freeze_backup.target IS 'what is frozen for it; NULL: nothing';
COMMENT ON COLUMN freeze_backup.deadline IS 'when it fails unless freeze_backup_end() was called; NULL: has not begun to wait for that';
COMMENT ON COLUMN freeze_backup.timeline IS 'of the WAL between start_lsn and stop_lsn';
COMMENT ON COLUMN freeze_backup.backup_label IS 'file of the server''s, for the restore; kept until the next backup begins';
COMMENT ON COLUMN freeze_backup.tablespace_map IS 'file of the server''s, for the restore; kept until the next backup begins';

CREATE TABLE freeze_scheduler
(
	only_one	boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	board		bigint NOT NULL
);
COMMENT ON TABLE freeze_scheduler IS 'pg_freeze: where the sleeping worker of this database is found';

CREATE TABLE freeze_holder
(
	only_one	boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	board		bigint NOT NULL
);
COMMENT ON TABLE freeze_holder IS 'pg_freeze: where the worker that holds the locks in this database is found';

SELECT pg_extension_config_dump('freeze_journal', '');
SELECT pg_extension_config_dump('freeze_journal_change', '');
SELECT pg_extension_config_dump('freeze_journal_value', '');
SELECT pg_extension_config_dump('freeze_journal_role', '');
SELECT pg_extension_config_dump('freeze_journal_session', '');
SELECT pg_extension_config_dump('freeze_journal_gap', '');
SELECT pg_extension_config_dump('freeze_backup', '');
SELECT pg_extension_config_dump(pg_get_serial_sequence('freeze_journal', 'id')::regclass, '');
SELECT pg_extension_config_dump(pg_get_serial_sequence('freeze_backup', 'id')::regclass, '');

REVOKE ALL ON freeze_journal, freeze_journal_change, freeze_journal_value, freeze_journal_role,
	freeze_journal_session, freeze_journal_gap, freeze_backup, freeze_scheduler, freeze_holder FROM PUBLIC;

/* ---- freezing --------------------------------------------------------- */

CREATE FUNCTION freeze_role(
	role name, mode text DEFAULT 'write', thaw_after interval DEFAULT NULL,
	strategy text DEFAULT NULL, action text DEFAULT NULL, in_flight text DEFAULT NULL,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT NULL,
	attempts int DEFAULT 1, label text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_role IS 'hold a role still (quiesce); returns the id of the freeze once it is in force';

CREATE FUNCTION freeze_schema(
	schema name, mode text DEFAULT 'write', thaw_after interval DEFAULT NULL,
	strategy text DEFAULT NULL, action text DEFAULT NULL, in_flight text DEFAULT NULL,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT NULL,
	attempts int DEFAULT 1, label text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_schema IS 'hold a schema still (quiesce); returns the id of the freeze once it is in force';

CREATE FUNCTION freeze_database(
	database name DEFAULT current_database(), mode text DEFAULT 'write', thaw_after interval DEFAULT NULL,
	strategy text DEFAULT NULL, action text DEFAULT NULL, in_flight text DEFAULT NULL,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT NULL,
	attempts int DEFAULT 1, label text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_database IS 'hold a database still (quiesce); returns the id of the freeze once it is in force';

CREATE FUNCTION freeze_cluster(
	mode text DEFAULT 'write', thaw_after interval DEFAULT NULL,
	strategy text DEFAULT NULL, action text DEFAULT NULL, in_flight text DEFAULT NULL,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT NULL,
	attempts int DEFAULT 1, label text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_cluster IS 'hold the cluster still (quiesce); returns the id of the freeze once it is in force';

CREATE FUNCTION stop_role(role name, reason text)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION stop_role IS 'stop a role now: ends its sessions and keeps it out until thaw_label()';

CREATE FUNCTION freeze_check(
	kind text, target name DEFAULT NULL, mode text DEFAULT 'write', thaw_after interval DEFAULT NULL,
	strategy text DEFAULT NULL, action text DEFAULT NULL, in_flight text DEFAULT NULL,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT NULL,
	attempts int DEFAULT 1, label text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS TABLE (item text, kind text, object text, detail text)
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_check IS 'dry run: what a freeze would change, who is in its way, what leaks, who else is stopped';

CREATE FUNCTION freeze_drain(
	role name DEFAULT NULL, database name DEFAULT NULL, application text DEFAULT NULL, address inet DEFAULT NULL,
	state text DEFAULT NULL, older_than interval DEFAULT NULL, everybody boolean DEFAULT false,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT 'terminate')
RETURNS TABLE (pid int, role name, database name, application text, address text, state text, query text,
	rung text, gone boolean, why text)
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_drain IS 'cancel or end sessions by whose they are and what they do, without a freeze; says what was done';

CREATE FUNCTION freeze_extend(id bigint, by interval, home name DEFAULT NULL)
RETURNS timestamptz AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_extend IS 'set the deadline of a freeze to now plus the interval; 0 removes it; home is the database where it was made';

CREATE FUNCTION freeze_alter(id bigint, action text, home name DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_alter IS 'have work that meets a live freeze wait, or get an error: those who wait already, too';

CREATE FUNCTION freeze_pass(id bigint, home name DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_pass IS 'what lets a session through a freeze: SET pg_freeze.pass to it';

/* ---- thawing ---------------------------------------------------------- */

CREATE FUNCTION thaw(INOUT id bigint, require_held boolean DEFAULT false, home name DEFAULT NULL,
	OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'thaw' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw IS 'end a freeze and put back exactly what it took; home is the database where it was made';

CREATE FUNCTION thaw_label(label text, require_held boolean DEFAULT false,
	OUT id bigint, OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw_label IS 'end all live freezes with a label';

CREATE FUNCTION thaw_role(role name, force boolean DEFAULT false, require_held boolean DEFAULT false,
	OUT id bigint, OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw_role IS 'end the live freeze of a role; with force all of them';

CREATE FUNCTION thaw_schema(schema name, force boolean DEFAULT false, require_held boolean DEFAULT false,
	OUT id bigint, OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw_schema IS 'end the live freeze of a schema; with force all of them';

CREATE FUNCTION thaw_database(database name DEFAULT current_database(), force boolean DEFAULT false, require_held boolean DEFAULT false,
	OUT id bigint, OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw_database IS 'end the live freeze of a database; with force all of them';

CREATE FUNCTION thaw_cluster(force boolean DEFAULT false, require_held boolean DEFAULT false,
	OUT id bigint, OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw_cluster IS 'end the live freeze of the cluster; with force all of them';

CREATE FUNCTION thaw_all(require_held boolean DEFAULT false,
	OUT id bigint, OUT target text, OUT strategy text, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn,
	OUT restored int, OUT skipped int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION thaw_all IS 'end every live freeze that the caller may end';

/* ---- backups ---------------------------------------------------------- */

CREATE FUNCTION freeze_backup_begin(
	label text, kind text DEFAULT 'database', target name DEFAULT NULL,
	mode text DEFAULT 'write', timeout interval DEFAULT '60 s',
	strategy text DEFAULT NULL, action text DEFAULT NULL, in_flight text DEFAULT NULL,
	drain_timeout interval DEFAULT NULL, on_drain_timeout text DEFAULT NULL,
	attempts int DEFAULT 1, reason text DEFAULT NULL,
	backup_mode boolean DEFAULT true, checkpoint text DEFAULT 'spread', hold_wal boolean DEFAULT false,
	label_directory text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_backup_begin IS 'begin a backup, and hold something still for it; returns its id when the copy may be made';

CREATE FUNCTION freeze_backup_end(INOUT id bigint DEFAULT NULL, INOUT label text DEFAULT NULL,
	wait_for_archive boolean DEFAULT true, require_held boolean DEFAULT false,
	OUT state text, OUT start_lsn pg_lsn, OUT stop_lsn pg_lsn, OUT backup_label text, OUT tablespace_map text,
	OUT freeze_id bigint, OUT held boolean, OUT lost_reason text, OUT evidence text,
	OUT frozen_at timestamptz, OUT thawed_at timestamptz, OUT frozen_lsn pg_lsn, OUT thawed_lsn pg_lsn)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION freeze_backup_end IS 'end a backup and thaw; from any session, and again if the answer got lost';

CREATE FUNCTION freeze_backup_abort(id bigint DEFAULT NULL, label text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_backup_abort IS 'give a backup up and thaw; returns its id';

REVOKE ALL ON FUNCTION
	freeze_backup_begin, freeze_backup_end, freeze_backup_abort,
	freeze_role, freeze_schema, freeze_database, freeze_cluster, stop_role,
	freeze_check, freeze_drain, freeze_extend, freeze_alter, freeze_pass,
	thaw, thaw_label, thaw_role, thaw_schema, thaw_database, thaw_cluster, thaw_all
	FROM PUBLIC;

/* ---- looking ---------------------------------------------------------- */

-- The journal's ACL text (roles by OID) as aclitem[]; items whose grantee or
-- grantor is gone are left out.  Plain SQL, so that it works without the library.
CREATE FUNCTION freeze_acl(acl text) RETURNS aclitem[]
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(array_agg(quote.text ORDER BY item.ord), '{}')::text::aclitem[]
	FROM regexp_split_to_table(nullif(acl, ''), ',') WITH ORDINALITY AS item (text, ord),
		LATERAL regexp_match(item.text, '^(\d*)=([[:alpha:]*]*)/(\d+)$') AS part,
		LATERAL (SELECT CASE WHEN part[1] = '' THEN ''
					ELSE (SELECT '"' || replace(rolname, '"', '""') || '"' FROM pg_authid WHERE oid = part[1]::oid) END
				|| '=' || part[2] || '/'
				|| (SELECT '"' || replace(rolname, '"', '""') || '"' FROM pg_authid WHERE oid = part[3]::oid)) AS quote (text)
	WHERE quote.text IS NOT NULL
$$;
COMMENT ON FUNCTION freeze_acl IS 'an ACL of the journal with the names of today; internal';
REVOKE ALL ON FUNCTION freeze_acl FROM PUBLIC;

CREATE FUNCTION freeze_in_force(id bigint) RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_in_force IS 'whether nothing that the freeze took has come back; looks at every privilege in the database';

CREATE FUNCTION freeze_in_flight(id bigint,
	OUT pid int, OUT gid text, OUT role name, OUT application text, OUT address text,
	OUT state text, OUT since timestamptz, OUT query text, OUT what text)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_in_flight IS 'sessions and prepared transactions that a drain of this freeze waits for';

CREATE FUNCTION freeze_sessions_of(id bigint,
	OUT pid int, OUT role name, OUT database name, OUT application text, OUT state text, OUT since timestamptz,
	OUT in_flight boolean, OUT writer boolean, OUT next_rung text, OUT why text, OUT address text, OUT query text)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_sessions_of IS 'sessions of the target of this freeze, as its drain sees them; use the view freeze_sessions';

CREATE FUNCTION freeze_holder_pid(id bigint) RETURNS int
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_holder_pid IS 'process that holds the locks of the freeze now, NULL if none does';

CREATE FUNCTION freeze_waiting(id bigint,
	OUT pid int, OUT role name, OUT application text, OUT address text, OUT state text,
	OUT since timestamptz, OUT query text, OUT object text, OUT mode text)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_waiting IS 'sessions that wait for the locks of this freeze, or at its gate';

CREATE FUNCTION freeze_gate(id bigint,
	OUT phase text, OUT closed_at timestamptz, OUT waited bigint, OUT refused bigint, OUT exempt_commits bigint)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT ROWS 1;
COMMENT ON FUNCTION freeze_gate IS 'the gate of this freeze in shared memory, and what happened there; no row if there is none';

-- What shared memory knows; with shared_preload_libraries = 'pg_freeze'.
CREATE FUNCTION freeze_elsewhere(OUT id bigint, OUT target_kind text, OUT target_name text, OUT mode text,
	OUT strategy text, OUT state text, OUT in_force boolean, OUT action text, OUT in_flight text,
	OUT waiters int, OUT refused bigint, OUT exempt_commits bigint,
	OUT since timestamptz, OUT thaw_at timestamptz, OUT lost_at timestamptz, OUT retaken_at timestamptz,
	OUT by text, OUT session_user_name text, OUT reason text, OUT label text,
	OUT changed bigint, OUT cancelled int, OUT terminated int, OUT thaw_failures int, OUT retry_at timestamptz,
	OUT frozen_lsn pg_lsn, OUT home name, OUT remark text, OUT application text, OUT address text, OUT pid int,
	OUT maker int)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_elsewhere IS 'live freezes that were made in other databases';

CREATE FUNCTION freeze_not_shown() RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION freeze_not_shown IS 'why live freezes of other databases may be missing from freeze_status, NULL if none are';

CREATE VIEW freeze_status AS
	SELECT * FROM (
	SELECT j.id, CASE j.target_kind WHEN 'cluster' THEN 'the cluster' ELSE j.target_kind || ' ' || quote_ident(j.target_name) END AS target,
		j.mode, j.strategy,
		CASE WHEN j.state IN ('frozen', 'lost') AND g.phase = 'open' THEN 'thawing' ELSE j.state END AS state,
		CASE WHEN j.state IN ('frozen', 'lost') AND j.system_identifier = s.system_identifier
			AND j.database_oid = d.oid AND g.phase IS DISTINCT FROM 'open' THEN @extschema@.freeze_in_force(j.id) END AS in_force,
		coalesce(j.frozen_at, j.requested_at) AS since,
		j.thaw_at, j.lost_at, j.retaken_at,
		j.owner_name AS by, j.by_session_user AS session_user_name, j.reason, j.label,
		CASE WHEN j.state IN ('engaging', 'draining')
			THEN format('SELECT pg_cancel_backend(%s);', j.by_pid)
			ELSE format('SELECT * FROM %s.thaw(%s);', '@extschema@', j.id) END AS to_thaw,
		j.changed, j.cancelled, j.terminated,
		j.action, j.in_flight,
		(SELECT count(*)::int FROM @extschema@.freeze_waiting(j.id)) AS waiters,
		g.refused, g.exempt_commits,
		CASE WHEN j.strategy = 'lock' AND j.state IN ('draining', 'frozen', 'lost') AND j.system_identifier = s.system_identifier
			AND j.database_oid = d.oid THEN @extschema@.freeze_holder_pid(j.id) END AS holder,
		j.leaks, j.also_stops, j.why,
		(SELECT g.what FROM @extschema@.freeze_journal_gap g WHERE g.freeze_id = j.id ORDER BY g.at LIMIT 1) AS came_back, j.thaw_failures, j.retry_at, j.last_error,
		j.frozen_lsn, d.datname AS home,
		CASE WHEN j.system_identifier <> s.system_identifier OR j.database_oid <> d.oid
			THEN 'made in another database and copied here; '
				|| CASE j.strategy WHEN 'lock' THEN 'locks don''t come along' WHEN 'gate' THEN 'gates don''t come along' ELSE 'thaw puts back what came along' END
			WHEN j.state = 'lost' AND j.strategy = 'gate' THEN 'its gate is gone and stops nobody'
			WHEN r.running > 0 THEN format('statements that began before and still run: %s; they cannot commit, but may advance sequences', r.running)
			WHEN j.state = 'lost' AND j.stays_lost THEN 'its locks were lost and are not taken again'
			WHEN j.state = 'lost' AND j.retaken_at IS NULL THEN 'its locks were lost; to take them again is being tried'
			WHEN j.state = 'lost' THEN 'its locks were lost and taken again; it did not hold in between'
			ELSE @extschema@.freeze_not_shown() END AS remark,
		j.by_application AS application,
		CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN j.by_address END AS address,
		CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN j.by_pid END AS pid
	FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d, @extschema@.freeze_journal j
		LEFT JOIN LATERAL @extschema@.freeze_gate(j.id) g ON j.strategy = 'gate'
		LEFT JOIN LATERAL (SELECT count(*) AS running FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles u ON u.oid = a.usesysid
			WHERE a.state = 'active' AND a.query_start < j.frozen_at AND a.pid NOT IN (pg_backend_pid(), j.by_pid)
				AND a.backend_type IN ('client backend', 'background worker')
				AND CASE j.target_kind WHEN 'database' THEN a.datid = j.target_oid
					WHEN 'role' THEN a.usesysid = j.target_oid OR NOT u.rolsuper AND pg_has_role(a.usesysid, j.target_oid, 'MEMBER')
					ELSE true END
				AND NOT EXISTS (SELECT FROM @extschema@.freeze_waiting(j.id) w WHERE w.pid = a.pid)) r ON j.strategy = 'gate' AND j.state = 'frozen'
	WHERE j.state NOT IN ('thawed', 'aborted') AND d.datname = current_database()
	UNION ALL
	SELECT e.id, CASE e.target_kind WHEN 'cluster' THEN 'the cluster' ELSE e.target_kind || ' ' || quote_ident(e.target_name) END, e.mode, e.strategy, e.state, e.in_force,
		e.since, e.thaw_at, e.lost_at, e.retaken_at, e.by, e.session_user_name, e.reason, e.label,
		CASE WHEN e.id IS NULL THEN 'SELECT * FROM @extschema@.thaw_cluster(force => true);'
			WHEN e.maker IS NOT NULL THEN format('SELECT pg_cancel_backend(%s);', e.maker)
			ELSE format('SELECT * FROM %s.thaw(%s, home => %L);', '@extschema@', e.id, e.home) END,
		e.changed, e.cancelled, e.terminated, e.action, e.in_flight, e.waiters, e.refused, e.exempt_commits,
		NULL, NULL, NULL, NULL, NULL, e.thaw_failures, e.retry_at, NULL,
		e.frozen_lsn, e.home, concat_ws('; ', e.remark, @extschema@.freeze_not_shown()), e.application, e.address, e.pid
	FROM @extschema@.freeze_elsewhere() e) AS live
	ORDER BY live.home <> current_database(), live.home, live.id;
COMMENT ON VIEW freeze_status IS 'live freezes: what is frozen, by whom, until when, is it in force, and how to get out';

CREATE VIEW freeze_history AS
	SELECT j.id, CASE j.target_kind WHEN 'cluster' THEN 'the cluster' ELSE j.target_kind || ' ' || quote_ident(j.target_name) END AS target,
		j.mode, j.strategy, j.state,
		j.held, j.lost_reason, j.lost_at, j.retaken_at, j.evidence, j.requested_at, j.frozen_at, j.thawed_at, j.ended_at, j.end_reason,
		j.owner_name AS by, j.by_session_user AS session_user_name, j.reason, j.label,
		j.action, j.in_flight, j.changed, j.restored, j.skipped, j.cancelled, j.terminated, j.leaks, j.also_stops, j.why,
		j.frozen_lsn, j.thawed_lsn,
		j.by_application AS application,
		CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN j.by_address END AS address,
		CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN j.by_pid END AS pid
	FROM @extschema@.freeze_journal j
	WHERE j.state IN ('thawed', 'aborted')
	ORDER BY j.id;
COMMENT ON VIEW freeze_history IS 'freezes that are over, kept for pg_freeze.history_keep';

CREATE VIEW freeze_changes AS
	SELECT c.freeze_id AS id, c.kind, c.names, c.args, c.classid, c.objid, c.objsubid,
		c.acl_before AS before, c.acl_after AS after, c.outcome
	FROM @extschema@.freeze_journal_change c
	UNION ALL
	SELECT v.freeze_id, v.kind, array_remove(ARRAY[nullif(v.database_name, ''), nullif(v.role_name, '')], NULL), '{}',
		CASE v.kind WHEN 'login' THEN 'pg_authid'::regclass WHEN 'connections' THEN 'pg_database'::regclass
			ELSE 'pg_db_role_setting'::regclass END,
		CASE WHEN v.database = 0 THEN v.role ELSE v.database END, CASE WHEN v.database = 0 THEN 0 ELSE v.role::text::int8::bit(32)::int4 END,
		v.before, v.after, v.outcome
	FROM @extschema@.freeze_journal_value v
	ORDER BY 1, 5, 6, 7;
COMMENT ON VIEW freeze_changes IS 'what live freezes took, object by object, and what past ones could not put back as it was';

CREATE VIEW freeze_blockers AS
	SELECT j.id, f.pid, f.gid, f.role, f.application, f.state, f.since, f.what,
		f.address, f.query
	FROM @extschema@.freeze_journal j, @extschema@.freeze_in_flight(j.id) f
	WHERE j.state IN ('engaging', 'draining');
COMMENT ON VIEW freeze_blockers IS 'who keeps a freeze that is being made from being frozen';

CREATE VIEW freeze_sessions AS
	SELECT j.id, f.pid, f.role, f.database, f.application, f.state, f.since, f.in_flight, f.writer, f.next_rung, f.why,
		f.address, f.query
	FROM @extschema@.freeze_journal j, @extschema@.freeze_sessions_of(j.id) f
	WHERE j.state IN ('engaging', 'draining', 'frozen', 'lost');
COMMENT ON VIEW freeze_sessions IS 'sessions of what is frozen, as a drain sees them: who is in flight, and which rung of the ladder would be next';

CREATE VIEW freeze_waiters AS
	SELECT j.id, w.pid, w.role, w.application, w.state, w.since, w.object, w.mode,
		w.address, w.query
	FROM @extschema@.freeze_journal j, @extschema@.freeze_waiting(j.id) w
	WHERE j.state IN ('draining', 'frozen', 'lost');
COMMENT ON VIEW freeze_waiters IS 'who waits for a thaw';

-- What the process that keeps a backup says of it; no row if there is none.
CREATE FUNCTION freeze_backup_kept(OUT id bigint, OUT label text, OUT state text, OUT phase text,
	OUT since timestamptz, OUT until timestamptz, OUT target text, OUT backup_mode boolean, OUT checkpoint text,
	OUT slot text, OUT label_directory text, OUT start_lsn pg_lsn, OUT stop_lsn pg_lsn, OUT timeline bigint,
	OUT ended_at timestamptz, OUT failure text, OUT by text, OUT session_user_name text, OUT reason text,
	OUT home oid, OUT application text, OUT address text, OUT pid int, OUT keeper int,
	OUT backup_label text, OUT tablespace_map text)
RETURNS SETOF record AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION freeze_backup_kept IS 'the backup that runs, or is kept by a process; use the view freeze_backup_status';

CREATE FUNCTION freeze_backup_archived(start_lsn pg_lsn, stop_lsn pg_lsn, timeline bigint) RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_backup_archived IS 'whether the archive has the WAL of a backup; true where this server archives nothing';

CREATE FUNCTION freeze_backup_failure(id bigint) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION freeze_backup_failure IS 'why a backup that no process keeps has failed, as of now; NULL: it has not';

CREATE VIEW freeze_backup_status AS
	SELECT live.id, live.label,
		CASE WHEN live.state = 'done' AND (NOT live.backup_mode OR @extschema@.freeze_backup_archived(live.start_lsn, live.stop_lsn, live.timeline))
			THEN 'complete' ELSE live.state END AS state,
		live.phase, live.since, live.until, live.target, live.freeze_id, live.backup_mode, live.checkpoint, live.slot, live.label_directory,
		live.start_lsn, live.stop_lsn, live.ended_at, live.failure, live.by, live.session_user_name, live.reason,
		CASE WHEN live.phase = 'waiting for freeze_backup_end' THEN format('SELECT * FROM %s.freeze_backup_end(%s);', '@extschema@', live.id) END AS to_end,
		CASE WHEN live.state = 'running' THEN format('SELECT %s.freeze_backup_abort(%s);', '@extschema@', live.id) END AS to_abort,
		d.datname AS home, live.application, live.address, live.pid, live.keeper, live.backup_label, live.tablespace_map
	FROM (
		SELECT b.id, b.label, coalesce(k.state, CASE WHEN g.failure IS NOT NULL THEN 'failed' ELSE b.state END) AS state,
			k.phase, b.begun_at AS since, coalesce(k.until, b.deadline) AS until, b.target,
			(SELECT max(j.id) FROM @extschema@.freeze_journal j WHERE j.backup = b.id AND j.frozen_at IS NOT NULL) AS freeze_id,
			b.backup_mode, b.checkpoint, k.slot, b.label_directory, b.start_lsn, b.stop_lsn, b.timeline, b.ended_at,
			coalesce(b.failure, k.failure, g.failure) AS failure,
			b.owner_name AS by, b.by_session_user AS session_user_name, b.reason, d.oid AS home, b.by_application AS application,
			CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN b.by_address END AS address,
			CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN b.by_pid END AS pid, k.keeper, b.backup_label, b.tablespace_map
		FROM @extschema@.freeze_backup b JOIN pg_catalog.pg_database d ON d.datname = current_database()
			LEFT JOIN @extschema@.freeze_backup_kept() k ON k.id = b.id AND k.home = d.oid
			CROSS JOIN LATERAL (SELECT CASE WHEN b.state = 'running' AND k.id IS NULL AND NOT pg_is_in_recovery()
				THEN @extschema@.freeze_backup_failure(b.id) END) AS g (failure)
		UNION ALL
		SELECT k.id, k.label, k.state, k.phase, k.since, k.until, k.target, NULL, k.backup_mode, k.checkpoint, k.slot, k.label_directory,
			k.start_lsn, k.stop_lsn, k.timeline, k.ended_at, k.failure, k.by, k.session_user_name, k.reason, k.home, k.application,
			k.address, k.pid, k.keeper, k.backup_label, k.tablespace_map
		FROM @extschema@.freeze_backup_kept() k
		WHERE k.home <> (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
			OR NOT EXISTS (SELECT FROM @extschema@.freeze_backup b WHERE b.id = k.id)) AS live
		LEFT JOIN pg_catalog.pg_database d ON d.oid = live.home
	ORDER BY live.since;
COMMENT ON VIEW freeze_backup_status IS 'backups: the one that runs, and those that were';

CREATE VIEW freeze_sessions_signalled AS
	SELECT s.freeze_id AS id, s.at, s.rung, s.pid, s.session_user_name, s.application,
		CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN s.address END AS address,
		CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN s.query END AS query
	FROM @extschema@.freeze_journal_session s
	ORDER BY s.freeze_id, s.at;
COMMENT ON VIEW freeze_sessions_signalled IS 'sessions that a drain cancelled or terminated';

GRANT SELECT ON freeze_status, freeze_history, freeze_changes, freeze_blockers, freeze_sessions, freeze_waiters,
	freeze_sessions_signalled, freeze_backup_status TO PUBLIC;

/* ---- the way out without the library ---------------------------------- */

-- Statements that undo a freeze, for a superuser of the database where it was
-- made.  Plain SQL: works when the library cannot be loaded, and so do the
-- statements.  One that answers UPDATE 0 found something that somebody has
-- changed since, or that another freeze holds; freeze_changes has what it was.
CREATE FUNCTION freeze_undo(id bigint) RETURNS SETOF text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
	WITH catalog (classid, acl, oid, depend, shared) AS (VALUES
		('pg_class'::regclass, 'relacl', 'oid', 'pg_class'::regclass, false),
		('pg_attribute', 'attacl', 'attrelid', 'pg_class', false),
		('pg_namespace', 'nspacl', 'oid', 'pg_namespace', false),
		('pg_database', 'datacl', 'oid', 'pg_database', true),
		('pg_largeobject_metadata', 'lomacl', 'oid', 'pg_largeobject', false),
		('pg_default_acl', 'defaclacl', 'oid', 'pg_default_acl', false),
		('pg_proc', 'proacl', 'oid', 'pg_proc', false),
		('pg_type', 'typacl', 'oid', 'pg_type', false),
		('pg_language', 'lanacl', 'oid', 'pg_language', false),
		('pg_foreign_server', 'srvacl', 'oid', 'pg_foreign_server', false),
		('pg_foreign_data_wrapper', 'fdwacl', 'oid', 'pg_foreign_data_wrapper', false),
		('pg_tablespace', 'spcacl', 'oid', 'pg_tablespace', true),
		('pg_parameter_acl', 'paracl', 'oid', 'pg_parameter_acl', true)),
	change AS (
		SELECT c.*, k.acl, k.oid AS oid_column, k.depend, k.shared
		FROM @extschema@.freeze_journal_change c JOIN catalog k ON k.classid = c.classid
		WHERE c.freeze_id = freeze_undo.id AND c.outcome IS NULL),
	-- A row of pg_shseclabel, the entry, says which freezes of all databases hold
	-- a value, and in its first line what it was before: see values.c.
	held AS (
		SELECT v.*, (row_number() OVER (ORDER BY v.kind, v.database, v.role))::oid AS ord,
			format('%s of %s', v.kind, regexp_replace(coalesce(nullif(concat_ws(' in ', nullif(v.role_name, ''), nullif(v.database_name, '')), ''),
				'all roles'), '[\r\n]', ' ', 'g')) AS what,
			format('s.classoid = %s AND s.objoid = %s AND s.provider = %L', 'pg_db_role_setting'::regclass::oid,
				CASE WHEN v.role = 0 THEN v.database ELSE v.role END, format('pg_freeze %s %s %s', v.kind, v.database, v.role)) AS entry
		FROM @extschema@.freeze_journal_value v WHERE v.freeze_id = freeze_undo.id AND v.outcome IS NULL),
	value AS (
		SELECT held.*,
			format('NOT EXISTS (SELECT FROM pg_catalog.pg_shseclabel s, regexp_matches(s.label, ''@(\d+)'', ''g'') AS h'
				' JOIN pg_catalog.pg_database d ON d.oid = h[1]::oid WHERE %s)', entry) AS unheld,
			format('CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_shseclabel s WHERE %1$s) THEN (SELECT substring(s.label, ''^=([^\n]*)'')'
				' FROM pg_catalog.pg_shseclabel s WHERE %1$s) ELSE %2$L END', entry, before) AS was
		FROM held),
	statement (part, ord, text) AS (
		SELECT -1, 0::oid, format('-- no SQL opens a gate: first create the file %s/pg_freeze.open and reload the server, which opens every gate of it',
			current_setting('data_directory'))
		FROM @extschema@.freeze_journal j WHERE j.id = freeze_undo.id AND j.strategy = 'gate'
	UNION ALL
		SELECT 0, 0::oid, 'BEGIN READ WRITE;'
	UNION ALL
		SELECT 1, objid, format('UPDATE pg_catalog.%s SET %s = %s WHERE %s = %s%s AND %s::text = %L;  -- %s %s',
			classid::regclass, acl,
			coalesce(quote_literal(@extschema@.freeze_acl(acl_before)) || '::aclitem[]', 'NULL'),
			oid_column, objid, CASE WHEN oid_column = 'attrelid' THEN format(' AND attnum = %s', objsubid) ELSE '' END,
			acl, @extschema@.freeze_acl(acl_after),
			kind, regexp_replace(array_to_string(names, '.'), '[\r\n]', ' ', 'g'))
		FROM change
	UNION ALL
		SELECT DISTINCT 2, c.objid, format('INSERT INTO pg_catalog.pg_shdepend (dbid, classid, objid, objsubid, refclassid, refobjid, deptype)'
			' SELECT %s, %s, %s, %s, %s, %s, ''a'' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_shdepend WHERE dbid = %1$s'
			' AND classid = %2$s AND objid = %3$s AND objsubid = %4$s AND refclassid = %5$s AND refobjid = %6$s AND deptype = ''a'')'
			' AND EXISTS (SELECT FROM pg_catalog.%7$s WHERE %8$s = %3$s%9$s AND %10$s::text = %11$L);',
			CASE WHEN c.shared THEN 0 ELSE d.oid END, c.depend::oid, c.objid, c.objsubid, 'pg_authid'::regclass::oid, r.oid,
			c.classid::regclass, c.oid_column, CASE WHEN c.oid_column = 'attrelid' THEN format(' AND attnum = %s', c.objsubid) ELSE '' END,
			c.acl, @extschema@.freeze_acl(c.acl_before))
		FROM change c, pg_database d, pg_authid r,
			LATERAL regexp_matches(c.acl_before, '(\d+)=|/(\d+)', 'g') AS role
		WHERE d.datname = current_database() AND r.oid = coalesce(role[1], role[2])::oid
			AND r.oid <> c.owner AND r.oid >= 12000
	UNION ALL
		SELECT 3, c.objid, CASE WHEN current_setting('server_version_num')::int >= 160000
			THEN format('UPDATE pg_catalog.pg_auth_members SET admin_option = %L, inherit_option = %L, set_option = %L WHERE oid = %s;',
				o[1], o[2], o[3], c.objid)
			ELSE format('INSERT INTO pg_catalog.pg_auth_members (roleid, member, grantor, admin_option)'
				' SELECT %1$s, %2$s, %3$s, %4$L WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE roleid = %1$s AND member = %2$s);',
				c.objid, j.target_oid, o[4], o[1]) END || format('  -- %s', regexp_replace(array_to_string(names, ' to '), '[\r\n]', ' ', 'g'))
		FROM @extschema@.freeze_journal_change c JOIN @extschema@.freeze_journal j ON j.id = c.freeze_id,
			LATERAL regexp_match(c.acl_before, 'admin=(\d) inherit=(\d) set=(\d) grantor=(\d+)') AS o
		WHERE c.freeze_id = freeze_undo.id AND c.outcome IS NULL AND c.classid = 'pg_auth_members'::regclass
	UNION ALL
		SELECT 4, 0, 'LOCK TABLE pg_catalog.pg_shseclabel IN SHARE ROW EXCLUSIVE MODE;'
		WHERE EXISTS (SELECT FROM value)
	UNION ALL
		SELECT 5, v.ord, format('UPDATE pg_catalog.pg_shseclabel s SET label = regexp_replace(s.label, %L, '''') WHERE %s;  -- %s',
			format('\n%s@%s(?!\d)', v.freeze_id, d.oid), v.entry, v.what)
		FROM value v, pg_database d WHERE d.datname = current_database()
	UNION ALL
		SELECT 6, v.ord, CASE v.kind
			WHEN 'login' THEN format('UPDATE pg_catalog.pg_authid SET rolcanlogin = (%s)::boolean WHERE oid = %s AND NOT rolcanlogin AND %s;',
				v.was, v.role, v.unheld)
			WHEN 'connections' THEN format('UPDATE pg_catalog.pg_database SET datallowconn = (%s)::boolean WHERE oid = %s AND NOT datallowconn AND %s;',
				v.was, v.database, v.unheld)
			ELSE format('UPDATE pg_catalog.pg_db_role_setting SET setconfig = (SELECT array_agg(CASE c WHEN %1$L THEN %2$L || w ELSE c END ORDER BY n)'
				' FROM unnest(setconfig) WITH ORDINALITY AS u (c, n), (SELECT %3$s) AS x (w) WHERE c <> %1$L OR w IS NOT NULL)'
				' WHERE setdatabase = %4$s AND setrole = %5$s AND %1$L = ANY (setconfig) AND %6$s;',
				'default_transaction_read_only=' || v.after, 'default_transaction_read_only=', v.was, v.database, v.role, v.unheld) END
		FROM value v
	UNION ALL
		SELECT 7, v.ord, format('DELETE FROM pg_catalog.pg_db_role_setting WHERE setdatabase = %s AND setrole = %s AND setconfig IS NULL;', v.database, v.role)
		FROM value v WHERE v.kind = 'setting'
	UNION ALL
		SELECT 8, v.ord, format('DELETE FROM pg_catalog.pg_shseclabel s WHERE %s AND %s;', v.entry, v.unheld)
		FROM value v
	UNION ALL
		SELECT 9, 0, format('UPDATE %s.freeze_journal_value SET outcome = ''undone by hand'' WHERE freeze_id = %s AND outcome IS NULL;', '@extschema@', freeze_undo.id)
		WHERE EXISTS (SELECT FROM value)
	UNION ALL
		SELECT 10, 0, format('UPDATE %s.freeze_journal_change SET outcome = ''undone by hand'' WHERE freeze_id = %s AND outcome IS NULL;', '@extschema@', j.id)
		FROM @extschema@.freeze_journal j WHERE j.id = freeze_undo.id
	UNION ALL
		SELECT 11, 0, format('UPDATE %s.freeze_journal SET state = CASE WHEN frozen_at IS NULL THEN ''aborted'' ELSE ''thawed'' END,'
			' thawed_at = clock_timestamp(), ended_at = clock_timestamp(), end_reason = ''undone by hand'','
			' held = false, lost_reason = ''undone by hand'' WHERE id = %s;', '@extschema@', j.id)
		FROM @extschema@.freeze_journal j WHERE j.id = freeze_undo.id
	UNION ALL
		SELECT 12, 0, 'COMMIT;'
	UNION ALL
		SELECT 13, 0, 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
			' WHERE backend_type = ''pg_freeze holder'' AND datname = current_database();'
		FROM @extschema@.freeze_journal j WHERE j.id = freeze_undo.id AND j.strategy = 'lock'
	UNION ALL
		SELECT 13, 0, format('-- sessions that began meanwhile are read-only until they end:'
			' SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = ''client backend'' AND pid <> pg_backend_pid()'
			' AND state = ''idle'' AND backend_start > %L%s;', j.engaged_at,
			CASE j.target_kind WHEN 'role' THEN format(' AND usesysid = %s', j.target_oid) WHEN 'database' THEN format(' AND datid = %s', j.target_oid) ELSE '' END)
		FROM @extschema@.freeze_journal j WHERE j.id = freeze_undo.id AND j.strategy = 'read_only')
	SELECT statement.text FROM statement
	WHERE EXISTS (SELECT FROM @extschema@.freeze_journal j
		WHERE j.id = freeze_undo.id AND j.state NOT IN ('thawed', 'aborted')
			AND j.system_identifier = (SELECT system_identifier FROM pg_control_system())
			AND j.database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()))
	ORDER BY part, ord
$$;
COMMENT ON FUNCTION freeze_undo IS 'plain SQL that undoes a freeze without the library; nothing for an id that is not live, or in a copy of the database';
REVOKE ALL ON FUNCTION freeze_undo FROM PUBLIC;

/* ---- the guard -------------------------------------------------------- */

CREATE FUNCTION freeze_guard() RETURNS event_trigger
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION freeze_guard IS 'refuses what would remove the journal of a live freeze';

CREATE FUNCTION freeze_witness() RETURNS event_trigger
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION freeze_witness IS 'applies a REVOKE by third parties to what a live freeze will put back, and notes what comes back to its target';

CREATE FUNCTION freeze_witness_ddl() RETURNS event_trigger
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION freeze_witness_ddl IS 'notes DDL against the target of a live freeze that its locks do not stop';

REVOKE ALL ON FUNCTION freeze_guard, freeze_witness, freeze_witness_ddl FROM PUBLIC;

CREATE EVENT TRIGGER pg_freeze_guard ON ddl_command_start
	WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP OWNED', 'ALTER EXTENSION')
	EXECUTE FUNCTION freeze_guard();
CREATE EVENT TRIGGER pg_freeze_witness ON ddl_command_end
	WHEN TAG IN ('GRANT', 'REVOKE', 'CREATE SCHEMA', 'ALTER TABLE', 'ALTER SEQUENCE', 'ALTER VIEW',
		'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE', 'ALTER SCHEMA', 'ALTER FUNCTION', 'ALTER PROCEDURE',
		'ALTER ROUTINE', 'ALTER AGGREGATE', 'ALTER TYPE', 'ALTER DOMAIN', 'ALTER LANGUAGE', 'ALTER LARGE OBJECT',
		'ALTER SERVER', 'ALTER FOREIGN DATA WRAPPER')
	EXECUTE FUNCTION freeze_witness();
-- What makes and drops relations is left out: locks stop it, and where the
-- library is missing nobody's temporary tables shall fail.
CREATE EVENT TRIGGER pg_freeze_witness_ddl ON ddl_command_end
	WHEN TAG IN ('ALTER ACCESS METHOD', 'ALTER AGGREGATE', 'ALTER COLLATION', 'ALTER CONVERSION',
		'ALTER DEFAULT PRIVILEGES', 'ALTER DOMAIN', 'ALTER EXTENSION', 'ALTER FOREIGN DATA WRAPPER',
		'ALTER FUNCTION', 'ALTER INDEX', 'ALTER LANGUAGE', 'ALTER LARGE OBJECT', 'ALTER OPERATOR',
		'ALTER OPERATOR CLASS', 'ALTER OPERATOR FAMILY', 'ALTER PROCEDURE', 'ALTER PUBLICATION',
		'ALTER ROUTINE', 'ALTER SCHEMA', 'ALTER SERVER', 'ALTER STATISTICS', 'ALTER SUBSCRIPTION',
		'ALTER TABLE', 'ALTER TEXT SEARCH CONFIGURATION', 'ALTER TEXT SEARCH DICTIONARY',
		'ALTER TEXT SEARCH PARSER', 'ALTER TEXT SEARCH TEMPLATE', 'ALTER TYPE', 'ALTER USER MAPPING',
		'COMMENT', 'CREATE ACCESS METHOD', 'CREATE AGGREGATE', 'CREATE CAST', 'CREATE COLLATION',
		'CREATE CONVERSION', 'CREATE DOMAIN', 'CREATE EXTENSION', 'CREATE FOREIGN DATA WRAPPER',
		'CREATE FUNCTION', 'CREATE LANGUAGE', 'CREATE OPERATOR', 'CREATE OPERATOR CLASS',
		'CREATE OPERATOR FAMILY', 'CREATE PROCEDURE', 'CREATE PUBLICATION', 'CREATE SCHEMA',
		'CREATE SERVER', 'CREATE STATISTICS', 'CREATE SUBSCRIPTION', 'CREATE TEXT SEARCH CONFIGURATION',
		'CREATE TEXT SEARCH DICTIONARY', 'CREATE TEXT SEARCH PARSER', 'CREATE TEXT SEARCH TEMPLATE',
		'CREATE TRANSFORM', 'CREATE TYPE', 'CREATE USER MAPPING', 'DROP OWNED', 'GRANT', 'IMPORT FOREIGN SCHEMA',
		'REVOKE', 'SECURITY LABEL')
	EXECUTE FUNCTION freeze_witness_ddl();
CREATE EVENT TRIGGER pg_freeze_witness_drop ON sql_drop
	WHEN TAG IN ('DROP ACCESS METHOD', 'DROP AGGREGATE', 'DROP CAST', 'DROP COLLATION', 'DROP CONVERSION',
		'DROP DOMAIN', 'DROP EXTENSION', 'DROP FOREIGN DATA WRAPPER', 'DROP FUNCTION', 'DROP LANGUAGE',
		'DROP OPERATOR', 'DROP OPERATOR CLASS', 'DROP OPERATOR FAMILY', 'DROP OWNED', 'DROP PROCEDURE',
		'DROP PUBLICATION', 'DROP ROUTINE', 'DROP SCHEMA', 'DROP SERVER', 'DROP STATISTICS',
		'DROP SUBSCRIPTION', 'DROP TEXT SEARCH CONFIGURATION', 'DROP TEXT SEARCH DICTIONARY',
		'DROP TEXT SEARCH PARSER', 'DROP TEXT SEARCH TEMPLATE', 'DROP TRANSFORM', 'DROP TYPE',
		'DROP USER MAPPING')
	EXECUTE FUNCTION freeze_witness_ddl();
-- session_replication_role is no way around them
ALTER EVENT TRIGGER pg_freeze_guard ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_freeze_witness ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_freeze_witness_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_freeze_witness_drop ENABLE ALWAYS;
