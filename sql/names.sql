-- Names that need quotes, and a search_path full of traps.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
DROP EXTENSION pg_freeze;
CREATE SCHEMA "Odd schema; DRÖP, x";
CREATE EXTENSION pg_freeze SCHEMA "Odd schema; DRÖP, x";
SET search_path = "Odd schema; DRÖP, x", public;
SELECT extrelocatable FROM pg_extension WHERE extname = 'pg_freeze';
ALTER EXTENSION pg_freeze SET SCHEMA public;

CREATE ROLE "Regress ""App"" 'x', $1 %s; --";
CREATE ROLE "regress_äöü_Ω_日本";
CREATE ROLE regress_63_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
CREATE ROLE "regress=r*/x,{y}";
CREATE SCHEMA "App, ""Schema""";
CREATE SCHEMA "ÄÖ\Ω";
CREATE TABLE "App, ""Schema"""."Tab""le
two lines" ("Col, ""umn" int, b int);
CREATE TABLE "ÄÖ\Ω".sixty_three_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (a int);
CREATE SEQUENCE "ÄÖ\Ω"."%I %s $1";
DO $$
DECLARE
	r record;
	o text;
BEGIN
	FOR r IN SELECT oid::regrole AS name FROM pg_roles WHERE rolname ILIKE 'regress%' AND rolname <> 'regress_dba' LOOP
		FOR o IN SELECT oid::regclass::text FROM pg_class
			WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('App, "Schema"', 'ÄÖ\Ω')) AND relkind IN ('r', 'S')
		LOOP
			EXECUTE format('GRANT ALL ON %s TO %s WITH GRANT OPTION', o, r.name);
		END LOOP;
		EXECUTE format('GRANT ALL ON SCHEMA "App, ""Schema""", "ÄÖ\Ω" TO %s', r.name);
		EXECUTE format('GRANT UPDATE ("Col, ""umn") ON "App, ""Schema"""."Tab""le
two lines" TO %s', r.name);
	END LOOP;
END $$;

-- Traps: what unqualified names in the extension's code would find first.
CREATE SCHEMA traps;
CREATE FUNCTION traps.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'fell into a trap'; END $$;
CREATE FUNCTION traps.quote_ident(text) RETURNS text LANGUAGE sql AS $$ SELECT traps.trap()::text $$;
CREATE FUNCTION traps.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
CREATE FUNCTION traps.array_to_string(anyarray, text) RETURNS text LANGUAGE sql AS $$ SELECT traps.trap()::text $$;
CREATE FUNCTION traps.pg_has_role(name, text) RETURNS boolean LANGUAGE sql AS $$ SELECT traps.trap() $$;
CREATE FUNCTION traps.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT traps.trap()::text::timestamptz $$;
CREATE FUNCTION traps.current_database() RETURNS name LANGUAGE sql AS $$ SELECT traps.trap()::text::name $$;
CREATE FUNCTION traps.texteq(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT traps.trap() $$;
CREATE FUNCTION traps.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'fell into the trap of ='; END $$;
CREATE FUNCTION traps.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'fell into the trap of ='; END $$;
CREATE FUNCTION traps.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'fell into the trap of ='; END $$;
CREATE FUNCTION traps.eq(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'fell into the trap of ='; END $$;
CREATE FUNCTION traps.cat(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'fell into the trap of ||'; END $$;
CREATE OPERATOR traps.= (leftarg = text, rightarg = text, function = traps.eq);
CREATE OPERATOR traps.= (leftarg = oid, rightarg = oid, function = traps.eq);
CREATE OPERATOR traps.= (leftarg = bigint, rightarg = bigint, function = traps.eq);
CREATE OPERATOR traps.= (leftarg = name, rightarg = name, function = traps.eq);
CREATE OPERATOR traps.|| (leftarg = text, rightarg = text, function = traps.cat);
CREATE TABLE traps.freeze_journal (id bigint);
CREATE TABLE traps.pg_class (oid oid, relname name, relacl aclitem[]);
CREATE TABLE traps.pg_authid (oid oid, rolname name);
CREATE TABLE traps.pg_roles (oid oid, rolname name);
CREATE VIEW traps.pg_shdepend AS SELECT traps.trap() AS refobjid;
CREATE VIEW traps.pg_extension AS SELECT traps.trap() AS oid;
CALL tools.keep();

SET client_min_messages = notice;
SET search_path = traps, pg_catalog, "Odd schema; DRÖP, x", public;
SELECT freeze_role('Regress "App" ''x'', $1 %s; --', label => 'a "b" ''c'' $1 %s', reason => E'two\nlines -- ''');
SET client_min_messages = warning;
SELECT target, in_force, by, label, reason, to_thaw FROM freeze_status;
SELECT tools.mask(thaw_at::pg_catalog.text) FROM freeze_status;
SELECT freeze_extend(1, '1 hour') > pg_catalog.now() AS extended;
SELECT held IS NULL AS leaks, restored, skipped FROM thaw_label('a "b" ''c'' $1 %s');
SET search_path = "Odd schema; DRÖP, x", public;
SELECT * FROM tools.differences();

SET search_path = "Odd schema; DRÖP, x", traps, public;
SELECT freeze_role('regress_äöü_Ω_日本', mode => 'all') AS id \gset
SELECT target, in_force FROM freeze_status;
SELECT kind, names, freeze_acl(after)::text LIKE '%Regress%' AS others FROM freeze_changes ORDER BY kind COLLATE "C", names::text COLLATE "C";
-- the statement that freeze_status shows works as it is
SELECT to_thaw FROM freeze_status \gset
SELECT regexp_replace(:'to_thaw', '\*', 'skipped') AS to_thaw \gset
:to_thaw
SELECT * FROM tools.differences();
SELECT freeze_role('regress_63_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
SELECT skipped FROM thaw_role('regress_63_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
SELECT freeze_role('regress=r*/x,{y}');
SELECT skipped FROM thaw_role('regress=r*/x,{y}');
SELECT freeze_schema('App, "Schema"');
SELECT target FROM freeze_status;
SELECT tools.try($$SELECT * FROM thaw_schema('ÄÖ\Ω')$$);
SELECT skipped FROM thaw_schema('App, "Schema"');
SELECT freeze_schema('ÄÖ\Ω', mode => 'all');
SELECT tools.try($$DROP SCHEMA "Odd schema; DRÖP, x" CASCADE$$);
SELECT skipped FROM thaw_schema('ÄÖ\Ω');
SELECT * FROM tools.differences();
SELECT target FROM freeze_history ORDER BY id;

-- names that are none
SELECT tools.try($$SELECT freeze_role('"regress_dba"')$$);
SELECT tools.try($$SELECT freeze_role('')$$);
SELECT tools.try($$SELECT freeze_role('public')$$);

-- Arguments and settings that want to be SQL.
SELECT tools.try($$SELECT freeze_role('regress_63', strategy => 'x''; DROP TABLE t; --')$$);
SET pg_freeze.strategy = 'revoke';
RESET search_path;
DROP SCHEMA "App, ""Schema""", "ÄÖ\Ω", traps CASCADE;
SET search_path = "Odd schema; DRÖP, x", public;
\i :abs_srcdir/sql/clean.psql
DROP SCHEMA "Odd schema; DRÖP, x";
DROP ROLE "Regress ""App"" 'x', $1 %s; --", "regress_äöü_Ω_日本",
	regress_63_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, "regress=r*/x,{y}", regress_dba;
