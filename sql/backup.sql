-- Backups: arguments, messages, what end and the status tell, privileges.  Who
-- dies, times out or is in the way is tested in t/203 to t/206.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
\pset format unaligned
\pset tuples_only on
\set super :USER
SELECT current_database() AS here \gset
CREATE ROLE regress_app;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE TABLE app.t (a int);
ALTER TABLE app.t OWNER TO regress_app;
-- everything but what differs from run to run
CREATE FUNCTION tools.end_of(arguments text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	e record;
BEGIN
	FOR e IN EXECUTE format('SELECT * FROM freeze_backup_end(%s)', arguments) LOOP
		RETURN NEXT concat_ws(' ', e.label, e.state, 'held', e.held);
		RETURN NEXT concat_ws(', ', CASE WHEN e.start_lsn < e.stop_lsn THEN 'start before stop' END,
			CASE WHEN e.start_lsn <= e.frozen_lsn THEN 'frozen after start' END,
			CASE WHEN e.stop_lsn <= e.thawed_lsn THEN 'thawed after stop' END,
			CASE WHEN e.frozen_at < e.thawed_at THEN 'thawed after frozen' END,
			CASE WHEN e.freeze_id IS NOT NULL THEN 'a freeze' END);
		RETURN NEXT 'lost: ' || tools.mask(e.lost_reason);
		RETURN NEXT 'evidence: ' || tools.mask(e.evidence);
		RETURN NEXT 'backup_label: ' || regexp_replace(tools.mask(e.backup_label), 'file [0-9A-F]{24}', 'file WAL', 'g');
		RETURN NEXT 'tablespace_map: ' || e.tablespace_map;
	END LOOP;
END
$$;
CREATE VIEW tools.status AS
	SELECT label, state, phase, target, backup_mode, checkpoint, slot, label_directory, start_lsn IS NOT NULL AS started, stop_lsn IS NOT NULL AS stopped,
		ended_at IS NOT NULL AS ended, failure, by, session_user_name, reason, home = current_database() AS here, application,
		pid = pg_backend_pid() AS by_me, backup_label IS NOT NULL AS has_label, tablespace_map IS NOT NULL AS has_map,
		until - since BETWEEN '10 min' AND '11 min' AS in_time, freeze_id IS NOT NULL AS frozen, keeper IS NOT NULL AS kept,
		replace(to_end, id::text, 'ID') AS to_end, replace(to_abort, id::text, 'ID') AS to_abort
	FROM freeze_backup_status WHERE id = (SELECT max(id) FROM freeze_backup_status);

-- nothing runs
TABLE tools.status;
SELECT tools.try($$SELECT freeze_backup_end()$$);
SELECT tools.try($$SELECT freeze_backup_abort()$$);

-- bad arguments
SELECT tools.try($$SELECT freeze_backup_begin(NULL)$$);
SELECT tools.try($$SELECT freeze_backup_begin('')$$);
SELECT tools.try($$SELECT freeze_backup_begin(repeat('x', 1025), NULL)$$);
SELECT tools.try($$SELECT freeze_backup_begin(E'two\nlines', NULL)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'table', 'app.t')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'ROLE', 'regress_app')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'schema')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_missing')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'schema', 'missing')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'database', 'missing')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'database', 'template1')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'cluster', 'here')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, 'regress_app')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', mode => 'read')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', strategy => 'magic')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', action => 'wait')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', in_flight => 'shoot')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', on_drain_timeout => 'panic')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', drain_timeout => '-1 s')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', attempts => 0)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, timeout => NULL)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, timeout => '0')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, timeout => '-1 s')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, timeout => '300000 years')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, backup_mode => NULL)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, checkpoint => NULL)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, checkpoint => 'slow')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, checkpoint => 'none')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, backup_mode => false)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', backup_mode => false, label_directory => '/tmp')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, label_directory => '')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, label_directory => 'here')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, reason => repeat('x', 100000))$$);
SELECT tools.try($$SELECT freeze_backup_end(0)$$);
SELECT tools.try($$SELECT freeze_backup_end(4711)$$);
SELECT tools.try($$SELECT freeze_backup_end(label => 'missing')$$);
SELECT tools.try($$SELECT freeze_backup_end(4711, 'missing')$$);
SELECT tools.try($$SELECT freeze_backup_abort(4711)$$);
SELECT tools.try($$SELECT freeze_backup_abort(label => 'missing')$$);
-- none of them left anything
SELECT count(*) FROM freeze_backup WHERE state = 'running';
SELECT count(*) FROM freeze_status;

-- a role is held still for a backup
CALL tools.keep();
SET application_name = 'nightly.sh';
SELECT freeze_backup_begin('nightly', 'role', 'regress_app', checkpoint => 'fast', timeout => '10 min', reason => 'every night') AS id \gset
RESET application_name;
\x on
TABLE tools.status;
\x off
SELECT target, state, in_force, label, reason, thaw_at - clock_timestamp() BETWEEN '9 min' AND '10 min' AS deadline FROM freeze_status;
SELECT backup = :id FROM freeze_journal WHERE state = 'frozen';
SELECT replace(replace(tools.try($$SELECT freeze_backup_begin('other')$$), '(' || :id || ')', '(ID)'), 'backup ' || :id, 'backup ID');
SELECT tools.end_of(format('%s', :id));
\x on
TABLE tools.status;
\x off
SELECT tools.differences();
-- again, in every spelling
SELECT tools.end_of('');
SELECT tools.end_of($$label => 'nightly'$$);
SELECT tools.end_of(format('%s, wait_for_archive => false', :id));
SELECT tools.try(format('SELECT freeze_backup_end(%s, %L)', :id, 'nightly'));
SELECT replace(tools.try(format('SELECT freeze_backup_abort(%s)', :id)), 'backup ' || :id, 'backup ID');
SELECT state, held, label, end_reason FROM freeze_history ORDER BY id DESC LIMIT 1;
-- much later, without its id: somebody wants to end one that never began
UPDATE freeze_backup SET ended_at = ended_at - interval '601 s' WHERE id = :id;
SELECT replace(replace(tools.try($$SELECT freeze_backup_end(label => 'nightly')$$), 'backup ' || :id, 'backup ID'), '(' || :id || ')', '(ID)');
SELECT replace(tools.try($$SELECT freeze_backup_end()$$), 'backup ' || :id, 'backup ID') LIMIT 1;
SELECT state FROM freeze_backup_end(:id);

-- the same label again: the one that runs, else the last
SELECT freeze_backup_begin('nightly', NULL, checkpoint => 'fast') AS second \gset
SELECT :second > :id AS higher;
SELECT label, state, target, backup_label IS NOT NULL AS has_label FROM freeze_backup_status ORDER BY id;
SELECT id = :second FROM freeze_backup_end(label => 'nightly');
SELECT id = :second FROM freeze_backup_end(label => 'nightly');
SELECT replace(tools.try(format('SELECT freeze_backup_end(%s)', :id)), 'backup ' || :id, 'backup ID');
SELECT replace(tools.try($$SELECT freeze_backup_end(require_held => true)$$), 'backup ' || :second, 'backup ID');

-- abort
SELECT freeze_backup_begin('given up', 'schema', 'app', strategy => 'lock', checkpoint => 'fast') AS id \gset
SELECT target, strategy, label FROM freeze_status;
SELECT freeze_backup_abort(reason => 'the disk is full') = :id;
SELECT state, failure, ended_at IS NOT NULL FROM freeze_backup_status WHERE id = :id;
SELECT count(*) FROM freeze_status;
SELECT held, end_reason LIKE 'thawed %' FROM freeze_history ORDER BY id DESC LIMIT 1;
SELECT replace(tools.try(format('SELECT freeze_backup_end(%s)', :id)), 'backup ' || :id, 'backup ID');
SELECT replace(tools.try(format('SELECT freeze_backup_abort(%s)', :id)), 'backup ' || :id, 'backup ID');
SELECT count(*) FROM tools.try($$SELECT freeze_backup_abort()$$);

-- a long reason is cut between characters
SELECT count(freeze_backup_begin('cut', NULL, checkpoint => 'fast'));
SELECT count(freeze_backup_abort(reason => 'x' || repeat(U&'\20AC', 1000)));
SELECT octet_length(failure) BETWEEN 1021 AND 1023, failure = convert_from(convert_to(failure, 'UTF8'), 'UTF8') FROM freeze_backup_status WHERE label = 'cut';

-- the freeze is refused: the backup has failed, the error is the freeze's
CREATE ROLE regress_nothing;
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_nothing', checkpoint => 'fast')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', strategy => 'gate', checkpoint => 'fast')$$);
SELECT state, failure FROM freeze_backup_status WHERE label = 'x';

-- without backup mode
SELECT freeze_backup_begin('atomic', 'role', 'regress_app', backup_mode => false, checkpoint => 'fast') AS id \gset
SELECT backup_mode, checkpoint FROM freeze_backup_status WHERE id = :id;
SELECT tools.end_of(:'id');

-- who may
CREATE ROLE regress_backup;
CREATE ROLE regress_other;
GRANT regress_app TO regress_backup;
SET SESSION AUTHORIZATION regress_backup;
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL)$$);
SELECT tools.try($$SELECT freeze_backup_end()$$);
SELECT tools.try($$SELECT freeze_backup_abort()$$);
SELECT tools.try($$SELECT count(*) FROM freeze_backup$$);
SET SESSION AUTHORIZATION regress_dba;
GRANT EXECUTE ON FUNCTION freeze_backup_begin, freeze_backup_end, freeze_backup_abort TO regress_backup, regress_other;
GRANT INSERT ON app.t TO regress_other;
SET SESSION AUTHORIZATION regress_backup;
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, checkpoint => 'fast')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_other', backup_mode => false, checkpoint => 'fast')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', backup_mode => false, checkpoint => 'none', hold_wal => true)$$);
SET SESSION AUTHORIZATION regress_dba;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO regress_backup;
SET SESSION AUTHORIZATION regress_backup;
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, checkpoint => 'fast', hold_wal => true)$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', NULL, checkpoint => 'fast', label_directory => '/tmp')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_dba', checkpoint => 'fast')$$);
SELECT freeze_backup_begin('his own', NULL, checkpoint => 'fast') AS id \gset
SELECT label, state, by, session_user_name, pid, address FROM freeze_backup_status WHERE id = :id;
SET SESSION AUTHORIZATION regress_other;
SELECT replace(tools.try($$SELECT freeze_backup_end()$$), 'backup ' || :id, 'backup ID');
SELECT replace(tools.try($$SELECT freeze_backup_abort()$$), 'backup ' || :id, 'backup ID');
SELECT replace(tools.try($$SELECT freeze_backup_begin('x', NULL)$$), 'backup ' || :id, 'backup ID');
SET SESSION AUTHORIZATION regress_backup;
SELECT state FROM freeze_backup_end();
SET SESSION AUTHORIZATION regress_other;
SELECT replace(tools.try(format('SELECT backup_label FROM freeze_backup_end(%s)', :id)), 'backup ' || :id, 'backup ID');
SET SESSION AUTHORIZATION regress_dba;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) FROM regress_backup;

-- What would remove it.
SELECT freeze_backup_begin('drop', NULL, checkpoint => 'fast') AS id \gset
SELECT state FROM freeze_backup_status WHERE id = :id;
SELECT regexp_replace(tools.try($$DROP EXTENSION pg_freeze$$), '\d+(\)| \()', 'ID\1');
SELECT state FROM freeze_backup_end();

SELECT count(*) FROM freeze_backup_status WHERE state = 'running';
SELECT count(*) FROM pg_replication_slots;
\set ECHO none
\pset format aligned
\pset tuples_only off
DROP SCHEMA app CASCADE;
DROP VIEW tools.status;
\i :abs_srcdir/sql/clean.psql
DROP OWNED BY regress_backup, regress_other;
DROP ROLE regress_app, regress_nothing, regress_backup, regress_other, regress_dba;
