-- The strategy lock through SQL: what it holds, who waits, what it says.  Waits
-- show as lock timeouts here; what happens after them is in specs/.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
SET pg_freeze.strategy = 'lock';
SET lock_timeout = '1min';
ALTER FUNCTION tools.try(text) SET lock_timeout = '50ms';
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_reader LOGIN;
CREATE ROLE regress_team;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE SCHEMA second;
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.t (a int PRIMARY KEY, b text);
INSERT INTO app.t VALUES (1, 'one');
CREATE UNLOGGED TABLE app.unlogged (a int);
CREATE TABLE app.parent (a int) PARTITION BY LIST (a);
CREATE TABLE app.part PARTITION OF app.parent FOR VALUES IN (1);
CREATE SEQUENCE app.s;
CREATE VIEW app.v AS SELECT * FROM app.t;
CREATE MATERIALIZED VIEW app.m AS SELECT * FROM app.t;
GRANT SELECT ON app.t TO regress_reader;
GRANT USAGE ON SCHEMA app TO regress_reader;
SET SESSION AUTHORIZATION regress_dba;
CREATE FOREIGN DATA WRAPPER regress_fdw;
CREATE SERVER regress_server FOREIGN DATA WRAPPER regress_fdw;
CREATE FOREIGN TABLE app.f (a int) SERVER regress_server;
CREATE VIEW public.outside AS SELECT * FROM app.t;
CREATE TABLE second.inserts (a int);
CREATE TABLE second.updates (a int, b int);
CREATE TABLE second.refers (a int PRIMARY KEY);
CREATE TABLE second.reads (a int);
CREATE TABLE second.team (a int);
CREATE TABLE second.nobody (a int);
CREATE SEQUENCE second.uses;
CREATE SEQUENCE second.selects;
GRANT USAGE ON SCHEMA second TO regress_app;
GRANT INSERT ON second.inserts TO regress_app;
GRANT UPDATE (b) ON second.updates TO regress_app;
GRANT REFERENCES ON second.refers TO regress_app;
GRANT SELECT ON second.reads TO regress_app;
GRANT DELETE ON second.team TO regress_team;
GRANT regress_team TO regress_app;
GRANT USAGE ON SEQUENCE second.uses TO regress_app;
GRANT SELECT ON SEQUENCE second.selects TO regress_app;
CREATE TEMP TABLE own (a int);
-- What the process that holds a freeze's locks has; of catalogs only what no look at them takes.
CREATE FUNCTION tools.locks(n bigint) RETURNS TABLE (object text, mode text, granted boolean) LANGUAGE sql VOLATILE AS $$
	SELECT CASE l.locktype WHEN 'relation' THEN l.relation::regclass::text
			WHEN 'object' THEN l.classid::regclass || ' ' || l.objid::regnamespace ELSE l.locktype END, l.mode, l.granted
	FROM pg_locks l
	WHERE l.pid = freeze_holder_pid(n) AND l.locktype <> 'virtualxid'
		AND NOT (l.locktype = 'relation' AND l.mode = 'AccessShareLock' AND l.relation < 16384)
	ORDER BY 1
$$;
CALL tools.keep();

-- What would happen; nothing happens.
SELECT item, kind, object, detail FROM freeze_check('schema', 'app') ORDER BY item, kind, object;
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_app', 'all') ORDER BY item, kind, object;
SELECT count(*) FROM freeze_holder;

-- A schema, mode write; the NOTICE says how, until when and what leaks.
SET client_min_messages = notice;
SELECT freeze_schema('app', reason => 'test');
SET client_min_messages = warning;
SELECT id, target, mode, strategy, state, in_force, thaw_at IS NULL AS no_deadline, lost_at, retaken_at, by, reason,
	to_thaw, changed, cancelled, terminated, waiters, holder = freeze_holder_pid(id) AS holder, leaks, also_stops, why, came_back,
	frozen_lsn IS NOT NULL AS lsn, home = current_database() AS here, remark
FROM freeze_status \gx
SELECT * FROM tools.locks(1);
-- no transaction id, and nothing is held back from vacuum
SELECT backend_type, backend_xid, backend_xmin FROM pg_stat_activity WHERE pid = freeze_holder_pid(1);
SELECT * FROM freeze_changes;
SELECT * FROM freeze_blockers;
SELECT * FROM freeze_waiters;
SELECT * FROM tools.differences();

-- Superusers wait, too, and so does the session that froze.
SELECT tools.try($$INSERT INTO app.t VALUES (2, 'two')$$);
SELECT tools.try($$UPDATE app.t SET b = 'two'$$);
SELECT tools.try($$DELETE FROM app.t$$);
SELECT tools.try($$TRUNCATE app.t$$);
SELECT tools.try($$SELECT * FROM app.t FOR UPDATE$$);
SELECT tools.try($$SELECT * FROM app.t FOR KEY SHARE$$);
SELECT tools.try($$INSERT INTO app.unlogged VALUES (1)$$);
SELECT tools.try($$INSERT INTO app.parent VALUES (1)$$);
SELECT tools.try($$INSERT INTO app.part VALUES (1)$$);
SELECT tools.try($$SELECT nextval('app.s')$$);
SELECT tools.try($$SELECT setval('app.s', 10)$$);
SELECT tools.try($$INSERT INTO app.v VALUES (2)$$);
SELECT tools.try($$INSERT INTO public.outside VALUES (2)$$);
SELECT tools.try($$REFRESH MATERIALIZED VIEW app.m$$);
SELECT tools.try($$CREATE TABLE app.another (a int)$$);
SELECT tools.try($$CREATE VIEW app.another AS SELECT 1$$);
SELECT tools.try($$CREATE SEQUENCE app.another$$);
SELECT tools.try($$ALTER TABLE second.nobody SET SCHEMA app$$);
SELECT tools.try($$CREATE INDEX ON app.t (b)$$);
SELECT tools.try($$ALTER TABLE app.t ADD c int$$);
SELECT tools.try($$ALTER FOREIGN TABLE app.f ADD c int$$);
SELECT tools.try($$DROP TABLE app.unlogged$$);
SELECT tools.try($$DROP VIEW app.v$$);
SELECT tools.try($$DROP SCHEMA app CASCADE$$);
SET SESSION AUTHORIZATION regress_app;
SELECT tools.try($$INSERT INTO app.t VALUES (2, 'two')$$);
-- Reads go on, and writes elsewhere and to temporary tables.
SELECT * FROM app.t;
SELECT * FROM app.v;
SELECT * FROM app.m;
SELECT last_value FROM app.s;
INSERT INTO second.inserts VALUES (1);
CREATE TEMP TABLE mine AS SELECT * FROM app.t;
UPDATE mine SET a = a + 1 RETURNING *;
DROP TABLE mine;
SET SESSION AUTHORIZATION regress_reader;
SELECT * FROM app.t;
SET SESSION AUTHORIZATION regress_dba;
INSERT INTO own VALUES (1);
INSERT INTO second.nobody VALUES (1);

-- The verdict.
SELECT id, target, strategy, held, lost_reason, tools.mask(evidence) AS evidence, frozen_at < thawed_at AS times,
	frozen_lsn <= thawed_lsn AS lsns, restored, skipped FROM thaw_schema('app');
SELECT id, target, mode, strategy, state, held, lost_reason, end_reason, by, reason, changed, restored, skipped,
	cancelled, terminated, why
FROM freeze_history \gx
SELECT * FROM tools.differences();
INSERT INTO app.t VALUES (nextval('app.s') + 1, 'two') RETURNING *;
CREATE TABLE app.another (a int);
DROP TABLE app.another;

-- Mode all: reads wait as well; the catalogs are open.
SET client_min_messages = notice;
SELECT freeze_schema('app', mode => 'all', label => 'job 1');
SET client_min_messages = warning;
SELECT id, mode, label, in_force, changed FROM freeze_status;
SELECT * FROM tools.locks(2);
SELECT tools.try($$SELECT * FROM app.t$$);
SELECT tools.try($$SELECT * FROM app.v$$);
SELECT tools.try($$SELECT * FROM public.outside$$);
SELECT tools.try($$SELECT last_value FROM app.s$$);
SELECT tools.try($$INSERT INTO app.t VALUES (3, 'three')$$);
SELECT relkind FROM pg_class WHERE oid = 'app.t'::regclass;
SELECT id, target, held, lost_reason FROM thaw_label('job 1', require_held => true);
SELECT count(*) FROM app.t;

-- A role: what it may write by itself, as a member, and through PUBLIC.
GRANT UPDATE ON second.nobody TO PUBLIC;
SET client_min_messages = notice;
SELECT freeze_role('regress_app');
SET client_min_messages = warning;
REVOKE UPDATE ON second.nobody FROM PUBLIC;
SELECT * FROM tools.locks(3);
SELECT leaks, also_stops, changed FROM freeze_status;
SELECT tools.try($$INSERT INTO second.inserts VALUES (1)$$);
SELECT tools.try($$SELECT nextval('second.uses')$$);
SELECT tools.try($$INSERT INTO second.reads VALUES (1)$$);
SELECT id, target, held IS NOT true AS not_certain, restored, skipped FROM thaw_role('regress_app');
-- One that may write one table.
GRANT INSERT ON second.inserts TO regress_reader;
SELECT freeze_role('regress_reader', mode => 'all');
SELECT * FROM tools.locks(4);
SELECT id, held, lost_reason FROM thaw_role('regress_reader');
REVOKE INSERT ON second.inserts FROM regress_reader;

-- The database: everything but the system's and pg_freeze's own; large objects are not made or dropped.
SELECT lo_create(900021);
SELECT freeze_database();
SELECT target = 'database ' || quote_ident(current_database()) AS target, mode, in_force, changed, leaks, also_stops FROM freeze_status;
SELECT * FROM tools.locks(5) WHERE object NOT LIKE 'tools.%';
SELECT tools.try($$SELECT lo_create(900022)$$);
SELECT tools.try($$SELECT lo_unlink(900021)$$);
SELECT tools.try($$CREATE TABLE public.another (a int)$$);
SELECT tools.try($$SELECT lo_get(900021)$$);
SELECT id, held, lost_reason FROM thaw_database();
SELECT lo_unlink(900021);

-- What can't be asked for.
SELECT tools.try($$SELECT freeze_schema('app', action => 'reject')$$);
SELECT tools.try($$SELECT freeze_schema('app', in_flight => 'hold')$$);
SELECT tools.try($$SELECT freeze_cluster()$$);
SELECT tools.try($$SELECT freeze_role('regress_app', strategy => 'locks')$$);
SELECT tools.try($$SELECT freeze_database('postgres')$$);
SELECT tools.try($$SELECT freeze_schema('pg_catalog')$$);
SELECT tools.try($$SELECT freeze_role('regress_missing')$$);
SELECT tools.try($$SELECT freeze_schema('missing')$$);
SELECT tools.try($$SET pg_freeze.lock_max_age = 0$$) LIMIT 1;
SELECT tools.try($$SET pg_freeze.lock_max_age = 100000$$) LIMIT 1;
-- What is accepted.
SELECT freeze_schema('app', action => 'wait', in_flight => 'drain') AS id \gset
SELECT id - :id AS id, held FROM thaw(:id);
-- Nothing to freeze: changes, locks and stops nothing.
SELECT tools.try($$SELECT freeze_role('regress_reader')$$);
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_reader') WHERE item = 'refused';
-- A way to write that the locks leave.
GRANT UPDATE ON second.nobody TO regress_reader;
SELECT lo_create(900023);
ALTER LARGE OBJECT 900023 OWNER TO regress_reader;
SET pg_freeze.on_leak = 'error';
SELECT tools.try($$SELECT freeze_role('regress_reader')$$);
RESET pg_freeze.on_leak;
SELECT freeze_role('regress_reader') AS id \gset
SELECT leaks FROM freeze_status;
SELECT held, lost_reason FROM thaw(:id);
SELECT lo_unlink(900023);
SELECT count(*) FROM freeze_status;
SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_freeze holder')
	AND mode IN ('ExclusiveLock', 'AccessExclusiveLock') AND locktype <> 'virtualxid';

-- What "auto" chooses.  Schema and database: lock.
SET pg_freeze.strategy = 'auto';
CREATE FUNCTION tools.choice(kind text, target text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s: %s', c.kind, c.detail) FROM freeze_check($1, $2) c WHERE item IN ('strategy', 'refused')
$$;
SELECT tools.choice('schema', 'app');
SELECT tools.choice('database', current_database());
-- A role with grants only, and one that owns its tables alone: revoke.
SELECT tools.choice('role', 'regress_reader');
CREATE ROLE regress_alone LOGIN;
CREATE TABLE second.alone (a int PRIMARY KEY);
ALTER TABLE second.alone OWNER TO regress_alone;
SELECT tools.choice('role', 'regress_alone');
-- Rights through a role that gives rights to read, too, can't be taken: lock, where nobody else writes.
CREATE ROLE regress_rights;
CREATE ROLE regress_member LOGIN IN ROLE regress_rights;
CREATE TABLE second.by_member (a int);
GRANT USAGE, CREATE ON SCHEMA second TO regress_alone;
GRANT USAGE ON SCHEMA second TO regress_rights;
GRANT SELECT, INSERT ON second.by_member TO regress_rights;
SELECT tools.choice('role', 'regress_member');
SET client_min_messages = notice;
SELECT freeze_role('regress_member') AS id \gset
SET client_min_messages = warning;
SELECT strategy, why FROM freeze_status;
SELECT held FROM thaw(:id);
-- Where somebody else writes no strategy stops the role alone.
CREATE ROLE regress_other LOGIN;
GRANT INSERT ON second.by_member TO regress_other;
SELECT tools.try($$SELECT freeze_role('regress_member')$$);
SELECT tools.try($$SELECT tools.choice('role', 'regress_member')$$);
DROP ROLE regress_member;
-- A view through which others write needs its owner's rights: revoke would stop them, and lock.
CREATE VIEW second.look AS SELECT * FROM second.alone;
ALTER VIEW second.look OWNER TO regress_alone;
GRANT INSERT ON second.look TO regress_other;
SELECT tools.try($$SELECT freeze_role('regress_alone')$$);
-- A role that writes everything.
CREATE ROLE regress_all LOGIN IN ROLE pg_write_all_data;
SELECT tools.try($$SELECT freeze_role('regress_all')$$);
DROP ROLE regress_all;
-- Asked for by name it is done, and says whom it stops.
SELECT freeze_role('regress_alone', strategy => 'lock') AS id \gset
SELECT strategy, also_stops, why FROM freeze_status;
SELECT held FROM thaw(:id);
SET pg_freeze.strategy = 'lock';
CREATE TABLE second.other (a int);
ALTER TABLE second.other OWNER TO regress_other;

-- The verdict: rights that the role got meanwhile on something that isn't locked.
SELECT freeze_role('regress_alone') AS id \gset
GRANT INSERT ON second.other TO regress_alone;
SELECT in_force, tools.mask(came_back) AS came_back FROM freeze_status;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
REVOKE INSERT ON second.other FROM regress_alone;
-- given and taken back: it was there
SELECT freeze_role('regress_alone') AS id \gset
GRANT INSERT ON second.other TO regress_alone;
REVOKE INSERT ON second.other FROM regress_alone;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
-- a membership, which no event trigger sees
SELECT freeze_role('regress_alone') AS id \gset
GRANT regress_rights TO regress_alone;
SELECT in_force, came_back FROM freeze_status;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
REVOKE regress_rights FROM regress_alone;
-- DDL that meets no lock is noted.  (CREATE of a function or a type waits on
-- servers that lock the schema then, and is noted on others.)
SELECT freeze_schema('app') AS id \gset
SELECT count(*) > 0 AS waits FROM tools.try('CREATE FUNCTION app.made() RETURNS int LANGUAGE sql AS ''SELECT 1''') t WHERE t LIKE '55P03%' \gset
SELECT held = :'waits' AS as_it_should FROM thaw(:id);
SELECT freeze_schema('app') AS id \gset
SELECT count(*) > 0 AS waits FROM tools.try('CREATE TYPE app.made AS ENUM (''a'')') t WHERE t LIKE '55P03%' \gset
SELECT held = :'waits' AS as_it_should FROM thaw(:id);
DROP FUNCTION IF EXISTS app.made();
DROP TYPE IF EXISTS app.made;
CREATE FUNCTION app.func() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT freeze_schema('app') AS id \gset
ALTER FUNCTION app.func() STABLE;
SELECT in_force, tools.mask(came_back) AS came_back FROM freeze_status;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
SELECT freeze_schema('app') AS id \gset
DROP FUNCTION app.func();
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
SELECT freeze_schema('app') AS id \gset
GRANT DELETE ON app.t TO regress_reader;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
SELECT freeze_database() AS id \gset
CREATE SCHEMA third;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
REVOKE DELETE ON app.t FROM regress_reader;
DROP SCHEMA third;
-- What is none of the target's business, or temporary, is not.
SELECT freeze_schema('app') AS id \gset
CREATE FUNCTION second.business() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pg_temp.func() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE second.new (a int);
DROP TABLE second.new;
DROP FUNCTION second.business();
SELECT in_force, came_back FROM freeze_status;
SELECT held, lost_reason FROM thaw(:id, require_held => true);
-- a command that waits and gives up is not a write
SELECT freeze_schema('app') AS id \gset
SELECT tools.try($$DROP TABLE app.t CASCADE$$);
SELECT held, lost_reason FROM thaw(:id, require_held => true);

-- A large object that the role makes meanwhile.
SELECT freeze_role('regress_alone') AS id \gset
SET SESSION AUTHORIZATION regress_alone;
SELECT lo_create(900024);
SET SESSION AUTHORIZATION regress_dba;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw(:id);
SELECT lo_unlink(900024);

-- Overlapping: each holds by itself, the last thaw opens.
CALL tools.keep();
SELECT freeze_schema('app', label => 'one') AS one \gset
SELECT freeze_role('regress_app', strategy => 'revoke', label => 'two') AS two \gset
SELECT freeze_schema('app', mode => 'all', label => 'three') AS three \gset
SELECT label, mode, strategy, in_force, changed FROM freeze_status;
SELECT freeze_holder_pid(:one) = freeze_holder_pid(:three) AS same, freeze_holder_pid(:two) IS NULL AS none;
SELECT tools.try($$SELECT * FROM app.t$$);
SELECT held FROM thaw(:three);
SELECT tools.try($$SELECT count(*) FROM app.t$$);
SELECT tools.try($$INSERT INTO app.t VALUES (4, 'four')$$);
SELECT object, mode FROM tools.locks(:one) WHERE object = 'app.t';
SET client_min_messages = notice;
SELECT held, lost_reason FROM thaw(:one);
SET client_min_messages = warning;
SELECT tools.try($$INSERT INTO app.t VALUES (4, 'four')$$);
SET SESSION AUTHORIZATION regress_app;
SELECT tools.try($$INSERT INTO app.t VALUES (5, 'five')$$);
SET SESSION AUTHORIZATION regress_dba;
SELECT target, restored > 0 AS restored, skipped FROM thaw(:two);
SELECT freeze_holder_pid(:one) AS holder;
SELECT * FROM tools.differences();

-- Who may: as with every strategy; and what he sees.
GRANT EXECUTE ON FUNCTION freeze_schema, freeze_role, thaw TO regress_reader;
SET SESSION AUTHORIZATION regress_reader;
SELECT freeze_schema('app') AS id \gset
SELECT id - :id AS id, by, in_force FROM freeze_status;
SELECT tools.try($$SELECT freeze_role('regress_dba')$$);
SELECT id - :id AS id, held FROM thaw(:id);
SET SESSION AUTHORIZATION regress_dba;

DROP SCHEMA app, second CASCADE;
DROP TABLE own;
DROP FUNCTION pg_temp.func();
DROP VIEW IF EXISTS public.outside;
DROP FOREIGN DATA WRAPPER regress_fdw CASCADE;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_reader, regress_team, regress_rights, regress_alone, regress_other, regress_dba;
