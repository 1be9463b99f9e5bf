/*-------------------------------------------------------------------------
 *
 * waiters.c
 *	  Who waits for a freeze by strategy "lock" or "gate".
 *
 * Runs in a backend.  Who waits at a gate shows it in shared memory; it may be
 * a session in any database.
 *
 * Lock: one process holds the locks of all such freezes of a
 * database: where there are several, a waiter belongs to those that want what
 * he waits for.  Whoever waits for a lock that this process has waits for the
 * freeze, also where somebody else is before him in the queue.  The lock
 * table is read only if a session here waits at all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "gates.h"
#include "holder.h"
#include "journal.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "wanted.h"

PG_FUNCTION_INFO_V1(freeze_waiting);

/* Columns of freeze_waiting(), and of the query in the same order. */
enum
{
	W_PID, W_ROLE, W_APPLICATION, W_ADDRESS, W_STATE, W_SINCE, W_QUERY, W_OBJECT, W_MODE, W_COLUMNS,
	W_CLASSID = W_COLUMNS, W_OBJID
};

/* $1 is the process that has the locks. */
static const char waiters_sql[] =
"WITH waiting AS MATERIALIZED ("
"	SELECT * FROM pg_stat_activity"
"	WHERE datname = current_database() AND wait_event_type = 'Lock' AND NOT starts_with(backend_type, 'pg_freeze')),"
" lock AS MATERIALIZED ("
"	SELECT pid, granted, mode, waitstart,"
"		CASE WHEN locktype = 'relation' THEN 'pg_class'::regclass ELSE classid END AS classid,"
"		CASE WHEN locktype = 'relation' THEN relation ELSE objid END AS objid"
"	FROM pg_locks"
"	WHERE EXISTS (SELECT FROM waiting) AND locktype IN ('relation', 'object')"
"		AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
" SELECT s.pid, s.usename, s.application_name, host(s.client_addr), s.state, l.waitstart, s.query,"
"	pg_describe_object(l.classid, l.objid, 0), l.mode, l.classid, l.objid"
" FROM waiting s JOIN lock l ON l.pid = s.pid AND NOT l.granted"
" WHERE EXISTS (SELECT FROM lock h WHERE h.pid = $1 AND h.granted AND h.classid = l.classid AND h.objid = l.objid)"
" ORDER BY l.waitstart, s.pid";

/* The same for a gate.  $1 pids, $2 since when, $3 at which door. */
static const char gate_waiters_sql[] =
"SELECT s.pid, s.usename, s.application_name, host(s.client_addr), s.state, w.since, s.query, w.door, NULL::text"
" FROM unnest($1, $2, $3) AS w (pid, since, door) JOIN pg_stat_activity s ON s.pid = w.pid"
" ORDER BY w.since, s.pid";

static bool
is_listed(const PfWantedList *list, Oid classid, Oid objid)
{
	for (int i = 0; i < list->count; i++)
		if (list->items[i].objid == objid && list->items[i].classid == classid)
			return true;
	return false;
}

/* Whether there are other freezes whose locks the same process has. */
static bool
has_company(void)
{
	return list_length(journal_ids("strategy = 'lock' AND state IN ('draining', 'frozen', 'lost')", 0, NULL, NULL)) > 1;
}

/* One row of the result, from row "row" of a query. */
static void
put_row(ReturnSetInfo *rsinfo, uint64 row, bool see_all)
{
	Datum		values[W_COLUMNS];
	bool		nulls[W_COLUMNS];

	for (int column = 0; column < W_COLUMNS; column++)
		values[column] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1, &nulls[column]);
	nulls[W_ADDRESS] |= !see_all;
	nulls[W_QUERY] |= !see_all;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The gate of a freeze of this database, as its bit; 0: there is none. */
static uint64
gate_bit(int64 id)
{
	PfGate	   *gates = palloc(sizeof(PfGate) * PF_GATES);
	uint64		bit = 0;

	(void) pf_gate_copy_all(gates);
	for (int i = 0; i < PF_GATES; i++)
		if (gates[i].phase != PF_GATE_FREE && gates[i].record.cause == PF_CAUSE_FREEZE &&
			gates[i].record.home == MyDatabaseId && gates[i].record.freeze_id == id)
			bit = UINT64CONST(1) << i;
	pfree(gates);
	return bit;
}

static void
wait_at_gate(int64 id, ReturnSetInfo *rsinfo, bool see_all)
{
	static const char *const doors[] = {NULL, "statement", "function", "commit"};
	uint64		bit = gate_bit(id);
	int			size = pf_gates->nbackends;
	Datum	   *pids = palloc(sizeof(Datum) * size);
	Datum	   *since = palloc(sizeof(Datum) * size);
	Datum	   *at = palloc(sizeof(Datum) * size);
	int			count = 0;
	Oid			types[3] = {INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID};
	Datum		values[3];
	PfSpi		spi;

	for (int i = 0; i < size; i++)
	{
		PfGateBackend *backend = &pf_gates->backends[i].backend;
		PfDoor		door = PF_NO_DOOR;

		SpinLockAcquire(&backend->mutex);
		if (backend->pid != 0 && (backend->gates & bit) != 0)
		{
			pids[count] = Int32GetDatum(backend->pid);
			since[count] = TimestampTzGetDatum(backend->since);
			door = backend->door;
		}
		SpinLockRelease(&backend->mutex);
		if (door != PF_NO_DOOR)
			at[count++] = CStringGetTextDatum(doors[door]);
	}
	if (count == 0)
		return;

	values[0] = PointerGetDatum(construct_array(pids, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(since, count, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[2] = PointerGetDatum(construct_array(at, count, TEXTOID, -1, false, TYPALIGN_INT));
	/* else a transaction that polls sees sessions as they were */
	pgstat_clear_backend_activity_snapshot();
	spi = pf_spi_begin();
	journal_execute(gate_waiters_sql, 3, types, values, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
		put_row(rsinfo, i, see_all);
	pf_spi_end(spi);
}

static void
wait_for_locks(PfFreeze *freeze, ReturnSetInfo *rsinfo, bool see_all)
{
	PfWantedList *schemas = NULL;
	PfWantedList *relations = NULL;
	PfHold		hold;
	Oid			type = INT4OID;
	Datum		value;
	PfSpi		spi;

	hold = pf_holder_look(freeze->id);
	if (hold.pid == 0)
		return;
	if (has_company())
	{
		schemas = pf_wanted_schemas(&freeze->target);
		relations = pf_wanted_relations(&freeze->target);
	}

	value = Int32GetDatum(hold.pid);
	spi = pf_spi_begin();
	journal_execute(waiters_sql, 1, &type, &value, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		Oid			classid = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, W_CLASSID + 1, &isnull));
		Oid			objid = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, W_OBJID + 1, &isnull));

		if (schemas == NULL || is_listed(schemas, classid, objid) || is_listed(relations, classid, objid))
			put_row(rsinfo, i, see_all);
	}
	pf_spi_end(spi);
}

Datum
freeze_waiting(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PfFreeze   *freeze = journal_read_existing(PG_GETARG_INT64(0));
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);

	InitMaterializedSRF(fcinfo, 0);
	if (freeze->is_copy)
		return (Datum) 0;
	if (freeze->strategy == &pf_lock)
		wait_for_locks(freeze, rsinfo, see_all);
	else if (freeze->strategy->doors && pf_gates)
		wait_at_gate(freeze->id, rsinfo, see_all);
	return (Datum) 0;
}
