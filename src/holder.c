/*-------------------------------------------------------------------------
 *
 * holder.c
 *	  The process that holds the locks of a database's "lock" freezes.
 *
 * One background worker per database with such freezes, the holder, keeps one
 * transaction open in which all their locks are held.  It is one process
 * because two would block each other where freezes overlap; a process that
 * takes a lock twice has to release it twice.  The transaction keeps no
 * snapshot, so nothing is held back from vacuum, and in mode write it has no
 * transaction id.
 *
 * The holder is found through its board, a segment with a slot per freeze,
 * whose handle is the one row of freeze_holder (board.c).  Who wants something
 * (hold.c) writes it into the slot and sets the holder's latch; nobody else's catalog
 * access, worker slot or transaction is needed to have it let go.
 *
 * Attempts.  An attempt is a subtransaction.  It first waits for the objects
 * that were busy before ("hot"), in the order it has learned, then takes
 * everything else that is free, and if something is not, or time is up, lets
 * go of all it has taken.  From its first lock to its last it is shorter than
 * half of the shortest deadlock_timeout that is set anywhere, and than 300 ms:
 * so whoever runs into it goes on before his deadlock timer fires.  What an
 * attempt failed at comes first in the next: applications that take their
 * tables in some order are then met in the same order, and run dry behind the
 * first.  Waiting while holding only what those in flight have passed already
 * is also why it converges at all.  Between two attempts there is a pause,
 * which grows and has jitter.
 *
 * Failure.  An error in an attempt releases that attempt's locks and is
 * reported in the slot.  When the process ends, by whatever, its locks are
 * gone and so is its board; before_shmem_exit calls the scheduler, which finds
 * no slot, writes down that the freeze is lost, and asks for it again
 * (lock.c).  A holder whose handle is not in freeze_holder is one whose starter
 * died: it declares nothing held, and ends.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/transam.h"
#include "access/xact.h"
#include "common/pg_prng.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "board.h"
#include "guc.h"
#include "journal.h"
#include "lock.h"
#include "slots.h"
#include "step.h"
#include "wanted.h"
#include "worker.h"

#define FIRST_PAUSE		20		/* ms between attempts */
#define LAST_PAUSE		1000
#define EARLY_PAUSE		5		/* ms until a holder can be found */
#define LOOK_AT_CLOCK	256		/* every so many locks */
#define HOT_MAX			64		/* objects known to be busy; one that reads everything holds many */
#define SLOW_MAX		3		/* attempts that took too long by themselves */
#define ORPHAN_AFTER	30000	/* ms until a holder that nobody can find ends */
#define FASTEST_XIDS	1000	/* transaction ids used up in a ms, at most */
#define AGE_CHECK_MAX	3600000 /* ms */
#define OVERDUE			10000	/* ms after a deadline at which the locks are let go, thawed or not */

PGDLLEXPORT void pf_holder_main(Datum main_arg);

/* ---- the holder: its board -------------------------------------------- */

static HolderBoard *my_board = NULL;
static dsm_handle my_handle;

/* Whether a SIGINT, from lock_timeout or a supervisor, is to end an attempt. */
static volatile sig_atomic_t in_attempt = false;

/* What the holder knows of a freeze besides its slot. */
typedef struct Task
{
	int64		id;
	Slot	   *slot;
	MemoryContext context;		/* the hot list */
	MemoryContext attempt;		/* what an attempt allocates; the locks held */
	List	   *hot;			/* of PfWanted *, in the order to be waited for */
	PfWantedList *schemas;
	PfWantedList *relations;
	bool		holding;
	long		rest;			/* ms that an attempt takes once nobody is waited for */
	double		pause;			/* ms */
	TimestampTz next_try;
	int			attempts;
	int			slow;
} Task;

static List *tasks = NIL;
static TimestampTz started_at;

/* SIGINT: does nothing to a process that holds locks and sleeps. */
static void
handle_interrupt(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (in_attempt)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

/* before_shmem_exit: nobody may count on this process any more. */
static void
leave_board(int code, Datum arg)
{
	dsm_handle	scheduler;

	SpinLockAcquire(&my_board->mutex);
	my_board->alive = false;
	my_board->procno = NOBODY;
	scheduler = my_board->scheduler;
	SpinLockRelease(&my_board->mutex);
	/* a moment later, when the locks are free */
	(void) pf_board_tell(scheduler, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 200));
}

/* Writes down in the slot how it stands, unless somebody wants something new, and tells who asked. */
static void
report(Task *task, PfHoldState state, int sqlstate, const char *why)
{
	PfHold		hold = {state,.attempts = task->attempts,.sqlstate = sqlstate};
	dsm_handle	scheduler;
	int			asker;

	if (state == PF_HOLD_HOLDING)
	{
		hold.since = GetCurrentTimestamp();
		hold.next_xid = ReadNextTransactionId();
		hold.locks = task->schemas->count + task->relations->count;
	}
	if (state == PF_HOLD_TRYING && task->hot != NIL)
	{
		PfWanted   *first = linitial(task->hot);

		hold.gate_class = first->classid;
		hold.gate = first->objid;
	}
	if (why)
		strlcpy(hold.why, why, sizeof(hold.why));
	SpinLockAcquire(&my_board->mutex);
	if (state != PF_HOLD_HOLDING)
		hold.next_xid = task->slot->hold.next_xid;
	if (!task->slot->again)
		task->slot->hold = hold;
	asker = task->slot->asker;
	scheduler = my_board->scheduler;
	SpinLockRelease(&my_board->mutex);
	wake(asker);
	if (state != PF_HOLD_TRYING)
		(void) pf_board_tell(scheduler, GetCurrentTimestamp());
}

/* ---- the holder: attempts --------------------------------------------- */

static long
ms_until(TimestampTz end)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
}

/* Takes a lock that is free; false if it is not. */
static bool
take(const PfWanted *wanted)
{
	LOCKTAG		tag;

	pf_wanted_tag(wanted, &tag);
	return LockAcquire(&tag, wanted->mode, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* For the rest of a subtransaction, no wait for a lock is longer than this. */
static void
limit_waits(long ms)
{
	(void) set_config_option("lock_timeout", psprintf("%ld", ms), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/* Waits for a lock; raises 55P03 when the time is over, 57014 when interrupted. */
static void
take_waiting(const PfWanted *wanted, long ms)
{
	LOCKTAG		tag;

	pf_wanted_tag(wanted, &tag);
	limit_waits(ms);
	(void) LockAcquire(&tag, wanted->mode, false, false);
}

static bool
holds_anything(void)
{
	ListCell   *cell;

	foreach(cell, tasks)
		if (((Task *) lfirst(cell))->holding)
			return true;
	return false;
}

/*
 * Whether somebody who has an object waits for this process, for a lock of
 * this attempt or of another freeze.  To wait for him is a circle, and where he
 * has waited for long it is his deadlock timer that goes off.
 */
static bool
would_be_circle(const PfWanted *wanted)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			count;
	List	   *pids = NIL;

	pf_wanted_tag(wanted, &tag);
	holders = GetLockConflicts(&tag, wanted->mode, &count);
	for (int i = 0; i < count; i++)
	{
		PGPROC	   *proc = pf_vxid_proc(holders[i]);

		if (proc)
			pids = lappend_int(pids, proc->pid);
	}
	return pf_any_waits_for(pids, MyProcPid);
}

static bool
same_object(const PfWanted *a, const PfWanted *b)
{
	return a->classid == b->classid && a->objid == b->objid;
}

/* Puts an object at the front of those to wait for; true if it was not among them. */
static bool
make_hot(Task *task, const PfWanted *wanted)
{
	MemoryContext old = MemoryContextSwitchTo(task->context);
	PfWanted   *entry = NULL;
	bool		new;
	ListCell   *cell;

	foreach(cell, task->hot)
		if (same_object(lfirst(cell), wanted))
			entry = lfirst(cell);
	new = entry == NULL;
	if (new)
	{
		entry = palloc(sizeof(PfWanted));
		*entry = *wanted;
	}
	else
		task->hot = list_delete_ptr(task->hot, entry);
	task->hot = lcons(entry, task->hot);
	if (list_length(task->hot) > HOT_MAX)
	{
		pfree(llast(task->hot));
		task->hot = list_delete_last(task->hot);
	}
	MemoryContextSwitchTo(old);
	return new;
}

/*
 * Learns from an object that could not be had in time.  One that was waited for
 * first is not where transactions begin: another one is to be first.  With
 * another one it was taken before those that were held here already: so it is
 * to be first.
 */
static void
blame(Task *task, const PfWanted *wanted)
{
	if (linitial(task->hot) == wanted)
	{
		MemoryContext old = MemoryContextSwitchTo(task->context);

		task->hot = list_delete_first(task->hot);
		task->hot = lappend(task->hot, unconstify(PfWanted *, wanted));
		MemoryContextSwitchTo(old);
	}
	else
		(void) make_hot(task, wanted);
}

/*
 * Takes what is free of a list; what is not becomes hot.  The number of the
 * latter, and of new ones; -1 where the time was over before anything was busy.
 */
static int
take_free(Task *task, const PfWantedList *list, TimestampTz end, int *new)
{
	int			busy = 0;

	for (int i = 0; i < list->count; i++)
	{
		if (i % LOOK_AT_CLOCK == 0 && ms_until(end) <= 0)
			return busy > 0 ? busy : -1;
		if (take(&list->items[i]))
			continue;
		busy++;
		if (make_hot(task, &list->items[i]))
			(*new)++;
		if (busy == HOT_MAX)
			break;
	}
	return busy;
}

typedef enum Outcome
{
	OUTCOME_DONE,
	OUTCOME_BUSY,				/* something is not free */
	OUTCOME_LEARNED,			/* the same, and it was not known before */
	OUTCOME_EARLY,				/* who has started this process has not committed that */
	OUTCOME_SLOW,				/* everything is free, but there is too much of it */
	OUTCOME_OVER				/* the freeze has ended, or this process is nobody's */
} Outcome;

/*
 * Reading takes locks on catalogs and on the journal, which are not to stay
 * for as long as the freeze does: so it is done in a subtransaction that is
 * rolled back.  What is read is in task->attempt.
 */
static void
begin_reading(Task *task)
{
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(task->attempt);
}

static void
end_reading(Task *task)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(task->attempt);
}

/*
 * One attempt, inside its subtransaction; *waits_for is what it waits for
 * while it does.
 */
static Outcome
try_locks(Task *task, const PfWanted *volatile *waits_for)
{
	PfFreeze   *freeze;
	dsm_handle	handle;
	bool		waited = false;
	TimestampTz end;
	TimestampTz alone;
	int			busy;
	int			new = 0;
	ListCell   *cell;

	limit_waits(task->slot->slice);
	begin_reading(task);
	freeze = journal_read(task->id);
	handle = pf_board_read_row(PF_HOLDER_ROW, false);
	end_reading(task);
	if (freeze == NULL || !pf_state_is_live(freeze->state))
		return OUTCOME_OVER;
	/* not written yet, or never will be: then nobody could have it let go */
	if (handle != my_handle)
		return ms_until(TimestampTzPlusMilliseconds(started_at, ORPHAN_AFTER)) > 0 ? OUTCOME_EARLY : OUTCOME_OVER;

	end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), task->slot->slice);
	foreach(cell, task->hot)
	{
		long		left = ms_until(end);

		*waits_for = lfirst(cell);
		if (left <= 0)
			return OUTCOME_BUSY;
		if (!take(lfirst(cell)))
		{
			if ((holds_anything() || foreach_current_index(cell) > 0) && would_be_circle(lfirst(cell)))
				return OUTCOME_BUSY;
			if (left <= task->rest)
				return OUTCOME_BUSY;
			take_waiting(lfirst(cell), left - task->rest);
			waited = true;
		}
	}
	*waits_for = NULL;
	alone = GetCurrentTimestamp();
	begin_reading(task);
	task->schemas = pf_wanted_schemas(&freeze->target);
	end_reading(task);
	busy = take_free(task, task->schemas, end, &new);
	if (busy == 0)
	{
		/* with the schemas locked, nothing new appears in them any more */
		begin_reading(task);
		task->relations = pf_wanted_relations(&freeze->target);
		end_reading(task);
		busy = take_free(task, task->relations, end, &new);
		task->rest = Min(TimestampDifferenceMilliseconds(alone, GetCurrentTimestamp()), task->slot->slice / 2);
	}
	if (busy > 0)
		return new > 0 ? OUTCOME_LEARNED : OUTCOME_BUSY;
	if (busy < 0 || ms_until(end) <= 0)
		return waited ? OUTCOME_BUSY : OUTCOME_SLOW;
	/* those are held twice now, or are not wanted any more */
	foreach(cell, task->hot)
	{
		const PfWanted *wanted = lfirst(cell);
		LOCKTAG		tag;

		pf_wanted_tag(wanted, &tag);
		(void) LockRelease(&tag, wanted->mode, false);
	}
	AcceptInvalidationMessages();
	return OUTCOME_DONE;
}

static bool
is_timeout(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

static void
forget_task(Task *task)
{
	tasks = list_delete_ptr(tasks, task);
	MemoryContextDelete(task->context);
	pfree(task);
}

/* Under no spinlock: frees the slot and tells who waits for that. */
static void
free_slot(Slot *slot)
{
	int			asker;

	SpinLockAcquire(&my_board->mutex);
	asker = slot->asker;
	memset(slot, 0, sizeof(Slot));
	slot->asker = NOBODY;
	SpinLockRelease(&my_board->mutex);
	wake(asker);
}

/* While nothing is held: a new transaction, so that nothing of the old one stays. */
static void
renew_transaction(void)
{
	MemoryContext context = CurrentMemoryContext;

	CommitTransactionCommand();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* The next attempt comes after a pause, longer than the one before. */
static void
pause_task(Task *task)
{
	double		wait = task->pause * (0.5 + pg_prng_double(&pg_global_prng_state));

	task->pause = Min(task->pause * 1.6, LAST_PAUSE);
	task->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) wait);
}

static void
attempt(Task *task)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const PfWanted *volatile waits_for = NULL;
	volatile Outcome outcome = OUTCOME_BUSY;
	ErrorData  *volatile error = NULL;
	int			level = GetCurrentTransactionNestLevel();

	MemoryContextReset(task->attempt);
	task->schemas = task->relations = NULL;
	task->attempts++;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(task->attempt);
		in_attempt = true;
		outcome = try_locks(task, &waits_for);
		in_attempt = false;
		MemoryContextSwitchTo(context);
		if (outcome == OUTCOME_DONE)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		in_attempt = false;
		MemoryContextSwitchTo(task->context);
		error = CopyErrorData();
		FlushErrorState();
		while (GetCurrentTransactionNestLevel() > level)
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	/* one that came too late for the attempt */
	QueryCancelPending = false;
	InvalidateCatalogSnapshot();

	if (error == NULL && outcome == OUTCOME_DONE)
	{
		task->holding = true;
		report(task, PF_HOLD_HOLDING, 0, NULL);
		return;
	}
	if (!holds_anything())
		renew_transaction();
	if (waits_for)
		blame(task, waits_for);
	if (error && !is_timeout(error))
		report(task, PF_HOLD_FAILED, error->sqlerrcode, error->message);
	else if (error == NULL && outcome == OUTCOME_OVER)
	{
		/* nobody else might: read_board() forgets it */
		SpinLockAcquire(&my_board->mutex);
		task->slot->let_go = true;
		SpinLockRelease(&my_board->mutex);
	}
	else if (error == NULL && outcome == OUTCOME_EARLY)
	{
		/* that was no attempt */
		task->attempts--;
		task->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), EARLY_PAUSE);
	}
	else if (error == NULL && outcome == OUTCOME_SLOW && ++task->slow >= SLOW_MAX)
		report(task, PF_HOLD_FAILED, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
			   psprintf("taking the locks takes longer than %d ms, although all of them are free; that is half of the shortest deadlock_timeout in use, or what is tolerable", task->slot->slice));
	else
	{
		/* what was learned is worth a second try at once */
		if (error || outcome != OUTCOME_LEARNED || task->attempts % 2 == 0)
			pause_task(task);
		else
			task->next_try = 0;
		report(task, PF_HOLD_TRYING, 0, NULL);
	}
	if (error)
		FreeErrorData(error);
}

/* ---- the holder: holding ---------------------------------------------- */

static void
release_list(const PfWantedList *list)
{
	for (int i = 0; i < list->count; i++)
	{
		LOCKTAG		tag;

		pf_wanted_tag(&list->items[i], &tag);
		(void) LockRelease(&tag, list->items[i].mode, false);
	}
}

/* Lets go of a freeze's locks; those that another freeze has too stay. */
static void
release(Task *task)
{
	if (!task->holding)
		return;
	task->holding = false;
	if (holds_anything())
	{
		release_list(task->relations);
		release_list(task->schemas);
	}
	else
		renew_transaction();
}

/* Looks what others have written into the slots. */
static void
read_board(void)
{
	for (int i = 0; i < SLOTS; i++)
	{
		Slot	   *slot = &my_board->slots[i];
		Task	   *task = NULL;
		ListCell   *cell;
		int64		id;
		bool		let_go;
		bool		again;
		bool		go;
		bool		trying;

		SpinLockAcquire(&my_board->mutex);
		id = slot->id;
		let_go = slot->let_go;
		again = slot->again;
		slot->again = false;
		go = slot->go;
		slot->go = false;
		trying = slot->hold.state == PF_HOLD_TRYING;
		SpinLockRelease(&my_board->mutex);

		foreach(cell, tasks)
			if (((Task *) lfirst(cell))->slot == slot)
				task = lfirst(cell);
		/* a slot that was given up and filled anew */
		if (task && task->id != id)
		{
			release(task);
			forget_task(task);
			task = NULL;
		}
		if (id == 0)
			continue;
		if (let_go)
		{
			if (task)
			{
				release(task);
				forget_task(task);
			}
			free_slot(slot);
			continue;
		}
		if (task == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

			task = palloc0(sizeof(Task));
			task->id = id;
			task->slot = slot;
			task->context = AllocSetContextCreate(TopMemoryContext, "pg_freeze holder task", ALLOCSET_SMALL_SIZES);
			task->attempt = AllocSetContextCreate(task->context, "pg_freeze holder attempt", ALLOCSET_DEFAULT_SIZES);
			task->pause = FIRST_PAUSE;
			tasks = lappend(tasks, task);
			MemoryContextSwitchTo(old);
		}
		else if (again || (trying && task->holding))
		{
			release(task);
			pause_task(task);
		}
		else if (go)
			task->next_try = 0;
	}
}

/* When nothing is left to do: true if nobody has asked for anything meanwhile. */
static bool
retire(void)
{
	bool		idle = true;

	SpinLockAcquire(&my_board->mutex);
	for (int i = 0; i < SLOTS; i++)
		if (my_board->slots[i].id != 0)
			idle = false;
	if (idle)
		my_board->alive = false;
	SpinLockRelease(&my_board->mutex);
	return idle;
}

/*
 * Lets go of everything if the database has become too old: the locks keep
 * vacuum out.  Returns in how many ms to look again at the latest.
 */
static long
check_age(void)
{
	int			left = pf_guc_lock_max_age - pf_database_age();
	ListCell   *cell;

	InvalidateCatalogSnapshot();
	if (left > 0)
		return Min(Max(left / FASTEST_XIDS, 1000), AGE_CHECK_MAX);
	foreach(cell, tasks)
	{
		Task	   *task = lfirst(cell);

		if (!task->holding)
			continue;
		release(task);
		report(task, PF_HOLD_TOO_OLD, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			   psprintf("the database is older than pg_freeze.lock_max_age, %d transactions, and vacuum could not get in",
						pf_guc_lock_max_age));
	}
	return AGE_CHECK_MAX;
}

/* Lets go of what should have been thawed long since; when to look again. */
static TimestampTz
check_deadlines(void)
{
	TimestampTz next = PF_NEVER;
	ListCell   *cell;

	foreach(cell, tasks)
	{
		Task	   *task = lfirst(cell);
		TimestampTz end;

		SpinLockAcquire(&my_board->mutex);
		end = task->slot->deadline;
		SpinLockRelease(&my_board->mutex);
		if (!task->holding || end == 0)
			continue;
		end = TimestampTzPlusMilliseconds(end, OVERDUE);
		if (end <= GetCurrentTimestamp())
		{
			release(task);
			report(task, PF_HOLD_FAILED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "its deadline had passed and nobody had thawed it");
			ereport(LOG,
					(errmsg("pg_freeze: the locks of freeze " INT64_FORMAT " are let go, for its deadline has passed and nobody has thawed it", task->id)));
		}
		else
			next = Min(next, end);
	}
	return next;
}

/* ---- the holder: the process ------------------------------------------ */

static void
hold_locks(void)
{
	static uint32 wait_event = 0;
	MemoryContext round = AllocSetContextCreate(TopMemoryContext, "pg_freeze holder round", ALLOCSET_DEFAULT_SIZES);

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeHolder");
	for (;;)
	{
		TimestampTz next = PF_NEVER;
		List	   *todo;
		ListCell   *cell;

		MemoryContextReset(round);
		MemoryContextSwitchTo(round);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		read_board();
		if (tasks == NIL && retire())
			return;
		if (holds_anything())
			next = check_deadlines();
		if (holds_anything())
		{
			TimestampTz age_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), check_age());

			next = Min(next, age_at);
		}

		todo = list_copy(tasks);
		foreach(cell, todo)
		{
			Task	   *task = lfirst(cell);

			if (task->holding || task->slot->hold.state != PF_HOLD_TRYING)
				continue;
			if (task->next_try <= GetCurrentTimestamp())
				attempt(task);
			if (!task->holding && task->slot->hold.state == PF_HOLD_TRYING)
				next = Min(next, task->next_try);
			else if (task->holding)
				next = GetCurrentTimestamp();	/* for the age */
		}
		/* without a state: many a job ends whoever is idle in a transaction for long */
		pgstat_report_activity(holds_anything() ? STATE_UNDEFINED : STATE_RUNNING,
							   holds_anything() ? "pg_freeze: holds the locks of live freezes" : "pg_freeze: takes locks");
		if (next > GetCurrentTimestamp())
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 Min(ms_until(next), AGE_CHECK_MAX), wait_event);
		ResetLatch(MyLatch);
	}
}

/* The entry point of a holder; its argument is the handle of its board. */
void
pf_holder_main(Datum main_arg)
{
	dsm_segment *segment;
	Oid			database;
	int			asker;

	my_handle = DatumGetUInt32(main_arg);
	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(database));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, handle_interrupt);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	segment = dsm_attach(my_handle);
	if (segment == NULL)
		proc_exit(0);
	dsm_pin_mapping(segment);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	pf_worker_settings();
	/* a lock wait of ours is never worth a line in the log */
	SetConfigOption("log_lock_waits", "off", PGC_SUSET, PGC_S_OVERRIDE);
	my_board = board_in(segment);
	if (my_board == NULL)
		proc_exit(0);

	started_at = GetCurrentTimestamp();
	before_shmem_exit(leave_board, (Datum) 0);
	SpinLockAcquire(&my_board->mutex);
	my_board->alive = true;
	my_board->procno = MyProcNumber;
	my_board->pid = MyProcPid;
	asker = my_board->slots[0].asker;
	SpinLockRelease(&my_board->mutex);
	wake(asker);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	hold_locks();
	CommitTransactionCommand();
	proc_exit(0);
}
