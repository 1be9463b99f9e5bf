/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  What happens at a closed door: to be refused, or to wait.
 *
 * Who waits keeps his locks and his snapshot, and can be interrupted: cancel,
 * terminate, time-outs, a client that is gone, the postmaster's death.  An
 * ERROR or FATAL while waiting aborts the transaction, or the subtransaction
 * that catches it, whose end takes back what the backend shows in shared
 * memory.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "belongs.h"
#include "commands/dbcommands.h"
#include "door.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "step.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "wait.h"

#define LOOK_EVERY		1000	/* ms between looks whether the client is still there */
#define OPEN_AFTER		10000	/* ms after a deadline that nobody has kept */

static bool is_shown = false;	/* in shared memory, as waiting */

/* ---- refusing ----------------------------------------------------------- */

/* See door.h. */
char *
pf_gate_frozen_text(const PfGate *gate)
{
	return psprintf("%s is frozen", gate->record.cause == PF_CAUSE_FREEZE ? pf_target_text(&gate->record.target) : "the cluster");
}

/* See door.h. */
char *
pf_frozen_detail(int64 id, Oid home, const char *by, TimestampTz since, TimestampTz until, const char *reason)
{
	char	   *database = IsTransactionState() ? get_database_name(home) : NULL;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "Freeze " INT64_FORMAT, id);
	if (database)
		appendStringInfo(&text, " of database %s", database);
	appendStringInfo(&text, ", made by %s", by);
	if (since)
		appendStringInfo(&text, ", in force since %s", timestamptz_to_str(since));
	if (until)
		appendStringInfo(&text, ", until %s.", timestamptz_to_str(until));
	else
		appendStringInfoString(&text, ", no deadline.");
	if (reason && reason[0])
		appendStringInfo(&text, " Reason: %s.", reason);
	return text.data;
}

/* See door.h. */
char *
pf_frozen_hint(int64 id, Oid home)
{
	char	   *database = home != MyDatabaseId && IsTransactionState() ? get_database_name(home) : NULL;

	return psprintf("Try again after the thaw. Whoever may thaw it runs SELECT * FROM thaw(" INT64_FORMAT "%s);", id,
					database ? psprintf(", home => %s", quote_literal_cstr(database)) : "");
}

/* See door.h. */
char *
pf_gate_detail(const PfGate *gate)
{
	const PfGateRecord *record = &gate->record;

	if (record->cause == PF_CAUSE_DAMAGE)
		return "The state file of pg_freeze is damaged; everything may be frozen.";
	if (record->cause == PF_CAUSE_PROMOTION)
		return "This server was promoted, and pg_freeze has not read yet what is frozen.";
	return pf_frozen_detail(record->freeze_id, record->home, NameStr(record->owner_name), record->frozen_at, record->thaw_at,
							record->reason);
}

/* See door.h. */
char *
pf_gate_hint(const PfGate *gate)
{
	if (gate->record.cause == PF_CAUSE_DAMAGE)
		return "A superuser runs SELECT * FROM thaw_cluster(force => true), or creates the file pg_freeze.open in the data directory and reloads.";
	if (gate->record.cause == PF_CAUSE_PROMOTION)
		return "Try again in a moment.";
	return pf_frozen_hint(gate->record.freeze_id, gate->record.home);
}

static void
refuse(int number)
{
	const PfGate *gate = pf_belongs_gate(number);

	pf_gate_count(UINT64CONST(1) << number, PF_COUNT_REFUSED);
	if (gate->record.target.mode == PF_ALL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("%s, nothing of it goes on", pf_gate_frozen_text(gate)),
				 errdetail("%s", pf_gate_detail(gate)),
				 errhint("%s", pf_gate_hint(gate))));
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("%s, its sessions are read-only", pf_gate_frozen_text(gate)),
			 errdetail("%s", pf_gate_detail(gate)),
			 errhint("%s", pf_gate_hint(gate))));
}

/* ---- waiting ------------------------------------------------------------ */

/* See door.h. */
void
pf_door_show(PfDoor door, uint64 gates, TimestampTz since)
{
	PfGateBackend *me = pf_my_word();

	SpinLockAcquire(&me->mutex);
	me->pid = MyProcPid;
	me->door = door;
	me->gates = gates;
	me->since = since;
	SpinLockRelease(&me->mutex);
	is_shown = true;
}

/* See door.h. */
void
pf_door_show_no_more(void)
{
	PfGateBackend *me = pf_my_word();

	if (!is_shown)
		return;
	SpinLockAcquire(&me->mutex);
	me->pid = 0;
	me->door = PF_NO_DOOR;
	me->gates = 0;
	SpinLockRelease(&me->mutex);
	is_shown = false;
}

/* Whether a process may go on although the gate is closed, as far as can be seen from here. */
static bool
is_not_stopped(PGPROC *proc, int pid, int number)
{
	const PfGateRecord *record = &pf_belongs_gate(number)->record;
	PfGateBackend *word = &pf_gates->backends[pf_proc_number(proc)].backend;
	bool		exempt;
	char	   *name;

	SpinLockAcquire(&word->mutex);
	exempt = word->exempt_pid == pid && (word->exempt_from & (UINT64CONST(1) << number)) != 0;
	SpinLockRelease(&word->mutex);
	if (exempt)
		return true;
	if (record->target.kind == PF_DATABASE && proc->databaseId != record->target.oid)
		return true;
	if (!OidIsValid(proc->roleId))
		return false;
	if (record->target.kind == PF_ROLE && !pf_role_belongs(proc->roleId, record->target.oid))
		return true;
	name = GetUserNameFromId(proc->roleId, true);
	return name && pf_role_is_exempt(name);
}

/* The process that waits since long for a lock of this one, and isn't stopped by the gate; 0: none. */
static int
in_the_way_of(int number, int patience)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_freeze yield", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	LockData   *locks = GetLockStatusData();
	int			found = 0;
	TimestampTz long_ago = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -(int64) patience);

	for (int i = 0; i < locks->nelements && found == 0; i++)
	{
		LockInstanceData *waiting = &locks->locks[i];
		PGPROC	   *proc;

		if (waiting->waitLockMode == NoLock || waiting->waitStart == 0 || waiting->waitStart > long_ago)
			continue;
		proc = BackendPidGetProc(waiting->pid);
		if (proc && is_not_stopped(proc, waiting->pid, number) && pf_waits_for(waiting->pid, MyProcPid))
			found = waiting->pid;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return found;
}

static bool
is_due(TimestampTz since, int64 ms)
{
	return GetCurrentTimestamp() >= TimestampTzPlusMilliseconds(since, ms);
}

/* See door.h. */
bool
pf_gate_open_overdue(const PfGate *gate)
{
	const PfGateRecord *record = &gate->record;

	if (record->thaw_at == 0 || !is_due(record->thaw_at, OPEN_AFTER))
		return false;
	if (pf_gate_open_frozen(record->home, record->freeze_id))
		ereport(LOG,
				(errmsg("pg_freeze: freeze " INT64_FORMAT " should have been thawed at %s, so this process opened its gate",
						record->freeze_id, timestamptz_to_str(record->thaw_at)),
				 errhint("Its scheduler could not. Is max_worker_processes (now %d) large enough?", max_worker_processes)));
	return true;
}

/* The time-outs of the session, which the server has not armed at every door. */
static void
check_session_timeouts(const PfWait *wait)
{
	if (StatementTimeout > 0 && wait->door == PF_DOOR_COMMIT &&
		is_due(GetCurrentStatementStartTimestamp(), StatementTimeout))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement due to statement timeout")));
	if (LockTimeout > 0 && is_due(wait->since, LockTimeout))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("canceling statement due to lock timeout")));
}

/* What may end or lengthen the wait for one gate. */
static void
check_gate(PfWait *wait, int number)
{
	const PfGate *gate = pf_belongs_gate(number);
	const PfGateRecord *record = &gate->record;
	int			pid;

	if (record->max_wait > 0 && is_due(wait->since, record->max_wait))
	{
		pf_gate_count(UINT64CONST(1) << number, PF_COUNT_REFUSED);
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("%s, and this has waited for %g s", pf_gate_frozen_text(gate), record->max_wait / 1000.0),
				 errdetail("%s", pf_gate_detail(gate)),
				 errhint("%s", pf_gate_hint(gate))));
	}
	if (record->notice_after >= 0 && !wait->noticed && is_due(wait->since, record->notice_after))
	{
		wait->noticed = true;
		ereport(NOTICE,
				(errmsg("waiting, because %s", pf_gate_frozen_text(gate)),
				 errdetail("%s", pf_gate_detail(gate))));
		if (whereToSendOutput == DestRemote)
			pq_flush();
	}
	if (record->yield_after >= 0 && is_due(wait->yield_at, 0))
	{
		wait->yield_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Max(record->yield_after, LOOK_EVERY));
		pid = in_the_way_of(number, record->yield_after);
		if (pid != 0)
		{
			pf_gate_count(UINT64CONST(1) << number, PF_COUNT_REFUSED);
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("%s, and this transaction is in the way of a session that is not", pf_gate_frozen_text(gate)),
					 errdetail("Process %d waits for a lock of it. %s", pid, pf_gate_detail(gate)),
					 errhint("%s", pf_gate_hint(gate))));
		}
	}
	(void) pf_gate_open_overdue(gate);
}

/* ms until the next of the times that matter has come. */
static long
until_next(const PfWait *wait, uint64 gates)
{
	long		ms = LOOK_EVERY;

	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGateRecord *record = &pf_belongs_gate(i)->record;
		int64		waited = (GetCurrentTimestamp() - wait->since) / 1000;

		if ((gates & (UINT64CONST(1) << i)) == 0)
			continue;
		if (record->max_wait > 0)
			ms = Min(ms, record->max_wait - waited + 1);
		if (record->notice_after >= 0 && !wait->noticed)
			ms = Min(ms, record->notice_after - waited + 1);
	}
	if (StatementTimeout > 0 && wait->door == PF_DOOR_COMMIT)
		ms = Min(ms, StatementTimeout - (GetCurrentTimestamp() - GetCurrentStatementStartTimestamp()) / 1000 + 1);
	if (LockTimeout > 0)
		ms = Min(ms, LockTimeout - (GetCurrentTimestamp() - wait->since) / 1000 + 1);
	return Max(ms, 1);
}

/*
 * Whether the server is being stopped.  Background workers often don't end by
 * SIGTERM as sessions do, but when they look for themselves: one that waits
 * here would keep the server from stopping until the thaw.
 */
static bool
server_stops(void)
{
	FILE	   *file = AllocateFile("postmaster.pid", "r");
	char		line[MAXPGPATH] = "";
	int			number = 0;

	while (file && number < LOCK_FILE_LINE_PM_STATUS && fgets(line, sizeof(line), file))
		number++;
	if (file)
		FreeFile(file);
	return number == LOCK_FILE_LINE_PM_STATUS &&
		strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

/* Waits until something about the gates has changed. */
static void
wait_for_change(PfWait *wait, uint64 gates, uint64 word)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PgFreezeGate");
	if (wait->since == 0)
	{
		wait->since = GetCurrentTimestamp();
		/* not at once: all who wait would read the lock table at the moment of the freeze */
		wait->yield_at = TimestampTzPlusMilliseconds(wait->since, LOOK_EVERY);
		pf_gate_count(gates, PF_COUNT_WAITED);
	}
	pf_door_show(wait->door, gates, wait->since);
	ConditionVariablePrepareToSleep(&pf_gates->changed);
	while (pg_atomic_read_u64(&pf_gates->word) == word)
	{
		check_session_timeouts(wait);
		for (int i = 0; i < PF_GATES; i++)
			if (gates & (UINT64CONST(1) << i))
				check_gate(wait, i);
		if (ConditionVariableTimedSleep(&pf_gates->changed, until_next(wait, gates), wait_event))
			pf_look_at_client();
		CHECK_FOR_INTERRUPTS();
		if (MyBackendType == B_BG_WORKER && server_stops())
			ereport(FATAL,
					(errcode(ERRCODE_ADMIN_SHUTDOWN),
					 errmsg("terminating background worker \"%s\" due to administrator command",
							MyBgworkerEntry->bgw_type)));
	}
	ConditionVariableCancelSleep();
}

/* One gate of a set refuses instead of letting wait: its number, else -1. */
static int
refusing(uint64 gates)
{
	for (int i = 0; i < PF_GATES; i++)
		if ((gates & (UINT64CONST(1) << i)) && pf_belongs_gate(i)->record.action == PF_GATE_REJECT)
			return i;
	return -1;
}

/* See wait.h. */
void
pf_wait(PfWait *wait, uint64 gates)
{
	int			number = refusing(gates);

	if (number >= 0)
		refuse(number);
	wait_for_change(wait, gates, pf_belongs_word());
}
