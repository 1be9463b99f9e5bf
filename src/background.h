/*-------------------------------------------------------------------------
 *
 * background.h
 *	  Gates and the processes that are no client sessions: autovacuum and
 *	  logical replication.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_BACKGROUND_H
#define PF_BACKGROUND_H

#include "gates.h"

/*
 * At each door, in any process, while some gate is closed or draining and
 * before the process shows that it is committing.  True: this one passes
 * without being looked at any further.  False: the rules for sessions apply.
 * May wait for the thaw, and may not return.
 */
extern bool pf_background_passes(void);

/* Who works in the background for a target that is being frozen, and has to go. */
typedef struct PfBackgroundWorker
{
	int			pid;
	bool		is_autovacuum;
} PfBackgroundWorker;

/* All of them, in the current memory context.  In a transaction. */
extern List *pf_background_workers(const PfTarget *target);

/*
 * After a gate of the target was closed, outside a transaction, again and
 * again: sends them away.  True: nobody is left, and none can come who gets
 * past a door.
 */
extern bool pf_background_engage(const PfTarget *target);

#endif							/* PF_BACKGROUND_H */
