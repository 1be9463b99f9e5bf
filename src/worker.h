/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  A request from a backend to a background worker, and what comes back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_WORKER_H
#define PF_WORKER_H

#include "pg_freeze.h"
#include "postmaster/bgworker.h"

typedef enum PfAction
{
	PF_FREEZE,
	PF_THAW,
	PF_EXTEND,
	PF_ALTER
} PfAction;

#define PF_LABEL_MAX	255		/* bytes */
#define PF_REASON_MAX	1023	/* bytes */
#define PF_WHY_MAX		255		/* bytes */

/* What a backend asks of a worker; copied into the segment as it is. */
typedef struct PfRequest
{
	PfAction	action;
	Oid			database;
	PfCaller	caller;
	/* freeze */
	PfTarget	target;
	NameData	strategy;
	char		why[PF_WHY_MAX + 1];
	PfOptions	options;
	char		label[PF_LABEL_MAX + 1];	/* "": none */
	char		reason[PF_REASON_MAX + 1];	/* "": none */
	int64		backup;			/* that it is a part of, 0: none */
	/* thaw */
	bool		opened;			/* the target goes on already: nothing is left to cancel */
	/* extend; alter sets options.action */
	int64		extend_by;		/* us from now, 0: remove the deadline */
	/* thaw, extend and alter */
	int			nids;
	int64		ids[FLEXIBLE_ARRAY_MEMBER];
} PfRequest;

/*
 * Where the outcome goes: to the caller's backend through the segment, or
 * straight to a caller whose own transaction does the work.
 */
typedef struct PfReply
{
	/* one result row; a NULL value is SQL NULL */
	void		(*row) (struct PfReply *reply, int nvalues, char **values);
	void		(*notice) (struct PfReply *reply, int elevel, const char *message,
						   const char *detail, const char *hint);
	/* the one compare-and-swap: true: this freeze is frozen; false: cancelled */
	bool		(*decide) (struct PfReply *reply);
	/* true once the caller has given up */
	bool		(*cancelled) (struct PfReply *reply);
	void	   *arg;
	bool		hurries;		/* in the caller: doesn't wait until the worker's process has ended, too */
	bool		interrupted;	/* in the caller: a cancel came, too late */
} PfReply;

/*
 * Runs a request in a background worker and waits for its end.  Rows and
 * notices arrive in the calling backend through "reply" (whose decide and
 * cancelled are not used there); an error of the worker is raised here with its SQLSTATE,
 * DETAIL and HINT.  Returns false, having done nothing, where no worker can
 * be had and may_fail is true; else that is 53400.
 */
extern bool pf_worker_call(const PfRequest *request, Size size, PfReply *reply, bool may_fail);

/* Raises 25001, as pf_worker_call() does, in a transaction that has written. */
extern void pf_worker_check_not_written(void);

/*
 * In a request worker: whether cancels, from whomever, raise an error here;
 * lock_timeout and statement_timeout do in any case.  Ignore them before
 * undoing, so that a cancel that is still on its way doesn't stop that; one
 * that came meanwhile is raised once they are heeded again.  Where decide()
 * returns true they are ignored.  Does nothing in other processes.
 */
extern void pf_worker_ignore_cancel(bool ignore);

/* The pid of the session that asks: in a request worker its caller, else this process. */
extern int	pf_worker_asker(void);

/*
 * Fills in what the registrations of pg_freeze's processes have in common.  The
 * kind, "holder" say, is in the name of its main function and in
 * pg_stat_activity; restart_time in s or BGW_NEVER_RESTART.
 */
extern void pf_worker_describe(BackgroundWorker *worker, const char *kind, const char *about,
							   int restart_time);

/*
 * The settings that pg_freeze's connected workers run with, whatever the
 * server, the database or the role has.
 */
extern void pf_worker_settings(void);

/* Whether a request is about a freeze; none is about nothing. */
extern bool pf_is_asked_for(int64 id, const PfRequest *request);

/* life.c: what the worker runs once it is connected, outside a transaction. */
extern void pf_life_run(const PfRequest *request, PfReply *reply);

#endif							/* PF_WORKER_H */
