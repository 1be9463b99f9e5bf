/*-------------------------------------------------------------------------
 *
 * stop.c
 *	  stop_role: the command for three in the morning.
 *
 * Two freezes with one label: a gate, where pg_freeze is preloaded, so that at
 * once nothing of the role goes on, not even through its members; then a
 * disconnect, which keeps the role out and ends its sessions, and doesn't give
 * up.  It is the second that counts: a gate that can't be had is a WARNING.
 *
 * Runs in the caller, who asks a worker for one after the other.  Whatever ends
 * the second before it is frozen (an error, a cancel, the end of this session)
 * thaws the first.  If the server dies in between, or this session before it
 * has heard of the gate, that stays: the journal has it with the label, and the
 * role stays stopped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "arguments.h"
#include "board.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "gates.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "scheduler.h"
#include "step.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "values.h"

PG_FUNCTION_INFO_V1(stop_role);

#define GATE_PATIENCE 1000		/* ms that commits under way have at least until the gate is closed */

/* What a request of this file is about and what came of it. */
typedef struct Step
{
	PfRequest  *request;
	PfReply		reply;
	char	   *id;				/* of the freeze, NULL: none */
} Step;

/* The NOTICE of a freeze is left out: in the end there is one for both. */
static void
pass_on(PfReply *reply, int elevel, const char *message, const char *detail, const char *hint)
{
	if (elevel > NOTICE)
		pf_caller_notice(reply, elevel, message, detail, hint);
}

static Step *
make_step(PfAction action)
{
	Step	   *step = palloc0(sizeof(Step));

	step->request = palloc0(offsetof(PfRequest, ids) + sizeof(int64));
	step->request->action = action;
	step->request->database = MyDatabaseId;
	step->request->caller = pf_this_caller();
	step->reply.row = pf_value_row;
	step->reply.notice = pass_on;
	step->reply.arg = &step->id;
	return step;
}

static Step *
freeze_step(const PfStrategy *strategy, const PfTarget *target, const char *label, const char *reason)
{
	Step	   *step = make_step(PF_FREEZE);
	PfRequest  *request = step->request;

	request->target = *target;
	namestrcpy(&request->strategy, strategy->name);
	strlcpy(request->why, "stop_role", sizeof(request->why));
	request->options = pf_options_of_settings(strategy);
	request->options.thaw_after = 0;
	request->options.on_leak = PF_LEAK_WARN;
	request->options.action = PF_GATE_REJECT;
	request->options.in_flight = strategy->doors ? PF_GATE_HOLD : PF_GATE_DRAIN;
	pf_copy_argument("label", request->label, sizeof(request->label), label);
	pf_copy_argument("reason", request->reason, sizeof(request->reason), reason);
	return step;
}

static void
call_worker(void *arg)
{
	Step	   *step = arg;

	(void) pf_worker_call(step->request, offsetof(PfRequest, ids) + step->request->nids * sizeof(int64), &step->reply, false);
}

/* Runs a step.  Returns the error, NULL: there was none. */
static ErrorData *
run(Step *step)
{
	return pf_try(call_worker, step);
}

/* ---- the gate --------------------------------------------------------- */

/*
 * Closes a gate; *why_not says why there is none.  Raises what ends the whole
 * call too.
 */
static void
close_gate(Step *gate, char **why_not)
{
	ErrorData  *error = NULL;

	*why_not = NULL;
	if (pf_gates == NULL)
		return;
	gate->request->options.drain_timeout = Max(gate->request->options.drain_timeout, GATE_PATIENCE);
	gate->request->options.on_drain_timeout = PF_DRAIN_ABORT;
	error = run(gate);
	if (error == NULL)
		return;
	switch (error->sqlerrcode)
	{
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_ACTIVE_SQL_TRANSACTION:
			ReThrowError(error);
			break;
		default:
			gate->id = NULL;
			*why_not = error->detail ? psprintf("%s (%s)", error->message, error->detail) : error->message;
	}
}

/*
 * In an error or at exit: opens the gate; its scheduler writes down that the
 * freeze is over.
 */
static void
leave_gate(int code, Datum id)
{
	(void) pf_gate_open(MyDatabaseId, *(int64 *) DatumGetPointer(id));
	pf_scheduler_leave_to(MyDatabaseId, DSM_HANDLE_INVALID);
}

/* Thaws the gate, because the role is not stopped after all. */
static void
thaw_gate(int64 *id)
{
	Step	   *thaw = make_step(PF_THAW);
	ErrorData  *error;

	thaw->request->opened = pf_gate_open(MyDatabaseId, *id);
	thaw->request->nids = 1;
	thaw->request->ids[0] = *id;
	error = run(thaw);
	if (error == NULL)
		return;
	leave_gate(0, PointerGetDatum(id));
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("the gate of freeze " INT64_FORMAT " is open, but this is not written down yet: %s", *id, error->message)));
}

/* ---- the disconnect --------------------------------------------------- */

/*
 * Whether there is anything to disconnect: the role may log in, or is there, or
 * another freeze keeps it out.  Else others may act as it all the same.
 */
static bool
can_be_disconnected(const PfTarget *target)
{
	PfSpi		spi;
	Oid			type = OIDOID;
	Datum		role = ObjectIdGetDatum(target->oid);
	PfValue		login = {PF_VALUE_LOGIN, InvalidOid, target->oid};
	bool		result;

	if (pf_value_is_taken(&login))
		return true;
	spi = pf_spi_begin();
	journal_execute("SELECT FROM pg_authid WHERE oid = $1 AND (rolcanlogin OR EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = $1))",
					1, &type, &role, NULL, true);
	result = SPI_processed > 0;
	pf_spi_end(spi);
	return result;
}

/* Does not return before nobody of the role is left. */
static ErrorData *
disconnect(Step *step)
{
	PfOptions  *options = &step->request->options;

	/* who is told to go may not linger: this is not for sessions that behave */
	options->drain_timeout = 0;
	options->on_drain_timeout = PF_DRAIN_TERMINATE;
	options->idle_wait = 0;
	options->idle_in_transaction_wait = 0;
	options->cancel_wait = 0;
	options->persist = true;
	return run(step);
}

/* How many sessions a freeze has ended. */
static int64
sessions_ended(int64 id)
{
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	bool		isnull;
	int64		count;

	journal_execute("SELECT count(DISTINCT pid) FROM @.freeze_journal_session WHERE freeze_id = $1 AND rung <> 'cancel'",
					1, &type, &value, NULL, true);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pf_spi_end(spi);
	return count;
}

/* The statement that undoes it, and what it doesn't stop. */
static void
tell_stopped(const PfTarget *target, const Step *step, const char *no_gate)
{
	PfFreeze   *freeze = journal_read_existing(pg_strtoint64(step->id));
	int64		ended = sessions_ended(freeze->id);

	if (no_gate)
		ereport(WARNING,
				(errmsg("%s is disconnected, but no gate is closed for it: %s", pf_target_text(target), no_gate)));
	ereport(NOTICE,
			(errmsg("%s is stopped: " INT64_FORMAT " %s ended; to undo it: SELECT * FROM %s.thaw_label(%s);",
					pf_target_text(target), ended, ended == 1 ? "session" : "sessions",
					journal_schema(), quote_literal_cstr(step->request->label)),
			 freeze->leaks[0] ? errdetail("Leaks: %s.", pf_one_line(freeze->leaks)) : 0));
}

/* ---- SQL -------------------------------------------------------------- */

/* It has no deadline. */
static void
check_may_stop(const PfTarget *target)
{
	if (superuser() || pf_guc_max_hold == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("only a superuser may stop a role without a deadline"),
			 errdetail("Setting pg_freeze.max_hold limits how long others than superusers may freeze."),
			 errhint("With a deadline: SELECT freeze_role(%s, mode => 'all', strategy => 'disconnect', on_drain_timeout => 'terminate', thaw_after => '%d seconds');",
					 quote_literal_cstr(NameStr(target->name)), pf_guc_max_hold)));
}

static char *
make_label(const PfTarget *target)
{
	TimestampTz now = GetCurrentTimestamp();

	return psprintf("stop_role %s %s", quote_identifier(NameStr(target->name)), timestamptz_to_str(now - now % 1000));
}

/* stop_role(role, reason): returns the id of the freeze that keeps it out. */
Datum
stop_role(PG_FUNCTION_ARGS)
{
	PfTarget	target = {.kind = PF_ROLE,.mode = PF_ALL};
	char	   *reason = pf_text_argument(fcinfo, 1);
	char	   *label;
	Step	   *gate;
	Step	   *step;
	ErrorData  *error = NULL;
	char	   *no_gate;

	pf_check_server();
	pf_check_argument(fcinfo, 0, "role");
	target.name = *PG_GETARG_NAME(0);
	pf_target_resolve(&target);
	pf_target_check_permission(&target);
	check_may_stop(&target);
	if (pf_disconnect.admit)
		pf_disconnect.admit(&target);
	pf_check_not_writing();

	label = make_label(&target);
	gate = freeze_step(&pf_gate, &target, label, reason);
	step = freeze_step(&pf_disconnect, &target, label, reason);
	close_gate(gate, &no_gate);
	if (gate->id && !can_be_disconnected(&target))
		step = gate;
	else if (gate->id)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = pg_strtoint64(gate->id);
		PG_ENSURE_ERROR_CLEANUP(leave_gate, PointerGetDatum(id));
		{
			/* one that came too late for the gate is in time for the rest */
			if (gate->reply.interrupted)
				QueryCancelPending = InterruptPending = true;
			error = disconnect(step);
			if (error)
				thaw_gate(id);
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_gate, PointerGetDatum(id));
	}
	else
		error = disconnect(step);
	if (error)
		ReThrowError(error);
	/* a cancel is too late */
	HOLD_CANCEL_INTERRUPTS();
	tell_stopped(&target, step, no_gate);
	RESUME_CANCEL_INTERRUPTS();
	PG_RETURN_INT64(pg_strtoint64(step->id));
}
