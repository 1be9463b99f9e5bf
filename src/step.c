/*-------------------------------------------------------------------------
 *
 * step.c
 *	  The steps of a freeze and of a thaw: transactions that are tried again.
 *
 * Runs in request workers and in the scheduler, outside a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "journal.h"
#include "libpq/libpq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "scheduler.h"
#include "step.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define FIRST_PAUSE 20			/* ms between two tries at a busy catalog */
#define LAST_PAUSE 500
#define CHAIN_MAX 32			/* processes looked at in one chain of waits */

/* Begins a transaction whose now() is now and in which no lock is waited for for long. */
void
pf_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) set_config_option("lock_timeout", "2s", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/* "1 object", "3 objects". */
char *
pf_objects(int64 count)
{
	return psprintf(INT64_FORMAT " %s", count, count == 1 ? "object" : "objects");
}

/*
 * Cleans up after an error.  Where it came outside a transaction the server's
 * abort does nothing, and the first two are left.
 */
void
pf_abort(void)
{
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AbortOutOfAnyTransaction();
}

/* Lines in one, with "; " between them. */
char *
pf_one_line(const char *lines)
{
	StringInfoData text;

	initStringInfo(&text);
	for (const char *p = lines; *p; p++)
	{
		if (*p == '\n')
			appendStringInfoString(&text, "; ");
		else
			appendStringInfoChar(&text, *p);
	}
	return text.data;
}

/* See step.h. */
void
pf_clip(char *to, Size size, const char *text)
{
	int			length = text ? pg_mbcliplen(text, (int) strlen(text), (int) size - 1) : 0;

	if (length > 0)
		memcpy(to, text, length);
	to[length] = '\0';
}

/* Where the encodings differ only ASCII is the same in both. */
char *
pf_readable(int encoding, char *text)
{
	if (encoding != GetDatabaseEncoding())
		for (char *p = text; *p; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	return text;
}

/* See step.h. */
void
pf_look_at_client(void)
{
	if (MyProcPort && whereToSendOutput == DestRemote && !pq_check_connection())
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
}

/* Sleeps, interruptibly. */
void
pf_pause(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Whether a process waits for a lock of another one, directly or behind others
 * who do; of its own, when that goes round in a circle.  Allocates in the
 * current memory context.
 */
bool
pf_waits_for(int waiter, int pid)
{
	return pf_any_waits_for(list_make1_int(waiter), pid);
}

/* The same of several processes (an integer list). */
bool
pf_any_waits_for(List *waiters, int pid)
{
	List	   *pids = list_copy(waiters);
	int			most = list_length(waiters) + CHAIN_MAX;

	for (int i = 0; i < list_length(pids); i++)
	{
		ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
																   Int32GetDatum(list_nth_int(pids, i))));
		Datum	   *blockers;
		int			nblockers;

		deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
						  &blockers, NULL, &nblockers);
		for (int j = 0; j < nblockers; j++)
		{
			int			blocker = DatumGetInt32(blockers[j]);

			if (blocker == pid)
				return true;
			/* 0 is a prepared transaction */
			if (blocker != 0 && list_length(pids) < most)
				pids = list_append_unique_int(pids, blocker);
		}
	}
	return false;
}

/*
 * Whether an error says that somebody else was at the same catalog row, or has
 * inserted it.  The server reports a lost race as an internal error of simple_heap_update() or
 * simple_heap_delete().
 */
static bool
is_conflict(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		(error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && error->schema_name && strcmp(error->schema_name, "pg_catalog") == 0) ||
		(error->sqlerrcode == ERRCODE_INTERNAL_ERROR && error->funcname &&
		 (strcmp(error->funcname, "simple_heap_update") == 0 ||
		  strcmp(error->funcname, "simple_heap_delete") == 0));
}

/*
 * Runs a step in a transaction of its own, again and again while it meets
 * other transactions' changes, for "patience" ms; then raises 55P03.  No
 * single lock wait inside is longer than 300 ms, so that nobody runs into a
 * deadlock with the freeze or queues behind it.
 */
void
pf_run_step(PfFreeze *freeze, PfStepFunc step, void *arg, int64 patience)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), patience);
	MemoryContext context = CurrentMemoryContext;
	PfState		state = freeze->state;
	long		pause = FIRST_PAUSE;

	for (;;)
	{
		ErrorData  *error = NULL;

		PG_TRY();
		{
			pf_begin();
			(void) set_config_option("lock_timeout", "300ms", PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_LOCAL, true, 0, false);
			PushActiveSnapshot(GetTransactionSnapshot());
			step(freeze, arg);
			PopActiveSnapshot();
			CommitTransactionCommand();
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			error = CopyErrorData();
			FlushErrorState();
			AbortCurrentTransaction();
			freeze->state = state;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);

		if (error == NULL)
			return;
		if (!is_conflict(error))
			ReThrowError(error);
		if (GetCurrentTimestamp() >= end)
		{
			/* not in our own words */
			if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || error->hint == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						 errmsg("other transactions are changing the same catalogs"),
						 errdetail("The last conflict: %s.", error->message),
						 errhint("Look in pg_locks and pg_stat_activity who is in the middle of DDL, GRANT or ANALYZE, and try again.")));
			ReThrowError(error);
		}
		FreeErrorData(error);
		pf_pause(pause);
		pause = Min(pause * 2, LAST_PAUSE);
	}
}

PfFreeze *
pf_read_freeze(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	PfFreeze   *freeze;

	pf_begin();
	MemoryContextSwitchTo(context);
	freeze = journal_read_existing(id);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return freeze;
}

bool
pf_lock_freeze_nowait(int64 id)
{
	bool		locked;

	pf_begin();
	locked = journal_lock(id, false);
	CommitTransactionCommand();
	return locked;
}

/* Takes the work lock of a freeze; 55P03 if somebody else keeps it. */
void
pf_lock_freeze(int64 id)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PF_PATIENCE);

	while (!pf_lock_freeze_nowait(id))
	{
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("freeze " INT64_FORMAT " is being worked on by another session", id),
					 errhint("It is being made or thawed just now; look at freeze_status.")));
		pf_pause(FIRST_PAUSE);
	}
}

void
pf_unlock_freeze(int64 id)
{
	pf_begin();
	journal_unlock(id);
	CommitTransactionCommand();
}

/*
 * Calls the scheduler for what is not this request's own doing: where it
 * cannot be had that is a line in the log, not the request's failure.
 */
void
pf_call_scheduler(TimestampTz at)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		pf_scheduler_wake(at);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		pf_abort();
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("pg_freeze: nobody looks after live freezes of this database until the next call: %s", error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}
