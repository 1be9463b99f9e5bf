/*-------------------------------------------------------------------------
 *
 * life.c
 *	  The life of a freeze: engage, drain, frozen, thaw, recovery.
 *
 * Runs in a request worker (pf_life_run) and in the scheduler
 * (pf_life_attend), in transactions of its own; pf_life_thaw_here() runs in a
 * caller where no worker can be had.  Knows no strategy by name.
 *
 * The steps of a freeze, each a transaction, with the freeze's work lock held
 * from the first to the last:
 *
 *	1. the row, state engaging.  Crash after it: nothing was changed; recovery
 *	   aborts the freeze.
 *	2. the strategy closes its door and journals what it changed, state
 *	   draining.  All or nothing.  Crash after it: recovery puts back.
 *	3. the drain.  Timeout, cancel, ERROR: put back, state aborted.  Then the
 *	   strategy looks again: what transactions in flight were creating was not
 *	   visible in step 2.  If it finds something, whoever got at that meanwhile
 *	   is drained too.
 *	4. the frozen LSN is flushed; the one compare-and-swap decides between
 *	   frozen and cancelled; state frozen.  Crash between the swap and the
 *	   commit: recovery puts back, and the caller hears that the worker died.
 *
 * The steps of a thaw: state thawing; then one transaction that looks whether
 * the freeze was still in force, puts back and writes the verdict, state
 * thawed.  Crash between the two: recovery repeats the second.  A thaw that
 * fails stays thawing, and the scheduler tries again with growing pauses.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "drain.h"
#include "executor/spi.h"
#include "guc.h"
#include "journal.h"
#include "life.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "scheduler.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define FIRST_PAUSE 20			/* ms between two tries at a busy catalog */
#define LAST_PAUSE 500
#define THAW_PATIENCE 10000		/* ms that one thaw keeps trying */
#define UNDO_AGAIN 10000		/* ms until an undo that failed is tried again */
#define MAX_DRAINS 5			/* while somebody keeps creating objects */
#define LAST_RETRY (10 * 60)	/* s between two tries of a failed thaw */

/* ---- trying again ----------------------------------------------------- */

/* Sleeps, interruptibly. */
static void
pause_ms(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Whether an error says that somebody else was at the same catalog row.  The
 * server reports a lost race as an internal error of simple_heap_update() or
 * simple_heap_delete().
 */
static bool
is_conflict(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		(error->sqlerrcode == ERRCODE_INTERNAL_ERROR && error->funcname &&
		 (strcmp(error->funcname, "simple_heap_update") == 0 ||
		  strcmp(error->funcname, "simple_heap_delete") == 0));
}

typedef void (*StepFunc) (PfFreeze *freeze, void *arg);

/*
 * Runs a step in a transaction of its own, again and again while it meets
 * other transactions' changes, for "patience" ms; then raises 55P03.  No
 * single lock wait inside is longer than 300 ms, so that nobody runs into a
 * deadlock with the freeze or queues behind it.
 */
static void
run_step(PfFreeze *freeze, StepFunc step, void *arg, int64 patience)
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
			StartTransactionCommand();
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
			if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
				ereport(ERROR,
						(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						 errmsg("privileges are being changed by other transactions"),
						 errdetail("The last conflict: %s.", error->message),
						 errhint("Look in pg_locks and pg_stat_activity who is in the middle of DDL, GRANT or ANALYZE, and try again.")));
			ReThrowError(error);
		}
		FreeErrorData(error);
		pause_ms(pause);
		pause = Min(pause * 2, LAST_PAUSE);
	}
}

static PfFreeze *
read_freeze(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	PfFreeze   *freeze;

	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	freeze = journal_read(id);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	if (freeze == NULL)
		elog(ERROR, "freeze " INT64_FORMAT " has gone from the journal", id);
	return freeze;
}

static bool
lock_freeze_nowait(int64 id)
{
	bool		locked;

	StartTransactionCommand();
	locked = journal_lock(id, false);
	CommitTransactionCommand();
	return locked;
}

/* Takes the work lock of a freeze; 55P03 if somebody else keeps it. */
static void
lock_freeze(int64 id)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), THAW_PATIENCE);

	while (!lock_freeze_nowait(id))
	{
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("freeze " INT64_FORMAT " is being worked on by another session", id),
					 errhint("It is being made or thawed just now; look at freeze_status.")));
		pause_ms(FIRST_PAUSE);
	}
}

static void
unlock_freeze(int64 id)
{
	StartTransactionCommand();
	journal_unlock(id);
	CommitTransactionCommand();
}

/*
 * Calls the scheduler for what is not this request's own doing: where it
 * cannot be had that is a line in the log, not the request's failure.
 */
static void
call_scheduler(TimestampTz at)
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
		AbortOutOfAnyTransaction();
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("pg_freeze: nobody looks after live freezes of this database until the next call: %s", error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* ---- freezing --------------------------------------------------------- */

static void
step_engage(PfFreeze *freeze, void *arg)
{
	int64		covered = 0;
	int64		changed;
	Oid			type = INT8OID;
	Datum		value;

	journal_lock_changes();
	changed = freeze->strategy->engage(freeze, &covered);
	value = Int64GetDatum(changed);
	if (changed + covered == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is nothing to freeze"),
				 errdetail("%s holds nothing in this database that strategy %s takes in mode %s.",
						   pf_target_text(&freeze->target), freeze->strategy->name,
						   pf_mode_name(freeze->target.mode)),
				 errhint("Are you connected to the right database? freeze_check() lists what a freeze would change.")));
	CommandCounterIncrement();
	journal_roles_write(freeze->id);
	journal_set(freeze->id, "changed = $2", 1, &type, &value, NULL);
	journal_transition(freeze, PF_DRAINING, psprintf(INT64_FORMAT " objects changed", changed));
	freeze->changed = changed;
}

/*
 * Takes what was created by transactions that had not committed when the door
 * was closed.  *arg: whether there was any.
 */
static void
step_engage_again(PfFreeze *freeze, void *arg)
{
	int64		covered;
	int64		changed;
	Oid			type = INT8OID;
	Datum		value;

	journal_lock_changes();
	changed = freeze->strategy->engage(freeze, &covered);
	value = Int64GetDatum(freeze->changed + changed);
	*(bool *) arg = changed > 0;
	if (changed == 0)
		return;
	CommandCounterIncrement();
	journal_roles_write(freeze->id);
	journal_set(freeze->id, "changed = $2", 1, &type, &value, NULL);
	freeze->changed += changed;
}

static void
step_release_aborted(PfFreeze *freeze, void *arg)
{
	PfRestore	restore = {0};

	journal_lock_changes();
	freeze->strategy->release(freeze, &restore);
	journal_transition(freeze, PF_ABORTED, (const char *) arg);
	PF_INJECTION_POINT("pg-freeze-undo");
}

/*
 * Undoes a freeze that did not come to be frozen, and lets go of its work
 * lock.  If even that fails it says so in the log and leaves the row for
 * recovery to finish.
 */
static void
undo(PfFreeze *freeze, const char *why)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		run_step(freeze, step_release_aborted, unconstify(char *, why), THAW_PATIENCE);
		unlock_freeze(freeze->id);
		pf_scheduler_look();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		ereport(LOG,
				(errmsg("pg_freeze: freeze " INT64_FORMAT " could not be undone yet", freeze->id)));
		unlock_freeze(freeze->id);
		call_scheduler(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UNDO_AGAIN));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

static PfFreeze *
begin_freeze(const PfRequest *request)
{
	MemoryContext context = CurrentMemoryContext;
	const PfStrategy *strategy = pf_strategy_named(NameStr(request->strategy));
	List	   *leaks;
	int64		id;

	StartTransactionCommand();
	leaks = strategy->leaks(&request->target);
	if (leaks != NIL && request->options.on_leak == PF_LEAK_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s could still write in other ways", pf_target_text(&request->target)),
				 errdetail("%s", pf_notes_text(leaks)),
				 errhint("pg_freeze.on_leak is error. Close these ways, or SET pg_freeze.on_leak = 'warn'.")));
	id = journal_begin(request, leaks, strategy->also_stops(&request->target));
	/* held by nobody else yet, and by this process until the freeze is made */
	(void) journal_lock(id, true);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return read_freeze(id);
}

typedef struct FrozenStep
{
	const PfRequest *request;
	PfReply    *reply;
} FrozenStep;

/* Step 4, in the order: flush, write, decide, commit. */
static void
step_frozen(PfFreeze *freeze, void *arg)
{
	FrozenStep *frozen = arg;
	const PfOptions *options = &frozen->request->options;
	XLogRecPtr	lsn = pf_wal_end();
	Oid			types[2] = {PG_LSNOID, TIMESTAMPTZOID};
	Datum		values[2];
	char		nulls[2] = {' ', options->thaw_after ? ' ' : 'n'};

	XLogFlush(lsn);
	freeze->frozen_lsn = lsn;
	freeze->thaw_at = options->thaw_after ? GetCurrentTimestamp() + options->thaw_after : 0;
	values[0] = LSNGetDatum(lsn);
	values[1] = TimestampTzGetDatum(freeze->thaw_at);
	journal_set(freeze->id, "frozen_lsn = $2, thaw_at = $3", 2, types, values, nulls);
	journal_transition(freeze, PF_FROZEN,
					   psprintf("at %X/%X, %s", LSN_FORMAT_ARGS(lsn),
								freeze->thaw_at ? psprintf("until %s", timestamptz_to_str(freeze->thaw_at)) : "no deadline"));
	PF_INJECTION_POINT("pg-freeze-decide");
	if (!frozen->reply->decide(frozen->reply))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the freeze was cancelled")));
	PF_INJECTION_POINT("pg-freeze-decided");
}

/* Lines in one, with "; " between them. */
static char *
one_line(const char *lines)
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

/* The one line that says how, until when and what leaks. */
static void
tell_frozen(PfFreeze *freeze, const PfRequest *request, PfReply *reply)
{
	char	   *id = psprintf(INT64_FORMAT, freeze->id);
	StringInfoData text;
	char	   *also_stops;

	StartTransactionCommand();
	initStringInfo(&text);
	appendStringInfo(&text, "%s (%s): %s is frozen in mode %s as freeze %s, " INT64_FORMAT " objects changed; ",
					 freeze->strategy->name, request->why, pf_target_text(&freeze->target),
					 pf_mode_name(freeze->target.mode), id, freeze->changed);
	if (freeze->thaw_at)
		appendStringInfo(&text, "thaws at %s; ", timestamptz_to_str(freeze->thaw_at));
	else
		appendStringInfo(&text, "not scheduled to thaw, run SELECT * FROM %s.thaw(%s); ", journal_schema(), id);
	appendStringInfo(&text, "leaks: %s", freeze->leaks[0] ? freeze->leaks : "none");
	also_stops = journal_also_stops(freeze->id);
	if (also_stops[0])
		appendStringInfo(&text, "; also stops: %s", also_stops);
	reply->notice(reply, NOTICE, one_line(text.data), NULL, NULL);
	reply->row(reply, 1, &id);
	CommitTransactionCommand();
}

/*
 * One try.  True: frozen, and said so.  False with *error: not, and everything
 * is undone.
 */
static bool
try_freeze(const PfRequest *request, PfReply *reply, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	FrozenStep	frozen = {request, reply};
	PfFreeze   *volatile freeze = NULL;
	volatile bool done = false;

	PG_TRY();
	{
		int64		hold = request->options.thaw_after ? request->options.thaw_after :
			(int64) pf_guc_remind_after * USECS_PER_SEC;
		bool		again = true;

		freeze = begin_freeze(request);
		PF_INJECTION_POINT("pg-freeze-journaled");
		/* from here on somebody is there to clean up behind a crash */
		pf_scheduler_wake(GetCurrentTimestamp() + hold);
		run_step(freeze, step_engage, NULL, request->options.drain_timeout);
		PF_INJECTION_POINT("pg-freeze-engaged");
		for (int i = 0; again && i < MAX_DRAINS; i++)
		{
			if (!pf_drain(freeze, &request->options, reply))
				ereport(ERROR,
						(errcode(ERRCODE_QUERY_CANCELED),
						 errmsg("the freeze was cancelled")));
			run_step(freeze, step_engage_again, &again, request->options.drain_timeout);
		}
		if (again)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("%s could not be frozen: new objects of it keep appearing", pf_target_text(&freeze->target)),
					 errdetail("After each of %d drains there were some more.", MAX_DRAINS),
					 errhint("Look who creates them, and try again.")));
		PF_INJECTION_POINT("pg-freeze-drained");
		run_step(freeze, step_frozen, &frozen, 0);
		done = true;
		PF_INJECTION_POINT("pg-freeze-frozen");
		unlock_freeze(freeze->id);
		tell_frozen(freeze, request, reply);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);

	if (done || freeze == NULL)
		return done;
	pf_worker_ignore_cancel(true);
	undo(freeze, psprintf("not frozen: %s", (*error)->message));
	pf_worker_ignore_cancel(false);
	return false;
}

static void
run_freeze(const PfRequest *request, PfReply *reply)
{
	for (int attempt = 1;; attempt++)
	{
		ErrorData  *error = NULL;

		if (try_freeze(request, reply, &error))
			return;
		if (attempt >= request->options.attempts || error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE ||
			reply->cancelled(reply))
			ReThrowError(error);
		reply->notice(reply, NOTICE, psprintf("attempt %d of %d: %s", attempt, request->options.attempts, error->message),
					  error->detail, NULL);
		pause_ms(Min(1000L * attempt, 10000L));
	}
}

/* ---- thawing ---------------------------------------------------------- */

typedef struct ThawStep
{
	const char *why;			/* "thawed by joe", "thawed on schedule" */
	PfReply    *reply;			/* NULL: nobody listens */
	bool		decide;			/* ask the caller before it begins */
	MemoryContext context;		/* of the row */
	PfRestore	restore;		/* what came of it */
	char	   *row[12];
} ThawStep;

static void
step_thawing(PfFreeze *freeze, void *arg)
{
	ThawStep   *thaw = arg;

	journal_transition(freeze, PF_THAWING, thaw->why);
	if (thaw->decide && !thaw->reply->decide(thaw->reply))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the thaw was cancelled")));
}

/*
 * The verdict: true only if nothing came back and nothing leaked; false if
 * something was seen; NULL if it could have been and was not seen.  Returns
 * 't', 'f' or 'n'.
 */
static char
verdict(PfFreeze *freeze, XLogRecPtr lsn, char **lost_reason, char **evidence)
{
	int64		checked = 0;
	char	   *broken;
	StringInfoData leaks;
	ListCell   *cell;

	*lost_reason = NULL;
	if (freeze->is_copy)
	{
		*lost_reason = "this database is a copy; the freeze was made in another one";
		*evidence = "nothing could be checked";
		return 'f';
	}
	broken = freeze->strategy->broken(freeze, &checked);
	*lost_reason = freeze->gap ? freeze->gap : broken;

	/* those of the freeze, and those that came up since */
	initStringInfo(&leaks);
	appendStringInfoString(&leaks, freeze->leaks);
	foreach(cell, freeze->strategy->leaks(&freeze->target))
	{
		PfNote	   *leak = lfirst(cell);

		if (strstr(freeze->leaks, psprintf("%s: ", leak->code)) == NULL)
			appendStringInfo(&leaks, "%s%s: %s", leaks.len ? "\n" : "", leak->code, leak->text);
	}
	*evidence = psprintf(INT64_FORMAT " objects of the target and its memberships looked at, from %X/%X to %X/%X: %s; leaks: %s",
						 checked, LSN_FORMAT_ARGS(freeze->frozen_lsn), LSN_FORMAT_ARGS(lsn),
						 *lost_reason ? *lost_reason : "no privilege came back",
						 leaks.len ? one_line(leaks.data) : "none");
	return *lost_reason ? 'f' : leaks.len ? 'n' : 't';
}

/* Says which live freezes still cover the target of one that was thawed. */
static void
tell_others(PfFreeze *freeze, int64 passed, PfReply *reply)
{
	ListCell   *cell;

	foreach(cell, journal_live_others(freeze->id))
	{
		PfFreeze   *other = lfirst(cell);
		bool		same = other->target.kind == freeze->target.kind && other->target.oid == freeze->target.oid;

		if (!same && passed == 0)
			continue;
		reply->notice(reply, NOTICE,
					  psprintf("%s of %s (freeze " INT64_FORMAT " by %s, %s) is still in force",
							   same ? "another freeze" : "the freeze", pf_target_text(&other->target), other->id,
							   other->owner_name, other->thaw_at ? psprintf("until %s", timestamptz_to_str(other->thaw_at)) : "no deadline"),
					  passed ? psprintf(INT64_FORMAT " objects stay frozen for it.", passed) : NULL,
					  NULL);
	}
}

/* Puts back, writes the verdict and the end; in a transaction. */
static void
step_thawed(PfFreeze *freeze, void *arg)
{
	ThawStep   *thaw = arg;
	PfRestore	restore = {0};
	XLogRecPtr	lsn = pf_wal_end();
	char	   *lost_reason;
	char	   *evidence;
	char		held;
	Oid			types[6] = {BOOLOID, TEXTOID, TEXTOID, PG_LSNOID, INT8OID, INT8OID};
	Datum		values[6];
	char		nulls[6] = "      ";
	MemoryContext old;

	journal_lock_changes();
	freeze->gap = journal_read(freeze->id)->gap;
	held = verdict(freeze, lsn, &lost_reason, &evidence);
	freeze->strategy->release(freeze, &restore);
	PF_INJECTION_POINT("pg-freeze-restored");
	CommandCounterIncrement();

	values[0] = BoolGetDatum(held == 't');
	nulls[0] = held == 'n' ? 'n' : ' ';
	values[1] = lost_reason ? CStringGetTextDatum(lost_reason) : (Datum) 0;
	nulls[1] = lost_reason ? ' ' : 'n';
	values[2] = CStringGetTextDatum(evidence);
	values[3] = LSNGetDatum(lsn);
	values[4] = Int64GetDatum(restore.restored);
	values[5] = Int64GetDatum(restore.skipped);
	journal_set(freeze->id, "held = $2, lost_reason = $3, evidence = $4, thawed_lsn = $5, restored = $6,"
				" skipped = $7, retry_at = NULL, last_error = NULL", 6, types, values, nulls);
	journal_transition(freeze, PF_THAWED,
					   psprintf("%s; " INT64_FORMAT " restored, " INT64_FORMAT " skipped, " INT64_FORMAT " stay for other freezes; held: %s",
								thaw->why, restore.restored, restore.skipped, restore.passed,
								held == 't' ? "yes" : held == 'f' ? "no" : "unknown"));

	old = MemoryContextSwitchTo(thaw->context);
	thaw->restore = restore;
	thaw->row[0] = psprintf(INT64_FORMAT, freeze->id);
	thaw->row[1] = pf_target_text(&freeze->target);
	thaw->row[2] = unconstify(char *, freeze->strategy->name);
	thaw->row[3] = held == 'n' ? NULL : held == 't' ? "t" : "f";
	thaw->row[4] = lost_reason ? pstrdup(lost_reason) : NULL;
	thaw->row[5] = pstrdup(evidence);
	thaw->row[6] = pstrdup(timestamptz_to_str(freeze->frozen_at));
	thaw->row[7] = pstrdup(timestamptz_to_str(GetCurrentTimestamp()));
	thaw->row[8] = psprintf("%X/%X", LSN_FORMAT_ARGS(freeze->frozen_lsn));
	thaw->row[9] = psprintf("%X/%X", LSN_FORMAT_ARGS(lsn));
	thaw->row[10] = psprintf(INT64_FORMAT, restore.restored);
	thaw->row[11] = psprintf(INT64_FORMAT, restore.skipped);
	MemoryContextSwitchTo(old);
}

/* Tells the caller what step_thawed() did; in a transaction. */
static void
tell_thawed(PfFreeze *freeze, ThawStep *thaw)
{
	if (thaw->restore.skipped > 0)
		thaw->reply->notice(thaw->reply, WARNING,
							psprintf("%s was thawed, but " INT64_FORMAT " objects are not as they were",
									 pf_target_text(&freeze->target), thaw->restore.skipped),
							NULL, psprintf("SELECT * FROM %s.freeze_changes WHERE id = " INT64_FORMAT ";", journal_schema(), freeze->id));
	tell_others(freeze, thaw->restore.passed, thaw->reply);
	thaw->reply->row(thaw->reply, 12, thaw->row);
}

/* See life.h. */
void
pf_life_check_in_hold(const PfFreeze *freeze)
{
	if (!pf_state_is_live(freeze->state))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " is over", freeze->id),
				 errdetail("It ended at %s: %s.", timestamptz_to_str(freeze->ended_at), freeze->end_reason),
				 errhint("freeze_status lists what is frozen.")));
	if (freeze->state == PF_ENGAGING || freeze->state == PF_DRAINING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " is not frozen yet", freeze->id),
				 errdetail("It is %s.", pf_state_name(freeze->state)),
				 errhint("Cancel the session that makes it: SELECT pg_cancel_backend(%d);", freeze->by_pid)));
}

/* The work lock is held; the freeze is frozen, lost or thawing. */
static void
thaw_locked(PfFreeze *freeze, ThawStep *thaw)
{
	if (freeze->state != PF_THAWING)
	{
		run_step(freeze, step_thawing, thaw, 0);
		thaw->decide = false;
	}
	PF_INJECTION_POINT("pg-freeze-thawing");
	run_step(freeze, step_thawed, thaw, THAW_PATIENCE);
	PF_INJECTION_POINT("pg-freeze-thawed");
	if (thaw->reply)
	{
		StartTransactionCommand();
		tell_thawed(freeze, thaw);
		CommitTransactionCommand();
	}
}

/* Notes that a thaw failed and when to try again. */
static void
thaw_failed(PfFreeze *freeze, const ErrorData *error)
{
	int			pause = Min(1 << Min(freeze->thaw_failures, 10), LAST_RETRY);
	TimestampTz retry = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause * 1000L);
	Oid			types[2] = {TIMESTAMPTZOID, TEXTOID};
	Datum		values[2];

	StartTransactionCommand();
	values[0] = TimestampTzGetDatum(retry);
	values[1] = CStringGetTextDatum(error->message);
	journal_set(freeze->id, "thaw_failures = thaw_failures + 1, retry_at = $2, last_error = $3",
				2, types, values, NULL);
	CommitTransactionCommand();
	ereport(LOG,
			(errmsg("pg_freeze: thaw of freeze " INT64_FORMAT " failed, next try at %s: %s",
					freeze->id, timestamptz_to_str(retry), error->message)));
}

/*
 * Thaws one freeze whose work lock is held.  Returns NULL, or the error, in
 * which case the freeze is as it was or thawing with a time to try again.
 */
static ErrorData *
try_thaw(int64 id, ThawStep *thaw)
{
	MemoryContext context = CurrentMemoryContext;
	PfFreeze   *volatile freeze = NULL;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		freeze = read_freeze(id);
		pf_life_check_in_hold(freeze);
		thaw_locked(freeze, thaw);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (error && freeze && freeze->state == PF_THAWING)
		thaw_failed(freeze, error);
	return error;
}

static void
run_thaw(const PfRequest *request, PfReply *reply)
{
	ThawStep	thaw = {
		.why = psprintf("thawed by %s", NameStr(request->caller.role_name)),.reply = reply,.decide = true,.context = CurrentMemoryContext
	};

	for (int i = 0; i < request->nids; i++)
	{
		ErrorData  *error;

		lock_freeze(request->ids[i]);
		error = try_thaw(request->ids[i], &thaw);
		unlock_freeze(request->ids[i]);
		if (error)
			ReThrowError(error);
	}
}

/* See life.h. */
void
pf_life_thaw_here(const PfRequest *request, PfReply *reply)
{
	ThawStep	thaw = {
		.why = psprintf("thawed by %s", NameStr(request->caller.role_name)),.reply = reply,.context = CurrentMemoryContext
	};

	for (int i = 0; i < request->nids; i++)
	{
		PfFreeze   *freeze;

		journal_lock_for_transaction(request->ids[i]);
		freeze = journal_read(request->ids[i]);
		pf_life_check_in_hold(freeze);
		step_thawed(freeze, &thaw);
		tell_thawed(freeze, &thaw);
	}
}

/* ---- deadlines -------------------------------------------------------- */

static void
step_extend(PfFreeze *freeze, void *arg)
{
	const PfRequest *request = arg;
	Oid			type = TIMESTAMPTZOID;
	Datum		value;
	char		null = request->extend_by ? ' ' : 'n';

	freeze->thaw_at = request->extend_by ? GetCurrentTimestamp() + request->extend_by : 0;
	value = TimestampTzGetDatum(freeze->thaw_at);
	journal_set(freeze->id, "thaw_at = $2", 1, &type, &value, &null);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " now %s, by %s", freeze->id,
					freeze->thaw_at ? psprintf("thaws at %s", timestamptz_to_str(freeze->thaw_at)) : "has no deadline",
					NameStr(request->caller.role_name))));
}

static void
run_extend(const PfRequest *request, PfReply *reply)
{
	PfFreeze   *freeze;
	char	   *at;

	lock_freeze(request->ids[0]);
	freeze = read_freeze(request->ids[0]);
	pf_life_check_in_hold(freeze);
	if (freeze->state == PF_THAWING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " is being thawed", freeze->id)));
	if (!reply->decide(reply))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the deadline was not changed")));
	run_step(freeze, step_extend, unconstify(PfRequest *, request), THAW_PATIENCE);
	unlock_freeze(freeze->id);
	at = freeze->thaw_at ? pstrdup(timestamptz_to_str(freeze->thaw_at)) : NULL;
	reply->row(reply, 1, &at);
}

/* ---- recovery, schedule, reminders ------------------------------------ */

static void
remind(PfFreeze *freeze)
{
	StartTransactionCommand();
	journal_set(freeze->id, "reminded_at = clock_timestamp()", 0, NULL, NULL, NULL);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s, made by %s, has been in force since %s and has no deadline",
					freeze->id, pf_target_text(&freeze->target), freeze->owner_name, timestamptz_to_str(freeze->frozen_at)),
			 errhint("To thaw it: SELECT * FROM %s.thaw(" INT64_FORMAT ");", journal_schema(), freeze->id)));
	CommitTransactionCommand();
}

static TimestampTz
remind_at(const PfFreeze *freeze)
{
	return Max(freeze->frozen_at, freeze->reminded_at) + (int64) pf_guc_remind_after * USECS_PER_SEC;
}

/* Does what is due for a freeze whose work lock is held, and lets go of it. */
static ErrorData *
attend_locked(PfFreeze *freeze)
{
	TimestampTz now = GetCurrentTimestamp();
	ErrorData  *error = NULL;
	ThawStep	thaw = {.context = CurrentMemoryContext};

	switch (freeze->state)
	{
		case PF_ENGAGING:
		case PF_DRAINING:
			undo(freeze, "not frozen: the worker that made it died");
			return NULL;
		case PF_THAWING:
			if (freeze->retry_at <= now)
				thaw.why = "thawed by a later try";
			break;
		case PF_FROZEN:
		case PF_LOST:
			if (freeze->thaw_at != 0 && freeze->thaw_at <= now)
				thaw.why = "thawed on schedule";
			else if (pf_guc_on_restart == PF_RESTART_THAW && freeze->frozen_at < PgStartTime)
				thaw.why = "thawed because pg_freeze.on_restart is thaw";
			else if (freeze->thaw_at == 0 && remind_at(freeze) <= now)
				remind(freeze);
			break;
		case PF_THAWED:
		case PF_ABORTED:
			break;
	}
	if (thaw.why)
		error = try_thaw(freeze->id, &thaw);
	unlock_freeze(freeze->id);
	return error;
}

/* When to look at a freeze again, 0: never. */
static TimestampTz
next_time(const PfFreeze *freeze)
{
	switch (freeze->state)
	{
		case PF_THAWING:
			return Max(freeze->retry_at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000));
		case PF_FROZEN:
		case PF_LOST:
			return freeze->thaw_at ? freeze->thaw_at : remind_at(freeze);
		case PF_ENGAGING:
		case PF_DRAINING:
			/* being made by somebody, or undoing it failed */
			return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UNDO_AGAIN);
		case PF_THAWED:
		case PF_ABORTED:
			return 0;
	}
	return 0;
}

static void
forget_history(void)
{
	Oid			type = INT4OID;
	Datum		value = Int32GetDatum(pf_guc_history_keep);
	PfSpi		spi;

	StartTransactionCommand();
	spi = pf_spi_begin();
	journal_execute("DELETE FROM @.freeze_journal WHERE state IN ('thawed', 'aborted')"
					" AND ended_at < now() - make_interval(mins => $1)", 1, &type, &value, NULL, false);
	pf_spi_end(spi);
	CommitTransactionCommand();
}

static bool
is_asked_for(int64 id, const PfRequest *request)
{
	for (int i = 0; request && i < request->nids; i++)
		if (request->ids[i] == id)
			return true;
	return false;
}

/* pf_life_attend(), but leaves alone the freezes that a request is about. */
static TimestampTz
attend(const PfRequest *request)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pg_freeze attend", ALLOCSET_DEFAULT_SIZES);
	TimestampTz next = 0;
	List	   *ids;
	ListCell   *cell;

	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	ids = journal_ids("state NOT IN ('thawed', 'aborted')", 0, NULL, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	foreach(cell, ids)
	{
		int64		id = *(int64 *) lfirst(cell);
		PfFreeze   *freeze;
		TimestampTz at;

		if (!is_asked_for(id, request) && lock_freeze_nowait(id))
		{
			ErrorData  *error = attend_locked(read_freeze(id));

			if (error)
				ereport(LOG,
						(errmsg("pg_freeze: freeze " INT64_FORMAT " could not be attended to: %s", id, error->message)));
		}
		MemoryContextSwitchTo(context);
		freeze = read_freeze(id);
		at = next_time(freeze);
		if (at != 0 && (next == 0 || at < next))
			next = at;
	}
	forget_history();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return next;
}

/* See scheduler.h. */
TimestampTz
pf_life_attend(void)
{
	return attend(NULL);
}

/* See worker.h. */
void
pf_life_run(const PfRequest *request, PfReply *reply)
{
	TimestampTz next = attend(request);

	switch (request->action)
	{
		case PF_FREEZE:
			run_freeze(request, reply);
			break;
		case PF_THAW:
			run_thaw(request, reply);
			pf_scheduler_look();
			break;
		case PF_EXTEND:
			run_extend(request, reply);
			next = pf_life_attend();
			break;
	}
	if (next != 0)
		call_scheduler(next);
}
