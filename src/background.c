/*-------------------------------------------------------------------------
 *
 * background.c
 *	  Gates and the processes that are no client sessions: autovacuum and
 *	  logical replication.
 *
 * pf_background_passes() runs in those processes themselves, when they come to
 * a door while some gate is closed: in any case before the commit of each of
 * their transactions.  The first of these is the one in which InitPostgres()
 * connects to the database: nothing has been done then, nothing has been said
 * in the log, and no publisher has been connected to.
 *
 * Autovacuum.  A worker whose database is a gate's, or any while the cluster is
 * frozen, ends there as if it had found nothing to do.  The launcher notes the
 * time of a visit when a worker starts, so it comes again after the usual
 * pause.  Against wraparound it passes, because no freeze is worth a database
 * that has stopped, and is counted.  Gates of roles are no concern of it.
 *
 * Logical replication.  A worker waits there, for as long as it takes: if it
 * left, the launcher would start another one every few seconds, with a line in
 * the log each time.  What stops it is membership of the subscription's owner,
 * who is the session user; that owners are mostly superusers lets nobody pass,
 * but pg_freeze.exempt_roles does.  In a later transaction it is in the middle
 * of a connection, and one that neither reads nor answers is dropped by the
 * publisher in the end; so it is ended instead, and its successor waits.  It
 * never gets an ordinary error of a door there, which disable_on_error would
 * take for a reason to disable the subscription.  Where it is stopped for what
 * it has done as somebody else, in a trigger, its successor would come as far
 * and end again and again: it waits, and is ended at the thaw.
 *
 * COMMIT PREPARED of a two-phase subscription passes no door at all: the server
 * finishes the transaction directly.  Hence pf_background_engage() ends the
 * workers, and a freeze is not frozen before they are gone.  A worker is in
 * pg_stat_activity before it looks whether a gate is closed, and a gate is
 * closed before pg_stat_activity is read: one of the two sees the other.  One
 * that waits already needs no end; it shows that as others do who wait at a
 * door, and takes that back before it looks for the last time.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "background.h"
#include "belongs.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "door.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "postmaster/interrupt.h"
#include "replication/logicalworker.h"
#include "step.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define LOOK_AGAIN 1000			/* ms, whether settings have changed; thaws don't wait for it */

/*
 * $1 the target's database, or 0.  The type of a worker of logical replication
 * may have a word in the middle, and the launcher is none.  Autovacuum that is
 * at no table goes by itself.
 */
static const char workers_sql[] =
"SELECT pid, usesysid, backend_type = 'autovacuum worker'\n"
"FROM pg_stat_activity\n"
"WHERE ($1 = 0 OR datid = $1)\n"
"	AND CASE WHEN backend_type = 'autovacuum worker'\n"
"		THEN query LIKE 'autovacuum: %' AND query NOT LIKE '%(to prevent wraparound)%'\n"
"		ELSE backend_type LIKE 'logical replication %worker' END";

/* ---- autovacuum -------------------------------------------------------- */

/* The gates that keep autovacuum out of this database. */
static uint64
gates_of_database(void)
{
	uint64		gates = 0;

	LWLockAcquire(pf_gates->lock, LW_SHARED);
	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGate *gate = &pf_gates->gates[i];
		const PfTarget *target = &gate->record.target;

		if ((gate->phase == PF_GATE_DRAINING || gate->phase == PF_GATE_CLOSED) &&
			(target->kind == PF_CLUSTER || (target->kind == PF_DATABASE && target->oid == MyDatabaseId)))
			gates |= UINT64CONST(1) << i;
	}
	LWLockRelease(pf_gates->lock);
	return gates;
}

/* Whether the launcher sends workers to this database for its age, as do_start_worker() has it. */
static bool
database_is_old(void)
{
	TransactionId oldest_xid = ReadNextTransactionId() - autovacuum_freeze_max_age;
	MultiXactId oldest_multi = ReadNextMultiXactId() - MultiXactMemberFreezeThreshold();
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	bool		old = false;

	if (oldest_xid < FirstNormalTransactionId)
		oldest_xid -= FirstNormalTransactionId;
	if (oldest_multi < FirstMultiXactId)
		oldest_multi -= FirstMultiXactId;
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		old = TransactionIdPrecedes(database->datfrozenxid, oldest_xid) ||
			MultiXactIdPrecedes(database->datminmxid, oldest_multi);
		ReleaseSysCache(tuple);
	}
	return old;
}

static void
autovacuum_stays_away(void)
{
	uint64		gates = gates_of_database();

	if (gates == 0)
		return;

	/* one table can be in need while the database is not */
	if ((MyProc->statusFlags & PROC_VACUUM_FOR_WRAPAROUND) == 0 && !database_is_old())
		proc_exit(0);
	if ((MyProc->statusFlags & PROC_IN_VACUUM) != 0 || TransactionIdIsValid(GetTopTransactionIdIfAny()))
		pf_gate_count(gates, PF_COUNT_WRAPAROUND);
}

/* ---- logical replication ------------------------------------------------ */

/* The gates that stop this worker. */
static uint64
gates_of_worker(void)
{
	if (!PF_ANY_GATE(pg_atomic_read_u64(&pf_gates->word)) ||
		pf_role_is_exempt(GetUserNameFromId(GetSessionUserId(), false)))
		return 0;
	return pf_belongs().covered;
}

static void
sleep_until_thawed(void)
{
	static uint32 wait_event = 0;
	TimestampTz since = GetCurrentTimestamp();
	uint64		gates;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeGate");
	ConditionVariablePrepareToSleep(&pf_gates->changed);
	while ((gates = gates_of_worker()) != 0)
	{
		pf_door_show(PF_DOOR_COMMIT, gates, since);
		/* hold no xmin back */
		InvalidateCatalogSnapshot();
		(void) ConditionVariableTimedSleep(&pf_gates->changed, LOOK_AGAIN, wait_event);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	ConditionVariableCancelSleep();
	pf_door_show_no_more();
}

/* Whether one of the gates stops everything that this session does. */
static bool
stops_session(uint64 gates)
{
	for (int i = 0; i < PF_GATES; i++)
	{
		const PfTarget *target = &pf_belongs_gate(i)->record.target;

		if ((gates & (UINT64CONST(1) << i)) != 0 &&
			(target->kind != PF_ROLE || pf_role_belongs(GetSessionUserId(), target->oid)))
			return true;
	}
	return false;
}

static void
wait_for_thaw(void)
{
	do
	{
		pgstat_report_activity(STATE_RUNNING, "waiting for a thaw (pg_freeze)");
		sleep_until_thawed();
		pgstat_report_activity(STATE_IDLE, "");
		pg_memory_barrier();
	} while (gates_of_worker() != 0);
}

static void
replication_stays_away(void)
{
	uint64		gates = gates_of_worker();

	if (gates == 0)
		return;
	if (IsInitProcessingMode())
	{
		/* InitPostgres() has it until it shows which database it is in: since then nobody needs it */
		UnlockSharedObject(DatabaseRelationId, MyDatabaseId, 0, RowExclusiveLock);
		pf_disable_transaction_timeout();
		wait_for_thaw();
		return;
	}

	if (!stops_session(gates))
		wait_for_thaw();
	ereport(FATAL,
			(errcode(ERRCODE_ADMIN_SHUTDOWN),
			 errmsg("terminating logical replication worker because of a freeze"),
			 errdetail("The next one goes on after the thaw.")));
}

bool
pf_background_passes(void)
{
	if (AmAutoVacuumWorkerProcess())
	{
		autovacuum_stays_away();
		return true;
	}
	if (IsLogicalWorker())
		replication_stays_away();
	return false;
}

/* ---- engage -------------------------------------------------------------- */

/* Whether a target has to do with who owns a subscription.  A database has been looked at already. */
static bool
owner_belongs(const PfTarget *target, Oid owner)
{
	char	   *name = GetUserNameFromId(owner, true);

	return (target->kind != PF_ROLE || pf_role_belongs(owner, target->oid)) &&
		!(name && pf_role_is_exempt(name));
}

static bool
waits_at_a_door(int pid)
{
	bool		waits = false;

	for (int i = 0; i < pf_gates->nbackends && !waits; i++)
	{
		PfGateBackend *backend = &pf_gates->backends[i].backend;

		SpinLockAcquire(&backend->mutex);
		waits = backend->pid == pid;
		SpinLockRelease(&backend->mutex);
	}
	return waits;
}

/* See background.h. */
List *
pf_background_workers(const PfTarget *target)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {OIDOID};
	Datum		values[1];
	List	   *workers = NIL;
	PfSpi		spi;

	values[0] = ObjectIdGetDatum(target->kind == PF_DATABASE ? target->oid : InvalidOid);
	/* pg_stat_activity stands still in a transaction unless it is told not to */
	pgstat_clear_backend_activity_snapshot();
	spi = pf_spi_begin();
	journal_execute(workers_sql, 1, types, values, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int			pid = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		bool		is_autovacuum = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
		Oid			owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));

		if (is_autovacuum ? target->kind != PF_ROLE : owner_belongs(target, owner) && !waits_at_a_door(pid))
		{
			MemoryContext old = MemoryContextSwitchTo(context);
			PfBackgroundWorker *worker = palloc(sizeof(PfBackgroundWorker));

			worker->pid = pid;
			worker->is_autovacuum = is_autovacuum;
			workers = lappend(workers, worker);
			MemoryContextSwitchTo(old);
		}
	}
	pf_spi_end(spi);
	return workers;
}

/* As pg_cancel_backend() and pg_terminate_backend() do it, with no WARNING about one that has just gone. */
bool
pf_background_engage(const PfTarget *target)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *workers;
	ListCell   *cell;
	bool		nobody_left;

	pf_begin();
	workers = pf_background_workers(target);
	foreach(cell, workers)
	{
		PfBackgroundWorker *worker = lfirst(cell);

		if (BackendPidGetProc(worker->pid) != NULL)
			(void) kill(worker->pid, worker->is_autovacuum ? SIGINT : SIGTERM);
	}
	nobody_left = workers == NIL;
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return nobody_left;
}
