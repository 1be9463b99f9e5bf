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

#include "access/xact.h"
#include "arguments.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "drain.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "gates.h"
#include "guc.h"
#include "holder.h"
#include "journal.h"
#include "miscadmin.h"
#include "sessions.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(freeze_role);
PG_FUNCTION_INFO_V1(freeze_schema);
PG_FUNCTION_INFO_V1(freeze_database);
PG_FUNCTION_INFO_V1(freeze_cluster);
PG_FUNCTION_INFO_V1(freeze_check);
PG_FUNCTION_INFO_V1(freeze_in_force);
PG_FUNCTION_INFO_V1(freeze_in_flight);
PG_FUNCTION_INFO_V1(freeze_sessions_of);
PG_FUNCTION_INFO_V1(freeze_holder_pid);
PG_FUNCTION_INFO_V1(freeze_gate);

/* ---- freezing --------------------------------------------------------- */

/* The request of a freeze function or of freeze_check, whose arguments from number "first" on are mode to reason. */
static PfRequest *
freeze_request(FunctionCallInfo fcinfo, PfKind kind, Name name, int first, const PfStrategy **strategy)
{
	PfRequest  *request = pf_freeze_request(fcinfo, kind, name, first, strategy);

	pf_copy_argument("label", request->label, sizeof(request->label), pf_text_argument(fcinfo, first + 8));
	pf_copy_argument("reason", request->reason, sizeof(request->reason), pf_text_argument(fcinfo, first + 9));
	return request;
}

static Datum
freeze_any(FunctionCallInfo fcinfo, PfKind kind)
{
	int			first = kind == PF_CLUSTER ? 0 : 1;
	const PfStrategy *strategy;
	PfRequest  *request = freeze_request(fcinfo, kind, first && !PG_ARGISNULL(0) ? PG_GETARG_NAME(0) : NULL, first, &strategy);
	char	   *id = NULL;
	PfReply		reply = {.row = pf_value_row,.notice = pf_caller_notice,.arg = &id};

	pf_check_not_writing();
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

		/* it is ended at once */
		if (strategy->recycles && blocker->state && strcmp(blocker->state, "idle") == 0)
			continue;
		check_row(rsinfo, "blocker", blocker->pid ? "session" : "prepared transaction",
				  blocker->pid ? psprintf("%d", blocker->pid) : blocker->gid,
				  psprintf("%s: %s", blocker->role, blocker->what));
	}
	foreach(cell, pf_sessions_all(strategy, &request->target, 0, blockers))
	{
		PfSession  *session = lfirst(cell);

		if (session->blocker->pid)
			check_row(rsinfo, "session", session->next_rung ? session->next_rung : "left alone",
					  psprintf("%d", session->blocker->pid),
					  psprintf("%s: %s", session->blocker->role ? session->blocker->role : "-", session->why));
	}
	foreach(cell, strategy->leaks(&request->target))
		check_row(rsinfo, "leak", ((PfNote *) lfirst(cell))->code, NULL, ((PfNote *) lfirst(cell))->text);
	foreach(cell, strategy->also_stops(&request->target))
		check_row(rsinfo, "also stops", ((PfNote *) lfirst(cell))->code, NULL, ((PfNote *) lfirst(cell))->text);
	return (Datum) 0;
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

/* No row in a copy of the database: what it says of roles and databases may be about others there. */
Datum
freeze_sessions_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PfFreeze   *freeze = journal_read_existing(PG_GETARG_INT64(0));
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	List	   *blockers;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (freeze->is_copy || !pf_state_is_live(freeze->state))
		return (Datum) 0;
	blockers = pf_drain_blockers(freeze->strategy, &freeze->target, freeze->id, NULL);
	foreach(cell, pf_sessions_all(freeze->strategy, &freeze->target, freeze->id, blockers))
	{
		PfSession  *session = lfirst(cell);
		PfBlocker  *blocker = session->blocker;
		TimestampTz since = blocker->since ? blocker->since : blocker->state_change;
		Datum		values[12];
		bool		nulls[12] = {0};

		values[0] = Int32GetDatum(blocker->pid);
		nulls[0] = blocker->pid == 0;
		nulls[1] = blocker->role == NULL;
		values[1] = blocker->role ? DirectFunctionCall1(namein, CStringGetDatum(blocker->role)) : (Datum) 0;
		nulls[2] = blocker->database == NULL;
		values[2] = blocker->database ? DirectFunctionCall1(namein, CStringGetDatum(blocker->database)) : (Datum) 0;
		values[3] = text_datum(blocker->application, &nulls[3]);
		values[4] = text_datum(blocker->state, &nulls[4]);
		values[5] = TimestampTzGetDatum(since);
		nulls[5] = since == 0;
		values[6] = BoolGetDatum(session->in_flight);
		values[7] = BoolGetDatum(session->writer);
		values[8] = text_datum(session->next_rung, &nulls[8]);
		values[9] = text_datum(session->why, &nulls[9]);
		values[10] = text_datum(see_all ? blocker->address : NULL, &nulls[10]);
		values[11] = text_datum(see_all ? blocker->query : NULL, &nulls[11]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
