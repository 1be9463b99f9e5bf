/*-------------------------------------------------------------------------
 *
 * rescue.c
 *	  The program pg_freeze: rescue, which prints SQL that undoes freezes from
 *	  the journals of all databases.
 *
 * It calls nothing of the extension's library, and neither does what it prints:
 * this is the way out when the library can't be loaded.  Nothing is changed here.
 * Freezes of a database are undone in the order opposite to that in which they
 * were made, for a later one found what an earlier one had left.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

#include "fe_utils/string_utils.h"

#define ONE_LINE(text) "pg_catalog.regexp_replace(" text ", '[\\r\\n]', ' ', 'g')"

static const char databases_sql[] =
"SELECT d.datname, d.datallowconn, " ONE_LINE("d.datname::pg_catalog.text") " AS name,"
" d.datname OPERATOR(pg_catalog.~) '[\\r\\n]' AS strange"
" FROM pg_catalog.pg_database d"
" WHERE ($1::pg_catalog.bool OR d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
" AND d.datname OPERATOR(pg_catalog.<>) 'template0'::pg_catalog.name ORDER BY 1";

static const char schema_sql[] =
"SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e"
" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace WHERE e.extname OPERATOR(pg_catalog.=) 'pg_freeze'::pg_catalog.name";

/* %1$s: the extension's schema */
static const char freezes_sql[] =
"SELECT j.id, " ONE_LINE("pg_catalog.concat("
	"'-- freeze ', j.id, ' of ', j.target_kind, ' ' || NULLIF(j.target_name, ''), ' by ', j.strategy, ', mode ', j.mode, ', ', j.state,"
	" ' since ', pg_catalog.date_trunc('second', COALESCE(j.frozen_at, j.requested_at)), ', made by ', j.owner_name,"
	" ': ' || j.reason, '; label ' || j.label)") ","
" '-- it belongs to backup ' || j.backup || ', which fails: its copy must not be used', j.strategy"
" FROM %1$s.freeze_journal j WHERE j.state NOT IN ('thawed', 'aborted') AND ($1::pg_catalog.int8 IS NULL OR j.id OPERATOR(pg_catalog.=) $1::pg_catalog.int8)"
" ORDER BY 1 DESC";

/* What went wrong, in one line, in a buffer of malloc's. */
static char *
first_line(const char *message)
{
	char	   *line = xstrdup(message);

	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

/*
 * A connection like another one, but to another database; NULL, and "error" is
 * set, if there is none.
 */
static PGconn *
connect_database(PGconn *like, const char *dbname, char **error)
{
	PQconninfoOption *options = PQconninfo(like);
	const char *keywords[100];
	const char *values[100];
	PGconn	   *conn;
	int			n = 0;

	if (!options)
		die(EXIT_ERROR, "out of memory");
	for (PQconninfoOption *o = options; o->keyword && n < (int) lengthof(keywords) - 2; o++)
	{
		if (!o->val || o->val[0] == '\0' || strcmp(o->keyword, "dbname") == 0)
			continue;
		keywords[n] = o->keyword;
		values[n] = o->val;
		/* of several servers the same one */
		if (strcmp(o->keyword, "host") == 0)
			values[n] = PQhost(like);
		else if (strcmp(o->keyword, "hostaddr") == 0)
			values[n] = PQhostaddr(like);
		else if (strcmp(o->keyword, "port") == 0)
			values[n] = PQport(like);
		n++;
	}
	/* a name only, whatever it looks like */
	keywords[n] = "dbname";
	values[n++] = dbname;
	keywords[n] = NULL;
	values[n] = NULL;
	conn = PQconnectdbParams(keywords, values, 0);
	PQconninfoFree(options);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	*error = first_line(PQerrorMessage(conn));
	PQfinish(conn);
	return NULL;
}

/* What leads psql to a database, and tells it in which encoding the rest is. */
static void
print_connect(PGconn *conn, const char *dbname)
{
	PQExpBufferData text;

	initPQExpBuffer(&text);
	appendPsqlMetaConnect(&text, dbname);
	printf("\n%s\\encoding %s\n", text.data, PQparameterStatus(conn, "client_encoding"));
	puts("SET search_path = pg_catalog, pg_temp;\nSET statement_timeout = 0;");
	if (PQserverVersion(conn) >= 170000)
		puts("SET transaction_timeout = 0;");
	termPQExpBuffer(&text);
}

/* As query(), but NULL, and "error" is set, where it fails. */
static PGresult *
try_query(PGconn *conn, const char *sql, int nparams, const char *const *params, char **error)
{
	PGresult   *result = PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);

	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		return result;
	*error = first_line(PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

/*
 * Prints what undoes the live freezes of a database, or that of one id.  Returns
 * how many there are; sets "error" if that is not all.
 */
static int
rescue_database(PGconn *conn, const char *dbname, const char *id, char **error)
{
	PGresult   *result;
	char	   *schema;
	char	   *sql;
	int			freezes;

	if (!(result = try_query(conn, schema_sql, 0, NULL, error)) || PQntuples(result) == 0)
		return 0;
	schema = xstrdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	sql = xformat(freezes_sql, schema);
	if (!(result = try_query(conn, sql, 1, &id, error)))
		return 0;
	freezes = PQntuples(result);
	free(sql);
	if (freezes > 0)
		print_connect(conn, dbname);

	sql = xformat("SELECT u FROM %s.freeze_undo($1::pg_catalog.int8) u", schema);
	for (int row = 0; row < freezes; row++)
	{
		const char *freeze = PQgetvalue(result, row, 0);
		PGresult   *undo = try_query(conn, sql, 1, &freeze, error);

		printf("\n%s\n", PQgetvalue(result, row, 1));
		if (!PQgetisnull(result, row, 2))
			puts(PQgetvalue(result, row, 2));
		if (!undo)
			printf("-- NOT UNDONE: %s\n", *error);
		else if (PQntuples(undo) == 0)
			puts("-- it was made in a database of which this one is a copy: nothing can be undone here");
		for (int line = 0; undo && line < PQntuples(undo); line++)
			puts(PQgetvalue(undo, line, 0));
		PQclear(undo);
		if (strcmp(value(result, row, "strategy"), "gate") == 0)
			say("WARNING: freeze %s of database \"%s\" is by gate, which no SQL opens: the script says which file does", freeze, dbname);
	}
	PQclear(result);
	free(sql);
	free(schema);
	return freezes;
}

/* Something of a database is missing: said to whom reads either. */
static void
skip_database(const char *name, const char *why)
{
	printf("\n-- NOT ALL of database %s: %s\n-- run the rest first, and then pg_freeze rescue again\n", name, why);
	say("WARNING: could not look into database \"%s\": %s", name, why);
}

static int
rescue(PGconn *conn, const char *id)
{
	const char *all = id ? "false" : "true";
	PGresult   *databases = query(conn, databases_sql, 1, &all);
	bool		complete = true;
	int			freezes = 0;

	puts("-- What pg_freeze has frozen, undone without it: by \"pg_freeze rescue --sql\".\n"
		 "-- Read it, then run it as a superuser: psql -v ON_ERROR_STOP=1 -f THIS_FILE\n"
		 "-- UPDATE 0: somebody has changed that since, or another freeze holds it.");
	if (on_standby(conn))
	{
		puts("-- This comes from a standby: it is to be run on the primary.");
		say("WARNING: this server is a standby: what is printed is for the primary");
	}
	for (int row = 0; row < PQntuples(databases); row++)
	{
		const char *dbname = PQgetvalue(databases, row, 0);
		const char *name = PQgetvalue(databases, row, 2);
		char	   *error = NULL;
		PGconn	   *there = NULL;

		if (strcmp(value(databases, row, "datallowconn"), "t") != 0)
			error = xstrdup("it does not allow connections");
		else if (strcmp(value(databases, row, "strange"), "t") == 0)
			error = xstrdup("psql can't connect to a name with a line break");
		else if ((there = connect_database(conn, dbname, &error)) != NULL)
			freezes += rescue_database(there, dbname, id, &error);
		if (error)
		{
			skip_database(name, error);
			complete = false;
		}
		PQfinish(there);
		free(error);
	}
	if (id && freezes == 0)
		die(EXIT_ERROR, "no freeze %s is live in database \"%s\"; without an id all databases are looked into", id, PQdb(conn));
	if (freezes == 0)
	{
		puts("\n-- nothing is frozen");
		tell("nothing is frozen%s", complete ? "" : " where could be looked");
	}
	else
		tell("%d freeze%s", freezes, freezes == 1 ? "" : "s");
	close_stdout();
	return complete ? EXIT_HELD : EXIT_ERROR;
}

int
cmd_rescue(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG, {"sql", no_argument, NULL, OPT_OWN}, {NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	bool		sql = false;
	const char *id = NULL;
	PGconn	   *conn;
	PGresult   *result;
	int			status;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_OWN)
			sql = true;
		else
			common_option(&connect, c);
	}
	if (!sql)
		usage_error("rescue only prints, with --sql: to undo something, read what it prints, and run that by psql");
	if (optind < argc)
		id = parse_id(argv[optind++]);
	if (optind != argc)
		usage_error("rescue takes one id: \"%s\"", argv[optind]);

	conn = connect_server(&connect);
	result = query(conn, "SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER", 0, NULL);
	if (PQntuples(result) != 1 || PQgetvalue(result, 0, 0)[0] != 't')
	{
		say("user \"%s\" is no superuser and can't read the journals of pg_freeze", PQuser(conn));
		say("HINT: connect as a superuser: -U");
		return EXIT_ERROR;
	}
	PQclear(result);
	status = rescue(conn, id);
	PQfinish(conn);
	return status;
}
