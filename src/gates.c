/*-------------------------------------------------------------------------
 *
 * gates.c
 *	  The gates in shared memory, and the barrier of those that commit.
 *
 * The door of commits and who closes it meet in two words, as in Dekker's
 * algorithm.  Who commits makes his own word odd, then, after a full barrier,
 * reads the word of the gates; only if that is still what he judged by does he
 * go on.  Who closes writes the word of the gates, then, after a full barrier,
 * reads the words of all backends.  Each writes his own before he reads the
 * other's, with a full barrier between: so on any machine, however weak its
 * memory order, at least one of the two sees the other.  Either the backend
 * sees the gate, makes its word even and waits, or the barrier sees the odd
 * word and waits until it has changed.  The word becomes even only after the
 * commit record is written and the transaction visible (XACT_EVENT_COMMIT),
 * with a write barrier before, and the barrier reads with a read barrier
 * after: so what it then takes for the frozen LSN is behind that record.
 *
 * Changes of the table are made with file_lock held, which covers writing the
 * state file too, and for the moment of the change with lock.  Doors take
 * lock in shared mode when the word says that something has changed; nobody
 * who holds either lock waits for anything but the disk.
 *
 * Failures.  An ERROR, FATAL or proc_exit lets go of LWLocks; a crash of any
 * process has the postmaster make this memory anew, from the state file.  A
 * backend's word is made even by the end of its transaction whatever way it
 * ends; a process can't go away otherwise without a crash.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "gates.h"
#include "miscadmin.h"
#include "statefile.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "thaw.h"
#include "utils/timestamp.h"

PfGateShared *pf_gates = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* ---- shared memory ------------------------------------------------------ */

static Size
shared_size(void)
{
	return add_size(offsetof(PfGateShared, backends), mul_size(MaxBackends, sizeof(PfGateBackendPadded)));
}

static void
request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(PF_NAME, 2);
}

static void
startup(void)
{
	bool		found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	pf_gates = ShmemInitStruct(PF_NAME " gates", shared_size(), &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(PF_NAME);

		memset(pf_gates, 0, shared_size());
		pg_atomic_init_u64(&pf_gates->word, 0);
		pg_atomic_init_u32(&pf_gates->awaited, InvalidOid);
		pf_gates->lock = &locks[0].lock;
		pf_gates->file_lock = &locks[1].lock;
		ConditionVariableInit(&pf_gates->changed);
		pf_gates->nbackends = MaxBackends;
		for (int i = 0; i < PF_GATES; i++)
			for (int count = 0; count < PF_COUNTS; count++)
				pg_atomic_init_u64(&pf_gates->gates[i].counts[count], 0);
		for (int i = 0; i < MaxBackends; i++)
		{
			pg_atomic_init_u64(&pf_gates->backends[i].backend.commit, 0);
			SpinLockInit(&pf_gates->backends[i].backend.mutex);
		}
	}
	LWLockRelease(AddinShmemInitLock);
	if (!found)
		pf_state_file_startup();
}

/* See gates.h. */
void
pf_gates_request(void)
{
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

/* ---- the table ---------------------------------------------------------- */

/* Whether a gate in this phase stops anybody. */
static bool
stops(PfGatePhase phase)
{
	return phase == PF_GATE_DRAINING || phase == PF_GATE_CLOSED;
}

static PfGate *
find(Oid home, int64 id)
{
	for (int i = 0; i < PF_GATES; i++)
	{
		PfGate	   *gate = &pf_gates->gates[i];

		if (gate->phase != PF_GATE_FREE && gate->record.home == home && gate->record.freeze_id == id)
			return gate;
	}
	return NULL;
}

/* Tells the doors that a gate has changed; the caller holds lock. */
static void
publish(void)
{
	uint64		word = (pg_atomic_read_u64(&pf_gates->word) & ~UINT64CONST(1)) + 2;

	for (int i = 0; i < PF_GATES; i++)
		if (stops(pf_gates->gates[i].phase))
			word |= 1;
	pg_atomic_write_u64(&pf_gates->word, word);
	pg_memory_barrier();
}

/*
 * Writes the state file as it has to be once "gate" has "record", NULL: is
 * gone.  The caller holds file_lock.  Returns NULL or why it could not.
 */
static char *
write_file(const PfGate *gate, const PfGateRecord *record)
{
	PfGateRecord *records = palloc0(PF_GATES * sizeof(PfGateRecord));
	int			count = 0;
	char	   *failure;

	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGate *other = &pf_gates->gates[i];

		if (other == gate)
		{
			if (record && record->cause != PF_CAUSE_DAMAGE)
				records[count++] = *record;
		}
		else if (other->phase != PF_GATE_FREE && other->record.cause != PF_CAUSE_DAMAGE)
			records[count++] = other->record;
	}
	failure = pf_state_file_write(records, count);
	pfree(records);
	return failure;
}

static void
raise_failure(const char *failure)
{
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("the state file of pg_freeze could not be written"),
			 errdetail("%s", failure),
			 errhint("Without it a restart would not find the gate closed, so nothing was changed.")));
}

static void
warn_failure(const char *failure)
{
	if (failure)
		ereport(WARNING,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("the state file of pg_freeze could not be written"),
				 errdetail("%s", failure),
				 errhint("A restart of the server would find the gate closed once more, until pg_freeze has looked at its journal.")));
}

/* See gates.h. */
void
pf_gate_reserve(const PfGateRecord *record)
{
	PfGate	   *gate;
	int			freezes = 0;
	char	   *failure;

	LWLockAcquire(pf_gates->file_lock, LW_EXCLUSIVE);
	gate = find(InvalidOid, PF_NO_FREEZE);
	if (gate && gate->record.cause == PF_CAUSE_DAMAGE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the state file of pg_freeze was damaged when the server started"),
				 errdetail("What was frozen is not known, so everything is closed for all but superusers."),
				 errhint("To open it: SELECT * FROM thaw_cluster(force => true);")));
	gate = find(record->home, record->freeze_id);
	for (int i = 0; gate == NULL && i < PF_GATES; i++)
		freezes += pf_gates->gates[i].phase != PF_GATE_FREE && pf_gates->gates[i].record.cause == PF_CAUSE_FREEZE;
	for (int i = 0; gate == NULL && freezes < PF_GATES_FOR_FREEZES && i < PF_GATES; i++)
		if (pf_gates->gates[i].phase == PF_GATE_FREE)
			gate = &pf_gates->gates[i];
	if (gate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many freezes by strategy gate"),
				 errdetail("There is room for %d in the cluster.", PF_GATES_FOR_FREEZES),
				 errhint("Thaw some; freeze_status lists them.")));
	failure = write_file(gate, record);
	if (failure)
		raise_failure(failure);
	LWLockAcquire(pf_gates->lock, LW_EXCLUSIVE);
	gate->record = *record;
	gate->phase = PF_GATE_RESERVED;
	gate->restarted = false;
	gate->closed_at = 0;
	for (int count = 0; count < PF_COUNTS; count++)
		pg_atomic_write_u64(&gate->counts[count], 0);
	publish();
	LWLockRelease(pf_gates->lock);
	LWLockRelease(pf_gates->file_lock);
}

/* See gates.h. */
bool
pf_gate_close(Oid home, int64 id, PfGatePhase phase)
{
	PfGate	   *gate;

	LWLockAcquire(pf_gates->lock, LW_EXCLUSIVE);
	gate = find(home, id);
	if (gate && gate->phase != PF_GATE_OPEN)
	{
		gate->phase = phase;
		publish();
		/* not before: what is younger shall have seen it */
		if (gate->closed_at == 0)
			gate->closed_at = GetCurrentTimestamp();
		if (phase == PF_GATE_CLOSED)
		{
			gate->shut_lsn = GetXLogInsertRecPtr();
			gate->shut_at = GetCurrentTimestamp();
		}
	}
	else
		gate = NULL;
	LWLockRelease(pf_gates->lock);
	/* who waited for it while it was draining, or did not wait, judges anew */
	ConditionVariableBroadcast(&pf_gates->changed);
	return gate != NULL;
}

static bool
open_gate(Oid home, int64 id, bool only_frozen)
{
	PfGate	   *gate;
	PfGateRecord record;
	char	   *failure = NULL;

	LWLockAcquire(pf_gates->file_lock, LW_EXCLUSIVE);
	gate = find(home, id);
	if (gate == NULL || !stops(gate->phase) || (only_frozen && gate->record.frozen_at == 0))
	{
		LWLockRelease(pf_gates->file_lock);
		return false;
	}
	record = gate->record;
	record.opening = true;
	record.opened_at = GetCurrentTimestamp();
	record.opened_lsn = RecoveryInProgress() ? InvalidXLogRecPtr : pf_wal_end();
	if (record.cause != PF_CAUSE_DAMAGE)
		failure = write_file(gate, &record);
	LWLockAcquire(pf_gates->lock, LW_EXCLUSIVE);
	/* nobody has committed in the meantime, so this is nearer to the truth */
	if (!RecoveryInProgress())
		record.opened_lsn = pf_wal_end();
	gate->record = record;
	gate->phase = PF_GATE_OPEN;
	publish();
	LWLockRelease(pf_gates->lock);
	LWLockRelease(pf_gates->file_lock);
	ConditionVariableBroadcast(&pf_gates->changed);
	warn_failure(failure);
	return true;
}

/* See gates.h. */
bool
pf_gate_open(Oid home, int64 id)
{
	return open_gate(home, id, false);
}

/* See gates.h. */
bool
pf_gate_open_frozen(Oid home, int64 id)
{
	return open_gate(home, id, true);
}

/* See gates.h. */
void
pf_gates_open_due(Oid home)
{
	for (int i = 0; pf_gates && i < PF_GATES; i++)
	{
		const PfGate *gate = &pf_gates->gates[i];
		TimestampTz frozen_at;
		TimestampTz thaw_at;
		int64		id;

		LWLockAcquire(pf_gates->lock, LW_SHARED);
		id = gate->phase == PF_GATE_CLOSED && gate->record.home == home ? gate->record.freeze_id : 0;
		frozen_at = gate->record.frozen_at;
		thaw_at = gate->record.thaw_at;
		LWLockRelease(pf_gates->lock);
		thaw_at = pf_deadline(frozen_at, thaw_at);
		if (id != 0 && thaw_at != 0 && thaw_at <= GetCurrentTimestamp())
			(void) pf_gate_open_frozen(home, id);
	}
}

/* See gates.h. */
bool
pf_gate_remove(Oid home, int64 id)
{
	PfGate	   *gate;
	char	   *failure = NULL;

	LWLockAcquire(pf_gates->file_lock, LW_EXCLUSIVE);
	gate = find(home, id);
	if (gate)
	{
		failure = write_file(gate, NULL);
		LWLockAcquire(pf_gates->lock, LW_EXCLUSIVE);
		gate->phase = PF_GATE_FREE;
		publish();
		LWLockRelease(pf_gates->lock);
	}
	LWLockRelease(pf_gates->file_lock);
	ConditionVariableBroadcast(&pf_gates->changed);
	warn_failure(failure);
	return gate != NULL;
}

/* See gates.h. */
bool
pf_gate_remove_without_freeze(void)
{
	/* who looks whether there are any looks for the other one */
	(void) pf_gate_remove(InvalidOid, PF_NO_FREEZE_WRITES);
	return pf_gate_remove(InvalidOid, PF_NO_FREEZE);
}

/* Replaces what is known of a gate, in the file first; "change" edits a copy. */
static bool
edit(Oid home, int64 id, void (*change) (PfGateRecord *record, void *arg), void *arg)
{
	PfGate	   *gate;
	PfGateRecord record;

	LWLockAcquire(pf_gates->file_lock, LW_EXCLUSIVE);
	gate = find(home, id);
	if (gate)
	{
		char	   *failure;

		record = gate->record;
		change(&record, arg);
		failure = write_file(gate, &record);
		if (failure)
			raise_failure(failure);
		LWLockAcquire(pf_gates->lock, LW_EXCLUSIVE);
		gate->record = record;
		publish();
		LWLockRelease(pf_gates->lock);
	}
	LWLockRelease(pf_gates->file_lock);
	ConditionVariableBroadcast(&pf_gates->changed);
	return gate != NULL;
}

static void
change_action(PfGateRecord *record, void *arg)
{
	record->action = *(PfGateAction *) arg;
}

/* See gates.h. */
bool
pf_gate_set_action(Oid home, int64 id, PfGateAction action)
{
	return edit(home, id, change_action, &action);
}

static void
change_deadline(PfGateRecord *record, void *arg)
{
	if (record->frozen_at == 0)
		record->frozen_at = GetCurrentTimestamp();
	record->thaw_at = *(TimestampTz *) arg;
}

/* See gates.h. */
bool
pf_gate_set_deadline(Oid home, int64 id, TimestampTz thaw_at)
{
	return edit(home, id, change_deadline, &thaw_at);
}

/* See gates.h. */
bool
pf_gate_read(Oid home, int64 id, PfGate *copy)
{
	PfGate	   *gate;

	LWLockAcquire(pf_gates->lock, LW_SHARED);
	gate = find(home, id);
	if (gate)
		*copy = *gate;
	LWLockRelease(pf_gates->lock);
	return gate != NULL;
}

/* See gates.h. */
uint64
pf_gate_copy_all(PfGate *gates)
{
	uint64		word;

	LWLockAcquire(pf_gates->lock, LW_SHARED);
	memcpy(gates, pf_gates->gates, sizeof(pf_gates->gates));
	word = pg_atomic_read_u64(&pf_gates->word);
	LWLockRelease(pf_gates->lock);
	return word;
}

/* See gates.h. */
void
pf_gates_load(const PfGateRecord *records, int count)
{
	for (int i = 0; i < count; i++)
	{
		PfGate	   *gate = &pf_gates->gates[i];

		gate->record = records[i];
		gate->phase = records[i].opening ? PF_GATE_OPEN : PF_GATE_CLOSED;
		gate->closed_at = gate->shut_at = GetCurrentTimestamp();
		gate->restarted = true;
	}
	publish();
}

/* See gates.h. */
void
pf_gate_count(uint64 gates, PfGateCount count)
{
	for (int i = 0; i < PF_GATES; i++)
		if (gates & (UINT64CONST(1) << i))
			pg_atomic_fetch_add_u64(&pf_gates->gates[i].counts[count], 1);
}

/* ---- the barrier -------------------------------------------------------- */

/* See gates.h. */
PfBarrier *
pf_barrier_begin(Oid database)
{
	PfBarrier  *barrier = palloc(offsetof(PfBarrier, backends) + pf_gates->nbackends * sizeof(barrier->backends[0]));

	barrier->count = 0;
	pg_memory_barrier();
	for (int i = 0; i < pf_gates->nbackends; i++)
	{
		uint64		commit = pg_atomic_read_u64(&pf_gates->backends[i].backend.commit);

		if ((commit & 1) == 0)
			continue;
		if (!OidIsValid(database) || ProcGlobal->allProcs[i].databaseId == database)
		{
			barrier->backends[barrier->count].number = i;
			barrier->backends[barrier->count++].commit = commit;
		}
	}
	return barrier;
}

/* See gates.h. */
int
pf_barrier_look(PfBarrier *barrier)
{
	int			left = 0;

	for (int i = 0; i < barrier->count; i++)
		if (pg_atomic_read_u64(&pf_gates->backends[barrier->backends[i].number].backend.commit) == barrier->backends[i].commit)
			barrier->backends[left++] = barrier->backends[i];
	barrier->count = left;
	pg_memory_barrier();
	return left;
}
