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

/*
 * After a gate of the target was closed, outside a transaction, again and
 * again: sends away whoever works in the background for the target.  True:
 * nobody is left who could commit without passing a door.
 */
extern bool pf_background_engage(const PfTarget *target);

#endif							/* PF_BACKGROUND_H */
