/*-------------------------------------------------------------------------
 *
 * show.c
 *	  The program pg_freeze: status, check, sessions.  They change nothing.
 *
 * Tables are for people and may change.  --json is for scripts: it has all
 * columns of the views, under their names.
 *
 *-------------------------------------------------------------------------
 */
#include "show.h"

/* SQL: " by alice (psql): reason" */
#define WHO(row) \
	"' by ' || " row ".by, ' (' || nullif(" row ".application, '') || ')', ': ' || nullif(" row ".reason, '')"

static const char time_sql[] =
"SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS TZ'), @.freeze_not_shown()";

#define STATUS_COLUMNS 8
static const char status_sql[] =
"SELECT " NAME_AND_HOME("s.id", "s.home") " AS id, s.target, s.state,"
" CASE WHEN s.in_force THEN 'yes' WHEN NOT s.in_force THEN 'NO' ELSE '?' END AS \"in force\","
" s.strategy || CASE s.mode WHEN 'all' THEN ', all' ELSE '' END AS strategy,"
" " CLOCK("s.since") " AS since, " UNTIL("s.thaw_at") " AS until, s.waiters AS waiting,"
" concat(coalesce('freeze ' || s.id, s.target), ' of database ' || nullif(s.home, current_database())," WHO("s") ", '; label ' || s.label),"
" '    to thaw: ' || s.to_thaw,"
" '    came back: ' || s.came_back,"
" '    remark: ' || nullif(s.remark, ''),"
" CASE WHEN s.refused + s.exempt_commits > 0 THEN format('    refused: %s; commits of who may pass: %s', s.refused, s.exempt_commits) END,"
" CASE WHEN s.cancelled + s.terminated > 0 THEN format('    its drain cancelled %s sessions and ended %s', s.cancelled, s.terminated) END,"
" CASE WHEN s.thaw_failures > 0 THEN concat('    failures of its thaw: ', s.thaw_failures, ', next try at ' || " CLOCK("s.retry_at") ", ': ' || s.last_error) END"
" FROM @.freeze_status s";

#define RUNNING_COLUMNS 6
static const char running_sql[] =
"SELECT " NAME_AND_HOME("b.id", "b.home") " AS backup, b.label, b.phase, " CLOCK("b.since") " AS since, " UNTIL("b.until") " AS until,"
" b.freeze_id AS freeze,"
" concat('backup ', b.id, ' of database ' || nullif(b.home, current_database())," WHO("b") "),"
" '    to end: ' || b.to_end,"
" '    to give up: ' || b.to_abort"
" FROM @.freeze_backup_status b WHERE b.state = 'running'";

static const char status_json_sql[] =
"SELECT json_build_object('time', clock_timestamp(), 'database', current_database(), 'server_version', current_setting('server_version'),"
" 'in_recovery', pg_is_in_recovery(), 'not_shown', @.freeze_not_shown(),"
" 'freezes', (SELECT coalesce(json_agg(s), '[]') FROM @.freeze_status s),"
" 'backups', (SELECT coalesce(json_agg(b), '[]') FROM @.freeze_backup_status b WHERE b.state = 'running'))";

/* Objects that go the same way are one line; with -v each has its own. */
#define CHECK_COLUMNS 4
static const char check_sql[] =
"SELECT c.item, c.kind, CASE WHEN count(*) <= 4 THEN string_agg(c.object, E'\\n' ORDER BY c.n)"
"  ELSE concat_ws(E'\\n', VARIADIC (array_agg(c.object ORDER BY c.n))[1:3] || format('and %s more', count(*) - 3)) END AS object, c.detail"
" FROM (SELECT c.item, c.kind, c.object, c.detail, c.n, CASE WHEN c.item <> 'change' OR $12::boolean THEN c.n END AS one"
"  FROM @.freeze_check($1, $2, $3, $4::interval, $5, $6, $7, $8::interval, $9, $10::int, $11) WITH ORDINALITY AS c (item, kind, object, detail, n)) c"
" GROUP BY c.item, c.kind, c.detail, c.one ORDER BY min(c.n)";

/* the parameters are those of check_sql */
static const char check_json_sql[] =
"SELECT coalesce(json_agg(c), '[]'), string_agg(c.detail, '; ') FILTER (WHERE c.item = 'refused') AS refused FROM @.freeze_check($1, $2, $3, $4::interval, $5, $6, $7, $8::interval, $9, $10::int, $11) c"
" WHERE $12::boolean IS NOT NULL";

#define SESSIONS_COLUMNS 8
static const char sessions_sql[] =
"SELECT s.id AS freeze, s.pid, s.role, s.application, s.state, " CLOCK("s.since") " AS since,"
" coalesce(s.next_rung, 'none') AS \"next rung\", concat_ws(', ', CASE WHEN s.in_flight THEN 'in flight' END, s.why) AS why"
" FROM @.freeze_sessions s WHERE $1::bigint IS NULL OR s.id = $1::bigint ORDER BY s.id, NOT s.in_flight, s.since";

#define WAITERS_COLUMNS 7
static const char waiters_sql[] =
"SELECT w.id AS freeze, w.pid, w.role, w.application, w.state, " CLOCK("w.since") " AS since, concat_ws(' of ', w.mode, w.object) AS \"waits for\""
" FROM @.freeze_waiters w WHERE $1::bigint IS NULL OR w.id = $1::bigint ORDER BY w.id, w.since";

#define BLOCKERS_COLUMNS 7
static const char blockers_sql[] =
"SELECT b.id AS freeze, coalesce(b.pid::text, b.gid) AS blocker, b.role, b.application, b.state, " CLOCK("b.since") " AS since, b.what"
" FROM @.freeze_blockers b WHERE $1::bigint IS NULL OR b.id = $1::bigint ORDER BY b.id, b.since";

static const char sessions_json_sql[] =
"SELECT json_build_object("
"'sessions', (SELECT coalesce(json_agg(s), '[]') FROM @.freeze_sessions s WHERE $1::bigint IS NULL OR s.id = $1::bigint),"
" 'waiters', (SELECT coalesce(json_agg(w), '[]') FROM @.freeze_waiters w WHERE $1::bigint IS NULL OR w.id = $1::bigint),"
" 'blockers', (SELECT coalesce(json_agg(b), '[]') FROM @.freeze_blockers b WHERE $1::bigint IS NULL OR b.id = $1::bigint),"
" 'signalled', (SELECT coalesce(json_agg(s), '[]') FROM @.freeze_sessions_signalled s WHERE s.id = $1::bigint"
"  OR $1::bigint IS NULL AND s.id IN (SELECT f.id FROM @.freeze_status f WHERE f.home = current_database())))";

static const char live_sql[] =
"SELECT s.home, s.home = current_database() AS here FROM @.freeze_status s WHERE s.id = $1::bigint ORDER BY here DESC LIMIT 1";

static bool
found(const PGresult *result)
{
	return PQntuples(result) > 0;
}

/* Ends a command that only prints. */
static int
shown(PGconn *conn)
{
	close_stdout();
	PQfinish(conn);
	return EXIT_HELD;
}

/* The options of a command that looks. */
static void
look_options(int argc, char **argv, ConnectOptions *connect, bool *json, TableForm *form)
{
	static const struct option long_options[] = {
		COMMON_LONG, {"json", no_argument, NULL, OPT_JSON}, {"expanded", no_argument, NULL, 'x'}, {NULL, 0, NULL, 0}};
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT "x", long_options, NULL)) != -1)
	{
		if (c == OPT_JSON)
			*json = true;
		else if (c == 'x')
			*form = TABLE_EXPANDED;
		else
			common_option(connect, c);
	}
}

int
cmd_status(int argc, char **argv)
{
	ConnectOptions connect = {0};
	bool		json = false;
	TableForm	form = TABLE_AUTO;
	PGconn	   *conn;
	PGresult   *result;
	PGresult   *now;

	look_options(argc, argv, &connect, &json, &form);
	if (optind != argc)
		usage_error("status takes no argument: \"%s\"", argv[optind]);
	conn = connect_server(&connect);

	if (json)
	{
		print_values(look(conn, status_json_sql, 0, NULL));
		return shown(conn);
	}
	now = look(conn, time_sql, 0, NULL);
	result = look(conn, status_sql, 0, NULL);
	if (found(result))
		print_table(conn, result, xformat("frozen, as of %s", PQgetvalue(now, 0, 0)), STATUS_COLUMNS, form);
	else
		printf("nothing is frozen, as of %s%s%s\n", PQgetvalue(now, 0, 0),
			   PQgetisnull(now, 0, 1) ? "" : "; ", PQgetvalue(now, 0, 1));
	result = look(conn, running_sql, 0, NULL);
	if (found(result))
		print_table(conn, result, "backups", RUNNING_COLUMNS, form);
	return shown(conn);
}

int
cmd_check(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG, FREEZE_LONG, {"json", no_argument, NULL, OPT_JSON}, {NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	FreezeOptions freeze = FREEZE_OPTIONS_INIT;
	const char *params[12];
	bool		json = false;
	int			status = EXIT_HELD;
	PGconn	   *conn;
	PGresult   *result;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_JSON)
			json = true;
		else if (!freeze_option(&freeze, c))
			common_option(&connect, c);
	}
	if (optind != argc)
		usage_error("check takes no argument: \"%s\"", argv[optind]);

	params[0] = freeze.kind ? freeze.kind : "database";
	params[1] = freeze.target;
	params[2] = freeze.mode ? freeze.mode : "write";
	params[3] = interval_text(freeze.timeout);
	params[4] = freeze.strategy;
	params[5] = freeze.action;
	params[6] = freeze.in_flight;
	params[7] = freeze.drain_timeout >= 0 ? interval_text(freeze.drain_timeout) : NULL;
	params[8] = freeze.on_drain_timeout;
	params[9] = freeze.attempts ? freeze.attempts : "1";
	params[10] = freeze.label;
	params[11] = verbose ? "true" : "false";

	conn = connect_server(&connect);
	result = look(conn, json ? check_json_sql : check_sql, 12, params);
	if (json)
		print_values(result);
	else
		print_table(conn, result, NULL, CHECK_COLUMNS, TABLE_WRAPPED);
	shown(conn);

	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *item = value(result, row, "item");
		const char *why = json ? value(result, row, "refused") : item && strcmp(item, "refused") == 0 ? value(result, row, "detail") : NULL;

		if (!why)
			continue;
		say("this freeze would be refused: %s", why);
		status = EXIT_ERROR;
	}
	return status;
}

static void
print_if_any(PGconn *conn, const char *sql, const char *id, const char *title, int columns, TableForm form)
{
	PGresult   *result = look(conn, sql, 1, &id);

	if (found(result))
		print_table(conn, result, title, columns, form);
	PQclear(result);
}

int
cmd_sessions(int argc, char **argv)
{
	ConnectOptions connect = {0};
	TableForm	form = TABLE_WRAPPED;
	bool		json = false;
	const char *id = NULL;
	PGconn	   *conn;
	PGresult   *result;

	look_options(argc, argv, &connect, &json, &form);
	if (optind < argc)
		id = parse_id(argv[optind++]);
	if (optind != argc)
		usage_error("sessions takes one id: \"%s\"", argv[optind]);
	conn = connect_server(&connect);

	if (id)
	{
		result = look(conn, live_sql, 1, &id);
		if (!found(result))
			die(EXIT_ERROR, "no freeze %s is live; pg_freeze status lists those that are", id);
		if (strcmp(value(result, 0, "here"), "t") != 0)
			die(EXIT_ERROR, "freeze %s was made in database \"%s\": connect there", id, value(result, 0, "home"));
	}
	if (json)
	{
		print_values(look(conn, sessions_json_sql, 1, &id));
		return shown(conn);
	}
	result = look(conn, sessions_sql, 1, &id);
	if (found(result))
		print_table(conn, result, "sessions of what is frozen", SESSIONS_COLUMNS, form);
	else
		printf("no session of what is frozen in database \"%s\"\n", PQdb(conn));
	print_if_any(conn, blockers_sql, id, "in the way of a freeze that is being made", BLOCKERS_COLUMNS, form);
	print_if_any(conn, waiters_sql, id, "waiting for a thaw", WAITERS_COLUMNS, form);
	return shown(conn);
}
