/*-------------------------------------------------------------------------
 *
 * holder.h
 *	  The process that holds the locks of a database's "lock" freezes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_HOLDER_H
#define PF_HOLDER_H

#include "pg_freeze.h"

typedef enum PfHoldState
{
	PF_HOLD_NONE,				/* no process knows of this freeze */
	PF_HOLD_TRYING,
	PF_HOLD_HOLDING,			/* every lock is held, without a break since "since" */
	PF_HOLD_FAILED,				/* nothing is held and it does not try; why */
	PF_HOLD_TOO_OLD				/* let go because the database nears wraparound */
} PfHoldState;

#define PF_HOLD_WHY_MAX 255

/* What the holder's board says of a freeze. */
typedef struct PfHold
{
	PfHoldState state;
	int			pid;
	TimestampTz since;
	TransactionId next_xid;		/* that the server would have given out when it last held; 0: never did */
	int			locks;
	int			attempts;
	int			slice;			/* ms of an attempt */
	Oid			gate_class;		/* what the next attempt waits for first: */
	Oid			gate;			/* pg_class or pg_namespace, OID; InvalidOid: nothing */
	int			sqlstate;		/* when it failed */
	char		why[PF_HOLD_WHY_MAX + 1];
} PfHold;

/*
 * Has the holder of this database, which is started where there is none, try
 * to take the locks of a freeze until it has them or is told to let go.
 * Returns at once.  Outside a transaction; uses one of its own.  53400 where
 * no worker slot is free or the holder has too many freezes.
 */
extern void pf_holder_ask(int64 id);

/* What the holder says.  Needs a transaction. */
extern PfHold pf_holder_look(int64 id);

/* The holder of this database, 0 if there is none.  Needs a transaction. */
extern int	pf_holder_pid(void);

/*
 * Interrupts the holder if it waits for a lock: it lets go of what that
 * attempt has and tries again later.
 */
extern void pf_holder_interrupt(void);

/* Has the holder begin its next attempt now. */
extern void pf_holder_go(int64 id);

/* Has the holder take the locks of a freeze anew, for there are more of them. */
extern void pf_holder_again(int64 id);

/*
 * Has the holder let go of a freeze and forget it; waits until it has.  Needs
 * no transaction; outside one it uses its own.
 */
extern void pf_holder_let_go(int64 id);

/* The same when the current transaction commits, without waiting; not if a subtransaction is rolled back. */
extern void pf_holder_let_go_at_commit(int64 id);

/*
 * Tells the holder when a freeze is to be thawed, 0: not by itself.  It lets go
 * some time after that if nobody has thawed it: whatever keeps thaws from
 * working, the application is not held for longer.  Outside a transaction.
 */
extern void pf_holder_deadline(int64 id, TimestampTz at);

/* Has the holder let go of freezes that have ended.  Outside a transaction. */
extern void pf_holder_sweep(void);

#endif							/* PF_HOLDER_H */
