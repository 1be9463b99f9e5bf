/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *	  The sleeping worker of a database with live freezes.
 *
 * One background worker per database with live freezes, the scheduler, thaws
 * what is due, finishes what a dead worker left, and reminds.  It sleeps
 * until exactly then and, because a connected worker would be in the way of
 * DROP DATABASE, sleeps before it connects.  A worker that has connected
 * can't disconnect: so after its work it hands over to a successor, a new
 * process that has not, and ends.
 *
 *	asleep		not connected; waits on its latch for the time on the board
 *	working		connected: pf_life_attend()
 *	handing over	registers the successor, waits until that is asleep
 *
 * The scheduler is found through its board (board.c).  pf_scheduler_wake()
 * writes its time there under the lock on the row; a scheduler clears the time
 * before it works, and retires only if, under the lock, the time is still
 * clear.  So whoever has committed the row of a freeze and then calls
 * pf_scheduler_wake() is heard by the old scheduler or starts a new one.
 *
 * Invariant: at most one process works as a database's scheduler for longer
 * than it takes to see that another one does.  Each one looks, in claim(),
 * each time before it works.  (Two that work at once do no harm: freezes are
 * worked on under their work locks.)
 *
 * Failure.  An error ends the process with status 1, and the postmaster starts
 * it again 10 seconds later; so it does after a crash of the server, without
 * preload, because the registration of a worker outlives a crash.  The board is
 * gone then, and the worker goes to work at once, as the successor of whoever
 * was there.  If the predecessor dies in a handover, its board goes, and the
 * successor does the same.  If no worker slot is free for a successor, the
 * scheduler stays connected, tries again every 10 seconds and works when
 * something is due.  If the database is dropped, the worker finds its
 * directory gone at the next wake-up (an hour at most, for that and for the
 * sake of clocks that are set forward), and has another database's scheduler
 * give back what was held in shared catalogs.
 *
 * After an orderly restart the registrations are gone.  With preload, the
 * launcher (launcher.c) starts a worker for each database, which works or sees
 * that there is nothing to do.  Without, the next freeze or thaw in the
 * database does.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "common/relpath.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "board.h"
#include "gate.h"
#include "gates.h"
#include "journal.h"
#include "live.h"
#include "scheduler.h"
#include "thaw.h"
#include "values.h"
#include "worker.h"

#define SLEEP_MAX		3600000 /* ms of sleep at a stretch */
#define ALARM_AFTER		1000	/* ms until what a dead worker left is cleaned up */
#define NAP_MAX			2000	/* ms that don't make a handover worth while */
#define NAP_MIN			100		/* ms between two rounds of work, at least */

/* What a scheduler learns from its registration besides the board's handle. */
typedef struct PfSchedulerExtra
{
	Oid			database;
} PfSchedulerExtra;

StaticAssertDecl(sizeof(PfSchedulerExtra) <= BGW_EXTRALEN, "bgw_extra is too small");

/* The board of this process, if it is a scheduler; mapped until it exits. */
static PfBoard *my_board = NULL;
static dsm_handle my_handle = DSM_HANDLE_INVALID;

/* The board of the scheduler that this process has called last. */
static dsm_handle called_handle = DSM_HANDLE_INVALID;

PGDLLEXPORT void pf_scheduler_main(Datum main_arg);

/* ---- waiting ---------------------------------------------------------- */

/* Waits on the latch, for at most so many ms, -1: for ever, and serves interrupts. */
void
pf_scheduler_doze(long timeout)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeScheduler");

	(void) WaitLatch(MyLatch, WL_LATCH_SET | (timeout >= 0 ? WL_TIMEOUT : 0) | WL_EXIT_ON_PM_DEATH,
					 timeout, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();

	/* Only asleep is SIGTERM handled this way; 1 so that a kill is not for good. */
	if (ShutdownRequestPending)
		proc_exit(1);
	if (ConfigReloadPending && !IsTransactionState())
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* ---- the row, in transactions ----------------------------------------- */

static void
begin(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- starting one ----------------------------------------------------- */

/* Registers a scheduler; NULL if no worker slot is free. */
BackgroundWorkerHandle *
pf_scheduler_register(Oid database, dsm_handle handle)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *result;
	PfSchedulerExtra extra = {database};

	pf_worker_describe(&worker, "scheduler", psprintf(" for database %u", database), PF_RESTART_AFTER);
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(handle);
	memcpy(worker.bgw_extra, &extra, sizeof(extra));

	return RegisterDynamicBackgroundWorker(&worker, &result) ? result : NULL;
}

/* Whether such a process has ended; it may be started again. */
bool
pf_scheduler_is_stopped(BackgroundWorkerHandle *worker)
{
	pid_t		pid;

	return GetBackgroundWorkerPid(worker, &pid) == BGWH_STOPPED;
}

/*
 * Under the lock: starts this database's scheduler, and keeps the board until
 * the new process has it.
 */
static dsm_handle
start_scheduler(TimestampTz at)
{
	dsm_segment *segment;
	PfBoard    *board = pf_board_create(MyDatabaseId, at, &segment);
	dsm_handle	handle = dsm_segment_handle(segment);
	BackgroundWorkerHandle *worker = pf_scheduler_register(MyDatabaseId, handle);

	if (worker == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free for the scheduler"),
				 errdetail("A database with a live freeze keeps one background worker, which sleeps."),
				 errhint("Raise max_worker_processes (now %d).", max_worker_processes)));

	PG_TRY();
	{
		while (!pf_board_is_taken_over(board))
		{
			if (pf_scheduler_is_stopped(worker))
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("the scheduler ended before it slept"),
						 errhint("See the server log for the reason.")));
			pf_scheduler_doze(1000);
		}
		pf_board_write_row(PF_SCHEDULER_ROW, handle);
	}
	PG_CATCH();
	{
		/* It would sleep for nobody. */
		TerminateBackgroundWorker(worker);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dsm_detach(segment);
	return handle;
}

/* See scheduler.h. */
void
pf_scheduler_wake(TimestampTz at)
{
	dsm_handle	handle;

	Assert(!IsTransactionState());

	begin();
	handle = pf_board_read_row(PF_SCHEDULER_ROW, true);
	if (!pf_board_tell(handle, at))
		handle = start_scheduler(at);
	commit();
	called_handle = handle;
}

/* See scheduler.h. */
void
pf_scheduler_look(void)
{
	Assert(!IsTransactionState());

	begin();
	if (journal_exists())
		(void) pf_board_tell(pf_board_read_row(PF_SCHEDULER_ROW, false), GetCurrentTimestamp());
	commit();
}

/* See scheduler.h. */
void
pf_scheduler_alarm(void)
{
	(void) pf_board_tell(called_handle,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ALARM_AFTER));
}

/* See scheduler.h. */
void
pf_scheduler_leave_to(Oid database, dsm_handle board)
{
	if (!pf_board_tell_of(database, board, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ALARM_AFTER)))
		(void) pf_scheduler_register(database, DSM_HANDLE_INVALID);
}

/* See scheduler.h. */
dsm_handle
pf_scheduler_board(void)
{
	return my_board ? my_handle : called_handle;
}

/* ---- the scheduler ---------------------------------------------------- */

/*
 * Whether the database exists, as far as a process can tell that isn't
 * connected: whether it has a directory in some tablespace.
 */
static bool
database_has_directory(Oid database)
{
	char		path[MAXPGPATH];
	struct stat st;
	DIR		   *dir;
	struct dirent *entry;
	bool		found = false;

	snprintf(path, sizeof(path), "base/%u", database);
	if (stat(path, &st) == 0)
		return true;

	dir = AllocateDir("pg_tblspc");
	while (!found && (entry = ReadDir(dir, "pg_tblspc")) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "pg_tblspc/%s/%s/%u",
				 entry->d_name, TABLESPACE_VERSION_DIRECTORY, database);
		found = (stat(path, &st) == 0);
	}
	FreeDir(dir);
	return found;
}

/* Whether there is a file of the way out that no round of work has heeded. */
static bool
thaw_file_is_new(TimestampTz *file)
{
	*file = pf_thaw_file();
	return *file != 0 && *file != pf_board_file(my_board);
}

/*
 * Sleeps until the time on the board, which may change meanwhile, or until a
 * reload finds a file of the way out, but for at most so many ms.  True if there
 * is something to do.
 */
static bool
sleep_until_due(int max)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), max);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz due = pf_board_wake_at(my_board);
		TimestampTz file;

		if (due <= now || thaw_file_is_new(&file))
			return true;
		if (end <= now)
			return false;
		pf_scheduler_doze(TimestampDifferenceMilliseconds(now, Min(due, end)));
	}
}

/* before_shmem_exit */
static void
leave_board(int code, Datum arg)
{
	if (my_board)
		pf_board_leave(my_board);
}

/* Keeps a board for as long as the process lives. */
static void
keep_board(dsm_segment *segment, PfBoard *board)
{
	dsm_pin_mapping(segment);
	my_board = board;
	my_handle = dsm_segment_handle(segment);
}

/*
 * Before each round of work: whether this process is the one to do it.  That
 * is so if the row has its board, or if it leads nowhere: then it gets the
 * board of this process, and a process that came without gets a board.  One
 * that came without where no freeze is live has nothing to do; where another
 * one is there it was started to make that one look.
 */
static bool
claim(void)
{
	dsm_handle	handle;
	bool		mine;

	begin();
	if (!journal_exists())
	{
		ListCell   *cell;

		commit();
		foreach(cell, pf_live_ids())
			pf_live_forget(*(int64 *) lfirst(cell));
		return false;
	}

	handle = pf_board_read_row(PF_SCHEDULER_ROW, true);
	if (my_board && handle == my_handle)
		mine = true;
	else if (pf_board_tell(handle, my_board ? PF_NEVER : GetCurrentTimestamp()))
		mine = false;
	else if (my_board == NULL && journal_ids("state NOT IN ('thawed', 'aborted')", 0, NULL, NULL) == NIL)
	{
		if (handle != DSM_HANDLE_INVALID)
			pf_board_write_row(PF_SCHEDULER_ROW, DSM_HANDLE_INVALID);
		mine = false;
	}
	else
	{
		if (my_board == NULL)
		{
			dsm_segment *segment;
			PfBoard    *board = pf_board_create(MyDatabaseId, PF_NEVER, &segment);

			keep_board(segment, board);
			pf_board_take_over(board);
		}
		pf_board_write_row(PF_SCHEDULER_ROW, my_handle);
		mine = true;
	}
	commit();
	return mine;
}

/*
 * When no freeze is live: true if nobody has called since the round of work
 * began; then nobody will count on this process any more.
 */
static bool
retire(void)
{
	bool		retired;

	begin();
	if (!journal_exists())
	{
		commit();
		return true;
	}

	pf_board_read_row(PF_SCHEDULER_ROW, true);
	retired = pf_board_retire(my_board);
	if (retired)
		pf_board_write_row(PF_SCHEDULER_ROW, DSM_HANDLE_INVALID);
	commit();
	return retired;
}

/*
 * Hands over to a successor that is not connected.  False if it could not:
 * no slot is free, or no process came before the next round of work is due.
 */
static bool
hand_over(void)
{
	BackgroundWorkerHandle *successor;

	pf_board_set_handover(my_board, true);
	successor = pf_scheduler_register(MyDatabaseId, my_handle);
	if (successor)
	{
		while (!pf_board_is_taken_over(my_board))
		{
			TimestampTz now = GetCurrentTimestamp();
			TimestampTz due = pf_board_wake_at(my_board);

			if (due <= now)
				break;
			pf_scheduler_doze(Min(TimestampDifferenceMilliseconds(now, due), PF_RETRY_EVERY));
		}
		if (pf_board_is_taken_over(my_board))
			return true;

		/*
		 * It may be on its way: have it gone before looking who has the
		 * board.
		 */
		TerminateBackgroundWorker(successor);
		if (WaitForBackgroundWorkerShutdown(successor) == BGWH_POSTMASTER_DIED)
			proc_exit(1);
		pfree(successor);
		if (pf_board_is_taken_over(my_board))
			pf_board_take_over(my_board);
	}
	pf_board_set_handover(my_board, false);
	return pf_board_is_taken_over(my_board);
}

/* Before a round of work: the file of the way out is a deadline, see pf_deadline(). */
static void
heed_file(void)
{
	TimestampTz file;

	if (!thaw_file_is_new(&file))
		return;
	pf_board_heed_file(my_board, file);
	begin();
	ereport(LOG,
			(errmsg("pg_freeze: because of the file %s all that was frozen from database \"%s\" before %s is thawed",
					PF_THAW_FILE, get_database_name(MyDatabaseId), timestamptz_to_str(file)),
			 file > GetCurrentTimestamp() ? errdetail("The file is from the future; it is heeded then.") : 0,
			 errhint("The file may be removed once that is done. It does nothing to what is frozen later.")));
	commit();
}

/* A round of work: when to come back, 0 if no freeze is live. */
static TimestampTz
work(void)
{
	TimestampTz next;

	pf_board_clear_wake(my_board);
	heed_file();
	pgstat_report_activity(STATE_RUNNING, "pg_freeze: attending to live freezes");
	next = pf_life_attend();
	pf_scheduler_attended();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (next == 0)
		return 0;

	/* Whatever it says, the rounds don't chase each other. */
	next = Max(next, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NAP_MIN));
	pf_board_wake_before(my_board, next);
	return next;
}

/* The connected part of a scheduler's life; returns when it is over. */
static void
work_until_idle(void)
{
	while (claim())
	{
		if (work() == 0)
		{
			if (retire())
				return;
			continue;
		}

		/* Not worth a process: stay for the next one. */
		if (pf_board_wake_at(my_board) <=
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NAP_MAX))
		{
			sleep_until_due(NAP_MAX);
			continue;
		}

		for (;;)
		{
			if (hand_over())
				return;
			if (sleep_until_due(PF_RETRY_EVERY))
				break;
		}
	}
	/* what was left by those whose journal has gone */
	pf_gate_sweep();
	pf_values_sweep();
	pf_scheduler_attended();
}

/* The extension's OID; another one after it was dropped and made again. */
static Oid
extension(void)
{
	Oid			oid;

	begin();
	oid = get_extension_oid(PF_NAME, true);
	commit();
	return oid;
}

/*
 * The same; if the extension is dropped meanwhile, that is an end, too, and no
 * error, after which the worker's slot would stay taken until a restart.
 */
static void
work_until_idle_or_dropped(void)
{
	Oid			mine = extension();

	PG_TRY();
	{
		work_until_idle();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		if (extension() == mine)
			ReThrowError(error);
	}
	PG_END_TRY();
}

/*
 * The database is gone, and its journal with it.  Another one's scheduler, which
 * need have nothing else to do, sees what nobody holds any more.
 */
static void
outlive_database(void)
{
	List	   *databases;

	BackgroundWorkerInitializeConnectionByOid(InvalidOid, InvalidOid, 0);
	pf_worker_settings();
	databases = pf_scheduler_list_databases();
	if (databases != NIL && pf_scheduler_register(llast_oid(databases), DSM_HANDLE_INVALID) == NULL)
		proc_exit(1);
	proc_exit(0);
}

/*
 * The entry point of a scheduler.  Its argument is the handle of the board
 * that it takes over, or DSM_HANDLE_INVALID for one that is to look what there
 * is to do, as it does where the board is gone.
 */
void
pf_scheduler_main(Datum main_arg)
{
	dsm_handle	handle = DatumGetUInt32(main_arg);
	PfSchedulerExtra extra;
	dsm_segment *segment = NULL;

	memcpy(&extra, MyBgworkerEntry->bgw_extra, sizeof(extra));

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(leave_board, (Datum) 0);

	if (handle != DSM_HANDLE_INVALID)
		segment = dsm_attach(handle);
	if (segment != NULL)
	{
		PfBoard    *board = pf_board_in(segment, extra.database);

		if (board == NULL)
			dsm_detach(segment);	/* a handle that is used again */
		else if (pf_board_take_over(board))
			keep_board(segment, board);
		else
			proc_exit(0);
	}

	if (my_board)
	{
		while (!sleep_until_due(SLEEP_MAX))
		{
			if (!database_has_directory(extra.database))
				outlive_database();
		}
	}

	if (!database_has_directory(extra.database))
		outlive_database();
	pqsignal(SIGTERM, die);
	if (ShutdownRequestPending)
		proc_exit(1);
	/* who connects may have to wait for somebody who waits for this */
	pf_gates_open_due(extra.database);
	BackgroundWorkerInitializeConnectionByOid(extra.database, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	pf_worker_settings();
	work_until_idle_or_dropped();
	proc_exit(0);
}
