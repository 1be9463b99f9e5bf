/*-------------------------------------------------------------------------
 *
 * freeze.c
 *	  The program pg_freeze: freeze, thaw, extend.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

int
cmd_freeze(int argc, char **argv)
{
	die(EXIT_ERROR, "not built yet");
}

int
cmd_thaw(int argc, char **argv)
{
	die(EXIT_ERROR, "not built yet");
}

int
cmd_extend(int argc, char **argv)
{
	static const struct option long_options[] = {COMMON_LONG, {NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	const char *params[2];
	PGconn	   *conn;
	PGresult   *result;
	char	   *sql;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
		common_option(&connect, c);
	if (argc - optind != 2)
		usage_error("extend takes an id and an interval");
	params[0] = parse_id(argv[optind]);
	params[1] = interval_text(parse_interval("INTERVAL", argv[optind + 1]));
	if (parse_interval("INTERVAL", argv[optind + 1]) == 0)
		usage_error("the interval must be above 0; use SQL to remove a deadline");

	conn = connect_server(&connect);
	sql = xformat("SELECT %s.freeze_extend($1::pg_catalog.int8, $2::pg_catalog.interval) AS until", extension(conn));
	result = query(conn, sql, 2, params);
	printf("%s\n", value(result, 0, "until"));
	close_stdout();
	PQclear(result);
	PQfinish(conn);
	free(sql);
	return EXIT_HELD;
}
