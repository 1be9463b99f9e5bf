-- The life of a freeze through SQL: role, schema, database; modes; lists.
\getenv abs_srcdir PG_ABS_SRCDIR
\set ECHO none
\i :abs_srcdir/sql/common.psql
CREATE ROLE regress_app;
CREATE ROLE regress_reader;
CREATE SCHEMA app AUTHORIZATION regress_app;
CREATE TABLE public.shared (a int, b int);
GRANT SELECT, INSERT ON public.shared TO regress_app WITH GRANT OPTION;
GRANT UPDATE (b) ON public.shared TO regress_app;
SET SESSION AUTHORIZATION regress_app;
CREATE TABLE app.owned (a int PRIMARY KEY, b text);
CREATE SEQUENCE app.numbers;
CREATE TABLE app.granted (a int);
GRANT SELECT ON app.granted TO regress_reader;
INSERT INTO app.owned VALUES (1, 'one');
SET SESSION AUTHORIZATION regress_dba;
CALL tools.keep();

-- What would happen; nothing happens.  MAINTAIN is there from 17 on.
SELECT item, kind, object, replace(detail, ', MAINTAIN', '') AS detail
FROM freeze_check('role', 'regress_app') ORDER BY item, kind, object;
SELECT object, (detail ~ 'MAINTAIN') = (current_setting('server_version_num')::int >= 170000) AS right_for_version
FROM freeze_check('role', 'regress_app') WHERE object = 'table app.owned';
SELECT * FROM tools.differences();

-- A role, mode write; the NOTICE says how, until when and what leaks.
SET client_min_messages = notice;
SELECT freeze_role('regress_app', reason => 'test');
SET client_min_messages = warning;
SELECT tools.acl_of('app.owned'), tools.acl_of('app.granted'), tools.acl_of('app.numbers'), tools.acl_of('public.shared'),
	(SELECT tools.acl(attacl) FROM pg_attribute WHERE attrelid = 'public.shared'::regclass AND attname = 'b');
SELECT id, target, mode, strategy, state, in_force, thaw_at IS NULL AS no_deadline, by, session_user_name, reason, label,
	to_thaw, changed, cancelled, terminated, waiters, leaks, also_stops, why, came_back, thaw_failures, retry_at, last_error,
	frozen_lsn IS NOT NULL AS lsn, home = current_database() AS here, remark, pid = pg_backend_pid() AS me
FROM freeze_status \gx
SELECT id, kind, names, args, before IS NULL AS was_default, outcome FROM freeze_changes;
SELECT * FROM freeze_blockers;

SET SESSION AUTHORIZATION regress_app;
SELECT * FROM app.owned;
SELECT * FROM public.shared;
INSERT INTO app.owned VALUES (2, 'two');
UPDATE public.shared SET b = 1;
SELECT nextval('app.numbers');
CREATE TABLE app.another (a int);
DELETE FROM app.owned;
TRUNCATE app.owned;
SET SESSION AUTHORIZATION regress_reader;
SELECT * FROM app.granted;
SET SESSION AUTHORIZATION regress_dba;

SELECT id, target, strategy, held, lost_reason, tools.mask(evidence) AS evidence, frozen_at < thawed_at AS times,
	frozen_lsn < thawed_lsn AS lsns, restored, skipped FROM thaw_role('regress_app');
SELECT * FROM tools.differences();
SELECT id, target, mode, strategy, state, held, lost_reason, requested_at < frozen_at AND frozen_at < ended_at AS times,
	thawed_at <= ended_at AS thawed, end_reason, by, session_user_name, reason, label, changed, restored, skipped,
	cancelled, terminated, why, pid = pg_backend_pid() AS me
FROM freeze_history \gx
SELECT count(*) FROM freeze_changes;
SET SESSION AUTHORIZATION regress_app;
INSERT INTO app.owned VALUES (nextval('app.numbers') + 1, 'two') RETURNING *;
SET SESSION AUTHORIZATION regress_dba;

-- Mode all: reading stops too.
SELECT freeze_role('regress_app', mode => 'all', label => 'job 1');
SELECT id, mode, label, in_force FROM freeze_status;
SET SESSION AUTHORIZATION regress_app;
SELECT * FROM app.owned;
SELECT * FROM public.shared;
SET SESSION AUTHORIZATION regress_reader;
SELECT * FROM app.granted;
SET SESSION AUTHORIZATION regress_dba;
SELECT id, target, restored, skipped FROM thaw_label('job 1');
SELECT * FROM tools.differences();

-- A schema and the database stop everybody who is no superuser.
SELECT freeze_schema('app');
SELECT id, target, mode, in_force, regexp_replace(leaks, 'superusers pass: .*', 'superusers pass: ...') AS leaks, also_stops FROM freeze_status;
SELECT tools.acl_of('app.owned'), tools.acl_of('public.shared');
SELECT id, target, restored, skipped FROM thaw_schema('app');
SELECT * FROM tools.differences();
SELECT freeze_database();
SELECT target = 'database ' || quote_ident(current_database()) AS target, mode, in_force, changed > 5 AS changed FROM freeze_status;
SELECT tools.acl_of('app.owned'), tools.acl_of('public.shared');
SELECT id, restored > 5 AS restored, skipped FROM thaw_database();
SELECT * FROM tools.differences();
SELECT freeze_database(current_database(), 'all');
SELECT tools.acl_of('app.granted'), tools.acl_of('public.shared');
SELECT id, restored > 5 AS restored, skipped FROM thaw_database(current_database());
SELECT * FROM tools.differences();

-- Deadlines: argument, setting, extended, removed.
SELECT freeze_role('regress_app', thaw_after => '1 hour');
SELECT thaw_at - since BETWEEN '59 minutes' AND '61 minutes' AS in_an_hour FROM freeze_status;
SELECT freeze_extend(6, '2 hours') - now() BETWEEN '119 minutes' AND '121 minutes' AS in_two_hours;
SELECT thaw_at - now() BETWEEN '119 minutes' AND '121 minutes' AS in_two_hours FROM freeze_status;
SELECT freeze_extend(6, '0');
SELECT thaw_at FROM freeze_status;
SELECT id, restored, skipped FROM thaw(6);
SET pg_freeze.thaw_after = '10min';
SELECT freeze_role('regress_app');
SELECT thaw_at - since BETWEEN '9 minutes' AND '11 minutes' AS in_ten_minutes FROM freeze_status;
RESET pg_freeze.thaw_after;

-- Several live freezes of one target: the last thaw opens it.
SELECT freeze_role('regress_app', label => 'snapshot');
SELECT freeze_role('regress_app', label => 'snapshot', mode => 'all');
SELECT id, label, mode, in_force, changed FROM freeze_status;
SELECT tools.try('SELECT * FROM thaw_role(''regress_app'')');
SELECT id, restored, skipped FROM thaw(7);
SET client_min_messages = notice;
SELECT id, restored, skipped FROM thaw(8);
SET client_min_messages = warning;
SELECT tools.acl_of('app.owned'), tools.acl_of('public.shared');
SELECT id, target, skipped FROM thaw_role('regress_app', force => true);
SELECT * FROM tools.differences();

-- By label all of that label; all, and all of nothing.
SELECT freeze_role('regress_app', label => 'snapshot');
SELECT freeze_schema('public', label => 'snapshot');
SELECT freeze_schema('app', label => 'other');
SELECT id, target, skipped FROM thaw_label('snapshot');
SELECT id, target, label FROM freeze_status;
SELECT freeze_role('regress_reader', mode => 'all');
SELECT id, target, skipped FROM thaw_all();
SELECT * FROM thaw_all();
SELECT * FROM tools.differences();

-- The verdict: what came back meanwhile makes it false; require_held fails, but thaws.
SELECT freeze_role('regress_app');
SET SESSION AUTHORIZATION regress_app;
GRANT INSERT ON app.owned TO regress_app;
SET SESSION AUTHORIZATION regress_dba;
SELECT in_force, tools.mask(came_back) AS came_back FROM freeze_status;
SELECT id, held, tools.mask(lost_reason) AS lost_reason FROM thaw_role('regress_app');
SELECT freeze_role('regress_app');
SELECT tools.try('SELECT * FROM thaw_role(''regress_app'', require_held => true)');
SELECT * FROM freeze_status;
-- Nothing leaks: held is true.
SELECT freeze_role('regress_reader', mode => 'all');
SELECT held, lost_reason, regexp_replace(tools.mask(evidence), '; leaks.*', '') AS evidence FROM thaw_role('regress_reader');
CREATE ROLE regress_grantee;
GRANT INSERT ON public.shared TO regress_grantee;
SET client_min_messages = notice;
SELECT freeze_role('regress_grantee');
SET client_min_messages = warning;
SELECT held, lost_reason, tools.mask(evidence) AS evidence FROM thaw_role('regress_grantee', require_held => true);

-- Ids are never used again, and history is in their order.
SELECT id, target, state, held, label FROM freeze_history WHERE target NOT LIKE 'database%';

DROP SCHEMA app CASCADE;
DROP TABLE public.shared;
\i :abs_srcdir/sql/clean.psql
DROP ROLE regress_app, regress_reader, regress_grantee, regress_dba;
