/*-------------------------------------------------------------------------
 *
 * make.h
 *	  The program pg_freeze: making a freeze, or beginning a backup.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_MAKE_H
#define PF_MAKE_H

#include "link.h"

typedef struct BackupOptions
{
	bool		wanted;			/* else only a freeze is made */
	const char *label;
	bool		backup_mode;
	const char *checkpoint;		/* NULL: not given */
	bool		hold_wal;
	const char *label_directory;	/* on the server, NULL: none */
} BackupOptions;

/* What was made; texts are malloc's, NULL where there is none. */
typedef struct Made
{
	bool		backup;			/* not only a freeze */
	bool		backup_mode;	/* what COMMAND makes is a copy that needs the label */
	char	   *application;	/* by which it is found, whatever becomes of the connection */
	char	   *id;				/* of the freeze, NULL: nothing is frozen */
	char	   *backup_id;
	char	   *label;
	char	   *target;
	char	   *strategy;
	char	   *frozen_lsn;
	char	   *start_lsn;
	char	   *frozen_at;
	char	   *until;			/* the end of the timeout */
	char	   *data_directory;
	int64		over_at;		/* "until" by now_ms() */
	int64		lease_over_at;	/* by when the server has thawed it if nobody renews its lease */
} Made;

/* ", mode => ..." and so on, as far as they are given: without target, label, and how long. */
extern char *freeze_arguments(PGconn *conn, const FreezeOptions *options);

/* 'name'::name, and the current database or cluster where none is given. */
extern char *freeze_call(PGconn *conn, const FreezeOptions *options, int64 thaw_after);

/*
 * Makes a freeze that lasts for "lease", or begins a backup, and says what it
 * waits for.  Returns EXIT_HELD; else nothing is left frozen, or it has been
 * said what, and it is the exit status.
 */
extern int	make(Link *link, const FreezeOptions *freeze, const BackupOptions *backup, int64 lease, Made *made);

/* Thaws it again, and gives the backup up, because nobody is going to do that later. */
extern void unmake(Link *link, const Made *made, int64 patience);

/* Prints the id alone; where nobody gets to know it, nobody would end it either: unmakes.  Returns the exit status. */
extern int	tell_id(Link *link, const Made *made, int64 timeout);

#endif							/* PF_MAKE_H */
