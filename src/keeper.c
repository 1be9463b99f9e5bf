/*-------------------------------------------------------------------------
 *
 * keeper.c
 *	  The process that keeps a backup between its two calls.
 *
 * pg_backup_start() and pg_backup_stop() want one session; those who take
 * snapshots have two, one before and one after.  So a background worker, the
 * keeper, calls both, and waits in between for freeze_backup_end(),
 * freeze_backup_abort() or the deadline.  Who wants something writes a word
 * into the keeper's board, a segment, and sets its latch (backup.c); the keeper
 * alone changes the state there and wakes those who wait for that.
 *
 * Order.  The checkpoint comes first, and takes long: nothing is frozen yet.
 * Then whoever begins the backup makes the freeze, as any caller does, and says
 * so.  At the end the backup is stopped inside the hold, without waiting for
 * the archive; the labels are written to the directory and to the table, that
 * is committed, and only then does the one who ends it thaw.
 *
 * Locks.  Advisory locks of database 0, see backup.h, are held until the
 * process ends: they say that there is a keeper, and where its board is.  No
 * transaction is open while it waits.
 *
 * On a standby there is no row.  The keeper stays, with the labels, until the
 * next backup begins; elsewhere only if it holds WAL, for that long.
 *
 * Failure.  An error: the server's session state is put back, the row says
 * failed and why, and the scheduler thaws.  The process is terminated: the
 * server ends the backup mode at exit, and the scheduler marks the row.  The
 * server crashes: all of it is gone; whoever looks sees a row without a keeper,
 * and the next round of the scheduler, or the next keeper, marks it.  Whoever
 * begins goes away before the copy may be made: his side of the segment says
 * abort.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgwriter.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "backup.h"
#include "board.h"
#include "journal.h"
#include "scheduler.h"
#include "step.h"

#define LOCK_PATIENCE	5000	/* ms for another keeper to end */
#define SLEEP_MAX		3600000L	/* ms of sleep at a stretch */

/* The board of this process, mapped until it exits. */
static PfBackupBoard *board = NULL;
static dsm_handle my_handle = DSM_HANDLE_INVALID;

/* Of the scheduler here, once there is a freeze. */
static dsm_handle scheduler = DSM_HANDLE_INVALID;

/* Whether there is a row; not on a standby, even if it has been promoted since. */
static bool has_row = false;

/* Whether a word interrupts what this process does. */
static volatile sig_atomic_t interruptible = false;

PGDLLEXPORT void pf_backup_main(Datum main_arg);

/* ---- the board -------------------------------------------------------- */

static void
handle_word(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (interruptible && !proc_exit_inprogress)
		InterruptPending = QueryCancelPending = true;
	SetLatch(MyLatch);

	errno = save_errno;
}

static bool
is_given_up(void)
{
	bool		result;

	SpinLockAcquire(&board->mutex);
	result = board->word == PF_WORD_ABORT;
	SpinLockRelease(&board->mutex);
	return result;
}

/* What else belongs to the phase is in the board already. */
static void
set_phase(PfBackupPhase phase)
{
	SpinLockAcquire(&board->mutex);
	board->state.phase = phase;
	SpinLockRelease(&board->mutex);
	ConditionVariableBroadcast(&board->changed);
}

/* Cancels who makes the freeze of a backup that has failed; under the spinlock, so that the pid is still his. */
static void
cancel_freezer(void)
{
	SpinLockAcquire(&board->mutex);
	if (board->freezer != 0)
		kill(board->freezer, SIGINT);
	SpinLockRelease(&board->mutex);
}

/* before_shmem_exit: nobody is to wait for this process, and its freeze ends. */
static void
leave(int code, Datum arg)
{
	bool		ended;

	SpinLockAcquire(&board->mutex);
	ended = board->state.phase >= PF_BACKUP_DONE;
	board->alive = false;
	board->procno = -1;
	SpinLockRelease(&board->mutex);
	ConditionVariableBroadcast(&board->changed);
	if (!ended)
		cancel_freezer();
	if (!ended && board->request.target[0])
		pf_scheduler_leave_to(MyDatabaseId, scheduler);
}

/*
 * Waits for a word; PF_WORD_NONE: the time has come.  0 means no time.
 */
static PfBackupWord
await_word(TimestampTz until)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeBackup");
	for (;;)
	{
		PfBackupWord word;
		long		ms = -1;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		SpinLockAcquire(&board->mutex);
		word = board->word;
		/* from here on it can't be aborted any more */
		if (word == PF_WORD_END)
			board->state.phase = PF_BACKUP_STOPPING;
		SpinLockRelease(&board->mutex);
		if (word != PF_WORD_NONE)
			return word;
		if (until != 0)
		{
			ms = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until), SLEEP_MAX);
			if (ms <= 0)
				return PF_WORD_NONE;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | (ms > 0 ? WL_TIMEOUT : 0) | WL_EXIT_ON_PM_DEATH, ms, wait_event);
	}
}

/* A word has been heeded. */
static void
forget_word(void)
{
	SpinLockAcquire(&board->mutex);
	if (board->word != PF_WORD_ABORT)
		board->word = PF_WORD_NONE;
	SpinLockRelease(&board->mutex);
}

/* ---- the row ---------------------------------------------------------- */

/* Sets columns of the backup's row in the current transaction; $1 is the id. */
static void
set_row(const char *assignments, int nargs, Oid *types, Datum *values)
{
	Oid			all_types[6] = {INT8OID};
	Datum		all_values[6] = {Int64GetDatum(board->state.id)};
	PfSpi		spi;

	Assert(nargs < 6);
	if (!has_row)
		return;
	for (int i = 0; i < nargs; i++)
	{
		all_types[i + 1] = types[i];
		all_values[i + 1] = values[i];
	}
	spi = pf_spi_begin();
	journal_execute(psprintf("UPDATE @.freeze_backup SET %s WHERE id = $1", assignments),
					nargs + 1, all_types, all_values, NULL, false);
	pf_spi_end(spi);
}

/*
 * The row of a new backup; on a standby only an id.  What the last one left is
 * forgotten.
 */
static void
begin_row(void)
{
	const PfBackupRequest *request = &board->request;
	Oid			types[] = {TEXTOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	INT4OID, TEXTOID, TIMESTAMPTZOID};
	Datum		values[14];
	int64		id = request->begun_at;

	has_row = !RecoveryInProgress();
	pf_begin();
	if (has_row)
	{
		PfSpi		spi;
		bool		isnull;

		values[0] = CStringGetTextDatum(request->label);
		values[1] = CStringGetTextDatum(request->target);
		values[2] = BoolGetDatum(request->backup_mode);
		values[3] = CStringGetTextDatum(pf_checkpoint_name(request->checkpoint));
		values[4] = CStringGetTextDatum(request->directory);
		values[5] = Int64GetDatum(request->timeout);
		values[6] = ObjectIdGetDatum(request->caller.role);
		values[7] = CStringGetTextDatum(NameStr(request->caller.role_name));
		values[8] = CStringGetTextDatum(NameStr(request->caller.session_user));
		values[9] = CStringGetTextDatum(request->caller.application);
		values[10] = CStringGetTextDatum(request->caller.client_addr);
		values[11] = Int32GetDatum(request->caller.pid);
		values[12] = CStringGetTextDatum(request->reason);
		values[13] = TimestampTzGetDatum(request->begun_at);
		pf_backup_mark_failed();
		spi = pf_spi_begin();
		journal_execute("UPDATE @.freeze_backup SET backup_label = NULL, tablespace_map = NULL WHERE backup_label IS NOT NULL",
						0, NULL, NULL, NULL, false);
		journal_execute("INSERT INTO @.freeze_backup (label, state, target, backup_mode, checkpoint, label_directory, timeout, owner,"
						" owner_name, by_session_user, by_application, by_address, by_pid, reason, begun_at)"
						" VALUES ($1, 'running', nullif($2, ''), $3, $4, nullif($5, ''), $6 * interval '1 microsecond', $7, $8, $9, $10,"
						" nullif($11, ''), $12, nullif($13, ''), $14) RETURNING id",
						lengthof(types), types, values, NULL, false);
		id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		pf_spi_end(spi);
	}
	CommitTransactionCommand();
	SpinLockAcquire(&board->mutex);
	board->state.id = id;
	SpinLockRelease(&board->mutex);
}

/* ---- files ------------------------------------------------------------ */

static char *
file_path(const char *name)
{
	return psprintf("%s/%s", board->request.directory, name);
}

/* What an earlier backup has left there would be taken for this one's. */
static void
remove_file(const char *name)
{
	if (unlink(file_path(name)) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", file_path(name))));
}

/*
 * Writes one of the two files, so that it is there as a whole or not at all.
 * Follows no symbolic link of somebody who may write to the directory, too.
 */
static void
write_file(const char *name, const char *text)
{
	char	   *path = file_path(name);
	char	   *temporary = psprintf("%s.pg_freeze.tmp", path);
	int			length = strlen(text);
	int			fd;

	(void) unlink(temporary);
	fd = OpenTransientFile(temporary, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", temporary)));
	errno = 0;
	if (write(fd, text, length) != length)
	{
		/* if write didn't set errno, assume that there is no space */
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	}
	if (pg_fsync(fd) != 0 || CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	(void) durable_rename(temporary, path, ERROR);
}

/* ---- beginning -------------------------------------------------------- */

static bool
take_lock(uint32 key, uint16 class)
{
	LOCKTAG		tag;

	pf_backup_lock_tag(&tag, key, class);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Raises 55000 if another backup runs. */
static void
check_is_only_one(void)
{
	dsm_segment *segment;
	PfBackupBoard *other;

	pf_begin();
	other = pf_backup_board(&segment);
	if (other && pf_backup_state(other).phase < PF_BACKUP_DONE)
		pf_backup_raise_running(other);
	if (segment)
		dsm_detach(segment);
	CommitTransactionCommand();
}

/* Makes this process the one keeper; another one may be about to end. */
static void
take_locks(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOCK_PATIENCE);
	bool		server = false;
	bool		database = false;

	for (;;)
	{
		server = server || take_lock(0, PF_BACKUP_LOCK_SERVER);
		/* the scheduler has this one too, for a moment */
		database = database || (server && take_lock(MyDatabaseId, PF_BACKUP_LOCK_DATABASE));
		if (database)
			break;
		if (!server)
			check_is_only_one();
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("another backup runs"),
					 errdetail("There can be one at a time in a server."),
					 errhint("freeze_backup_status shows it.")));
		pf_pause(20);
	}
	(void) take_lock(my_handle, PF_BACKUP_LOCK_BOARD);
}

/* A physical slot, which ends with this process, so that the server keeps the WAL from here on. */
static void
hold_wal(void)
{
	char	   *name = psprintf("pg_freeze_backup_%d", MyProcPid);
	Oid			type = NAMEOID;
	NameData	slot;
	Datum		value = NameGetDatum(&slot);
	PfSpi		spi;

	namestrcpy(&slot, name);
	pf_begin();
	spi = pf_spi_begin();
	journal_execute("SELECT pg_create_physical_replication_slot($1, true, true)", 1, &type, &value, NULL, false);
	pf_spi_end(spi);
	type = TEXTOID;
	value = CStringGetTextDatum(name);
	set_row("slot = $2", 1, &type, &value);
	CommitTransactionCommand();
	SpinLockAcquire(&board->mutex);
	namestrcpy((Name) board->state.slot, NameStr(slot));
	SpinLockRelease(&board->mutex);
}

static TimeLineID
current_timeline(void)
{
	TimeLineID	timeline;

	if (!RecoveryInProgress())
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&timeline);
	return timeline;
}

/*
 * The checkpoint, inside pg_backup_start() or by itself.  Without a snapshot,
 * since it may take minutes.
 */
static void
start(void)
{
	const PfBackupRequest *request = &board->request;
	Oid			types[2] = {PG_LSNOID, INT8OID};
	Datum		values[2];
	XLogRecPtr	lsn;
	TimeLineID	timeline;

	StartTransactionCommand();
	interruptible = true;
	/* a word that came before that */
	if (is_given_up())
		InterruptPending = QueryCancelPending = true;
	CHECK_FOR_INTERRUPTS();
	if (request->backup_mode)
		lsn = DatumGetLSN(DirectFunctionCall2(pg_backup_start, CStringGetTextDatum(request->label),
											  BoolGetDatum(request->checkpoint == PF_CHECKPOINT_FAST)));
	else
	{
		if (request->checkpoint != PF_CHECKPOINT_NONE)
			RequestCheckpoint(CHECKPOINT_FORCE | CHECKPOINT_WAIT |
							  (request->checkpoint == PF_CHECKPOINT_FAST ? CHECKPOINT_FAST : 0));
		lsn = GetRedoRecPtr();
	}
	interruptible = false;
	QueryCancelPending = false;
	CommitTransactionCommand();
	timeline = current_timeline();

	pf_begin();
	values[0] = LSNGetDatum(lsn);
	values[1] = Int64GetDatum(timeline);
	set_row("start_lsn = $2, timeline = $3", 2, types, values);
	CommitTransactionCommand();
	SpinLockAcquire(&board->mutex);
	board->state.start_lsn = lsn;
	board->state.timeline = timeline;
	SpinLockRelease(&board->mutex);
	set_phase(PF_BACKUP_FREEZING);
}

/* The copy may be made now.  Whoever begins hears of it first: what is frozen waits for him. */
static void
wait_for_end(void)
{
	TimestampTz deadline = GetCurrentTimestamp() + board->request.timeout;
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(deadline);

	forget_word();
	SpinLockAcquire(&board->mutex);
	board->state.deadline = deadline;
	SpinLockRelease(&board->mutex);
	set_phase(PF_BACKUP_WAITING);
	pf_begin();
	set_row("deadline = $2", 1, &type, &value);
	if (board->request.target[0])
		scheduler = pf_board_read_row(PF_SCHEDULER_ROW, false);
	CommitTransactionCommand();
	ereport(LOG,
			(errmsg("pg_freeze: backup " INT64_FORMAT " (%s) is running from %X/%X, until %s at the latest",
					board->state.id, board->request.label, LSN_FORMAT_ARGS(board->state.start_lsn), timestamptz_to_str(deadline))));
}

/* ---- the end ---------------------------------------------------------- */

/* Keeps the two files for those who ask. */
static void
keep_texts(const char *label, const char *map)
{
	Size		label_size = strlen(label) + 1;
	Size		map_size = strlen(map) + 1;

	if (label_size + map_size > PF_BACKUP_TEXTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the tablespace_map of this backup is too long"),
				 errdetail("It has %zu bytes; there is room for %d.", map_size, PF_BACKUP_TEXTS)));
	memcpy(board->texts, label, label_size);
	memcpy(board->texts + label_size, map, map_size);
	board->map_at = (int) label_size;
}

/* Stops the backup, inside the hold. */
static void
stop(void)
{
	const PfBackupRequest *request = &board->request;
	TimestampTz now = GetCurrentTimestamp();
	Oid			types[5] = {PG_LSNOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[5];
	char	   *label = "";
	char	   *map = "";
	XLogRecPtr	lsn;
	TimeLineID	timeline;

	pf_begin();
	if (request->backup_mode)
	{
		MemoryContext context = CurrentMemoryContext;
		PfSpi		spi = pf_spi_begin();
		HeapTuple	row;
		TupleDesc	desc;
		bool		isnull;

		journal_execute("SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(false)", 0, NULL, NULL, NULL, false);
		row = SPI_tuptable->vals[0];
		desc = SPI_tuptable->tupdesc;
		lsn = DatumGetLSN(SPI_getbinval(row, desc, 1, &isnull));
		label = MemoryContextStrdup(context, SPI_getvalue(row, desc, 2));
		map = MemoryContextStrdup(context, SPI_getvalue(row, desc, 3));
		pf_spi_end(spi);
	}
	else
		lsn = pf_wal_end();
	timeline = current_timeline();
	if (request->directory[0])
	{
		write_file("backup_label", label);
		if (map[0])
			write_file("tablespace_map", map);
	}
	keep_texts(label, map);
	values[0] = LSNGetDatum(lsn);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(label);
	values[3] = CStringGetTextDatum(map);
	values[4] = Int64GetDatum(timeline);
	set_row("state = 'done', stop_lsn = $2, ended_at = $3, backup_label = nullif($4, ''),"
			" tablespace_map = nullif($5, ''), timeline = $6", 5, types, values);
	CommitTransactionCommand();
	ereport(LOG,
			(errmsg("pg_freeze: backup " INT64_FORMAT " (%s) is done, from %X/%X to %X/%X",
					board->state.id, request->label, LSN_FORMAT_ARGS(board->state.start_lsn), LSN_FORMAT_ARGS(lsn))));
	SpinLockAcquire(&board->mutex);
	board->state.stop_lsn = lsn;
	board->state.timeline = timeline;
	board->state.ended_at = now;
	board->state.holds_until = request->hold_wal ? now + request->timeout : 0;
	SpinLockRelease(&board->mutex);
	forget_word();
	set_phase(PF_BACKUP_DONE);
}

static char *
unless_ended_text(void)
{
	return psprintf("freeze_backup_end() was not called within %s",
					DatumGetCString(DirectFunctionCall1(interval_out,
														DirectFunctionCall3(interval_in,
																			CStringGetDatum(psprintf(INT64_FORMAT " microseconds", board->request.timeout)),
																			ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)))));
}

static void
raise_failure(PfBackupWord word)
{
	if (word == PF_WORD_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", unless_ended_text())));
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("%s", board->word_reason)));
}

/*
 * Writes down that the backup has failed and why; tells those who wait, and the
 * scheduler.
 */
static void
fail(ErrorData *error)
{
	TimestampTz now = GetCurrentTimestamp();
	Oid			types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[2];
	bool		given_up = error->sqlerrcode == ERRCODE_QUERY_CANCELED && is_given_up();
	char	   *message = given_up ? board->word_reason : error->message;

	/* what pg_backup_start() has begun */
	do_pg_abort_backup(0, BoolGetDatum(false));
	if (board->state.id != 0)
	{
		pf_begin();
		values[0] = CStringGetTextDatum(message);
		values[1] = TimestampTzGetDatum(now);
		set_row("state = 'failed', failure = $2, ended_at = $3", 2, types, values);
		CommitTransactionCommand();
		ereport(LOG,
				(errmsg("pg_freeze: backup " INT64_FORMAT " (%s) has failed: %s", board->state.id, board->request.label, message)));
	}
	pf_clip(board->message, sizeof(board->message), message);
	pf_clip(board->detail, sizeof(board->detail), error->detail);
	pf_clip(board->hint, sizeof(board->hint), error->hint);
	SpinLockAcquire(&board->mutex);
	board->state.sqlstate = error->sqlerrcode;
	board->state.ended_at = now;
	board->word = PF_WORD_NONE;
	SpinLockRelease(&board->mutex);
	set_phase(PF_BACKUP_FAILED);
	cancel_freezer();
	if (board->request.target[0])
		pf_call_scheduler(now);
}

/* ---- the process ------------------------------------------------------ */

/* Where nobody is left who ended the backup, the scheduler thaws. */
static void
leave_freeze(void)
{
	bool		left;

	SpinLockAcquire(&board->mutex);
	left = board->left;
	SpinLockRelease(&board->mutex);
	if (left && board->request.target[0])
		pf_call_scheduler(GetCurrentTimestamp());
}

static void
keep(void)
{
	PfBackupWord word;

	take_locks();
	begin_row();
	if (board->request.directory[0])
	{
		remove_file("backup_label");
		remove_file("tablespace_map");
	}
	if (board->request.hold_wal)
		hold_wal();
	start();
	word = await_word(0);
	if (word != PF_WORD_FROZEN)
		raise_failure(word);
	wait_for_end();
	word = await_word(board->state.deadline);
	if (word != PF_WORD_END)
		raise_failure(word);
	stop();
	leave_freeze();
}

static void
drop_slot(void)
{
	Oid			type = NAMEOID;
	Datum		value = NameGetDatum((Name) board->state.slot);
	PfSpi		spi;

	pf_begin();
	spi = pf_spi_begin();
	journal_execute("SELECT pg_drop_replication_slot($1)", 1, &type, &value, NULL, false);
	pf_spi_end(spi);
	CommitTransactionCommand();
	SpinLockAcquire(&board->mutex);
	board->state.slot[0] = '\0';
	SpinLockRelease(&board->mutex);
}

/* Holds the WAL for those who copy it; on a standby, keeps what the row would. */
static void
stay(void)
{
	if (board->state.holds_until != 0 && await_word(board->state.holds_until) != PF_WORD_NONE)
		return;
	if (has_row || board->state.id == 0)
		return;
	if (board->state.slot[0])
		drop_slot();
	(void) await_word(0);
}

/* Maps the segment that the caller made; ends the process if the caller has gone. */
static void
attach(dsm_handle handle)
{
	dsm_segment *segment = dsm_attach(handle);

	if (segment == NULL)
		proc_exit(0);
	dsm_pin_mapping(segment);
	board = dsm_segment_address(segment);
	if (dsm_segment_map_length(segment) < sizeof(PfBackupBoard) || board->magic != PF_BACKUP_MAGIC)
	{
		board = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the session that asks has another version of the library pg_freeze"),
				 errhint("Connect anew, or restart the server if it preloads pg_freeze.")));
	}
	my_handle = handle;
}

void
pf_backup_main(Datum main_arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, handle_word);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	attach(DatumGetUInt32(main_arg));
	before_shmem_exit(leave, (Datum) 0);
	SpinLockAcquire(&board->mutex);
	board->procno = MyProcNumber;
	board->state.keeper = MyProcPid;
	SpinLockRelease(&board->mutex);
	BackgroundWorkerInitializeConnectionByOid(board->request.database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	pf_worker_settings();
	SetConfigOption("TimeZone", board->request.caller.timezone, PGC_SUSET, PGC_S_OVERRIDE);

	PG_TRY();
	{
		keep();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		interruptible = false;
		QueryCancelPending = false;
		pf_abort();
		MemoryContextSwitchTo(TopMemoryContext);
		fail(error);
	}
	PG_END_TRY();
	stay();
	proc_exit(0);
}
