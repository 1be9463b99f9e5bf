-- Who may: nobody but superusers, and those whom one grants it, within limits.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql

-- Everything that changes something is revoked from PUBLIC; those left are read-only.
SELECT p.oid::regprocedure AS anybody_may_execute
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze')
	AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0))
ORDER BY p.proname;
SELECT c.oid::regclass AS anybody_may_read, c.relkind, string_agg(a.privilege_type, ' ') AS privileges
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid, aclexplode(c.relacl) a
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND a.grantee = 0
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze')
GROUP BY c.oid, c.relkind, c.relname ORDER BY c.relname;

-- Every table, view and function says what it is.
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.objsubid = 0
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze')
	AND (d.classid = 'pg_proc'::regclass
		OR d.classid = 'pg_class'::regclass AND (SELECT relkind FROM pg_class WHERE oid = d.objid) IN ('r', 'v'))
	AND obj_description(d.objid, d.classid::regclass::name) IS NULL;
-- So does every setting, with more than a word.
SELECT name FROM pg_settings WHERE name LIKE 'pg_freeze.%' AND length(short_desc || extra_desc) < 60;
SELECT name, context, unit FROM pg_settings WHERE name LIKE 'pg_freeze.%' ORDER BY name;

CREATE ROLE regress_nobody;
CREATE ROLE regress_oncall;
CREATE ROLE regress_oncall2;
CREATE ROLE regress_super SUPERUSER;
CREATE ROLE regress_app;
CREATE SCHEMA app AUTHORIZATION regress_app;
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.t (a int);
SET SESSION AUTHORIZATION regress_dba;
GRANT ALL ON app.t TO regress_super, regress_oncall;
SELECT freeze_role('regress_app', label => 'of the dba');

-- A role without privileges can call nothing, and read neither the journal nor write it.
SET SESSION AUTHORIZATION regress_nobody;
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN SELECT p.oid, p.proname, p.oid::regprocedure AS name,
			(SELECT coalesce(string_agg(format('%L::%s', CASE t WHEN 'inet'::regtype THEN '::1' WHEN 'pg_lsn'::regtype THEN '0/1' ELSE '1' END, t::regtype), ', ' ORDER BY n), '')
				FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, n)) AS args
		FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze')
		ORDER BY p.oid
	LOOP
		BEGIN
			EXECUTE format('SELECT %s(%s)', f.proname, f.args);
			RAISE WARNING '% could be called', f.name;
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		WHEN OTHERS THEN
			RAISE WARNING '%: %', f.name, SQLERRM;
		END;
	END LOOP;
	FOR f IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze') AND c.relkind IN ('r', 'S')
	LOOP
		IF has_table_privilege(f.name, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') THEN
			RAISE WARNING '% is open', f.name;
		END IF;
	END LOOP;
END $$;
SELECT freeze_role('regress_app');
SELECT * FROM thaw_role('regress_app');
SELECT * FROM thaw_all();
SELECT freeze_extend(1, '1 hour');
SELECT * FROM freeze_undo(1);
SELECT * FROM freeze_journal;
UPDATE freeze_journal SET state = 'thawed';
SELECT nextval('freeze_journal_id_seq');
DELETE FROM freeze_status;
-- The views are for everybody, without address, pid and query.
SELECT id, target, state, in_force, by, label, address, pid FROM freeze_status;
SELECT count(*) FROM freeze_history;
SELECT count(*) > 0 AS some FROM freeze_changes;
SELECT * FROM freeze_blockers;
SELECT count(*) FROM freeze_sessions_signalled;
SET SESSION AUTHORIZATION regress_dba;
SELECT address, pid = pg_backend_pid() AS mine FROM freeze_status;
GRANT pg_read_all_stats TO regress_nobody;
SET SESSION AUTHORIZATION regress_nobody;
SELECT address, pid = pg_backend_pid() AS mine FROM freeze_status;
SET SESSION AUTHORIZATION regress_dba;
REVOKE pg_read_all_stats FROM regress_nobody;

-- A role to which the functions are granted.
GRANT EXECUTE ON FUNCTION freeze_role, freeze_schema, freeze_database, freeze_check, freeze_extend, thaw, thaw_role, thaw_label, thaw_all
	TO regress_oncall, regress_oncall2;
CALL tools.keep();
SET SESSION AUTHORIZATION regress_oncall;
SELECT freeze_role('regress_app', label => 'of oncall');
SELECT id, by, label, in_force FROM freeze_status;
-- no superuser, not himself, not a role that he is a member of
SELECT tools.try($$SELECT freeze_role('regress_super')$$);
SELECT tools.try($$SELECT freeze_role('regress_dba', strategy => 'revoke')$$);
SELECT tools.try($$SELECT freeze_role('regress_oncall')$$);
SELECT tools.try($$SELECT * FROM freeze_check('role', 'regress_super')$$);
SET SESSION AUTHORIZATION regress_dba;
CREATE ROLE regress_team ROLE regress_oncall;
GRANT INSERT ON app.t TO regress_team;
SET SESSION AUTHORIZATION regress_oncall;
SELECT tools.try($$SELECT freeze_role('regress_team')$$);
SELECT tools.try($$SELECT freeze_schema('app', mode => 'all')$$);
SELECT tools.try($$SELECT freeze_database(mode => 'all')$$) AS t;
-- only his own freezes
SELECT tools.try($$SELECT * FROM thaw(1)$$);
SELECT tools.try($$SELECT * FROM thaw_label('of the dba')$$);
SELECT tools.try($$SELECT * FROM thaw_role('regress_app')$$);
SELECT tools.try($$SELECT * FROM thaw_role('regress_app', force => true)$$);
SELECT tools.try($$SELECT freeze_extend(1, '1 hour')$$);
SELECT freeze_extend(2, '1 hour') > now() AS extended;
SET SESSION AUTHORIZATION regress_oncall2;
SELECT tools.try($$SELECT * FROM thaw(2)$$);
SELECT tools.try($$SELECT freeze_extend(2, '1 hour')$$);
SELECT count(*) FROM thaw_all();
SET SESSION AUTHORIZATION regress_oncall;
SELECT id, target, skipped FROM thaw_all();
SELECT id, by FROM freeze_status;
-- he gained nothing
SELECT has_table_privilege(oid, 'TRUNCATE') AS still, has_table_privilege(oid, 'TRUNCATE WITH GRANT OPTION') AS more_than_before
FROM pg_class WHERE relname = 't';
-- a superuser thaws anybody's
SET SESSION AUTHORIZATION regress_oncall;
SELECT freeze_role('regress_app');
SET SESSION AUTHORIZATION regress_dba;
SELECT id, skipped FROM thaw(3);
SELECT id, skipped FROM thaw(1);

-- max_hold: others than superusers need a deadline, and not a long one.
SET SESSION AUTHORIZATION regress_oncall;
SHOW pg_freeze.max_hold;
SET SESSION AUTHORIZATION regress_dba;
GRANT EXECUTE ON FUNCTION freeze_backup_begin TO regress_oncall;
ALTER SYSTEM SET pg_freeze.max_hold = '10min';
SELECT pg_reload_conf();
-- each statement reads the configuration again: this polls until it has come
\set ECHO none
SELECT $$DO 'BEGIN IF current_setting(''pg_freeze.max_hold'') = ''0'' THEN PERFORM pg_sleep(0.05); END IF; END'$$
FROM generate_series(1, 600) \gexec
\set ECHO all
SHOW pg_freeze.max_hold;
\c -
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_oncall;
SET pg_freeze.strategy = 'revoke';
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', thaw_after => '0')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', thaw_after => '11 minutes')$$);
SELECT tools.try($$SELECT freeze_backup_begin('x', 'role', 'regress_app', timeout => '11 minutes', backup_mode => false, checkpoint => 'none')$$);
SELECT freeze_role('regress_app', thaw_after => '10 minutes');
SELECT tools.try($$SELECT freeze_extend(4, '11 minutes')$$);
SELECT tools.try($$SELECT freeze_extend(4, '0')$$);
-- Nobody freezes himself by another role.
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION freeze_role TO regress_team;
SET SESSION AUTHORIZATION regress_oncall;
SET ROLE regress_team;
SELECT tools.try($$SELECT freeze_role('regress_oncall', mode => 'all', thaw_after => '1 minute')$$);
RESET ROLE;
SELECT freeze_extend(4, '5 minutes') > now() AS extended;
SELECT id, skipped FROM thaw(4);
SET SESSION AUTHORIZATION regress_dba;
SELECT freeze_role('regress_app');
SELECT id, skipped FROM thaw(5);
ALTER SYSTEM RESET pg_freeze.max_hold;
SELECT pg_reload_conf();
\set ECHO none
SELECT $$DO 'BEGIN IF current_setting(''pg_freeze.max_hold'') <> ''0'' THEN PERFORM pg_sleep(0.05); END IF; END'$$
FROM generate_series(1, 600) \gexec
\set ECHO all
SHOW pg_freeze.max_hold;

DROP OWNED BY regress_team, regress_oncall, regress_oncall2, regress_app, regress_super;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_nobody, regress_team, regress_oncall, regress_oncall2, regress_app, regress_super, regress_dba;
