/*-------------------------------------------------------------------------
 *
 * call.c
 *	  The program pg_freeze: calls that may take long, and saying what is waited
 *	  for.
 *
 * The call runs on one connection.  On a terminal (or with -v) a second one,
 * once the call has taken a second, asks every second what it waits for; if it
 * can't be had, nothing is said.
 *
 *-------------------------------------------------------------------------
 */
#include "link.h"

#include <unistd.h>

#define SHOW_AFTER 1000			/* ms until it is said what is waited for, and between two looks */
#define AGAIN_AFTER_LOSS 10000	/* ms in which a lost connection has to come back */
#define ANSWER_TO_CANCEL 20000	/* ms that a call which is cancelled has to undo what it did */

char *
call_settings(PGconn *conn, bool read_write, const char *application)
{
	PQExpBufferData sql;

	initPQExpBuffer(&sql);
	appendPQExpBuffer(&sql, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED%s; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; ",
					  read_write ? ", READ WRITE" : "");
	if (PQserverVersion(conn) >= 170000)
		appendPQExpBufferStr(&sql, "SET LOCAL transaction_timeout = 0; ");
	if (application)
	{
		char	   *quoted = literal(conn, application, NULL);

		appendPQExpBuffer(&sql, "SET LOCAL application_name = %s; ", quoted);
		free(quoted);
	}
	if (PQExpBufferDataBroken(sql))
		die(EXIT_ERROR, "out of memory");
	return sql.data;
}

char *
literal(PGconn *conn, const char *text, const char *type)
{
	char	   *quoted;
	char	   *result;

	if (!text)
		return xstrdup("NULL");
	quoted = PQescapeLiteral(conn, text, strlen(text));
	if (!quoted)
	{
		char	   *why = connection_error(conn);

		die(EXIT_ERROR, "%s", why);
	}
	result = type ? xformat("%s::pg_catalog.%s", quoted, type) : xstrdup(quoted);
	PQfreemem(quoted);
	return result;
}

/*
 * Asks the server to cancel what a connection is doing.  That means another
 * connection, made in libpq's blocking way, so a child does it.
 */
static void
cancel(PGconn *conn)
{
	PGcancel   *handle = PQgetCancel(conn);
	char		error[256];

	if (handle && fork() == 0)
	{
		(void) PQcancel(handle, error, sizeof(error));
		_exit(0);
	}
	PQfreeCancel(handle);
}

typedef struct Watch
{
	Link		link;
	bool		open;
	int64		began;
	int64		look_at;
} Watch;

static void
watch_step(Watch *watch, const Link *link, const char *sql, const char *otherwise)
{
	int			seconds = (int) ((now_ms() - watch->began) / 1000);
	bool		due = now_ms() >= watch->look_at;
	LinkEvent	event;

	if (!watch->open && due)
		link_open_silent(&watch->link, link);
	watch->open |= due;
	if (!watch->open)
		return;
	event = link_step(&watch->link);
	if (event == LINK_ANSWER)
	{
		const PGresult *rows = link_rows(&watch->link, 0);

		if (!link_error(&watch->link) && rows && PQntuples(rows) > 0 && !PQgetisnull(rows, 0, 0))
			show_waiting(PQgetvalue(rows, 0, 0), seconds);
		else
			show_waiting(otherwise, seconds);
	}
	if (!due && event != LINK_BACK)
		return;
	if (watch->link.state == LINK_IDLE)
		link_send(&watch->link, sql, SHOW_AFTER * 5);
	else if (watch->link.state != LINK_BUSY)
		show_waiting(otherwise, seconds);
	watch->look_at = now_ms() + SHOW_AFTER;
}

CallEnd
call_server(Link *link, const char *sql, const char *waiting_query, const char *otherwise)
{
	Watch		watch = {.began = now_ms(),.look_at = now_ms() + SHOW_AFTER};
	bool		watching = shows_waiting() && waiting_query;
	int			interrupted = 0;
	int64		until = -1;
	CallEnd		end = CALL_LOST;

	link_send(link, sql, -1);
	for (;;)
	{
		LinkEvent	event = link_step(link);
		int			number;

		if (event == LINK_ANSWER)
			end = link_error(link) ? CALL_ERROR : CALL_DONE;
		if (event == LINK_ANSWER || event == LINK_LOST)
			break;
		while ((number = next_signal()) != 0)
		{
			/* who asks twice doesn't wait for the answer */
			until = interrupted ? now_ms() : now_ms() + ANSWER_TO_CANCEL;
			if (!interrupted)
			{
				tell("%s: cancelling", signal_name(number));
				cancel(link->conn);
			}
			interrupted = number;
		}
		if (until >= 0 && now_ms() >= until)
		{
			link_drop(link);
			break;
		}
		if (watching)
			watch_step(&watch, link, waiting_query, otherwise);
		wait_for(link, watch.open ? &watch.link : NULL,
				 !watching ? until : until < 0 ? watch.look_at : Min(until, watch.look_at));
	}
	show_waiting(NULL, 0);
	if (watch.open)
		link_close(&watch.link);
	return interrupted ? CALL_INTERRUPTED : end;
}

CallEnd
call_again(Link *link, const char *sql, const char *waiting_query, const char *otherwise)
{
	for (int tries = 0;; tries++)
	{
		CallEnd		end = call_server(link, sql, waiting_query, otherwise);
		int64		until = now_ms() + AGAIN_AFTER_LOSS;

		if (end != CALL_LOST || tries == 2)
			return end;
		while (link->state != LINK_IDLE && now_ms() < until && !next_signal())
		{
			(void) link_step(link);
			if (link->state != LINK_IDLE)
				wait_for(link, NULL, until);
		}
		if (link->state != LINK_IDLE)
			return CALL_LOST;
	}
}
