/*-------------------------------------------------------------------------
 *
 * pass.h
 *	  Lets transactions in flight pass a process that waits for a strong lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_PASS_H
#define PF_PASS_H

#include "postgres.h"

/*
 * Moves those who have written something already to the place before a
 * process in the queue in which it waits, and wakes those who can go on.
 * Returns how many others stay behind it, -1 where it doesn't wait for a lock.
 */
extern int	pf_let_pass(int pid);

/* Whether a transaction of this database, besides that process's, has written. */
extern bool pf_anybody_has_written(int pid);

#endif							/* PF_PASS_H */
