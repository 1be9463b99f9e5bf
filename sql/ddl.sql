-- DDL during a freeze by lock: what no lock stops is noted, once for each
-- target that it belongs to, and it never fails for that.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
CREATE ROLE regress_app;
CREATE ROLE regress_member IN ROLE regress_app;
CREATE ROLE regress_other;
CREATE ROLE regress_gone;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE SCHEMA other AUTHORIZATION regress_other;
GRANT USAGE ON SCHEMA app, other TO PUBLIC;
CREATE FUNCTION app.doomed() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.moved() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.moved_too() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.gone() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION app.gone() OWNER TO regress_gone;
CREATE FUNCTION other.definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN COMMENT ON FUNCTION other.f() IS 'by the definer'; END $$;
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.t (a int PRIMARY KEY);
CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE app.mood AS ENUM ('good');
SET SESSION AUTHORIZATION regress_other;
CREATE TABLE other.t (a int PRIMARY KEY);
CREATE MATERIALIZED VIEW other.m AS SELECT a FROM other.t;
CREATE UNIQUE INDEX m_a ON other.m (a);
CREATE FUNCTION other.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION other.g() RETURNS int LANGUAGE sql AS 'SELECT 1';
SET SESSION AUTHORIZATION regress_dba;
-- What was noted since the last look.
CREATE FUNCTION tools.seen() RETURNS TABLE (freeze text, noted text) LANGUAGE sql SECURITY DEFINER AS $$
	WITH gone AS (DELETE FROM public.freeze_journal_gap RETURNING freeze_id, what)
	SELECT j.label, tools.mask(gone.what) FROM gone JOIN public.freeze_journal j ON j.id = gone.freeze_id ORDER BY j.id
$$;

SELECT freeze_role('regress_app', strategy => 'lock', label => 'role');
SELECT freeze_schema('app', strategy => 'lock', label => 'schema');
SET lock_timeout = '100ms';

-- Somebody else, elsewhere.
SET SESSION AUTHORIZATION regress_other;
ALTER FUNCTION other.f() COST 10;
COMMENT ON FUNCTION other.f() IS 'x';
GRANT EXECUTE ON FUNCTION other.f() TO regress_app;
GRANT SELECT ON other.t TO regress_gone;
DROP FUNCTION other.g();
CREATE FUNCTION other.g() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER DEFAULT PRIVILEGES IN SCHEMA other GRANT EXECUTE ON FUNCTIONS TO regress_dba;
INSERT INTO other.t VALUES (1);
REFRESH MATERIALIZED VIEW CONCURRENTLY other.m;
REINDEX TABLE CONCURRENTLY other.t;
SELECT * FROM tools.seen();

-- The role itself, who may act as it, and inside a SECURITY DEFINER function.
SET SESSION AUTHORIZATION regress_app;
COMMENT ON FUNCTION app.f() IS 'x';
SELECT * FROM tools.seen();
SELECT other.definer();
SELECT * FROM tools.seen();
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO regress_other;
SELECT * FROM tools.seen();
SET SESSION AUTHORIZATION regress_member;
ALTER FUNCTION app.f() COST 10;
SELECT * FROM tools.seen();
SET SESSION AUTHORIZATION regress_dba;
SET ROLE regress_app;
REVOKE ALL ON FUNCTION app.f() FROM regress_other;
SELECT * FROM tools.seen();
RESET ROLE;

-- Somebody else in the schema.  A member of everything, a superuser is not.
GRANT EXECUTE ON FUNCTION other.f(), app.f() TO regress_other;
SELECT * FROM tools.seen();
GRANT SELECT ON app.t TO regress_other;
SELECT * FROM tools.seen();
GRANT USAGE ON TYPE app.mood TO regress_other;
SELECT * FROM tools.seen();
-- stopped or noted, depending on the server's version
SELECT tools.try('ALTER DEFAULT PRIVILEGES IN SCHEMA other, app GRANT SELECT ON TABLES TO regress_other') AS outcome \gset
SELECT CASE :'outcome' WHEN 'no error' THEN array_agg(noted) = '{at TIME role regress_dba ran ALTER DEFAULT PRIVILEGES: TABLES}'
	ELSE :'outcome' ~ '^55P03' AND count(*) = 0 END AS known FROM tools.seen();
SELECT tools.try('GRANT CREATE ON SCHEMA app TO regress_other') AS outcome \gset
SELECT CASE :'outcome' WHEN 'no error' THEN array_agg(noted) = '{at TIME role regress_dba ran GRANT: schema app}'
	ELSE :'outcome' ~ '^55P03' AND count(*) = 0 END AS known FROM tools.seen();
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_other;
SELECT * FROM tools.seen();
ALTER TYPE app.mood ADD VALUE 'bad';
SELECT * FROM tools.seen();
ALTER FUNCTION app.moved() SET SCHEMA other;
SELECT * FROM tools.seen();
SET search_path = app, public;
ALTER FUNCTION moved_too() SET SCHEMA other;
RESET search_path;
SELECT * FROM tools.seen();
ALTER FUNCTION other.moved() RENAME TO moved_again;
DROP FUNCTION app.doomed(), other.g();
SELECT * FROM tools.seen();
DROP OWNED BY regress_gone;
SELECT * FROM tools.seen();
COMMENT ON SCHEMA app IS 'x';
ALTER SCHEMA app OWNER TO regress_dba;
SELECT * FROM tools.seen();
SET session_replication_role = replica;
ALTER FUNCTION app.f() COST 20;
RESET session_replication_role;
SELECT * FROM tools.seen();

-- Once is enough, and what is rolled back was not.
BEGIN;
ALTER FUNCTION app.f() COST 30;
ROLLBACK;
SELECT * FROM tools.seen();
DO $$ BEGIN FOR i IN 1..3 LOOP EXECUTE format('ALTER FUNCTION app.f() COST %s', i); END LOOP; END $$;
SELECT * FROM tools.seen();

-- What is stopped.
ALTER TABLE app.t ADD b int;
CREATE TABLE app.another (a int);
ALTER INDEX app.t_pkey RENAME TO renamed;
SELECT * FROM tools.seen();

-- The verdict.
ALTER FUNCTION app.f() COST 40;
SET SESSION AUTHORIZATION regress_app;
ALTER FUNCTION app.f() COST 50;
SET SESSION AUTHORIZATION regress_dba;
SELECT label, in_force, tools.mask(came_back) AS came_back FROM freeze_status ORDER BY id;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw_all();
SELECT freeze FROM tools.seen();

-- A database: whatever is not temporary.
SELECT freeze_database(strategy => 'lock', label => 'database');
CREATE TEMP TABLE temp (a int PRIMARY KEY, b serial);
CREATE INDEX ON temp (b);
ALTER TABLE temp ADD c int DEFAULT 1;
ALTER TABLE temp ALTER c DROP DEFAULT;
ALTER TABLE temp DROP c;
CREATE VIEW pg_temp.view AS SELECT a FROM temp;
CREATE RULE rule AS ON INSERT TO temp DO ALSO NOTHING;
COMMENT ON RULE rule ON temp IS 'x';
CREATE TRIGGER trigger BEFORE UPDATE ON temp FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
COMMENT ON TRIGGER trigger ON temp IS 'x';
ALTER TRIGGER trigger ON temp RENAME TO renamed;
CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE pg_temp.mood AS ENUM ('good');
ALTER TYPE pg_temp.mood ADD VALUE 'bad';
GRANT SELECT ON temp TO regress_other;
GRANT EXECUTE ON FUNCTION pg_temp.f() TO regress_other;
CREATE STATISTICS pg_temp.s ON a, b FROM temp;
DROP STATISTICS pg_temp.s;
DROP FUNCTION pg_temp.f();
DROP TYPE pg_temp.mood;
DROP TABLE temp CASCADE;
SELECT 1 AS a INTO TEMP temp;
DISCARD TEMP;
SELECT * FROM tools.seen();
CREATE SCHEMA another CREATE TABLE t (a int);
SELECT * FROM tools.seen();
DROP SCHEMA another CASCADE;
SELECT * FROM tools.seen();
ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM regress_other;
SELECT * FROM tools.seen();
REVOKE EXECUTE ON FUNCTION other.f() FROM regress_other;
SELECT * FROM tools.seen();
GRANT EXECUTE ON FUNCTION other.f() TO regress_other;
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw_all();
SELECT * FROM tools.seen();

-- A publication for all tables has those of pg_freeze too.
SET client_min_messages = error;
CREATE PUBLICATION regress_all FOR ALL TABLES;
SET client_min_messages = warning;
SELECT freeze_schema('app', strategy => 'lock', label => 'published') AS id \gset
COMMENT ON FUNCTION app.f() IS 'published';
INSERT INTO freeze_journal_session (freeze_id, rung, pid) VALUES (:id, 'cancel', 1);
SELECT held, tools.mask(lost_reason) AS lost_reason FROM thaw_all();
SELECT * FROM tools.seen();
DELETE FROM freeze_journal WHERE label = 'published';
DROP PUBLICATION regress_all;

-- Nothing is noted when nothing is frozen, and a freeze by revoke doesn't mind.
COMMENT ON FUNCTION app.f() IS 'y';
SELECT freeze_schema('app', label => 'revoke');
COMMENT ON FUNCTION app.f() IS 'z';
ALTER FUNCTION app.f() COST 60;
SELECT * FROM tools.seen();
SELECT lost_reason FROM thaw_all();
RESET lock_timeout;
DROP SCHEMA app, other CASCADE;
DROP OWNED BY regress_other, regress_app;
DROP ROLE regress_app, regress_member, regress_other, regress_gone;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_dba;
