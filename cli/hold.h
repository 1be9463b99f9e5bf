/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  The program pg_freeze: from frozen to the verdict.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_HOLD_H
#define PF_HOLD_H

#include "child.h"

/* What is known in the end. */
typedef struct Verdict
{
	bool		known;			/* else nothing could be found out */
	int			held;			/* 1, 0, -1: NULL */
	bool		stopped;		/* COMMAND was told to end, and why has been said */
	bool		nothing_frozen; /* there was no freeze: held says nothing */
	char	   *why;			/* it did not hold, or nothing is known */
	char	   *evidence;
	bool		backup_usable;
	char	   *backup_label;	/* bytea, NULL: none */
	char	   *tablespace_map;
} Verdict;

/*
 * Renews the lease while COMMAND runs, then thaws.  Returns when COMMAND has
 * ended, and the verdict is there or can't be had any more.
 */
extern void hold(Link *link, const Made *made, int64 lease, int64 timeout, Child *child, Verdict *verdict);

#endif							/* PF_HOLD_H */
