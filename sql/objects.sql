-- Every kind of object that carries privileges: taken, and back to the byte.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
CREATE ROLE regress_app;
CREATE ROLE regress_other;
CREATE ROLE regress_chain;
CREATE SCHEMA app AUTHORIZATION regress_app;
-- as they are in pg_class, before and after, with what a freeze leaves
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.plain (a int, b int);
CREATE TABLE app.parent (a int) PARTITION BY RANGE (a);
CREATE TABLE app.child PARTITION OF app.parent FOR VALUES FROM (0) TO (10);
CREATE UNLOGGED TABLE app.unlogged (a int GENERATED ALWAYS AS IDENTITY);
CREATE VIEW app.view AS SELECT * FROM app.plain;
CREATE MATERIALIZED VIEW app.matview AS SELECT * FROM app.plain;
CREATE SEQUENCE app.seq;
CREATE FUNCTION app.func(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE app.proc() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE app.agg (int) (sfunc = int4pl, stype = int);
CREATE TYPE app.enum AS ENUM ('a', 'b');
CREATE TYPE app.pair AS (a int, b int);
CREATE TYPE app.span AS RANGE (subtype = int);
CREATE DOMAIN app.dom AS int;
GRANT SELECT, INSERT (a), UPDATE (b) ON app.plain TO regress_other;
GRANT INSERT ON app.parent TO regress_other WITH GRANT OPTION;
SET SESSION AUTHORIZATION regress_other;
GRANT INSERT ON app.parent TO regress_chain;
SET SESSION AUTHORIZATION regress_dba;
GRANT USAGE ON SCHEMA app TO regress_other WITH GRANT OPTION;
CREATE FOREIGN DATA WRAPPER regress_fdw;
CREATE SERVER regress_server FOREIGN DATA WRAPPER regress_fdw;
GRANT USAGE ON FOREIGN DATA WRAPPER regress_fdw TO regress_app WITH GRANT OPTION;
GRANT USAGE ON FOREIGN SERVER regress_server TO regress_app;
CREATE FOREIGN TABLE app.foreign (a int) SERVER regress_server;
ALTER FOREIGN TABLE app.foreign OWNER TO regress_app;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_space LOCATION '';
GRANT CREATE ON TABLESPACE regress_space TO regress_app;
CREATE TRUSTED LANGUAGE regress_lang HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator;
GRANT USAGE ON LANGUAGE regress_lang TO regress_app;
GRANT SET ON PARAMETER log_min_messages TO regress_app;
GRANT SET, ALTER SYSTEM ON PARAMETER work_mem TO regress_app WITH GRANT OPTION;
SELECT format('GRANT CREATE, CONNECT, TEMPORARY ON DATABASE %I TO regress_app', current_database()) \gexec
CREATE SCHEMA second;
GRANT ALL ON SCHEMA second TO regress_app;
CREATE TABLE second.t (a int, b int, c int);
GRANT ALL (a, c) ON second.t TO regress_app;
GRANT SELECT (b) ON second.t TO regress_app, PUBLIC;
CREATE SEQUENCE second.s;
GRANT USAGE ON SEQUENCE second.s TO regress_app;
SELECT lo_create(900001), lo_create(900002), lo_create(900003);
ALTER LARGE OBJECT 900001 OWNER TO regress_app;
GRANT UPDATE ON LARGE OBJECT 900002 TO regress_app;
GRANT SELECT ON LARGE OBJECT 900003 TO regress_app;
SET SESSION AUTHORIZATION regress_app;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT ON TABLES TO regress_other;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON SEQUENCES TO regress_other;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT CREATE ON SCHEMAS TO regress_other;
SET SESSION AUTHORIZATION regress_dba;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_other GRANT ALL ON TABLES TO regress_app;
CREATE ROLE regress_writers;
CREATE ROLE regress_readers;
CREATE ROLE regress_team;
GRANT INSERT ON second.t TO regress_writers;
GRANT SELECT, INSERT ON second.t TO regress_readers;
GRANT regress_writers TO regress_app WITH ADMIN OPTION;
GRANT regress_readers, regress_team TO regress_app;
CREATE TEMP TABLE temporary (a int);
CALL tools.keep();

-- Every ACL that a freeze changed, as it is meanwhile.
CREATE FUNCTION tools.taken() RETURNS TABLE (kind text, object text, acl text) LANGUAGE sql STABLE AS $$
	SELECT c.kind, CASE WHEN c.kind IN ('large object', 'database') THEN '-' ELSE array_to_string(c.names || c.args, '.') END,
		coalesce(regexp_replace(tools.acl(freeze_acl(after)), '\m' || (SELECT rolname FROM pg_roles WHERE oid = 10) || '\M', 'bootstrap', 'g'),
			CASE WHEN after ~ 'admin=' THEN 'admin, inherit, set off' ELSE 'nothing' END)
	FROM freeze_changes c ORDER BY c.kind COLLATE "C", array_to_string(c.names || c.args, '.') COLLATE "C"
$$;
CALL tools.keep();
SELECT freeze_role('regress_app');
SELECT * FROM tools.taken();
SELECT restored, skipped FROM thaw(1);
SELECT * FROM tools.differences();

SELECT freeze_role('regress_app', mode => 'all');
SELECT * FROM tools.taken();
SET SESSION AUTHORIZATION regress_app;
SELECT app.func(1);
SELECT * FROM second.t;
SELECT lo_get(900003);
SET log_min_messages = error;
SET SESSION AUTHORIZATION regress_dba;
SELECT has_database_privilege('regress_app', current_database(), 'CREATE') AS may_create,
	pg_has_role('regress_app', 'regress_readers', 'USAGE') AS is_reader,
	has_parameter_privilege('regress_app', 'work_mem', 'ALTER SYSTEM') AS may_alter_system,
	has_tablespace_privilege('regress_app', 'regress_space', 'CREATE') AS may_use_space;
SELECT restored, skipped FROM thaw(2);
SELECT * FROM tools.differences();
SELECT has_database_privilege('regress_app', current_database(), 'CREATE') AS may_create,
	pg_has_role('regress_app', 'regress_readers', 'USAGE') AS is_reader,
	has_parameter_privilege('regress_app', 'work_mem', 'ALTER SYSTEM') AS may_alter_system,
	has_tablespace_privilege('regress_app', 'regress_space', 'CREATE') AS may_use_space;

-- A role that owns nothing and holds grants of others only.
SELECT freeze_role('regress_other');
SELECT * FROM tools.taken();
SELECT restored, skipped FROM thaw(3);
SELECT * FROM tools.differences();

-- A schema: everybody's, the owner's default included.
SELECT freeze_schema('app');
SELECT * FROM tools.taken();
SELECT restored, skipped FROM thaw(4);
SELECT * FROM tools.differences();
SELECT freeze_schema('app', mode => 'all');
SELECT * FROM tools.taken();
SELECT restored, skipped FROM thaw(5);
SELECT * FROM tools.differences();

-- The database: shared objects and memberships stay, the extension's too.
SELECT freeze_database();
SELECT * FROM tools.taken() WHERE object !~ '^(tools|app|\$user)' AND kind <> 'database';
SELECT count(*) FROM freeze_changes WHERE names::text ~ 'freeze_';
SELECT skipped FROM thaw(6);
SELECT * FROM tools.differences();
SELECT freeze_database(mode => 'all');
SELECT * FROM tools.taken() WHERE object !~ '^(tools|app)' AND kind NOT IN ('database', 'table', 'table column', 'large object');
SELECT skipped FROM thaw(7);
SELECT * FROM tools.differences();

DROP TABLE temporary;
DROP OWNED BY regress_other, regress_chain, regress_writers, regress_readers, regress_team;
DROP OWNED BY regress_app CASCADE;
SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
DROP SCHEMA second CASCADE;
DROP LANGUAGE regress_lang;
DROP FOREIGN DATA WRAPPER regress_fdw CASCADE;
DROP TABLESPACE regress_space;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_other, regress_chain, regress_writers, regress_readers, regress_team, regress_dba;
