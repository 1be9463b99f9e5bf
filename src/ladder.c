/*-------------------------------------------------------------------------
 *
 * ladder.c
 *	  Waiting for those who are in the way of a freeze, and the ladder that
 *	  ends them.
 *
 * pf_drain() runs in the worker that makes a freeze, in short transactions,
 * and holds nothing between two looks.  freeze_drain() climbs the same ladder
 * in the caller's backend.
 *
 * Where sessions are recycled, those that are idle are ended at every look, and
 * in the second half of drain_timeout those that have begun another transaction
 * since the door was closed: a session with one after the other may never be
 * seen between two.
 * The rungs come once drain_timeout is over, as far as on_drain_timeout says:
 * sessions that are idle in a transaction, cancel, terminate.  Each gives time
 * before the next, unless there is nobody whom it reaches.
 *
 * Who is signalled is written down first and committed, then looked at again:
 * a pid that another session has got meanwhile differs in backend_start, and
 * who has done what we wait for has another transaction, or none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "drain.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "sessions.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define FIRST_PAUSE		10		/* ms */
#define LONGEST_PAUSE	200		/* ms */
#define SUPERVISE_EVERY	20		/* ms between looks at a strategy that drains by itself */
#define LISTED			20		/* signalled sessions in a message */
#define PERSIST_EVERY	500		/* ms between the last rung and the last rung, at least */

/* A session that was ended, so as not to do it, or say so, twice. */
typedef struct Ended
{
	int			pid;
	TimestampTz backend_start;
	PfRung		rung;
	TimestampTz at;
} Ended;

/* ---- rungs -------------------------------------------------------------- */

/* See drain.h.  As freeze_journal_session has them. */
const char *
pf_rung_name(PfRung rung)
{
	static const char *const names[] = {"none", "idle", "idle in transaction", "cancel", "terminate"};

	return names[rung];
}

static bool
terminates(PfRung rung)
{
	return rung != PF_RUNG_CANCEL;
}

/* See drain.h.  A cancel does nothing to a session that waits for its client. */
bool
pf_rung_reaches(PfRung rung, const PfBlocker *blocker, const PfOptions *options)
{
	if (!blocker->signalable || (blocker->superuser && !options->superusers))
		return false;
	switch (rung)
	{
		case PF_RUNG_NONE:
			break;
		case PF_RUNG_IDLE:
			return blocker->state && strcmp(blocker->state, "idle") == 0 &&
				TimestampDifferenceExceeds(blocker->state_change, GetCurrentTimestamp(), options->idle_wait);
		case PF_RUNG_IDLE_IN_TRANSACTION:
			return blocker->state && strncmp(blocker->state, "idle in transaction", 19) == 0;
		case PF_RUNG_CANCEL:
			return blocker->backend_start != 0 &&
				(blocker->state == NULL || strncmp(blocker->state, "idle", 4) != 0);
		case PF_RUNG_TERMINATE:
			return true;
	}
	return false;
}

static int
time_of(PfRung rung, const PfOptions *options)
{
	return rung == PF_RUNG_IDLE_IN_TRANSACTION ? options->idle_in_transaction_wait :
		rung == PF_RUNG_CANCEL ? options->cancel_wait : options->terminate_wait;
}

static PfRung
next_rung(PfRung rung, const PfOptions *options)
{
	bool		terminate = options->persist || options->on_drain_timeout == PF_DRAIN_TERMINATE;

	if (rung == PF_RUNG_NONE)
		return terminate ? PF_RUNG_IDLE_IN_TRANSACTION :
			options->on_drain_timeout == PF_DRAIN_CANCEL ? PF_RUNG_CANCEL : PF_RUNG_NONE;
	if (rung == PF_RUNG_IDLE_IN_TRANSACTION)
		return PF_RUNG_CANCEL;
	if (rung == PF_RUNG_CANCEL && terminate)
		return PF_RUNG_TERMINATE;
	return options->persist ? PF_RUNG_TERMINATE : PF_RUNG_NONE;
}

/* ---- signals ------------------------------------------------------------ */

static Ended *
has_ended(PfLadder *ladder, const PfBlocker *blocker, PfRung rung)
{
	ListCell   *lc;

	foreach(lc, ladder->ended)
	{
		Ended	   *ended = lfirst(lc);

		if (ended->pid == blocker->pid && ended->backend_start == blocker->backend_start && ended->rung == rung)
			return ended;
	}
	return NULL;
}

/* Whether a session was ended while it was idle, and has time to go yet. */
static bool
is_going(PfLadder *ladder, const PfBlocker *blocker)
{
	Ended	   *ended = has_ended(ladder, blocker, PF_RUNG_IDLE);

	return ended && !TimestampDifferenceExceeds(ended->at, GetCurrentTimestamp(), ladder->options->terminate_wait);
}

static void
note_signalled(PfLadder *ladder, const PfBlocker *blocker, PfRung rung)
{
	MemoryContext old = MemoryContextSwitchTo(ladder->context);
	bool		again = has_ended(ladder, blocker, rung) != NULL;

	if (terminates(rung) && !again)
	{
		Ended	   *ended = palloc(sizeof(Ended));

		ended->pid = blocker->pid;
		ended->backend_start = blocker->backend_start;
		ended->rung = rung;
		ended->at = GetCurrentTimestamp();
		ladder->ended = lappend(ladder->ended, ended);
	}
	if (!again)
		ereport(LOG,
				(errmsg("pg_freeze: %s %s session %d of role %s: %s",
						ladder->name, terminates(rung) ? "terminated" : "cancelled", blocker->pid,
						blocker->role ? quote_identifier(blocker->role) : "that is not known", blocker->what)));
	if (ladder->signalled_one)
		ladder->signalled_one(ladder, blocker, rung);
	if (rung == PF_RUNG_IDLE)
		ladder->idle++;
	else if (!again)
	{
		if (ladder->nsignalled++ < LISTED)
			appendStringInfo(&ladder->signalled, "%ssession %d %s", ladder->signalled.len > 0 ? ", " : "",
							 blocker->pid, terminates(rung) ? "terminated" : "cancelled");
	}
	MemoryContextSwitchTo(old);
}

/*
 * $1 pids, $2 and $3 when they and their transactions began, $4 must be idle for
 * that many ms, or in a transaction that began after $5.  The signal comes in the
 * list of results, when all conditions have been looked at.
 */
#define STILL_SQL \
	"WITH still AS MATERIALIZED (\n" \
	"	SELECT b.n, b.pid, coalesce(s.xact_start > $5, false) AS later\n" \
	"	FROM unnest($1, $2, $3) WITH ORDINALITY AS b (pid, backend_start, xact_start, n)\n" \
	"		LEFT JOIN pg_stat_activity s ON s.pid = b.pid\n" \
	"	WHERE CASE WHEN b.backend_start IS NULL THEN s.pid IS NULL OR s.state = 'starting'\n" \
	"		ELSE s.backend_start = b.backend_start AND (s.xact_start IS NOT DISTINCT FROM b.xact_start OR s.xact_start > $5) END\n" \
	"		AND ($4 IS NULL OR s.state = 'disabled' OR s.xact_start > $5 OR s.state = 'idle' AND s.state_change <= clock_timestamp() - $4 * interval '1 ms'))\n"
#define SIGNAL_SQL(function) \
	STILL_SQL "SELECT n FROM (SELECT n, " function " (pid) AS sent FROM still OFFSET 0) AS signalled WHERE sent"

/*
 * Ends a session that is idle, unless it has begun a transaction since that was
 * looked at.  What is left is the moment that a signal takes.
 */
static bool
end_idle(int pid)
{
	return pf_is_between_transactions(pid) && kill(pid, SIGTERM) == 0;
}

static void
signal_all(PfLadder *ladder, List *blockers, PfRung rung)
{
	Oid			types[] = {INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT4OID, TIMESTAMPTZOID};
	int			n = list_length(blockers);
	Datum	   *columns[3];
	bool	   *isnull[3];
	Datum		values[5];
	char		nulls[6] = "     ";
	int			dim = n;
	int			lower = 1;
	PfSpi		spi;

	for (int i = 0; i < 3; i++)
	{
		columns[i] = palloc(sizeof(Datum) * n);
		isnull[i] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		PfBlocker  *blocker = list_nth(blockers, i);

		columns[0][i] = Int32GetDatum(blocker->pid);
		columns[1][i] = TimestampTzGetDatum(blocker->backend_start);
		isnull[1][i] = blocker->backend_start == 0;
		columns[2][i] = TimestampTzGetDatum(blocker->since);
		isnull[2][i] = blocker->since == 0;
	}
	for (int i = 0; i < 3; i++)
		values[i] = PointerGetDatum(construct_md_array(columns[i], isnull[i], 1, &dim, &lower,
													   i == 0 ? INT4OID : TIMESTAMPTZOID, i == 0 ? 4 : 8,
													   i == 0 ? true : FLOAT8PASSBYVAL,
													   i == 0 ? TYPALIGN_INT : TYPALIGN_DOUBLE));
	values[3] = Int32GetDatum(ladder->options->idle_wait);
	nulls[3] = rung == PF_RUNG_IDLE ? ' ' : 'n';
	values[4] = TimestampTzGetDatum(ladder->closed_at);
	nulls[4] = rung == PF_RUNG_IDLE && ladder->closed_at != 0 && ladder->late ? ' ' : 'n';
	pgstat_clear_backend_activity_snapshot();
	spi = pf_spi_begin();
	journal_execute(rung == PF_RUNG_IDLE ? STILL_SQL "SELECT n, later FROM still" :
					terminates(rung) ? SIGNAL_SQL("pg_terminate_backend") : SIGNAL_SQL("pg_cancel_backend"),
					5, types, values, nulls, false);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		null;
		int64		which = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
		PfBlocker  *blocker = list_nth(blockers, which - 1);

		if (rung == PF_RUNG_IDLE &&
			!(DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &null)) ?
			  kill(blocker->pid, SIGTERM) == 0 : end_idle(blocker->pid)))
			continue;
		note_signalled(ladder, blocker, rung);
	}
	pf_spi_end(spi);
}

/* Whether a session that is to go has begun another transaction instead. */
static bool
goes_on(PfLadder *ladder, const PfBlocker *blocker)
{
	return ladder->late && ladder->closed_at != 0 && blocker->since > ladder->closed_at && pf_rung_reaches(PF_RUNG_TERMINATE, blocker, ladder->options);
}

/* Whom a rung reaches; at rung idle not again. */
static List *
reached(PfLadder *ladder, List *blockers, PfRung rung)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, blockers)
		if (rung != PF_RUNG_IDLE ? pf_rung_reaches(rung, lfirst(lc), ladder->options) :
			(pf_rung_reaches(rung, lfirst(lc), ladder->options) || goes_on(ladder, lfirst(lc))) && !has_ended(ladder, lfirst(lc), rung))
			result = lappend(result, lfirst(lc));
	return result;
}

/* Those who are not about to go. */
static List *
staying(PfLadder *ladder, List *blockers)
{
	MemoryContext old = MemoryContextSwitchTo(ladder->round);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, blockers)
		if (!is_going(ladder, lfirst(lc)))
			result = lappend(result, lfirst(lc));
	MemoryContextSwitchTo(old);
	return result;
}

static void
begin(PfLadder *ladder)
{
	ladder->begin(ladder);
	MemoryContextSwitchTo(ladder->round);
}

static void
end(PfLadder *ladder)
{
	ladder->end(ladder);
	MemoryContextSwitchTo(ladder->context);
}

/* Does what a rung does; the blockers live in ladder->round.  False: nobody is in its reach. */
static bool
climb(PfLadder *ladder, List *blockers, PfRung rung)
{
	List	   *whom;
	List	   *new = NIL;
	ListCell   *lc;

	MemoryContextSwitchTo(ladder->round);
	whom = reached(ladder, blockers, rung);
	if (whom == NIL)
	{
		MemoryContextSwitchTo(ladder->context);
		return false;
	}
	foreach(lc, whom)
		if (!has_ended(ladder, lfirst(lc), rung))
			new = lappend(new, lfirst(lc));
	if (new != NIL)
	{
		begin(ladder);
		ladder->write_down(ladder, new, rung);
		end(ladder);
		PF_INJECTION_POINT("pg-freeze-signal");
	}
	begin(ladder);
	signal_all(ladder, whom, rung);
	end(ladder);
	return true;
}

static List *
look(PfLadder *ladder)
{
	List	   *blockers;

	MemoryContextReset(ladder->round);
	begin(ladder);
	blockers = ladder->look(ladder);
	end(ladder);
	return blockers;
}

/* ---- the climb ----------------------------------------------------------- */

/* See drain.h. */
bool
pf_ladder_climb(PfLadder *ladder)
{
	const PfOptions *options = ladder->options;
	MemoryContext outer = CurrentMemoryContext;
	double		longest_pause = ladder->supervises ? SUPERVISE_EVERY : LONGEST_PAUSE;
	double		pause = FIRST_PAUSE;
	double		limit = options->drain_timeout;
	bool		said = options->log_after < 0;
	instr_time	start;
	bool		result = false;

	ladder->context = AllocSetContextCreate(outer, "pg_freeze ladder", ALLOCSET_DEFAULT_SIZES);
	ladder->round = AllocSetContextCreate(ladder->context, "pg_freeze ladder round", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(ladder->context);
	initStringInfo(&ladder->signalled);
	INSTR_TIME_SET_CURRENT(start);

	for (;;)
	{
		List	   *blockers = ladder->over ? NIL : look(ladder);
		instr_time	now;
		double		elapsed;
		double		wait;

		result = ladder->over ? ladder->over(ladder) : blockers == NIL;
		if (result || ladder->cancelled(ladder))
			break;

		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
		elapsed = INSTR_TIME_GET_MILLISEC(now);
		ladder->late = options->drain_timeout > 0 && elapsed >= options->drain_timeout / 2.0;
		if (ladder->recycles && climb(ladder, blockers, PF_RUNG_IDLE))
			pause = FIRST_PAUSE;
		if (!said && elapsed >= options->log_after)
		{
			if (ladder->over)
				blockers = look(ladder);
			if (blockers != NIL)
				ereport(LOG,
						(errmsg("pg_freeze: %s waits for: %s", ladder->name, pf_drain_describe(blockers))));
			said = blockers != NIL;
		}
		wait = pause;
		if (elapsed >= limit)
		{
			bool		nobody;

			if (ladder->over)
				blockers = look(ladder);
			nobody = blockers == NIL;
			blockers = staying(ladder, blockers);
			while (nobody || blockers != NIL)
			{
				PfRung		rung = next_rung(ladder->rung, options);

				if (rung == PF_RUNG_NONE)
				{
					ladder->give_up(ladder, blockers);
					goto done;
				}
				/* there may be nobody just now who keeps on coming */
				if (climb(ladder, blockers, rung) || nobody || rung == ladder->rung)
				{
					int			time = time_of(rung, options);

					if (rung == ladder->rung)
						time = Max(time, PERSIST_EVERY);
					ladder->rung = rung;
					ladder->waited += time;
					limit = elapsed + time;
					wait = pause = FIRST_PAUSE;
					break;
				}
				ladder->rung = rung;
			}
		}
		else
			wait = Min(pause, limit - elapsed);
		if (!said)
			wait = Min(wait, Max(options->log_after - elapsed, FIRST_PAUSE));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) Max(wait, 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pause = Min(pause * 2, longest_pause);
	}

done:
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(ladder->context);
	return result;
}

/* ---- the drain of a freeze ------------------------------------------------ */

/* What the functions of pf_drain()'s ladder need. */
typedef struct Drain
{
	PfFreeze   *freeze;
	PfReply    *reply;
	ArrayType  *in_progress;	/* text[] of virtual transaction ids */
	ArrayType  *there;			/* int4[] of pids, where sessions are recycled */
	int			caller;			/* of a thaw */
} Drain;

static void
begin_transaction(PfLadder *ladder)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
}

static void
end_transaction(PfLadder *ladder)
{
	CommitTransactionCommand();
}

static List *
look_at_freeze(PfLadder *ladder)
{
	Drain	   *drain = ladder->arg;
	PfFreeze   *freeze = drain->freeze;

	if (freeze->strategy->blockers)
		return freeze->strategy->blockers(&freeze->target, freeze->id);
	if (ladder->recycles)
		return pf_sessions_left(freeze->strategy, &freeze->target, freeze->id,
								freeze->superusers, freeze->keep_read_only, drain->there);
	return pf_drain_writers(&freeze->target, freeze->id, NULL, drain->in_progress);
}

static bool
freeze_drained(PfLadder *ladder)
{
	PfFreeze   *freeze = ((Drain *) ladder->arg)->freeze;

	return freeze->strategy->drained(freeze);
}

static bool
freeze_cancelled(PfLadder *ladder)
{
	PfReply    *reply = ((Drain *) ladder->arg)->reply;

	return reply->cancelled(reply);
}

static void
write_in_journal(PfLadder *ladder, List *blockers, PfRung rung)
{
	PfFreeze   *freeze = ((Drain *) ladder->arg)->freeze;
	Oid			count_types[] = {INT8OID, INT4OID};
	Datum		count_values[2];
	PfSpi		spi = pf_spi_begin();
	ListCell   *lc;

	foreach(lc, blockers)
	{
		PfBlocker  *blocker = lfirst(lc);
		Oid			types[] = {INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
		char	   *texts[] = {blocker->role, blocker->application, blocker->address, blocker->query};
		Datum		values[7];
		char		nulls[8] = "       ";

		values[0] = Int64GetDatum(freeze->id);
		values[1] = CStringGetTextDatum(pf_rung_name(rung));
		values[2] = Int32GetDatum(blocker->pid);
		for (int i = 0; i < 4; i++)
		{
			values[3 + i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
			nulls[3 + i] = texts[i] ? ' ' : 'n';
		}
		journal_execute("INSERT INTO @.freeze_journal_session "
						"(freeze_id, rung, pid, session_user_name, application, address, query) "
						"VALUES ($1, $2, $3, $4, $5, $6, $7)",
						7, types, values, nulls, false);
	}
	count_values[0] = Int64GetDatum(freeze->id);
	count_values[1] = Int32GetDatum(list_length(blockers));
	journal_execute(terminates(rung) ?
					"UPDATE @.freeze_journal SET terminated = terminated + $2 WHERE id = $1" :
					"UPDATE @.freeze_journal SET cancelled = cancelled + $2 WHERE id = $1",
					2, count_types, count_values, NULL, false);
	pf_spi_end(spi);
}

static char *
duration(int ms)
{
	return ms < 1000 ? psprintf("%d ms", ms) : psprintf("%g s", ms / 1000.0);
}

/* Who was signalled, for DETAIL; "" if nobody. */
static char *
before_that(PfLadder *ladder)
{
	StringInfoData text;

	initStringInfo(&text);
	if (ladder->idle)
		appendStringInfo(&text, "%d idle session%s ended", ladder->idle, ladder->idle == 1 ? "" : "s");
	if (ladder->nsignalled)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", ladder->signalled.data);
	if (ladder->nsignalled > LISTED)
		appendStringInfo(&text, ", and %d more", ladder->nsignalled - LISTED);
	return text.data;
}

static void
give_up_freeze(PfLadder *ladder, List *blockers)
{
	static const char *const wait_for_them =
	"Wait for them to end and try again, give more time with drain_timeout, or let pg_freeze do it: on_drain_timeout => 'cancel' cancels statements, 'terminate' ends sessions too.";
	static const char *const terminate =
	"A session that is idle in a transaction cannot be cancelled: end it yourself, or use on_drain_timeout => 'terminate'.";
	static const char *const end_them =
	"Sessions of superusers, prepared transactions and what does not react are not ended by pg_freeze: end them yourself and try again.";
	PfTarget   *target = &((Drain *) ladder->arg)->freeze->target;
	char	   *within = duration(ladder->options->drain_timeout + ladder->waited);
	char	   *before = before_that(ladder);
	int			count = list_length(blockers);
	int			prepared = 0;
	bool		signalable = false;
	const char *what;
	ListCell   *lc;

	foreach(lc, blockers)
	{
		PfBlocker  *blocker = lfirst(lc);

		if (blocker->pid == 0)
			prepared++;
		if (pf_rung_reaches(PF_RUNG_TERMINATE, blocker, ladder->options))
			signalable = true;
	}
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("%s could not be frozen within %s", pf_target_text(target), within),
				 errdetail("Nobody stays in the way for long, but there was no moment at which nobody was."),
				 errhint("Give more time with drain_timeout, or several attempts.")));
	what = prepared == 0 ? "session" : prepared == count ? "prepared transaction" : "transaction";

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("%s could not be frozen: %d %s%s did not finish within %s",
					pf_target_text(target), count, what, count == 1 ? "" : "s", within),
			 before[0] == '\0' ?
			 errdetail("In flight: %s.", pf_drain_describe(blockers)) :
			 errdetail("In flight: %s. Before that: %s.", pf_drain_describe(blockers), before),
			 errhint("%s", !signalable || ladder->rung == PF_RUNG_TERMINATE ? end_them :
					 ladder->rung == PF_RUNG_NONE ? wait_for_them : terminate)));
}

/* See drain.h. */
bool
pf_drain(PfFreeze *freeze, const PfOptions *options, PfReply *reply)
{
	MemoryContext context = CurrentMemoryContext;
	Drain		drain = {.freeze = freeze,.reply = reply};
	PfLadder	ladder = {
		.options = options,
		.name = psprintf("freeze " INT64_FORMAT, freeze->id),
		.recycles = freeze->strategy->recycles,
		.supervises = freeze->strategy->drained != NULL,
		.arg = &drain,
		.begin = begin_transaction,
		.end = end_transaction,
		.look = look_at_freeze,
		.over = freeze->strategy->drained ? freeze_drained : NULL,
		.cancelled = freeze_cancelled,
		.write_down = write_in_journal,
		.give_up = give_up_freeze
	};

	if (freeze->strategy->recycles)
	{
		drain.there = pf_sessions_there();
		ladder.closed_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), options->idle_wait);
	}
	else
	{
		begin_transaction(&ladder);
		MemoryContextSwitchTo(context);
		drain.in_progress = pf_drain_in_progress();
		end_transaction(&ladder);
		MemoryContextSwitchTo(context);
	}
	return pf_ladder_climb(&ladder);
}

/* ---- after the thaw ------------------------------------------------------- */

static List *
look_at_newcomers(PfLadder *ladder)
{
	Drain	   *drain = ladder->arg;
	PfFreeze   *freeze = drain->freeze;
	List	   *newcomers = NIL;
	ListCell   *lc;

	foreach(lc, pf_sessions_left(freeze->strategy, &freeze->target, freeze->id, false, false, drain->there))
	{
		PfBlocker  *session = lfirst(lc);

		if (session->pid != 0 && session->pid != drain->caller &&
			(session->backend_start == 0 || session->backend_start >= freeze->engaged_at))
			newcomers = lappend(newcomers, session);
	}
	return newcomers;
}

static bool
never_cancelled(PfLadder *ladder)
{
	return false;
}

static void
leave_them(PfLadder *ladder, List *blockers)
{
}

/* See drain.h. */
int
pf_drain_newcomers(PfFreeze *freeze, int caller, int patience)
{
	MemoryContext context = CurrentMemoryContext;
	PfOptions	options = {.drain_timeout = patience,.log_after = -1};
	Drain		drain = {.freeze = freeze,.caller = caller,.there = pf_sessions_there()};
	PfLadder	ladder = {
		.options = &options,
		.name = psprintf("thaw of freeze " INT64_FORMAT, freeze->id),
		.recycles = true,
		.closed_at = GetCurrentTimestamp(),
		.arg = &drain,
		.begin = begin_transaction,
		.end = end_transaction,
		.look = look_at_newcomers,
		.cancelled = never_cancelled,
		.write_down = write_in_journal,
		.give_up = leave_them
	};
	int			left;

	(void) pf_ladder_climb(&ladder);
	begin_transaction(&ladder);
	left = pf_sessions_newcomers(freeze, drain.there);
	end_transaction(&ladder);
	MemoryContextSwitchTo(context);
	return left;
}
