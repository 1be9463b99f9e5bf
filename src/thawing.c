/*-------------------------------------------------------------------------
 *
 * thawing.c
 *	  The SQL functions about live freezes: thaw them, change them, pass them.
 *
 * A freeze may have been made in another database: its worker runs there, and
 * looks there once more who may.  Gates are opened here, before a worker is
 * asked for and before anything that could keep this backend waiting; from
 * then on the thaw is going to be finished, by the scheduler if by nobody else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "arguments.h"
#include "board.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "gates.h"
#include "journal.h"
#include "live.h"
#include "miscadmin.h"
#include "scheduler.h"
#include "storage/ipc.h"
#include "thaw.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

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

typedef struct RowSink
{
	ReturnSetInfo *rsinfo;		/* NULL: into row */
	AttInMetadata *meta;
	char	  **row;
	char	   *not_held;		/* the first freeze that did not hold */
	char	   *not_held_why;
} RowSink;

/* A row of the verdict: into the result set. */
static void
verdict_row(PfReply *reply, int nvalues, char **values)
{
	RowSink    *sink = reply->arg;

	if (sink->rsinfo)
		tuplestore_puttuple(sink->rsinfo->setResult, BuildTupleFromCStrings(sink->meta, values));
	else
		for (int i = 0; i < nvalues; i++)
			sink->row[i] = values[i] ? pstrdup(values[i]) : NULL;
	if (sink->not_held == NULL && (values[3] == NULL || strcmp(values[3], "t") != 0))
	{
		sink->not_held = pstrdup(values[0]);
		sink->not_held_why = pstrdup(values[4] && values[4][0] ? values[4] : values[5]);
	}
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
	request->caller = pf_this_caller();
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

typedef struct ThawIn
{
	const Home *home;
	PfReply    *reply;
	bool		at_once;
} ThawIn;

static void
thaw_in_one(void *arg)
{
	ThawIn	   *thaw = arg;

	thaw->at_once = thaw_in(thaw->home, thaw->reply);
}

/* The same; what fails in one database doesn't keep the others frozen.  Returns the error. */
static ErrorData *
try_thaw_in(const Home *home, PfReply *reply, bool *at_once)
{
	ThawIn		thaw = {home, reply, true};
	ErrorData  *error = pf_try(thaw_in_one, &thaw);

	*at_once &= thaw.at_once;
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
	PfReply		reply = {.row = verdict_row,.notice = pf_caller_notice,.arg = sink};
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

/* Thaws the freezes (List of PfFreeze *). */
static void
thaw_freezes(List *freezes, RowSink *sink, bool require_held)
{
	List	   *homes = by_home(freezes);

	open_gates(freezes);
	if (is_any_open(freezes))
	{
		PG_ENSURE_ERROR_CLEANUP(leave_thaws, PointerGetDatum(homes));
		{
			/* with no worker it may be rolled back */
			if (!run_thaw(homes, sink, require_held))
				leave_thaws(0, PointerGetDatum(homes));
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_thaws, PointerGetDatum(homes));
	}
	else
		(void) run_thaw(homes, sink, require_held);
}

/* The same; fills the result set. */
static Datum
thaw_list(FunctionCallInfo fcinfo, List *freezes, bool require_held)
{
	RowSink		sink = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	sink.meta = TupleDescGetAttInMetadata(sink.rsinfo->setDesc);
	if (freezes != NIL)
		thaw_freezes(freezes, &sink, require_held);
	return (Datum) 0;
}

/* See thaw.h. */
void
pf_thaw_one(PfFreeze *freeze, char **row)
{
	RowSink		sink = {.row = row};

	pf_check_may_end(freeze, GetUserId());
	pf_check_in_hold(freeze);
	thaw_freezes(list_make1(freeze), &sink, false);
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

	pf_check_server();
	pf_check_argument(fcinfo, 0, "id");
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2));
	return thaw_list(fcinfo, list_make1(freeze), pf_flag_argument(fcinfo, 1));
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

	pf_check_server();
	pf_check_argument(fcinfo, 0, "label");
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
	return thaw_list(fcinfo, freezes, pf_flag_argument(fcinfo, 1));
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
	bool		force = pf_flag_argument(fcinfo, first);
	Oid			types[3] = {TEXTOID, OIDOID, TEXTOID};
	Datum		values[3];
	List	   *freezes;
	ListCell   *cell;

	pf_check_server();
	if (kind != PF_CLUSTER)
	{
		pf_check_argument(fcinfo, 0, pf_kind_name(kind));
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
	return thaw_list(fcinfo, freezes, pf_flag_argument(fcinfo, first + 1));
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

	pf_check_server();
	if (open_without_freeze(pf_flag_argument(fcinfo, 0)) && same_target_elsewhere(&target) == NIL &&
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

	pf_check_server();
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
	return thaw_list(fcinfo, mine, pf_flag_argument(fcinfo, 0));
}

Datum
freeze_extend(PG_FUNCTION_ARGS)
{
	Size		size = offsetof(PfRequest, ids) + sizeof(int64);
	PfRequest  *request = palloc0(size);
	char	   *at = NULL;
	PfReply		reply = {.row = pf_value_row,.notice = pf_caller_notice,.arg = &at};
	PfFreeze   *freeze;

	pf_check_server();
	pf_check_argument(fcinfo, 0, "id");
	pf_check_argument(fcinfo, 1, "by");
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2));
	request->action = PF_EXTEND;
	request->database = freeze->home;
	request->extend_by = pf_span_argument("by", PG_GETARG_INTERVAL_P(1));
	pf_check_max_hold("by", request->extend_by);
	request->caller = pf_this_caller();
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
	PfReply		reply = {.row = pf_value_row,.notice = pf_caller_notice};
	PfFreeze   *freeze;

	pf_check_server();
	pf_check_argument(fcinfo, 0, "id");
	pf_check_argument(fcinfo, 1, "action");
	request->options.action = pf_action_parse(pf_text_argument(fcinfo, 1));
	freeze = find_freeze(PG_GETARG_INT64(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_NAME(2));
	/* of one that isn't known here the worker finds that out */
	if (freeze->strategy && freeze->strategy->alter == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("freeze " INT64_FORMAT " cannot be altered", freeze->id),
				 errdetail("Strategy %s can only %s.", freeze->strategy->name, freeze->strategy->rejects ? "reject" : "let wait")));
	request->action = PF_ALTER;
	request->database = freeze->home;
	request->caller = pf_this_caller();
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

	pf_check_server();
	pf_check_argument(fcinfo, 0, "id");
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
