/*-------------------------------------------------------------------------
 *
 * backups.c
 *	  Finding a backup, by its keeper or its row; telling the keeper.
 *
 * The keeper is found through the lock that it holds, whose key is the handle
 * of its board.  A backup without one is what its row says; where that says
 * running, the keeper has gone.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "backup.h"
#include "journal.h"
#include "scheduler.h"
#include "step.h"

#define TELL_AFTER		5000	/* ms of waiting until the caller is told why */
#define LOOK_EVERY		1000	/* ms */

/* ---- locks and boards ------------------------------------------------- */

/* See backup.h. */
void
pf_backup_lock_tag(LOCKTAG *tag, uint32 key, uint16 class)
{
	SET_LOCKTAG_ADVISORY(*tag, InvalidOid, PF_BACKUP_LOCK, key, class);
}

/* See backup.h. */
PfBackupState
pf_backup_state(PfBackupBoard *board)
{
	PfBackupState state;

	SpinLockAcquire(&board->mutex);
	state = board->state;
	SpinLockRelease(&board->mutex);
	return state;
}

/* See backup.h. */
PfBackupBoard *
pf_backup_board(dsm_segment **segment)
{
	PfSpi		spi = pf_spi_begin();
	dsm_handle	handle = DSM_HANDLE_INVALID;
	PfBackupBoard *board;

	journal_execute(psprintf("SELECT objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND database = 0"
							 " AND classid = %u AND objsubid = %d AND granted", PF_BACKUP_LOCK, PF_BACKUP_LOCK_BOARD),
					0, NULL, NULL, NULL, true);
	if (SPI_processed > 0)
	{
		bool		isnull;

		handle = (dsm_handle) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	pf_spi_end(spi);
	*segment = handle == DSM_HANDLE_INVALID ? NULL : dsm_attach(handle);
	if (*segment == NULL)
		return NULL;
	board = dsm_segment_address(*segment);
	if (dsm_segment_map_length(*segment) < sizeof(PfBackupBoard) || board->magic != PF_BACKUP_MAGIC)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the process that keeps the backup has another version of the library pg_freeze"),
				 errhint("Connect anew, or restart the server if it preloads pg_freeze.")));
	return board;
}

/* See backup.h. */
void
pf_backup_mark_failed(void)
{
	LOCKTAG		tag;
	PfSpi		spi;

	pf_backup_lock_tag(&tag, MyDatabaseId, PF_BACKUP_LOCK_DATABASE);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return;
	spi = pf_spi_begin();
	journal_execute("UPDATE @.freeze_backup SET state = 'failed', failure = 'the process that kept it is gone', ended_at = clock_timestamp()"
					" WHERE state = 'running'", 0, NULL, NULL, NULL, false);
	pf_spi_end(spi);
}

/* See backup.h. */
bool
pf_backup_tell(PfBackupBoard *board, PfBackupWord word, const char *reason)
{
	char		text[PF_BACKUP_MESSAGE + 1];
	int			procno = -1;
	bool		heeds;

	pf_clip(text, sizeof(text), reason);
	SpinLockAcquire(&board->mutex);
	switch (word)
	{
		case PF_WORD_END:
			heeds = board->state.phase == PF_BACKUP_WAITING && board->word == PF_WORD_NONE;
			break;
		case PF_WORD_ABORT:
			heeds = board->state.phase < PF_BACKUP_STOPPING;
			break;
		case PF_WORD_GO:
			heeds = board->state.phase >= PF_BACKUP_DONE;
			break;
		default:
			heeds = board->state.phase == PF_BACKUP_FREEZING && board->word == PF_WORD_NONE;
	}
	heeds = heeds && board->alive;
	if (heeds)
	{
		board->word = word;
		if (reason)
			strcpy(board->word_reason, text);
		procno = board->procno;
		/* out of a checkpoint; with the spinlock held, so that the pid is still the keeper's */
		if (word == PF_WORD_ABORT && board->state.keeper != 0)
			kill(board->state.keeper, SIGINT);
	}
	SpinLockRelease(&board->mutex);
	if (procno >= 0)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
	return heeds;
}

/* See backup.h. */
bool
pf_backup_is_gone(PfBackupBoard *board, BackgroundWorkerHandle *keeper)
{
	bool		alive;

	SpinLockAcquire(&board->mutex);
	alive = board->alive;
	SpinLockRelease(&board->mutex);
	return !alive || (keeper && pf_scheduler_is_stopped(keeper));
}

/* See backup.h. */
bool
pf_backup_await(PfBackupBoard *board, PfBackupPhase phase, BackgroundWorkerHandle *keeper, const char *waits_for)
{
	static uint32 wait_event = 0;
	TimestampTz tell_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TELL_AFTER);
	bool		told = waits_for == NULL;
	bool		gone = false;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeKeeper");
	ConditionVariablePrepareToSleep(&board->changed);
	while (pf_backup_state(board).phase < phase && !gone)
	{
		/* what it did last counts */
		gone = pf_backup_is_gone(board, keeper);
		if (gone)
			continue;
		if (!told && GetCurrentTimestamp() >= tell_at)
		{
			ereport(NOTICE, (errmsg("waiting for %s", waits_for)));
			told = true;
		}
		if (ConditionVariableTimedSleep(&board->changed, LOOK_EVERY, wait_event))
			pf_look_at_client();
	}
	ConditionVariableCancelSleep();
	return pf_backup_state(board).phase >= phase;
}

/* See backup.h. */
char *
pf_backup_abort_call(int64 id, const char *label)
{
	return id ? psprintf("freeze_backup_abort(" INT64_FORMAT ")", id) :
		psprintf("freeze_backup_abort(label => %s)", quote_literal_cstr(label));
}

/* See backup.h. */
void
pf_backup_raise_running(PfBackupBoard *board)
{
	PfBackupState state = pf_backup_state(board);
	const PfBackupRequest *request = &board->request;
	const PfBackup *backup = pf_backup_of(board);
	char	   *since = pstrdup(timestamptz_to_str(request->begun_at));

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("backup " INT64_FORMAT " (%s) runs already", backup->id, backup->label),
			 errdetail("It was begun by %s at %s%s%s. There can be one at a time in a server.",
					   quote_identifier(backup->owner_name), since,
					   request->database != MyDatabaseId ?
					   psprintf(" in database %s", quote_identifier(get_database_name(request->database))) : "",
					   state.deadline ? psprintf(", and fails at %s unless it is ended", timestamptz_to_str(state.deadline)) : ""),
			 errhint("End it, or give it up: SELECT %s;", pf_backup_abort_call(backup->id, backup->label))));
}

/* ---- finding ---------------------------------------------------------- */

static bool
is_meant(const PfBackup *backup, int64 id, const char *label)
{
	return id ? backup->id == id : label ? strcmp(backup->label, label) == 0 : true;
}

/* See backup.h. */
char *
pf_backup_text(const PfBackupBoard *board, const char *text)
{
	return text && text[0] ? pf_readable(board->request.encoding, pstrdup(text)) : NULL;
}

/* See backup.h. */
PfBackup *
pf_backup_of(PfBackupBoard *board)
{
	PfBackup   *backup = palloc0(sizeof(PfBackup));
	PfBackupState state = pf_backup_state(board);

	backup->id = state.id;
	backup->label = pf_backup_text(board, board->request.label);
	backup->owner = board->request.caller.role;
	backup->owner_name = pf_backup_text(board, NameStr(board->request.caller.role_name));
	backup->backup_mode = board->request.backup_mode;
	backup->done = state.phase == PF_BACKUP_DONE;
	backup->failure = state.phase == PF_BACKUP_FAILED ? pf_backup_text(board, board->message) : NULL;
	backup->ended_at = state.ended_at;
	backup->timeout = board->request.timeout;
	backup->start_lsn = state.start_lsn;
	backup->stop_lsn = state.stop_lsn;
	backup->timeline = state.timeline;
	if (backup->done && backup->backup_mode)
	{
		backup->backup_label = pf_backup_text(board, board->texts);
		backup->tablespace_map = pf_backup_text(board, board->texts + board->map_at);
	}
	return backup;
}

/* See backup.h. */
PfBackup *
pf_backup_row(int64 id, const char *label)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			types[2] = {INT8OID, TEXTOID};
	Datum		values[2] = {Int64GetDatum(id), label ? CStringGetTextDatum(label) : (Datum) 0};
	char		nulls[3] = {' ', label ? ' ' : 'n', '\0'};
	PfBackup   *backup = NULL;

	journal_execute("SELECT id, label, owner, owner_name, backup_mode, state = 'done',"
					" coalesce(failure, CASE WHEN state = 'running' THEN 'the process that kept it is gone' END),"
					" ended_at, start_lsn, stop_lsn, timeline, backup_label, tablespace_map, (extract(epoch FROM timeout) * 1000000)::int8"
					" FROM @.freeze_backup WHERE ($1 = 0 OR id = $1) AND ($2 IS NULL OR label = $2) ORDER BY id DESC LIMIT 1",
					2, types, values, nulls, true);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(context);
		bool		isnull;

		backup = palloc0(sizeof(PfBackup));
		backup->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		backup->label = SPI_getvalue(row, desc, 2);
		backup->owner = DatumGetObjectId(SPI_getbinval(row, desc, 3, &isnull));
		backup->owner_name = SPI_getvalue(row, desc, 4);
		backup->backup_mode = DatumGetBool(SPI_getbinval(row, desc, 5, &isnull));
		backup->done = DatumGetBool(SPI_getbinval(row, desc, 6, &isnull));
		backup->failure = SPI_getvalue(row, desc, 7);
		backup->ended_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 8, &isnull));
		backup->start_lsn = DatumGetLSN(SPI_getbinval(row, desc, 9, &isnull));
		backup->stop_lsn = DatumGetLSN(SPI_getbinval(row, desc, 10, &isnull));
		backup->timeline = (TimeLineID) DatumGetInt64(SPI_getbinval(row, desc, 11, &isnull));
		backup->backup_label = SPI_getvalue(row, desc, 12);
		backup->tablespace_map = SPI_getvalue(row, desc, 13);
		backup->timeout = DatumGetInt64(SPI_getbinval(row, desc, 14, &isnull));
		MemoryContextSwitchTo(old);
	}
	pf_spi_end(spi);
	return backup;
}

/* Raises for a backup that can't be found. */
static void
not_found(int64 id, const char *label)
{
	if (id == 0 && label == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no backup was begun in this database"),
				 errhint("SELECT freeze_backup_begin('label'); begins one.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 id ? errmsg("there is no backup " INT64_FORMAT " in this database", id) :
			 errmsg("there is no backup with label %s in this database", quote_literal_cstr(label)),
			 errhint("freeze_backup_status lists them.")));
}

/* See backup.h. */
PfBackup *
pf_backup_find(int64 id, const char *label, PfBackupBoard **board, dsm_segment **segment)
{
	PfBackup   *backup = NULL;

	*board = pf_backup_board(segment);
	if (*board)
	{
		Oid			home = (*board)->request.database;

		backup = pf_backup_of(*board);
		if (home != MyDatabaseId || !is_meant(backup, id, label))
		{
			PfBackup   *row = id || label ? pf_backup_row(id, label) : NULL;

			if (row == NULL && is_meant(backup, id, label))
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("backup " INT64_FORMAT " (%s) was begun in another database", backup->id, backup->label),
						 errhint("Connect to database %s.", quote_identifier(get_database_name(home)))));
			backup = row;
			*board = NULL;
		}
	}
	else
		backup = pf_backup_row(id, label);
	if (backup == NULL)
		not_found(id, label);
	if (*board == NULL && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("backup " INT64_FORMAT " (%s) is not one of this standby", backup->id, backup->label),
				 errhint("Run it on the primary.")));
	if (backup->owner != GetUserId() && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("backup " INT64_FORMAT " is not yours", backup->id),
				 errdetail("It was begun by %s.", quote_identifier(backup->owner_name)),
				 errhint("A superuser, or whoever began it, may do that.")));
	return backup;
}
