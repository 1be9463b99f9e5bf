/*-------------------------------------------------------------------------
 *
 * sessions.h
 *	  The sessions of a target, as strategies that recycle sessions see them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_SESSIONS_H
#define PF_SESSIONS_H

#include "drain.h"

/*
 * The pids of all processes that may have been let in before the door was
 * closed, those that are still starting included (int4[], in the current
 * memory context).  Called when the change of the catalogs has committed: who
 * comes later reads what it says now.
 */
extern ArrayType *pf_sessions_there(void);

/*
 * Who of the target's sessions is still there (List of PfBlocker *).  "there"
 * is what pf_sessions_there() said, of whom those leave it who are gone or need
 * not be waited for; NULL: all.  Not the session that
 * freezes, walsenders, autovacuum, pg_freeze's processes, nor sessions of
 * superusers unless "superusers" says so or the target is that role, nor roles
 * in pg_freeze.exempt_roles where the target is a database or the cluster, nor, in
 * mode all of the cluster, roles for replication, which may log in.  A process that is
 * still starting is one of them, until it can be told that it has read the
 * changed catalogs, or whose it is.  Needs a transaction; uses SPI.
 */
extern List *pf_sessions_left(const PfStrategy *strategy, const PfTarget *target, int64 freeze_id,
							  bool superusers, bool keep_read_only, ArrayType *there);

/* Sessions of the target that are left alone: a line for the leak list, NULL: none.  Needs a transaction. */
extern char *pf_sessions_left_alone(const PfTarget *target, bool superusers);

/*
 * How many sessions of the target there are that began when it was frozen,
 * whosever they are.  "there" is what pf_sessions_there() said when it was
 * thawed: who has come later is none of them.  Needs a transaction.
 */
extern int	pf_sessions_newcomers(const PfFreeze *freeze, ArrayType *there);

/* A session of a target, as a drain sees it. */
typedef struct PfSession
{
	PfBlocker  *blocker;		/* what is known of it, whether it is one or not */
	bool		in_flight;
	bool		writer;
	const char *next_rung;		/* NULL: none, it is left alone */
	char	   *why;			/* what it does, or why it is left alone */
} PfSession;

/*
 * All sessions of the target and those of others that are in the way (List of
 * PfSession *).  "blockers" is what pf_drain_blockers() says.
 */
extern List *pf_sessions_all(const PfStrategy *strategy, const PfTarget *target, int64 freeze_id, List *blockers);

#endif							/* PF_SESSIONS_H */
