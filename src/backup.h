/*-------------------------------------------------------------------------
 *
 * backup.h
 *	  What the sessions that begin and end a backup share with the process
 *	  that keeps it: for backup.c and keeper.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_BACKUP_H
#define PF_BACKUP_H

#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/lock.h"
#include "storage/spin.h"

#include "worker.h"

#define PF_BACKUP_TEXTS		262144	/* bytes for the two files */
#define PF_BACKUP_MESSAGE	1023	/* bytes of a message */

typedef enum PfCheckpoint
{
	PF_CHECKPOINT_SPREAD,
	PF_CHECKPOINT_FAST,
	PF_CHECKPOINT_NONE
} PfCheckpoint;

/*
 * How far a backup is, and what may follow:
 *
 *	checkpoint -> freezing, failed
 *	freezing -> waiting, failed
 *	waiting -> stopping, failed
 *	stopping -> done, failed
 */
typedef enum PfBackupPhase
{
	PF_BACKUP_CHECKPOINT,		/* from the beginning on */
	PF_BACKUP_FREEZING,			/* the one who begins makes the freeze, if there is to be one */
	PF_BACKUP_WAITING,			/* the copy is being made */
	PF_BACKUP_STOPPING,
	PF_BACKUP_DONE,
	PF_BACKUP_FAILED
} PfBackupPhase;

/* What the keeper is told. */
typedef enum PfBackupWord
{
	PF_WORD_NONE,
	PF_WORD_FROZEN,				/* go on to waiting */
	PF_WORD_END,
	PF_WORD_ABORT,
	PF_WORD_GO					/* it stays for nobody any more */
} PfBackupWord;

/* What is asked for; written before the keeper is started. */
typedef struct PfBackupRequest
{
	Oid			database;
	int			encoding;		/* of it, and so of all texts */
	PfCaller	caller;
	TimestampTz begun_at;
	int64		timeout;		/* us, from waiting on */
	bool		backup_mode;
	PfCheckpoint checkpoint;
	bool		hold_wal;
	char		label[PF_LABEL_MAX + 1];
	char		reason[PF_REASON_MAX + 1];	/* "": none */
	char		target[2 * NAMEDATALEN + 32];	/* "": nothing is frozen */
	char		directory[MAXPGPATH];	/* "": none */
} PfBackupRequest;

typedef struct PfBackupState
{
	int64		id;				/* 0: not given yet */
	int64		freeze_id;		/* 0: none; written by the one who begins */
	PfBackupPhase phase;
	int			keeper;			/* its pid */
	TimestampTz deadline;		/* 0: not waiting yet */
	TimestampTz ended_at;		/* 0: has not */
	TimestampTz holds_until;	/* the slot, after the end; 0: there is none */
	XLogRecPtr	start_lsn;
	XLogRecPtr	stop_lsn;
	TimeLineID	timeline;
	char		slot[NAMEDATALEN];	/* "": none, or none any more */
	int			sqlstate;		/* of what failed */
} PfBackupState;

typedef struct PfBackupBoard
{
	uint32		magic;
	PfBackupRequest request;
	ConditionVariable changed;	/* the state, or alive */
	slock_t		mutex;			/* protects these: */
	PfBackupState state;
	bool		alive;			/* the keeper has not gone */
	int			procno;			/* of the keeper; -1: not there yet */
	int			freezer;		/* pid of the session that makes the freeze, while it does; else 0 */
	bool		left;			/* whoever ended the backup has gone, and may not have thawed */
	PfBackupWord word;
	char		word_reason[PF_BACKUP_MESSAGE + 1];
	/* written by the keeper before the state that they belong to; then they stay */
	char		message[PF_BACKUP_MESSAGE + 1];
	char		detail[PF_BACKUP_MESSAGE + 1];
	char		hint[PF_BACKUP_MESSAGE + 1];
	int			map_at;			/* where the tablespace_map begins in texts */
	char		texts[PF_BACKUP_TEXTS];
} PfBackupBoard;

#define PF_BACKUP_MAGIC		0x70676263	/* change it with the layout of PfBackupBoard */

/*
 * The advisory locks of a keeper, in database 0, where no session's own can
 * be: one says that there is a keeper in the server, one that there is one in
 * a database, and one, by its key, where the board is.
 */
#define PF_BACKUP_LOCK		0x70676262
#define PF_BACKUP_LOCK_SERVER	1
#define PF_BACKUP_LOCK_DATABASE	2
#define PF_BACKUP_LOCK_BOARD	3

extern void pf_backup_lock_tag(LOCKTAG *tag, uint32 key, uint16 class);

/* A backup as its keeper or its row has it. */
typedef struct PfBackup
{
	int64		id;
	char	   *label;
	Oid			owner;
	char	   *owner_name;
	bool		backup_mode;
	bool		done;
	char	   *failure;		/* NULL: none */
	TimestampTz ended_at;		/* 0: has not */
	int64		timeout;		/* us */
	XLogRecPtr	start_lsn;
	XLogRecPtr	stop_lsn;
	TimeLineID	timeline;
	char	   *backup_label;	/* NULL: forgotten, or there is none */
	char	   *tablespace_map;
} PfBackup;

extern const char *pf_checkpoint_name(PfCheckpoint checkpoint);

/*
 * The board of the keeper that there is, NULL if there is none.  *segment is to
 * be detached.  Needs a transaction.
 */
extern PfBackupBoard *pf_backup_board(dsm_segment **segment);

/* The call that gives a backup up, which has no id before it has its row. */
extern char *pf_backup_abort_call(int64 id, const char *label);

/* Raises 55000 with what is to be known of a backup that runs already. */
extern void pf_backup_raise_running(PfBackupBoard *board);

/* A copy of a text of the board's, which may be another database's; NULL if it is empty or NULL. */
extern char *pf_backup_text(const PfBackupBoard *board, const char *text);

/* What a keeper has. */
extern PfBackup *pf_backup_of(PfBackupBoard *board);

/*
 * What the row of a backup says now, whatever the caller's snapshot: that with an
 * id (0: any) or label (NULL: any), the last of several, NULL if there is none.
 */
extern PfBackup *pf_backup_row(int64 id, const char *label);

/*
 * The backup with that id (0: any) or label (NULL: any): the one of the keeper,
 * whose board is in *board, or else the last that the rows have, *board is
 * NULL.  Raises 22023 or 55000 where there is none, 42501 where the current
 * user may not end it.  *segment is to be detached, unless it is NULL.
 */
extern PfBackup *pf_backup_find(int64 id, const char *label, PfBackupBoard **board, dsm_segment **segment);

/*
 * Tells a keeper something; false if it can't heed it any more.  "reason" is
 * for an abort.
 */
extern bool pf_backup_tell(PfBackupBoard *board, PfBackupWord word, const char *reason);

/*
 * Whether the keeper has gone; to who has started it, also one that never came
 * to be.  Others have no handle of it.
 */
extern bool pf_backup_is_gone(PfBackupBoard *board, BackgroundWorkerHandle *keeper);

/*
 * Waits until the backup is in that phase or a later one; false if the keeper
 * has gone before.  After a while the caller is told what he waits for.
 */
extern bool pf_backup_await(PfBackupBoard *board, PfBackupPhase phase, BackgroundWorkerHandle *keeper,
							const char *waits_for);

/* Copies the state. */
extern PfBackupState pf_backup_state(PfBackupBoard *board);

/*
 * Marks backups failed whose keeper has gone, in this database; in a
 * transaction.  Does nothing while there is a keeper in it.
 */
extern void pf_backup_mark_failed(void);

#endif							/* PF_BACKUP_H */
