/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  After a start of the server: a scheduler for each database that needs one.
 *
 * A static worker, registered when the library is preloaded.  It starts, for
 * one database after the other, a scheduler without a board, which sees what
 * there is to do: finish what a shutdown interrupted, thaw what came due, or
 * nothing.  By going on only when that process has ended it needs few worker
 * slots, besides those of the schedulers that stay.
 *
 * Having done so it ends with status 0, for good: a crash of the server doesn't
 * bring it back, but does bring back the schedulers, whose registrations
 * outlive it.  An error ends it with status 1 and has it begin again 10 seconds
 * later; a database whose scheduler is there already takes no harm.
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
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg_freeze.h"
#include "scheduler.h"
#include "worker.h"

/* ms for the recovery of a database, before that of the next one begins */
#define LAUNCH_WAIT		60000

/* pg_database.datconnlimit of a database whose DROP was interrupted */
#define INVALID_DATABASE	(-2)

PGDLLEXPORT void pf_launcher_main(Datum main_arg);

/* The databases that can be connected to, as a list in the caller's context. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *databases = NIL;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		/* template0 and its like */
		if ((database->datistemplate && !database->datallowconn) ||
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

/*
 * Starts a scheduler for a database and waits until it has found nothing to
 * do or handed over to one that sleeps: then its process is gone.  One that
 * finds no slot for its successor stays, and doesn't hold up the others.
 */
static void
launch(Oid database)
{
	BackgroundWorkerHandle *worker;
	TimestampTz start;
	bool		said = false;

	while ((worker = pf_scheduler_register(database, DSM_HANDLE_INVALID)) == NULL)
	{
		if (!said)
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("pg_freeze waits for a free background worker to look after database %u", database),
					 errhint("Raise max_worker_processes (now %d).", max_worker_processes)));
		said = true;
		pf_scheduler_doze(PF_RETRY_EVERY);
	}

	start = GetCurrentTimestamp();
	while (!pf_scheduler_is_stopped(worker) &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LAUNCH_WAIT))
		pf_scheduler_doze(1000);
	pfree(worker);
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

	BackgroundWorkerInitializeConnectionByOid(InvalidOid, InvalidOid, 0);
	pf_worker_settings();

	databases = list_databases();
	foreach(cell, databases)
		launch(lfirst_oid(cell));
	proc_exit(0);
}

/* See scheduler.h. */
void
pf_scheduler_register_launcher(void)
{
	BackgroundWorker worker;

	pf_worker_describe(&worker, "launcher", "", PF_RESTART_AFTER);
	RegisterBackgroundWorker(&worker);
}
