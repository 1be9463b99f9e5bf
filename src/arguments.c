/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  What the SQL functions have in common: arguments, the caller, replies.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "arguments.h"
#include "executor/spi.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define LONGEST_SPAN 1000		/* years */

/* ---- arguments -------------------------------------------------------- */

void
pf_check_server(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server is a standby"),
				 errdetail("A freeze is written down in a table, and nothing can be written here."),
				 errhint("Run it on the primary.")));
	pf_guc_check_placeholders();
}

char *
pf_text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

void
pf_bad_argument(const char *name, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\": %s", name, value ? quote_literal_cstr(value) : "NULL"),
			 errhint("%s", hint)));
}

/* Raises 22023 for an argument that must not be NULL. */
void
pf_check_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		pf_bad_argument(name, NULL, "It must not be NULL.");
}

bool
pf_flag_argument(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_BOOL(n);
}

/* An interval in microseconds from now; raises 22023 for what is no span of time. */
int64
pf_span_argument(const char *name, Interval *interval)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz then = DT_NOEND;
	double		years = interval->month / 12.0 + interval->day / 365.0 + interval->time / (365.0 * USECS_PER_DAY);

	/* far from the end of time, where adding would raise 22008 */
	if (fabs(interval->month / 12.0) <= LONGEST_SPAN && fabs(interval->day / 365.0) <= LONGEST_SPAN &&
		fabs(years) <= LONGEST_SPAN)
		then = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(now),
													   IntervalPGetDatum(interval)));
	if (TIMESTAMP_NOT_FINITE(then) || then < now)
		pf_bad_argument(name, DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval))),
					 "An interval from 0 to 1000 years.");
	return then - now;
}

/* The arguments drain_timeout, number "first", and on_drain_timeout, where they are not NULL. */
void
pf_drain_arguments(FunctionCallInfo fcinfo, int first, PfOptions *options)
{
	char	   *on_drain_timeout = pf_text_argument(fcinfo, first + 1);

	if (!PG_ARGISNULL(first))
		options->drain_timeout =
			(int) Min(pf_span_argument("drain_timeout", PG_GETARG_INTERVAL_P(first)) / 1000, (int64) INT_MAX);
	if (on_drain_timeout == NULL)
		return;
	if (strcmp(on_drain_timeout, "abort") == 0)
		options->on_drain_timeout = PF_DRAIN_ABORT;
	else if (strcmp(on_drain_timeout, "cancel") == 0)
		options->on_drain_timeout = PF_DRAIN_CANCEL;
	else if (strcmp(on_drain_timeout, "terminate") == 0)
		options->on_drain_timeout = PF_DRAIN_TERMINATE;
	else
		pf_bad_argument("on_drain_timeout", on_drain_timeout, "What can happen is abort, cancel or terminate.");
}

PfCaller
pf_this_caller(void)
{
	PfCaller	caller = {.role = GetUserId(),.pid = MyProcPid};
	PfSpi		spi;
	char	   *address;

	namestrcpy(&caller.role_name, GetUserNameFromId(GetUserId(), false));
	namestrcpy(&caller.session_user, GetUserNameFromId(GetSessionUserId(), false));
	strlcpy(caller.timezone, GetConfigOption("TimeZone", false, false), sizeof(caller.timezone));
	strlcpy(caller.application, application_name ? application_name : "", sizeof(caller.application));
	spi = pf_spi_begin();
	journal_execute("SELECT host(inet_client_addr())", 0, NULL, NULL, NULL, true);
	address = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	strlcpy(caller.client_addr, address ? address : "", sizeof(caller.client_addr));
	pf_spi_end(spi);
	return caller;
}

/* Deadlines of those who are no superusers are limited. */
void
pf_check_max_hold(const char *name, int64 us)
{
	int64		limit = (int64) pf_guc_max_hold * USECS_PER_SEC;

	if (limit == 0 || superuser() || (us > 0 && us <= limit))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be between 0 and %d seconds", name, pf_guc_max_hold),
			 errdetail("Setting pg_freeze.max_hold limits how long others than superusers may freeze.")));
}

/* A text that is kept in a request; raises 22023 where it is too long. */
void
pf_copy_argument(const char *name, char *to, Size size, const char *from)
{
	if (from == NULL)
		from = "";
	if (strlen(from) >= size)
		pf_bad_argument(name, psprintf("%zu bytes", strlen(from)), psprintf("At most %zu bytes.", size - 1));
	strcpy(to, from);
}

/* See arguments.h. */
void
pf_check_not_writing(void)
{
	PfSpi		spi;

	/* then the call to the worker refuses it */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	spi = pf_spi_begin();
	journal_execute("SELECT quote_ident(relname) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
					" WHERE l.pid = pg_backend_pid() AND l.mode NOT IN ('AccessShareLock', 'SIReadLock') AND c.oid >= 16384"
					" AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
					" AND c.relpersistence <> 't' LIMIT 1", 0, NULL, NULL, NULL, true);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot freeze in a transaction that is about to write"),
				 errdetail("It has locked %s for that.",
						   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Commit or roll back first; call it in a statement of its own.")));
	pf_spi_end(spi);
}

/*
 * What a freeze is asked for where no argument says otherwise.  What becomes of
 * work depends on more than one setting: see functions.c.
 */
PfOptions
pf_options_of_settings(const PfStrategy *strategy)
{
	return (PfOptions)
	{
		.drain_timeout = pf_guc_drain_timeout,
		.on_drain_timeout = (PfOnDrainTimeout) pf_guc_on_drain_timeout,
		.log_after = pf_guc_drain_log_after,
		.idle_wait = pf_guc_idle_wait,
		.idle_in_transaction_wait = pf_guc_idle_in_transaction_wait,
		.cancel_wait = pf_guc_cancel_wait,
		.terminate_wait = pf_guc_terminate_wait,
		.superusers = pf_guc_drain_superusers,
		.keep_read_only = strategy->recycles && pf_guc_keep_read_only,
		.thaw_after = (int64) pf_guc_thaw_after * USECS_PER_SEC,
		.on_leak = (PfOnLeak) pf_guc_on_leak,
		.attempts = 1,
		.lock_standbys = pf_guc_lock_standbys,
		.action = (PfGateAction) pf_guc_action,
		.max_wait = pf_guc_max_wait,
		.notice_after = pf_guc_notice_after,
		.yield_after = pf_guc_yield_after,
	};
}

/* ---- a freeze --------------------------------------------------------- */

/* What becomes of work that meets the freeze, and of work in flight: where the arguments say it. */
static void
resolve_action(PfOptions *options, const PfStrategy *strategy, const char *action, const char *in_flight)
{
	if (action)
		options->action = pf_action_parse(action);
	if (in_flight)
		options->in_flight = pf_in_flight_parse(in_flight);
	else if (pf_guc_in_flight == PF_IN_FLIGHT_AUTO)
		options->in_flight = options->action == PF_GATE_WAIT ? PF_GATE_HOLD : PF_GATE_DRAIN;
	else
		options->in_flight = pf_guc_in_flight == PF_IN_FLIGHT_HOLD ? PF_GATE_HOLD : PF_GATE_DRAIN;
	if (strategy->doors)
		return;

	if (action && strategy->rejects != (options->action == PF_GATE_REJECT))
		pf_bad_argument("action", action, psprintf("Strategy %s can only %s.", strategy->name, strategy->rejects ? "reject" : "let wait"));
	if (in_flight && options->in_flight != PF_GATE_DRAIN)
		pf_bad_argument("in_flight", in_flight, psprintf("Strategy %s can only drain.", strategy->name));
	options->action = strategy->rejects ? PF_GATE_REJECT : PF_GATE_WAIT;
	options->in_flight = PF_GATE_DRAIN;
}

/* See arguments.h. */
PfRequest *
pf_freeze_request(FunctionCallInfo fcinfo, PfKind kind, Name name, int first, const PfStrategy **strategy)
{
	PfRequest  *request = palloc0(offsetof(PfRequest, ids));
	PfTarget   *target = &request->target;
	char	   *mode = pf_text_argument(fcinfo, first);
	char	   *why;

	pf_check_server();
	request->action = PF_FREEZE;
	request->database = MyDatabaseId;
	target->kind = kind;
	target->mode = mode ? pf_mode_parse(mode) : PF_WRITE;
	if (kind != PF_CLUSTER)
	{
		if (name == NULL)
			pf_bad_argument(pf_kind_name(kind), NULL, "A name.");
		target->name = *name;
	}
	pf_target_resolve(target);
	pf_target_check_permission(target);

	*strategy = pf_strategy_choose(pf_text_argument(fcinfo, first + 2), target, &why);
	target->only_here = *strategy == &pf_disconnect && kind == PF_ROLE && pf_guc_disconnect_role == PF_DISCONNECT_CONNECT;
	if ((*strategy)->admit)
		(*strategy)->admit(target);
	namestrcpy(&request->strategy, (*strategy)->name);
	strlcpy(request->why, why, sizeof(request->why));

	request->options = pf_options_of_settings(*strategy);
	resolve_action(&request->options, *strategy, pf_text_argument(fcinfo, first + 3), pf_text_argument(fcinfo, first + 4));
	if (!PG_ARGISNULL(first + 1))
		request->options.thaw_after = pf_span_argument("thaw_after", PG_GETARG_INTERVAL_P(first + 1));
	pf_check_max_hold("thaw_after", request->options.thaw_after);
	pf_drain_arguments(fcinfo, first + 5, &request->options);
	if (!PG_ARGISNULL(first + 7))
		request->options.attempts = PG_GETARG_INT32(first + 7);
	if (request->options.attempts < 1)
		pf_bad_argument("attempts", psprintf("%d", request->options.attempts), "1 or more.");
	request->caller = pf_this_caller();
	return request;
}

/* ---- replies in the caller -------------------------------------------- */

void
pf_caller_notice(PfReply *reply, int elevel, const char *message, const char *detail, const char *hint)
{
	ereport(elevel,
			(errmsg("%s", message),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

/* The first value of the last row. */
void
pf_value_row(PfReply *reply, int nvalues, char **values)
{
	char	  **value = reply->arg;

	*value = values[0] ? pstrdup(values[0]) : NULL;
}

/* ---- subtransactions ------------------------------------------------- */

/* See arguments.h. */
ErrorData *
pf_try(void (*func) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		func(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}
