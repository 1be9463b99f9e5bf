/*-------------------------------------------------------------------------
 *
 * call.c
 *	  The caller's side of a request to a background worker.
 *
 * A freeze must be in force when the function returns, and a ROLLBACK of the
 * caller must not undo half of it: so a dynamic background worker does the
 * work (worker.c), in transactions of its own, while the caller waits on its
 * latch.  What they share, and how an outcome is decided, is in segment.h.
 *
 * The caller moves the outcome to "cancelled" when it is cancelled or times
 * out; when the worker waits for a lock that the caller's session has (the
 * deadlock detector doesn't see a wait on a latch); and, in on_dsm_detach, when
 * it goes away, as it does when its client has gone.  Having moved it, it
 * interrupts the worker and waits for the undo; a second cancel ends that wait
 * at once.  If the worker was first, the cancel is swallowed, so that the id of
 * the freeze reaches the client.
 *
 * While the caller waits, cancels are held off and looked at by hand in
 * take_interrupts(): other interrupts are served, and none raises a cancel
 * that hasn't asked for the outcome first.
 *
 * Failure.  The worker raises an error: it has undone; the error arrives as a
 * message and is raised here.  The worker is terminated: the queue is detached
 * before "done" came; what is left in the journal is the scheduler's.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "segment.h"
#include "step.h"
#include "worker.h"

#define QUEUE_SIZE		65536
#define LOOK_EVERY		200		/* ms between looks for a deadlock */
#define WAIT_GONE		1000	/* ms for a worker that is done to exit */

/* The caller's side of a request that runs. */
typedef struct PfCall
{
	const PfRequest *request;
	PfReply    *reply;
	dsm_segment *segment;
	PfHeader   *header;
	shm_mq_handle *queue;
	BackgroundWorkerHandle *worker;
	bool		done;			/* the worker said so */
	bool		interrupted;	/* a cancel has come */
	bool		cancelled;		/* this session moved the outcome to cancelled */
	bool		blocked;		/* ... because the worker waited for it */
	int			sqlstate;		/* of the worker's error; 0: none */
	char	   *message;
	char	   *detail;
	char	   *hint;
} PfCall;

/* ---- the segment ------------------------------------------------------ */

/*
 * Takes the outcome for the caller, if nobody has it yet, and interrupts the
 * worker.  True if the outcome is "cancelled" now.
 */
static bool
cancel_request(PfHeader *header)
{
	uint32		expected = PF_OUTCOME_PENDING;

	if (!pg_atomic_compare_exchange_u32(&header->outcome, &expected, PF_OUTCOME_CANCELLED))
		return expected == PF_OUTCOME_CANCELLED;

	SpinLockAcquire(&header->mutex);
	if (header->worker_pid != 0)
		kill(header->worker_pid, SIGINT);
	SpinLockRelease(&header->mutex);
	return true;
}

/* on_dsm_detach: the caller goes away in the middle. */
static void
cancel_on_detach(dsm_segment *segment, Datum header)
{
	cancel_request((PfHeader *) DatumGetPointer(header));
}

/* Creates the segment of a call; false if there is no room for one. */
static bool
create_segment(PfCall *call, Size size)
{
	shm_toc_estimator estimator;
	Size		segment_size;
	shm_toc    *toc;
	void	   *place;
	shm_mq	   *queue;

	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, sizeof(PfHeader));
	shm_toc_estimate_chunk(&estimator, size);
	shm_toc_estimate_chunk(&estimator, QUEUE_SIZE);
	shm_toc_estimate_keys(&estimator, 3);
	segment_size = shm_toc_estimate(&estimator);

	call->segment = dsm_create(segment_size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (call->segment == NULL)
		return false;
	toc = shm_toc_create(PF_SEGMENT_MAGIC, dsm_segment_address(call->segment), segment_size);

	call->header = shm_toc_allocate(toc, sizeof(PfHeader));
	call->header->request_size = size;
	pg_atomic_init_u32(&call->header->outcome, PF_OUTCOME_PENDING);
	SpinLockInit(&call->header->mutex);
	call->header->worker_pid = 0;
	shm_toc_insert(toc, PF_KEY_HEADER, call->header);

	place = shm_toc_allocate(toc, size);
	memcpy(place, call->request, size);
	shm_toc_insert(toc, PF_KEY_REQUEST, place);

	queue = shm_mq_create(shm_toc_allocate(toc, QUEUE_SIZE), QUEUE_SIZE);
	shm_toc_insert(toc, PF_KEY_QUEUE, queue);
	shm_mq_set_receiver(queue, MyProc);
	call->queue = shm_mq_attach(queue, call->segment, NULL);

	on_dsm_detach(call->segment, cancel_on_detach, PointerGetDatum(call->header));
	return true;
}

/* Lets the segment go without cancelling anything. */
static void
release_segment(PfCall *call)
{
	cancel_on_dsm_detach(call->segment, cancel_on_detach, PointerGetDatum(call->header));
	shm_mq_detach(call->queue);
	dsm_detach(call->segment);
}

/* Registers the worker; false if no slot is free. */
static bool
register_worker(PfCall *call)
{
	BackgroundWorker worker;

	pf_worker_describe(&worker, "worker", psprintf(" for pid %d", MyProcPid), BGW_NEVER_RESTART);
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(call->segment));

	if (!RegisterDynamicBackgroundWorker(&worker, &call->worker))
		return false;
	shm_mq_set_handle(call->queue, call->worker);
	return true;
}

/* ---- messages --------------------------------------------------------- */

static const char *
get_bytes(StringInfo buf, int len)
{
	const char *bytes = buf->data + buf->cursor;

	if (len < 0 || len > buf->len - buf->cursor)
		elog(ERROR, "message from the pg_freeze worker is too short");
	buf->cursor += len;
	return bytes;
}

static int32
get_int(StringInfo buf)
{
	int32		value;

	memcpy(&value, get_bytes(buf, sizeof(value)), sizeof(value));
	return value;
}

static char *
get_string(StringInfo buf)
{
	int32		len = get_int(buf);

	return len == -1 ? NULL : pnstrdup(get_bytes(buf, len), len);
}

/* One message of the worker. */
static void
take_message(PfCall *call, void *data, Size size)
{
	StringInfoData buf;
	int32		number;

	buf.data = data;
	buf.len = buf.maxlen = (int) size;
	buf.cursor = 0;

	switch ((PfMessageType) *get_bytes(&buf, 1))
	{
		case PF_MESSAGE_NOTICE:
			{
				char	   *message;
				char	   *detail;
				char	   *hint;

				number = get_int(&buf);
				message = get_string(&buf);
				detail = get_string(&buf);
				hint = get_string(&buf);
				call->reply->notice(call->reply, number, message, detail, hint);
				break;
			}
		case PF_MESSAGE_ROW:
			{
				char	  **values;

				number = get_int(&buf);
				values = palloc(sizeof(char *) * Max(number, 1));
				for (int i = 0; i < number; i++)
					values[i] = get_string(&buf);
				call->reply->row(call->reply, number, values);
				break;
			}
		case PF_MESSAGE_ERROR:
			call->sqlstate = get_int(&buf);
			call->message = get_string(&buf);
			call->detail = get_string(&buf);
			call->hint = get_string(&buf);
			break;
		case PF_MESSAGE_DONE:
			call->done = true;
			break;
		default:
			elog(ERROR, "unexpected message from the pg_freeze worker");
	}
}

/* ---- waiting ---------------------------------------------------------- */

/*
 * Serves the interrupts of a waiting caller; cancels are held off, so that
 * CHECK_FOR_INTERRUPTS() leaves them to this function.
 */
static void
take_interrupts(PfCall *call)
{
	if (QueryCancelPending && !ProcDiePending)
	{
		if (call->done)
		{
			/* Nothing is left to cancel; an error is going to be raised anyway. */
			if (call->sqlstate == 0)
				QueryCancelPending = false;
		}
		else if (call->interrupted)
		{
			/* Whoever asks twice doesn't wait for the undo, nor for the id. */
			RESUME_CANCEL_INTERRUPTS();
			CHECK_FOR_INTERRUPTS();
			HOLD_CANCEL_INTERRUPTS();
		}
		else
		{
			QueryCancelPending = false;
			call->cancelled = cancel_request(call->header);
		}
		call->interrupted = true;
	}

	CHECK_FOR_INTERRUPTS();
}

/*
 * Whether the worker waits for a lock of this session, directly or behind
 * others who do.  Allocates in the current memory context.
 */
static bool
worker_waits_for_this_session(PfHeader *header)
{
	int			pid;

	SpinLockAcquire(&header->mutex);
	pid = (int) header->worker_pid;
	SpinLockRelease(&header->mutex);
	return pid != 0 && pf_waits_for(pid, MyProcPid);
}

static void
look_for_deadlock(PfCall *call)
{
	MemoryContext context;
	MemoryContext caller_context;
	bool		blocked;

	if (call->cancelled)
		return;

	context = AllocSetContextCreate(CurrentMemoryContext, "pg_freeze locks",
									ALLOCSET_DEFAULT_SIZES);
	caller_context = MemoryContextSwitchTo(context);
	blocked = worker_waits_for_this_session(call->header);
	MemoryContextSwitchTo(caller_context);
	MemoryContextDelete(context);

	if (blocked)
		call->cancelled = call->blocked = cancel_request(call->header);
}

static void
wait_a_moment(void)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeWorker");

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 LOOK_EVERY, wait_event);
	ResetLatch(MyLatch);
}

/* Takes what the worker sends, until it is done or gone. */
static void
receive(PfCall *call)
{
	TimestampTz looked_at = GetCurrentTimestamp();

	while (!call->done)
	{
		Size		size;
		void	   *data;
		shm_mq_result result;

		take_interrupts(call);

		result = shm_mq_receive(call->queue, &size, &data, true);
		if (result == SHM_MQ_DETACHED)
			break;
		if (result == SHM_MQ_SUCCESS)
		{
			take_message(call, data, size);
			continue;
		}

		wait_a_moment();
		if (TimestampDifferenceExceeds(looked_at, GetCurrentTimestamp(), LOOK_EVERY))
		{
			look_for_deadlock(call);
			/* what nobody is to give up goes on for somebody whose terminal has gone */
			if (!call->request->options.persist)
				pf_look_at_client();
			looked_at = GetCurrentTimestamp();
		}
	}
}

/*
 * Waits, not for long, until the worker's process has ended: so that its slot
 * is free for the next call, and nobody of pg_freeze is in the database.
 */
static void
await_exit(PfCall *call)
{
	TimestampTz start = GetCurrentTimestamp();
	pid_t		pid;

	while (GetBackgroundWorkerPid(call->worker, &pid) == BGWH_STARTED &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), WAIT_GONE))
	{
		take_interrupts(call);
		wait_a_moment();
	}
	take_interrupts(call);
}

/* ---- the result ------------------------------------------------------- */

static void
raise_worker_error(PfCall *call)
{
	char	   *elsewhere = call->request->database != MyDatabaseId ? get_database_name(call->request->database) : NULL;

	ereport(ERROR,
			(errcode(call->sqlstate),
			 errmsg_internal("%s", call->message),
			 call->detail ? errdetail_internal("%s", call->detail) : 0,
			 call->hint ? errhint("%s", call->hint) : 0,
			 elsewhere ? errcontext("pg_freeze in database %s", quote_identifier(elsewhere)) : 0));
}

/* Raises what a call that was cancelled ends with, unless it was too late. */
static void
end_cancelled(PfCall *call)
{
	/* What stopped it doesn't matter, but whether it undid what it had done. */
	if (!call->done)
		ereport(WARNING,
				(errmsg("the worker ended before it had undone its work"),
				 errhint("See the server log, and freeze_status for what is left.")));

	if (call->blocked)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the worker waits for a lock that this session holds"),
				 errhint("Commit or roll back first.")));

	/* Here the server finds the reason: a user's request or a time-out. */
	QueryCancelPending = true;
	InterruptPending = true;
	CHECK_FOR_INTERRUPTS();
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling statement due to user request")));
}

/* The result of a call whose worker has ended. */
static void
end_call(PfCall *call)
{
	bool		complete = call->done && call->sqlstate == 0;

	if (call->cancelled && !complete)
		end_cancelled(call);
	if (call->sqlstate != 0)
		raise_worker_error(call);
	if (!call->done)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the worker ended before it was done"),
				 errhint("See the server log for the reason, and freeze_status for what is in force.")));
	call->reply->interrupted = call->interrupted;
	if (call->interrupted)
		call->reply->notice(call->reply, NOTICE,
							call->request->action == PF_FREEZE ?
							"the cancel came too late: the freeze is in force" :
							"the cancel came too late: the work is done", NULL, NULL);
}

/* See worker.h. */
void
pf_worker_check_not_written(void)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot freeze or thaw in a transaction that has written"),
				 errdetail("The work is done by a worker in transactions of its own, which a rollback of this one would not undo."),
				 errhint("Commit or roll back first.")));
}

/* See worker.h. */
bool
pf_worker_call(const PfRequest *request, Size size, PfReply *reply, bool may_fail)
{
	PfCall		call = {0};

	Assert(size >= offsetof(PfRequest, ids) + request->nids * sizeof(request->ids[0]));

	pf_worker_check_not_written();

	call.request = request;
	call.reply = reply;

	if (!create_segment(&call, size) || !register_worker(&call))
	{
		if (call.segment)
			release_segment(&call);
		if (may_fail)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free"),
				 errhint("Raise max_worker_processes (now %d), or try again when others have ended.",
						 max_worker_processes)));
	}

	/* An error in between sets the hold-off count to 0 by itself. */
	HOLD_CANCEL_INTERRUPTS();
	receive(&call);
	if (!reply->hurries)
		await_exit(&call);
	RESUME_CANCEL_INTERRUPTS();

	release_segment(&call);
	end_call(&call);
	return true;
}
