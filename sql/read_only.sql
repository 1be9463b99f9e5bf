-- Strategy read_only: which settings it changes and what it puts back, what it
-- says, what it refuses.  What becomes of sessions is tested elsewhere.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
\pset format unaligned
\pset tuples_only on
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_b LOGIN;
CREATE ROLE regress_oncall LOGIN;
CREATE DATABASE regress_elsewhere OWNER regress_oncall;
SELECT current_database() AS here \gset
\set super :USER
CREATE TABLE public.t (a int);
GRANT ALL ON public.t TO regress_app;

-- What pg_db_role_setting says of the roles and databases of this test.
CREATE VIEW tools.settings AS
	SELECT format('%s in %s: %s', coalesce(quote_ident(r.rolname), 'all'),
		CASE WHEN s.setdatabase = 0 THEN 'all' WHEN d.datname = current_database() THEN 'this' ELSE d.datname END,
			(SELECT array_agg(c ORDER BY n) FROM unnest(s.setconfig) WITH ORDINALITY AS u (c, n) WHERE s.setrole <> 0 OR c LIKE '%read_only%')) AS settings
	FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
	WHERE r.rolname LIKE 'regress%' OR s.setrole = 0 AND s.setconfig::text LIKE '%read_only%'
	ORDER BY 1;
-- The rows as they are, other settings included.
CREATE TABLE tools.rows AS SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting;
CREATE VIEW tools.changed AS
	(SELECT '- ' || r::text FROM (TABLE tools.rows EXCEPT ALL SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting) r)
	UNION ALL
	(SELECT '+ ' || r::text FROM (SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting EXCEPT ALL TABLE tools.rows) r);
CREATE PROCEDURE tools.keep_rows() LANGUAGE sql AS $$
	TRUNCATE tools.rows; INSERT INTO tools.rows SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting $$;
CREATE VIEW tools.register AS SELECT count(*) AS register FROM pg_shseclabel WHERE provider LIKE 'pg\_freeze%';
CALL tools.keep();
SET pg_freeze.strategy = 'read_only';

-- A role: what would be done, what is done, what is told.
SELECT * FROM freeze_check('role', 'regress_app');
SET client_min_messages = notice;
SELECT freeze_role('regress_app', reason => 'a try', label => 'try') AS id \gset
SET client_min_messages = warning;
TABLE tools.settings;
\x on
SELECT target, mode, strategy, state, in_force, to_thaw, changed, cancelled, terminated, action, in_flight, waiters, refused, holder,
	leaks, also_stops, why, reason, label, came_back, home = current_database() AS here, remark FROM freeze_status;
SELECT id, kind, names, args, classid::regclass, before, after, outcome FROM freeze_changes;
\x off
SELECT count(*) FROM freeze_sessions;
-- neither a security label for people, nor a privilege
SELECT count(*) FROM pg_seclabels;
SELECT register > 0 FROM tools.register;
SELECT * FROM tools.differences();
-- new sessions are read-only, and may say otherwise
\c - regress_app
SHOW default_transaction_read_only;
INSERT INTO public.t VALUES (1);
BEGIN READ WRITE;
INSERT INTO public.t VALUES (2);
COMMIT;
\c - regress_b
SHOW default_transaction_read_only;
\c - :"super"
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dba;
SET pg_freeze.strategy = 'read_only';
SELECT target, strategy, held, lost_reason, tools.mask(evidence), restored, skipped FROM thaw(:id);
TABLE tools.settings;
TABLE tools.changed;
TABLE tools.register;
SELECT target, state, held, restored, skipped, leaks FROM freeze_history;
SELECT * FROM freeze_changes;

-- The settings before: none, off, on, in other words, among others, for one database.
ALTER ROLE regress_app SET search_path = 'app';
ALTER ROLE regress_app SET default_transaction_read_only = off;
ALTER ROLE regress_app SET work_mem = '1MB';
ALTER ROLE regress_app IN DATABASE :"here" SET default_transaction_read_only = 'no';
ALTER ROLE regress_app IN DATABASE regress_elsewhere SET default_transaction_read_only = 'yes';
ALTER ROLE regress_b SET default_transaction_read_only = off;
CALL tools.keep_rows();
SELECT object, detail FROM freeze_check('role', 'regress_app') WHERE item = 'change' ORDER BY 1;
SELECT freeze_role('regress_app');
TABLE tools.settings;
SELECT names, before, after FROM freeze_changes ORDER BY 1;
SELECT strategy, restored, skipped FROM thaw_role('regress_app');
TABLE tools.changed;

-- A database: a role's own setting would be stronger.
ALTER ROLE regress_b IN DATABASE regress_elsewhere SET work_mem = '2MB';
CALL tools.keep_rows();
SELECT * FROM freeze_check('database', 'regress_elsewhere') ORDER BY item DESC, kind, object;
SELECT freeze_database('regress_elsewhere', label => 'db') AS id \gset
TABLE tools.settings;
SELECT target, in_force, changed FROM freeze_status;
SELECT strategy, restored, skipped FROM thaw_database('regress_elsewhere');
TABLE tools.changed;
SELECT freeze_database() AS id \gset
TABLE tools.settings;
SELECT count(*) FROM thaw(:id);
TABLE tools.changed;

-- The cluster.
SELECT kind, object, detail FROM freeze_check('cluster') WHERE item IN ('change', 'also stops') ORDER BY 2;
SELECT freeze_cluster(thaw_after => '1 hour') AS id \gset
TABLE tools.settings;
SELECT target, in_force, thaw_at - since BETWEEN '59 min' AND '60 min', changed FROM freeze_status;
SELECT restored, skipped FROM thaw_cluster();
TABLE tools.changed;
TABLE tools.register;

-- What somebody says meanwhile, and new settings that are in the way.
SELECT freeze_role('regress_app') AS id \gset
ALTER ROLE regress_app RESET default_transaction_read_only;
SELECT in_force, came_back FROM freeze_status;
SELECT held, lost_reason, restored, skipped FROM thaw(:id);
SELECT names, before, outcome FROM freeze_changes;
TABLE tools.settings;
ALTER ROLE regress_app SET default_transaction_read_only = off;
SELECT freeze_role('regress_app') AS id \gset
ALTER ROLE regress_app SET default_transaction_read_only = off;
SELECT held, lost_reason, restored, skipped FROM thaw(:id);
SELECT freeze_role('regress_b') AS id \gset
ALTER ROLE regress_b SET work_mem = '3MB';
SELECT in_force FROM freeze_status;
SELECT held, lost_reason, tools.mask(evidence), restored, skipped FROM thaw(:id);
TABLE tools.settings;
SELECT freeze_role('regress_b') AS id \gset
ALTER ROLE regress_b IN DATABASE :"here" SET default_transaction_read_only = off;
SELECT in_force FROM freeze_status;
SELECT held, lost_reason, restored, skipped FROM thaw(:id);
SELECT freeze_database('regress_elsewhere') AS id \gset
ALTER DATABASE regress_elsewhere RENAME TO regress_elsewhere2;
ALTER ROLE regress_b RENAME TO regress_b2;
SELECT in_force FROM freeze_status;
SELECT target, held, restored, skipped FROM thaw(:id);
ALTER DATABASE regress_elsewhere2 RENAME TO regress_elsewhere;
ALTER ROLE regress_b2 RENAME TO regress_b;
TABLE tools.settings;

-- What is dropped meanwhile.
CREATE ROLE regress_gone LOGIN;
SELECT freeze_role('regress_gone') AS id \gset
DROP ROLE regress_gone;
SELECT in_force FROM freeze_status;
SELECT target, held, lost_reason, restored, skipped FROM thaw(:id);
SELECT kind, names, outcome FROM freeze_changes WHERE id = :id;
CREATE DATABASE regress_gone;
SELECT freeze_database('regress_gone') AS id \gset
DROP DATABASE regress_gone;
SELECT target, held, lost_reason, restored, skipped FROM thaw(:id);
TABLE tools.register;

-- Several freezes of one thing, thawed in any order.
CALL tools.keep_rows();
SELECT freeze_role('regress_app') AS one \gset
SELECT freeze_role('regress_app') AS two \gset
SELECT freeze_cluster() AS three \gset
SELECT id - :one AS nth, in_force, changed FROM freeze_status ORDER BY id;
SELECT restored, skipped FROM thaw(:one);
TABLE tools.settings;
SELECT restored, skipped FROM thaw(:three);
TABLE tools.settings;
SELECT bool_and(in_force) FROM freeze_status;
SELECT restored, skipped FROM thaw(:two);
TABLE tools.changed;
TABLE tools.register;
-- what somebody says between two of them counts
SELECT freeze_role('regress_app') AS one \gset
ALTER ROLE regress_app RESET default_transaction_read_only;
SELECT freeze_role('regress_app') AS two \gset
SELECT restored, skipped FROM thaw(:two);
SELECT held, restored, skipped FROM thaw(:one);
TABLE tools.settings;
ALTER ROLE regress_app SET default_transaction_read_only = off;
TABLE tools.changed;
-- from several databases
\c regress_elsewhere
SET client_min_messages = warning;
CREATE EXTENSION pg_freeze;
SELECT freeze_role('regress_app', strategy => 'read_only') AS elsewhere \gset
\c :here
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dba;
SET pg_freeze.strategy = 'read_only';
SELECT freeze_role('regress_app') AS id \gset
SELECT changed, in_force FROM freeze_status;
SELECT restored, skipped FROM thaw(:id);
TABLE tools.settings;
\c regress_elsewhere
SET client_min_messages = warning;
SELECT restored, skipped FROM thaw(:elsewhere);
DROP EXTENSION pg_freeze;
\c :here
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dba;
SET pg_freeze.strategy = 'read_only';
TABLE tools.changed;
TABLE tools.register;

-- Arguments and settings.
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all')$$);
SELECT tools.try($$SELECT freeze_database(mode => 'all')$$);
SELECT tools.try($$SELECT freeze_cluster(mode => 'all')$$);
SELECT tools.try($$SELECT freeze_schema('public')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', action => 'wait')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', in_flight => 'hold')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', on_drain_timeout => 'shoot')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', attempts => 0)$$);
SELECT tools.try($$SELECT freeze_role(NULL)$$);
SELECT tools.try($$SELECT freeze_database(NULL)$$);
SELECT tools.try($$SELECT freeze_role('regress_missing')$$);
SELECT tools.try($$SELECT freeze_database('regress_missing')$$);
SET pg_freeze.on_leak = 'error';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
RESET pg_freeze.on_leak;
SELECT freeze_role('regress_app', mode => 'write', thaw_after => NULL, strategy => 'read_only', action => 'reject', in_flight => 'drain',
	drain_timeout => '0', on_drain_timeout => 'terminate', attempts => 2, label => NULL, reason => NULL) AS id \gset
SELECT tools.try(format('SELECT freeze_alter(%s, %L)', :id, 'wait')) OFFSET 1;
SELECT tools.try(format('SELECT freeze_pass(%s)', :id)) OFFSET 1;
SELECT freeze_extend(:id, '1 hour') > now();
SELECT thaw_at > now() FROM freeze_status;
SELECT regexp_replace(tools.try(format('SELECT * FROM thaw(%s, require_held => true)', :id)), 'freeze \d+', 'freeze N') LIMIT 1;
SELECT tools.try($$SELECT * FROM thaw_role('regress_app')$$) LIMIT 1;
SET pg_freeze.keep_read_only = on;
SET pg_freeze.drain_superusers = on;
SELECT freeze_role('regress_app') AS id \gset
SELECT keep_read_only, superusers, only_here, on_drain_timeout, drain_timeout FROM freeze_journal WHERE id = :id;
RESET pg_freeze.keep_read_only;
RESET pg_freeze.drain_superusers;
SELECT count(*) > 0 FROM freeze_undo(:id);
SELECT count(*) FROM thaw_all();
SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals FROM pg_settings
	WHERE name IN ('pg_freeze.keep_read_only', 'pg_freeze.drain_superusers', 'pg_freeze.disconnect_role', 'pg_freeze.drain_log_after',
		'pg_freeze.idle_wait', 'pg_freeze.idle_in_transaction_wait', 'pg_freeze.cancel_wait', 'pg_freeze.terminate_wait') ORDER BY name;
BEGIN;
INSERT INTO public.t VALUES (1);
SELECT tools.try($$SELECT freeze_role('regress_app')$$) LIMIT 1;
ROLLBACK;
-- a prepared transaction can be committed
BEGIN;
SET SESSION AUTHORIZATION regress_app;
INSERT INTO public.t VALUES (1);
PREPARE TRANSACTION 'regress_prepared';
SET SESSION AUTHORIZATION regress_dba;
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_app') WHERE item = 'blocker';
SELECT tools.try($$SELECT freeze_role('regress_app', drain_timeout => '0', on_drain_timeout => 'terminate')$$);
TABLE tools.changed;
ROLLBACK PREPARED 'regress_prepared';

-- Who may.
GRANT EXECUTE ON FUNCTION freeze_role, freeze_database, freeze_cluster, freeze_check, thaw TO regress_oncall;
SET SESSION AUTHORIZATION regress_oncall;
SELECT tools.try($$SELECT freeze_role('regress_dba')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_role('regress_oncall')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_cluster()$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_database('template1')$$);
SELECT tools.try($$SET pg_freeze.drain_superusers = on$$) LIMIT 1;
SET pg_freeze.strategy = 'read_only';
SELECT freeze_role('regress_b') AS one \gset
SELECT freeze_database('regress_elsewhere') AS two \gset
SELECT freeze_database() AS three \gset
SELECT target, by FROM freeze_status ORDER BY id;
SELECT count(*) FROM thaw(:one);
SELECT count(*) FROM thaw(:two);
SELECT count(*) FROM thaw(:three);
SET SESSION AUTHORIZATION regress_dba;
TABLE tools.changed;
TABLE tools.register;

\pset format aligned
\pset tuples_only off
DROP DATABASE regress_elsewhere;
DROP TABLE public.t;
\i :abs_srcdir/sql/clean.psql
DROP OWNED BY regress_oncall;
DROP ROLE regress_app, regress_b, regress_oncall, regress_dba;
