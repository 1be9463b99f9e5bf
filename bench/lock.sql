-- The database of bench/lock: :tables tables in the schema app, owned by app,
-- who is also the application.
\set ON_ERROR_STOP on
\set QUIET on
CREATE ROLE app LOGIN;
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
SELECT set_config('bench.tables', :'tables', false) \g /dev/null
DO $$
BEGIN
	FOR i IN 1 .. current_setting('bench.tables')::int LOOP
		EXECUTE format('CREATE TABLE app.t%s (id int, amount int)', i);
		IF i % 500 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END
$$;
