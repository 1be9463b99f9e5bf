/*-------------------------------------------------------------------------
 *
 * thaw.c
 *	  Thawing, the verdict, and what can be changed of a live freeze.
 *
 * The steps of a thaw, each a transaction, with the freeze's work lock held:
 * state thawing; then one that looks whether the freeze was still in force,
 * puts back and writes the verdict, state thawed.  Crash between the two:
 * recovery repeats the second.  A thaw that fails stays thawing, and the
 * scheduler tries again with growing pauses.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "step.h"
#include "thaw.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#define LEAVE_WITHIN 5000		/* ms that sessions have which a strategy wants to go after the thaw */
#define LAST_RETRY (10 * 60)	/* s between two tries of a failed thaw */

/* ---- when ------------------------------------------------------------- */

/* See thaw.h. */
TimestampTz
pf_thaw_file(void)
{
	struct stat st;
	int64		us;

	if (stat(PF_THAW_FILE, &st) != 0)
		return 0;
	us = pf_stat_mtime_ns(&st) / 1000;
	/* a file system that keeps whole seconds must not make the file older than it is */
	return time_t_to_timestamptz(st.st_mtime) + (us ? us : USECS_PER_SEC - 1);
}

/* See thaw.h. */
TimestampTz
pf_deadline(TimestampTz frozen_at, TimestampTz thaw_at)
{
	TimestampTz file = pf_thaw_file();

	if (frozen_at == 0 || file < frozen_at)
		return thaw_at;
	return thaw_at == 0 ? file : Min(file, thaw_at);
}

/* ---- thawing ---------------------------------------------------------- */

static void
step_thawing(PfFreeze *freeze, void *arg)
{
	PfThaw	   *thaw = arg;

	if (thaw->decide && !thaw->reply->decide(thaw->reply))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the thaw was cancelled")));
	journal_transition(freeze, PF_THAWING, thaw->why);
}

/*
 * The verdict: true only if nothing came back and nothing leaked; false if
 * something was seen; NULL if it could have been and was not seen.  Returns
 * 't', 'f' or 'n'.  *lsn is the end of the WAL, or becomes what it was when the
 * target went on.
 */
static char
verdict(PfFreeze *freeze, XLogRecPtr *lsn, char **lost_reason, char **evidence)
{
	int64		checked = 0;
	char	   *broken;
	char	   *looked_at;
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
	if (freeze->doubt)
		appendStringInfo(&leaks, "%s%s", leaks.len ? "\n" : "", freeze->doubt);
	looked_at = freeze->strategy->evidence ? freeze->strategy->evidence(freeze, checked, lsn) :
		psprintf("%s of the target looked at", pf_objects(checked));
	*evidence = psprintf("%s, from %X/%X to %X/%X: %s; leaks: %s",
						 looked_at, LSN_FORMAT_ARGS(freeze->frozen_lsn), LSN_FORMAT_ARGS(*lsn),
						 *lost_reason ? *lost_reason : freeze->strategy->intact,
						 leaks.len ? pf_one_line(leaks.data) : "none");
	return *lost_reason ? 'f' : leaks.len ? 'n' : 't';
}

/* Whether one freeze may hold what another one has taken too. */
static bool
may_share(const PfFreeze *one, const PfFreeze *other)
{
	if (one->target.kind == other->target.kind && one->target.oid != other->target.oid)
		return false;
	return one->strategy == other->strategy || one->target.only_here || other->target.only_here;
}

/* Says which live freezes, that are not thawed by the same request, still cover the target of one that was thawed. */
static void
tell_others(PfFreeze *freeze, int64 passed, const PfRequest *request, PfReply *reply)
{
	ListCell   *cell;

	foreach(cell, journal_live_others(freeze->id))
	{
		PfFreeze   *other = lfirst(cell);
		bool		same = other->target.kind == freeze->target.kind && other->target.oid == freeze->target.oid;
		bool		shares = passed > 0 && may_share(freeze, other);

		if ((!same && !shares) || pf_is_asked_for(other->id, request))
			continue;
		reply->notice(reply, NOTICE,
					  psprintf("%s of %s (freeze " INT64_FORMAT " by %s, %s) is still in force",
							   same ? "another freeze" : "the freeze", pf_target_text(&other->target), other->id,
							   other->owner_name, other->thaw_at ? psprintf("until %s", timestamptz_to_str(other->thaw_at)) : "no deadline"),
					  shares ? psprintf("%s of this one stay%s frozen for others.", pf_objects(passed), passed == 1 ? "s" : "") : NULL,
					  NULL);
	}
}

/* Puts back, writes the verdict and the end; in a transaction. */
static void
step_thawed(PfFreeze *freeze, void *arg)
{
	PfThaw	   *thaw = arg;
	PfRestore	restore = {0};
	XLogRecPtr	lsn = pf_wal_end();
	char	   *lost_reason;
	char	   *evidence;
	char		held;
	Oid			types[7] = {BOOLOID, TEXTOID, TEXTOID, PG_LSNOID, INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum		values[7];
	char		nulls[8] = "       ";
	TimestampTz now;
	MemoryContext old;

	journal_lock_changes();
	freeze->gap = journal_read(freeze->id)->gap;
	held = verdict(freeze, &lsn, &lost_reason, &evidence);
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
	now = GetCurrentTimestamp();
	values[6] = TimestampTzGetDatum(now);
	journal_set(freeze->id, "held = $2, lost_reason = $3, evidence = $4, thawed_lsn = $5, restored = $6,"
				" skipped = $7, thawed_at = $8, retry_at = NULL, last_error = NULL", 7, types, values, nulls);
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
	thaw->row[7] = pstrdup(timestamptz_to_str(now));
	thaw->row[8] = psprintf("%X/%X", LSN_FORMAT_ARGS(freeze->frozen_lsn));
	thaw->row[9] = psprintf("%X/%X", LSN_FORMAT_ARGS(lsn));
	thaw->row[10] = psprintf(INT64_FORMAT, restore.restored);
	thaw->row[11] = psprintf(INT64_FORMAT, restore.skipped);
	MemoryContextSwitchTo(old);
}

/* Tells the caller what step_thawed() did; in a transaction. */
static void
tell_thawed(PfFreeze *freeze, PfThaw *thaw)
{
	if (thaw->restore.skipped > 0)
		thaw->reply->notice(thaw->reply, WARNING,
							psprintf("%s was thawed, but not as it was before: %s skipped",
									 pf_target_text(&freeze->target), pf_objects(thaw->restore.skipped)),
							NULL, psprintf("SELECT * FROM %s.freeze_changes WHERE id = " INT64_FORMAT ";", journal_schema(), freeze->id));
	tell_others(freeze, thaw->restore.passed, thaw->request, thaw->reply);
	thaw->reply->row(thaw->reply, PF_VERDICT_COLUMNS, thaw->row);
}

/* See thaw.h. */
bool
pf_may_end(const PfFreeze *freeze, Oid role)
{
	if (superuser_arg(role))
		return true;
	/* OIDs of another cluster's roles say nothing here */
	return freeze->same_cluster ? freeze->owner == role :
		strcmp(freeze->owner_name, GetUserNameFromId(role, false)) == 0;
}

/* See thaw.h. */
void
pf_check_may_end(const PfFreeze *freeze, Oid role)
{
	if (!pf_may_end(freeze, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("freeze " INT64_FORMAT " is not yours", freeze->id),
				 errdetail("It was made by %s%s.", quote_identifier(freeze->owner_name),
						   freeze->home != MyDatabaseId && get_database_name(freeze->home) ?
						   psprintf(" in database %s", quote_identifier(get_database_name(freeze->home))) : ""),
				 errhint("A superuser, or whoever made it, may do that.")));
}

/* The same in a worker, which is asked from another session, perhaps in another database. */
static void
check_asker(const PfFreeze *freeze, Oid role)
{
	MemoryContext context = CurrentMemoryContext;

	pf_begin();
	pf_check_may_end(freeze, role);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* See thaw.h. */
void
pf_check_in_hold(const PfFreeze *freeze)
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

/* In ms, for PfStrategy.released: all that are thawed together share it. */
static int
patience_left(PfThaw *thaw)
{
	TimestampTz now = GetCurrentTimestamp();

	if (thaw->impatient)
		return 0;
	if (*thaw->leave_until == 0)
		*thaw->leave_until = TimestampTzPlusMilliseconds(now, LEAVE_WITHIN);
	return Max((int) ((*thaw->leave_until - now) / 1000), 1);
}

/* The work lock is held; the freeze is frozen, lost or thawing. */
static void
thaw_locked(PfFreeze *freeze, PfThaw *thaw)
{
	if (freeze->strategy->open)
		freeze->strategy->open(freeze->id);
	if (freeze->state != PF_THAWING)
	{
		pf_run_step(freeze, step_thawing, thaw, 0);
		thaw->decide = false;
	}
	PF_INJECTION_POINT("pg-freeze-thawing");
	pf_run_step(freeze, step_thawed, thaw, thaw->impatient ? 0 : PF_PATIENCE);
	PF_INJECTION_POINT("pg-freeze-thawed");
	if (freeze->strategy->settle)
		freeze->strategy->settle(freeze->id);
	if (thaw->reply)
	{
		pf_begin();
		tell_thawed(freeze, thaw);
		CommitTransactionCommand();
	}
	/* where another freeze holds all of it nothing has changed */
	if (freeze->strategy->released && !freeze->is_copy && (thaw->restore.passed == 0 || thaw->restore.restored > 0))
		freeze->strategy->released(freeze, thaw->request ? thaw->request->caller.pid : 0, patience_left(thaw), thaw->reply);
}

/* Notes that a thaw failed and when to try again. */
static void
thaw_failed(PfFreeze *freeze, const ErrorData *error)
{
	int			pause = Min(1 << Min(freeze->thaw_failures, 10), LAST_RETRY);
	TimestampTz retry = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause * 1000L);
	Oid			types[2] = {TIMESTAMPTZOID, TEXTOID};
	Datum		values[2];

	pf_begin();
	values[0] = TimestampTzGetDatum(retry);
	values[1] = CStringGetTextDatum(error->message);
	journal_set(freeze->id, "thaw_failures = thaw_failures + 1, retry_at = $2, last_error = $3",
				2, types, values, NULL);
	CommitTransactionCommand();
	ereport(LOG,
			(errmsg("pg_freeze: thaw of freeze " INT64_FORMAT " failed, next try at %s: %s",
					freeze->id, timestamptz_to_str(retry), error->message)));
}

/* See thaw.h. */
ErrorData *
pf_try_thaw(int64 id, PfThaw *thaw)
{
	MemoryContext context = CurrentMemoryContext;
	PfFreeze   *volatile freeze = NULL;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		freeze = pf_read_freeze(id);
		if (OidIsValid(thaw->by))
			check_asker(freeze, thaw->by);
		pf_check_in_hold(freeze);
		thaw_locked(freeze, thaw);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		pf_abort();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (error && freeze && freeze->state == PF_THAWING)
		thaw_failed(freeze, error);
	return error;
}

/*
 * The verdict of a freeze that somebody else has come to write down the thaw
 * of, the scheduler say.  False: it is live, or was never frozen.
 */
static bool
tell_over(int64 id, Oid asker, PfReply *reply)
{
	PfFreeze   *freeze = pf_read_freeze(id);
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	char	   *row[12] = {psprintf(INT64_FORMAT, id), pf_target_text(&freeze->target), unconstify(char *, freeze->strategy->name)};
	PfSpi		spi;

	if (freeze->state != PF_THAWED)
		return false;
	pf_begin();
	pf_check_may_end(freeze, asker);
	spi = pf_spi_begin();
	journal_execute("SELECT held, lost_reason, evidence, frozen_at, thawed_at, frozen_lsn, thawed_lsn, restored, skipped"
					" FROM @.freeze_journal WHERE id = $1", 1, &type, &value, NULL, true);
	for (int i = 3; i < (int) lengthof(row); i++)
		row[i] = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i - 2);
	reply->row(reply, lengthof(row), row);
	pf_spi_end(spi);
	CommitTransactionCommand();
	return true;
}

void
pf_run_thaw(const PfRequest *request, PfReply *reply)
{
	TimestampTz leave_until = 0;
	PfThaw		thaw = {
		.why = psprintf("thawed by %s", NameStr(request->caller.role_name)),.by = request->caller.role,.reply = reply,
		.request = request,.decide = !request->opened,.leave_until = &leave_until,.context = CurrentMemoryContext
	};
	ErrorData  *first = NULL;

	/* one that fails doesn't keep the others frozen */
	for (int i = 0; i < request->nids; i++)
	{
		ErrorData  *error = NULL;

		pf_lock_freeze(request->ids[i]);
		if (!request->opened || !tell_over(request->ids[i], request->caller.role, reply))
			error = pf_try_thaw(request->ids[i], &thaw);
		pf_unlock_freeze(request->ids[i]);
		if (first == NULL)
			first = error;
		if (error && !request->opened && reply->cancelled(reply))
			break;
	}
	if (first)
	{
		/* what is left to try again is the scheduler's, whoever has cancelled */
		pf_worker_ignore_cancel(true);
		pf_call_scheduler(GetCurrentTimestamp());
		ReThrowError(first);
	}
}

/* See thaw.h. */
void
pf_thaw_here(const PfRequest *request, PfReply *reply)
{
	PfThaw		thaw = {
		.why = psprintf("thawed by %s", NameStr(request->caller.role_name)),.reply = reply,.request = request,
		.context = CurrentMemoryContext
	};

	for (int i = 0; i < request->nids; i++)
	{
		PfFreeze   *freeze;

		journal_lock_for_transaction(request->ids[i]);
		journal_await_changes();
		freeze = journal_read_existing(request->ids[i]);
		pf_check_in_hold(freeze);
		step_thawed(freeze, &thaw);
		if (freeze->strategy->settle_at_commit)
			freeze->strategy->settle_at_commit(freeze->id);
		if (freeze->strategy->released)
			freeze->strategy->released(freeze, 0, -1, reply);
		tell_thawed(freeze, &thaw);
	}
}

/* ---- changes ---------------------------------------------------------- */

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
step_alter(PfFreeze *freeze, void *arg)
{
	const PfRequest *request = arg;
	const char *action = pf_action_name(request->options.action);
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(action);

	if (freeze->strategy->alter == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " cannot be altered", freeze->id),
				 errdetail("Strategy %s can only %s.", freeze->strategy->name, freeze->strategy->rejects ? "reject" : "let wait")));
	freeze->action = request->options.action;
	journal_set(freeze->id, "action = $2", 1, &type, &value, NULL);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " now has action %s, by %s", freeze->id, action,
					NameStr(request->caller.role_name))));
}

/* Changes the row of a freeze, whose work lock it takes and keeps. */
static PfFreeze *
change(const PfRequest *request, PfReply *reply, PfStepFunc step)
{
	PfFreeze   *freeze;

	pf_lock_freeze(request->ids[0]);
	freeze = pf_read_freeze(request->ids[0]);
	check_asker(freeze, request->caller.role);
	pf_check_in_hold(freeze);
	if (freeze->state == PF_THAWING || (freeze->strategy->gone_on && freeze->strategy->gone_on(freeze) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " is being thawed", freeze->id)));
	if (!reply->decide(reply))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the freeze was not changed")));
	pf_run_step(freeze, step, unconstify(PfRequest *, request), PF_PATIENCE);
	return freeze;
}

void
pf_run_alter(const PfRequest *request, PfReply *reply)
{
	PfFreeze   *freeze = change(request, reply, step_alter);

	freeze->strategy->alter(freeze->id, freeze->action);
	pf_unlock_freeze(freeze->id);
}

void
pf_run_extend(const PfRequest *request, PfReply *reply)
{
	PfFreeze   *freeze = change(request, reply, step_extend);
	char	   *at;

	if (freeze->strategy->deadline)
		freeze->strategy->deadline(freeze->id, freeze->thaw_at);
	pf_unlock_freeze(freeze->id);
	at = freeze->thaw_at ? pstrdup(timestamptz_to_str(freeze->thaw_at)) : NULL;
	reply->row(reply, 1, &at);
}
