-- What others did between freeze and thaw stays; what the freeze took comes
-- back.  Each case on an object of its own, in one freeze; the table at the
-- end has what became of each.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
CREATE ROLE regress_app;
CREATE ROLE regress_other;
CREATE ROLE regress_third;
CREATE ROLE regress_heir;
CREATE ROLE regress_gone;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE SCHEMA elsewhere;
GRANT CREATE, USAGE ON SCHEMA elsewhere TO regress_app;

-- A table for each case, owned by regress_dba or by the role; t is the case.
CREATE TABLE tools.cases (t text PRIMARY KEY, rel oid, before aclitem[]);
CREATE PROCEDURE tools.make(t text, owner regrole, grants text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE app.%I (a int, b int)', t);
	EXECUTE format('ALTER TABLE app.%I OWNER TO %s', t, owner);
	IF grants IS NOT NULL THEN
		EXECUTE replace(grants, '%T', format('app.%I', t));
	END IF;
	INSERT INTO tools.cases SELECT $1, oid, relacl FROM pg_class WHERE oid = format('app.%I', $1)::regclass;
END $$;
CREATE FUNCTION tools.acls() RETURNS TABLE (t text, before text, now text, b text) LANGUAGE sql STABLE AS $$
	SELECT t, regexp_replace(tools.acl(before), '\m\d{4,}', 'OID', 'g'), tools.acl(relacl), (SELECT tools.acl(attacl) FROM pg_attribute WHERE attrelid = rel AND attnum = 2)
	FROM tools.cases LEFT JOIN pg_class c ON c.oid = rel ORDER BY t COLLATE "C"
$$;

CALL tools.make('grant others', 'regress_app');
CALL tools.make('grant to role', 'regress_dba', 'GRANT SELECT, INSERT ON %T TO regress_app');
CALL tools.make('grant taken', 'regress_dba', 'GRANT SELECT, INSERT ON %T TO regress_app');
CALL tools.make('revoke taken', 'regress_dba', 'GRANT SELECT, INSERT, UPDATE ON %T TO regress_app');
CALL tools.make('revoke left', 'regress_dba', 'GRANT SELECT, INSERT ON %T TO regress_app');
CALL tools.make('revoke all', 'regress_dba', 'GRANT SELECT, INSERT ON %T TO regress_app');
CALL tools.make('revoke, grant', 'regress_dba', 'GRANT SELECT, INSERT ON %T TO regress_app');
CALL tools.make('revoke option', 'regress_dba', 'GRANT INSERT, UPDATE ON %T TO regress_app WITH GRANT OPTION');
CALL tools.make('revoke others', 'regress_app', 'GRANT INSERT ON %T TO regress_other');
CALL tools.make('column grant', 'regress_dba', 'GRANT INSERT ON %T TO regress_app');
CALL tools.make('column revoke', 'regress_dba', 'GRANT UPDATE (a, b) ON %T TO regress_app');
CALL tools.make('column by table', 'regress_dba', 'GRANT UPDATE ON %T TO regress_app; GRANT UPDATE (b) ON %T TO regress_app');
CALL tools.make('owner and back', 'regress_other', 'GRANT SELECT, INSERT ON %T TO regress_app');
CALL tools.make('chain', 'regress_dba', 'GRANT INSERT ON %T TO regress_app WITH GRANT OPTION');
CALL tools.make('chain revoked', 'regress_dba', 'GRANT INSERT ON %T TO regress_app WITH GRANT OPTION');
SET SESSION AUTHORIZATION regress_app;
GRANT INSERT ON app.chain, app."chain revoked" TO regress_other;
SET SESSION AUTHORIZATION regress_dba;
UPDATE tools.cases SET before = (SELECT relacl FROM pg_class WHERE oid = rel);
CALL tools.make('owner away', 'regress_app');
CALL tools.make('owner away, acl', 'regress_app', 'GRANT INSERT ON %T TO regress_other');
CALL tools.make('owner to role', 'regress_dba', 'GRANT INSERT ON %T TO regress_app');
CALL tools.make('dropped', 'regress_app');
CALL tools.make('made again', 'regress_app');
CALL tools.make('renamed', 'regress_app');
CALL tools.make('moved', 'regress_app');
CALL tools.make('column dropped', 'regress_dba', 'GRANT UPDATE (a, b) ON %T TO regress_app');
CALL tools.make('column renamed', 'regress_dba', 'GRANT UPDATE (b) ON %T TO regress_app');
CALL tools.make('grantee dropped', 'regress_app', 'GRANT INSERT ON %T TO regress_gone');
CALL tools.make('grantor dropped', 'regress_dba', 'GRANT INSERT ON %T TO regress_gone WITH GRANT OPTION');
GRANT USAGE ON SCHEMA app TO regress_gone;
SET SESSION AUTHORIZATION regress_gone;
GRANT INSERT ON app."grantor dropped" TO regress_app;
SET SESSION AUTHORIZATION regress_dba;
UPDATE tools.cases SET before = (SELECT relacl FROM pg_class WHERE oid = rel);
CALL tools.make('untouched', 'regress_app', 'GRANT SELECT ON %T TO regress_other');

SELECT freeze_role('regress_app');

GRANT SELECT ON app."grant others" TO regress_other;
GRANT UPDATE, REFERENCES ON app."grant to role" TO regress_app;
GRANT INSERT ON app."grant taken" TO regress_app;
REVOKE INSERT ON app."revoke taken" FROM regress_app;
REVOKE SELECT ON app."revoke left" FROM regress_app;
REVOKE ALL ON app."revoke all" FROM regress_app;
REVOKE INSERT ON app."revoke, grant" FROM regress_app;
GRANT INSERT ON app."revoke, grant" TO regress_app;
REVOKE GRANT OPTION FOR INSERT ON app."revoke option" FROM regress_app;
REVOKE INSERT ON app."revoke others" FROM regress_other;
GRANT UPDATE (b) ON app."column grant" TO regress_other;
REVOKE UPDATE (a) ON app."column revoke" FROM regress_app;
REVOKE UPDATE ON app."column by table" FROM regress_app;
REVOKE INSERT ON app."chain revoked" FROM regress_app CASCADE;
ALTER TABLE app."owner away" OWNER TO regress_heir;
ALTER TABLE app."owner away, acl" OWNER TO regress_heir;
ALTER TABLE app."owner to role" OWNER TO regress_app;
ALTER TABLE app."owner and back" OWNER TO regress_app;
ALTER TABLE app."owner and back" OWNER TO regress_other;
DROP TABLE app."dropped";
DROP TABLE app."made again";
CREATE TABLE app."made again" (a int);
GRANT SELECT ON app."made again" TO regress_app;
ALTER TABLE app."renamed" RENAME TO "new name";
ALTER TABLE app."moved" SET SCHEMA elsewhere;
ALTER TABLE app."column dropped" DROP COLUMN b;
ALTER TABLE app."column renamed" RENAME b TO c;
-- what a role holds must go before it can be dropped
DROP OWNED BY regress_gone CASCADE;
DROP ROLE regress_gone;
SELECT * FROM tools.acls();
SELECT in_force, tools.mask(came_back) AS came_back FROM freeze_status;
\set VERBOSITY default
SELECT target, held, restored, skipped FROM thaw_role('regress_app');
\set VERBOSITY terse
SELECT * FROM tools.acls();
SELECT tools.acl_of('app."made again"') AS made_again;
SELECT restored, skipped, state FROM freeze_history;
SELECT kind, names, outcome FROM freeze_changes ORDER BY names::text COLLATE "C";
DROP TABLE elsewhere.moved;
DROP SCHEMA app CASCADE;

-- Roles: renamed, and memberships that change meanwhile.
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE TABLE app.t (a int);
GRANT INSERT ON app.t TO regress_app;
CREATE ROLE regress_write1;
CREATE ROLE regress_write2;
CREATE ROLE regress_write3;
CREATE ROLE regress_write4;
GRANT INSERT ON app.t TO regress_write1, regress_write2, regress_write3, regress_write4;
GRANT regress_write1, regress_write2, regress_write3, regress_write4 TO regress_app;
CREATE VIEW tools.members AS
	SELECT roleid::regrole AS role, member::regrole, admin_option FROM pg_auth_members
	WHERE member::regrole::text LIKE 'regress%' ORDER BY roleid::regrole::text COLLATE "C";
SELECT * FROM tools.members;
SELECT freeze_role('regress_app');
SELECT pg_has_role('regress_app', 'regress_write1', 'USAGE') AS acts;
ALTER ROLE regress_app RENAME TO regress_new;
SELECT target FROM freeze_status;
GRANT regress_write2 TO regress_new;
-- From 16 on a membership that was taken is still there to be revoked.
DO $$ BEGIN
	IF current_setting('server_version_num')::int >= 160000 THEN
		REVOKE regress_write3 FROM regress_new;
	END IF;
END $$;
DROP OWNED BY regress_write4;
DROP ROLE regress_write4;
SET client_min_messages = error;
SELECT target, skipped > 0 AS skipped FROM thaw_role('regress_new');
SET client_min_messages = warning;
SELECT * FROM tools.members WHERE role <> 'regress_write3'::regrole;
SELECT pg_has_role('regress_new', 'regress_write3', 'USAGE') <> (current_setting('server_version_num')::int >= 160000) AS right_for_version;
SELECT tools.acl_of('app.t');
SELECT pg_has_role('regress_new', 'regress_write1', 'USAGE') AS acts;
SELECT kind, names, split_part(outcome, ':', 1) AS outcome FROM freeze_changes
WHERE id = 2 AND names::text !~ 'regress_write[23]' ORDER BY names::text COLLATE "C";

-- The target itself is dropped: its freeze can be thawed all the same, by its name too.
CREATE ROLE regress_short;
GRANT INSERT ON app.t TO regress_short;
SELECT freeze_role('regress_short');
DROP OWNED BY regress_short;
DROP ROLE regress_short;
SELECT target, state, in_force FROM freeze_status;
SELECT target, held, restored, skipped FROM thaw_role('regress_short');
SELECT kind, names, outcome FROM freeze_changes WHERE id = 3;
SELECT tools.acl_of('app.t');
CREATE SCHEMA short AUTHORIZATION regress_other;
CREATE TABLE short.t (a int);
SELECT freeze_schema('short');
DROP SCHEMA short CASCADE;
SELECT target, state FROM freeze_status;
SELECT target, held, restored, skipped FROM thaw_schema('short');
SELECT kind, names, outcome FROM freeze_changes WHERE id = 4 ORDER BY kind;

DROP SCHEMA app CASCADE;
DROP SCHEMA elsewhere;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_new, regress_other, regress_third, regress_heir, regress_write1, regress_write2, regress_write3, regress_dba;
