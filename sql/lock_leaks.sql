-- Ways around a freeze by lock, and who else it stops: each code by itself, from
-- nothing, and what must not count.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
SET pg_freeze.strategy = 'lock';
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_other LOGIN;
CREATE ROLE regress_another LOGIN;
CREATE ROLE regress_group;
CREATE ROLE regress_super2 LOGIN SUPERUSER;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE SCHEMA outside;
GRANT USAGE ON SCHEMA app, outside TO PUBLIC;
CREATE TABLE app.t (a int PRIMARY KEY, b int);
ALTER TABLE app.t OWNER TO regress_app;
CREATE SEQUENCE app.s;
ALTER SEQUENCE app.s OWNER TO regress_app;
CREATE TABLE outside.t (a int PRIMARY KEY);
-- What is said of a role besides "everybody".
CREATE FUNCTION tools.said(role text DEFAULT 'regress_app', mode text DEFAULT 'write') RETURNS SETOF text LANGUAGE sql AS $$
	SELECT item || ' ' || c.kind || ': ' || detail FROM freeze_check('role', role, mode) c
	WHERE item IN ('leak', 'also stops') AND c.kind <> 'everybody'
$$;

-- Nothing.
SELECT item, kind, detail FROM freeze_check('role', 'regress_app') WHERE item <> 'change';
SELECT item, kind, detail FROM freeze_check('role', 'regress_app', 'all') WHERE item <> 'change';

-- writers: each way to have a right
GRANT INSERT ON app.t TO regress_other;
SELECT tools.said();
REVOKE INSERT ON app.t FROM regress_other;
GRANT UPDATE (b) ON app.t TO regress_other;
SELECT tools.said();
REVOKE UPDATE (b) ON app.t FROM regress_other;
GRANT USAGE ON app.s TO regress_other;
SELECT tools.said();
REVOKE USAGE ON app.s FROM regress_other;
GRANT DELETE ON app.t TO regress_group;
SELECT tools.said();
GRANT regress_group TO regress_other;
SELECT tools.said();
REVOKE regress_group FROM regress_other;
REVOKE DELETE ON app.t FROM regress_group;
GRANT pg_write_all_data TO regress_other;
SELECT tools.said();
REVOKE pg_write_all_data FROM regress_other;
GRANT INSERT ON app.t TO PUBLIC;
SELECT tools.said();
REVOKE INSERT ON app.t FROM PUBLIC;
GRANT UPDATE (b) ON app.t TO PUBLIC;
SELECT tools.said();
REVOKE UPDATE (b) ON app.t FROM PUBLIC;
GRANT INSERT ON outside.t TO regress_app, regress_other;
SELECT tools.said();
REVOKE INSERT ON outside.t FROM regress_app;
SELECT tools.said();
REVOKE INSERT ON outside.t FROM regress_other;

-- what is none: to read, superusers, who can't log in or connect, members of the target
GRANT SELECT ON app.t TO regress_other;
GRANT SELECT (b) ON app.t TO PUBLIC;
GRANT ALL ON app.t TO regress_super2, regress_group;
GRANT regress_app TO regress_another;
SELECT tools.said();
SELECT tools.said(mode => 'all');
REVOKE ALL ON app.t FROM regress_super2, regress_group, regress_other;
REVOKE SELECT (b) ON app.t FROM PUBLIC;
GRANT INSERT ON app.t TO regress_other;
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT tools.said();
SELECT format('GRANT CONNECT ON DATABASE %I TO PUBLIC', current_database()) \gexec
REVOKE INSERT ON app.t FROM regress_other;
REVOKE regress_app FROM regress_another;
SELECT tools.said(mode => 'all');

-- view: what leads to a locked relation, by a view on a view or by a rule
CREATE VIEW outside.v AS SELECT * FROM app.t;
CREATE VIEW outside.vv AS SELECT * FROM outside.v;
GRANT INSERT ON outside.vv TO regress_other;
SELECT tools.said();
REVOKE INSERT ON outside.vv FROM regress_other;
GRANT SELECT ON outside.vv TO regress_other;
SELECT tools.said();
SELECT tools.said(mode => 'all');
DROP VIEW outside.v CASCADE;
CREATE RULE r AS ON INSERT TO outside.t DO ALSO INSERT INTO app.t VALUES (new.a);
GRANT INSERT ON outside.t TO regress_other;
SELECT tools.said();
DROP RULE r ON outside.t;
SELECT tools.said();

-- foreign_key: in either direction, where the other end isn't locked
ALTER TABLE outside.t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES app.t;
SELECT tools.said();
ALTER TABLE outside.t DROP CONSTRAINT k;
ALTER TABLE app.t ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES outside.t;
SELECT tools.said();
REVOKE INSERT ON outside.t FROM regress_other;
SELECT tools.said();
ALTER TABLE app.t DROP CONSTRAINT k;
ALTER TABLE app.t ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES app.t;
SELECT tools.said();
ALTER TABLE app.t DROP CONSTRAINT k;

-- definer: others who run what writes there; and the target, what writes elsewhere
CREATE FUNCTION app.definer() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO app.t VALUES (1)';
ALTER FUNCTION app.definer() OWNER TO regress_app;
SELECT tools.said();
REVOKE EXECUTE ON FUNCTION app.definer() FROM PUBLIC;
SELECT tools.said();
DROP FUNCTION app.definer();
CREATE FUNCTION outside.definer() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO outside.t VALUES (1)';
SELECT tools.said();
ALTER FUNCTION outside.definer() OWNER TO regress_other;
SELECT tools.said();
GRANT INSERT ON outside.t TO regress_other;
SELECT tools.said();
GRANT INSERT ON outside.t TO regress_app;
REVOKE INSERT ON outside.t FROM regress_other;
GRANT INSERT ON outside.t TO regress_another;
SELECT tools.said();
REVOKE INSERT ON outside.t FROM regress_app, regress_another;
DROP FUNCTION outside.definer();

-- creators
GRANT CREATE ON SCHEMA app TO regress_other;
SELECT tools.said();
REVOKE CREATE ON SCHEMA app FROM regress_other;
GRANT CREATE ON SCHEMA app TO PUBLIC;
SELECT tools.said();
REVOKE CREATE ON SCHEMA app FROM PUBLIC;
GRANT CREATE ON SCHEMA outside TO regress_other;
SELECT tools.said();
GRANT CREATE ON SCHEMA outside TO regress_app;
SELECT tools.said();
REVOKE CREATE ON SCHEMA outside FROM regress_app, regress_other;

-- large_object
SELECT lo_create(900031);
SELECT tools.said();
GRANT UPDATE ON LARGE OBJECT 900031 TO regress_other;
SELECT tools.said();
GRANT UPDATE ON LARGE OBJECT 900031 TO PUBLIC;
SELECT tools.said();
REVOKE UPDATE ON LARGE OBJECT 900031 FROM PUBLIC;
SET lo_compat_privileges = on;
SELECT tools.said();
RESET lo_compat_privileges;
SELECT tools.said('regress_super2');
SELECT item, kind, detail FROM freeze_check('database', current_database()) WHERE item IN ('leak', 'also stops');
SELECT item, kind, detail FROM freeze_check('schema', 'app') WHERE item IN ('leak', 'also stops');
ALTER LARGE OBJECT 900031 OWNER TO regress_app;
SELECT tools.said();
SELECT lo_unlink(900031);
SELECT item, kind, detail FROM freeze_check('database', current_database()) WHERE item IN ('leak', 'also stops');

-- reads
CREATE VIEW app.mode_all AS
	SELECT item, kind, detail FROM freeze_check('role', 'regress_app', mode => 'all', strategy => 'lock') WHERE item = 'leak';
SELECT * FROM app.mode_all;
GRANT SELECT ON outside.t TO regress_app;
SELECT * FROM app.mode_all;
SELECT tools.said();
GRANT INSERT ON outside.t TO regress_app;
SELECT * FROM app.mode_all;
REVOKE ALL ON outside.t FROM regress_app;
GRANT pg_read_all_data TO regress_app;
SELECT count(*) FROM app.mode_all WHERE kind = 'reads';
REVOKE pg_read_all_data FROM regress_app;

-- predefined, attributes
GRANT pg_execute_server_program TO regress_app;
SELECT tools.said();
REVOKE pg_execute_server_program FROM regress_app;
ALTER ROLE regress_app CREATEDB;
SELECT tools.said();
ALTER ROLE regress_app NOCREATEDB;
SELECT tools.said();

DROP SCHEMA app, outside CASCADE;
DROP ROLE regress_app, regress_other, regress_another, regress_group, regress_super2;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_dba;
