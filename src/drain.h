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
	bool		unreported;		/* track_activities is off there: the state is as far as others can see */
	TimestampTz since;			/* transaction start or prepared at */
	char	   *query;
	char	   *what;			/* why it counts, for people */
	bool		signalable;		/* false: prepared transaction, walsender, ... */
	bool		superuser;		/* and is not the target: signalled only if that was asked for */
	TimestampTz backend_start;	/* 0: not known, is still starting */
	TimestampTz state_change;	/* 0: not known */
	char	   *database;
} PfBlocker;

/* The rungs of the ladder, in the order in which they are climbed. */
typedef enum PfRung
{
	PF_RUNG_NONE,
	PF_RUNG_IDLE,				/* at every look, where sessions are recycled */
	PF_RUNG_IDLE_IN_TRANSACTION,	/* the others once drain_timeout is over */
	PF_RUNG_CANCEL,
	PF_RUNG_TERMINATE
} PfRung;

/*
 * A ladder under way, for a freeze or for freeze_drain().  The functions run
 * in a transaction that "begin" has begun, with "round" as memory context.
 */
typedef struct PfLadder
{
	const PfOptions *options;
	const char *name;			/* "freeze 5", for the log */
	bool		recycles;
	bool		late;			/* the second half of drain_timeout has begun */
	TimestampTz closed_at;		/* the door, and idle_wait later: whose transaction began after that has ended the one he may finish; 0: nobody has */
	bool		supervises;		/* asks often whether it is over: see "over" */
	void	   *arg;
	void		(*begin) (struct PfLadder *ladder);
	void		(*end) (struct PfLadder *ladder);
	List	   *(*look) (struct PfLadder *ladder);	/* who is in the way */
	bool		(*over) (struct PfLadder *ladder);	/* outside a transaction; NULL: when nobody is */
	bool		(*cancelled) (struct PfLadder *ladder); /* outside a transaction */
	void		(*write_down) (struct PfLadder *ladder, List *blockers, PfRung rung);
	void		(*signalled_one) (struct PfLadder *ladder, const PfBlocker *blocker, PfRung rung);	/* or NULL */
	void		(*give_up) (struct PfLadder *ladder, List *blockers);	/* need not return */

	/* what has been done */
	MemoryContext context;		/* what lives from one look to the next */
	MemoryContext round;		/* the blockers of one look */
	PfRung		rung;			/* the last one that was climbed */
	int			waited;			/* ms that all of them had */
	int			idle;			/* idle sessions that were ended */
	int			nsignalled;
	StringInfoData signalled;	/* ", session 123 cancelled" each */
	List	   *ended;			/* of pids that were terminated, not to be said twice */
} PfLadder;

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

/* The names in pg_freeze.exempt_roles, as text[]. */
extern ArrayType *pf_drain_exempt_roles(void);

/* The blockers of a strategy that has no function for that and doesn't recycle, as pf_drain_blockers(). */
extern List *pf_drain_writers(const PfTarget *target, int64 freeze_id, ArrayType *relations, ArrayType *in_progress);

/*
 * The blockers that a query finds: pid, gid, role, application, address, state,
 * query, what, signalable, since, backend_start, state_change, database, superuser;
 * the last three may be missing.  In a transaction.
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

/*
 * Once what was changed is put back: ends the idle sessions of the target that
 * came in while it was frozen, and would go on as if it still were; for up to
 * "patience" ms also those that are in a transaction, when that is over.
 * "caller" is left alone.  Returns how many are left, he and superusers among
 * them.  Outside a transaction.
 */
extern int	pf_drain_newcomers(PfFreeze *freeze, int caller, int patience);

extern const char *pf_rung_name(PfRung rung);

/* Whether a rung does something to a session now. */
extern bool pf_rung_reaches(PfRung rung, const PfBlocker *blocker, const PfOptions *options);

/* Climbs until nobody is in the way (true), or it is cancelled or has given up. */
extern bool pf_ladder_climb(PfLadder *ladder);

/* Whether a process is in no transaction. */
extern bool pf_is_between_transactions(int pid);

/* A line about the blockers for DETAIL, at most five of them in full. */
extern char *pf_drain_describe(List *blockers);

#endif							/* PF_DRAIN_H */
