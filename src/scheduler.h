/*-------------------------------------------------------------------------
 *
 * scheduler.h
 *	  The sleeping worker of a database with live freezes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_SCHEDULER_H
#define PF_SCHEDULER_H

#include "datatype/timestamp.h"

/*
 * Makes sure that this database has a scheduler and that it wakes up at "at"
 * or before.  Called by a request worker outside a transaction; uses
 * transactions of its own.  53400 where no worker slot is free.
 */
extern void pf_scheduler_wake(TimestampTz at);

/* Registers the static launcher; called from _PG_init when preloaded. */
extern void pf_scheduler_register_launcher(void);

/*
 * life.c: in a connected worker, outside a transaction: finishes what a dead
 * worker left, thaws what is due, reminds, forgets old history.  Never raises
 * for the sake of one freeze.  Returns when to come back, 0 if no freeze of
 * this database is live.
 */
extern TimestampTz pf_life_attend(void);

#endif							/* PF_SCHEDULER_H */
