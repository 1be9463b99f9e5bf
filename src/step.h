/*-------------------------------------------------------------------------
 *
 * step.h
 *	  The steps of a freeze and of a thaw: transactions that are tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_STEP_H
#define PF_STEP_H

#include "pg_freeze.h"

#define PF_PATIENCE 10000		/* ms that a release, or a wait for the work lock, is tried */

/* A step runs in a transaction, perhaps several times. */
typedef void (*PfStepFunc) (PfFreeze *freeze, void *arg);

extern void pf_begin(void);
extern void pf_abort(void);
extern void pf_pause(long ms);

/* In a long wait: has the next CHECK_FOR_INTERRUPTS() end the session if its client has gone. */
extern void pf_look_at_client(void);

extern bool pf_waits_for(int waiter, int pid);
extern bool pf_any_waits_for(List *waiters, int pid);
extern void pf_run_step(PfFreeze *freeze, PfStepFunc step, void *arg, int64 patience);
extern PfFreeze *pf_read_freeze(int64 id);
extern bool pf_lock_freeze_nowait(int64 id);
extern void pf_lock_freeze(int64 id);
extern void pf_unlock_freeze(int64 id);
extern void pf_call_scheduler(TimestampTz at);
extern char *pf_objects(int64 count);
extern char *pf_one_line(const char *lines);

/* Copies a text, cut between characters if it is too long; NULL is "". */
extern void pf_clip(char *to, Size size, const char *text);

/* A text of a database with that encoding as this one can show it.  Changes it in place. */
extern char *pf_readable(int encoding, char *text);

#endif							/* PF_STEP_H */
