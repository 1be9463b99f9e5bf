/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  What has to be done for the whole cluster: after a start of the server,
 *	  after a promotion, and on the way out.
 *
 * A static worker, registered when the library is preloaded, connected to no
 * database.  It starts, for one database after the other, a scheduler without
 * a board, which sees what there is to do: finish what a shutdown interrupted,
 * thaw what came due, or nothing.  By going on only when that process has ended
 * it needs few worker slots, besides those of the schedulers that stay.
 *
 * A server that was a standby begins with a gate of cause PF_CAUSE_PROMOTION
 * (statefile.c).  Where pg_freeze.on_promote is lost it stops nobody and is
 * removed at once.  Where it is keep, it stops everybody (superusers when they
 * write) until each database's scheduler has said that it has read the journal
 * and made the gates anew: a database that fails keeps it closed, because of
 * what may be frozen there.
 *
 * After that it sleeps until its latch is set, on a reload in particular, and
 * then looks whether there is a file pg_freeze.open: the way out for whom no
 * SQL function helps any more.  It looks in all its waits.
 *
 * A crash of the server starts it again, and an error does, 10 seconds later.
 * A database whose scheduler is there already takes no harm: that one looks.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "live.h"
#include "pg_freeze.h"
#include "scheduler.h"
#include "statefile.h"
#include "values.h"
#include "worker.h"

/* ms for the recovery of a database, before that of the next one begins */
#define LAUNCH_WAIT		60000

/* pg_database.datconnlimit of a database whose DROP was interrupted */
#define INVALID_DATABASE	(-2)

PGDLLEXPORT void pf_launcher_main(Datum main_arg);

static bool
is_disconnected(List *held, Oid database)
{
	ListCell   *cell;

	foreach(cell, held)
		if (((PfValue *) lfirst(cell))->database == database)
			return true;
	return false;
}

/* The databases that can be connected to (Oids), as a list in the caller's context. */
List *
pf_scheduler_list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *databases = NIL;
	List	   *held;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	held = pf_values_held(PF_VALUE_CONNECTIONS);
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		/* template0 and its like, but not one that a freeze has disconnected */
		if ((database->datistemplate && !database->datallowconn && !is_disconnected(held, database->oid)) ||
			database->datconnlimit == INVALID_DATABASE)
			continue;
		old = MemoryContextSwitchTo(context);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return databases;
}

static bool
database_exists(Oid database)
{
	bool		exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	CommitTransactionCommand();
	return exists;
}

/* ---- the way out ------------------------------------------------------ */

/*
 * Forgets every gate if there is the file that asks for it.  The journals
 * don't say so yet: that is for the schedulers, which see that the gates are
 * gone.
 */
static void
take_way_out(void)
{
	PfGate	   *gates;
	List	   *homes = NIL;
	ListCell   *cell;

	if (!pf_way_out_is_asked())
		return;
	gates = palloc(PF_GATES * sizeof(PfGate));
	(void) pf_gate_copy_all(gates);
	for (int i = 0; i < PF_GATES; i++)
	{
		Oid			home = gates[i].record.home;

		if (gates[i].phase == PF_GATE_FREE)
			continue;
		(void) pf_gate_remove(home, gates[i].record.freeze_id);
		if (OidIsValid(home))
			homes = list_append_unique_oid(homes, home);
	}
	pf_way_out_done();
	foreach(cell, homes)
		(void) pf_scheduler_register(lfirst_oid(cell), DSM_HANDLE_INVALID);
	list_free(homes);
	pfree(gates);
}

/* Sleeps for at most so many ms, -1: for ever, looking for the way out. */
static void
doze(long timeout)
{
	pf_scheduler_doze(timeout);
	take_way_out();
}

/* ---- one database after the other ------------------------------------- */

/* See scheduler.h. */
void
pf_scheduler_attended(void)
{
	uint32		expected = MyDatabaseId;

	if (pf_gates)
		(void) pg_atomic_compare_exchange_u32(&pf_gates->awaited, &expected, InvalidOid);
}

static bool
is_attended(void)
{
	return pg_atomic_read_u32(&pf_gates->awaited) == InvalidOid;
}

/* Whether the gate of a promotion is there, whose end needs all journals. */
static bool
awaits_journals(void)
{
	PfGate		gate;

	return pf_gate_read(InvalidOid, PF_NO_FREEZE, &gate) && gate.record.cause == PF_CAUSE_PROMOTION;
}

/*
 * Starts a scheduler for a database and waits until it has found nothing to
 * do or handed over to one that sleeps: then its process is gone.  One that
 * finds no slot for its successor stays, and doesn't hold up the others.
 * After a promotion waits until it says that it has attended, however often it
 * has to be started for that, unless the database has gone or somebody has
 * opened the cluster.
 */
static void
launch(Oid database)
{
	BackgroundWorkerHandle *worker;
	TimestampTz start;
	bool		said = false;

	pg_atomic_write_u32(&pf_gates->awaited, database);
	while ((worker = pf_scheduler_register(database, DSM_HANDLE_INVALID)) == NULL)
	{
		if (!said)
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("pg_freeze waits for a free background worker to look after database %u", database),
					 errhint("Raise max_worker_processes (now %d).", max_worker_processes)));
		said = true;
		doze(PF_RETRY_EVERY);
	}

	start = GetCurrentTimestamp();
	said = false;
	for (;;)
	{
		bool		must_attend = awaits_journals();
		bool		stopped = pf_scheduler_is_stopped(worker);
		bool		late = TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LAUNCH_WAIT);

		if (must_attend ? is_attended() : (stopped || late))
			break;
		if (must_attend && stopped && !is_attended() && !database_exists(database))
			break;
		if (must_attend && late && !said)
		{
			said = true;
			ereport(LOG,
					(errmsg("pg_freeze: the cluster stays closed after its promotion until the journal of database %u is read", database),
					 errhint("Look in the log why that fails. A superuser can open it: SELECT * FROM thaw_cluster(force => true);")));
		}
		doze(1000);
	}
	pfree(worker);
}

/* ---- the cluster ------------------------------------------------------ */

/* Opens the gates whose journal went with its database. */
static void
forget_homeless(void)
{
	PfGate	   *gates = palloc(PF_GATES * sizeof(PfGate));

	(void) pf_gate_copy_all(gates);
	for (int i = 0; i < PF_GATES; i++)
	{
		PfGateRecord *record = &gates[i].record;

		if (gates[i].phase == PF_GATE_FREE || record->cause != PF_CAUSE_FREEZE || database_exists(record->home))
			continue;
		(void) pf_gate_remove(record->home, record->freeze_id);
		ereport(LOG,
				(errmsg("pg_freeze: the gate of %s is open, because the database with the journal of freeze " INT64_FORMAT " is gone",
						pf_target_text(&record->target), record->freeze_id)));
	}
	pfree(gates);
}

/* The entry point of the launcher. */
void
pf_launcher_main(Datum main_arg)
{
	List	   *databases;
	ListCell   *cell;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	take_way_out();
	if (pf_guc_on_promote == PF_PROMOTE_LOST && awaits_journals())
		(void) pf_gate_remove_without_freeze();

	BackgroundWorkerInitializeConnectionByOid(InvalidOid, InvalidOid, 0);
	pf_worker_settings();

	pgstat_report_activity(STATE_RUNNING, "pg_freeze: looking after all databases");
	forget_homeless();
	databases = pf_scheduler_list_databases();
	foreach(cell, databases)
		launch(lfirst_oid(cell));
	list_free(databases);
	pf_live_complete();
	if (awaits_journals() && pf_gate_remove_without_freeze())
		ereport(LOG,
				(errmsg("pg_freeze: all journals are read after the promotion; who is not frozen goes on")));
	pgstat_report_activity(STATE_IDLE, NULL);
	for (;;)
		doze(-1);
}

/* See scheduler.h. */
void
pf_scheduler_register_launcher(void)
{
	BackgroundWorker worker;

	pf_worker_describe(&worker, "launcher", "", PF_RESTART_AFTER);
	RegisterBackgroundWorker(&worker);
}
