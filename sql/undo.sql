-- freeze_undo(): the statements it writes put everything back, without the library.
-- One that finds an ACL changed meanwhile leaves it alone, dependencies too.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
CREATE ROLE regress_app;
CREATE ROLE regress_other;
CREATE ROLE regress_chain;
CREATE ROLE regress_writers;
CREATE ROLE regress_readers;
CREATE ROLE "regress ""q"", 'x'; --";
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE SCHEMA second;
GRANT ALL ON SCHEMA second TO regress_app WITH GRANT OPTION;
-- NULL ACLs, ACLs with others, grant chains, columns
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.plain (a int, b int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE app.granted (a int, b int);
CREATE VIEW app.view AS SELECT * FROM app.plain;
CREATE MATERIALIZED VIEW app.matview AS SELECT * FROM app.plain;
CREATE SEQUENCE app.seq;
CREATE FUNCTION app.func(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE app.proc() LANGUAGE sql AS 'SELECT 1';
CREATE TYPE app.enum AS ENUM ('a', 'b');
CREATE DOMAIN app.dom AS int;
GRANT SELECT, INSERT (a), UPDATE (b) ON app.granted TO regress_other WITH GRANT OPTION;
GRANT INSERT ON app.granted TO "regress ""q"", 'x'; --", PUBLIC;
CREATE TABLE app."two
lines; COMMIT; -- 'x'" ("col
umn" int);
GRANT UPDATE ("col
umn") ON app."two
lines; COMMIT; -- 'x'" TO regress_other;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT ON TABLES TO regress_other;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON SEQUENCES TO regress_other;
SET SESSION AUTHORIZATION regress_dba;
CREATE TABLE second.t (a int, b int, c int);
GRANT ALL (a, c) ON second.t TO regress_app WITH GRANT OPTION;
GRANT INSERT ON second.t TO regress_app WITH GRANT OPTION;
GRANT INSERT ON second.t TO regress_writers;
GRANT SELECT, INSERT ON second.t TO regress_readers;
CREATE TABLE second."only" (a int);
GRANT INSERT ON second."only" TO regress_app;
CREATE SEQUENCE second.s;
GRANT USAGE ON SEQUENCE second.s TO regress_app;
GRANT EXECUTE ON FUNCTION tools.mask(text) TO regress_app;
SET SESSION AUTHORIZATION regress_app;
GRANT INSERT ON second.t TO regress_chain;
GRANT UPDATE (c) ON second.t TO regress_chain;
SET SESSION AUTHORIZATION regress_dba;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_other GRANT ALL ON TABLES TO regress_app;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_other IN SCHEMA second GRANT USAGE ON SEQUENCES TO regress_app;
SELECT lo_create(900011), lo_create(900012);
ALTER LARGE OBJECT 900011 OWNER TO regress_app;
GRANT UPDATE ON LARGE OBJECT 900012 TO regress_app;
CREATE FOREIGN DATA WRAPPER regress_fdw;
CREATE SERVER regress_server FOREIGN DATA WRAPPER regress_fdw;
GRANT USAGE ON FOREIGN DATA WRAPPER regress_fdw TO regress_app;
GRANT USAGE ON FOREIGN SERVER regress_server TO regress_app;
GRANT SET ON PARAMETER log_min_messages TO regress_app;
CREATE TRUSTED LANGUAGE regress_lang HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator;
GRANT USAGE ON LANGUAGE regress_lang TO regress_app;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_space LOCATION '';
GRANT CREATE ON TABLESPACE regress_space TO regress_app;
SELECT format('GRANT CREATE, CONNECT, TEMPORARY ON DATABASE %I TO regress_app', current_database()) \gexec
GRANT regress_writers TO regress_app WITH ADMIN OPTION;
GRANT regress_readers TO regress_app;

-- What a freeze of each kind took; a test that takes nothing shows nothing.
CREATE FUNCTION tools.kinds(n bigint) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT string_agg(DISTINCT kind, ', ' ORDER BY kind) FROM freeze_changes WHERE id = n
$$;
-- The end of it, in history and in what is kept of the changes.
CREATE FUNCTION tools.ended(n bigint) RETURNS TABLE (state text, end_reason text, held boolean, lost_reason text, outcome text) LANGUAGE sql STABLE AS $$
	SELECT DISTINCT h.state, h.end_reason, h.held, h.lost_reason, c.outcome
	FROM freeze_history h LEFT JOIN freeze_changes c USING (id) WHERE id = n
$$;
CALL tools.keep();

-- A role, mode write.
SELECT freeze_role('regress_app');
SELECT tools.kinds(1);
SELECT count(*) > 0 AS differs FROM tools.differences();
\set ECHO none
SELECT freeze_undo(1) \gexec
\set ECHO all
SELECT * FROM tools.differences();
SELECT * FROM tools.ended(1);
SELECT count(*) FROM freeze_status;
-- it is over: nothing to undo, nothing to thaw
SELECT count(*) FROM freeze_undo(1);
SELECT tools.try('SELECT * FROM thaw(1)');
SELECT count(*) FROM thaw_all();
-- the caches of this session and of others know of it
SET SESSION AUTHORIZATION regress_app;
INSERT INTO app.plain VALUES (1);
INSERT INTO second.t (a) VALUES (1);
SELECT nextval('second.s');
SET SESSION AUTHORIZATION regress_dba;

-- A role, mode all.
SELECT freeze_role('regress_app', mode => 'all');
SELECT tools.kinds(2);
\set ECHO none
SELECT freeze_undo(2) \gexec
\set ECHO all
SELECT * FROM tools.differences();
SELECT * FROM tools.ended(2);

-- A schema and the database: the owner's defaults and PUBLIC too.
SELECT freeze_schema('app', mode => 'all');
SELECT tools.kinds(3);
\set ECHO none
SELECT freeze_undo(3) \gexec
\set ECHO all
SELECT * FROM tools.differences();
SELECT freeze_database(mode => 'all');
\set ECHO none
SELECT freeze_undo(4) \gexec
\set ECHO all
SELECT * FROM tools.differences();
SELECT id, state, end_reason FROM freeze_history ORDER BY id;

-- An ACL that somebody changed meanwhile is left as it is: his GRANT stays, the rest is put back.
SELECT freeze_role('regress_app');
GRANT SELECT ON second."only" TO regress_other;
\set ECHO none
SELECT freeze_undo(5) \gexec
\set ECHO all
SELECT tools.acl_of('second."only"');
REVOKE SELECT ON second."only" FROM regress_other;
GRANT INSERT ON second."only" TO regress_app;
SELECT * FROM tools.differences();
-- and after all that a freeze is exact again
SELECT freeze_role('regress_app', mode => 'all');
SELECT restored > 0 AS restored, skipped FROM thaw(6);
SELECT * FROM tools.differences();

DROP OWNED BY regress_chain, regress_other, regress_writers, regress_readers, "regress ""q"", 'x'; --";
DROP OWNED BY regress_app CASCADE;
SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
DROP SCHEMA second CASCADE;
DROP LANGUAGE regress_lang;
DROP FOREIGN DATA WRAPPER regress_fdw CASCADE;
DROP TABLESPACE regress_space;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_other, regress_chain, regress_writers, regress_readers, "regress ""q"", 'x'; --", regress_dba;
