-- Every error that a caller can cause: SQLSTATE, message, DETAIL, HINT.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
\pset format unaligned
\pset tuples_only on
CREATE ROLE regress_app;
CREATE ROLE regress_nothing;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE TABLE app.t (a int);
ALTER TABLE app.t OWNER TO regress_app;
CREATE SCHEMA empty;
REVOKE ALL ON SCHEMA empty FROM regress_dba;
CALL tools.keep();

-- bad arguments
SELECT tools.try($$SELECT freeze_role(NULL)$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'read')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'WRITE')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'magic')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', action => 'kill')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', action => 'wait')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', in_flight => 'shoot')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', in_flight => 'hold')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', on_drain_timeout => 'panic')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', drain_timeout => '-1 second')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', thaw_after => '-1 hour')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', thaw_after => '300000 years')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', attempts => 0)$$);
SELECT tools.try($$SELECT freeze_role('regress_app', label => repeat('x', 10000))$$);
SELECT tools.try($$SELECT freeze_role('regress_app', reason => repeat('x', 100000))$$);
SELECT tools.try($$SELECT * FROM freeze_check('table', 'app.t')$$);
SELECT tools.try($$SELECT * FROM freeze_check(NULL, 'app.t')$$);
SELECT tools.try($$SELECT * FROM freeze_check('role')$$);
SELECT tools.try($$SELECT * FROM freeze_check('role', 'regress_app', mode => 'x')$$);

-- unknown names
SELECT tools.try($$SELECT freeze_role('regress_missing')$$);
SELECT tools.try($$SELECT freeze_schema('missing')$$);
SELECT tools.try($$SELECT freeze_database('missing')$$);
SELECT tools.try($$SELECT * FROM freeze_check('role', 'regress_missing')$$);
SELECT tools.try($$SELECT * FROM thaw_role('regress_missing')$$);
SELECT tools.try($$SELECT * FROM thaw_schema('missing')$$);
SELECT tools.try($$SELECT * FROM thaw_database('missing')$$);

-- another database is frozen there
SELECT tools.try($$SELECT freeze_database('postgres')$$);

-- what "auto" does not choose, and what no strategy can
SELECT tools.try($$SELECT freeze_cluster()$$);
SELECT tools.try($$SELECT freeze_cluster(strategy => 'auto')$$);
SELECT tools.try($$SELECT freeze_cluster(mode => 'all', strategy => 'auto')$$);
SELECT tools.try($$SELECT freeze_cluster(strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_cluster(strategy => 'lock')$$);
SELECT tools.try($$SELECT freeze_database('postgres', strategy => 'auto')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all', strategy => 'read_only')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'disconnect')$$);
SELECT tools.try($$SELECT freeze_schema('app', strategy => 'gate')$$);
SELECT tools.try($$SELECT freeze_schema('app', strategy => 'read_only')$$);
SELECT tools.try($$SELECT freeze_schema('app', mode => 'all', strategy => 'disconnect')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'read_only', action => 'wait')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all', strategy => 'disconnect', in_flight => 'hold')$$);

-- stop_role
SELECT tools.try($$SELECT stop_role(NULL, 'now')$$);
SELECT tools.try($$SELECT stop_role('regress_missing', 'now')$$);
SELECT tools.try($$SELECT stop_role('regress_dba', 'now')$$);
SELECT tools.try($$SELECT stop_role('regress_app', repeat('x', 100000))$$);
SELECT tools.try($$SELECT freeze_alter(4711, action => 'reject')$$);

-- nothing to freeze
SELECT tools.try($$SELECT freeze_role('regress_nothing')$$);
SELECT tools.try($$SELECT freeze_schema('empty')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all', strategy => 'disconnect')$$);
SELECT tools.try($$SELECT stop_role('regress_app', 'now')$$);
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_nothing') WHERE item = 'refused';

-- leaks, where none is accepted
SET pg_freeze.on_leak = 'error';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
RESET pg_freeze.on_leak;

-- nothing of the above froze anything, or changed a privilege
SELECT count(*) FROM freeze_status;
SELECT * FROM tools.differences();

-- not frozen, thawed already, unknown
SELECT tools.try($$SELECT * FROM thaw_role('regress_app')$$);
SELECT tools.try($$SELECT * FROM thaw_schema('app')$$);
SELECT tools.try($$SELECT * FROM thaw_database()$$) LIKE '55000: database % is not frozen in this database' LIMIT 1;
SELECT tools.try($$SELECT * FROM thaw_cluster()$$);
SELECT tools.try($$SELECT * FROM thaw(4711)$$);
SELECT tools.try($$SELECT * FROM thaw(-1)$$);
SELECT tools.try($$SELECT * FROM thaw_label('missing')$$);
SELECT tools.try($$SELECT freeze_extend(4711, '1 hour')$$);
SELECT freeze_role('regress_app', label => 'job') AS id \gset
SELECT count(*) FROM thaw(:id);
SELECT tools.try(format('SELECT * FROM thaw(%s)', :id));
SELECT tools.try($$SELECT * FROM thaw_role('regress_app')$$);
SELECT tools.try($$SELECT * FROM thaw_label('job')$$);
SELECT tools.try(format('SELECT freeze_extend(%s, ''1 hour'')', :id));

-- bad extensions
SELECT freeze_role('regress_app', label => 'job') AS id \gset
SELECT tools.try(format('SELECT freeze_extend(%s, ''-1 hour'')', :id));
SELECT thaw_at FROM freeze_status;

-- guarded: what would remove the journal
SELECT tools.try($$DROP EXTENSION pg_freeze$$);
SELECT tools.try($$DROP EXTENSION IF EXISTS pg_freeze CASCADE$$);
SELECT tools.try($$DROP SCHEMA public CASCADE$$);
SELECT tools.try($$DROP SCHEMA IF EXISTS empty, public CASCADE$$);
SELECT tools.try($$DROP OWNED BY regress_dba CASCADE$$);
SELECT tools.try($$DROP OWNED BY CURRENT_USER CASCADE$$);
SELECT tools.try($$ALTER EXTENSION pg_freeze UPDATE$$);
SELECT tools.try($$ALTER EXTENSION pg_freeze DROP VIEW freeze_status$$);
-- not about the journal: not refused
DROP SCHEMA empty;
DROP SCHEMA IF EXISTS missing;
DROP OWNED BY regress_nothing;
SELECT count(*) FROM thaw(:id);

-- A caller whose work the worker's couldn't undo, or runs into.
CREATE TABLE public.own (a int);
BEGIN;
INSERT INTO public.own VALUES (1);
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
ROLLBACK;
SELECT freeze_role('regress_app') AS id \gset
BEGIN;
INSERT INTO public.own VALUES (1);
SELECT tools.try($$SELECT * FROM thaw_role('regress_app')$$);
SELECT tools.try(format('SELECT freeze_extend(%s, ''1 hour'')', :id));
ROLLBACK;
SELECT count(*) FROM thaw(:id);
-- A lock of its own in the worker's way, without having written.
BEGIN;
LOCK TABLE freeze_journal IN SHARE MODE;
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
ROLLBACK;
BEGIN;
LOCK TABLE pg_namespace IN SHARE MODE;
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
ROLLBACK;
SELECT * FROM app.t;
SELECT target, state, changed FROM freeze_history ORDER BY id DESC LIMIT 1;
SELECT count(*) FROM freeze_status;
-- Inside a transaction that has only read.
BEGIN;
SELECT count(*) FROM app.t;
SELECT freeze_role('regress_app') AS id \gset
ROLLBACK;
SELECT target, in_force FROM freeze_status;
BEGIN READ ONLY;
SELECT target, skipped FROM thaw(:id);
COMMIT;

-- Settings: bad values, before and after the library is loaded.
SELECT tools.try($$SET pg_freeze.strategy = 'magic'$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.strategy = 'readonly'$$) LIMIT 1;
SELECT substr(tools.try($$SET pg_freeze.drain_timeout = -1$$), 1, 5);
SELECT tools.try($$SET pg_freeze.drain_timeout = '1 parsec'$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.on_drain_timeout = 'panic'$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.on_leak = 'ignore'$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.no_such_setting = 1$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.max_hold = 10$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.on_restart = 'thaw'$$) LIMIT 1;
\c -
SET client_min_messages = error;
SET pg_freeze.strategy = 'readonly';
SET pg_freeze.thaw_after = 'soon';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
SELECT tools.try($$SELECT * FROM freeze_check('role', 'regress_app')$$);
SET pg_freeze.strategy = 'revoke';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
SET pg_freeze.thaw_after = '1h';
SELECT freeze_role('regress_app') AS id \gset
SELECT thaw_at - since BETWEEN '59 min' AND '61 min' FROM freeze_status;
SELECT count(*) FROM thaw(:id);
-- NULL is no id and no name.
SELECT tools.try($$SELECT * FROM thaw(NULL)$$);
SELECT tools.try($$SELECT * FROM thaw_role(NULL)$$);
SELECT tools.try($$SELECT * FROM thaw_label(NULL)$$);
SELECT tools.try($$SELECT freeze_extend(NULL, '1 h')$$);
-- The system's schemas.
SELECT tools.try($$SELECT freeze_schema('pg_catalog')$$);
SELECT tools.try($$SELECT freeze_schema('information_schema')$$);
-- A statement that writes cannot freeze: its own row would come after "frozen".
SELECT tools.try($$INSERT INTO public.own SELECT freeze_role('regress_app')$$);

\pset format aligned
\pset tuples_only off
DROP SCHEMA app CASCADE;
DROP TABLE public.own;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_nothing, regress_dba;
