/*-------------------------------------------------------------------------
 *
 * drain.h
 *	  Who of a target is in flight, and the ladder that ends them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_DRAIN_H
#define PF_DRAIN_H

#include "pg_freeze.h"
#include "worker.h"

/* A blocker: a session (pid <> 0) or a prepared transaction (gid). */
typedef struct PfBlocker
{
	int			pid;
	char	   *gid;
	char	   *role;
	char	   *application;
	char	   *address;
	char	   *state;
	TimestampTz since;			/* transaction start or prepared at */
	char	   *query;
	char	   *what;			/* why it counts, for people */
	bool		signalable;		/* false: superuser session, prepared transaction, ... */
	TimestampTz backend_start;
} PfBlocker;

/*
 * The blockers (List of PfBlocker *) of a freeze whose changes are in the
 * journal (freeze_id > 0), or of a target not frozen yet (freeze_id = 0,
 * "relations" then is an oid[] of what would be taken).  Needs a transaction;
 * uses SPI.
 */
extern List *pf_drain_blockers(const PfStrategy *strategy, const PfTarget *target, int64 freeze_id,
							   ArrayType *relations);

/*
 * Who of a target in whatever database, of kind role, database or cluster, is
 * in flight, for a strategy with doors: has a transaction id or a writer's
 * lock, or has prepared; in mode all also whoever runs a statement.  Not the
 * session that freezes, nor those that are exempt or wait at a door with nothing
 * written.  "in_progress" is what
 * pf_drain_in_progress() said when the door had been closed: who began later
 * has not been let in.  NULL: everybody.  Needs a transaction; uses SPI.
 */
extern List *pf_drain_in_flight(const PfTarget *target, int64 freeze_id, ArrayType *in_progress);

/* The virtual transaction ids of all transactions in progress, as text[].  Needs a transaction. */
extern ArrayType *pf_drain_in_progress(void);

/*
 * The blockers that a query finds: pid, gid, role, application, address, state,
 * query, what, signalable, since, backend_start.  In a transaction.
 */
extern List *pf_drain_query(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);

/*
 * Waits until the freeze has no blockers, for options->drain_timeout, then as
 * options->on_drain_timeout says.  Called outside a transaction, uses short
 * transactions of its own and holds nothing while it waits.  Raises 55P03
 * with the blockers in DETAIL where they do not go; returns early (false)
 * when reply->cancelled() turns true.
 */
extern bool pf_drain(PfFreeze *freeze, const PfOptions *options, PfReply *reply);

/* A line about the blockers for DETAIL, at most five of them in full. */
extern char *pf_drain_describe(List *blockers);

#endif							/* PF_DRAIN_H */
