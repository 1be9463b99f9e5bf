/*-------------------------------------------------------------------------
 *
 * life.c
 *	  The life of a freeze: engage, drain, frozen; recovery.
 *
 * Runs in a request worker (pf_life_run) and in the scheduler
 * (pf_life_attend), in transactions of its own.  Knows no strategy by name.
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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "backup.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "drain.h"
#include "executor/spi.h"
#include "guc.h"
#include "holder.h"
#include "gate.h"
#include "journal.h"
#include "live.h"
#include "miscadmin.h"
#include "scheduler.h"
#include "step.h"
#include "thaw.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "values.h"

#define PUBLISH_AGAIN 1000		/* ms until a freeze that others work on is looked at again */
#define UNDO_AGAIN 10000		/* ms until an undo that failed is tried again */
#define LEFT_ALONE 3000			/* ms for who has begun a thaw to write it down */
#define MAX_DRAINS 5			/* while somebody keeps creating objects */

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
	if (changed + covered == 0 && !freeze->strategy->doors)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is nothing to freeze"),
				 freeze->strategy->recycles ?
				 errdetail("Strategy %s has nothing to change for %s, and there are no sessions to end.",
						   freeze->strategy->name, pf_target_text(&freeze->target)) :
				 errdetail("%s holds nothing in this database that strategy %s takes in mode %s.",
						   pf_target_text(&freeze->target), freeze->strategy->name,
						   pf_mode_name(freeze->target.mode)),
				 freeze->strategy->recycles ?
				 errhint("freeze_check() lists what a freeze would change.") :
				 errhint("Are you connected to the right database? freeze_check() lists what a freeze would change.")));
	CommandCounterIncrement();
	journal_roles_write(freeze->id);
	journal_set(freeze->id, "changed = $2", 1, &type, &value, NULL);
	journal_transition(freeze, PF_DRAINING,
					   freeze->strategy->doors ? freeze->strategy->done :
					   psprintf("%s %s", pf_objects(changed), freeze->strategy->drained ? "wanted" : freeze->strategy->done));
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
	bool		engaged = freeze->state != PF_ENGAGING;

	PG_TRY();
	{
		/* it was never said to be in force, so nobody need wait for the journal */
		if (freeze->strategy->settle)
			freeze->strategy->settle(freeze->id);
		pf_run_step(freeze, step_release_aborted, unconstify(char *, why), PF_PATIENCE);
		/* read anew, for the time since when it was in force */
		if (engaged && freeze->strategy->released)
			freeze->strategy->released(pf_read_freeze(freeze->id), freeze->by_pid, 0, NULL);
		pf_unlock_freeze(freeze->id);
		pf_scheduler_look();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		pf_abort();
		ereport(LOG,
				(errmsg("pg_freeze: freeze " INT64_FORMAT " could not be undone yet", freeze->id)));
		pf_unlock_freeze(freeze->id);
		pf_call_scheduler(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UNDO_AGAIN));
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

	pf_begin();
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
	return pf_read_freeze(id);
}

typedef struct FrozenStep
{
	const PfRequest *request;
	PfReply    *reply;
} FrozenStep;

/* Step 4, in the order: flush, decide, write, commit. */
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
	PF_INJECTION_POINT("pg-freeze-decide");
	if (!frozen->reply->decide(frozen->reply))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the freeze was cancelled")));
	/* only now: its line in the log must not say of a cancelled freeze that it is frozen */
	journal_transition(freeze, PF_FROZEN,
					   psprintf("at %X/%X, %s", LSN_FORMAT_ARGS(lsn),
								freeze->thaw_at ? psprintf("until %s", timestamptz_to_str(freeze->thaw_at)) : "no deadline"));
	PF_INJECTION_POINT("pg-freeze-decided");
}

/* The one line that says how, until when and what leaks. */
static void
tell_frozen(PfFreeze *freeze, const char *id, const PfRequest *request, PfReply *reply)
{
	StringInfoData text;
	char	   *told;
	char	   *also_stops;

	pf_begin();
	initStringInfo(&text);
	appendStringInfo(&text, "%s (%s): %s is frozen in mode %s as freeze %s, ",
					 freeze->strategy->name, request->why, pf_target_text(&freeze->target),
					 pf_mode_name(freeze->target.mode), id);
	if (!freeze->strategy->doors)
		appendStringInfo(&text, "%s ", pf_objects(freeze->changed));
	appendStringInfo(&text, "%s; ", freeze->strategy->done);
	told = freeze->strategy->told ? freeze->strategy->told(freeze) : NULL;
	if (told)
		appendStringInfo(&text, "%s; ", told);
	if (freeze->thaw_at)
		appendStringInfo(&text, "thaws at %s; ", timestamptz_to_str(freeze->thaw_at));
	else
		appendStringInfo(&text, "not scheduled to thaw, run SELECT * FROM %s.thaw(%s); ", journal_schema(), id);
	appendStringInfo(&text, "leaks: %s", freeze->leaks[0] ? freeze->leaks : "none");
	also_stops = journal_also_stops(freeze->id);
	if (also_stops[0])
		appendStringInfo(&text, "; also stops: %s", also_stops);
	reply->notice(reply, NOTICE, pf_one_line(text.data), NULL, NULL);
	CommitTransactionCommand();
}

/* How long changes of catalogs that others are at are tried. */
static int64
patience(const PfOptions *options)
{
	return options->persist ? PF_PATIENCE : options->drain_timeout;
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
		TimestampTz attend_at = GetCurrentTimestamp() + hold;
		char	   *id;

		freeze = begin_freeze(request);
		id = psprintf(INT64_FORMAT, freeze->id);
		PF_INJECTION_POINT("pg-freeze-journaled");
		/* from here on somebody is there to clean up behind a crash */
		pf_scheduler_wake(attend_at);
		pf_run_step(freeze, step_engage, NULL, patience(&request->options));
		PF_INJECTION_POINT("pg-freeze-engaged");
		for (int i = 0; again && i < MAX_DRAINS; i++)
		{
			if (!pf_drain(freeze, &request->options, reply))
				ereport(ERROR,
						(errcode(ERRCODE_QUERY_CANCELED),
						 errmsg("the freeze was cancelled")));
			/* what is made by those who were in flight belongs to the target where there are doors */
			if (freeze->strategy->doors)
				again = false;
			else
				pf_run_step(freeze, step_engage_again, &again, patience(&request->options));
		}
		if (again)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("%s could not be frozen: new objects of it keep appearing", pf_target_text(&freeze->target)),
					 errdetail("After each of %d drains there were some more.", MAX_DRAINS),
					 errhint("Look who creates them, and try again.")));
		PF_INJECTION_POINT("pg-freeze-drained");
		pf_run_step(freeze, step_frozen, &frozen, 0);
		done = true;
		/* the caller gets the id, whatever comes now */
		reply->row(reply, 1, &id);
		PF_INJECTION_POINT("pg-freeze-frozen");
		if (freeze->strategy->deadline)
			freeze->strategy->deadline(freeze->id, freeze->thaw_at);
		pf_unlock_freeze(freeze->id);
		/* if the scheduler has looked meanwhile, it has left this one alone for longer */
		if (freeze->thaw_at)
			pf_call_scheduler(freeze->thaw_at);
		tell_frozen(freeze, id, request, reply);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		pf_abort();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);

	if (done && *error)
		reply->notice(reply, WARNING,
					  psprintf("the freeze is in force, but something failed after that: %s", (*error)->message), NULL, NULL);
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
		pf_pause(Min(1000L * attempt, 10000L));
	}
}

/* ---- recovery, schedule, reminders ------------------------------------ */

static void
remind(PfFreeze *freeze)
{
	pf_begin();
	journal_set(freeze->id, "reminded_at = clock_timestamp()", 0, NULL, NULL, NULL);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s, made by %s, has been in force since %s and has no deadline",
					freeze->id, pf_target_text(&freeze->target), freeze->owner_name, timestamptz_to_str(freeze->frozen_at)),
			 errhint("To thaw it: SELECT * FROM %s.thaw(" INT64_FORMAT ");", journal_schema(), freeze->id)));
	CommitTransactionCommand();
}

static TimestampTz
since_when_gone_on(PfFreeze *freeze)
{
	return freeze->strategy->gone_on ? freeze->strategy->gone_on(freeze) : 0;
}

static TimestampTz
remind_at(const PfFreeze *freeze)
{
	return Max(freeze->frozen_at, freeze->reminded_at) + (int64) pf_guc_remind_after * USECS_PER_SEC;
}

/*
 * Does what is due for a freeze whose work lock is held, and lets go of it.
 * *again is in how many ms its strategy wants to look again, 0: no wish.
 */
static ErrorData *
attend_locked(PfFreeze *freeze, bool impatient, TimestampTz *leave_until, int *again)
{
	TimestampTz now = GetCurrentTimestamp();
	ErrorData  *error = NULL;
	TimestampTz gone_on = since_when_gone_on(freeze);
	TimestampTz deadline = pf_deadline(freeze->frozen_at, freeze->thaw_at);
	PfThaw		thaw = {.context = CurrentMemoryContext,.impatient = impatient,.leave_until = leave_until};

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
			else if (deadline != 0 && deadline <= now)
				thaw.why = "thawed because of the file " PF_THAW_FILE;
			else if (gone_on != 0)
			{
				if (gone_on <= now - LEFT_ALONE * INT64CONST(1000))
					thaw.why = "thawed by somebody who could not write it down";
			}
			/* after a restart, which a restored snapshot begins with, too, it is for that setting and the deadline */
			else if (freeze->backup_over && freeze->frozen_at >= PgStartTime)
				thaw.why = "thawed because its backup is over";
			else if (pf_guc_on_restart == PF_RESTART_THAW && freeze->frozen_at < PgStartTime)
				thaw.why = "thawed because pg_freeze.on_restart is thaw";
			else
			{
				if (freeze->strategy->attend)
					*again = freeze->strategy->attend(freeze);
				if (freeze->thaw_at == 0 && remind_at(freeze) <= now)
					remind(freeze);
			}
			break;
		case PF_THAWED:
		case PF_ABORTED:
			break;
	}
	if (thaw.why)
		error = pf_try_thaw(freeze->id, &thaw);
	pf_unlock_freeze(freeze->id);
	return error;
}

/* When to look at a freeze again, 0: never. */
static TimestampTz
next_time(PfFreeze *freeze)
{
	switch (freeze->state)
	{
		case PF_THAWING:
			return Max(freeze->retry_at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000));
		case PF_FROZEN:
		case PF_LOST:
			{
				TimestampTz deadline = pf_deadline(freeze->frozen_at, freeze->thaw_at);
				TimestampTz at = deadline ? deadline : remind_at(freeze);
				TimestampTz now = GetCurrentTimestamp();
				TimestampTz gone_on = since_when_gone_on(freeze);

				if (gone_on != 0)
					at = Min(at, TimestampTzPlusMilliseconds(gone_on, LEFT_ALONE));
				/* due: somebody works on it, or a thaw could not even begin */
				return at > now ? at : TimestampTzPlusMilliseconds(now, 1000);
			}
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

	pf_begin();
	spi = pf_spi_begin();
	journal_execute("DELETE FROM @.freeze_journal WHERE state IN ('thawed', 'aborted')"
					" AND ended_at < now() - make_interval(mins => greatest($1, 1))", 1, &type, &value, NULL, false);
	journal_execute("DELETE FROM @.freeze_backup WHERE state <> 'running' AND backup_label IS NULL"
					" AND ended_at < now() - make_interval(mins => greatest($1, 1))", 1, &type, &value, NULL, false);
	journal_execute("DELETE FROM @.freeze_journal_gap g WHERE NOT EXISTS"
					" (SELECT FROM @.freeze_journal j WHERE j.id = g.freeze_id)", 0, NULL, NULL, NULL, false);
	pf_spi_end(spi);
	CommitTransactionCommand();
}

/* See worker.h. */
bool
pf_is_asked_for(int64 id, const PfRequest *request)
{
	for (int i = 0; request && i < request->nids; i++)
		if (request->ids[i] == id)
			return true;
	return false;
}

/* Takes out what is published and isn't in the journal any more, for whatever reason. */
static void
withdraw(List *published, List *live)
{
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, published)
	{
		int64		id = *(int64 *) lfirst(cell);
		bool		found = false;

		foreach(other, live)
			found |= *(int64 *) lfirst(other) == id;
		if (!found)
			pf_live_forget(id);
	}
}

/*
 * pf_life_attend(), but for a request: leaves alone the freezes that it is
 * about, and does not keep it waiting for a thaw that meets an obstacle.
 */
static TimestampTz
attend(const PfRequest *request)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pg_freeze attend", ALLOCSET_DEFAULT_SIZES);
	TimestampTz next = 0;
	TimestampTz leave_until = 0;
	List	   *published;
	List	   *ids;
	ListCell   *cell;

	MemoryContextSwitchTo(context);
	/* before the journal, so that what is new there isn't taken for gone */
	published = pf_live_ids();
	/* by itself: who drops the extension locks the journal first */
	pf_begin();
	pf_backup_mark_failed();
	CommitTransactionCommand();
	pf_begin();
	MemoryContextSwitchTo(context);
	ids = journal_ids("state NOT IN ('thawed', 'aborted')", 0, NULL, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	withdraw(published, ids);

	foreach(cell, ids)
	{
		int64		id = *(int64 *) lfirst(cell);
		PfFreeze   *freeze;
		TimestampTz at;
		int			again = 0;

		if (!pf_is_asked_for(id, request) && pf_lock_freeze_nowait(id))
		{
			ErrorData  *error;

			pf_begin();
			pf_live_note(id);
			CommitTransactionCommand();
			MemoryContextSwitchTo(context);
			error = attend_locked(pf_read_freeze(id), request != NULL, &leave_until, &again);
			if (error)
				ereport(LOG,
						(errmsg("pg_freeze: freeze " INT64_FORMAT " could not be attended to: %s", id, error->message)));
		}
		else if (!pf_live_is_known(id))
			again = PUBLISH_AGAIN;
		MemoryContextSwitchTo(context);
		freeze = pf_read_freeze(id);
		at = next_time(freeze);
		if (again)
			at = Min(at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), again));
		if (at != 0 && (next == 0 || at < next))
			next = at;
	}
	pf_holder_sweep();
	pf_gate_sweep();
	pf_values_sweep();
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
	TimestampTz next = 0;

	switch (request->action)
	{
		case PF_FREEZE:
			next = attend(request);
			run_freeze(request, reply);
			break;
		case PF_THAW:
			pf_run_thaw(request, reply);
			pf_scheduler_look();
			next = attend(request);
			break;
		case PF_EXTEND:
			pf_run_extend(request, reply);
			next = attend(request);
			break;
		case PF_ALTER:
			pf_run_alter(request, reply);
			next = attend(request);
			break;
	}
	if (next != 0)
		pf_call_scheduler(next);
}
