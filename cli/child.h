/*-------------------------------------------------------------------------
 *
 * child.h
 *	  The program pg_freeze: COMMAND of run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_CHILD_H
#define PF_CHILD_H

#include "make.h"

typedef struct Child
{
	pid_t		pid;			/* 0: was not started, or is gone */
	bool		ended;
	int			status;			/* as a shell has it: 128 + signal */
	int64		ended_at;		/* now_ms(), not earlier than it did */
	int			signals;		/* passed on */
	int64		kill_at;		/* SIGKILL, below 0: never */
	int			terminal;		/* whose foreground it has, -1: none */
} Child;

/* 0 if a program of this name can be run, else 126 or 127: a shell's status for that; it has been said. */
extern int	child_findable(const char *name);

/* Starts it.  What goes wrong is its status then, as for a shell. */
extern void child_start(Child *child, char **argv, const Made *made);

/* Looks whether it has ended. */
extern void child_look(Child *child);

/* Passes a signal on, the second one as SIGKILL. */
extern void child_signal(Child *child, int number);

/* SIGTERM, and SIGKILL a while later. */
extern void child_stop(Child *child);

/* When child_look() wants to be called, below 0: when SIGCHLD comes. */
extern int64 child_due(const Child *child);

#endif							/* PF_CHILD_H */
