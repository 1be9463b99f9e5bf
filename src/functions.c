/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The SQL functions: check arguments and privilege, call, return.
 *
 * EXECUTE on what changes something is revoked from PUBLIC; a superuser
 * grants it.  Beyond that: target.c says what may be frozen, and who is no
 * superuser thaws, extends and alters only freezes of his own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "board.h"
#include "drain.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "gates.h"
#include "guc.h"
#include "holder.h"
#include "journal.h"
#include "live.h"
#include "miscadmin.h"
#include "scheduler.h"
#include "storage/ipc.h"
#include "thaw.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "worker.h"

#define LONGEST_SPAN 1000		/* years */

PG_FUNCTION_INFO_V1(freeze_role);
PG_FUNCTION_INFO_V1(freeze_schema);
PG_FUNCTION_INFO_V1(freeze_database);
PG_FUNCTION_INFO_V1(freeze_cluster);
PG_FUNCTION_INFO_V1(stop_role);
PG_FUNCTION_INFO_V1(freeze_check);
PG_FUNCTION_INFO_V1(freeze_extend);
PG_FUNCTION_INFO_V1(freeze_alter);
PG_FUNCTION_INFO_V1(freeze_pass);
PG_FUNCTION_INFO_V1(thaw);
PG_FUNCTION_INFO_V1(thaw_label);
PG_FUNCTION_INFO_V1(thaw_role);
PG_FUNCTION_INFO_V1(thaw_schema);
PG_FUNCTION_INFO_V1(thaw_database);
PG_FUNCTION_INFO_V1(thaw_cluster);
PG_FUNCTION_INFO_V1(thaw_all);
PG_FUNCTION_INFO_V1(freeze_in_force);
PG_FUNCTION_INFO_V1(freeze_in_flight);
PG_FUNCTION_INFO_V1(freeze_holder_pid);
PG_FUNCTION_INFO_V1(freeze_gate);

/* ---- arguments -------------------------------------------------------- */

static void
check_server(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server is a standby"),
				 errdetail("A freeze is written down in a table, and nothing can be written here."),
				 errhint("Run it on the primary.")));
	pf_guc_check_placeholders();
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
bad_argument(const char *name, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\": %s", name, value ? quote_literal_cstr(value) : "NULL"),
			 errhint("%s", hint)));
}

/* Raises 22023 for an argument that must not be NULL. */
static void
check_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		bad_argument(name, NULL, "It must not be NULL.");
}

static bool
flag_argument(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_BOOL(n);
}

/* An interval in microseconds from now; raises 22023 for what is no span of time. */
static int64
span_argument(const char *name, Interval *interval)
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
		bad_argument(name, DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval))),
					 "An interval from 0 to 1000 years.");
	return then - now;
}

static void
copy_text(const char *name, char *to, Size size, const char *from)
{
	if (from == NULL)
		from = "";
	if (strlen(from) >= size)
		bad_argument(name, psprintf("%zu bytes", strlen(from)), psprintf("At most %zu bytes.", size - 1));
	strcpy(to, from);
}

static PfCaller
this_caller(void)
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

/*
 * Raises 25001 where the statement that calls is itself a writer: the drain
 * does not wait for its own caller.
 */
static void
check_not_writing(void)
{
	PfSpi		spi = pf_spi_begin();

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

/* Deadlines of those who are no superusers are limited. */
static void
check_max_hold(const char *name, int64 us)
{
	int64		limit = (int64) pf_guc_max_hold * USECS_PER_SEC;

	if (limit == 0 || superuser() || (us > 0 && us <= limit))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be between 0 and %d seconds", name, pf_guc_max_hold),
			 errdetail("Setting pg_freeze.max_hold limits how long others than superusers may freeze.")));
}

/* What becomes of work that meets the freeze, and of work in flight. */
static void
resolve_action(PfOptions *options, const PfStrategy *strategy, const char *action, const char *in_flight)
{
	options->action = action ? pf_action_parse(action) : (PfGateAction) pf_guc_action;
	if (in_flight)
		options->in_flight = pf_in_flight_parse(in_flight);
	else if (pf_guc_in_flight == PF_IN_FLIGHT_AUTO)
		options->in_flight = options->action == PF_GATE_WAIT ? PF_GATE_HOLD : PF_GATE_DRAIN;
	else
		options->in_flight = pf_guc_in_flight == PF_IN_FLIGHT_HOLD ? PF_GATE_HOLD : PF_GATE_DRAIN;
	options->max_wait = pf_guc_max_wait;
	options->notice_after = pf_guc_notice_after;
	options->yield_after = pf_guc_yield_after;
	if (strategy->doors)
		return;

	if (action && strategy->rejects != (options->action == PF_GATE_REJECT))
		bad_argument("action", action, psprintf("Strategy %s can only %s.", strategy->name, strategy->rejects ? "reject" : "let wait"));
	if (in_flight && options->in_flight != PF_GATE_DRAIN)
		bad_argument("in_flight", in_flight, psprintf("Strategy %s can only drain.", strategy->name));
	options->action = strategy->rejects ? PF_GATE_REJECT : PF_GATE_WAIT;
	options->in_flight = PF_GATE_DRAIN;
}

/*
 * The arguments that all freeze functions share, from number "first" (mode)
 * on: mode, thaw_after, strategy, action, in_flight, drain_timeout,
 * on_drain_timeout, attempts, label, reason.  NULL means the setting decides.
 */
static PfRequest *
freeze_request(FunctionCallInfo fcinfo, PfKind kind, Name name, int first, const PfStrategy **strategy)
{
	PfRequest  *request = palloc0(offsetof(PfRequest, ids));
	PfTarget   *target = &request->target;
	char	   *mode = text_argument(fcinfo, first);
	char	   *on_drain_timeout = text_argument(fcinfo, first + 6);
	char	   *why;

	check_server();
	request->action = PF_FREEZE;
	request->database = MyDatabaseId;
	target->kind = kind;
	target->mode = mode ? pf_mode_parse(mode) : PF_WRITE;
	if (kind != PF_CLUSTER)
	{
		if (name == NULL)
			bad_argument(pf_kind_name(kind), NULL, "A name.");
		target->name = *name;
	}
	pf_target_resolve(target);
	pf_target_check_permission(target);

	*strategy = pf_strategy_choose(text_argument(fcinfo, first + 2), target, &why);
	if (kind == PF_DATABASE && target->oid != MyDatabaseId && !(*strategy)->doors)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("strategy %s works only in the database that it freezes", (*strategy)->name),
				 errhint("Connect to database %s and run it there.", quote_identifier(NameStr(target->name)))));
	namestrcpy(&request->strategy, (*strategy)->name);
	strlcpy(request->why, why, sizeof(request->why));

	resolve_action(&request->options, *strategy, text_argument(fcinfo, first + 3), text_argument(fcinfo, first + 4));
	request->options.thaw_after = PG_ARGISNULL(first + 1) ? (int64) pf_guc_thaw_after * USECS_PER_SEC :
		span_argument("thaw_after", PG_GETARG_INTERVAL_P(first + 1));
	check_max_hold("thaw_after", request->options.thaw_after);
	request->options.drain_timeout = PG_ARGISNULL(first + 5) ? pf_guc_drain_timeout :
		(int) Min(span_argument("drain_timeout", PG_GETARG_INTERVAL_P(first + 5)) / 1000, (int64) INT_MAX);
	request->options.on_drain_timeout = (PfOnDrainTimeout) pf_guc_on_drain_timeout;
	if (on_drain_timeout)
	{
		if (strcmp(on_drain_timeout, "abort") == 0)
			request->options.on_drain_timeout = PF_DRAIN_ABORT;
		else if (strcmp(on_drain_timeout, "cancel") == 0)
			request->options.on_drain_timeout = PF_DRAIN_CANCEL;
		else if (strcmp(on_drain_timeout, "terminate") == 0)
			request->options.on_drain_timeout = PF_DRAIN_TERMINATE;
		else
			bad_argument("on_drain_timeout", on_drain_timeout, "What can happen is abort, cancel or terminate.");
	}
	request->options.cancel_wait = pf_guc_cancel_wait;
	request->options.lock_standbys = pf_guc_lock_standbys;
	request->options.on_leak = (PfOnLeak) pf_guc_on_leak;
	request->options.attempts = PG_ARGISNULL(first + 7) ? 1 : PG_GETARG_INT32(first + 7);
	if (request->options.attempts < 1)
		bad_argument("attempts", psprintf("%d", request->options.attempts), "1 or more.");
	copy_text("label", request->label, sizeof(request->label), text_argument(fcinfo, first + 8));
	copy_text("reason", request->reason, sizeof(request->reason), text_argument(fcinfo, first + 9));
	request->caller = this_caller();
	return request;
}

/* ---- replies in the caller -------------------------------------------- */

static void
caller_notice(PfReply *reply, int elevel, const char *message, const char *detail, const char *hint)
{
	ereport(elevel,
			(errmsg("%s", message),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

/* The first value of the last row. */
static void
value_row(PfReply *reply, int nvalues, char **values)
{
	char	  **value = reply->arg;

	*value = values[0] ? pstrdup(values[0]) : NULL;
}

typedef struct RowSink
{
	ReturnSetInfo *rsinfo;
	AttInMetadata *meta;
	char	   *not_held;		/* the first freeze that did not hold */
	char	   *not_held_why;
} RowSink;

/* A row of the verdict: into the result set. */
static void
verdict_row(PfReply *reply, int nvalues, char **values)
{
	RowSink    *sink = reply->arg;

	tuplestore_puttuple(sink->rsinfo->setResult, BuildTupleFromCStrings(sink->meta, values));
	if (sink->not_held == NULL && (values[3] == NULL || strcmp(values[3], "t") != 0))
	{
		sink->not_held = pstrdup(values[0]);
		sink->not_held_why = pstrdup(values[4] && values[4][0] ? values[4] : values[5]);
	}
}

/* ---- freezing --------------------------------------------------------- */

static Datum
freeze_any(FunctionCallInfo fcinfo, PfKind kind)
{
	int			first = kind == PF_CLUSTER ? 0 : 1;
	const PfStrategy *strategy;
	PfRequest  *request = freeze_request(fcinfo, kind, first && !PG_ARGISNULL(0) ? PG_GETARG_NAME(0) : NULL, first, &strategy);
	char	   *id = NULL;
	PfReply		reply = {.row = value_row,.notice = caller_notice,.arg = &id};

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		check_not_writing();
	(void) pf_worker_call(request, offsetof(PfRequest, ids), &reply, false);
	PG_RETURN_INT64(pg_strtoint64(id));
}

Datum
freeze_role(PG_FUNCTION_ARGS)
{
	return freeze_any(fcinfo, PF_ROLE);
}

Datum
freeze_schema(PG_FUNCTION_ARGS)
{
	return freeze_any(fcinfo, PF_SCHEMA);
}

Datum
freeze_database(PG_FUNCTION_ARGS)
{
	return freeze_any(fcinfo, PF_DATABASE);
}

Datum
freeze_cluster(PG_FUNCTION_ARGS)
{
	return freeze_any(fcinfo, PF_CLUSTER);
}

static void
not_built(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s is not built yet", what),
			 hint ? errhint("%s", hint) : 0));
}

Datum
stop_role(PG_FUNCTION_ARGS)
{
	check_argument(fcinfo, 0, "role");
	not_built("stop_role", psprintf("What there is: SELECT freeze_role(%s, mode => 'all', strategy => 'revoke', on_drain_timeout => 'terminate');",
									quote_literal_cstr(NameStr(*PG_GETARG_NAME(0)))));
	PG_RETURN_NULL();
}

/* ---- dry run ---------------------------------------------------------- */

typedef struct CheckSink
{
	ReturnSetInfo *rsinfo;
	List	   *relations;
	int64		changes;
} CheckSink;

static void
check_row(ReturnSetInfo *rsinfo, const char *item, const char *kind, const char *object, const char *detail)
{
	const char *texts[4] = {item, kind, object, detail};
	Datum		values[4];
	bool		nulls[4];

	for (int i = 0; i < 4; i++)
	{
		nulls[i] = texts[i] == NULL;
		values[i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
check_emit(void *arg, Oid relation, const char *kind, const char *object, const char *detail)
{
	CheckSink  *sink = arg;

	if (kind == NULL)
	{
		check_row(sink->rsinfo, "refused", NULL, NULL, detail);
		return;
	}
	check_row(sink->rsinfo, "change", kind, object, detail);
	sink->changes++;
	if (OidIsValid(relation))
	{
		MemoryContext old = MemoryContextSwitchTo(sink->rsinfo->econtext->ecxt_per_query_memory);

		sink->relations = lappend_oid(sink->relations, relation);
		MemoryContextSwitchTo(old);
	}
}

static ArrayType *
oid_array(List *oids)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(list_length(oids), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, oids)
		values[n++] = ObjectIdGetDatum(lfirst_oid(cell));
	return construct_array(values, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
}

Datum
freeze_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PfKind		kind = pf_kind_parse(PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	NameData	here;
	Name		name = PG_ARGISNULL(1) ? NULL : PG_GETARG_NAME(1);
	const PfStrategy *strategy;
	PfRequest  *request;
	CheckSink	sink = {.rsinfo = rsinfo};
	List	   *blockers = NIL;
	ListCell   *cell;

	if (kind == PF_DATABASE && name == NULL)
	{
		namestrcpy(&here, get_database_name(MyDatabaseId));
		name = &here;
	}
	request = freeze_request(fcinfo, kind, name, 2, &strategy);
	InitMaterializedSRF(fcinfo, 0);
	check_row(rsinfo, "strategy", strategy->name, NULL, request->why);
	strategy->check(&request->target, check_emit, &sink);
	if (sink.changes == 0 && !strategy->doors)
		check_row(rsinfo, "refused", NULL, NULL, "there is nothing to freeze here, unless another live freeze holds it");
	/* a strategy with doors drains only if asked to */
	if (strategy->doors && request->options.in_flight == PF_GATE_DRAIN)
		blockers = pf_drain_in_flight(&request->target, 0, NULL);
	blockers = list_concat(blockers, pf_drain_blockers(strategy, &request->target, 0, oid_array(sink.relations)));
	foreach(cell, blockers)
	{
		PfBlocker  *blocker = lfirst(cell);

		check_row(rsinfo, "blocker", blocker->pid ? "session" : "prepared transaction",
				  blocker->pid ? psprintf("%d", blocker->pid) : blocker->gid,
				  psprintf("%s: %s", blocker->role, blocker->what));
	}
	foreach(cell, strategy->leaks(&request->target))
		check_row(rsinfo, "leak", ((PfNote *) lfirst(cell))->code, NULL, ((PfNote *) lfirst(cell))->text);
	foreach(cell, strategy->also_stops(&request->target))
		check_row(rsinfo, "also stops", ((PfNote *) lfirst(cell))->code, NULL, ((PfNote *) lfirst(cell))->text);
	return (Datum) 0;
}

/* ---- thawing ---------------------------------------------------------- */

static const char *
database_text(Oid database)
{
	char	   *name = get_database_name(database);

	return name ? quote_identifier(name) : psprintf("%u", database);
}

/* The statement that thaws a freeze of another database from here. */
static char *
thaw_from_here(const PfFreeze *freeze)
{
	return psprintf("SELECT * FROM %s.thaw(" INT64_FORMAT ", home => %s);", journal_schema(), freeze->id,
					quote_literal_cstr(get_database_name(freeze->home)));
}

/* "freeze 3 by joe, until 12:00; freeze 5 of database shop by ann, no deadline" */
static char *
list_freezes(List *freezes)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, freezes)
	{
		PfFreeze   *freeze = lfirst(cell);

		appendStringInfo(&text, "%sfreeze " INT64_FORMAT "%s by %s, %s", text.len ? "; " : "", freeze->id,
						 freeze->home != MyDatabaseId ? psprintf(" of database %s", database_text(freeze->home)) : "",
						 quote_identifier(freeze->owner_name),
						 freeze->thaw_at ? psprintf("until %s", timestamptz_to_str(freeze->thaw_at)) : "no deadline");
	}
	return text.data;
}

/* The freezes that are to be thawed, by the database that has them in its journal. */
typedef struct Home
{
	Oid			database;
	dsm_handle	board;			/* of the scheduler there */
	List	   *freezes;
} Home;

static pg_noinline List *
by_home(List *freezes)
{
	List	   *homes = NIL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, freezes)
	{
		PfFreeze   *freeze = lfirst(cell);
		Home	   *home = NULL;

		foreach(other, homes)
			if (((Home *) lfirst(other))->database == freeze->home)
				home = lfirst(other);
		if (home == NULL)
		{
			home = palloc0(sizeof(Home));
			home->database = freeze->home;
			if (freeze->home == MyDatabaseId)
			{
				home->board = pf_board_read_row(PF_SCHEDULER_ROW, false);
				/* last: it may be thawed in this transaction, and then no worker is called from it */
				homes = lappend(homes, home);
			}
			else
			{
				home->board = freeze->home_board;
				homes = lcons(home, homes);
			}
		}
		home->freezes = lappend(home->freezes, freeze);
	}
	return homes;
}

/*
 * Gates are opened by the calling backend, before anything that could keep it
 * waiting.  What remains must then be done whatever becomes of the caller.
 */
static void
open_gates(List *freezes)
{
	ListCell   *cell;

	/* else the thaw is going to be refused */
	if (pf_gates == NULL || TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	foreach(cell, freezes)
	{
		PfFreeze   *freeze = lfirst(cell);

		/* of one that isn't known here nobody has looked yet who may */
		if (freeze->strategy)
			(void) pf_gate_open(freeze->home, freeze->id);
	}
}

static bool
is_any_open(List *freezes)
{
	PfGate		gate;
	ListCell   *cell;

	if (pf_gates == NULL)
		return false;
	foreach(cell, freezes)
	{
		PfFreeze   *freeze = lfirst(cell);

		if (pf_gate_read(freeze->home, freeze->id, &gate) && gate.phase == PF_GATE_OPEN)
			return true;
	}
	return false;
}

/* The same before the journal is read; the table of gates knows whose it is. */
static bool
open_early(int64 id)
{
	PfGate		gate;

	if (pf_gates == NULL || TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		!pf_gate_read(MyDatabaseId, id, &gate) || (gate.record.owner != GetUserId() && !superuser()))
		return false;
	return pf_gate_open_frozen(MyDatabaseId, id);
}

/* In an error or at exit: somebody else writes down what was begun. */
static void
leave_thaw(int code, Datum board)
{
	pf_scheduler_leave_to(MyDatabaseId, DatumGetUInt32(board));
}

static void
leave_thaws(int code, Datum homes)
{
	ListCell   *cell;

	foreach(cell, (List *) DatumGetPointer(homes))
	{
		Home	   *home = lfirst(cell);

		if (is_any_open(home->freezes))
			pf_scheduler_leave_to(home->database, home->board);
	}
}

/* Thaws in the caller's own transaction, where no worker can be had. */
static void
thaw_without_worker(const PfRequest *request, PfReply *reply)
{
	if (XactReadOnly || IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("no background worker is free, and this transaction cannot thaw by itself"),
				 request->opened ?
				 errdetail("It is read-only or not READ COMMITTED. The gate is open already; the sleeping worker writes it down.") :
				 errdetail("It is read-only or not READ COMMITTED."),
				 errhint("Thaw in a READ COMMITTED, READ WRITE transaction, or raise max_worker_processes.")));
	ereport(WARNING,
			(errmsg(request->opened ?
					"no background worker is free: the gate is open, and the thaw is written down when this transaction commits" :
					"no background worker is free: the thaw takes effect when this transaction commits"),
			 errhint("Raise max_worker_processes; a restart is needed.")));
	pf_thaw_here(request, reply);
}

/*
 * Thaws the freezes of one database.  False: in the caller's own transaction,
 * so it is not over yet.
 */
static bool
thaw_in(const Home *home, PfReply *reply)
{
	Size		size = offsetof(PfRequest, ids) + sizeof(int64) * list_length(home->freezes);
	PfRequest  *request = palloc0(size);
	PfFreeze   *first = linitial(home->freezes);
	ListCell   *cell;

	request->action = PF_THAW;
	request->database = home->database;
	request->caller = this_caller();
	request->opened = is_any_open(home->freezes);
	foreach(cell, home->freezes)
		request->ids[request->nids++] = ((PfFreeze *) lfirst(cell))->id;
	if (pf_worker_call(request, size, reply, true))
		return true;
	if (home->database != MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free to thaw in database %s", database_text(home->database)),
				 request->opened ? errdetail("What is by gate is open already; the sleeping worker there writes it down.") : 0,
				 errhint("Connect to it, where thawing needs none, and run SELECT * FROM %sthaw(" INT64_FORMAT "); or raise max_worker_processes (now %d).",
						 first->home_schema ? psprintf("%s.", first->home_schema) : "", first->id, max_worker_processes)));
	thaw_without_worker(request, reply);
	return false;
}

/*
 * The same, in a subtransaction: what fails in one database doesn't keep
 * the others frozen.  Returns the error.
 */
static ErrorData *
try_thaw_in(const Home *home, PfReply *reply, bool *at_once)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*at_once &= thaw_in(home, reply);
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
	if (error && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (error && is_any_open(home->freezes))
		pf_scheduler_leave_to(home->database, home->board);
	return error;
}

/* False if some of it had to be done in the caller's transaction. */
static bool
run_thaw(List *homes, RowSink *sink, bool require_held)
{
	PfReply		reply = {.row = verdict_row,.notice = caller_notice,.arg = sink};
	bool		at_once = true;
	ErrorData  *first = NULL;
	ListCell   *cell;

	if (list_length(homes) == 1)
		at_once = thaw_in(linitial(homes), &reply);
	else
		foreach(cell, homes)
		{
			ErrorData  *error = try_thaw_in(lfirst(cell), &reply, &at_once);

			if (first == NULL)
				first = error;
		}
	if (first && !at_once)
		ereport(WARNING,
				(errcode(first->sqlerrcode),
				 errmsg("freezes of another database are not thawed: %s", first->message),
				 first->hint ? errhint("%s", first->hint) : 0));
	else if (first)
		ReThrowError(first);
	if (require_held && sink->not_held)
		ereport(at_once ? ERROR : WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze %s is thawed, but it is not certain that it held", sink->not_held),
				 errdetail("%s", sink->not_held_why)));
	return at_once;
}

/* Thaws the freezes (List of PfFreeze *) and fills the result set. */
static Datum
thaw_list(FunctionCallInfo fcinfo, List *freezes, bool require_held)
{
	RowSink		sink = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	List	   *homes;

	InitMaterializedSRF(fcinfo, 0);
	sink.meta = TupleDescGetAttInMetadata(sink.rsinfo->setDesc);
	if (freezes == NIL)
		return (Datum) 0;

	homes = by_home(freezes);
	open_gates(freezes);
	if (is_any_open(freezes))
	{
		PG_ENSURE_ERROR_CLEANUP(leave_thaws, PointerGetDatum(homes));
		{
			/* with no worker it may be rolled back */
			if (!run_thaw(homes, &sink, require_held))
				leave_thaws(0, PointerGetDatum(homes));
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_thaws, PointerGetDatum(homes));
	}
	else
		(void) run_thaw(homes, &sink, require_held);
	return (Datum) 0;
}

/* What to look at where a freeze isn't found: it may be one of another database. */
static const char *
where_to_look(void)
{
	return pf_live_is_there() ? "freeze_status lists what is frozen." :
		"freeze_status lists what is frozen here. A freeze is known where it was made.";
}

/*
 * A freeze that is only known to be of another database.  The worker there
 * finds out whether it exists, and who may; but who may not connect to that
 * database shall not have a process do so.
 */
static PfFreeze *
unseen_freeze(int64 id, Oid home, const char *name)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(home));
	bool		allowed = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
	PfFreeze   *freeze = palloc0(sizeof(PfFreeze));

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!allowed ||
		!DatumGetBool(DirectFunctionCall2(has_database_privilege_id, ObjectIdGetDatum(home),
										  CStringGetTextDatum("CONNECT"))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("you may not connect to database %s", quote_identifier(name))));
	freeze->id = id;
	freeze->home = home;
	return freeze;
}

/*
 * The freeze that the caller means and may end, extend or alter now: of this
 * database, or the only one that is live in another.  An id that this
 * database has used doesn't lead elsewhere by itself: who thaws twice must
 * not thaw somebody else's.
 */
static PfFreeze *
find_freeze(int64 id, Name home)
{
	Oid			database = home ? get_database_oid(NameStr(*home), false) : MyDatabaseId;
	PfFreeze   *freeze = database == MyDatabaseId ? journal_read(id) : NULL;
	List	   *elsewhere = pf_live_elsewhere(id);
	ListCell   *cell;

	if (home && database != MyDatabaseId)
	{
		foreach(cell, elsewhere)
			if (((PfFreeze *) lfirst(cell))->home == database)
				freeze = lfirst(cell);
		if (freeze == NULL)
			return unseen_freeze(id, database, NameStr(*home));
	}
	else if (freeze == NULL)
	{
		if (home || elsewhere == NIL)
			(void) journal_read_existing(id);
		if (list_length(elsewhere) > 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("freeze " INT64_FORMAT " is live in %d databases", id, list_length(elsewhere)),
					 errdetail("%s.", list_freezes(elsewhere)),
					 errhint("Say which one, for example: %s", thaw_from_here(linitial(elsewhere)))));
		freeze = linitial(elsewhere);
	}
	else if (!home && !pf_state_is_live(freeze->state) && elsewhere != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " of this database is over", id),
				 errdetail("It ended at %s: %s. Live elsewhere: %s.", timestamptz_to_str(freeze->ended_at), freeze->end_reason,
						   list_freezes(elsewhere)),
				 errhint("To thaw that one: %s", thaw_from_here(linitial(elsewhere)))));
	pf_check_may_end(freeze, GetUserId());
	pf_check_in_hold(freeze);
	return freeze;
}

static Datum
thaw_one(FunctionCallInfo fcinfo)
{
	PfFreeze   *freeze;

	check_server();
	check_argument(fcinfo, 0, "id");
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2));
	return thaw_list(fcinfo, list_make1(freeze), flag_argument(fcinfo, 1));
}

Datum
thaw(PG_FUNCTION_ARGS)
{
	Datum		result;

	if (PG_ARGISNULL(0) || !PG_ARGISNULL(2) || !open_early(PG_GETARG_INT64(0)))
		return thaw_one(fcinfo);

	PG_ENSURE_ERROR_CLEANUP(leave_thaw, UInt32GetDatum(DSM_HANDLE_INVALID));
	{
		result = thaw_one(fcinfo);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_thaw, UInt32GetDatum(DSM_HANDLE_INVALID));
	return result;
}

static List *
read_freezes(List *ids)
{
	List	   *freezes = NIL;
	ListCell   *cell;

	foreach(cell, ids)
		freezes = lappend(freezes, journal_read(*(int64 *) lfirst(cell)));
	return freezes;
}

Datum
thaw_label(PG_FUNCTION_ARGS)
{
	Oid			type = TEXTOID;
	Datum		label = PG_GETARG_DATUM(0);
	List	   *freezes;
	ListCell   *cell;

	check_server();
	check_argument(fcinfo, 0, "label");
	freezes = read_freezes(journal_ids("label = $1 AND state NOT IN ('thawed', 'aborted')", 1, &type, &label));
	if (freezes == NIL)
		foreach(cell, pf_live_elsewhere(0))
		{
			PfFreeze   *freeze = lfirst(cell);

			if (freeze->label && strcmp(freeze->label, TextDatumGetCString(label)) == 0)
				freezes = lappend(freezes, freeze);
		}
	if (freezes == NIL)
	{
		List	   *over = journal_ids("label = $1", 1, &type, &label);

		if (over != NIL)
			pf_check_in_hold(journal_read_existing(*(int64 *) llast(over)));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no freeze with label %s in this database", quote_literal_cstr(TextDatumGetCString(label))),
				 errhint("%s", where_to_look())));
	}
	foreach(cell, freezes)
	{
		pf_check_may_end(lfirst(cell), GetUserId());
		pf_check_in_hold(lfirst(cell));
	}
	return thaw_list(fcinfo, freezes, flag_argument(fcinfo, 1));
}

/*
 * Those of other databases that freeze the same target.  A schema belongs to
 * its database, and a copy of a database freezes nothing outside of itself.
 */
static List *
same_target_elsewhere(const PfTarget *target)
{
	List	   *freezes = NIL;
	ListCell   *cell;

	if (target->kind == PF_SCHEMA)
		return NIL;
	foreach(cell, pf_live_elsewhere(0))
	{
		PfFreeze   *freeze = lfirst(cell);

		if (freeze->target.kind == target->kind && !freeze->is_copy &&
			(freeze->target.oid == target->oid || strcmp(NameStr(freeze->target.name), NameStr(target->name)) == 0))
			freezes = lappend(freezes, freeze);
	}
	return freezes;
}

/* By the name of the target: the one freeze that is live, or with force all. */
static Datum
thaw_named(FunctionCallInfo fcinfo, PfKind kind)
{
	static const char *const of_target = "target_kind = $1 AND (target_oid = $2 OR target_name = $3)";
	int			first = kind == PF_CLUSTER ? 0 : 1;
	PfTarget	target = {.kind = kind};
	bool		force = flag_argument(fcinfo, first);
	Oid			types[3] = {TEXTOID, OIDOID, TEXTOID};
	Datum		values[3];
	List	   *freezes;
	ListCell   *cell;

	check_server();
	if (kind != PF_CLUSTER)
	{
		check_argument(fcinfo, 0, pf_kind_name(kind));
		target.name = *PG_GETARG_NAME(0);
	}
	values[0] = CStringGetTextDatum(pf_kind_name(kind));
	target.oid = pf_target_oid(&target, true);
	values[1] = ObjectIdGetDatum(target.oid);
	values[2] = CStringGetTextDatum(NameStr(target.name));
	freezes = read_freezes(journal_ids(psprintf("%s AND state NOT IN ('thawed', 'aborted')", of_target), 3, types, values));
	freezes = list_concat(freezes, same_target_elsewhere(&target));
	if (freezes == NIL)
	{
		List	   *over = journal_ids(of_target, 3, types, values);
		PfFreeze   *last = over ? journal_read_existing(*(int64 *) llast(over)) : NULL;

		if (last == NULL)
			pf_target_resolve(&target);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s is not frozen%s", pf_target_text(&target),
						kind == PF_SCHEMA || !pf_live_is_there() ? " in this database" : ""),
				 last ? errdetail("Its last freeze, " INT64_FORMAT ", ended at %s: %s.", last->id,
								  timestamptz_to_str(last->ended_at), last->end_reason) : 0,
				 errhint("%s", where_to_look())));
	}
	foreach(cell, freezes)
		pf_check_may_end(lfirst(cell), GetUserId());
	if (list_length(freezes) > 1 && !force)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has %d live freezes", pf_target_text(&target), list_length(freezes)),
				 errdetail("%s.", list_freezes(freezes)),
				 errhint("Thaw one with thaw(id%s), or all of them with force => true.",
						 ((PfFreeze *) llast(freezes))->home != MyDatabaseId ? ", home => database" : "")));
	foreach(cell, freezes)
		pf_check_in_hold(lfirst(cell));
	return thaw_list(fcinfo, freezes, flag_argument(fcinfo, first + 1));
}

Datum
thaw_role(PG_FUNCTION_ARGS)
{
	return thaw_named(fcinfo, PF_ROLE);
}

Datum
thaw_schema(PG_FUNCTION_ARGS)
{
	return thaw_named(fcinfo, PF_SCHEMA);
}

Datum
thaw_database(PG_FUNCTION_ARGS)
{
	return thaw_named(fcinfo, PF_DATABASE);
}

/*
 * Opens a cluster that is closed without a freeze; false if it isn't.  That
 * takes force: what was frozen is frozen no more, and nobody knows whether it
 * should be.
 */
static bool
open_without_freeze(bool force)
{
	static const char *const why[] = {
		[PF_CAUSE_DAMAGE] = "the state file of pg_freeze was damaged when the server started",
		[PF_CAUSE_PROMOTION] = "this server was promoted, and pg_freeze has not read all journals since",
	};
	PfGate		gate;

	if (pf_gates == NULL || !superuser() || !pf_gate_read(InvalidOid, PF_NO_FREEZE, &gate))
		return false;
	if (!force)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the cluster is closed without a freeze"),
				 errdetail("Because %s.", why[gate.record.cause]),
				 errhint("To open it whatever was frozen: SELECT * FROM thaw_cluster(force => true);")));
	if (pf_gate_remove_without_freeze())
		ereport(LOG,
				(errmsg("pg_freeze: the cluster was opened by %s; it was closed because %s",
						GetUserNameFromId(GetUserId(), false), why[gate.record.cause])));
	ereport(NOTICE,
			(errmsg("the cluster is open; it was closed because %s", why[gate.record.cause])));
	return true;
}

Datum
thaw_cluster(PG_FUNCTION_ARGS)
{
	PfTarget	target = {.kind = PF_CLUSTER};

	check_server();
	if (open_without_freeze(flag_argument(fcinfo, 0)) && same_target_elsewhere(&target) == NIL &&
		journal_ids("target_kind = 'cluster' AND state NOT IN ('thawed', 'aborted')", 0, NULL, NULL) == NIL)
	{
		InitMaterializedSRF(fcinfo, 0);
		return (Datum) 0;
	}
	return thaw_named(fcinfo, PF_CLUSTER);
}

Datum
thaw_all(PG_FUNCTION_ARGS)
{
	List	   *mine = NIL;
	ListCell   *cell;

	check_server();
	foreach(cell, read_freezes(journal_ids("state IN ('frozen', 'lost', 'thawing')", 0, NULL, NULL)))
		if (pf_may_end(lfirst(cell), GetUserId()))
			mine = lappend(mine, lfirst(cell));
	foreach(cell, pf_live_elsewhere(0))
	{
		PfFreeze   *freeze = lfirst(cell);

		if ((freeze->state == PF_FROZEN || freeze->state == PF_LOST || freeze->state == PF_THAWING) &&
			pf_may_end(freeze, GetUserId()))
			mine = lappend(mine, freeze);
	}
	return thaw_list(fcinfo, mine, flag_argument(fcinfo, 0));
}

Datum
freeze_extend(PG_FUNCTION_ARGS)
{
	Size		size = offsetof(PfRequest, ids) + sizeof(int64);
	PfRequest  *request = palloc0(size);
	char	   *at = NULL;
	PfReply		reply = {.row = value_row,.notice = caller_notice,.arg = &at};
	PfFreeze   *freeze;

	check_server();
	check_argument(fcinfo, 0, "id");
	check_argument(fcinfo, 1, "by");
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2));
	request->action = PF_EXTEND;
	request->database = freeze->home;
	request->extend_by = span_argument("by", PG_GETARG_INTERVAL_P(1));
	check_max_hold("by", request->extend_by);
	request->caller = this_caller();
	request->nids = 1;
	request->ids[0] = freeze->id;
	(void) pf_worker_call(request, size, &reply, false);
	if (at == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall3(timestamptz_in, CStringGetDatum(at),
										ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

Datum
freeze_alter(PG_FUNCTION_ARGS)
{
	Size		size = offsetof(PfRequest, ids) + sizeof(int64);
	PfRequest  *request = palloc0(size);
	PfReply		reply = {.row = value_row,.notice = caller_notice};
	PfFreeze   *freeze;

	check_server();
	check_argument(fcinfo, 0, "id");
	check_argument(fcinfo, 1, "action");
	request->options.action = pf_action_parse(text_argument(fcinfo, 1));
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2));
	/* of one that isn't known here the worker finds that out */
	if (freeze->strategy && freeze->strategy->alter == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " cannot be altered", freeze->id),
				 errdetail("Strategy %s can only %s.", freeze->strategy->name, freeze->strategy->rejects ? "reject" : "let wait")));
	request->action = PF_ALTER;
	request->database = freeze->home;
	request->caller = this_caller();
	request->nids = 1;
	request->ids[0] = freeze->id;
	(void) pf_worker_call(request, size, &reply, false);
	PG_RETURN_VOID();
}

Datum
freeze_pass(PG_FUNCTION_ARGS)
{
	PfFreeze   *freeze;
	PfGate		gate;

	check_server();
	check_argument(fcinfo, 0, "id");
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_NAME(1));
	if (freeze->strategy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no freeze " INT64_FORMAT " is live in database %s", freeze->id, database_text(freeze->home)),
				 errhint("%s", where_to_look())));
	if (!freeze->strategy->doors)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " has no pass", freeze->id),
				 errdetail("Nobody passes a freeze by strategy %s.", freeze->strategy->name)));
	if (pf_gates == NULL || !pf_gate_read(freeze->home, freeze->id, &gate))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " has no pass", freeze->id),
				 errdetail("It has no gate any more, and stops nobody.")));
	PG_RETURN_TEXT_P(cstring_to_text(gate.record.pass));
}

/* ---- looking ---------------------------------------------------------- */

Datum
freeze_in_force(PG_FUNCTION_ARGS)
{
	PfFreeze   *freeze = journal_read_existing(PG_GETARG_INT64(0));
	int64		checked;

	PG_RETURN_BOOL((freeze->state == PF_FROZEN || freeze->state == PF_LOST) && !freeze->is_copy &&
				   (freeze->gap == NULL || freeze->state == PF_LOST) && freeze->strategy->broken(freeze, &checked) == NULL);
}

Datum
freeze_holder_pid(PG_FUNCTION_ARGS)
{
	PfHold		hold = pf_holder_look(PG_GETARG_INT64(0));

	if (hold.state != PF_HOLD_HOLDING)
		PG_RETURN_NULL();
	PG_RETURN_INT32(hold.pid);
}

/* What shared memory says of a freeze by strategy gate; no row where it has none. */
Datum
freeze_gate(PG_FUNCTION_ARGS)
{
	static const char *const phases[] = {"free", "reserved", "draining", "closed", "open"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PfGate		gate;
	Datum		values[5];
	bool		nulls[5] = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (pf_gates == NULL || !pf_gate_read(MyDatabaseId, PG_GETARG_INT64(0), &gate))
		return (Datum) 0;
	values[0] = CStringGetTextDatum(phases[gate.phase]);
	values[1] = TimestampTzGetDatum(gate.closed_at);
	nulls[1] = gate.closed_at == 0;
	values[2] = Int64GetDatum((int64) pg_atomic_read_u64(&gate.counts[PF_COUNT_WAITED]));
	values[3] = Int64GetDatum((int64) (pg_atomic_read_u64(&gate.counts[PF_COUNT_REFUSED]) +
									   pg_atomic_read_u64(&gate.counts[PF_COUNT_LOGINS])));
	values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&gate.counts[PF_COUNT_EXEMPT_COMMITS]));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

static Datum
text_datum(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

Datum
freeze_in_flight(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PfFreeze   *freeze = journal_read_existing(PG_GETARG_INT64(0));
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, pf_drain_blockers(freeze->strategy, &freeze->target, freeze->id, NULL))
	{
		PfBlocker  *blocker = lfirst(cell);
		Datum		values[9];
		bool		nulls[9] = {0};

		values[0] = Int32GetDatum(blocker->pid);
		nulls[0] = blocker->pid == 0;
		values[1] = text_datum(blocker->gid, &nulls[1]);
		nulls[2] = blocker->role == NULL;
		values[2] = blocker->role ? DirectFunctionCall1(namein, CStringGetDatum(blocker->role)) : (Datum) 0;
		values[3] = text_datum(blocker->application, &nulls[3]);
		values[4] = text_datum(see_all ? blocker->address : NULL, &nulls[4]);
		values[5] = text_datum(blocker->state, &nulls[5]);
		values[6] = TimestampTzGetDatum(blocker->since);
		nulls[6] = blocker->since == 0;
		values[7] = text_datum(see_all ? blocker->query : NULL, &nulls[7]);
		values[8] = text_datum(blocker->what, &nulls[8]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
