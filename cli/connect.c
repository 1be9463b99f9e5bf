/*-------------------------------------------------------------------------
 *
 * connect.c
 *	  The program pg_freeze: connections, statements that must not fail,
 *	  notices and errors of the server.
 *
 * No setting of the session is changed: behind a pooler it would stay with
 * the server's connection and be the application's.  So names are qualified,
 * and operators get operands of their exact types.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "common/string.h"

static char *password = NULL;	/* that was asked for; for further connections too */

void *
xmalloc(size_t size)
{
	void	   *result = malloc(size);

	if (!result)
		die(EXIT_ERROR, "out of memory");
	return result;
}

char *
xstrdup(const char *text)
{
	char	   *result = xmalloc(strlen(text) + 1);

	strcpy(result, text);
	return result;
}

char *
xformat(const char *fmt,...)
{
	va_list		args;
	int			length;
	char	   *result;

	va_start(args, fmt);
	length = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	result = xmalloc(length + 1);
	va_start(args, fmt);
	vsnprintf(result, length + 1, fmt, args);
	va_end(args);
	return result;
}

const char *
sqlstate(const PGresult *result)
{
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

	return state ? state : "";
}

const char *
value(const PGresult *result, int row, const char *column)
{
	int			number = PQfnumber(result, column);

	if (number < 0 || row >= PQntuples(result) || PQgetisnull(result, row, number))
		return NULL;
	return PQgetvalue(result, row, number);
}

void
print_server_message(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY);
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	if (!primary)
	{
		/* libpq's own */
		char	   *text = xstrdup(PQresultErrorMessage(result));

		pg_strip_crlf(text);
		say("%s", text);
		free(text);
		return;
	}
	say("%s: %s", severity ? severity : "ERROR", primary);
	if (detail)
		say("DETAIL: %s", detail);
	if (hint)
		say("HINT: %s", hint);
}

static void
receive_notice(void *arg, const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (quiet && severity && (strcmp(severity, "NOTICE") == 0 || strcmp(severity, "INFO") == 0))
		return;
	print_server_message(result);
}

char *
connection_error(PGconn *conn)
{
	char	   *text = xstrdup(PQerrorMessage(conn));

	/* the lines that follow only guess at the reason */
	text[strcspn(text, "\n")] = '\0';
	return text;
}

void
connect_keywords(const ConnectOptions *options, const char **keywords, const char **values)
{
	int			n = 0;

	/* what comes later wins: dbname, if it is a conninfo string, beats what is before it */
	keywords[n] = "fallback_application_name";
	values[n++] = "pg_freeze";
	keywords[n] = "host";
	values[n++] = options->host;
	keywords[n] = "port";
	values[n++] = options->port;
	keywords[n] = "user";
	values[n++] = options->user;
	keywords[n] = "dbname";
	values[n++] = options->dbname;
	/* asked for because what the others say was not enough */
	keywords[n] = "password";
	values[n++] = password;
	keywords[n] = NULL;
	values[n] = NULL;
}

/*
 * A connection on which nothing arrives any more must show: what is frozen is
 * not thawed by somebody who waits for ever.  Where the user has set any of
 * this, that counts.
 */
static void
watch_connection(PGconn *conn)
{
	PQconninfoOption *options;
	bool		given = false;
	int			on = 1;
	int			idle = 10;
	int			interval = 5;
	int			count = 3;
	struct sockaddr_storage address;
	socklen_t	length = sizeof(address);

	if (getsockname(PQsocket(conn), (struct sockaddr *) &address, &length) != 0 ||
		address.ss_family == AF_UNIX)
		return;
	options = PQconninfo(conn);
	for (PQconninfoOption *o = options; o && o->keyword; o++)
		given |= o->val && o->val[0] && strncmp(o->keyword, "keepalives_", 11) == 0;
	PQconninfoFree(options);
	if (given)
		return;
	(void) setsockopt(PQsocket(conn), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
#ifdef TCP_KEEPIDLE
	(void) setsockopt(PQsocket(conn), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void) setsockopt(PQsocket(conn), IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void) setsockopt(PQsocket(conn), IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
#endif
}

void
connection_ready(PGconn *conn)
{
	PQsetNoticeReceiver(conn, receive_notice, NULL);
	watch_connection(conn);
}

PGconn *
connect_server(const ConnectOptions *options)
{
	if (options->password > 0)
		password = simple_prompt("Password: ", false);
	for (;;)
	{
		const char *keywords[CONNECT_KEYWORDS];
		const char *values[CONNECT_KEYWORDS];
		PGconn	   *conn;
		char	   *text;

		connect_keywords(options, keywords, values);
		conn = PQconnectdbParams(keywords, values, 1);
		if (!conn)
			die(EXIT_ERROR, "out of memory");
		if (PQstatus(conn) == CONNECTION_OK)
		{
			connection_ready(conn);
			return conn;
		}
		if (!PQconnectionNeedsPassword(conn) || password || options->password < 0)
		{
			text = xstrdup(PQerrorMessage(conn));
			pg_strip_crlf(text);
			PQfinish(conn);
			die(EXIT_ERROR, "%s", text);
		}
		PQfinish(conn);
		password = simple_prompt("Password: ", false);
	}
}

bool
on_standby(PGconn *conn)
{
	PGresult   *result = PQexec(conn, "SELECT pg_catalog.pg_is_in_recovery()");
	bool		standby = PQresultStatus(result) == PGRES_TUPLES_OK && PQgetvalue(result, 0, 0)[0] == 't';

	PQclear(result);
	return standby;
}

/* What to do about an error that the server can't say it of. */
static void
print_hint(PGconn *conn, const PGresult *result)
{
	const char *state = sqlstate(result);

	if (PQresultErrorField(result, PG_DIAG_MESSAGE_HINT))
		return;
	if (strcmp(state, "42501") == 0)
		say("HINT: connect as a superuser, or have one grant it to \"%s\"", PQuser(conn));
	else if (strcmp(state, "58P01") == 0)
		say("HINT: if the library of pg_freeze is missing: \"pg_freeze rescue --sql\" prints what undoes freezes without it");
	else if (strcmp(state, "42883") == 0 || strcmp(state, "42P01") == 0)
		say("HINT: is the extension in database \"%s\" older than this program?", PQdb(conn));
}

int
server_error(PGconn *conn, const PGresult *result)
{
	const char *state = sqlstate(result);

	if (state[0] == '\0')
	{
		char	   *text = connection_error(conn);

		say("%s", text);
		free(text);
		return EXIT_ERROR;
	}
	print_server_message(result);
	print_hint(conn, result);
	if (strcmp(state, "55P03") == 0)
		return EXIT_DRAIN;
	if ((strcmp(state, "55000") == 0 || strcmp(state, "25006") == 0) && on_standby(conn))
		return EXIT_STANDBY;
	return EXIT_ERROR;
}

PGresult *
query(PGconn *conn, const char *sql, int nparams, const char *const *params)
{
	PGresult   *result = PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		exit(server_error(conn, result));
	return result;
}

const char *
extension(PGconn *conn)
{
	static char *schema = NULL;
	PGresult   *result;

	if (schema)
		return schema;
	result = query(conn, "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e"
				   " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_freeze'::pg_catalog.name", 0, NULL);
	if (PQntuples(result) == 0)
	{
		say("the database \"%s\" has no extension pg_freeze", PQdb(conn));
		say("HINT: connect to the one that has it, or run CREATE EXTENSION pg_freeze there");
		exit(EXIT_ERROR);
	}
	schema = xstrdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return schema;
}
