/*-------------------------------------------------------------------------
 *
 * gate.c
 *	  The strategy "gate": a flag in shared memory, looked at by hooks.
 *
 * In this order: the journal says draining and the state file has the gate;
 * then the gate is closed in shared memory; then the barrier, and who could
 * otherwise commit or be in the way without passing a door, has to go.  Thaw
 * goes the other way round: open first (pf_gate_open), in the process of who
 * thaws, then the journal, then table and state file forget the gate.
 *
 * Failures.  Crash before the gate is closed: the state file has it, so it is
 * closed from the restart on, until the scheduler has undone the freeze.
 * Crash while closed: it is closed before the first connection.  Crash after
 * it was opened: the state file says so, it stays open, and the scheduler
 * finishes the thaw.  A gate that no live row of the journal knows is removed
 * by pf_gate_sweep().  A row whose gate is gone becomes lost, and stays so: a
 * gate that turns up again is removed, too.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "background.h"
#include "catalog/pg_type.h"
#include "door.h"
#include "drain.h"
#include "gate.h"
#include "gates.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "step.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "belongs.h"

#define BARRIER_SPINS	20		/* ms that the barrier is waited for in one go */

/* The freeze that this process is making. */
static int64 making = 0;
static PfBarrier *barrier = NULL;
static ArrayType *in_progress = NULL;	/* when the gate began to drain */

/* ---- who is in the way ---------------------------------------------------- */

/*
 * Whether a process is one of the target, by what can be seen of it from
 * outside: its database and the role that it logged in as.
 */
static bool
is_of_target(const PGPROC *proc, const PfTarget *target)
{
	switch (target->kind)
	{
		case PF_CLUSTER:
			return true;
		case PF_DATABASE:
			return proc->databaseId == target->oid;
		case PF_ROLE:
			return OidIsValid(proc->roleId) && pf_role_belongs(proc->roleId, target->oid);
		case PF_SCHEMA:
			break;
	}
	return false;
}

/* Processes and what they do, each an array in the making. */
typedef struct Obstacles
{
	int			count;
	ArrayBuildState *pids;
	ArrayBuildState *whats;
} Obstacles;

static void
add_obstacle(Obstacles *obstacles, int pid, char *what)
{
	obstacles->pids = accumArrayResult(obstacles->pids, Int32GetDatum(pid), false, INT4OID, CurrentMemoryContext);
	obstacles->whats = accumArrayResult(obstacles->whats, CStringGetTextDatum(what), false, TEXTOID, CurrentMemoryContext);
	obstacles->count++;
}

/*
 * VACUUM changes pages and commits without a transaction id, and updates
 * pg_class in place, table by table: it shows that it runs before it comes to
 * the first door.  See gates.h.
 */
static void
find_vacuums(const PfTarget *target, Obstacles *obstacles)
{
	for (int i = 0; i < pf_gates->nbackends; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		PfGateBackend *word = &pf_gates->backends[i].backend;
		int			pid = proc->pid;
		bool		waits;

		if (pid == 0 || word->vacuum_pid != pid || !is_of_target(proc, target))
			continue;
		/* at its next commit, when it is through with a table */
		SpinLockAcquire(&word->mutex);
		waits = word->pid == pid;
		SpinLockRelease(&word->mutex);
		if (!waits)
			add_obstacle(obstacles, pid, "runs VACUUM");
	}
}

/* Catalogs have the same OIDs in all databases. */
static char *
catalog_name(Oid catalog)
{
	char	   *name = get_rel_name(catalog);

	return name ? name : psprintf("%u", catalog);
}

/*
 * A lock on a system catalog that would keep others from using it: whoever has
 * it is going to wait until the thaw.
 */
static void
find_catalog_locks(const PfTarget *target, Obstacles *obstacles)
{
	LockData   *locks = GetLockStatusData();
	const LOCKMASK harmless = LOCKBIT_ON(AccessShareLock) | LOCKBIT_ON(RowShareLock) | LOCKBIT_ON(RowExclusiveLock);

	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];
		PGPROC	   *proc;

		if (lock->locktag.locktag_type != LOCKTAG_RELATION || lock->locktag.locktag_field2 >= FirstNormalObjectId ||
			(lock->holdMask & ~harmless) == 0 || lock->pid == 0 || lock->pid == MyProcPid)
			continue;
		proc = BackendPidGetProc(lock->pid);
		if (proc && (proc->statusFlags & PROC_IS_AUTOVACUUM) == 0 && is_of_target(proc, target))
			add_obstacle(obstacles, lock->pid, psprintf("has locked system catalog %s", catalog_name(lock->locktag.locktag_field2)));
	}
}

/* Who is in flight while the gate drains. */
static List *
in_flight(const PfTarget *target, int64 id)
{
	return pf_drain_in_flight(target, id, id == making ? in_progress : NULL);
}

/* $1 pids, $2 what they do, $3 freeze or 0. */
static const char blockers_sql[] =
"SELECT s.pid, NULL::text, s.usename::text, s.application_name, host(s.client_addr), s.state, s.query,\n"
"	CASE WHEN o.what = 'is committing' AND s.wait_event = 'SyncRep' THEN 'waits for a synchronous standby' ELSE o.what END,\n"
"	s.backend_type NOT IN ('walsender', 'autovacuum worker') AND r.oid IS NOT NULL,\n"
"	s.xact_start, s.backend_start, s.state_change, s.datname::text,\n"
"	r.rolsuper AND NOT EXISTS (SELECT FROM @.freeze_journal j WHERE j.id = $3 AND j.target_kind = 'role' AND j.target_oid = r.oid)\n"
"FROM (SELECT pid, min(what) AS what FROM unnest($1, $2) AS u (pid, what) GROUP BY pid) o\n"
"	JOIN pg_stat_activity s ON s.pid = o.pid LEFT JOIN pg_roles r ON r.oid = s.usesysid\n"
"WHERE s.pid <> coalesce((SELECT j.by_pid FROM @.freeze_journal j WHERE j.id = $3), pg_backend_pid())\n"
"ORDER BY 10, 1";

/* See PfStrategy.blockers. */
static List *
gate_blockers(const PfTarget *target, int64 id)
{
	Obstacles	obstacles = {0};
	PfGate		gate;
	bool		is_made = id != 0 && pf_gate_read(MyDatabaseId, id, &gate);
	Oid			types[3] = {INT4ARRAYOID, TEXTARRAYOID, INT8OID};
	Datum		values[3];
	ListCell   *cell;
	List	   *blockers = NIL;

	if (is_made && gate.phase == PF_GATE_DRAINING)
		blockers = in_flight(target, id);
	for (int i = 0; is_made && i < pf_gates->nbackends; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];

		if ((pg_atomic_read_u64(&pf_gates->backends[i].backend.commit) & 1) && proc->pid != 0 &&
			(target->kind != PF_DATABASE || proc->databaseId == target->oid))
			add_obstacle(&obstacles, proc->pid, "is committing");
	}
	/* before the freeze is made they are not in its way */
	foreach(cell, is_made ? pf_background_workers(target) : NIL)
	{
		PfBackgroundWorker *worker = lfirst(cell);

		add_obstacle(&obstacles, worker->pid, worker->is_autovacuum ? "runs autovacuum" : "applies changes of a subscription");
	}
	find_vacuums(target, &obstacles);
	find_catalog_locks(target, &obstacles);
	if (obstacles.count == 0)
		return blockers;
	values[0] = makeArrayResult(obstacles.pids, CurrentMemoryContext);
	values[1] = makeArrayResult(obstacles.whats, CurrentMemoryContext);
	values[2] = Int64GetDatum(id);
	return list_concat(blockers, pf_drain_query(blockers_sql, 3, types, values, NULL));
}

/* ---- engaging ------------------------------------------------------------ */

static void
gate_check(const PfTarget *target, PfEmit emit, void *arg)
{
	emit(arg, InvalidOid, "gate", pf_target_text(target), "closed in shared memory");
}

static PfGateRecord
record_of(const PfFreeze *freeze)
{
	PfGateRecord record;

	memset(&record, 0, sizeof(record));
	record.cause = PF_CAUSE_FREEZE;
	record.freeze_id = freeze->id;
	record.home = MyDatabaseId;
	record.owner = freeze->owner;
	namestrcpy(&record.owner_name, freeze->owner_name);
	record.target = freeze->target;
	record.action = freeze->action;
	record.in_flight = freeze->in_flight;
	record.max_wait = freeze->max_wait;
	record.notice_after = freeze->notice_after;
	record.yield_after = freeze->yield_after;
	record.frozen_at = freeze->frozen_at;
	record.thaw_at = freeze->thaw_at;
	pf_clip(record.reason, sizeof(record.reason), freeze->reason);
	return record;
}

/* With a pass that nobody can guess. */
static void
reserve(const PfFreeze *freeze)
{
	PfGateRecord record = record_of(freeze);
	uint8		random[PF_PASS_LENGTH / 2];

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not generate a random pass")));
	for (int i = 0; i < (int) sizeof(random); i++)
		snprintf(record.pass + 2 * i, 3, "%02x", random[i]);
	pf_gate_reserve(&record);
}

/* See PfStrategy.engage: the gate is closed only once this has committed. */
static int64
gate_engage(PfFreeze *freeze, int64 *covered)
{
	if (freeze->state == PF_ENGAGING)
		reserve(freeze);
	return 0;
}

static void
close_gate(PfFreeze *freeze, PfGatePhase phase)
{
	if (!pf_gate_close(MyDatabaseId, freeze->id, phase))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the gate of freeze " INT64_FORMAT " was opened before it was frozen", freeze->id),
				 errhint("Somebody used the way out, or thawed it. Look, and try again.")));
	if (barrier)
		pfree(barrier);
	barrier = NULL;
	if (phase == PF_GATE_CLOSED)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		barrier = pf_barrier_begin(freeze->target.kind == PF_DATABASE ? freeze->target.oid : InvalidOid);
		MemoryContextSwitchTo(old);
	}
}

static bool
anybody_in_flight(PfFreeze *freeze)
{
	bool		found;

	pf_begin();
	found = in_flight(&freeze->target, freeze->id) != NIL;
	CommitTransactionCommand();
	return found;
}

static void
note_in_progress(void)
{
	MemoryContext old;

	pf_begin();
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (in_progress)
		pfree(in_progress);
	in_progress = pf_drain_in_progress();
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
}

static bool
any_obstacle(PfFreeze *freeze)
{
	Obstacles	obstacles = {0};

	pf_begin();
	find_vacuums(&freeze->target, &obstacles);
	find_catalog_locks(&freeze->target, &obstacles);
	CommitTransactionCommand();
	return obstacles.count > 0;
}

/*
 * See PfStrategy.drained.  With in_flight drain the gate lets those that have
 * written finish; once nobody is in flight it closes altogether.  A statement
 * that was past the first door then and has written since brings it back.
 */
static bool
gate_drained(PfFreeze *freeze)
{
	bool		drains = freeze->in_flight == PF_GATE_DRAIN;
	bool		background_gone;

	if (making != freeze->id)
	{
		making = freeze->id;
		close_gate(freeze, drains ? PF_GATE_DRAINING : PF_GATE_CLOSED);
		if (drains)
			note_in_progress();
	}
	background_gone = pf_background_engage(&freeze->target);
	if (barrier == NULL)
	{
		if (anybody_in_flight(freeze))
			return false;
		close_gate(freeze, PF_GATE_CLOSED);
	}
	for (int i = 0; pf_barrier_look(barrier) > 0; i++)
	{
		if (i == BARRIER_SPINS)
			return false;
		pf_pause(1);
	}
	if (!background_gone || any_obstacle(freeze))
		return false;
	if (drains && anybody_in_flight(freeze))
	{
		close_gate(freeze, PF_GATE_DRAINING);
		return false;
	}
	return true;
}

/* See PfStrategy.told. */
static char *
gate_told(PfFreeze *freeze)
{
	int			held = 0;

	for (int i = 0; i < pf_gates->nbackends; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];

		if (proc->pid != 0 && proc->pid != MyProcPid && TransactionIdIsValid(proc->xid) &&
			is_of_target(proc, &freeze->target))
			held++;
	}
	return held == 0 ? NULL : psprintf(held == 1 ? "%d transaction in flight is held" : "%d transactions in flight are held", held);
}

/* ---- the hold ------------------------------------------------------------- */

static void
gate_deadline(int64 id, TimestampTz at)
{
	(void) pf_gate_set_deadline(MyDatabaseId, id, at);
}

static void
gate_alter(int64 id, PfGateAction action)
{
	(void) pf_gate_set_action(MyDatabaseId, id, action);
}

static bool
awaits_promotion(void)
{
	PfGate		gate;

	return pf_gate_read(InvalidOid, PF_NO_FREEZE, &gate) && gate.record.cause == PF_CAUSE_PROMOTION;
}

/* Why a freeze without a gate is lost. */
static char *
why_gone(const PfFreeze *freeze)
{
	return freeze->is_copy ? "this database is a copy" :
		pf_gates == NULL ? "pg_freeze is not preloaded any more" :
		freeze->promoted ? "another server had it" :
		"its gate was opened from outside, or the state file was lost";
}

static void
note_lost(PfFreeze *freeze)
{
	char	   *what;

	pf_begin();
	what = psprintf("nothing stopped anybody any more at %s: %s", timestamptz_to_str(GetCurrentTimestamp()), why_gone(freeze));
	journal_note_gap(freeze->id, what);
	journal_set(freeze->id, "lost_at = clock_timestamp(), stays_lost = true", 0, NULL, NULL, NULL);
	journal_transition(freeze, PF_LOST, what);
	CommitTransactionCommand();
}

/* What the journal says counts, where a crash or a full disk came between the two. */
static void
bring_up_to_date(const PfFreeze *freeze, const PfGateRecord *record)
{
	if (record->frozen_at == 0 || record->thaw_at != freeze->thaw_at)
		gate_deadline(freeze->id, freeze->thaw_at);
	if (record->action != freeze->action)
		gate_alter(freeze->id, freeze->action);
}

/*
 * See PfStrategy.attend.  After a promotion that keeps what is frozen the
 * gate is made again while that of the promotion still stops everybody.
 */
static int
gate_attend(PfFreeze *freeze)
{
	PfGate		gate;

	if (freeze->state != PF_FROZEN)
		return 0;
	if (pf_gates && !freeze->is_copy)
	{
		if (pf_gate_read(MyDatabaseId, freeze->id, &gate))
		{
			bring_up_to_date(freeze, &gate.record);
			/* whoever made it again after a promotion was ended in between */
			if (gate.phase == PF_GATE_RESERVED)
				(void) pf_gate_close(MyDatabaseId, freeze->id, PF_GATE_CLOSED);
			return 0;
		}
		if (freeze->promoted && pf_guc_on_promote == PF_PROMOTE_KEEP && awaits_promotion())
		{
			reserve(freeze);
			(void) pf_gate_close(MyDatabaseId, freeze->id, PF_GATE_CLOSED);
			return 0;
		}
	}
	note_lost(freeze);
	return 0;
}

/* See PfStrategy.broken. */
static char *
gate_broken(PfFreeze *freeze, int64 *checked)
{
	PfGate		gate;

	*checked = 0;
	if (pf_gates && pf_gate_read(MyDatabaseId, freeze->id, &gate) &&
		(gate.phase == PF_GATE_CLOSED || gate.phase == PF_GATE_OPEN))
		return NULL;
	return psprintf("its gate is not there: %s", why_gone(freeze));
}

/* See PfStrategy.gone_on. */
static TimestampTz
gate_gone_on(PfFreeze *freeze)
{
	PfGate		gate;

	return pf_gates && pf_gate_read(MyDatabaseId, freeze->id, &gate) && gate.phase == PF_GATE_OPEN ? gate.record.opened_at : 0;
}

/* ---- the end -------------------------------------------------------------- */

/* See PfStrategy.open. */
static void
gate_open(int64 id)
{
	if (pf_gates)
		(void) pf_gate_open(MyDatabaseId, id);
}

/* See PfStrategy.evidence. */
static char *
gate_evidence(PfFreeze *freeze, int64 checked, XLogRecPtr *lsn)
{
	PfGate		gate;
	uint64		counts[PF_COUNTS];
	StringInfoData text;

	if (pf_gates == NULL || !pf_gate_read(MyDatabaseId, freeze->id, &gate))
		return "no gate was there to look at";
	if (gate.phase == PF_GATE_OPEN)
		*lsn = gate.record.opened_lsn;
	for (int i = 0; i < PF_COUNTS; i++)
		counts[i] = pg_atomic_read_u64(&gate.counts[i]);
	initStringInfo(&text);
	appendStringInfo(&text, "gate closed; " UINT64_FORMAT " commits by exempt sessions, " UINT64_FORMAT " waited, " UINT64_FORMAT " refused",
					 counts[PF_COUNT_EXEMPT_COMMITS], counts[PF_COUNT_WAITED], counts[PF_COUNT_REFUSED] + counts[PF_COUNT_LOGINS]);
	if (counts[PF_COUNT_EXIT_COMMITS])
		appendStringInfo(&text, ", " UINT64_FORMAT " commits of sessions that ended with temporary tables", counts[PF_COUNT_EXIT_COMMITS]);
	if (counts[PF_COUNT_WRAPAROUND])
		appendStringInfo(&text, ", " UINT64_FORMAT " transactions of autovacuum against wraparound", counts[PF_COUNT_WRAPAROUND]);
	if (gate.restarted)
		appendStringInfo(&text, " (counted since the server started at %s)", timestamptz_to_str(gate.closed_at));
	return text.data;
}

static void
gate_release(PfFreeze *freeze, PfRestore *result)
{
	/* nothing in the catalogs was changed */
}

/* See PfStrategy.settle. */
static void
gate_settle(int64 id)
{
	if (pf_gates)
		(void) pf_gate_remove(MyDatabaseId, id);
}

static List *
no_notes(const PfTarget *target)
{
	return NIL;
}

/* See gate.h. */
void
pf_gate_sweep(void)
{
	PfGate	   *gates;
	List	   *live;

	if (pf_gates == NULL)
		return;
	gates = palloc(PF_GATES * sizeof(PfGate));
	/* in this order: what is made meanwhile is in the journal first */
	(void) pf_gate_copy_all(gates);
	pf_begin();
	live = journal_exists() ? journal_ids("strategy = 'gate' AND state NOT IN ('thawed', 'aborted', 'lost')", 0, NULL, NULL) : NIL;
	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGateRecord *record = &gates[i].record;
		bool		is_live = false;
		ListCell   *cell;

		if (gates[i].phase == PF_GATE_FREE || record->cause != PF_CAUSE_FREEZE || record->home != MyDatabaseId)
			continue;
		foreach(cell, live)
			is_live |= *(int64 *) lfirst(cell) == record->freeze_id;
		if (!is_live && pf_gate_remove(record->home, record->freeze_id))
			ereport(LOG,
					(errmsg("pg_freeze: removed the gate of freeze " INT64_FORMAT ", which is over or lost", record->freeze_id)));
	}
	CommitTransactionCommand();
	pfree(gates);
}

const PfStrategy pf_gate = {
	.name = "gate",
	.kinds = {true, false, true, true},
	.modes = {true, true},
	.doors = true,
	.anywhere = true,
	.done = "closed",
	.intact = "nothing of the target was committed",
	.check = gate_check,
	.engage = gate_engage,
	.drained = gate_drained,
	.blockers = gate_blockers,
	.told = gate_told,
	.open = gate_open,
	.release = gate_release,
	.settle = gate_settle,
	.deadline = gate_deadline,
	.alter = gate_alter,
	.attend = gate_attend,
	.broken = gate_broken,
	.gone_on = gate_gone_on,
	.evidence = gate_evidence,
	.leaks = no_notes,
	.also_stops = no_notes,
};
