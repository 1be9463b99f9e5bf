/*-------------------------------------------------------------------------
 *
 * link.c
 *	  The program pg_freeze: a connection that is never waited for, and comes
 *	  back.
 *
 * libpq's asynchronous calls, with a limit for everything that is under way:
 * a server or a network that is silent is found out as one that hangs up is.
 * A connection that comes back may lead elsewhere (several hosts, an address
 * that has moved): only the same server, as a primary or a standby as before,
 * counts; what was frozen is not known to others.
 *
 *-------------------------------------------------------------------------
 */
#include "link.h"

#include <poll.h>

#include "common/string.h"

#define RETRY_AFTER 200			/* ms between two tries to connect */

/* No operators, and unqualified names of nobody's: see connect.c. */
#define SERVER_QUERY "SELECT pg_catalog.concat((SELECT system_identifier FROM pg_catalog.pg_control_system()), ' '," \
	" pg_catalog.pg_is_in_recovery(), ' ', (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))"

static void
forget_results(Link *link)
{
	for (int i = 0; i < link->nresults; i++)
		PQclear(link->results[i]);
	link->nresults = 0;
}

static void
disconnect(Link *link)
{
	if (link->conn)
		PQfinish(link->conn);
	link->conn = NULL;
	link->state = LINK_DOWN;
	link->give_up_at = -1;
}

/* Says why, unless that was said last; the connection is gone. */
static void
fail(Link *link, const char *what, const char *why, int64 retry_after)
{
	char	   *complaint = xformat("%s: %s", what, why);

	if (!link->silent && (!link->complaint || strcmp(link->complaint, complaint) != 0))
		say("%s", complaint);
	free(link->complaint);
	link->complaint = complaint;
	disconnect(link);
	link->retry_at = now_ms() + retry_after;
}

static void
fail_by_libpq(Link *link, const char *what, int64 retry_after)
{
	char	   *text = connection_error(link->conn);

	fail(link, what, text, retry_after);
	free(text);
}

void
link_open(Link *link, const ConnectOptions *options)
{
	PGresult   *result;

	memset(link, 0, sizeof(Link));
	link->options = options;
	link->patience = 5000;
	link->give_up_at = -1;
	link->conn = connect_server(options);
	link->state = LINK_IDLE;
	link->again = true;
	result = query(link->conn, SERVER_QUERY, 0, NULL);
	link->server = xstrdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	(void) PQsetnonblocking(link->conn, 1);
}

void
link_open_silent(Link *link, const Link *first)
{
	memset(link, 0, sizeof(Link));
	link->options = first->options;
	link->server = xstrdup(first->server);
	link->patience = 5000;
	link->give_up_at = -1;
	link->silent = true;
	link->retry_at = now_ms();
}

void
link_close(Link *link)
{
	forget_results(link);
	disconnect(link);
	free(link->complaint);
	free(link->server);
	memset(link, 0, sizeof(Link));
}

void
link_drop(Link *link)
{
	disconnect(link);
	link->retry_at = now_ms();
}

static void
connect_begin(Link *link)
{
	const char *keywords[CONNECT_KEYWORDS];
	const char *values[CONNECT_KEYWORDS];

	connect_keywords(link->options, keywords, values);
	link->conn = PQconnectStartParams(keywords, values, 1);
	if (!link->conn)
		die(EXIT_ERROR, "out of memory");
	if (PQstatus(link->conn) == CONNECTION_BAD)
	{
		fail_by_libpq(link, "no connection", RETRY_AFTER);
		return;
	}
	link->state = LINK_CONNECTING;
	link->polling = PGRES_POLLING_WRITING;
	link->give_up_at = now_ms() + link->patience;
}

void
link_send(Link *link, const char *sql, int64 patience)
{
	Assert(link->state == LINK_IDLE || link->state == LINK_CHECKING);

	forget_results(link);
	link->give_up_at = patience < 0 ? -1 : now_ms() + patience;
	if (link->state == LINK_IDLE)
		link->state = LINK_BUSY;
	/* what can't be sent shows when the answer is looked for */
	(void) PQsendQuery(link->conn, sql);
}

static void
connect_step(Link *link)
{
	link->polling = PQconnectPoll(link->conn);
	if (link->polling == PGRES_POLLING_FAILED)
		fail_by_libpq(link, "no connection", RETRY_AFTER);
	else if (link->polling == PGRES_POLLING_OK)
	{
		connection_ready(link->conn);
		(void) PQsetnonblocking(link->conn, 1);
		link->state = LINK_CHECKING;
		link_send(link, SERVER_QUERY, link->patience);
	}
}

/* Whether all results of what was sent are there; false, and down, if the connection is lost. */
static bool
collect(Link *link)
{
	if (PQflush(link->conn) < 0 || !PQconsumeInput(link->conn))
		return false;
	while (!PQisBusy(link->conn))
	{
		PGresult   *result = PQgetResult(link->conn);

		if (!result)
			return PQstatus(link->conn) == CONNECTION_OK;
		if (link->nresults == LINK_RESULTS)
			PQclear(link->results[--link->nresults]);
		link->results[link->nresults++] = result;
		if (PQstatus(link->conn) != CONNECTION_OK)
			return false;
	}
	return false;
}

/* Whether it is the server that it was; else it is left. */
static LinkEvent
check_server(Link *link)
{
	const PGresult *rows = link_rows(link, 0);

	if (link_error(link) || !rows || PQntuples(rows) != 1)
	{
		fail(link, "no connection", link_error(link) ? PQresultErrorMessage(link_error(link)) : "no answer", RETRY_AFTER);
		return LINK_NOTHING;
	}
	if (strcmp(PQgetvalue(rows, 0, 0), link->server) != 0)
	{
		fail(link, "no connection", "this is another server, or it is a standby now, or has been promoted", RETRY_AFTER);
		return LINK_NOTHING;
	}
	link->state = LINK_IDLE;
	link->give_up_at = -1;
	if (link->again && !link->silent)
		say("connected again");
	free(link->complaint);
	link->complaint = NULL;
	link->again = true;
	return LINK_BACK;
}

LinkEvent
link_step(Link *link)
{
	bool		late = link->give_up_at >= 0 && now_ms() >= link->give_up_at;

	switch (link->state)
	{
		case LINK_DOWN:
			if (now_ms() >= link->retry_at && !(link->silent && link->complaint))
				connect_begin(link);
			return LINK_NOTHING;

		case LINK_CONNECTING:
			if (late)
				fail(link, "no connection", "no answer", 0);
			else
			{
				short		events;
				struct pollfd fd = {.fd = link_socket(link, &events)};

				/* PQconnectPoll() wants to be called when its socket is ready */
				fd.events = events;
				if (poll(&fd, 1, 0) > 0)
					connect_step(link);
			}
			return LINK_NOTHING;

		case LINK_CHECKING:
			if (collect(link))
				return check_server(link);
			if (PQstatus(link->conn) != CONNECTION_OK)
				fail_by_libpq(link, "no connection", RETRY_AFTER);
			else if (late)
				fail(link, "no connection", "no answer", 0);
			return LINK_NOTHING;

		case LINK_IDLE:
			if (PQconsumeInput(link->conn) && PQstatus(link->conn) == CONNECTION_OK)
			{
				/* notices that come by themselves are handled in there */
				(void) PQisBusy(link->conn);
				if (PQstatus(link->conn) == CONNECTION_OK)
					return LINK_NOTHING;
			}
			fail_by_libpq(link, "the connection was lost", 0);
			return LINK_LOST;

		case LINK_BUSY:
			if (collect(link))
			{
				link->state = LINK_IDLE;
				link->give_up_at = -1;
				return LINK_ANSWER;
			}
			if (PQstatus(link->conn) != CONNECTION_OK)
				fail_by_libpq(link, "the connection was lost", 0);
			else if (late)
				fail(link, "the connection was lost", "no answer", 0);
			else
				return LINK_NOTHING;
			return LINK_LOST;
	}
	return LINK_NOTHING;
}

int64
link_due(const Link *link)
{
	if (link->state == LINK_DOWN)
		return link->silent && link->complaint ? -1 : link->retry_at;
	return link->give_up_at;
}

int
link_socket(const Link *link, short *events)
{
	int			fd = link->conn ? PQsocket(link->conn) : -1;

	*events = POLLIN;
	if (link->state == LINK_CONNECTING)
		*events = link->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT;
	else if (fd >= 0 && PQflush(link->conn) > 0)
		*events |= POLLOUT;
	return fd;
}

const PGresult *
link_error(const Link *link)
{
	for (int i = 0; i < link->nresults; i++)
		if (PQresultStatus(link->results[i]) != PGRES_TUPLES_OK && PQresultStatus(link->results[i]) != PGRES_COMMAND_OK)
			return link->results[i];
	return NULL;
}

const PGresult *
link_rows(const Link *link, int n)
{
	for (int i = 0; i < link->nresults; i++)
		if (PQresultStatus(link->results[i]) == PGRES_TUPLES_OK && n-- == 0)
			return link->results[i];
	return NULL;
}
