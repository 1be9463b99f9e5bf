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
 * take for a reason to disable the subscription.
 *
 * COMMIT PREPARED of a two-phase subscription passes no door at all: the server
 * finishes the transaction directly.  Hence pf_background_engage() ends the
 * workers, and a freeze is not frozen before they are gone.  A worker is in
 * pg_stat_activity before it looks whether a gate is closed, and a gate is
 * closed before pg_stat_activity is read: one of the two sees the other.  For
 * one that waits already, and so needs no end, its text in pg_stat_activity
 * says so; it is taken away before the worker looks for the last time.
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
#include "utils/wait_event.h"

#define LOOK_AGAIN 1000			/* ms, whether settings have changed; thaws don't wait for it */
#define WAITING_TEXT "waiting for a thaw (pg_freeze)"

/*
 * $1 the target's database, or 0.  A type of worker may stand between, and
 * the launcher of logical replication is none.
 */
static const char workers_sql[] =
"SELECT pid, usesysid, backend_type = 'autovacuum worker'\n"
"FROM pg_stat_activity\n"
"WHERE ($1 = 0 OR datid = $1)\n"
"	AND CASE WHEN backend_type = 'autovacuum worker' THEN query NOT LIKE '%(to prevent wraparound)%'\n"
"		ELSE backend_type LIKE 'logical replication %worker' AND query IS DISTINCT FROM '" WAITING_TEXT "' END";

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

static bool
replication_is_stopped(void)
{
	return PF_ANY_GATE(pg_atomic_read_u64(&pf_gates->word)) &&
		pf_belongs().covered != 0 &&
		!pf_role_is_exempt(GetUserNameFromId(GetSessionUserId(), false));
}

static void
sleep_until_thawed(void)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeGate");
	ConditionVariablePrepareToSleep(&pf_gates->changed);
	while (replication_is_stopped())
	{
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
}

static void
replication_stays_away(void)
{
	if (!replication_is_stopped())
		return;

	if (!IsInitProcessingMode())
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("terminating logical replication worker because of a freeze"),
				 errdetail("The next one waits for the thaw.")));

	/* InitPostgres() has it until it shows which database it is in: since then nobody needs it */
	UnlockSharedObject(DatabaseRelationId, MyDatabaseId, 0, RowExclusiveLock);
	pf_disable_transaction_timeout();

	do
	{
		pgstat_report_activity(STATE_RUNNING, WAITING_TEXT);
		sleep_until_thawed();
		pgstat_report_activity(STATE_IDLE, "");
		pg_memory_barrier();
	} while (replication_is_stopped());
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

/* As pg_cancel_backend() and pg_terminate_backend(), with no WARNING where it has just gone. */
static void
signal_worker(int pid, int signal)
{
	if (BackendPidGetProc(pid) != NULL)
		(void) kill(pid, signal);
}

bool
pf_background_engage(const PfTarget *target)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {OIDOID};
	Datum		values[1];
	bool		nobody_left = true;
	PfSpi		spi;

	values[0] = ObjectIdGetDatum(target->kind == PF_DATABASE ? target->oid : InvalidOid);
	pf_begin();
	pgstat_clear_backend_activity_snapshot();
	spi = pf_spi_begin();
	journal_execute(workers_sql, 1, types, values, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int			pid = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		Oid			owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));

		if (DatumGetBool(SPI_getbinval(row, desc, 3, &isnull)))
		{
			if (target->kind != PF_ROLE)
				signal_worker(pid, SIGINT);
			continue;
		}
		if (target->kind == PF_ROLE && !pf_role_belongs(owner, target->oid))
			continue;
		if (OidIsValid(owner))
		{
			char	   *name = GetUserNameFromId(owner, true);

			if (name && pf_role_is_exempt(name))
				continue;
		}
		signal_worker(pid, SIGTERM);
		nobody_left = false;
	}
	pf_spi_end(spi);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return nobody_left;
}
