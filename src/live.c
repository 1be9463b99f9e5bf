/*-------------------------------------------------------------------------
 *
 * live.c
 *	  Every live freeze of the cluster, for those who look from another
 *	  database.
 *
 * A freeze is in the journal of the database where it was made, its home.
 * With shared_preload_libraries an extract of each live one is in a table in
 * shared memory besides, so that freeze_status shows it and thaw() finds it
 * from any database.  The journal decides: who thaws from elsewhere starts a
 * worker in the home, and that one reads the journal, and looks again who may.
 *
 * How it is kept.  journal.c calls pf_live_note() wherever it has changed a
 * row.  That reads the row and keeps the extract until the transaction has
 * committed, for which the xact callbacks are there, savepoints included.  The
 * work lock of the freeze is still held then, so the last to publish is the
 * last who changed it.  After a start or a crash of the server the table is
 * empty: the scheduler of each database publishes all its freezes again when
 * it looks at them (life.c), and takes out what its journal doesn't have, for
 * example because somebody has undone a freeze by hand.
 *
 * A database that was dropped leaves rows; readers leave them out, and they go
 * when their place is needed.  If there is no place left, the table says so.
 *
 * The LWLock protects everything; it is held for copying only.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "gates.h"
#include "guc.h"
#include "journal.h"
#include "live.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "step.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(freeze_elsewhere);
PG_FUNCTION_INFO_V1(freeze_not_shown);

#define TABLE_NAME		PF_NAME " live freezes"
#define LIVE_MAX		256
#define REASON_SHOWN	256		/* bytes of a reason that others see */

/* The extract of a live freeze.  Times are 0, texts empty where there is none. */
typedef struct PfLive
{
	Oid			home;			/* InvalidOid: the place is free */
	int64		id;
	int			encoding;		/* of the home, and so of all texts */
	NameData	schema;			/* of the extension there */
	dsm_handle	board;			/* of the scheduler there */
	PfTarget	target;
	NameData	strategy;
	PfState		state;
	PfGateAction action;
	PfGateInFlight in_flight;
	bool		same_cluster;
	bool		is_copy;
	bool		stays_lost;
	Oid			owner;
	NameData	owner_name;
	NameData	session_user;
	char		application[NAMEDATALEN];
	char		address[64];
	int			pid;
	TimestampTz requested_at;
	TimestampTz frozen_at;
	TimestampTz thaw_at;
	TimestampTz lost_at;
	TimestampTz retaken_at;
	TimestampTz retry_at;
	int			thaw_failures;
	int64		changed;
	int			cancelled;
	int			terminated;
	XLogRecPtr	frozen_lsn;
	char		label[PF_LABEL_MAX + 1];
	char		reason[REASON_SHOWN];
} PfLive;

typedef struct PfLiveTable
{
	bool		complete;		/* all journals were read since the start */
	bool		overflowed;		/* since the start there was no place for some */
	PfLive		rows[LIVE_MAX];
} PfLiveTable;

/* What the current transaction is going to publish; in TopTransactionContext. */
typedef struct PfPending
{
	PfLive		live;
	bool		over;			/* the freeze has ended */
	SubTransactionId subid;		/* the entry lives and dies with */
} PfPending;

static PfLiveTable *table = NULL;
static LWLock *lock = NULL;
static List *pending = NIL;
static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* ---- the memory ------------------------------------------------------- */

static void
request_memory(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(PfLiveTable)));
	RequestNamedLWLockTranche(TABLE_NAME, 1);
}

static void
start_memory(void)
{
	bool		found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	table = ShmemInitStruct(TABLE_NAME, sizeof(PfLiveTable), &found);
	if (!found)
		memset(table, 0, sizeof(PfLiveTable));
	lock = &GetNamedLWLockTranche(TABLE_NAME)->lock;
	LWLockRelease(AddinShmemInitLock);
}

/* See live.h. */
void
pf_live_request(void)
{
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

/* See live.h. */
bool
pf_live_is_there(void)
{
	return table != NULL;
}

/* Under the lock: the place of a freeze, or NULL. */
static PfLive *
find(Oid home, int64 id)
{
	for (int i = 0; i < LIVE_MAX; i++)
		if (table->rows[i].home == home && table->rows[i].id == id)
			return &table->rows[i];
	return NULL;
}

static void
publish(const PfLive *live)
{
	PfLive	   *place;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find(live->home, live->id);
	for (int i = 0; place == NULL && i < LIVE_MAX; i++)
		if (!OidIsValid(table->rows[i].home))
			place = &table->rows[i];
	if (place)
		*place = *live;
	else
		table->overflowed = true;
	LWLockRelease(lock);
}

static void
take_out(Oid home, int64 id)
{
	PfLive	   *place;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find(home, id);
	if (place)
		memset(place, 0, sizeof(PfLive));
	LWLockRelease(lock);
}

/* A copy of the table, in the current memory context. */
static PfLiveTable *
copy_table(void)
{
	PfLiveTable *copy = palloc(sizeof(PfLiveTable));

	LWLockAcquire(lock, LW_SHARED);
	memcpy(copy, table, sizeof(PfLiveTable));
	LWLockRelease(lock);
	return copy;
}

/* Makes room by taking out what dropped databases have left.  Needs a transaction. */
static void
sweep(void)
{
	PfLiveTable *copy = copy_table();

	for (int i = 0; i < LIVE_MAX; i++)
		if (!OidIsValid(copy->rows[i].home))
			break;
		else if (get_database_name(copy->rows[i].home) == NULL)
			take_out(copy->rows[i].home, copy->rows[i].id);
	pfree(copy);
}

/* ---- publishing ------------------------------------------------------- */

/* At XACT_EVENT_COMMIT the locks of the transaction are still held. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			foreach(cell, pending)
			{
				PfPending  *entry = lfirst(cell);

				if (entry->subid == InvalidSubTransactionId)
					continue;
				if (entry->over)
					take_out(entry->live.home, entry->live.id);
				else
					publish(&entry->live);
			}
			pending = NIL;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* one that was prepared is for the scheduler's next look */
			pending = NIL;
			break;
		default:
			break;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	foreach(cell, pending)
	{
		PfPending  *entry = lfirst(cell);

		if (entry->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			entry->subid = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
			entry->subid = InvalidSubTransactionId;
	}
}

/* Columns of the query in read_live(). */
enum
{
	C_KIND = 1, C_TARGET, C_NAME, C_ONLY_HERE, C_MODE, C_STRATEGY, C_STATE, C_ACTION, C_IN_FLIGHT, C_SYSTEM, C_DATABASE, C_STAYS_LOST,
	C_OWNER, C_OWNER_NAME, C_SESSION_USER, C_APPLICATION, C_ADDRESS, C_PID,
	C_REQUESTED_AT, C_FROZEN_AT, C_THAW_AT, C_LOST_AT, C_RETAKEN_AT, C_RETRY_AT,
	C_THAW_FAILURES, C_CHANGED, C_CANCELLED, C_TERMINATED, C_FROZEN_LSN, C_LABEL, C_REASON, C_BOARD
};

static const char live_sql[] =
"SELECT target_kind, target_oid, target_name, only_here, mode, strategy, state, action, in_flight, system_identifier, database_oid, stays_lost,"
" owner, owner_name, by_session_user, by_application, by_address, by_pid,"
" requested_at, frozen_at, thaw_at, lost_at, retaken_at, retry_at,"
" thaw_failures, changed, cancelled, terminated, frozen_lsn, label, reason, (SELECT board FROM @.freeze_scheduler)"
" FROM @.freeze_journal WHERE id = $1";

/* The value of a column of the row that SPI has read; 0 where it is NULL. */
static Datum
value_of(int column)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
}

static void
copy_column(char *to, Size size, int column)
{
	pf_clip(to, size, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column));
}

#define COPY_NAME(name, column) copy_column(NameStr(name), NAMEDATALEN, column)
#define COPY_TEXT(text, column) copy_column(text, sizeof(text), column)

/* Reads a freeze of this database; false if there is none with this id. */
static bool
read_live(int64 id, PfLive *live)
{
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	bool		found;

	memset(live, 0, sizeof(PfLive));
	live->home = MyDatabaseId;
	live->id = id;
	live->encoding = GetDatabaseEncoding();
	strlcpy(NameStr(live->schema), journal_schema(), NAMEDATALEN);
	journal_execute(live_sql, 1, &type, &value, NULL, true);
	found = SPI_processed > 0;
	if (found)
	{
		char		word[32];

		COPY_TEXT(word, C_KIND);
		live->target.kind = pf_kind_parse(word);
		live->target.oid = DatumGetObjectId(value_of(C_TARGET));
		COPY_NAME(live->target.name, C_NAME);
		live->target.only_here = DatumGetBool(value_of(C_ONLY_HERE));
		COPY_TEXT(word, C_MODE);
		live->target.mode = pf_mode_parse(word);
		COPY_NAME(live->strategy, C_STRATEGY);
		COPY_TEXT(word, C_STATE);
		live->state = pf_state_parse(word);
		COPY_TEXT(word, C_ACTION);
		live->action = pf_action_parse(word);
		COPY_TEXT(word, C_IN_FLIGHT);
		live->in_flight = pf_in_flight_parse(word);
		live->same_cluster = DatumGetInt64(value_of(C_SYSTEM)) == (int64) GetSystemIdentifier();
		live->is_copy = !live->same_cluster || DatumGetObjectId(value_of(C_DATABASE)) != MyDatabaseId;
		live->stays_lost = DatumGetBool(value_of(C_STAYS_LOST));
		live->owner = DatumGetObjectId(value_of(C_OWNER));
		COPY_NAME(live->owner_name, C_OWNER_NAME);
		COPY_NAME(live->session_user, C_SESSION_USER);
		COPY_TEXT(live->application, C_APPLICATION);
		COPY_TEXT(live->address, C_ADDRESS);
		live->pid = DatumGetInt32(value_of(C_PID));
		live->requested_at = DatumGetTimestampTz(value_of(C_REQUESTED_AT));
		live->frozen_at = DatumGetTimestampTz(value_of(C_FROZEN_AT));
		live->thaw_at = DatumGetTimestampTz(value_of(C_THAW_AT));
		live->lost_at = DatumGetTimestampTz(value_of(C_LOST_AT));
		live->retaken_at = DatumGetTimestampTz(value_of(C_RETAKEN_AT));
		live->retry_at = DatumGetTimestampTz(value_of(C_RETRY_AT));
		live->thaw_failures = DatumGetInt32(value_of(C_THAW_FAILURES));
		live->changed = DatumGetInt64(value_of(C_CHANGED));
		live->cancelled = DatumGetInt32(value_of(C_CANCELLED));
		live->terminated = DatumGetInt32(value_of(C_TERMINATED));
		live->frozen_lsn = DatumGetLSN(value_of(C_FROZEN_LSN));
		COPY_TEXT(live->label, C_LABEL);
		COPY_TEXT(live->reason, C_REASON);
		/* DSM_HANDLE_INVALID is 0 */
		live->board = (dsm_handle) DatumGetInt64(value_of(C_BOARD));
	}
	pf_spi_end(spi);
	return found;
}

/* See live.h. */
void
pf_live_note(int64 id)
{
	static bool registered = false;
	PfPending  *entry;
	MemoryContext old;
	bool		full = true;

	if (table == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(end_of_transaction, NULL);
		RegisterSubXactCallback(end_of_subtransaction, NULL);
	}
	registered = true;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; full && i < LIVE_MAX; i++)
		full = OidIsValid(table->rows[i].home);
	LWLockRelease(lock);
	if (full)
		sweep();

	entry = MemoryContextAllocZero(TopTransactionContext, sizeof(PfPending));
	entry->over = !read_live(id, &entry->live) || !pf_state_is_live(entry->live.state);
	entry->subid = GetCurrentSubTransactionId();
	old = MemoryContextSwitchTo(TopTransactionContext);
	pending = lappend(pending, entry);
	MemoryContextSwitchTo(old);
}

/* See live.h. */
bool
pf_live_is_known(int64 id)
{
	bool		known;

	if (table == NULL)
		return true;
	LWLockAcquire(lock, LW_SHARED);
	known = find(MyDatabaseId, id) != NULL || table->overflowed;
	LWLockRelease(lock);
	return known;
}

/* See live.h. */
List *
pf_live_ids(void)
{
	PfLiveTable *copy;
	List	   *ids = NIL;

	if (table == NULL)
		return NIL;
	copy = copy_table();
	for (int i = 0; i < LIVE_MAX; i++)
		if (copy->rows[i].home == MyDatabaseId)
		{
			int64	   *id = palloc(sizeof(int64));

			*id = copy->rows[i].id;
			ids = lappend(ids, id);
		}
	pfree(copy);
	return ids;
}

/* See live.h. */
void
pf_live_forget(int64 id)
{
	if (table)
		take_out(MyDatabaseId, id);
}

/* See live.h. */
void
pf_live_complete(void)
{
	if (table == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	table->complete = true;
	LWLockRelease(lock);
}

/* ---- looking ---------------------------------------------------------- */

static int
by_home_and_id(const void *a, const void *b)
{
	const PfLive *one = a;
	const PfLive *other = b;

	if (one->home != other->home)
		return one->home < other->home ? -1 : 1;
	return one->id < other->id ? -1 : one->id > other->id;
}

/*
 * Sorts the freezes of other databases that exist to the front of a copy of
 * the table; returns how many.
 */
static int
others(PfLiveTable *copy)
{
	int			count = 0;

	for (int i = 0; i < LIVE_MAX; i++)
		if (OidIsValid(copy->rows[i].home) && copy->rows[i].home != MyDatabaseId &&
			get_database_name(copy->rows[i].home) != NULL)
			copy->rows[count++] = copy->rows[i];
	qsort(copy->rows, count, sizeof(PfLive), by_home_and_id);
	return count;
}

static PfFreeze *
freeze_of(const PfLive *live)
{
	PfFreeze   *freeze = palloc0(sizeof(PfFreeze));

	freeze->id = live->id;
	freeze->home = live->home;
	freeze->home_schema = pstrdup(NameStr(live->schema));
	freeze->home_board = live->board;
	freeze->target = live->target;
	freeze->strategy = pf_strategy_named(NameStr(live->strategy));
	freeze->state = live->state;
	freeze->owner = live->owner;
	freeze->owner_name = pstrdup(NameStr(live->owner_name));
	freeze->label = live->label[0] ? pstrdup(live->label) : NULL;
	freeze->reason = live->reason[0] ? pstrdup(live->reason) : NULL;
	freeze->frozen_at = live->frozen_at;
	freeze->thaw_at = live->thaw_at;
	freeze->requested_at = live->requested_at;
	freeze->changed = live->changed;
	freeze->by_pid = live->pid;
	freeze->same_cluster = live->same_cluster;
	freeze->is_copy = live->is_copy;
	return freeze;
}

/* See live.h. */
List *
pf_live_by(const PfStrategy *strategy)
{
	PfLiveTable *copy;
	List	   *freezes = NIL;
	bool		any = false;

	if (table == NULL)
		return NIL;
	/* logins come in here: most often there is nothing to copy */
	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; !any && i < LIVE_MAX; i++)
		any = OidIsValid(table->rows[i].home) && strcmp(NameStr(table->rows[i].strategy), strategy->name) == 0;
	LWLockRelease(lock);
	if (!any)
		return NIL;
	copy = copy_table();
	for (int i = 0; i < LIVE_MAX; i++)
		if (OidIsValid(copy->rows[i].home) && !copy->rows[i].is_copy &&
			strcmp(NameStr(copy->rows[i].strategy), strategy->name) == 0)
			freezes = lappend(freezes, freeze_of(&copy->rows[i]));
	pfree(copy);
	return freezes;
}

/* See live.h. */
List *
pf_live_elsewhere(int64 id)
{
	PfLiveTable *copy;
	int			count;
	List	   *freezes = NIL;

	if (table == NULL)
		return NIL;
	copy = copy_table();
	count = others(copy);
	for (int i = 0; i < count; i++)
	{
		PfLive	   *live = &copy->rows[i];

		if (id != 0 && live->id != id)
			continue;
		freezes = lappend(freezes, freeze_of(live));
	}
	pfree(copy);
	return freezes;
}

/* Columns of freeze_elsewhere(). */
enum
{
	E_ID, E_TARGET_KIND, E_TARGET_NAME, E_MODE, E_STRATEGY, E_STATE, E_IN_FORCE, E_ACTION, E_IN_FLIGHT,
	E_WAITERS, E_REFUSED, E_EXEMPT_COMMITS, E_SINCE, E_THAW_AT, E_LOST_AT,
	E_RETAKEN_AT, E_BY, E_SESSION_USER, E_REASON, E_LABEL, E_CHANGED, E_CANCELLED, E_TERMINATED, E_THAW_FAILURES,
	E_RETRY_AT, E_FROZEN_LSN, E_HOME, E_REMARK, E_APPLICATION, E_ADDRESS, E_PID, E_MAKER, E_COLUMNS
};

typedef struct PfRow
{
	Datum		values[E_COLUMNS];
	bool		nulls[E_COLUMNS];
} PfRow;

static void
set(PfRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
set_text(PfRow *row, int column, const char *text)
{
	if (text && text[0])
		set(row, column, CStringGetTextDatum(text));
}

static void
set_time(PfRow *row, int column, TimestampTz time)
{
	if (time != 0)
		set(row, column, TimestampTzGetDatum(time));
}

/* How many sessions wait at a gate: its place in the table is their bit. */
static int
waiters(uint64 bit)
{
	int			count = 0;

	for (int i = 0; i < pf_gates->nbackends; i++)
	{
		PfGateBackend *backend = &pf_gates->backends[i].backend;

		SpinLockAcquire(&backend->mutex);
		if (backend->pid != 0 && (backend->gates & bit) != 0)
			count++;
		SpinLockRelease(&backend->mutex);
	}
	return count;
}

/* What is known of the gate that is in place "number" of their table. */
static void
set_gate(PfRow *row, PfGate *gate, int number)
{
	set(row, E_IN_FORCE, BoolGetDatum(gate->phase == PF_GATE_CLOSED));
	set(row, E_WAITERS, Int32GetDatum(waiters(UINT64CONST(1) << number)));
	set(row, E_REFUSED, Int64GetDatum((int64) (pg_atomic_read_u64(&gate->counts[PF_COUNT_REFUSED]) +
											   pg_atomic_read_u64(&gate->counts[PF_COUNT_LOGINS]))));
	set(row, E_EXEMPT_COMMITS, Int64GetDatum((int64) pg_atomic_read_u64(&gate->counts[PF_COUNT_EXEMPT_COMMITS])));
}

/*
 * Whether a freeze is in force.  Of a gate that is known everywhere; whether
 * what another strategy took has come back can only be seen in the home.
 */
static void
set_force(PfRow *row, const PfLive *live, PfGate *gates)
{
	if (live->state == PF_LOST && live->retaken_at == 0)
		set(row, E_IN_FORCE, BoolGetDatum(false));
	for (int i = 0; gates && i < PF_GATES; i++)
	{
		if (gates[i].phase == PF_GATE_FREE || gates[i].record.cause != PF_CAUSE_FREEZE ||
			gates[i].record.home != live->home || gates[i].record.freeze_id != live->id)
			continue;
		set_gate(row, &gates[i], i);
		if (live->state != PF_FROZEN && live->state != PF_LOST)
			row->nulls[E_IN_FORCE] = true;
		else if (gates[i].phase == PF_GATE_OPEN)
		{
			set_text(row, E_STATE, pf_state_name(PF_THAWING));
			row->nulls[E_IN_FORCE] = true;
		}
	}
}

static void
emit(ReturnSetInfo *rsinfo, PfLive *live, PfGate *gates, bool see_all)
{
	PfRow		row;

	memset(row.nulls, true, sizeof(row.nulls));
	set(&row, E_ID, Int64GetDatum(live->id));
	set_text(&row, E_TARGET_KIND, pf_kind_name(live->target.kind));
	set(&row, E_TARGET_NAME, CStringGetTextDatum(pf_readable(live->encoding, NameStr(live->target.name))));
	set_text(&row, E_MODE, pf_mode_name(live->target.mode));
	set_text(&row, E_STRATEGY, NameStr(live->strategy));
	set_text(&row, E_STATE, pf_state_name(live->state));
	set_text(&row, E_ACTION, pf_action_name(live->action));
	set_text(&row, E_IN_FLIGHT, pf_in_flight_name(live->in_flight));
	if (!live->is_copy)
		set_force(&row, live, gates);
	set_time(&row, E_SINCE, live->frozen_at ? live->frozen_at : live->requested_at);
	set_time(&row, E_THAW_AT, live->thaw_at);
	set_time(&row, E_LOST_AT, live->lost_at);
	set_time(&row, E_RETAKEN_AT, live->retaken_at);
	set_text(&row, E_BY, pf_readable(live->encoding, NameStr(live->owner_name)));
	set_text(&row, E_SESSION_USER, pf_readable(live->encoding, NameStr(live->session_user)));
	set_text(&row, E_REASON, pf_readable(live->encoding, live->reason));
	set_text(&row, E_LABEL, pf_readable(live->encoding, live->label));
	set(&row, E_CHANGED, Int64GetDatum(live->changed));
	set(&row, E_CANCELLED, Int32GetDatum(live->cancelled));
	set(&row, E_TERMINATED, Int32GetDatum(live->terminated));
	set(&row, E_THAW_FAILURES, Int32GetDatum(live->thaw_failures));
	set_time(&row, E_RETRY_AT, live->retry_at);
	if (live->frozen_lsn != InvalidXLogRecPtr)
		set(&row, E_FROZEN_LSN, LSNGetDatum(live->frozen_lsn));
	set(&row, E_HOME, DirectFunctionCall1(namein, CStringGetDatum(get_database_name(live->home))));
	set_text(&row, E_REMARK, live->is_copy ?
			 "made in another database and copied to its home; more can be seen there" :
			 "made in another database; more can be seen there");
	set(&row, E_APPLICATION, CStringGetTextDatum(pf_readable(live->encoding, live->application)));
	if (see_all)
	{
		set_text(&row, E_ADDRESS, live->address);
		set(&row, E_PID, Int32GetDatum(live->pid));
	}
	/* whom to cancel while the freeze is being made */
	if (live->state == PF_ENGAGING || live->state == PF_DRAINING)
		set(&row, E_MAKER, Int32GetDatum(live->pid));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
}

/* A gate that closes the cluster without a freeze: whoever looks must not think that nothing is frozen. */
static void
emit_without_freeze(ReturnSetInfo *rsinfo, PfGate *gate, int number)
{
	bool		damage = gate->record.cause == PF_CAUSE_DAMAGE;
	PfRow		row;

	memset(row.nulls, true, sizeof(row.nulls));
	set_text(&row, E_TARGET_KIND, pf_kind_name(PF_CLUSTER));
	set_text(&row, E_MODE, pf_mode_name(gate->record.target.mode));
	set_text(&row, E_STRATEGY, pf_gate.name);
	set_text(&row, E_STATE, pf_state_name(PF_FROZEN));
	set_text(&row, E_ACTION, pf_action_name(gate->record.action));
	set_text(&row, E_IN_FLIGHT, pf_in_flight_name(gate->record.in_flight));
	set_gate(&row, gate, number);
	set_time(&row, E_SINCE, gate->closed_at);
	set_text(&row, E_REASON, damage ? "the state file of pg_freeze was damaged when the server started" :
			 "this server was promoted, and pg_freeze has not read all journals since");
	set_text(&row, E_REMARK, damage ? "no freeze: nobody knows what was frozen" : "no freeze: ends by itself when all journals are read");
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
}

/* The live freezes of other databases, for freeze_status. */
Datum
freeze_elsewhere(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	PfLiveTable *copy;
	PfGate	   *gates = NULL;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (table == NULL)
		return (Datum) 0;
	copy = copy_table();
	count = others(copy);
	if (pf_gates)
	{
		gates = palloc(sizeof(PfGate) * PF_GATES);
		(void) pf_gate_copy_all(gates);
	}
	for (int i = 0; i < count; i++)
		emit(rsinfo, &copy->rows[i], gates, see_all);
	for (int i = 0; gates && !RecoveryInProgress() && i < PF_GATES; i++)
		if (gates[i].phase == PF_GATE_CLOSED && gates[i].record.cause != PF_CAUSE_FREEZE &&
			gates[i].record.freeze_id == PF_NO_FREEZE &&
			(gates[i].record.cause != PF_CAUSE_PROMOTION || pf_guc_on_promote == PF_PROMOTE_KEEP))
			emit_without_freeze(rsinfo, &gates[i], i);
	return (Datum) 0;
}

/* Why freezes of other databases may be missing from freeze_status; NULL: none are. */
Datum
freeze_not_shown(PG_FUNCTION_ARGS)
{
	bool		complete;
	bool		overflowed;

	if (table == NULL || RecoveryInProgress())
		PG_RETURN_TEXT_P(cstring_to_text("freezes made in other databases are not shown"));
	LWLockAcquire(lock, LW_SHARED);
	complete = table->complete;
	overflowed = table->overflowed;
	LWLockRelease(lock);
	if (overflowed)
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("more than %d freezes were live at once: some that were made in other databases are not shown until the server is restarted",
												  LIVE_MAX)));
	if (!complete)
		PG_RETURN_TEXT_P(cstring_to_text("the server has just been started: freezes made in other databases may not be shown yet"));
	PG_RETURN_NULL();
}
