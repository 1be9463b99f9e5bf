/*
 * probe.c
 *	  What an extension in C may do: write past the executor, write with SPI,
 *	  write in a background worker.  Built and loaded by 060_write_paths.pl.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(probe_heap);
PG_FUNCTION_INFO_V1(probe_release);
PG_FUNCTION_INFO_V1(probe_notify);
PG_FUNCTION_INFO_V1(probe_spi);
PG_FUNCTION_INFO_V1(probe_worker);
extern PGDLLEXPORT void probe_main(Datum arg);

typedef struct Job
{
	Oid			database;
	Oid			role;
	char		sql[100];
} Job;

/* Inserts a row of NULLs. */
static void
insert_nulls(Oid table, LOCKMODE unlock)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	int			natts = RelationGetDescr(rel)->natts;
	Datum	   *values = palloc0(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));

	memset(nulls, true, natts * sizeof(bool));
	simple_heap_insert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, unlock);
}

/* probe_heap(regclass) */
Datum
probe_heap(PG_FUNCTION_ARGS)
{
	insert_nulls(PG_GETARG_OID(0), NoLock);
	PG_RETURN_VOID();
}

/* probe_release(regclass): the same, and leaves no trace among the locks. */
Datum
probe_release(PG_FUNCTION_ARGS)
{
	insert_nulls(PG_GETARG_OID(0), RowExclusiveLock);
	PG_RETURN_VOID();
}

/* probe_notify(): NOTIFY path, past statement and function */
Datum
probe_notify(PG_FUNCTION_ARGS)
{
	Async_Notify("path", "");
	PG_RETURN_VOID();
}

/* probe_spi(sql) */
Datum
probe_spi(PG_FUNCTION_ARGS)
{
	SPI_connect();
	SPI_execute(text_to_cstring(PG_GETARG_TEXT_PP(0)), false, 0);
	SPI_finish();
	PG_RETURN_VOID();
}

void
probe_main(Datum arg)
{
	Job			job;

	memcpy(&job, MyBgworkerEntry->bgw_extra, sizeof(job));
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(job.database, job.role, 0);
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute(job.sql, false, 0);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* probe_worker(library, regrole, sql): returns when the worker has ended. */
Datum
probe_worker(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker = {.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,.bgw_restart_time = BGW_NEVER_RESTART,
	.bgw_notify_pid = MyProcPid};
	BackgroundWorkerHandle *handle;
	Job			job = {.database = MyDatabaseId,.role = PG_GETARG_OID(1)};

	strlcpy(job.sql, text_to_cstring(PG_GETARG_TEXT_PP(2)), sizeof(job.sql));
	memcpy(worker.bgw_extra, &job, sizeof(job));
	strlcpy(worker.bgw_name, "probe", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, text_to_cstring(PG_GETARG_TEXT_PP(0)), sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "probe_main", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		elog(ERROR, "no worker slot");
	WaitForBackgroundWorkerShutdown(handle);
	PG_RETURN_VOID();
}
