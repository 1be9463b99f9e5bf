-- The ladder as one session can see it: arguments, rights and columns.  What it
-- does to others is in t/170_ladder.pl.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
\pset format unaligned
\pset tuples_only on
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_oncall;
CREATE ROLE regress_nobody;

-- whose sessions: somebody must be meant, and be there
SELECT tools.try($$SELECT freeze_drain()$$);
SELECT tools.try($$SELECT freeze_drain(everybody => false)$$);
SELECT tools.try($$SELECT freeze_drain(everybody => NULL)$$);
SELECT tools.try($$SELECT freeze_drain(drain_timeout => '0', on_drain_timeout => 'cancel')$$);
SELECT tools.try($$SELECT freeze_drain(role => 'regress_missing')$$);
SELECT tools.try($$SELECT freeze_drain(database => 'regress_missing')$$);
SELECT tools.try($$SELECT freeze_drain(state => 'asleep')$$);
SELECT tools.try($$SELECT freeze_drain(state => '')$$);
SELECT tools.try($$SELECT freeze_drain(older_than => '-1 hour')$$);
SELECT tools.try($$SELECT freeze_drain(role => 'regress_app', drain_timeout => '-1 s')$$);
SELECT tools.try($$SELECT freeze_drain(role => 'regress_app', on_drain_timeout => 'shoot')$$);
SELECT tools.try($$SELECT freeze_drain('regress_app', address => 'here')$$);

-- nobody there: nothing done, and at once, whatever the time limits; never oneself
SET statement_timeout = '60s';
SELECT count(*) FROM freeze_drain(role => 'regress_app', drain_timeout => '1 hour');
SELECT count(*) FROM freeze_drain('regress_app', current_database(), 'psql', '::1', 'idle', '1 s', false, '0', 'abort');
SELECT count(*) FROM freeze_drain(role => 'regress_dba', drain_timeout => '1 hour');
SELECT count(*) FROM freeze_drain(application => current_setting('application_name'), drain_timeout => '1 hour');
RESET statement_timeout;
-- it changes nothing, so a transaction that is read-only may run it
BEGIN READ ONLY;
SELECT count(*) FROM freeze_drain(role => 'regress_app', state => 'active');
COMMIT;

-- who may: EXECUTE is the door
SET ROLE regress_nobody;
SELECT tools.try($$SELECT freeze_drain(role => 'regress_app')$$);
SELECT count(*) FROM freeze_sessions;
RESET ROLE;
GRANT EXECUTE ON FUNCTION freeze_drain TO regress_oncall;
SET ROLE regress_oncall;
SELECT count(*) FROM freeze_drain(role => 'regress_app');
SELECT tools.try($$SET pg_freeze.drain_superusers = on$$);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION freeze_drain FROM regress_oncall;

-- the settings of the ladder
SELECT left(tools.try($$SET pg_freeze.idle_wait = -1$$), 5);
SELECT left(tools.try($$SET pg_freeze.idle_in_transaction_wait = '-1s'$$), 5);
SELECT left(tools.try($$SET pg_freeze.cancel_wait = 'long'$$), 5);
SELECT left(tools.try($$SET pg_freeze.terminate_wait = -1$$), 5);
SELECT left(tools.try($$SET pg_freeze.drain_log_after = -2$$), 5);
SELECT left(tools.try($$SET pg_freeze.drain_superusers = maybe$$), 5);
SELECT left(tools.try($$SET pg_freeze.keep_read_only = maybe$$), 5);

-- columns, and what anybody may see
\pset tuples_only off
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 'freeze_sessions'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_function_result('freeze_drain'::regproc);
\pset tuples_only on

-- this session, before and during a freeze of its database
SELECT item, kind, object = pg_backend_pid()::text, split_part(detail, ': ', 2)
FROM freeze_check('database', strategy => 'read_only')
WHERE item = 'session' AND detail NOT LIKE '%autovacuum%';
SELECT freeze_database(strategy => 'read_only', drain_timeout => '60s') AS id \gset
SELECT pid = pg_backend_pid(), database = current_database(), state, in_flight, next_rung, why
FROM freeze_sessions WHERE id = :id AND why NOT LIKE '%autovacuum%';
SET transaction_read_only = off;
SELECT restored FROM thaw(:id);
SELECT count(*) FROM freeze_sessions;
SELECT item, kind, object FROM freeze_check('role', 'regress_app', mode => 'all', strategy => 'disconnect') WHERE item IN ('session', 'blocker');

-- a prepared transaction is in the way of read_only, and is no session
SET SESSION AUTHORIZATION regress_app;
BEGIN;
SELECT count(pg_current_xact_id());
PREPARE TRANSACTION 'regress two';
SET SESSION AUTHORIZATION regress_dba;
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_app', strategy => 'read_only') WHERE item IN ('session', 'blocker');
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'read_only', drain_timeout => '0', on_drain_timeout => 'terminate')$$);
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_app', mode => 'all', strategy => 'disconnect') WHERE item IN ('session', 'blocker');
ROLLBACK PREPARED 'regress two';

\set ECHO none
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_oncall, regress_nobody, regress_dba;
