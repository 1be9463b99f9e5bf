/*-------------------------------------------------------------------------
 *
 * backup.c
 *	  The SQL functions about backups: begin, end, abort, look.
 *
 * A backup is kept by a process of its own, see keeper.c.  These functions run
 * in sessions that come and go: they start it, find it through the lock that it
 * holds, tell it a word, and wait until it has changed its state.  All that
 * they need travels in its board, so their snapshots, transactions and
 * databases don't matter.
 *
 * Whoever begins makes the freeze, when the checkpoint is over, as the freeze
 * functions do, with the timeout as its deadline; whoever ends or aborts thaws.
 * If he goes away before the copy may be made, his side of the segment tells
 * the keeper to abort; if he goes away after he has told it to end, the freeze
 * ends at its deadline, and to call the function again finishes the work.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlogarchive.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include "arguments.h"
#include "backup.h"
#include "guc.h"
#include "journal.h"
#include "scheduler.h"
#include "step.h"
#include "thaw.h"

PG_FUNCTION_INFO_V1(freeze_backup_begin);
PG_FUNCTION_INFO_V1(freeze_backup_end);
PG_FUNCTION_INFO_V1(freeze_backup_abort);
PG_FUNCTION_INFO_V1(freeze_backup_kept);
PG_FUNCTION_INFO_V1(freeze_backup_archived);
PG_FUNCTION_INFO_V1(freeze_backup_failure);

#define GO_PATIENCE		5000	/* ms for a keeper that stays for nobody to go */
#define TELL_AFTER		5000	/* ms of waiting for the archive until the caller is told */
#define LOOK_EVERY		1000	/* ms */

/* ---- words ------------------------------------------------------------ */

static const char *const checkpoint_names[] = {"spread", "fast", "none"};

const char *
pf_checkpoint_name(PfCheckpoint checkpoint)
{
	return checkpoint_names[checkpoint];
}

static PfCheckpoint
parse_checkpoint(const char *text)
{
	for (int i = 0; text && i < (int) lengthof(checkpoint_names); i++)
		if (strcmp(text, checkpoint_names[i]) == 0)
			return (PfCheckpoint) i;
	pf_bad_argument("checkpoint", text, "It can be spread, fast or, without backup mode, none.");
	return PF_CHECKPOINT_NONE;
}

/* ---- arguments -------------------------------------------------------- */

static void
detach(dsm_segment *segment)
{
	if (segment)
		dsm_detach(segment);
}

/* The id and label arguments of end and abort; 0 and NULL: not given. */
static int64
id_argument(FunctionCallInfo fcinfo, char **label)
{
	int64		id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);

	*label = pf_text_argument(fcinfo, 1);
	if (!PG_ARGISNULL(0) && *label)
		pf_bad_argument("label", *label, "Give the id or the label, not both.");
	if (!PG_ARGISNULL(0) && id == 0)
		pf_bad_argument("id", "0", "freeze_backup_status lists the backups.");
	return id;
}

/* ---- the freeze of a backup ------------------------------------------- */

/* The last one that was frozen; NULL if there is none. */
static PfFreeze *
read_freeze(int64 id)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	List	   *ids = RecoveryInProgress() ? NIL : journal_ids("backup = $1 AND frozen_at IS NOT NULL", 1, &type, &value);

	return ids == NIL ? NULL : journal_read(*(int64 *) llast(ids));
}

/* Whether one is still there, one that never was frozen too. */
static bool
has_live_freeze(int64 id)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);

	return !RecoveryInProgress() &&
		journal_ids("backup = $1 AND state NOT IN ('thawed', 'aborted')", 1, &type, &value) != NIL;
}

typedef struct Thaw
{
	PfFreeze   *freeze;
	char	   *row[PF_VERDICT_COLUMNS];	/* as thaw() returns it */
} Thaw;

static void
thaw_it(void *arg)
{
	Thaw	   *thaw = arg;

	pf_thaw_one(thaw->freeze, thaw->row);
}

/* The verdict of a freeze that is over, where another one thawed it. */
static void
read_verdict(Thaw *thaw)
{
	PfSpi		spi;
	MemoryContext context = CurrentMemoryContext;
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(thaw->freeze->id);

	spi = pf_spi_begin();
	journal_execute("SELECT id, target_name, strategy, held, lost_reason, evidence, frozen_at, thawed_at, frozen_lsn, thawed_lsn, restored, skipped"
					" FROM @.freeze_journal WHERE id = $1", 1, &type, &value, NULL, true);
	for (int i = 0; SPI_processed > 0 && i < PF_VERDICT_COLUMNS; i++)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);

		thaw->row[i] = text ? MemoryContextStrdup(context, text) : NULL;
	}
	pf_spi_end(spi);
}

/*
 * Thaws what was frozen for a backup, if it is, and gets the verdict.  NULL:
 * nothing was frozen.
 */
static Thaw *
thaw_for(int64 id)
{
	Thaw	   *thaw = palloc0(sizeof(Thaw));

	thaw->freeze = read_freeze(id);
	if (thaw->freeze == NULL)
		return NULL;
	if (pf_state_is_live(thaw->freeze->state))
	{
		ErrorData  *error = pf_try(thaw_it, thaw);

		/* at the deadline the scheduler thaws, too */
		if (error == NULL)
			return thaw;
		thaw->freeze = journal_read(thaw->freeze->id);
		if (thaw->freeze == NULL || pf_state_is_live(thaw->freeze->state))
			ReThrowError(error);
	}
	read_verdict(thaw);
	return thaw;
}

/* ---- begin ------------------------------------------------------------ */

static void
check_may(bool may, const char *what, const char *hint)
{
	if (!may)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s", what),
				 errhint("%s", hint)));
}

/* Nobody gets through pg_freeze at what the server doesn't give him. */
static void
check_privileges(const PfBackupRequest *request)
{
	if (superuser())
		return;
	if (request->backup_mode)
		check_may(DatumGetBool(DirectFunctionCall2(has_function_privilege_id, ObjectIdGetDatum(F_PG_BACKUP_START),
												   CStringGetTextDatum("EXECUTE"))),
				  "the backup mode", "Grant EXECUTE on function pg_backup_start(text, boolean), or use backup_mode => false.");
	else if (request->checkpoint != PF_CHECKPOINT_NONE)
		check_may(has_privs_of_role(GetUserId(), ROLE_PG_CHECKPOINT),
				  "a checkpoint", "Grant pg_checkpoint, or use checkpoint => 'none'.");
	if (request->hold_wal)
		check_may(has_rolreplication(GetUserId()),
				  "a replication slot", "ALTER ROLE ... REPLICATION, or leave hold_wal out.");
	if (request->directory[0])
		check_may(has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES),
				  "writing files on the server", "Grant pg_write_server_files, or leave label_directory out.");
}

/* It is there, can be written to, and is not in the data directory, where a label would be read at the next start. */
static void
check_directory(char *directory)
{
	char		real[PATH_MAX];
	char		data[PATH_MAX];
	struct stat st;

	if (!is_absolute_path(directory))
		pf_bad_argument("label_directory", directory, "An absolute path on the server.");
	canonicalize_path(directory);
	if (stat(directory, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not access directory \"%s\": %m", directory),
				 errhint("label_directory is a directory on the server that is there already.")));
	if (!S_ISDIR(st.st_mode) || access(directory, W_OK | X_OK) != 0)
		pf_bad_argument("label_directory", directory, "A directory that the server's user may write to.");
	if (realpath(directory, real) == NULL || realpath(DataDir, data) == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not access directory \"%s\": %m", directory)));
	if (path_is_prefix_of_path(data, real))
		pf_bad_argument("label_directory", directory,
						"A directory outside the data directory: a backup_label there would be taken for a restored backup's at the next start.");
}

static void
check_label(const char *label)
{
	if (label == NULL || label[0] == '\0')
		pf_bad_argument("label", label, "Some text, by which the backup is found later.");
	for (const char *p = label; *p; p++)
		if ((unsigned char) *p < ' ')
			pf_bad_argument("label", label, "It stands in a line of the file backup_label: no line breaks or other control characters.");
}

/* What the arguments ask for; *freeze is NULL where nothing is to be frozen. */
static PfBackupRequest *
begin_request(FunctionCallInfo fcinfo, PfRequest **freeze)
{
	PfBackupRequest *request = palloc0(sizeof(PfBackupRequest));
	char	   *kind = pf_text_argument(fcinfo, 1);
	char	   *label = pf_text_argument(fcinfo, 0);

	pf_guc_check_placeholders();
	check_label(label);
	pf_copy_argument("label", request->label, sizeof(request->label), label);
	pf_copy_argument("reason", request->reason, sizeof(request->reason), pf_text_argument(fcinfo, 11));
	pf_check_argument(fcinfo, 4, "timeout");
	request->timeout = pf_span_argument("timeout", PG_GETARG_INTERVAL_P(4));
	if (request->timeout == 0)
		pf_bad_argument("timeout", "0", "Nothing stays frozen for ever because nobody ends a backup.");
	pf_check_argument(fcinfo, 12, "backup_mode");
	request->backup_mode = PG_GETARG_BOOL(12);
	request->checkpoint = parse_checkpoint(pf_text_argument(fcinfo, 13));
	if (request->backup_mode && request->checkpoint == PF_CHECKPOINT_NONE)
		pf_bad_argument("checkpoint", "none", "The backup mode begins with a checkpoint: spread or fast.");
	request->hold_wal = pf_flag_argument(fcinfo, 14);
	pf_copy_argument("label_directory", request->directory, sizeof(request->directory), pf_text_argument(fcinfo, 15));
	if (!PG_ARGISNULL(15) && request->directory[0] == '\0')
		pf_bad_argument("label_directory", "", "An absolute path on the server.");
	if (request->directory[0] && !request->backup_mode)
		pf_bad_argument("label_directory", request->directory, "Only the backup mode makes a backup_label.");
	if (kind == NULL && !request->backup_mode)
		pf_bad_argument("backup_mode", "false", "With nothing frozen only the backup mode makes a copy usable.");
	check_privileges(request);
	if (request->directory[0])
		check_directory(request->directory);

	*freeze = NULL;
	if (kind)
	{
		PfKind		what = pf_kind_parse(kind);
		Name		target = PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2);
		const PfStrategy *strategy;

		if (RecoveryInProgress())
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("this server is a standby, where nothing can be frozen"),
					 errhint("Freeze on the primary, or make a backup of the standby without a freeze: freeze_backup_begin(%s, kind => NULL).",
							 quote_literal_cstr(label))));
		if (what == PF_DATABASE && target == NULL)
		{
			target = palloc0(sizeof(NameData));
			namestrcpy(target, get_database_name(MyDatabaseId));
		}
		if (what == PF_CLUSTER && target)
			pf_bad_argument("target", NameStr(*target), "The cluster has no name.");
		pf_check_max_hold("timeout", request->timeout);
		pf_worker_check_not_written();
		pf_check_not_writing();
		*freeze = pf_freeze_request(fcinfo, what, target, 3, &strategy);
		strlcpy((*freeze)->label, request->label, sizeof((*freeze)->label));
		strlcpy((*freeze)->reason, request->reason[0] ? request->reason : psprintf("backup %s", label), sizeof((*freeze)->reason));
		strlcpy(request->target, pf_target_text(&(*freeze)->target), sizeof(request->target));
	}
	else if (!PG_ARGISNULL(2))
		pf_bad_argument("target", NameStr(*PG_GETARG_NAME(2)), "With kind NULL nothing is frozen.");
	request->database = MyDatabaseId;
	request->encoding = GetDatabaseEncoding();
	request->caller = pf_this_caller();
	request->begun_at = GetCurrentTimestamp();
	return request;
}

/* Raises 55000 if a backup runs; has a keeper go that stays for nobody. */
static void
check_is_only_one(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), GO_PATIENCE);
	dsm_segment *segment;
	PfBackupBoard *board;

	while ((board = pf_backup_board(&segment)) != NULL)
	{
		if (pf_backup_state(board).phase < PF_BACKUP_DONE || GetCurrentTimestamp() >= end)
			pf_backup_raise_running(board);
		(void) pf_backup_tell(board, PF_WORD_GO, NULL);
		dsm_detach(segment);
		pf_pause(20);
	}
}

/* Notes who makes the freeze, or what came of it. */
static void
set_freezer(PfBackupBoard *board, int pid, int64 freeze_id)
{
	SpinLockAcquire(&board->mutex);
	board->freezer = pid;
	board->state.freeze_id = freeze_id;
	SpinLockRelease(&board->mutex);
}

/*
 * on_dsm_detach: the session that begins fails, or goes away, before the copy
 * may be made.
 */
static void
abandon(dsm_segment *segment, Datum arg)
{
	PfBackupBoard *board = (PfBackupBoard *) DatumGetPointer(arg);

	set_freezer(board, 0, 0);
	/* the keeper has the freeze thawed; where it is gone already, somebody has to look */
	if (!pf_backup_tell(board, PF_WORD_ABORT, "the session that began it failed or has gone") && board->request.target[0])
		pf_scheduler_leave_to(MyDatabaseId, DSM_HANDLE_INVALID);
}

static BackgroundWorkerHandle *
start_keeper(const PfBackupRequest *request, dsm_segment **segment)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *keeper = NULL;
	PfBackupBoard *board;

	*segment = dsm_create(sizeof(PfBackupBoard), DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (*segment)
	{
		board = dsm_segment_address(*segment);
		memset(board, 0, offsetof(PfBackupBoard, texts));
		board->request = *request;
		ConditionVariableInit(&board->changed);
		SpinLockInit(&board->mutex);
		board->alive = true;
		board->procno = -1;
		board->magic = PF_BACKUP_MAGIC;
		pf_worker_describe(&worker, "backup", psprintf(" for pid %d", MyProcPid), BGW_NEVER_RESTART);
		worker.bgw_start_time = BgWorkerStart_ConsistentState;
		worker.bgw_notify_pid = MyProcPid;
		worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(*segment));
	}
	if (*segment == NULL || !RegisterDynamicBackgroundWorker(&worker, &keeper))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free to keep the backup"),
				 errhint("Raise max_worker_processes (now %d), or try again when others have ended.", max_worker_processes)));
	on_dsm_detach(*segment, abandon, PointerGetDatum(dsm_segment_address(*segment)));
	return keeper;
}

/* Raises what the keeper has failed with. */
static void
raise_failure(PfBackupBoard *board)
{
	PfBackupState state = pf_backup_state(board);

	if (state.phase != PF_BACKUP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the process that keeps the backup has ended"),
				 errdetail("The backup is not usable; what was frozen for it is thawed."),
				 errhint("See the server log for the reason.")));
	ereport(ERROR,
			(errcode(state.sqlstate),
			 errmsg("%s", board->message),
			 board->detail[0] ? errdetail("%s", board->detail) : 0,
			 board->hint[0] ? errhint("%s", board->hint) : 0));
}

static bool
has_failed(PfBackupBoard *board, BackgroundWorkerHandle *keeper)
{
	return pf_backup_state(board).phase == PF_BACKUP_FAILED || pf_backup_is_gone(board, keeper);
}

typedef struct FreezeCall
{
	PfRequest  *request;
	PfReply		reply;
	char	   *id;
} FreezeCall;

static void
call_worker(void *arg)
{
	FreezeCall *call = arg;

	(void) pf_worker_call(call->request, offsetof(PfRequest, ids), &call->reply, false);
}

/* Makes the freeze of a backup.  If the backup fails meanwhile, its keeper cancels this. */
static void
make_freeze(PfRequest *request, PfBackupBoard *board, BackgroundWorkerHandle *keeper)
{
	FreezeCall	call = {.request = request,.reply = {.row = pf_value_row,.notice = pf_caller_notice,.arg = &call.id,.hurries = true}};
	ErrorData  *error;

	request->backup = pf_backup_state(board).id;
	set_freezer(board, MyProcPid, 0);
	error = pf_try(call_worker, &call);
	set_freezer(board, 0, call.id ? pg_strtoint64(call.id) : 0);
	if (has_failed(board, keeper))
	{
		QueryCancelPending = false;
		raise_failure(board);
	}
	if (error)
	{
		/* who tries again at once shall not find this one */
		(void) pf_backup_tell(board, PF_WORD_ABORT, psprintf("not frozen: %s", error->message));
		(void) pf_backup_await(board, PF_BACKUP_DONE, keeper, NULL);
		ReThrowError(error);
	}
	/* one that came too late for the freeze is in time for the rest */
	if (call.reply.interrupted)
		QueryCancelPending = InterruptPending = true;
}

Datum
freeze_backup_begin(PG_FUNCTION_ARGS)
{
	PfRequest  *freeze;
	PfBackupRequest *request = begin_request(fcinfo, &freeze);
	dsm_segment *segment;
	PfBackupBoard *board;
	BackgroundWorkerHandle *keeper;
	PfBackupState state;

	check_is_only_one();
	keeper = start_keeper(request, &segment);
	board = dsm_segment_address(segment);
	if (!pf_backup_await(board, PF_BACKUP_FREEZING, keeper, "the checkpoint") || has_failed(board, keeper))
		raise_failure(board);
	if (freeze)
		make_freeze(freeze, board, keeper);
	(void) pf_backup_tell(board, PF_WORD_FROZEN, NULL);
	if (!pf_backup_await(board, PF_BACKUP_WAITING, keeper, NULL) || has_failed(board, keeper))
		raise_failure(board);

	state = pf_backup_state(board);
	cancel_on_dsm_detach(segment, abandon, PointerGetDatum(board));
	dsm_detach(segment);
	ereport(NOTICE,
			(errmsg("backup " INT64_FORMAT " (%s) is running; copy now, and before %s: SELECT * FROM %s.freeze_backup_end(" INT64_FORMAT ");",
					state.id, request->label, timestamptz_to_str(state.deadline), journal_schema(), state.id)));
	PG_RETURN_INT64(state.id);
}

/* ---- the archive ------------------------------------------------------ */

/* As pg_backup_stop() looks. */
static bool
is_archived(XLogRecPtr start, XLogRecPtr stop, TimeLineID timeline)
{
	char		file[MAXFNAMELEN];
	XLogSegNo	segno;

	if (!(RecoveryInProgress() ? XLogArchivingAlways() : XLogArchivingActive()))
		return true;
	XLByteToPrevSeg(stop, segno, wal_segment_size);
	XLogFileName(file, timeline, segno, wal_segment_size);
	if (XLogArchiveIsBusy(file))
		return false;
	if (RecoveryInProgress())
		return true;
	XLByteToSeg(start, segno, wal_segment_size);
	BackupHistoryFileName(file, timeline, segno, start, wal_segment_size);
	return !XLogArchiveIsBusy(file);
}

Datum
freeze_backup_archived(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_archived(PG_GETARG_LSN(0), PG_GETARG_LSN(1), (TimeLineID) PG_GETARG_INT64(2)));
}

/* Waits until the archive has the WAL of a backup, as pg_backup_stop() does; the application goes on meanwhile. */
static void
wait_for_archive(const PfBackup *backup)
{
	static uint32 wait_event = 0;
	TimestampTz began = GetCurrentTimestamp();
	long		tell_after = TELL_AFTER;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeArchive");
	while (!is_archived(backup->start_lsn, backup->stop_lsn, backup->timeline))
	{
		if (TimestampDifferenceExceeds(began, GetCurrentTimestamp(), (int) tell_after))
		{
			ereport(tell_after == TELL_AFTER ? NOTICE : WARNING,
					(errmsg("waiting for the archive to have the WAL of backup " INT64_FORMAT " (%ld seconds so far)",
							backup->id, tell_after / 1000),
					 errdetail("What was frozen goes on; the backup is done, but not usable without its WAL."),
					 errhint("Look at pg_stat_archiver and at archive_command. You may cancel and call freeze_backup_end(" INT64_FORMAT ") again later.",
							 backup->id)));
			tell_after = tell_after == TELL_AFTER ? 60000 : tell_after * 2;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_EVERY, wait_event);
		ResetLatch(MyLatch);
		pf_look_at_client();
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- end and abort ---------------------------------------------------- */

static void
not_usable(const PfBackup *backup)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("backup " INT64_FORMAT " (%s) is not usable", backup->id, backup->label),
			 backup->ended_at ? errdetail("It failed at %s: %s.", timestamptz_to_str(backup->ended_at), backup->failure) :
			 errdetail("It failed: %s.", backup->failure),
			 errhint("Throw the copy away, and begin another backup.")));
}

/*
 * A label, or nothing, means the last backup where none runs.  The answer may
 * be asked for again; but much later, whoever does so wants to end one that
 * never began.
 */
static void
check_is_recent(const PfBackup *backup)
{
	if (GetCurrentTimestamp() - backup->ended_at <= backup->timeout)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("backup " INT64_FORMAT " (%s) was ended already", backup->id, backup->label),
			 errdetail("That was at %s. Without an id the answer can be had again only for as long as it might have lasted.",
					   timestamptz_to_str(backup->ended_at)),
			 errhint("If a copy was made since, no backup had begun: throw it away. For the files of that backup: SELECT * FROM %s.freeze_backup_end(" INT64_FORMAT ");",
					 journal_schema(), backup->id)));
}

/*
 * Raises 25001 where this transaction can't see the freeze of a backup, and so
 * couldn't thaw it.
 */
static void
check_sees_freeze(PfBackupBoard *board)
{
	int64		id = pf_backup_state(board).freeze_id;

	if (id != 0 && journal_read(id) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("this transaction began before the backup, and does not see its freeze"),
				 errhint("Call it outside of a transaction, or in one that is READ COMMITTED.")));
}

/* Has the keeper stop the backup; what has come of it is in its board then. */
static PfBackup *
stop_backup(PfBackupBoard *board, const PfBackup *backup)
{
	if (pf_backup_state(board).phase < PF_BACKUP_WAITING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("backup " INT64_FORMAT " (%s) has not begun yet", backup->id, backup->label),
				 errdetail("freeze_backup_begin() has not returned: the copy must not be made before."),
				 errhint("To give it up: SELECT %s;", pf_backup_abort_call(backup->id, backup->label))));
	/* somebody else may be ending it */
	(void) pf_backup_tell(board, PF_WORD_END, NULL);
	if (!pf_backup_await(board, PF_BACKUP_DONE, NULL, "the end of the backup mode"))
		raise_failure(board);
	return pf_backup_of(board);
}

/* Whether the freeze was there until the backup had stopped; undone by hand it has no LSN. */
static bool
covers(const Thaw *thaw, const PfBackup *backup)
{
	return thaw->row[9] &&
		DatumGetLSN(DirectFunctionCall1(pg_lsn_in, CStringGetDatum(thaw->row[9]))) >= backup->stop_lsn;
}

/*
 * on_dsm_detach: the session that ends fails, or goes away, and may not have
 * thawed: the scheduler looks.
 */
static void
leave_end(dsm_segment *segment, Datum arg)
{
	PfBackupBoard *board = (PfBackupBoard *) DatumGetPointer(arg);

	/* to a keeper that is still at it, or else to the scheduler, which sees that the backup is over */
	SpinLockAcquire(&board->mutex);
	board->left = true;
	SpinLockRelease(&board->mutex);
	if (pf_backup_state(board).freeze_id != 0)
		pf_scheduler_leave_to(MyDatabaseId, DSM_HANDLE_INVALID);
}

static char *
lsn_text(XLogRecPtr lsn)
{
	return psprintf("%X/%X", LSN_FORMAT_ARGS(lsn));
}

/*
 * freeze_backup_end(id, label, wait_for_archive, require_held): stops, thaws,
 * waits for the archive.  May be called again.
 */
Datum
freeze_backup_end(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *label;
	int64		id = id_argument(fcinfo, &label);
	char	   *values[15] = {NULL};
	dsm_segment *segment;
	PfBackupBoard *board;
	bool		waits;
	PfBackup   *backup;
	Thaw	   *thaw;

	pf_check_argument(fcinfo, 2, "wait_for_archive");
	waits = PG_GETARG_BOOL(2);
	pf_check_argument(fcinfo, 3, "require_held");
	InitMaterializedSRF(fcinfo, 0);
	pf_worker_check_not_written();
	backup = pf_backup_find(id, label, &board, &segment);
	if (board)
	{
		check_sees_freeze(board);
		on_dsm_detach(segment, leave_end, PointerGetDatum(board));
	}
	if (board && !backup->done && !backup->failure)
		backup = stop_backup(board, backup);
	if (backup->failure)
	{
		/* after a restart without preloading nobody else may be there to do it */
		(void) thaw_for(backup->id);
		if (has_live_freeze(backup->id))
			pf_scheduler_leave_to(MyDatabaseId, DSM_HANDLE_INVALID);
		not_usable(backup);
	}
	if (id == 0)
		check_is_recent(backup);
	if (backup->backup_mode && backup->backup_label == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the label of backup " INT64_FORMAT " (%s) is forgotten", backup->id, backup->label),
				 errdetail("It ended at %s. backup_label and tablespace_map are kept until the next backup begins.",
						   timestamptz_to_str(backup->ended_at))));
	thaw = thaw_for(backup->id);
	if (board)
		cancel_on_dsm_detach(segment, leave_end, PointerGetDatum(board));
	if (backup->backup_mode && waits)
		wait_for_archive(backup);

	values[0] = psprintf(INT64_FORMAT, backup->id);
	values[1] = backup->label;
	values[2] = !backup->backup_mode || is_archived(backup->start_lsn, backup->stop_lsn, backup->timeline) ? "complete" : "done";
	values[3] = lsn_text(backup->start_lsn);
	values[4] = lsn_text(backup->stop_lsn);
	values[5] = backup->backup_label;
	values[6] = backup->tablespace_map;
	if (thaw)
	{
		values[7] = thaw->row[0];
		memcpy(&values[8], &thaw->row[3], 7 * sizeof(char *));
		if (!covers(thaw, backup))
		{
			values[8] = "f";
			if (values[9] == NULL)
				values[9] = "it was thawed before the backup was stopped";
		}
	}
	tuplestore_puttuple(rsinfo->setResult, BuildTupleFromCStrings(TupleDescGetAttInMetadata(rsinfo->setDesc), values));
	if (PG_GETARG_BOOL(3) && (values[8] == NULL || values[8][0] != 't'))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("backup " INT64_FORMAT " (%s) is %s, but it is not certain that the freeze held", backup->id, backup->label, values[2]),
				 errdetail("%s", thaw == NULL ? "Nothing was frozen for it." : values[9] ? values[9] : values[10])));
	detach(segment);
	return (Datum) 0;
}

/* freeze_backup_abort(id, label, reason): gives a backup up and thaws; returns its id. */
Datum
freeze_backup_abort(PG_FUNCTION_ARGS)
{
	char	   *label;
	int64		id = id_argument(fcinfo, &label);
	char	   *reason = pf_text_argument(fcinfo, 2);
	char	   *by = psprintf("aborted by %s", GetUserNameFromId(GetUserId(), false));
	dsm_segment *segment;
	PfBackupBoard *board;
	PfBackup   *backup;
	PfFreeze   *freeze;
	bool		told;

	pf_worker_check_not_written();
	backup = pf_backup_find(id, label, &board, &segment);
	if (board)
		check_sees_freeze(board);
	told = board && pf_backup_tell(board, PF_WORD_ABORT, reason && reason[0] ? psprintf("%s: %s", by, reason) : by);
	if (told)
		(void) pf_backup_await(board, PF_BACKUP_DONE, NULL, "the process that keeps the backup");
	freeze = read_freeze(backup->id);
	if (!told && (!backup->failure || freeze == NULL || !pf_state_is_live(freeze->state)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("backup " INT64_FORMAT " (%s) is over", backup->id, backup->label),
				 backup->failure ? errdetail("It failed: %s.", backup->failure) :
				 backup->done ? errdetail("It was ended at %s.", timestamptz_to_str(backup->ended_at)) :
				 errdetail("It is being ended.")));
	id = backup->id;
	(void) thaw_for(id);
	detach(segment);
	PG_RETURN_INT64(id);
}

/* ---- looking ---------------------------------------------------------- */

static const char *
phase_text(const PfBackupState *state)
{
	switch (state->phase)
	{
		case PF_BACKUP_CHECKPOINT:
			return "checkpoint";
		case PF_BACKUP_FREEZING:
			return "freezing";
		case PF_BACKUP_WAITING:
			return "waiting for freeze_backup_end";
		case PF_BACKUP_STOPPING:
			return "stopping";
		case PF_BACKUP_DONE:
			return state->slot[0] ? "holds WAL" : NULL;
		case PF_BACKUP_FAILED:
			return NULL;
	}
	return NULL;
}

/* What the keeper has; times, LSNs and numbers as texts, 0 and "" as NULL. */
Datum
freeze_backup_kept(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	dsm_segment *segment;
	PfBackupBoard *board;
	const PfBackupRequest *request;
	PfBackupState state;
	PfBackup   *backup;
	char	   *values[26];
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	board = pf_backup_board(&segment);
	if (board == NULL)
		return (Datum) 0;
	request = &board->request;
	state = pf_backup_state(board);
	backup = pf_backup_of(board);

#define TEXT(text) values[n++] = pf_backup_text(board, text)
#define TIME(time) values[n++] = (time) ? pstrdup(timestamptz_to_str(time)) : NULL
#define LSN(lsn) values[n++] = XLogRecPtrIsInvalid(lsn) ? NULL : lsn_text(lsn)
#define NUMBER(number) values[n++] = (number) ? psprintf(INT64_FORMAT, (int64) (number)) : NULL

	NUMBER(state.id);
	TEXT(request->label);
	TEXT(backup->failure ? "failed" : backup->done ? "done" : "running");
	TEXT(phase_text(&state));
	TIME(request->begun_at);
	TIME(state.phase == PF_BACKUP_DONE && state.slot[0] ? state.holds_until : state.deadline);
	TEXT(request->target);
	TEXT(request->backup_mode ? "t" : "f");
	TEXT(pf_checkpoint_name(request->checkpoint));
	TEXT(state.slot);
	TEXT(request->directory);
	LSN(state.start_lsn);
	LSN(state.stop_lsn);
	NUMBER(state.timeline);
	TIME(state.ended_at);
	TEXT(backup->failure);
	TEXT(NameStr(request->caller.role_name));
	TEXT(NameStr(request->caller.session_user));
	TEXT(request->reason);
	NUMBER(request->database);
	TEXT(request->caller.application);
	TEXT(see_all ? request->caller.client_addr : NULL);
	NUMBER(see_all ? request->caller.pid : 0);
	NUMBER(state.keeper);
	TEXT(backup->backup_label);
	TEXT(backup->tablespace_map);
	Assert(n == lengthof(values));

	tuplestore_puttuple(rsinfo->setResult, BuildTupleFromCStrings(TupleDescGetAttInMetadata(rsinfo->setDesc), values));
	dsm_detach(segment);
	return (Datum) 0;
}

/*
 * The row in the caller's snapshot may say running although the backup has
 * ended since, and its keeper with it.
 */
Datum
freeze_backup_failure(PG_FUNCTION_ARGS)
{
	PfBackup   *backup = pf_backup_row(PG_GETARG_INT64(0), NULL);

	if (backup == NULL || backup->failure == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(backup->failure));
}
