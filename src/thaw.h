/*-------------------------------------------------------------------------
 *
 * thaw.h
 *	  Thawing, the verdict, and what can be changed of a live freeze.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_THAW_H
#define PF_THAW_H

#include "worker.h"

#define PF_VERDICT_COLUMNS 12

/* A thaw under way, and what came of it. */
typedef struct PfThaw
{
	const char *why;			/* "thawed by joe", "thawed on schedule" */
	Oid			by;				/* who must be allowed to, InvalidOid: pg_freeze itself */
	PfReply    *reply;			/* NULL: nobody listens */
	const PfRequest *request;	/* NULL: there is none */
	bool		decide;			/* ask the caller before it begins */
	bool		impatient;		/* others wait behind this one: one try */
	TimestampTz *leave_until;	/* how long thaws together may wait for sessions to go, 0: nobody has begun to */
	MemoryContext context;		/* of the row */
	PfRestore	restore;		/* what came of it */
	char	   *row[PF_VERDICT_COLUMNS];
} PfThaw;

/* Thaws, in every database, what was frozen before its time: see pf_deadline(). */
#define PF_THAW_FILE	"pg_freeze.thaw"

/* The time of that file, 0: there is none.  Needs no transaction. */
extern TimestampTz pf_thaw_file(void);

/*
 * When a freeze is to be thawed, 0: not scheduled.  A file PF_THAW_FILE is one
 * more deadline of what was frozen before its time: for nearly everybody that
 * is in the past, and one from the future thaws nothing before it is time.
 */
extern TimestampTz pf_deadline(TimestampTz frozen_at, TimestampTz thaw_at);

/*
 * Thaws one freeze whose work lock is held.  Returns NULL, or the error, in
 * which case the freeze is as it was or thawing with a time to try again.
 */
extern ErrorData *pf_try_thaw(int64 id, PfThaw *thaw);

/* The requests, in a worker. */
extern void pf_run_thaw(const PfRequest *request, PfReply *reply);
extern void pf_run_extend(const PfRequest *request, PfReply *reply);
extern void pf_run_alter(const PfRequest *request, PfReply *reply);

/*
 * Thaws in the caller's own transaction, where no worker can be had; takes
 * effect at its commit.
 */
extern void pf_thaw_here(const PfRequest *request, PfReply *reply);

/*
 * thawing.c: thaws a freeze of this database, as thaw() does; "row" gets what
 * that returns.
 */
extern void pf_thaw_one(PfFreeze *freeze, char **row);

/* Whether a role may end, extend and alter a freeze; the other raises 42501.  In a transaction. */
extern bool pf_may_end(const PfFreeze *freeze, Oid role);
extern void pf_check_may_end(const PfFreeze *freeze, Oid role);

/* Raises 55000 unless the freeze can be thawed or extended now. */
extern void pf_check_in_hold(const PfFreeze *freeze);

#endif							/* PF_THAW_H */
