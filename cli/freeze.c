/*-------------------------------------------------------------------------
 *
 * freeze.c
 *	  The program pg_freeze: freeze, thaw, extend.
 *
 *-------------------------------------------------------------------------
 */
#include "make.h"

enum
{
	OPT_ALL = OPT_OWN,
	OPT_HOME
};

/* ---- freeze ----------------------------------------------------------- */

int
cmd_freeze(int argc, char **argv)
{
	static const struct option long_options[] = {COMMON_LONG, FREEZE_LONG, {NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	FreezeOptions freeze = FREEZE_OPTIONS_INIT;
	BackupOptions none = {0};
	Link		link;
	Made		made;
	int			status;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
		if (!freeze_option(&freeze, c))
			common_option(&connect, c);
	if (argc > optind)
		usage_error("freeze takes options only: \"%s\"", argv[optind]);

	link_open(&link, &connect);
	if (on_standby(link.conn))
		die(EXIT_STANDBY, "this server is a standby, where nothing can be frozen");
	(void) extension(link.conn);
	catch_signals();
	status = make(&link, &freeze, &none, freeze.timeout, &made);
	return status == EXIT_HELD ? tell_id(&link, &made, freeze.timeout) : status;
}

/* ---- thaw ------------------------------------------------------------- */

/* One line per freeze; returns the status for the worst of them. */
static int
print_verdicts(const PGresult *rows)
{
	int			status = EXIT_HELD;

	for (int row = 0; row < PQntuples(rows); row++)
	{
		const char *held = value(rows, row, "held");
		const char *why = value(rows, row, "lost_reason");
		const char *evidence = value(rows, row, "evidence");
		bool		failed = held && held[0] != 't';

		if (failed)
			status = EXIT_NOT_HELD;
		else if (!held && status == EXIT_HELD)
			status = EXIT_UNKNOWN;
		if (quiet)
			continue;
		printf("freeze %s, %s: %s%s%s; %s\n", value(rows, row, "id"), value(rows, row, "target"),
			   failed ? "did not hold" : held ? "held" : "it is not certain that it held",
			   why ? ": " : "", why ? why : "", evidence ? evidence : "");
	}
	return status;
}

/*
 * What there was to thaw may be over, by its deadline for example: then it did
 * not hold for whoever thaws now.  "condition" says which it was.
 */
static int
status_of_failure(Link *link, const char *condition)
{
	const PGresult *error = link_error(link);
	bool		may_be_over;
	const PGresult *rows;
	char	   *sql;
	int			status;

	may_be_over = condition && (strcmp(sqlstate(error), "55000") == 0 || strcmp(sqlstate(error), "22023") == 0);
	status = server_error(link->conn, error);
	if (!may_be_over)
		return status == EXIT_DRAIN ? EXIT_ERROR : status;
	sql = xformat("SELECT id FROM %s.freeze_history WHERE %s ORDER BY id DESC LIMIT 1",
				  extension(link->conn), condition);
	if (call_server(link, sql, NULL, NULL) == CALL_DONE)
	{
		rows = link_rows(link, 0);
		if (PQntuples(rows) > 0)
		{
			say("freeze %s did not hold until now", value(rows, 0, "id"));
			status = EXIT_NOT_HELD;
		}
	}
	free(sql);
	return status;
}

int
cmd_thaw(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG,
		{"label", required_argument, NULL, OPT_LABEL},
		{"all", no_argument, NULL, OPT_ALL},
		{"home", required_argument, NULL, OPT_HOME},
		{NULL, 0, NULL, 0}
	};
	ConnectOptions connect = {0};
	const char *label = NULL;
	const char *home = NULL;
	const char *id = NULL;
	bool		all = false;
	Link		link;
	char	   *quoted;
	char	   *call;
	char	   *condition = NULL;
	char	   *sql;
	int			status;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_LABEL)
			label = optarg;
		else if (c == OPT_HOME)
			home = optarg;
		else if (c == OPT_ALL)
			all = true;
		else
			common_option(&connect, c);
	}
	if (optind < argc)
		id = parse_id(argv[optind++]);
	if (optind < argc || (id != NULL) + (label != NULL) + all != 1)
		usage_error("thaw takes an id, --label or --all");
	if (home && !id)
		usage_error("--home goes with an id");

	link_open(&link, &connect);
	if (on_standby(link.conn))
		die(EXIT_STANDBY, "this server is a standby, where nothing can be thawed");
	quoted = literal(link.conn, id ? home : label, id ? "name" : "text");
	if (id)
	{
		call = xformat("thaw(%s, home => %s)", id, quoted);
		if (!home)
			condition = xformat("id = %s", id);
	}
	else
	{
		call = all ? xstrdup("thaw_all()") : xformat("thaw_label(%s)", quoted);
		if (label)
			condition = xformat("label = %1$s AND NOT EXISTS (SELECT FROM %2$s.freeze_status s WHERE s.label = %1$s)",
								quoted, extension(link.conn));
	}
	sql = xformat("%sSELECT id, target, held, lost_reason, evidence FROM %s.%s",
				  call_settings(link.conn, true, NULL), extension(link.conn), call);
	switch (call_server(&link, sql, NULL, NULL))
	{
		case CALL_DONE:
			status = print_verdicts(link_rows(&link, 0));
			close_stdout();
			break;
		case CALL_ERROR:
			status = status_of_failure(&link, condition);
			break;
		default:
			say("it is not known whether it was thawed");
			status = EXIT_UNKNOWN;
			break;
	}
	free(quoted);
	free(call);
	free(condition);
	free(sql);
	link_close(&link);
	return status;
}

/* ---- extend ----------------------------------------------------------- */

int
cmd_extend(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG,
		{"home", required_argument, NULL, OPT_HOME},
		{NULL, 0, NULL, 0}
	};
	ConnectOptions connect = {0};
	const char *params[3] = {NULL, NULL, NULL};
	PGconn	   *conn;
	PGresult   *result;
	char	   *sql;
	int64		by;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_HOME)
			params[2] = optarg;
		else
			common_option(&connect, c);
	}
	if (argc - optind != 2)
		usage_error("extend takes an id and an interval");
	params[0] = parse_id(argv[optind]);
	by = parse_interval("the interval", argv[optind + 1]);
	if (by == 0)
		usage_error("the interval must be above 0; use SQL to remove a deadline");
	params[1] = interval_text(by);

	conn = connect_server(&connect);
	sql = xformat("SELECT %s.freeze_extend($1::pg_catalog.int8, $2::pg_catalog.interval, $3::pg_catalog.name) AS until", extension(conn));
	result = query(conn, sql, 3, params);
	printf("%s\n", value(result, 0, "until"));
	close_stdout();
	PQclear(result);
	PQfinish(conn);
	free(sql);
	return EXIT_HELD;
}
