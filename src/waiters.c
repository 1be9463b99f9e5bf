/*-------------------------------------------------------------------------
 *
 * waiters.c
 *	  Who waits for a freeze by strategy "lock".
 *
 * Runs in a backend.  One process holds the locks of all such freezes of a
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
#include "holder.h"
#include "journal.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
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

Datum
freeze_waiting(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PfFreeze   *freeze = journal_read_existing(PG_GETARG_INT64(0));
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	PfWantedList *schemas = NULL;
	PfWantedList *relations = NULL;
	PfHold		hold;
	Oid			type = INT4OID;
	Datum		value;
	PfSpi		spi;

	InitMaterializedSRF(fcinfo, 0);
	if (freeze->strategy != &pf_lock || freeze->is_copy)
		return (Datum) 0;
	hold = pf_holder_look(freeze->id);
	if (hold.pid == 0)
		return (Datum) 0;
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
		Datum		values[W_OBJID + 1];
		bool		nulls[W_OBJID + 1];

		for (int column = 0; column <= W_OBJID; column++)
			values[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column + 1, &nulls[column]);
		if (schemas &&
			!is_listed(schemas, DatumGetObjectId(values[W_CLASSID]), DatumGetObjectId(values[W_OBJID])) &&
			!is_listed(relations, DatumGetObjectId(values[W_CLASSID]), DatumGetObjectId(values[W_OBJID])))
			continue;
		nulls[W_ADDRESS] |= !see_all;
		nulls[W_QUERY] |= !see_all;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pf_spi_end(spi);
	return (Datum) 0;
}
