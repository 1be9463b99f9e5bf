-- The database of bench/revoke: :tables tables and :sequences sequences in the
-- schema app, owned by app_owner, each granted to five roles, one of them with
-- grant option.  The freeze's target is app_1.
\set ON_ERROR_STOP on
\set QUIET on
CREATE ROLE app_owner;
CREATE ROLE app_1;
CREATE ROLE app_2;
CREATE ROLE app_3;
CREATE ROLE app_4;
CREATE ROLE app_5;
CREATE SCHEMA app AUTHORIZATION app_owner;
SET ROLE app_owner;
GRANT USAGE ON SCHEMA app TO app_1, app_2, app_3, app_4, app_5;

-- made with their grants, so that pg_class is compact at the start
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO app_1, app_2, app_3, app_4;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO app_5 WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON SEQUENCES TO app_1, app_2, app_3, app_4;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON SEQUENCES TO app_5 WITH GRANT OPTION;
SELECT set_config('bench.tables', :'tables', false), set_config('bench.sequences', :'sequences', false) \g /dev/null
DO $$
BEGIN
	FOR i IN 1 .. current_setting('bench.tables')::int LOOP
		EXECUTE format('CREATE TABLE app.t%s (id int, amount int)', i);
		IF i % 500 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
	FOR i IN 1 .. current_setting('bench.sequences')::int LOOP
		EXECUTE format('CREATE SEQUENCE app.s%s', i);
		IF i % 500 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END
$$;
ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE ALL ON TABLES FROM app_1, app_2, app_3, app_4, app_5;
ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE ALL ON SEQUENCES FROM app_1, app_2, app_3, app_4, app_5;
