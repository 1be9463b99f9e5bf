/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  What other processes ask of the one that holds locks, and tell it.
 *
 * Runs in callers, request workers and the scheduler.  Everything goes through
 * the board (slots.h), which is found through the row of freeze_holder; the
 * process itself is in holder.c.  Whoever starts one does so under the lock on
 * that row, so that there is one; if he dies before the row is committed, the
 * process ends by itself.  A flag in a slot, once set, needs nothing more of
 * him who set it.
 *
 * A thaw in its caller's own transaction lets go when that commits: what it
 * will then tell is kept until the end of the transaction, and is forgotten
 * with the subtransaction in which it was said.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "board.h"
#include "journal.h"
#include "scheduler.h"
#include "slots.h"
#include "step.h"
#include "worker.h"

#define LONGEST_SLICE	300		/* ms of an attempt */
#define LET_GO_WAIT		10000	/* ms for the holder to react */

/* ---- the board, from outside ------------------------------------------ */

/*
 * The board with a handle, NULL if there is none.  *segment is to be detached,
 * NULL where this process has it mapped anyhow.
 */
static HolderBoard *
attach_board(dsm_handle handle, dsm_segment **segment)
{
	HolderBoard *board;

	*segment = NULL;
	if (handle == DSM_HANDLE_INVALID)
		return NULL;
	if (dsm_find_mapping(handle))
		return board_in(dsm_find_mapping(handle));
	*segment = dsm_attach(handle);
	if (*segment == NULL)
		return NULL;
	board = board_in(*segment);
	if (board == NULL)
	{
		dsm_detach(*segment);
		*segment = NULL;
	}
	return board;
}

static void
detach_board(dsm_segment *segment)
{
	if (segment)
		dsm_detach(segment);
}

/* In a transaction: the board of this database's holder. */
static HolderBoard *
find_board(dsm_segment **segment)
{
	*segment = NULL;
	if (RecoveryInProgress())
		return NULL;
	return attach_board(pf_board_read_row(PF_HOLDER_ROW, false), segment);
}

/* Under the spinlock: the slot of a freeze, NULL if there is none. */
static Slot *
find_slot(HolderBoard *board, int64 id)
{
	for (int i = 0; i < SLOTS; i++)
		if (board->slots[i].id == id)
			return &board->slots[i];
	return NULL;
}

/* Under the spinlock: makes the slot of a freeze a new one; false if none is free. */
static bool
fill_slot(HolderBoard *board, int64 id, int slice)
{
	Slot	   *slot = find_slot(board, id);

	if (slot == NULL)
		slot = find_slot(board, 0);
	if (slot == NULL)
		return false;
	memset(slot, 0, sizeof(Slot));
	slot->id = id;
	slot->slice = slice;
	slot->asker = MyProcNumber;
	slot->hold.state = PF_HOLD_TRYING;
	board->scheduler = pf_scheduler_board();
	return true;
}

/*
 * The length of an attempt in ms: half of the shortest deadlock_timeout that
 * the server, a role or a database is given.
 */
static int
attempt_slice(void)
{
	int			shortest = DeadlockTimeout;
	PfSpi		spi = pf_spi_begin();

	journal_execute("SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting"
					" WHERE split_part(setting, '=', 1) = 'deadlock_timeout'", 0, NULL, NULL, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		int			ms;

		if (value && parse_int(value, &ms, GUC_UNIT_MS, NULL))
			shortest = Min(shortest, ms);
	}
	pf_spi_end(spi);
	return Max(1, Min(shortest / 2, LONGEST_SLICE));
}

/* Under the lock on the row: starts a holder whose board has this freeze. */
static void
start_holder(int64 id, int slice)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *process;
	dsm_segment *segment = dsm_create(sizeof(HolderBoard), 0);
	HolderBoard *board = dsm_segment_address(segment);
	dsm_handle	handle = dsm_segment_handle(segment);
	bool		alive = false;

	memset(board, 0, sizeof(HolderBoard));
	board->database = MyDatabaseId;
	SpinLockInit(&board->mutex);
	board->procno = NOBODY;
	(void) fill_slot(board, id, slice);
	board->magic = HOLDER_MAGIC;

	pf_worker_describe(&worker, "holder", psprintf(" for database %u", MyDatabaseId), BGW_NEVER_RESTART);
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(handle);
	memcpy(worker.bgw_extra, &MyDatabaseId, sizeof(Oid));

	if (!RegisterDynamicBackgroundWorker(&worker, &process))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free to hold the locks"),
				 errdetail("A database with live freezes by strategy lock keeps one background worker that holds them, besides the one that sleeps."),
				 errhint("Raise max_worker_processes (now %d).", max_worker_processes)));

	PG_TRY();
	{
		while (!alive)
		{
			pid_t		pid;

			if (GetBackgroundWorkerPid(process, &pid) == BGWH_STOPPED)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("the process that holds the locks ended before it had begun"),
						 errhint("See the server log for the reason.")));
			SpinLockAcquire(&board->mutex);
			alive = board->alive;
			SpinLockRelease(&board->mutex);
			if (!alive)
				pf_scheduler_doze(1000);
		}
		pf_board_write_row(PF_HOLDER_ROW, handle);
	}
	PG_CATCH();
	{
		TerminateBackgroundWorker(process);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dsm_detach(segment);
}

/* See holder.h. */
void
pf_holder_ask(int64 id)
{
	dsm_segment *segment;
	HolderBoard *board;
	int			slice;
	int			procno = NOBODY;
	bool		filled = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	slice = attempt_slice();
	board = attach_board(pf_board_read_row(PF_HOLDER_ROW, true), &segment);
	if (board)
	{
		SpinLockAcquire(&board->mutex);
		if (board->alive)
		{
			procno = board->procno;
			filled = fill_slot(board, id, slice);
		}
		SpinLockRelease(&board->mutex);
	}
	if (procno == NOBODY)
		start_holder(id, slice);
	else if (!filled)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there are too many live freezes by strategy lock in this database"),
				 errdetail("There can be %d.", SLOTS),
				 errhint("Thaw some; freeze_status lists them.")));
	wake(procno);
	detach_board(segment);
	CommitTransactionCommand();
}

/* See holder.h. */
PfHold
pf_holder_look(int64 id)
{
	PfHold		hold = {PF_HOLD_NONE};
	dsm_segment *segment;
	HolderBoard *board = find_board(&segment);

	if (board)
	{
		Slot	   *slot;

		SpinLockAcquire(&board->mutex);
		slot = board->alive ? find_slot(board, id) : NULL;
		if (slot && !slot->let_go)
		{
			hold = slot->hold;
			hold.pid = board->pid;
			hold.slice = slot->slice;
		}
		SpinLockRelease(&board->mutex);
		detach_board(segment);
	}
	return hold;
}

/* See holder.h. */
int
pf_holder_pid(void)
{
	dsm_segment *segment;
	HolderBoard *board = find_board(&segment);
	int			pid = 0;

	if (board)
	{
		SpinLockAcquire(&board->mutex);
		pid = board->alive ? board->pid : 0;
		SpinLockRelease(&board->mutex);
		detach_board(segment);
	}
	return pid;
}

/* See holder.h. */
void
pf_holder_interrupt(void)
{
	dsm_segment *segment;
	HolderBoard *board = find_board(&segment);

	if (board)
	{
		/* with the spinlock held, so that the pid is still the holder's */
		SpinLockAcquire(&board->mutex);
		if (board->alive)
			kill(board->pid, SIGINT);
		SpinLockRelease(&board->mutex);
		detach_board(segment);
	}
}

typedef enum Word
{
	WORD_LET_GO,
	WORD_AGAIN,
	WORD_GO
} Word;

/* Tells the holder something about a freeze; false if it knows of none. */
static bool
tell(HolderBoard *board, int64 id, Word word)
{
	Slot	   *slot;
	int			procno = NOBODY;

	SpinLockAcquire(&board->mutex);
	slot = board->alive ? find_slot(board, id) : NULL;
	if (slot)
	{
		procno = board->procno;
		slot->asker = MyProcNumber;
		switch (word)
		{
			case WORD_LET_GO:
				slot->let_go = true;
				/* an attempt of another freeze can wait */
				kill(board->pid, SIGINT);
				break;
			case WORD_AGAIN:
				slot->again = true;
				slot->hold.state = PF_HOLD_TRYING;
				break;
			case WORD_GO:
				slot->go = true;
				break;
		}
	}
	SpinLockRelease(&board->mutex);
	wake(procno);
	return slot != NULL;
}

static void
tell_holder(int64 id, Word word)
{
	dsm_segment *segment;
	HolderBoard *board = find_board(&segment);

	if (board)
	{
		(void) tell(board, id, word);
		detach_board(segment);
	}
}

/* See holder.h. */
void
pf_holder_again(int64 id)
{
	tell_holder(id, WORD_AGAIN);
}

/* See holder.h. */
void
pf_holder_go(int64 id)
{
	tell_holder(id, WORD_GO);
}

/* See holder.h. */
void
pf_holder_deadline(int64 id, TimestampTz at)
{
	dsm_segment *segment;
	HolderBoard *board;

	pf_begin();
	board = find_board(&segment);
	if (board)
	{
		Slot	   *slot;
		int			procno = NOBODY;

		SpinLockAcquire(&board->mutex);
		slot = board->alive ? find_slot(board, id) : NULL;
		if (slot)
		{
			slot->deadline = at;
			procno = board->procno;
		}
		SpinLockRelease(&board->mutex);
		wake(procno);
		detach_board(segment);
	}
	CommitTransactionCommand();
}

/* See holder.h. */
void
pf_holder_let_go(int64 id)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LET_GO_WAIT);
	dsm_segment *segment;
	HolderBoard *board;

	pf_begin();
	board = find_board(&segment);
	if (segment)
		dsm_pin_mapping(segment);
	CommitTransactionCommand();
	if (board == NULL)
		return;

	while (tell(board, id, WORD_LET_GO))
	{
		if (GetCurrentTimestamp() >= end)
		{
			ereport(WARNING,
					(errmsg("pg_freeze: the process that holds the locks of freeze " INT64_FORMAT " does not let go", id),
					 errhint("End it: SELECT pg_terminate_backend(%d);", board->pid)));
			break;
		}
		pf_pause(100);
	}
	detach_board(segment);
}

/* ---- letting go at commit --------------------------------------------- */

/* What the current transaction is going to let go of; in TopTransactionContext. */
typedef struct AtCommit
{
	HolderBoard *board;
	dsm_segment *segment;		/* NULL: mapped for another entry */
	int64		id;
	SubTransactionId subid;		/* the entry lives and dies with */
} AtCommit;

static List *at_commit = NIL;

/* The segments are still mapped here: a transaction's resources go after this. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (at_commit != NIL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot prepare a transaction that has thawed"),
						 errdetail("The locks of the freeze are let go when this session commits."),
						 errhint("COMMIT it, or ROLLBACK and thaw outside of it.")));
			break;
		case XACT_EVENT_COMMIT:
			foreach(cell, at_commit)
			{
				AtCommit   *entry = lfirst(cell);

				if (entry->subid != InvalidSubTransactionId)
					(void) tell(entry->board, entry->id, WORD_LET_GO);
			}
			foreach(cell, at_commit)
				detach_board(((AtCommit *) lfirst(cell))->segment);
			at_commit = NIL;
			break;
		case XACT_EVENT_ABORT:
			at_commit = NIL;
			break;
		default:
			break;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	foreach(cell, at_commit)
	{
		AtCommit   *entry = lfirst(cell);

		if (entry->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			entry->subid = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
			entry->subid = InvalidSubTransactionId;
	}
}

/* See holder.h. */
void
pf_holder_let_go_at_commit(int64 id)
{
	static bool registered = false;
	dsm_segment *segment;
	HolderBoard *board;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;
	AtCommit   *entry;

	if (!registered)
	{
		RegisterXactCallback(end_of_transaction, NULL);
		RegisterSubXactCallback(end_of_subtransaction, NULL);
	}
	registered = true;

	CurrentResourceOwner = TopTransactionResourceOwner;
	board = find_board(&segment);
	CurrentResourceOwner = owner;
	if (board == NULL)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	entry = palloc(sizeof(AtCommit));
	entry->board = board;
	entry->segment = segment;
	entry->id = id;
	entry->subid = GetCurrentSubTransactionId();
	at_commit = lappend(at_commit, entry);
	MemoryContextSwitchTo(old);
}

/* See holder.h. */
void
pf_holder_sweep(void)
{
	dsm_segment *segment;
	HolderBoard *board;
	int64		ids[SLOTS];

	pf_begin();
	board = find_board(&segment);
	if (board)
	{
		SpinLockAcquire(&board->mutex);
		for (int i = 0; i < SLOTS; i++)
			ids[i] = board->alive ? board->slots[i].id : 0;
		SpinLockRelease(&board->mutex);
		for (int i = 0; i < SLOTS; i++)
		{
			PfFreeze   *freeze = ids[i] ? journal_read(ids[i]) : NULL;

			if (ids[i] && (freeze == NULL || !pf_state_is_live(freeze->state)))
				(void) tell(board, ids[i], WORD_LET_GO);
		}
		detach_board(segment);
	}
	CommitTransactionCommand();
}
