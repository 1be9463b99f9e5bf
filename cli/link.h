/*-------------------------------------------------------------------------
 *
 * link.h
 *	  The program pg_freeze: signals, the clock, a connection that comes back,
 *	  calls that may take long.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LINK_H
#define PF_LINK_H

#include "cli.h"

/* ---- signals.c -------------------------------------------------------- */

/*
 * From here on SIGINT, SIGTERM, SIGHUP and SIGQUIT (unless they are ignored:
 * nohup) end nothing but are found by next_signal(), and they and SIGCHLD end
 * a wait_for().
 */
extern void catch_signals(void);

/* In a child before its exec: as it was. */
extern void restore_signals(void);

/* The oldest signal that hasn't been taken, 0: none. */
extern int	next_signal(void);
extern const char *signal_name(int number);

/* ms on a clock that nobody sets and that goes on while the machine sleeps. */
extern int64 now_ms(void);

struct Link;

/* Until one of these (NULL: none) can go on, a signal comes, or now_ms() is "until" (below 0: no limit). */
extern void wait_for(struct Link *one, struct Link *other, int64 until);

/* ---- link.c ----------------------------------------------------------- */

/*
 * The states of a link and what may follow.
 *
 *	down	   -> connecting
 *	connecting -> checking, down
 *	checking   -> idle, down
 *	idle	   -> busy, down
 *	busy	   -> idle, down
 */
typedef enum LinkState
{
	LINK_DOWN,					/* tries to connect at retry_at */
	LINK_CONNECTING,
	LINK_CHECKING,				/* whether this is the same server */
	LINK_IDLE,
	LINK_BUSY					/* a statement was sent */
} LinkState;

typedef enum LinkEvent
{
	LINK_NOTHING,
	LINK_ANSWER,				/* a statement has ended, well or not: see results; is idle now */
	LINK_LOST,					/* was idle or busy, is down now; said already */
	LINK_BACK					/* was down, is idle now */
} LinkEvent;

#define LINK_RESULTS 16

typedef struct Link
{
	const ConnectOptions *options;
	LinkState	state;
	PGconn	   *conn;			/* NULL while down */
	PostgresPollingStatusType polling;	/* while connecting */
	int64		retry_at;
	int64		give_up_at;		/* when what is under way counts as lost, below 0: never */
	int64		patience;		/* ms for connecting and checking */
	bool		silent;			/* nothing is said about its failures, and it does not come back */
	bool		again;			/* has been connected before */
	char	   *complaint;		/* that was said last, not to be repeated */
	char	   *server;			/* what identifies it */
	PGresult   *results[LINK_RESULTS];	/* of the last message, in order */
	int			nresults;
} Link;

/* Connects, waiting, or die()s; asks which server it is. */
extern void link_open(Link *link, const ConnectOptions *options);

/* A second one to the same server, of which nothing is expected. */
extern void link_open_silent(Link *link, const Link *first);
extern void link_close(Link *link);

/*
 * Sends a message of one or more statements on an idle link.  With no answer
 * after "patience" ms (below 0: no limit) the connection counts as lost.
 */
extern void link_send(Link *link, const char *sql, int64 patience);

/* Does what can be done without waiting. */
extern LinkEvent link_step(Link *link);

/* When it wants link_step() to be called, whatever happens; below 0: no wish. */
extern int64 link_due(const Link *link);

/* For poll(): -1 if there is nothing to wait for. */
extern int	link_socket(const Link *link, short *events);

/* Drops the connection; tries again at once, or (silent) never. */
extern void link_drop(Link *link);

/* The first result that is an error, NULL if none is. */
extern const PGresult *link_error(const Link *link);

/* The n-th (from 0) result that has rows. */
extern const PGresult *link_rows(const Link *link, int n);

/* ---- call.c ----------------------------------------------------------- */

/*
 * What every message of a call begins with: settings of the role or the
 * database must not get in the way.  For this one transaction only, see
 * connect.c.  "application": what others see, NULL: as it is.
 */
extern char *call_settings(PGconn *conn, bool read_write, const char *application);

/* 'text'::type, or NULL; the caller frees. */
extern char *literal(PGconn *conn, const char *text, const char *type);

typedef enum CallEnd
{
	CALL_DONE,
	CALL_ERROR,					/* link_error() says why */
	CALL_LOST,					/* no answer, the connection is gone */
	CALL_INTERRUPTED			/* by a signal, and cancelled: link_error(); or there was no answer to that */
} CallEnd;

/*
 * Sends a message and waits for the answer, for as long as it takes.  Signals
 * cancel it; what was done all the same is in the results.  While it lasts,
 * a query on a second connection says what is waited for (NULL: nothing does):
 * the first column of its first row, "otherwise" where there is none.
 */
extern CallEnd call_server(Link *link, const char *sql, const char *waiting_query, const char *otherwise);

/* The same of a call that may be repeated, and is where its answer got lost. */
extern CallEnd call_again(Link *link, const char *sql, const char *waiting_query, const char *otherwise);

#endif							/* PF_LINK_H */
