-- Strategy gate where pg_freeze is not preloaded, its settings, and what the
-- other strategies say to what is for gate only.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
\pset format unaligned
\pset tuples_only on
CREATE ROLE regress_app;
CREATE ROLE regress_oncall;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE TABLE app.t (a int);
ALTER TABLE app.t OWNER TO regress_app;
CREATE DATABASE regress_elsewhere;

-- not preloaded: which setting, to what, and that a restart is needed
RESET pg_freeze.strategy;
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_database(strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_database('regress_elsewhere', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_cluster()$$);
SELECT tools.try($$SELECT freeze_cluster(mode => 'all', strategy => 'auto')$$);
SELECT tools.try($$SELECT * FROM freeze_check('cluster')$$);
SET pg_freeze.strategy = 'gate';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
SELECT tools.try($$SELECT * FROM freeze_check('role', 'regress_app')$$);
SET pg_freeze.strategy = 'auto';
SELECT object, detail FROM freeze_check('role', 'regress_app') WHERE item = 'strategy';
SELECT count(*) FROM freeze_status;

-- who may read the setting is told what is in it, others only what to do
GRANT EXECUTE ON FUNCTION freeze_role, freeze_database, freeze_cluster, freeze_pass, freeze_alter TO regress_oncall;
GRANT USAGE ON SCHEMA tools TO regress_oncall;
SET ROLE regress_oncall;
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_cluster()$$);
SELECT tools.try($$SELECT freeze_database('regress_elsewhere', strategy => 'gate')$$);
RESET ROLE;
SELECT proname FROM pg_proc WHERE proname IN ('freeze_pass', 'freeze_alter', 'freeze_cluster')
	AND has_function_privilege('public', oid, 'EXECUTE');

-- what gate can't, by name
SELECT tools.try($$SELECT freeze_schema('app', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_schema('app', mode => 'all', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_cluster(strategy => 'revoke')$$);
SELECT tools.try($$SELECT freeze_cluster(strategy => 'lock', mode => 'all')$$);

-- words
SELECT tools.try($$SELECT freeze_cluster(mode => 'read')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'gate', action => 'hold')$$);

-- the settings
SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals
	FROM pg_settings WHERE name IN ('pg_freeze.action', 'pg_freeze.in_flight', 'pg_freeze.max_wait', 'pg_freeze.notice_after',
		'pg_freeze.yield_after', 'pg_freeze.exempt_roles', 'pg_freeze.on_promote', 'pg_freeze.pass')
	ORDER BY name;
SELECT count(*) FROM pg_settings WHERE name LIKE 'pg\_freeze.%' AND extra_desc IS NULL;
SELECT tools.try($$SET pg_freeze.action = 'kill'$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.in_flight = 'shoot'$$) LIMIT 1;
SELECT substr(tools.try($$SET pg_freeze.max_wait = -1$$), 1, 5) LIMIT 1;
SELECT substr(tools.try($$SET pg_freeze.notice_after = -2$$), 1, 5) LIMIT 1;
SELECT tools.try($$SET pg_freeze.notice_after = -1$$) LIMIT 1;
SELECT substr(tools.try($$SET pg_freeze.yield_after = '1 parsec'$$), 1, 5) LIMIT 1;
SELECT tools.try($$SET pg_freeze.exempt_roles = 'regress_app'$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.on_promote = 'keep'$$) LIMIT 1;
SELECT tools.try($$ALTER ROLE regress_app SET pg_freeze.exempt_roles = 'a'$$) LIMIT 1;
SELECT set_config('pg_freeze.pass', 'secret', false);
SET ROLE regress_oncall;
SELECT substr(tools.try('SHOW pg_freeze.pass'), 1, 5) LIMIT 1;
RESET ROLE;
RESET pg_freeze.pass;
RESET pg_freeze.notice_after;

-- invalid values that were set before the library was loaded
\c
SET client_min_messages = error;
SET SESSION AUTHORIZATION regress_dba;
SET pg_freeze.action = 'kill';
SET pg_freeze.in_flight = 'shoot';
SET pg_freeze.max_wait = 'long';
SET pg_freeze.notice_after = '-5';
SET pg_freeze.yield_after = 'x';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
SET pg_freeze.action = 'reject';
SELECT tools.try($$SELECT freeze_role('regress_app')$$) LIMIT 1;
SET pg_freeze.in_flight = 'hold';
SELECT tools.try($$SELECT * FROM thaw_all()$$) LIMIT 1;
SET pg_freeze.max_wait = '1min';
SELECT tools.try($$SELECT freeze_role('regress_app')$$) LIMIT 1;
SET pg_freeze.notice_after = '10s';
SELECT tools.try($$SELECT freeze_role('regress_app')$$) LIMIT 1;
SET pg_freeze.yield_after = -1;

-- the settings are not for the other strategies: each does what it can
SET pg_freeze.strategy = 'revoke';
SELECT freeze_role('regress_app') AS first \gset
SELECT freeze_role('regress_app', strategy => 'lock') AS second \gset
SELECT strategy, action, in_flight, waiters, refused, exempt_commits FROM freeze_status ORDER BY id;
SELECT strategy, action, in_flight, max_wait, notice_after, yield_after FROM freeze_journal ORDER BY id;

-- what is for gate only
SELECT tools.try(format('SELECT freeze_alter(%s, %L)', :first, 'wait')) LIMIT 1;
SELECT regexp_replace(tools.try(format('SELECT freeze_alter(%s, %L)', :second, 'reject')), '\d+ cannot', 'N cannot');
SELECT regexp_replace(tools.try(format('SELECT freeze_pass(%s)', :second)), '\d+ has', 'N has');
SELECT tools.try(format('SELECT freeze_alter(%s, %L)', :first, 'kill'));
SELECT tools.try(format('SELECT freeze_alter(%s, NULL)', :first));
SELECT tools.try('SELECT freeze_alter(NULL, $$wait$$)');
SELECT tools.try('SELECT freeze_pass(NULL)');
SELECT tools.try('SELECT freeze_pass(123456789)');
SELECT * FROM freeze_gate(:first);
SET ROLE regress_oncall;
SELECT regexp_replace(tools.try(format('SELECT freeze_alter(%s, %L)', :first, 'wait')), 'freeze \d+', 'freeze N');
SELECT regexp_replace(tools.try(format('SELECT freeze_pass(%s)', :first)), 'freeze \d+', 'freeze N');
RESET ROLE;
SELECT target, strategy, held FROM thaw_all() ORDER BY id;
SELECT regexp_replace(tools.try(format('SELECT freeze_alter(%s, %L)', :first, 'wait')), 'freeze \d+', 'freeze N') LIMIT 1;
SELECT action, in_flight, count(*) FROM freeze_history GROUP BY 1, 2 ORDER BY 1, 2;
SELECT tools.try('SELECT * FROM thaw_cluster()');

\pset format aligned
\pset tuples_only off
DROP DATABASE regress_elsewhere;
DROP SCHEMA app CASCADE;
\i :abs_srcdir/sql/clean.psql
DROP OWNED BY regress_oncall;
DROP ROLE regress_app, regress_oncall, regress_dba;
