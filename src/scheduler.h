/*-------------------------------------------------------------------------
 *
 * scheduler.h
 *	  The sleeping worker of a database with live freezes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_SCHEDULER_H
#define PF_SCHEDULER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"

#define PF_RESTART_AFTER	10	/* s, after an error or a crash */
#define PF_RETRY_EVERY		10000	/* ms between tries to get a worker slot */

/*
 * Makes sure that this database has a scheduler and that it wakes up at "at"
 * or before.  Called by a request worker outside a transaction; uses
 * transactions of its own.  53400 where no worker slot is free.
 */
extern void pf_scheduler_wake(TimestampTz at);

/*
 * Has the scheduler of this database, if there is one, look now: so that one
 * whose last freeze has ended doesn't sleep on in a worker slot.  Called
 * outside a transaction; starts nothing.
 */
extern void pf_scheduler_look(void);

/*
 * For a process that goes away in the middle of a freeze or a thaw, possibly
 * inside a transaction: has the scheduler look in a second, when the locks of
 * this process are free.
 */
extern void pf_scheduler_alarm(void);

/*
 * For a backend that goes away with a thaw half done, possibly inside a
 * transaction: has the scheduler of a database, with that board, look in a
 * second, or, where it isn't found, starts one that does, or tells the one that
 * there is.
 */
extern void pf_scheduler_leave_to(Oid database, dsm_handle board);

/*
 * The board of the scheduler that this process is or has called last: what a
 * process that it starts needs in order to tell it something.
 */
extern dsm_handle pf_scheduler_board(void);

/* Registers the static launcher; called from _PG_init when preloaded. */
extern void pf_scheduler_register_launcher(void);

/* For launcher.c, which has the last one. */
extern BackgroundWorkerHandle *pf_scheduler_register(Oid database, dsm_handle handle);
extern bool pf_scheduler_is_stopped(BackgroundWorkerHandle *worker);
extern void pf_scheduler_doze(long timeout);
extern List *pf_scheduler_list_databases(void);

/* Tells the launcher that the live freezes of this database have been attended to. */
extern void pf_scheduler_attended(void);

/*
 * life.c: in a connected worker, outside a transaction: finishes what a dead
 * worker left, thaws what is due, reminds, forgets old history.  Never raises
 * for the sake of one freeze.  Returns when to come back, 0 if no freeze of
 * this database is live.
 */
extern TimestampTz pf_life_attend(void);

#endif							/* PF_SCHEDULER_H */
