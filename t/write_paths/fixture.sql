-- What each probe finds.  Roles: app is the target; :owner owns the objects and
-- is app or keeper; other is somebody else; boss is a member of app where a
-- probe says so.
CREATE SCHEMA pf;
CREATE EXTENSION pg_freeze SCHEMA pf;
CREATE SCHEMA ext;
CREATE EXTENSION postgres_fdw SCHEMA ext;
CREATE EXTENSION dblink SCHEMA ext;
CREATE EXTENSION pageinspect SCHEMA ext;
CREATE ROLE app LOGIN;
CREATE ROLE keeper LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE boss LOGIN;
CREATE ROLE observer LOGIN SUPERUSER;
CREATE ROLE writers;
CREATE ROLE mixed;
CREATE SCHEMA obs;
GRANT USAGE ON SCHEMA obs, ext TO PUBLIC;

CREATE TABLE obs.base AS SELECT pg_current_xact_id()::xid AS xid;

-- Of each catalog the number of rows and those that initdb did not write: one
-- statement, which is planned once.
DO $$ BEGIN EXECUTE (
	SELECT format('CREATE FUNCTION obs.look_at_catalogs() RETURNS text LANGUAGE plpgsql AS %L', 'BEGIN RETURN concat('
		|| string_agg(format('(SELECT concat(''%1$s '', count(*), md5(string_agg(concat(ctid, xmin, xmax), '''' ORDER BY ctid)'
			' FILTER (WHERE age(xmin) < (SELECT age(xid) FROM obs.base) OR xmax <> ''0'')), E''\n'') FROM %1$s)', c.oid::regclass), ', ' ORDER BY relname)
		|| '); END')
	FROM pg_class c
	WHERE relkind = 'r' AND relnamespace = 'pg_catalog'::regnamespace AND relname NOT IN ('pg_class', 'pg_database', 'pg_largeobject'));
END $$;

-- Everything that lies in tables, with the row headers, a line per relation.
CREATE FUNCTION obs.look(everything boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
	one text;
	result text := '';
BEGIN
	-- in a transaction that has all its locks no cache would learn of anything
	BEGIN
		LOCK TABLE pg_am IN ROW SHARE MODE;
		RAISE 'so that the next call locks again';
	EXCEPTION WHEN raise_exception THEN
	END;
	FOR r IN SELECT c.oid::regclass::text AS name, c.relkind, c.relname
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't'
			AND n.nspname NOT IN ('pf', 'obs', 'ext', 'information_schema')
			AND (n.nspname <> 'pg_catalog' OR c.relname = 'pg_largeobject' OR (everything AND c.relname IN ('pg_class', 'pg_database')))
		ORDER BY 1
	LOOP
		EXECUTE format(CASE
			WHEN r.relkind = 'S' THEN 'SELECT concat_ws('','', last_value, is_called) FROM %s'
			WHEN r.relname = 'pg_largeobject' THEN 'SELECT md5(string_agg(concat(ctid, xmin, xmax), '''' ORDER BY ctid)) FROM %s'
			ELSE 'SELECT md5(string_agg(concat(ctid, xmin, xmax, t::text), '''' ORDER BY ctid)) FROM %s t' END,
			r.name) INTO one;
		result := result || r.name || ' ' || coalesce(one, 'empty') || E'\n';
	END LOOP;
	RETURN result || CASE WHEN everything THEN obs.look_at_catalogs() ELSE '' END;
END $$;

CREATE PROCEDURE obs.fixture(owner text, large_object boolean) LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL client_min_messages = error;
	DROP SCHEMA IF EXISTS w CASCADE;
	DROP SCHEMA IF EXISTS x CASCADE;
	DROP EXTENSION IF EXISTS hstore CASCADE;
	DROP FUNCTION IF EXISTS public.strong();
	DROP ROLE IF EXISTS x_role;
	ALTER ROLE app NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION;
	ALTER ROLE app RESET work_mem;
	REVOKE writers, mixed, pg_write_all_data, pg_execute_server_program FROM app CASCADE;
	REVOKE app FROM boss CASCADE;
	DROP OWNED BY app;
	DROP OWNED BY keeper;
	DROP OWNED BY other;
	DROP OWNED BY boss;
	DROP OWNED BY writers;
	DROP OWNED BY mixed;
	PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;

	EXECUTE format('CREATE SCHEMA w AUTHORIZATION %I', owner);
	EXECUTE format('SET LOCAL ROLE %I', owner);
	CREATE TABLE w.t (a int PRIMARY KEY, b text);
	INSERT INTO w.t VALUES (1, 'one'), (2, 'two'), (3, 'three');
	CREATE TABLE w.t2 (a int, b text);
	CREATE TABLE w.cols (a int, b varchar(10));
	INSERT INTO w.cols VALUES (1);
	CREATE SEQUENCE w.q;
	CREATE TABLE w.ident (id int GENERATED ALWAYS AS IDENTITY, b varchar(10));
	CREATE TABLE w.def (id int DEFAULT nextval('w.q'), b varchar(10));
	CREATE TABLE w.p (a int) PARTITION BY LIST (a);
	CREATE TABLE w.p1 PARTITION OF w.p FOR VALUES IN (1);
	CREATE VIEW w.v AS SELECT * FROM w.t;
	CREATE MATERIALIZED VIEW w.mv AS SELECT count(*) FROM w.t2;
	CREATE TABLE w.ruled (a int);
	CREATE RULE r AS ON INSERT TO w.ruled DO INSTEAD INSERT INTO w.t2 VALUES (new.a);
	CREATE VIEW w.vi AS SELECT a FROM w.t2;
	CREATE INDEX t2_brin ON w.t2 USING brin (a) WITH (pages_per_range = 1);
	CREATE FUNCTION w.ins(x int) RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO w.t2 VALUES (x); RETURN x; END';
	CREATE FUNCTION w.ins_after(x int) RETURNS int LANGUAGE plpgsql AS
		'BEGIN IF x > 1 THEN INSERT INTO w.t2 VALUES (x); END IF; RETURN x; END';
	CREATE FUNCTION w.tell() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO w.t2 VALUES (1); RETURN new; END';
	CREATE TRIGGER i INSTEAD OF INSERT ON w.vi FOR EACH ROW EXECUTE FUNCTION w.tell();
	CREATE FUNCTION w.nv() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT nextval(''w.q'')';
	CREATE PROCEDURE w.nothing(x int) LANGUAGE plpgsql AS 'BEGIN END';
	CREATE PROCEDURE w.work() LANGUAGE plpgsql AS
		'BEGIN INSERT INTO w.t2 VALUES (1); COMMIT; PERFORM pg_advisory_lock_shared(1); INSERT INTO w.t2 VALUES (2); COMMIT; END';
	IF large_object THEN
		PERFORM lo_from_bytea(4711, 'abc');
	END IF;
	RESET ROLE;
	CREATE FOREIGN TABLE w.ft (a int, b text) SERVER here OPTIONS (schema_name 'w', table_name 't2');
	EXECUTE format('ALTER FOREIGN TABLE w.ft OWNER TO %I', owner);
	GRANT CREATE, TEMP ON DATABASE postgres TO app;
	GRANT USAGE ON SCHEMA w TO other, boss;
	GRANT SELECT, INSERT, UPDATE ON w.t, w.t2, w.v TO other;
	IF owner <> 'app' THEN
		GRANT USAGE, CREATE ON SCHEMA w TO app;
		GRANT ALL ON ALL TABLES IN SCHEMA w TO app;
		GRANT ALL ON ALL SEQUENCES IN SCHEMA w TO app;
		IF large_object THEN
			GRANT SELECT, UPDATE ON LARGE OBJECT 4711 TO app;
		END IF;
		REVOKE UPDATE ON w.cols FROM app;
		GRANT UPDATE (b) ON w.cols TO app;
	END IF;
END $$;
