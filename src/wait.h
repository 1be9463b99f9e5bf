/*-------------------------------------------------------------------------
 *
 * wait.h
 *	  What happens at a closed door: to be refused, or to wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_WAIT_H
#define PF_WAIT_H

#include "compat.h"

#include "gates.h"
#include "miscadmin.h"

/* A wait, which may go through several changes of the gates. */
typedef struct PfWait
{
	PfDoor		door;
	TimestampTz since;			/* 0: has not begun */
	TimestampTz yield_at;
	bool		noticed;
} PfWait;

/* What this backend shows of itself. */
static inline PfGateBackend *
pf_my_word(void)
{
	return &pf_gates->backends[MyProcNumber].backend;
}

/*
 * Comes to a door that these gates have closed: raises what the first one that
 * refuses says, else waits until something about the gates has changed.
 * Whoever gets through then calls pf_door_show_no_more().
 */
extern void pf_wait(PfWait *wait, uint64 gates);

#endif							/* PF_WAIT_H */
