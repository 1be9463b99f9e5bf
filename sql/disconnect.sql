-- Strategy disconnect and stop_role: what they change and put back, what they
-- say, what they refuse.  Sessions and logins are tested elsewhere.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
\pset format unaligned
\pset tuples_only on
\set super :USER
SELECT current_database() AS here, :'super' AS super \gset
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_member LOGIN IN ROLE regress_app;
CREATE ROLE regress_b LOGIN CONNECTION LIMIT 7;
CREATE ROLE regress_streamer LOGIN REPLICATION;
CREATE ROLE regress_nologin;
CREATE ROLE regress_oncall LOGIN;
CREATE DATABASE regress_elsewhere OWNER regress_oncall;
CREATE VIEW tools.logins AS
	SELECT string_agg(substr(rolname, 9), ' ' ORDER BY rolname) FILTER (WHERE rolcanlogin) AS may,
		string_agg(substr(rolname, 9), ' ' ORDER BY rolname) FILTER (WHERE NOT rolcanlogin) AS may_not
	FROM pg_roles WHERE rolname LIKE 'regress\_%';
CREATE VIEW tools.connections AS SELECT datname, datallowconn, datconnlimit FROM pg_database WHERE datname = 'regress_elsewhere';
CREATE VIEW tools.register AS SELECT count(*) AS register FROM pg_shseclabel WHERE provider LIKE 'pg\_freeze%';
CREATE FUNCTION tools.kept() RETURNS SETOF text LANGUAGE sql STABLE AS $$
	SELECT format('%s %s %s %s %s', rolname, rolcanlogin, rolconnlimit, rolsuper, rolvaliduntil) FROM pg_authid
	UNION ALL SELECT format('%s %s %s', datname, datallowconn, datconnlimit) FROM pg_database
	UNION ALL SELECT * FROM tools.privileges() $$;
CREATE TABLE tools.before (k text);
CREATE VIEW tools.changed AS
	(SELECT '- ' || k FROM (TABLE tools.before EXCEPT ALL SELECT * FROM tools.kept()) x)
	UNION ALL (SELECT '+ ' || k FROM (SELECT * FROM tools.kept() EXCEPT ALL TABLE tools.before) x (k));
CREATE PROCEDURE tools.note() LANGUAGE sql AS $$TRUNCATE tools.before; INSERT INTO tools.before SELECT * FROM tools.kept()$$;
CALL tools.note();
SET pg_freeze.strategy = 'disconnect';

-- A role: what would be done, what is done, what is told.
SELECT * FROM freeze_check('role', 'regress_app', mode => 'all');
SET client_min_messages = notice;
SELECT freeze_role('regress_app', mode => 'all', reason => 'a try', label => 'try') AS id \gset
SET client_min_messages = warning;
TABLE tools.logins;
\x on
SELECT target, mode, strategy, state, in_force, to_thaw, changed, cancelled, terminated, action, in_flight, waiters, refused, holder,
	leaks, also_stops, why, reason, label, came_back, home = current_database() AS here, remark FROM freeze_status;
SELECT id, kind, names, args, classid::regclass, before, after, outcome FROM freeze_changes;
\x off
SELECT count(*) FROM freeze_sessions;
SELECT count(*) FROM pg_seclabels;
SELECT target, strategy, held, lost_reason, tools.mask(evidence), restored, skipped FROM thaw(:id);
TABLE tools.logins;
TABLE tools.changed;
TABLE tools.register;
SELECT target, state, held, restored, skipped, leaks FROM freeze_history;
SELECT * FROM freeze_changes;
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
SELECT held, lost_reason, restored FROM thaw(:id, require_held => true);

-- Another database, from here.
SELECT * FROM freeze_check('database', 'regress_elsewhere', mode => 'all');
SELECT freeze_database('regress_elsewhere', mode => 'all', thaw_after => '15 minutes', on_drain_timeout => 'terminate') AS id \gset
TABLE tools.connections;
SELECT target, in_force, thaw_at - since BETWEEN '14 min' AND '15 min', also_stops FROM freeze_status;
SELECT kind, names, classid::regclass, before, after FROM freeze_changes WHERE id = :id;
SELECT held, lost_reason, restored, skipped FROM thaw_database('regress_elsewhere');
TABLE tools.changed;

-- The cluster: everybody but superusers and who replicates.
SELECT item, kind, object, detail FROM freeze_check('cluster', mode => 'all') WHERE item <> 'session' ORDER BY item, object;
SELECT freeze_cluster(mode => 'all') AS id \gset
TABLE tools.logins;
SELECT target, in_force, changed, leaks LIKE '%replication: roles for replication may log in: regress_streamer%' FROM freeze_status;
CREATE ROLE regress_new LOGIN;
SELECT in_force FROM freeze_status;
ALTER ROLE regress_new NOLOGIN;
SELECT in_force FROM freeze_status;
SELECT held, lost_reason, restored, skipped FROM thaw_cluster();
DROP ROLE regress_new;
TABLE tools.logins;
TABLE tools.changed;
TABLE tools.register;

-- What somebody says meanwhile.
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
ALTER ROLE regress_b LOGIN;
SELECT in_force FROM freeze_status;
SELECT held, lost_reason, restored, skipped FROM thaw(:id);
TABLE tools.logins;
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
ALTER ROLE regress_b LOGIN;
ALTER ROLE regress_b NOLOGIN;
SELECT in_force FROM freeze_status;
SELECT held, lost_reason, tools.mask(evidence), restored, skipped FROM thaw(:id);
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
ALTER ROLE regress_b CONNECTION LIMIT 8 VALID UNTIL '2099-01-01';
SELECT held, restored, skipped FROM thaw(:id);
SELECT rolcanlogin, rolconnlimit, rolvaliduntil IS NOT NULL FROM pg_roles WHERE rolname = 'regress_b';
ALTER ROLE regress_b CONNECTION LIMIT 7 VALID UNTIL 'infinity';
SELECT freeze_database('regress_elsewhere', mode => 'all') AS id \gset
ALTER DATABASE regress_elsewhere ALLOW_CONNECTIONS true;
SELECT in_force FROM freeze_status;
SELECT held, lost_reason, restored, skipped FROM thaw(:id);
TABLE tools.connections;
SELECT freeze_database('regress_elsewhere', mode => 'all') AS id \gset
ALTER DATABASE regress_elsewhere CONNECTION LIMIT 9;
ALTER DATABASE regress_elsewhere RENAME TO regress_elsewhere2;
SELECT in_force FROM freeze_status;
SELECT target, restored, skipped FROM thaw(:id);
ALTER DATABASE regress_elsewhere2 RENAME TO regress_elsewhere;
TABLE tools.connections;
ALTER DATABASE regress_elsewhere CONNECTION LIMIT -1;
CREATE ROLE regress_gone LOGIN;
SELECT freeze_role('regress_gone', mode => 'all') AS id \gset
ALTER ROLE regress_gone RENAME TO regress_gone2;
DROP ROLE regress_gone2;
SELECT target, held, lost_reason, restored, skipped FROM thaw(:id);
SELECT kind, names, outcome FROM freeze_changes WHERE id = :id;
CREATE DATABASE regress_gone;
SELECT freeze_database('regress_gone', mode => 'all') AS id \gset
DROP DATABASE regress_gone;
SELECT target, held, lost_reason, restored, skipped FROM thaw(:id);
TABLE tools.register;

-- Several freezes of one thing, thawed in any order.
CALL tools.note();
SELECT freeze_role('regress_b', mode => 'all') AS one \gset
SELECT freeze_role('regress_b', mode => 'all') AS two \gset
SELECT freeze_cluster(mode => 'all') AS three \gset
SELECT id - :one AS nth, in_force, changed FROM freeze_status ORDER BY id;
SELECT tools.try($$SELECT * FROM thaw_role('regress_b')$$) LIMIT 1;
SELECT restored, skipped FROM thaw(:one);
SELECT restored, skipped FROM thaw(:three);
TABLE tools.logins;
SELECT bool_and(in_force) FROM freeze_status;
SELECT restored, skipped FROM thaw(:two);
TABLE tools.changed;
SELECT freeze_cluster(mode => 'all') AS one \gset
SELECT freeze_role('regress_b', mode => 'all') AS two \gset
SELECT restored, skipped FROM thaw(:one);
TABLE tools.logins;
SELECT restored, skipped FROM thaw(:two);
TABLE tools.changed;
-- from several databases; one that has a live freeze is not closed
\c regress_elsewhere
SET client_min_messages = warning;
CREATE EXTENSION pg_freeze;
SELECT freeze_role('regress_b', mode => 'all', strategy => 'disconnect') AS elsewhere \gset
\c :here
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dba;
SET pg_freeze.strategy = 'disconnect';
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
SELECT changed, in_force FROM freeze_status;
SELECT regexp_replace(tools.try($$SELECT freeze_database('regress_elsewhere', mode => 'all')$$), 'freeze \d+ of', 'freeze N of');
SELECT restored, skipped FROM thaw(:id);
SELECT rolcanlogin FROM pg_roles WHERE rolname = 'regress_b';
\c regress_elsewhere
SET client_min_messages = warning;
SELECT restored, skipped FROM thaw(:elsewhere);
DROP EXTENSION pg_freeze;
\c :here
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dba;
SET pg_freeze.strategy = 'disconnect';
TABLE tools.changed;
TABLE tools.register;

-- What is refused: who could thaw it would be locked out.
SELECT tools.try($$SELECT freeze_database(mode => 'all')$$);
SELECT tools.try($$SELECT * FROM freeze_check('database', mode => 'all')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_role('regress_dba', mode => 'all')$$);
SELECT replace(tools.try(format('SELECT freeze_role(%L, mode => $$all$$)', :'super')), :'super', 'SUPER');
GRANT EXECUTE ON FUNCTION freeze_role, freeze_database, freeze_cluster, freeze_check, stop_role, thaw, thaw_label TO regress_oncall;
-- as the current user of a superuser's session
CREATE FUNCTION tools.freeze_as_definer() RETURNS SETOF text SECURITY DEFINER LANGUAGE sql AS $$SELECT tools.try('SELECT freeze_role(''regress_dba2'', mode => ''all'')')$$;
CREATE ROLE regress_dba2 SUPERUSER LOGIN;
ALTER FUNCTION tools.freeze_as_definer OWNER TO regress_dba2;
SELECT tools.freeze_as_definer() OFFSET 1 LIMIT 1;
-- with another superuser that may log in it goes
SELECT freeze_role('regress_dba2', mode => 'all') AS id \gset
SELECT in_force, leaks FROM freeze_status;
SELECT count(*) FROM thaw(:id);
DROP FUNCTION tools.freeze_as_definer;
DROP ROLE regress_dba2;

-- What is refused: what it can't.
SELECT tools.try($$SELECT freeze_role('regress_app')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'write')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_database('regress_elsewhere')$$);
SELECT tools.try($$SELECT freeze_cluster()$$);
SELECT tools.try($$SELECT freeze_schema('public', mode => 'all')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all', action => 'wait')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all', in_flight => 'hold')$$);
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all', thaw_after => '-1 min')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_role('regress_app', mode => NULL)$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_role(NULL, mode => 'all')$$);
SELECT tools.try($$SELECT freeze_database(NULL, mode => 'all')$$);
SELECT tools.try($$SELECT freeze_role('regress_nologin', mode => 'all')$$);
SELECT item, detail FROM freeze_check('role', 'regress_nologin', mode => 'all') WHERE item = 'refused';
SET pg_freeze.on_leak = 'error';
SELECT tools.try($$SELECT freeze_role('regress_app', mode => 'all')$$);
RESET pg_freeze.on_leak;
SELECT freeze_role('regress_b', mode => 'all', action => 'reject', in_flight => 'drain', drain_timeout => '0', on_drain_timeout => 'cancel',
	attempts => 3, label => 'b', thaw_after => '1 h') AS id \gset
SELECT tools.try(format('SELECT freeze_alter(%s, %L)', :id, 'wait')) OFFSET 1;
SELECT tools.try(format('SELECT freeze_pass(%s)', :id)) OFFSET 1;
SELECT freeze_extend(:id, '0') IS NULL;
SELECT thaw_at FROM freeze_status;
SELECT count(*) FROM thaw_label('b');

-- One database only.
SET pg_freeze.disconnect_role = 'connect';
SELECT tools.try($$SELECT freeze_role('regress_b', mode => 'all')$$);
SELECT current_database() AS here \gset
REVOKE CONNECT ON DATABASE :"here" FROM PUBLIC;
SELECT tools.try($$SELECT freeze_role('regress_b', mode => 'all')$$);
GRANT CONNECT ON DATABASE :"here" TO regress_app;
SELECT tools.try($$SELECT freeze_role('regress_member', mode => 'all')$$);
GRANT CONNECT ON DATABASE :"here" TO regress_member WITH GRANT OPTION;
GRANT CONNECT, TEMP ON DATABASE :"here" TO regress_b;
SELECT tools.try($$SELECT freeze_role('regress_member', mode => 'all')$$) OFFSET 1 LIMIT 1;
SELECT replace(tools.try(format('SELECT freeze_role(%L, mode => $$all$$)', :'super')), :'super', 'SUPER') LIMIT 1;
CALL tools.note();
SELECT item, kind, object, detail FROM freeze_check('role', 'regress_b', mode => 'all');
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
SELECT has_database_privilege('regress_b', :'here', 'CONNECT'), has_database_privilege('regress_b', :'here', 'TEMP'),
	(SELECT rolcanlogin FROM pg_roles WHERE rolname = 'regress_b');
SELECT target, in_force, changed FROM freeze_status;
SELECT kind, names FROM freeze_changes WHERE id = :id;
SELECT only_here FROM freeze_journal WHERE id = :id;
SELECT held, restored, skipped FROM thaw(:id);
TABLE tools.changed;
-- an owner has what is granted to him; that he may grant it again is a leak of strategy revoke
REVOKE ALL ON DATABASE :"here" FROM regress_b;
SELECT pg_get_userbyid(datdba) = :'super' FROM pg_database WHERE datname = :'here';
ALTER DATABASE :"here" OWNER TO regress_b;
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
SELECT has_database_privilege('regress_b', :'here', 'CONNECT');
SELECT count(*) FROM thaw(:id);
SELECT has_database_privilege('regress_b', :'here', 'CONNECT');
ALTER DATABASE :"here" OWNER TO :"super";
-- a database or the cluster is not a role
SELECT freeze_database('regress_elsewhere', mode => 'all') AS id \gset
SELECT only_here FROM freeze_journal WHERE id = :id;
SELECT count(*) FROM thaw(:id);
RESET pg_freeze.disconnect_role;
GRANT CONNECT ON DATABASE :"here" TO PUBLIC;
REVOKE ALL ON DATABASE :"here" FROM regress_app, regress_b, regress_member;

-- A prepared transaction is a leak, and keeps nobody from being stopped.
SET SESSION AUTHORIZATION regress_b;
BEGIN;
SELECT lo_create(0) > 0;
PREPARE TRANSACTION 'regress_prepared';
SET SESSION AUTHORIZATION regress_dba;
SELECT item, kind, detail FROM freeze_check('role', 'regress_b', mode => 'all') WHERE item IN ('leak', 'blocker');
SELECT freeze_role('regress_b', mode => 'all') AS id \gset
ROLLBACK PREPARED 'regress_prepared';
SELECT held FROM thaw(:id);

-- Who may: the owner of another database, too, who doesn't freeze himself there.
ALTER ROLE regress_member NOINHERIT;
SET SESSION AUTHORIZATION regress_oncall;
SET pg_freeze.strategy = 'disconnect';
SELECT tools.try($$SELECT freeze_role('regress_dba', mode => 'all')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_role('regress_oncall', mode => 'all')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_cluster(mode => 'all')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_database('template1', mode => 'all')$$) LIMIT 1;
SELECT tools.try($$SELECT freeze_database(mode => 'all')$$) LIMIT 1;
SELECT tools.try($$SELECT stop_role('regress_dba', 'no')$$) LIMIT 1;
SELECT tools.try($$SELECT stop_role('regress_oncall', 'no')$$) LIMIT 1;
SELECT freeze_role('regress_b', mode => 'all') AS one \gset
SELECT freeze_database('regress_elsewhere', mode => 'all') AS two \gset
SELECT target, by, in_force FROM freeze_status ORDER BY id;
SELECT restored FROM thaw(:one);
SELECT restored FROM thaw(:two);
SET SESSION AUTHORIZATION regress_member;
SELECT tools.try($$SELECT stop_role('regress_b', 'no')$$);
SET SESSION AUTHORIZATION regress_dba;
SELECT proname FROM pg_proc WHERE proname = 'stop_role' AND has_function_privilege('public', oid, 'EXECUTE');

-- stop_role
CALL tools.note();
SELECT stop_role('regress_app', 'misbehaves') AS id \gset
SELECT target, mode, strategy, state, in_force, thaw_at, reason, tools.mask(label), why, leaks FROM freeze_status;
SELECT id = :id FROM freeze_status;
SELECT on_drain_timeout, drain_timeout, only_here FROM freeze_journal WHERE id = :id;
TABLE tools.logins;
SELECT label FROM freeze_status \gset
SELECT target, held, restored, skipped FROM thaw_label(:'label');
TABLE tools.changed;
-- twice, and with the other settings
SET pg_freeze.disconnect_role = 'connect';
SET pg_freeze.on_leak = 'error';
SET pg_freeze.thaw_after = '1h';
SELECT stop_role('regress_app', NULL) AS one \gset
SELECT stop_role('regress_app', '') AS two \gset
SELECT strategy, thaw_at, reason, in_force FROM freeze_status;
RESET pg_freeze.disconnect_role;
RESET pg_freeze.on_leak;
RESET pg_freeze.thaw_after;
SELECT restored FROM thaw(:one);
SELECT rolcanlogin FROM pg_roles WHERE rolname = 'regress_app';
SELECT restored FROM thaw(:two);
TABLE tools.changed;
TABLE tools.register;
SELECT tools.try($$SELECT stop_role(NULL, 'x')$$);
SELECT tools.try($$SELECT stop_role('regress_missing', 'x')$$);
SELECT tools.try($$SELECT stop_role('regress_dba', 'x')$$) LIMIT 1;
SELECT tools.try($$SELECT stop_role('regress_nologin', 'x')$$);
SELECT replace(tools.try(format('SELECT stop_role(%L, $$x$$)', :'super')), :'super', 'SUPER') OFFSET 1 LIMIT 1;
BEGIN;
CREATE TABLE public.x (a int);
SELECT tools.try($$SELECT stop_role('regress_app', 'x')$$) LIMIT 1;
ROLLBACK;
SELECT count(*) FROM freeze_status;

\pset format aligned
\pset tuples_only off
DROP DATABASE regress_elsewhere;
\i :abs_srcdir/sql/clean.psql
DROP OWNED BY regress_oncall;
DROP ROLE regress_app, regress_member, regress_b, regress_streamer, regress_nologin, regress_oncall, regress_dba;
