/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The worker's side of a request: see call.c for the caller's, and
 *	  segment.h for what they share.
 *
 * The process attaches the segment, copies the request out of it, connects,
 * and runs pf_life_run(), whose rows, notices and error go into the queue.
 * Messages to a caller that has gone are dropped: what it leaves undone, it
 * has been cancelled to undo.
 *
 * SIGINT comes from the caller, once, with the outcome "cancelled"; it raises
 * an error wherever life.c is.  It can come late, while life.c undoes already:
 * hence pf_worker_ignore_cancel().  SIGTERM is taken for a cancel: a shutdown
 * waits for the undo, as it does for a rollback, and nobody stays frozen by
 * accident.  A second SIGTERM ends the process as it ends any backend.
 *
 * Failure.  An error: life.c has undone; the error goes to the caller, who
 * raises and logs it, and is logged here only if the caller has gone.  A
 * process that is ended in the middle has the scheduler look on its way out,
 * for whom the journal says how far this one came.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "scheduler.h"
#include "segment.h"
#include "step.h"
#include "door.h"
#include "worker.h"

/* This side's ends of what is shared. */
typedef struct PfWorker
{
	PfHeader   *header;
	shm_mq_handle *queue;
} PfWorker;

/* The request of this process, while it can be cancelled; NULL in others. */
static PfHeader *my_header = NULL;
static int	asker = 0;
static bool request_ended = false;	/* completed, or undone */
static volatile sig_atomic_t cancels_ignored = false;
static volatile sig_atomic_t terminations = 0;

PGDLLEXPORT void pf_worker_main(Datum main_arg);

/* ---- cancels ---------------------------------------------------------- */

/* SIGINT: a cancel, or one of the server's own timers, which always count. */
static void
handle_cancel(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (!proc_exit_inprogress &&
		(!cancels_ignored ||
		 get_timeout_indicator(LOCK_TIMEOUT, false) ||
		 get_timeout_indicator(STATEMENT_TIMEOUT, false)))
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	SetLatch(MyLatch);

	errno = save_errno;
}

/* SIGTERM: a cancel first, so that a shutdown leaves nothing half done. */
static void
handle_terminate(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (!proc_exit_inprogress)
	{
		terminations++;
		if (terminations > 1)
		{
			InterruptPending = true;
			ProcDiePending = true;
		}
		else if (!cancels_ignored)
		{
			InterruptPending = true;
			QueryCancelPending = true;
		}
	}
	SetLatch(MyLatch);

	errno = save_errno;
}

/* Whether this request is to stop, whether or not that is ignored now. */
static bool
is_cancelled(void)
{
	return terminations > 0 ||
		pg_atomic_read_u32(&my_header->outcome) == PF_OUTCOME_CANCELLED;
}

/* See worker.h. */
void
pf_worker_ignore_cancel(bool ignore)
{
	if (my_header == NULL)
		return;
	cancels_ignored = ignore;
	QueryCancelPending = false;
	if (!ignore && is_cancelled())
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
}

/* See worker.h. */
int
pf_worker_asker(void)
{
	return asker ? asker : MyProcPid;
}

/* ---- messages --------------------------------------------------------- */

static void
put_int(StringInfo buf, int32 value)
{
	appendBinaryStringInfo(buf, (char *) &value, sizeof(value));
}

/* A string is its length and its bytes, without the 0; NULL is length -1. */
static void
put_string(StringInfo buf, const char *value)
{
	int32		len = value ? (int32) strlen(value) : -1;

	put_int(buf, len);
	if (value)
		appendBinaryStringInfo(buf, value, len);
}

/*
 * Sends a message; false if the caller is gone.  A cancel in the middle of a
 * message would leave half of it in the queue, so it has to wait.
 */
static bool
send_message(PfWorker *worker, StringInfo buf)
{
	shm_mq_result result;

	HOLD_CANCEL_INTERRUPTS();
	result = shm_mq_send(worker->queue, buf->len, buf->data, false, true);
	RESUME_CANCEL_INTERRUPTS();
	pfree(buf->data);
	return result == SHM_MQ_SUCCESS;
}

static void
start_message(StringInfo buf, PfMessageType type)
{
	initStringInfo(buf);
	appendStringInfoChar(buf, (char) type);
}

static void
reply_row(PfReply *reply, int nvalues, char **values)
{
	StringInfoData buf;

	start_message(&buf, PF_MESSAGE_ROW);
	put_int(&buf, nvalues);
	for (int i = 0; i < nvalues; i++)
		put_string(&buf, values[i]);
	send_message(reply->arg, &buf);
}

static void
reply_notice(PfReply *reply, int elevel, const char *message, const char *detail, const char *hint)
{
	StringInfoData buf;

	start_message(&buf, PF_MESSAGE_NOTICE);
	put_int(&buf, elevel);
	put_string(&buf, message);
	put_string(&buf, detail);
	put_string(&buf, hint);
	send_message(reply->arg, &buf);
}

static bool
reply_decide(PfReply *reply)
{
	PfWorker   *worker = reply->arg;
	uint32		expected = PF_OUTCOME_PENDING;

	if (!pg_atomic_compare_exchange_u32(&worker->header->outcome, &expected, PF_OUTCOME_DECIDED))
		return expected == PF_OUTCOME_DECIDED;

	/* What is decided is also written down, whoever cancels now. */
	pf_worker_ignore_cancel(true);
	return true;
}

static bool
reply_cancelled(PfReply *reply)
{
	return is_cancelled();
}

/* Sends the caller an error, or logs it where nobody is left to raise it. */
static void
send_error(PfWorker *worker, ErrorData *error)
{
	StringInfoData buf;

	if (terminations > 0 && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		error->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		error->message = "the worker was terminated before it was done";
	}

	start_message(&buf, PF_MESSAGE_ERROR);
	put_int(&buf, error->sqlerrcode);
	put_string(&buf, error->message);
	put_string(&buf, error->detail);
	put_string(&buf, error->hint);
	if (!send_message(worker, &buf) && error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg_internal("%s", error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 error->hint ? errhint("%s", error->hint) : 0));
}

/* ---- the process ------------------------------------------------------ */

static void
set_pid(PfHeader *header, pid_t pid)
{
	SpinLockAcquire(&header->mutex);
	header->worker_pid = pid;
	SpinLockRelease(&header->mutex);
}

/*
 * before_shmem_exit: nobody may signal this pid any more, and somebody has to
 * look after what is left if this process was told to go.
 */
static void
leave_request(int code, Datum header)
{
	set_pid((PfHeader *) DatumGetPointer(header), 0);
	if (!request_ended)
		pf_scheduler_alarm();
}

/*
 * Maps the segment that the caller made and copies the request out of it.
 * Ends the process if the caller has gone in the meantime.
 */
static PfRequest *
attach_to_caller(dsm_handle handle, PfWorker *worker)
{
	dsm_segment *segment = dsm_attach(handle);
	shm_toc    *toc;
	shm_mq	   *queue;
	PfRequest  *request;

	if (segment == NULL)
		proc_exit(0);
	dsm_pin_mapping(segment);
	toc = shm_toc_attach(PF_SEGMENT_MAGIC, dsm_segment_address(segment));
	if (toc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the session that asks has another version of the library pg_freeze"),
				 errhint("Connect anew, or restart the server if it preloads pg_freeze.")));

	worker->header = shm_toc_lookup(toc, PF_KEY_HEADER, false);
	queue = shm_toc_lookup(toc, PF_KEY_QUEUE, false);
	shm_mq_set_sender(queue, MyProc);
	worker->queue = shm_mq_attach(queue, segment, NULL);

	request = MemoryContextAlloc(TopMemoryContext, worker->header->request_size);
	memcpy(request, shm_toc_lookup(toc, PF_KEY_REQUEST, false), worker->header->request_size);
	return request;
}

/* Runs the request; an error goes to the caller, not to the log as well. */
static void
run_request(PfRequest *request, PfWorker *worker)
{
	PfReply		reply = {
		.row = reply_row,
		.notice = reply_notice,
		.decide = reply_decide,
		.cancelled = reply_cancelled,
		.arg = worker
	};
	StringInfoData buf;

	PG_TRY();
	{
		if (request->opened)
		{
			(void) reply.decide(&reply);
			pf_worker_ignore_cancel(true);
		}
		else if (reply.cancelled(&reply))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the request was cancelled before it began")));
		pf_life_run(request, &reply);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		pf_worker_ignore_cancel(true);
		pf_abort();
		MemoryContextSwitchTo(TopMemoryContext);
		send_error(worker, error);
	}
	PG_END_TRY();
	request_ended = true;

	start_message(&buf, PF_MESSAGE_DONE);
	send_message(worker, &buf);
}

/* The entry point of the worker. */
void
pf_worker_main(Datum main_arg)
{
	PfWorker	worker;
	PfRequest  *request;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, handle_cancel);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	request = attach_to_caller(DatumGetUInt32(main_arg), &worker);
	BackgroundWorkerInitializeConnectionByOid(request->database, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	pf_worker_settings();
	SetConfigOption("TimeZone", request->caller.timezone, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption(PF_NAME ".lock_standbys", request->options.lock_standbys ? "on" : "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption(PF_NAME ".drain_superusers", request->options.superusers ? "on" : "off", PGC_SUSET, PGC_S_OVERRIDE);

	my_header = worker.header;
	asker = request->caller.pid;
	pqsignal(SIGTERM, handle_terminate);
	before_shmem_exit(leave_request, PointerGetDatum(worker.header));
	set_pid(worker.header, MyProcPid);

	run_request(request, &worker);
	proc_exit(0);
}

/* See worker.h. */
void
pf_worker_describe(BackgroundWorker *worker, const char *kind, const char *about, int restart_time)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = restart_time;
	snprintf(worker->bgw_library_name, sizeof(worker->bgw_library_name), PF_NAME);
	snprintf(worker->bgw_function_name, BGW_MAXLEN, "pf_%s_main", kind);
	snprintf(worker->bgw_type, BGW_MAXLEN, "pg_freeze %s", kind);
	snprintf(worker->bgw_name, BGW_MAXLEN, "pg_freeze %s%s", kind, about);
}

/*
 * See worker.h.  PGC_S_OVERRIDE beats what is set for the database, and a
 * reload of the configuration.  Dates are ISO, because rows travel as text
 * and the caller's DateStyle reads that whatever it is.  Commits don't wait
 * for a synchronous standby: a journal row precedes in the WAL what it
 * describes, so a standby never has one without the other, and a standby that
 * is away must not keep anybody from thawing.  Short queries over big catalogs
 * need neither JIT nor worker slots.
 */
void
pf_worker_settings(void)
{
	static const char *const settings[][2] = {
		{"application_name", PF_NAME},
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"synchronous_commit", "local"},
		{"row_security", "off"},
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		/* transaction_timeout is there from 17 on */
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
	pf_doors_pass_always();
}
