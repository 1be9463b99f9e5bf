-- Freezes that cover the same objects, thawed in any order: each holds by
-- itself, what one gives back passes to the others, and at the end every byte
-- is as it was, NULL included.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
CREATE ROLE regress_app;
CREATE ROLE regress_b;
CREATE ROLE regress_c;
CREATE SCHEMA app AUTHORIZATION regress_app;
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.owned (a int);
CREATE SEQUENCE app.numbers;
CREATE TABLE app.granted (a int, b int);
GRANT INSERT ON app.granted TO regress_b;
GRANT UPDATE (b) ON app.granted TO regress_b;
GRANT SELECT, INSERT ON app.granted TO regress_c;
GRANT ALL ON SCHEMA app TO regress_b;
SET SESSION AUTHORIZATION regress_dba;
CREATE TABLE public.others (a int);
GRANT INSERT ON public.others TO regress_b, regress_c;
REVOKE INSERT ON public.others FROM regress_dba;
GRANT SELECT, INSERT ON public.others TO regress_app;
CREATE ROLE regress_writers ROLE regress_app;
GRANT INSERT ON public.others TO regress_writers;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_app IN SCHEMA app GRANT INSERT, SELECT ON TABLES TO regress_b;
CALL tools.keep();

-- What is left in force when one of two freezes of a role has been thawed.
SELECT freeze_role('regress_app', label => 'first');
SELECT freeze_role('regress_app', label => 'second');
SET client_min_messages = notice;
SELECT target, restored, skipped FROM thaw(1);
SET client_min_messages = warning;
SELECT id, label, in_force FROM freeze_status;
SELECT tools.acl_of('app.owned') AS owned, tools.acl_of('public.others') AS others;
SELECT count(*) > 3 AS passed_on FROM freeze_changes WHERE id = 2;
SELECT target, restored > 3 AS restored, skipped FROM thaw(2);
SELECT * FROM tools.differences();

-- The strictest wins, and what the other one needs stays.
SELECT freeze_role('regress_app');
SELECT freeze_schema('app', mode => 'all');
SELECT tools.acl_of('app.owned') AS owned, tools.acl_of('app.granted') AS granted;
SELECT skipped FROM thaw(4);
SELECT tools.acl_of('app.owned') AS owned, tools.acl_of('app.granted') AS granted;
SELECT skipped FROM thaw(3);
SELECT * FROM tools.differences();

-- Every order of thawing, of several sets of freezes; prints what is wrong:
-- a freeze that is not in force while live, or a difference at the end.
CREATE FUNCTION tools.freeze(what text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	part text[] := string_to_array(what, ' ');
BEGIN
	CASE part[1]
		WHEN 'role' THEN RETURN freeze_role(part[2]::name, part[3]);
		WHEN 'schema' THEN RETURN freeze_schema(part[2]::name, part[3]);
		WHEN 'database' THEN RETURN freeze_database(current_database(), part[2]);
	END CASE;
END $$;
CREATE FUNCTION tools.orders(n int) RETURNS SETOF int[] LANGUAGE sql AS $$
	WITH RECURSIVE o (a) AS (
		SELECT '{}'::int[] UNION ALL
		SELECT a || i FROM o, generate_series(1, n) i WHERE NOT i = ANY (a))
	SELECT a FROM o WHERE cardinality(a) = n
$$;
CREATE PROCEDURE tools.overlap(VARIADIC targets text[]) LANGUAGE plpgsql AS $$
DECLARE
	thaws int[];
	ids bigint[];
	i int;
	wrong text;
BEGIN
	CALL tools.keep();
	FOR thaws IN SELECT * FROM tools.orders(cardinality(targets)) LOOP
		COMMIT;		-- freezing is not for a transaction that has written
		ids := '{}';
		FOR i IN 1 .. cardinality(targets) LOOP
			ids := ids || tools.freeze(targets[i]);
		END LOOP;
		FOREACH i IN ARRAY thaws LOOP
			PERFORM FROM thaw(ids[i]) WHERE skipped > 0;
			IF FOUND THEN
				RAISE WARNING '% thawed in order %: skipped', targets, thaws;
			END IF;
			FOR wrong IN SELECT target FROM freeze_status WHERE in_force IS NOT TRUE LOOP
				RAISE WARNING '% thawed in order %: % is not in force after thaw of %', targets, thaws, wrong, i;
			END LOOP;
		END LOOP;
		FOR wrong IN SELECT * FROM tools.differences() LOOP
			RAISE WARNING '% thawed in order %: %', targets, thaws, wrong;
		END LOOP;
	END LOOP;
END $$;
CALL tools.overlap('role regress_app write', 'role regress_app write', 'role regress_app all');
CALL tools.overlap('role regress_app all', 'role regress_app write', 'role regress_app write');
CALL tools.overlap('role regress_app write', 'schema app write', 'database write');
CALL tools.overlap('database write', 'schema app write', 'role regress_app write');
CALL tools.overlap('schema app all', 'role regress_app write', 'database write');
CALL tools.overlap('role regress_app all', 'role regress_b all', 'schema app write');
-- Grants to two roles side by side: their order in the ACL comes back.
CALL tools.overlap('role regress_b write', 'role regress_c write');
CALL tools.overlap('role regress_b write', 'role regress_c write', 'role regress_app write');
CALL tools.overlap('role regress_c all', 'schema public write', 'role regress_b write');

-- A third party's change meanwhile stays, whatever the order.
CREATE PROCEDURE tools.overlap_with_grant() LANGUAGE plpgsql AS $$
DECLARE
	a bigint;
	b bigint;
	turn boolean;
BEGIN
	FOREACH turn IN ARRAY ARRAY[true, false] LOOP
		a := tools.freeze('role regress_app write');
		b := tools.freeze('schema app write');
		EXECUTE 'GRANT SELECT ON app.owned TO regress_c';
		EXECUTE 'REVOKE INSERT ON app.granted FROM regress_b';
		COMMIT;
		IF turn THEN
			PERFORM thaw(a); PERFORM thaw(b);
		ELSE
			PERFORM thaw(b); PERFORM thaw(a);
		END IF;
		RAISE WARNING 'owned % granted %', tools.acl_of('app.owned'), tools.acl_of('app.granted');
		EXECUTE 'REVOKE SELECT ON app.owned FROM regress_c';
		EXECUTE 'GRANT INSERT ON app.granted TO regress_b';
		COMMIT;
	END LOOP;
END $$;
CALL tools.overlap_with_grant();

-- Objects that come while frozen are not covered by the first, but by the second.
SELECT tools.freeze('role regress_app write') AS first \gset
CREATE TABLE app.later (a int);
ALTER TABLE app.later OWNER TO regress_app;
SELECT in_force FROM freeze_status;
SELECT tools.freeze('role regress_app write') AS second \gset
SELECT in_force FROM freeze_status ORDER BY id;
SELECT count(*) FROM thaw_all();
SELECT tools.acl_of('app.later') IS NULL AS as_it_was;

DROP OWNED BY regress_b, regress_c, regress_writers;
DROP OWNED BY regress_app CASCADE;
DROP TABLE public.others;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_b, regress_c, regress_writers, regress_dba;
