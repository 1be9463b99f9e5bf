/*-------------------------------------------------------------------------
 *
 * leak.c
 *	  Ways around a freeze, and who else it stops.
 *
 * Everything here is a question to the catalogs, asked before the freeze does
 * anything: each query answers with no row, or with lines of (ordinary, text).
 * They are set-based, start from pg_shdepend where they can, and use only
 * functions that answer false or NULL for what is gone meanwhile, so that an
 * odd catalog leaves a line out and raises nothing.
 *
 * Runs in a backend (freeze_check) or a worker, in the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "journal.h"
#include "leak.h"
#include "membership.h"
#include "miscadmin.h"
#include "objects.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "wanted.h"

/* ---- pieces of SQL ---------------------------------------------------- */

#define HERE "(SELECT oid FROM pg_database WHERE datname = current_database())"

/* Three names and how many more there are, from rows of "name". */
#define NAMES \
	"array_to_string((array_agg(name ORDER BY name))[1:3], ', ')" \
	" || CASE WHEN count(*) > 3 THEN ' and ' || count(*) - 3 || ' more' ELSE '' END"

#define COUNTED(n, noun) n " || ' " noun "' || CASE WHEN " n " = 1 THEN '' ELSE 's' END"

/* The ACL that a row of pg_shdepend is about. */
#define ACL_OF(d) \
	"CASE " d ".classid" \
	" WHEN 'pg_class'::regclass THEN CASE " d ".objsubid" \
	" WHEN 0 THEN (SELECT relacl FROM pg_class WHERE oid = " d ".objid)" \
	" ELSE (SELECT attacl FROM pg_attribute WHERE attrelid = " d ".objid AND attnum = " d ".objsubid) END" \
	" WHEN 'pg_namespace'::regclass THEN (SELECT nspacl FROM pg_namespace WHERE oid = " d ".objid)" \
	" WHEN 'pg_largeobject'::regclass THEN (SELECT lomacl FROM pg_largeobject_metadata WHERE oid = " d ".objid)" \
	" WHEN 'pg_default_acl'::regclass THEN (SELECT defaclacl FROM pg_default_acl WHERE oid = " d ".objid)" \
	" END"

/* Privileges that change rows, and those that mode "write" takes besides. */
#define CHANGES_ROWS(a) a ".privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')"
#define WRITES(a) \
	a ".privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN', 'CREATE')"

/* A privilege in the ACL of a row of pg_shdepend; USAGE writes on sequences. */
#define WRITES_ON(a, d) \
	"(" WRITES(a) " OR " a ".privilege_type = 'USAGE' AND (" d ".classid = 'pg_class'::regclass" \
	" OR " d ".classid = 'pg_default_acl'::regclass" \
	" AND (SELECT defaclobjtype FROM pg_default_acl WHERE oid = " d ".objid) = 'S'))"

/*
 * Whether a role owns, or may write to, relations, schemas or large objects.
 * OFFSET 0 keeps the planner from answering it for all roles beforehand.
 */
#define CAN_WRITE(role) \
	"EXISTS (SELECT FROM pg_shdepend d" \
	" WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = " role " AND d.dbid = " HERE \
	" AND d.classid IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_largeobject'::regclass)" \
	" AND (d.deptype = 'o' OR d.deptype = 'a' AND EXISTS (SELECT FROM aclexplode(" ACL_OF("d") ") a" \
	" WHERE a.grantee = " role " AND " WRITES_ON("a", "d") ")) OFFSET 0)"

/* What the target may act as by way of the memberships that stay, $5. */
#define REACHED \
	"SELECT r.oid, r.rolname, r.rolsuper FROM pg_roles r" \
	" WHERE EXISTS (SELECT FROM pg_roles g WHERE g.oid = ANY ($5) AND " PF_SQL_MAY_ACT_AS("$1", "g.oid") \
	" AND (r.oid = g.oid OR NOT g.rolsuper AND " PF_SQL_MAY_ACT_AS("g.oid", "r.oid") "))"

/* Predefined roles that write. */
#define PREDEFINED \
	"(VALUES ('pg_write_all_data', true, 'writes to every table and sequence')," \
	" ('pg_maintain', false, 'runs VACUUM, ANALYZE, CLUSTER, REINDEX and REFRESH on everything')," \
	" ('pg_execute_server_program', false, 'runs programs on the server')," \
	" ('pg_write_server_files', false, 'writes files on the server')," \
	" ('pg_create_subscription', false, 'creates subscriptions')) AS p (rolname, ordinary, does)"

/* Whether somebody else than $1 has one of some privileges on a relation. */
#define OTHERS(rel, condition) \
	"(EXISTS (SELECT FROM aclexplode(coalesce(" rel ".relacl, acldefault('r', " rel ".relowner))) a" \
	" WHERE a.grantee <> $1 AND " condition ")" \
	" OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) a" \
	" WHERE t.attrelid = " rel ".oid AND a.grantee <> $1 AND " condition "))"

/* ---- the questions ---------------------------------------------------- */

/*
 * One question.  $1 is the target, $2 whether the mode is "all"; $3 and $4 are
 * oid[] of the relations that have, or whose columns have, an ACL with PUBLIC
 * in it, where it asks for them.  For revoke $5 is an oid[] of the roles whose
 * memberships a role target keeps, for lock $5 and $6 are the relations and
 * schemas to lock.
 */
typedef struct Question
{
	const char *code;
	const char *sql;
} Question;

static const char is_superuser_sql[] =
"SELECT true, 'is a superuser: no privilege stops it'"
" FROM pg_roles WHERE oid = $1 AND rolsuper";

static const char other_databases_sql[] =
"WITH there AS ("
"	SELECT CASE WHEN dbid <> 0 THEN dbid WHEN classid = 'pg_database'::regclass THEN objid END AS oid FROM pg_shdepend"
"	WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1"
"	UNION SELECT datid FROM pg_stat_activity WHERE usesysid = $1),"
" named AS ("
"	SELECT quote_ident(datname) AS name FROM there JOIN pg_database USING (oid) WHERE datname <> current_database())"
" SELECT false, 'has objects, privileges or sessions in other databases, which are not frozen: ' || " NAMES
" FROM named HAVING count(*) > 0";

static const char public_sql[] =
"WITH object AS ("
"	SELECT CASE c.relkind WHEN 'S' THEN 2 ELSE 1 END AS kind, c.oid::regclass::text AS name,"
"		bool_or(" CHANGES_ROWS("a") " OR a.privilege_type = 'USAGE') AS ordinary"
"	FROM pg_class c, aclexplode(c.relacl) a"
"	WHERE c.oid = ANY ($3) AND a.grantee = 0 AND c.relpersistence <> 't'"
"		AND ($2 OR " WRITES("a") " OR a.privilege_type = 'USAGE')"
"		AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace, 'information_schema'::regnamespace)"
"		AND c.oid NOT IN (SELECT e.objid FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid"
"			WHERE e.classid = 'pg_class'::regclass AND e.refclassid = 'pg_extension'::regclass"
"				AND e.deptype = 'e' AND x.extname = '" PF_NAME "')"
"	GROUP BY c.oid, c.relkind"
"	UNION ALL"
"	SELECT 3, c.oid::regclass || '.' || quote_ident(t.attname), bool_or(" CHANGES_ROWS("a") ")"
"	FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a"
"	WHERE t.attrelid = ANY ($4) AND a.grantee = 0 AND c.relpersistence <> 't'"
"		AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
"		AND ($2 OR " WRITES("a") ")"
"	GROUP BY c.oid, t.attname"
"	UNION ALL"
"	SELECT 4, n.oid::regnamespace::text, false"
"	FROM pg_namespace n, aclexplode(n.nspacl) a"
"	WHERE a.grantee = 0 AND ($2 OR a.privilege_type = 'CREATE')"
"		AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
"	GROUP BY n.oid"
"	UNION ALL"
"	SELECT 5, string_agg(a.privilege_type, ' and ') || ' on ' || quote_ident(d.datname), false"
"	FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
"	WHERE d.datname = current_database() AND a.grantee = 0 AND ($2 OR a.privilege_type = 'CREATE')"
"	GROUP BY d.datname"
"	UNION ALL"
"	SELECT 6, 'large object ' || m.oid, bool_or(a.privilege_type = 'UPDATE')"
"	FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a"
"	WHERE a.grantee = 0 AND ($2 OR a.privilege_type = 'UPDATE')"
"	GROUP BY m.oid"
"	UNION ALL"
"	SELECT 7, p.oid::regprocedure::text, false"
"	FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
"	WHERE $2 AND a.grantee = 0 AND a.privilege_type = 'EXECUTE'"
"		AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)),"
" counted AS ("
"	SELECT kind, count(*) AS n, bool_or(ordinary) AS ordinary,"
"		(array_agg(name ORDER BY ordinary DESC, name))[1:3] AS names"
"	FROM object GROUP BY kind)"
" SELECT bool_or(ordinary),"
"	CASE WHEN $2 THEN 'PUBLIC keeps privileges on ' ELSE 'PUBLIC keeps write privileges on ' END"
"	|| string_agg(n || ' ' || (ARRAY['relation', 'sequence', 'column', 'schema', 'database', 'large object', 'function'])[kind]"
"		|| CASE WHEN n = 1 THEN '' ELSE 's' END, ', ' ORDER BY kind)"
"	|| ': ' || array_to_string((SELECT (array_agg(name ORDER BY c.ordinary DESC, c.kind))[1:3]"
"		FROM counted c, unnest(c.names) AS name), ', ')"
"	|| CASE WHEN sum(n) > 3 THEN ', ...' ELSE '' END"
" FROM counted HAVING count(*) > 0";

static const char member_sql[] =
"WITH reached AS MATERIALIZED (" REACHED "),"
" named AS ("
"	SELECT quote_ident(rolname) || CASE WHEN rolsuper THEN ' (superuser)' ELSE '' END AS name"
"	FROM reached WHERE oid >= 16384 AND (rolsuper OR " CAN_WRITE("reached.oid") "))"
" SELECT true, 'may act as ' || " NAMES " || ', with write privileges that stay'"
" FROM named HAVING count(*) > 0"
" UNION ALL"
" SELECT false, 'may grant itself ' || " NAMES
" FROM (SELECT quote_ident(g.rolname) AS name FROM pg_roles g"
"	WHERE g.oid = ANY ($5) AND NOT " PF_SQL_MAY_ACT_AS("$1", "g.oid")
"		AND EXISTS (SELECT FROM pg_auth_members m WHERE m.member = $1 AND m.roleid = g.oid AND m.admin_option)) s"
" HAVING count(*) > 0";

static const char predefined_sql[] =
"WITH reached AS (" REACHED ")"
" SELECT p.ordinary, 'is a member of ' || p.rolname || ', which ' || p.does"
" FROM reached JOIN " PREDEFINED " USING (rolname)"
" UNION ALL"
" SELECT false, 'owns the database and keeps, as pg_database_owner, CREATE on ' || " NAMES
" FROM (SELECT 'schema ' || quote_ident(n.nspname) AS name"
"	FROM pg_namespace n JOIN pg_roles o ON o.rolname = 'pg_database_owner'"
"	WHERE EXISTS (SELECT FROM pg_database d WHERE d.datname = current_database()"
"			AND (d.datdba = $1 OR d.datdba IN (SELECT oid FROM reached)))"
"		AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a"
"			WHERE a.grantee = o.oid AND a.privilege_type = 'CREATE')) s"
" HAVING count(*) > 0";

static const char attributes_sql[] =
"SELECT false, concat_ws('; ',"
"	CASE WHEN rolcreaterole THEN 'has CREATEROLE and may grant itself roles' END,"
"	CASE WHEN rolcreatedb THEN 'has CREATEDB and may create databases' END)"
" FROM pg_roles WHERE oid = $1 AND (rolcreaterole OR rolcreatedb)";

static const char owner_sql[] =
"SELECT false, 'owns ' || " COUNTED("count(*)", "object")
"	|| ' here: may grant itself back what was taken, and run DDL'"
" FROM pg_shdepend"
" WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'o'"
"	AND (dbid = " HERE " OR classid = 'pg_database'::regclass AND objid = " HERE ")"
" HAVING count(*) > 0";

static const char definer_sql[] =
"WITH reached AS MATERIALIZED (" REACHED "),"
" function AS MATERIALIZED ("
"	SELECT p.oid, p.proowner FROM pg_proc p"
"	WHERE p.prosecdef AND p.proowner <> $1 AND p.pronamespace <> 'pg_catalog'::regnamespace"
"		AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)"
"		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
"			WHERE a.privilege_type = 'EXECUTE'"
"				AND (a.grantee = 0 OR a.grantee = $1 AND NOT $2 OR a.grantee IN (SELECT oid FROM reached)))),"
" writer AS MATERIALIZED ("
"	SELECT o.oid FROM pg_roles o"
"	WHERE o.oid IN (SELECT proowner FROM function)"
"		AND (o.rolsuper OR EXISTS (SELECT FROM pg_roles r"
"			WHERE r.oid <> $1 AND pg_has_role(o.oid, r.oid, 'USAGE')"
"				AND (r.rolname = 'pg_write_all_data' OR " CAN_WRITE("r.oid") "))))"
" SELECT false, 'may execute ' || " COUNTED("count(*)", "SECURITY DEFINER function")
"	|| ' whose owner can write: ' || " NAMES
" FROM (SELECT oid::regprocedure::text AS name FROM function WHERE proowner IN (SELECT oid FROM writer)) s"
" HAVING count(*) > 0";

static const char large_object_sql[] =
"SELECT false, 'a transaction that opened a large object for writing before the freeze can go on writing to it'"
" WHERE EXISTS (SELECT FROM pg_stat_activity s"
"		WHERE s.usesysid = $1 AND s.datname = current_database() AND s.xact_start IS NOT NULL"
"			AND s.backend_type = 'client backend' AND s.pid <> pg_backend_pid())"
"	AND EXISTS (SELECT FROM pg_shdepend d"
"		WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = $1"
"			AND d.classid = 'pg_largeobject'::regclass AND d.dbid = " HERE ")";

static const char any_large_object_sql[] =
"SELECT false, 'a transaction that opened a large object for writing before the freeze can go on writing to it'"
" WHERE EXISTS (SELECT FROM pg_largeobject_metadata)"
"	AND EXISTS (SELECT FROM pg_stat_activity s JOIN pg_roles r ON r.oid = s.usesysid"
"		WHERE NOT r.rolsuper AND s.datname = current_database() AND s.xact_start IS NOT NULL"
"			AND s.backend_type = 'client backend' AND s.pid <> pg_backend_pid())";

static const Question role_leaks[] = {
	{"public", public_sql},
	{"member", member_sql},
	{"predefined", predefined_sql},
	{"attributes", attributes_sql},
	{"owner", owner_sql},
	{"definer", definer_sql},
	{"large_object", large_object_sql},
	{"other_databases", other_databases_sql},
	{NULL, NULL}
};

/* A superuser needs nothing of the rest. */
static const Question superuser_leaks[] = {
	{"superuser", is_superuser_sql},
	{"other_databases", other_databases_sql},
	{NULL, NULL}
};

static const char superusers_sql[] =
"SELECT false, 'superusers pass: ' || " NAMES
" FROM (SELECT quote_ident(rolname) AS name FROM pg_roles WHERE rolsuper) s";

/* pg_database_owner stands for whoever owns the database. */
#define OWNERS_LEFT(owners) \
	"WITH owner AS (" owners ")," \
	" named AS (" \
	"	SELECT quote_ident(r.rolname) AS name FROM pg_roles r" \
	"	WHERE NOT r.rolsuper AND EXISTS (SELECT FROM owner o JOIN pg_roles w ON w.oid = o.oid" \
	"		WHERE r.oid = CASE w.rolname WHEN 'pg_database_owner'" \
	"			THEN (SELECT datdba FROM pg_database WHERE datname = current_database()) ELSE w.oid END))" \
	" SELECT false, 'owners may grant themselves back what was taken, and run DDL: ' || " NAMES \
	" FROM named HAVING count(*) > 0"

static const char schema_owner_sql[] = OWNERS_LEFT(
"SELECT nspowner AS oid FROM pg_namespace WHERE oid = $1"
" UNION SELECT relowner FROM pg_class WHERE relnamespace = $1"
" UNION SELECT proowner FROM pg_proc WHERE pronamespace = $1");

static const char database_owner_sql[] = OWNERS_LEFT(
"SELECT datdba AS oid FROM pg_database WHERE datname = current_database()"
" UNION SELECT refobjid FROM pg_shdepend"
" WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND dbid = " HERE);

static const char predefined_members_sql[] =
"SELECT p.ordinary, 'members of ' || p.rolname || ', which ' || p.does || ': ' || " NAMES
" FROM (SELECT p.*, quote_ident(r.rolname) AS name"
"	FROM " PREDEFINED " JOIN pg_roles o USING (rolname)"
"		JOIN pg_roles r ON r.oid >= 16384 AND NOT r.rolsuper AND " PF_SQL_MAY_ACT_AS("r.oid", "o.oid") ") p"
" GROUP BY p.rolname, p.ordinary, p.does";

/* Functions of superusers; mode "all" takes EXECUTE on those inside the target. */
static const char superuser_definer_sql[] =
"SELECT false, " COUNTED("count(*)", "SECURITY DEFINER function") " || ' of superusers: ' || " NAMES
" FROM (SELECT p.oid::regprocedure::text AS name"
"	FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner"
"	WHERE p.prosecdef AND o.rolsuper AND p.pronamespace <> 'pg_catalog'::regnamespace"
"		AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)"
"		AND NOT ($2 AND $1 IN (p.pronamespace, " HERE "))"
"		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
"			LEFT JOIN pg_roles g ON g.oid = a.grantee"
"			WHERE a.privilege_type = 'EXECUTE' AND g.rolsuper IS NOT TRUE)) s"
" HAVING count(*) > 0";

static const Question schema_leaks[] = {
	{"superuser", superusers_sql},
	{"owner", schema_owner_sql},
	{"predefined", predefined_members_sql},
	{"definer", superuser_definer_sql},
	{NULL, NULL}
};

static const Question database_leaks[] = {
	{"superuser", superusers_sql},
	{"owner", database_owner_sql},
	{"predefined", predefined_members_sql},
	{"definer", superuser_definer_sql},
	{"large_object", any_large_object_sql},
	{NULL, NULL}
};

/*
 * A foreign key is checked with the rights of a table's owner: the referenced
 * table's when rows of the referencing one are written, the referencing
 * table's when rows of the referenced one are changed or deleted, even
 * without an action, for either is locked FOR KEY SHARE, which needs UPDATE.
 */
static const char stops_foreign_key_sql[] =
"SELECT false, " COUNTED("count(*)", "foreign key")
"	|| ' that the role''s tables are part of: checks run as the table''s owner and fail for other writers: ' || " NAMES
" FROM (SELECT quote_ident(k.conname) || ' on ' || k.conrelid::regclass AS name"
"	FROM pg_constraint k JOIN pg_class f ON f.oid = k.conrelid JOIN pg_class p ON p.oid = k.confrelid"
"	WHERE k.contype = 'f'"
"		AND (p.relowner = $1 AND " OTHERS("f", "a.privilege_type IN ('INSERT', 'UPDATE')")
"			OR f.relowner = $1 AND " OTHERS("p", "a.privilege_type IN ('UPDATE', 'DELETE')") ")) s"
" HAVING count(*) > 0";

/* Views read and write as their owner, and so do the rules of a table. */
static const char stops_view_sql[] =
"SELECT false, " COUNTED("count(*)", "view")
"	|| ' of the role, with its rights, that others ' || CASE WHEN $2 THEN 'use: ' ELSE 'write to: ' END || " NAMES
" FROM (SELECT c.oid::regclass::text AS name FROM pg_class c"
"	WHERE c.relowner = $1"
"		AND CASE WHEN c.relkind = 'v' THEN NOT coalesce((SELECT o.option_value::boolean"
"				FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'security_invoker'), false)"
"			ELSE c.relkind IN ('r', 'p') AND c.relhasrules END"
"		AND " OTHERS("c", "($2 OR a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE'))") ") s"
" HAVING count(*) > 0";

static const char stops_definer_sql[] =
"SELECT false, " COUNTED("count(*)", "SECURITY DEFINER function")
"	|| ' of the role, with its rights, that others may execute: ' || " NAMES
" FROM (SELECT p.oid::regprocedure::text AS name FROM pg_proc p"
"	WHERE p.prosecdef AND p.proowner = $1"
"		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
"			WHERE a.grantee <> $1 AND a.privilege_type = 'EXECUTE')) s"
" HAVING count(*) > 0";

static const char stops_member_sql[] =
"SELECT false, 'roles that act as the frozen one lose the same: ' || " NAMES
" FROM (SELECT quote_ident(r.rolname) AS name FROM pg_roles r"
"	WHERE r.oid <> $1 AND NOT r.rolsuper AND " PF_SQL_MAY_ACT_AS("r.oid", "$1") ") s"
" HAVING count(*) > 0";

static const char stops_everybody_sql[] =
"SELECT false, 'every role that is no superuser'";

static const Question role_stops[] = {
	{"foreign_key", stops_foreign_key_sql},
	{"view", stops_view_sql},
	{"definer", stops_definer_sql},
	{"member", stops_member_sql},
	{NULL, NULL}
};

static const Question other_stops[] = {
	{"everybody", stops_everybody_sql},
	{NULL, NULL}
};

/* ---- the strategy "lock" ---------------------------------------------- */

/* What the target may make its own; a superuser may already act as all. */
static const char admin_sql[] =
"SELECT false, 'may grant itself ' || " NAMES
" FROM (SELECT quote_ident(g.rolname) AS name FROM pg_roles g"
"	WHERE NOT " PF_SQL_MAY_ACT_AS("$1", "g.oid")
"		AND EXISTS (SELECT FROM pg_auth_members m WHERE m.member = $1 AND m.roleid = g.oid AND m.admin_option)) s"
" HAVING count(*) > 0";

/* Those that write to relations have every relation locked. */
static const char lock_predefined_sql[] =
"SELECT false, 'is a member of ' || p.rolname || ', which ' || p.does"
" FROM pg_roles r JOIN " PREDEFINED " USING (rolname)"
" WHERE p.rolname NOT IN ('pg_write_all_data', 'pg_maintain') AND " PF_SQL_MAY_ACT_AS("$1", "r.oid");

/* Whether a role owns or may write to something that is not locked, or create where that is not. */
#define WRITES_ELSEWHERE(role) \
	"EXISTS (SELECT FROM pg_shdepend d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid" \
	" WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = " role " AND d.dbid = " HERE \
	" AND CASE d.classid WHEN 'pg_class'::regclass THEN d.objid <> ALL ($5) AND c.relpersistence <> 't'" \
	" WHEN 'pg_namespace'::regclass THEN d.objid <> ALL ($6)" \
	" ELSE d.classid = 'pg_largeobject'::regclass END" \
	" AND (d.deptype = 'o' OR d.deptype = 'a' AND EXISTS (SELECT FROM aclexplode(" ACL_OF("d") ") a" \
	" WHERE a.grantee = " role " AND " WRITES_ON("a", "d") ")) OFFSET 0)"

static const char lock_definer_sql[] =
"WITH function AS MATERIALIZED ("
"	SELECT p.oid, p.proowner FROM pg_proc p"
"	WHERE p.prosecdef AND p.proowner <> $1 AND p.pronamespace <> 'pg_catalog'::regnamespace"
"		AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)"
"		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
"			WHERE a.privilege_type = 'EXECUTE'"
"				AND (a.grantee = 0 OR " PF_SQL_MAY_ACT_AS("$1", "a.grantee") "))),"
" writer AS MATERIALIZED ("
"	SELECT o.oid FROM pg_roles o"
"	WHERE o.oid IN (SELECT proowner FROM function)"
"		AND (o.rolsuper OR EXISTS (SELECT FROM pg_roles r"
"			WHERE pg_has_role(o.oid, r.oid, 'USAGE')"
"				AND (r.rolname = 'pg_write_all_data' OR " WRITES_ELSEWHERE("r.oid") "))))"
" SELECT false, 'may execute ' || " COUNTED("count(*)", "SECURITY DEFINER function")
"	|| ' whose owner can write to what is not locked: ' || " NAMES
" FROM (SELECT oid::regprocedure::text AS name FROM function WHERE proowner IN (SELECT oid FROM writer)) s"
" HAVING count(*) > 0";

/* Whether it is worth the while to ask that: the relations to lock take longer to find. */
static const char any_definer_sql[] =
"SELECT false, '' FROM pg_proc p WHERE p.prosecdef AND p.pronamespace <> 'pg_catalog'::regnamespace LIMIT 1";

static const char lock_large_object_sql[] =
"SELECT false, 'may write to large objects that are there: no lock stops that'"
" WHERE EXISTS (SELECT FROM (SELECT DISTINCT lomowner, lomacl FROM pg_largeobject_metadata) m"
"	WHERE coalesce(current_setting('lo_compat_privileges', true)::boolean, false)"
"		OR " PF_SQL_MAY_ACT_AS("$1", "m.lomowner")
"		OR EXISTS (SELECT FROM aclexplode(m.lomacl) a"
"			WHERE a.privilege_type = 'UPDATE' AND (a.grantee = 0 OR " PF_SQL_MAY_ACT_AS("$1", "a.grantee") ")))";

/* Mode "all" locks what can be written to; what can only be read is somebody else's. */
static const char lock_reads_sql[] =
"SELECT false, 'may read ' || " COUNTED("count(*)", "relation") " || ' that it cannot write to, which stay open: ' || " NAMES
" FROM (SELECT c.oid::regclass::text AS name FROM pg_class c"
"	WHERE $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'"
"		AND c.oid >= 16384 AND c.oid <> ALL ($5)"
"		AND (EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.privilege_type = 'SELECT'"
"				AND (a.grantee = 0 OR " PF_SQL_MAY_ACT_AS("$1", "a.grantee") "))"
"			OR " PF_SQL_MAY_ACT_AS("$1", "(SELECT oid FROM pg_roles WHERE rolname = 'pg_read_all_data')") ")"
"		AND c.oid NOT IN (SELECT e.objid FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid"
"			WHERE e.classid = 'pg_class'::regclass AND e.refclassid = 'pg_extension'::regclass"
"				AND e.deptype = 'e' AND x.extname = '" PF_NAME "')) s"
" HAVING count(*) > 0";

static const char lock_any_large_object_sql[] =
"SELECT false, 'large objects that are there can be written to: no lock stops that'"
" WHERE EXISTS (SELECT FROM pg_largeobject_metadata)";

static const Question lock_role_leaks[] = {
	{"member", admin_sql},
	{"predefined", lock_predefined_sql},
	{"attributes", attributes_sql},
	{"definer", lock_definer_sql},
	{"large_object", lock_large_object_sql},
	{"reads", lock_reads_sql},
	{"other_databases", other_databases_sql},
	{NULL, NULL}
};

static const Question lock_superuser_leaks[] = {
	{"large_object", lock_large_object_sql},
	{"other_databases", other_databases_sql},
	{NULL, NULL}
};

static const Question any_definer[] = {
	{"definer", any_definer_sql},
	{NULL, NULL}
};

static const Question lock_schema_leaks[] = {
	{NULL, NULL}
};

static const Question lock_database_leaks[] = {
	{"large_object", lock_any_large_object_sql},
	{NULL, NULL}
};

/* Whether a privilege on a relation is of use to somebody whom a lock makes wait. */
#define WAITS(a) "($2 OR " WRITES(a) " OR " a ".privilege_type = 'USAGE')"

/* Login roles that don't count as the target and can come here. */
#define PERSONS \
	"person AS MATERIALIZED (" \
	"	SELECT r.oid, quote_ident(r.rolname) AS name FROM pg_roles r" \
	"	WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT " PF_SQL_MAY_ACT_AS("r.oid", "$1") \
	"		AND has_database_privilege(r.oid, " HERE ", 'CONNECT'))"

/*
 * The persons who may act as one of the roles in "holder" (role), of whom one
 * may be PUBLIC.  Most have no memberships.
 */
#define PERSONS_THROUGH(holder) \
	"EXISTS (SELECT FROM " holder " h WHERE h.role IN (0, p.oid))" \
	" OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = p.oid)" \
	"	AND EXISTS (SELECT FROM " holder " h WHERE " PF_SQL_MAY_ACT_AS("p.oid", "h.role") ")" \
	" OR p.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())" \
	"	AND EXISTS (SELECT FROM " holder " h JOIN pg_roles o ON o.oid = h.role WHERE o.rolname = 'pg_database_owner')"

/*
 * Who has privileges on relations, as rows of (role): the owners and those in
 * the ACLs, of which there are few different ones even where relations are many.
 */
#define HOLDERS_OF(relations, owners) \
	"SELECT relowner AS role FROM " relations " WHERE " owners \
	" UNION SELECT a.grantee FROM (SELECT DISTINCT relacl FROM " relations ") s, aclexplode(s.relacl) a" \
	" WHERE " WAITS("a") \
	" UNION SELECT a.grantee FROM (SELECT attrelid AS oid, attnum FROM pg_attribute" \
	"			WHERE attrelid = ANY ($4) AND attacl IS NOT NULL" \
	"		UNION SELECT objid, objsubid FROM pg_shdepend" \
	"			WHERE dbid = " HERE " AND classid = 'pg_class'::regclass AND objsubid <> 0) s" \
	"	JOIN " relations " USING (oid) JOIN pg_attribute t ON t.attrelid = s.oid AND t.attnum = s.attnum," \
	"	aclexplode(t.attacl) a WHERE " WAITS("a")

#define WANTED "wanted AS MATERIALIZED (SELECT oid, relowner, relacl FROM unnest($5) AS oid JOIN pg_class USING (oid))"

/* With the predefined roles that need no privilege on a relation. */
#define WRITERS \
	"writer AS MATERIALIZED (" HOLDERS_OF("wanted", "true") \
	" UNION SELECT r.oid FROM pg_roles r WHERE EXISTS (SELECT FROM wanted)" \
	"	AND (r.rolname IN ('pg_write_all_data', 'pg_maintain') OR $2 AND r.rolname = 'pg_read_all_data'))"

#define USE "CASE WHEN $2 THEN 'use' ELSE 'write to' END"

static const char lock_writers_sql[] =
"WITH " PERSONS ", " WANTED ", " WRITERS ","
" open AS ("
"	SELECT w.oid::regclass::text AS name FROM wanted w"
"	WHERE EXISTS (SELECT FROM writer WHERE role = 0) AND EXISTS (SELECT FROM person)"
"		AND (EXISTS (SELECT FROM aclexplode(w.relacl) a WHERE a.grantee = 0 AND " WAITS("a") ")"
"			OR w.oid = ANY ($4) AND EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) a"
"				WHERE t.attrelid = w.oid AND a.grantee = 0 AND " WAITS("a") ")))"
" SELECT true, 'every other role, for PUBLIC may ' || " USE " || ' ' || " NAMES
" FROM open HAVING count(*) > 0"
" UNION ALL"
" SELECT true, 'other roles that may ' || " USE " || ' the same relations: ' || " NAMES
" FROM person p WHERE NOT EXISTS (SELECT FROM open) AND (" PERSONS_THROUGH("writer") ")"
" HAVING count(*) > 0";

/*
 * Who writes through a view, or a table with a rule, needs no privilege on what
 * is behind it; that one's owner does, and is among the writers if he may.
 */
static const char lock_view_sql[] =
"WITH RECURSIVE " PERSONS ", " WANTED ","
" view (oid) AS ("
"	SELECT r.ev_class FROM wanted w"
"		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = w.oid AND d.classid = 'pg_rewrite'::regclass"
"		JOIN pg_rewrite r ON r.oid = d.objid"
"	WHERE EXISTS (SELECT FROM pg_rewrite WHERE oid >= 16384)"
"	UNION"
"	SELECT r.ev_class FROM view v"
"		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass"
"		JOIN pg_rewrite r ON r.oid = d.objid),"
" door AS MATERIALIZED ("
"	SELECT oid, c.relowner, c.relacl FROM view JOIN pg_class c USING (oid) LEFT JOIN wanted w USING (oid)"
"	WHERE w.relowner IS NULL),"
" holder AS MATERIALIZED (" HOLDERS_OF("door", "false") ")"
" SELECT true, 'other roles that may ' || " USE " || ' views or rules on those relations: ' || " NAMES
" FROM person p WHERE " PERSONS_THROUGH("holder")
" HAVING count(*) > 0";

/* A row is checked by SELECT ... FOR KEY SHARE at the other end. */
static const char lock_foreign_key_sql[] =
"WITH " PERSONS ", " WANTED ","
" door AS MATERIALIZED ("
"	SELECT DISTINCT c.oid, c.relowner, c.relacl"
"	FROM pg_constraint k LEFT JOIN wanted f ON f.oid = k.conrelid LEFT JOIN wanted p ON p.oid = k.confrelid"
"		JOIN pg_class c ON c.oid = CASE WHEN f.oid IS NULL THEN k.conrelid ELSE k.confrelid END"
"	WHERE k.contype = 'f' AND (f.oid IS NULL) <> (p.oid IS NULL)),"
" holder AS MATERIALIZED (" HOLDERS_OF("door", "true") ")"
" SELECT true, 'other roles that may write to tables with a foreign key to or from those relations: ' || " NAMES
" FROM person p WHERE " PERSONS_THROUGH("holder")
" HAVING count(*) > 0";

static const char lock_definer_stops_sql[] =
"WITH " PERSONS ", " WANTED ", " WRITERS
" SELECT true, 'other roles that execute ' || " COUNTED("count(*)", "SECURITY DEFINER function")
"	|| ' whose owner can write to the same relations: ' || " NAMES
" FROM (SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner"
"	WHERE p.prosecdef AND NOT o.rolsuper AND p.proowner IN (SELECT role FROM writer)"
"		AND EXISTS (SELECT FROM person r WHERE NOT " PF_SQL_MAY_ACT_AS("r.oid", "p.proowner")
"			AND has_schema_privilege(r.oid, p.pronamespace, 'USAGE')"
"			AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))) s"
" HAVING count(*) > 0";

static const char lock_creators_sql[] =
"WITH " PERSONS ","
" creator AS MATERIALIZED ("
"	SELECT nspowner AS role FROM pg_namespace WHERE oid = ANY ($6)"
"	UNION SELECT a.grantee FROM pg_namespace n, aclexplode(n.nspacl) a"
"	WHERE n.oid = ANY ($6) AND a.privilege_type = 'CREATE'),"
" open AS ("
"	SELECT n.oid::regnamespace::text AS name FROM pg_namespace n"
"	WHERE n.oid = ANY ($6) AND EXISTS (SELECT FROM person)"
"		AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'))"
" SELECT true, 'every other role that creates relations, for PUBLIC may in ' || " NAMES
" FROM open HAVING count(*) > 0"
" UNION ALL"
" SELECT true, 'other roles that may create relations in the same schemas: ' || " NAMES
" FROM person p WHERE NOT EXISTS (SELECT FROM open) AND (" PERSONS_THROUGH("creator") ")"
" HAVING count(*) > 0";

static const char lock_everybody_sql[] =
"SELECT false, CASE WHEN $2 THEN 'superusers, VACUUM, ANALYZE, pg_dump and the session that freezes wait there too'"
"	ELSE 'superusers, VACUUM, ANALYZE and the session that freezes wait there too' END";

static const Question lock_role_stops[] = {
	{"writers", lock_writers_sql},
	{"view", lock_view_sql},
	{"foreign_key", lock_foreign_key_sql},
	{"definer", lock_definer_stops_sql},
	{"creators", lock_creators_sql},
	{"everybody", lock_everybody_sql},
	{NULL, NULL}
};

static const Question lock_other_stops[] = {
	{"everybody", lock_everybody_sql},
	{NULL, NULL}
};

/* ---- memberships ------------------------------------------------------ */

/*
 * Nothing but write privileges, and at least one: counts over the role and
 * all roles that it is in.  Attributes, ownership, policies, shared objects
 * and other databases are more than that.
 */
static const char write_only_sql[] =
"WITH RECURSIVE carried (role) AS ("
"	SELECT $1 UNION SELECT m.roleid FROM pg_auth_members m JOIN carried c ON m.member = c.role),"
" held AS MATERIALIZED ("
"	SELECT d.deptype IN ('a', 'i') AND d.dbid = " HERE
"		AND d.classid IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_largeobject'::regclass, 'pg_default_acl'::regclass)"
"		AND p.writes IS NOT FALSE AS pure,"
"		p.writes"
"	FROM carried c JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = c.role"
"		LEFT JOIN LATERAL (SELECT bool_and(" WRITES_ON("a", "d") ") AS writes"
"			FROM aclexplode(" ACL_OF("d") ") a WHERE a.grantee = c.role) p ON true)"
" SELECT EXISTS (SELECT FROM held WHERE writes) AND NOT EXISTS (SELECT FROM held WHERE NOT pure)"
"	AND NOT EXISTS (SELECT FROM carried c LEFT JOIN pg_roles r ON r.oid = c.role"
"		WHERE r.oid IS NULL OR r.oid < 16384 OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb"
"			OR r.rolreplication OR r.rolbypassrls)";

static bool
is_write_only(Oid role)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(role)};
	bool		isnull;

	journal_execute(write_only_sql, 1, types, values, NULL, true);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

bool
pf_membership_is_write_only(Oid role)
{
	PfSpi		spi = pf_spi_begin();
	bool		result = is_write_only(role);

	pf_spi_end(spi);
	return result;
}

/* The roles whose direct memberships a freeze of the role leaves, as oid[]. */
static Datum
memberships_left(const PfTarget *target)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(target->oid)};
	MemoryContext context = CurrentMemoryContext;
	ArrayBuildState *left = initArrayResult(OIDOID, context, false);
	SPITupleTable *table;
	uint64		count;
	PfSpi		spi;

	if (target->mode == PF_ALL)
		return makeArrayResult(left, context);

	spi = pf_spi_begin();
	journal_execute("SELECT DISTINCT roleid FROM pg_auth_members WHERE member = $1",
					1, types, values, NULL, true);
	table = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Datum		role = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);

		if (!is_write_only(DatumGetObjectId(role)))
			left = accumArrayResult(left, role, false, OIDOID, context);
	}
	pf_spi_end(spi);
	return makeArrayResult(left, context);
}

/* ---- asking ----------------------------------------------------------- */

/* What is asked about, in the numbering of Question. */
#define NARGS 6

typedef struct Asked
{
	Datum		values[NARGS];
} Asked;

static void
asked_of(Asked *asked, const PfTarget *target)
{
	asked->values[0] = ObjectIdGetDatum(target->oid);
	asked->values[1] = BoolGetDatum(target->mode == PF_ALL);
	for (int i = 2; i < NARGS; i++)
		asked->values[i] = PointerGetDatum(construct_empty_array(OIDOID));
}

static Datum
wanted_oids(const PfWantedList *list)
{
	Datum	   *oids = palloc(sizeof(Datum) * Max(list->count, 1));

	for (int i = 0; i < list->count; i++)
		oids[i] = ObjectIdGetDatum(list->items[i].objid);
	return PointerGetDatum(construct_array(oids, list->count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

static void
asked_of_locks(Asked *asked, const PfTarget *target)
{
	asked->values[4] = wanted_oids(pf_wanted_relations(target));
	asked->values[5] = wanted_oids(pf_wanted_schemas(target));
}

/* The answers (List of PfNote *). */
static List *
ask(const Question *questions, Asked *asked)
{
	static Oid	types[NARGS] = {OIDOID, BOOLOID, OIDARRAYOID, OIDARRAYOID, OIDARRAYOID, OIDARRAYOID};
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	List	   *notes = NIL;

	/* compiling takes longer than any of them */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	for (const Question *question = questions; question->code; question++)
	{
		journal_execute(question->sql, NARGS, types, asked->values, NULL, true);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			char	   *text = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
			bool		isnull;
			Datum		ordinary = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
			MemoryContext spi_context;
			PfNote	   *note;

			if (text == NULL)
				continue;
			spi_context = MemoryContextSwitchTo(context);
			note = palloc(sizeof(PfNote));
			note->code = question->code;
			note->text = pstrdup(text);
			note->ordinary = !isnull && DatumGetBool(ordinary);
			notes = lappend(notes, note);
			MemoryContextSwitchTo(spi_context);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	pf_spi_end(spi);
	return notes;
}

List *
pf_revoke_leaks(const PfTarget *target)
{
	Asked		asked;

	asked_of(&asked, target);
	switch (target->kind)
	{
		case PF_ROLE:
			if (superuser_arg(target->oid))
				return ask(superuser_leaks, &asked);
			asked.values[2] = PointerGetDatum(pf_relations_of_public(RelationRelationId));
			asked.values[3] = PointerGetDatum(pf_relations_of_public(AttributeRelationId));
			asked.values[4] = memberships_left(target);
			return ask(role_leaks, &asked);
		case PF_SCHEMA:
			return ask(schema_leaks, &asked);
		case PF_DATABASE:
			return ask(database_leaks, &asked);
		case PF_CLUSTER:
			break;
	}
	elog(ERROR, "revoke cannot freeze a %s", pf_kind_name(target->kind));
	return NIL;
}

List *
pf_revoke_also_stops(const PfTarget *target)
{
	Asked		asked;

	asked_of(&asked, target);
	return ask(target->kind == PF_ROLE ? role_stops : other_stops, &asked);
}

List *
pf_lock_leaks(const PfTarget *target)
{
	Asked		asked;

	asked_of(&asked, target);
	switch (target->kind)
	{
		case PF_ROLE:
			if (superuser_arg(target->oid))
				return ask(lock_superuser_leaks, &asked);
			if (target->mode == PF_ALL || ask(any_definer, &asked) != NIL)
				asked_of_locks(&asked, target);
			return ask(lock_role_leaks, &asked);
		case PF_SCHEMA:
			return ask(lock_schema_leaks, &asked);
		case PF_DATABASE:
			return ask(lock_database_leaks, &asked);
		case PF_CLUSTER:
			break;
	}
	elog(ERROR, "lock cannot freeze a %s", pf_kind_name(target->kind));
	return NIL;
}

List *
pf_lock_also_stops(const PfTarget *target)
{
	Asked		asked;

	asked_of(&asked, target);
	if (target->kind != PF_ROLE)
		return ask(lock_other_stops, &asked);
	asked.values[3] = PointerGetDatum(pf_relations_of_public(AttributeRelationId));
	asked_of_locks(&asked, target);
	return ask(lock_role_stops, &asked);
}
