/*-------------------------------------------------------------------------
 *
 * door.c
 *	  The three doors of strategy "gate": statements, functions, commits.
 *
 * 1. Statements: ExecutorRun() and ProcessUtility().  A portal or cursor that
 *    was there before comes by ExecutorRun() each time rows are fetched.
 * 2. Functions that no rollback undoes, or that bypass the executor: the
 *    object-access hook sees them when an expression is set up, and each call
 *    through the fast path.  Code that is already running isn't seen.
 * 3. Commits: the callback before commit and PREPARE TRANSACTION, and COMMIT
 *    PREPARED.  This door makes the promise true, see gates.c for how.
 *
 * While nothing is frozen a statement costs one read of a word in shared
 * memory and one comparison, a writing commit two reads and two writes more.
 *
 * What happens at a closed one is in wait.c.  There is no wait with a lock of
 * shared memory held, nor with the backend's own word odd.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "background.h"
#include "belongs.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "door.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "plans.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "wait.h"
#include "wal.h"

static ExecutorRun_hook_type next_executor_run;
static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_object_access = NULL;

static void transaction_event(XactEvent event, void *arg);

/* This process is one of pg_freeze. */
static bool passes_always = false;

/* What pg_freeze asks by SQL for its own purposes doesn't come to a door. */
static bool asking = false;

/*
 * What has happened in this transaction that its end has to look at or take
 * back.  In processes that are no client sessions, always something.
 */
#define WORD_IS_ODD		1
#define NOTED			2		/* anything else */
static uint8 happened = NOTED;

/* In VACUUM or ANALYZE, which may have many transactions. */
static bool vacuuming = false;

/* This transaction has a NOTIFY that will be written at its commit. */
static bool has_notified = false;

/* The gates that this commit passes as exempt. */
static uint64 passing = 0;

/* There are two callbacks for transactions, see come_first(). */
static bool comes_first = false;

static bool
any_gate(void)
{
	return unlikely(PF_ANY_GATE(pg_atomic_read_u64(&pf_gates->word)));
}

/*
 * Whether the doors are not for this process at all.  Called while some gate
 * is closed; what works in the background may wait or end here.
 */
static bool
is_out_of_it(void)
{
	return passes_always || asking || pf_asking > 0 || !IsPostmasterEnvironment || IsParallelWorker() ||
		!OidIsValid(MyDatabaseId) || pf_background_passes();
}

/* Whether this transaction was there when a gate began to drain, which is still doing so. */
static bool
may_finish(const PfGate *gate)
{
	return gate->phase == PF_GATE_DRAINING && GetCurrentTransactionStartTimestamp() <= gate->closed_at;
}

/* Which of the gates are closed altogether. */
static uint64
closed(uint64 gates)
{
	for (int i = 0; i < PF_GATES; i++)
		if ((gates & (UINT64CONST(1) << i)) && pf_belongs_gate(i)->phase != PF_GATE_CLOSED)
			gates &= ~(UINT64CONST(1) << i);
	return gates;
}

/* Which of the gates stop something of this session that writes or doesn't. */
static uint64
stopping(bool writes, uint64 gates)
{
	uint64		stop = 0;

	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGate *gate = pf_belongs_gate(i);

		if ((gates & (UINT64CONST(1) << i)) == 0)
			continue;
		if ((writes || gate->record.target.mode == PF_ALL) && !may_finish(gate))
			stop |= UINT64CONST(1) << i;
	}
	return stop;
}

/* Comes to the door of statements or functions, and passes it or doesn't. */
static void
pass_door(PfDoor door, bool writes)
{
	PfWait		wait = {.door = door};

	for (;;)
	{
		PfBelongs	belongs = pf_belongs();
		uint64		gates = stopping(writes, belongs.stopped);

		if (gates == 0)
			break;
		happened |= NOTED;
		pf_wait(&wait, gates);
	}
	pf_door_show_no_more();
}

/* ---- door 1: statements ------------------------------------------------- */

/* Functions that come to a door of their own. */
static const Oid irrevocable[] = {
	F_NEXTVAL,
	F_SETVAL_REGCLASS_INT8,
	F_SETVAL_REGCLASS_INT8_BOOL,
	F_LO_CREAT,
	F_LO_CREATE,
	F_LO_FROM_BYTEA,
	F_LO_IMPORT_TEXT,
	F_LO_IMPORT_TEXT_OID,
	F_LO_PUT,
	F_LO_UNLINK,
	F_LO_TRUNCATE,
	F_LO_TRUNCATE64,
	F_LOWRITE,
	F_PG_NOTIFY,
	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT_BOOL,
	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA_BOOL,
	F_BRIN_SUMMARIZE_NEW_VALUES,
	F_BRIN_SUMMARIZE_RANGE,
	F_BRIN_DESUMMARIZE_RANGE,
	F_GIN_CLEAN_PENDING_LIST
};

/* One of them by another name, which a superuser may have made: LANGUAGE internal. */
static Oid
behind(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			answer = function;
	Datum		source;
	bool		isnull;

	if (HeapTupleIsValid(tuple))
	{
		if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == INTERNALlanguageId)
		{
			source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
			if (!isnull)
				answer = fmgr_internal_function(TextDatumGetCString(source));
		}
		ReleaseSysCache(tuple);
	}
	return answer;
}

static bool
is_irrevocable(Oid function)
{
	if (function >= FirstNormalObjectId)
		function = behind(function);
	for (int i = 0; i < (int) lengthof(irrevocable); i++)
		if (irrevocable[i] == function)
			return true;
	return false;
}

/*
 * Whether the portal is from before a gate was closed: the functions of its
 * query were looked up then, and don't come to their door again.
 */
static bool
is_old_portal(void)
{
	uint64		gates = closed(pf_belongs().stopped);

	for (int i = 0; i < PF_GATES && ActivePortal; i++)
		if ((gates & (UINT64CONST(1) << i)) && ActivePortal->creation_time <= pf_belongs_gate(i)->shut_at)
			return true;
	return false;
}

/* A transaction that began after a gate was closed has written nothing before that. */
static void
note_wal(void)
{
	uint64		gates = closed(pf_belongs().stopped);
	XLogRecPtr	earlier = InvalidXLogRecPtr;

	for (int i = 0; i < PF_GATES; i++)
		if ((gates & (UINT64CONST(1) << i)) && GetCurrentTransactionStartTimestamp() > pf_belongs_gate(i)->shut_at)
			earlier = Max(earlier, pf_belongs_gate(i)->shut_lsn);
	pf_wal_note(earlier);
}

/*
 * Callbacks for transactions are called newest first, and a foreign-data
 * wrapper registers its own when it is first used in a session: it would
 * commit elsewhere before this process comes to its door.  So after each
 * statement that may have used one, ours gets to the head of the list.  The
 * one from pf_doors_install() stays where it is, and sees what modules in
 * between have made of the transaction.
 */
static void
come_first(void)
{
	if (comes_first)
		UnregisterXactCallback(transaction_event, &comes_first);
	comes_first = false;
	RegisterXactCallback(transaction_event, &comes_first);
	comes_first = true;
}

static PF_OUT_OF_LINE void
come_to_statement_door(PlannedStmt *plan)
{
	bool		writes;

	if (is_out_of_it() || pf_belongs().stopped == 0)
		return;
	note_wal();
	happened |= NOTED;
	writes = pf_plan_writes(plan) || (is_old_portal() && pf_plan_calls(plan, irrevocable, lengthof(irrevocable)));
	if (stopping(writes, pf_belongs().stopped) != 0 && (writes || !pf_plan_only_asks_us(plan)))
		pass_door(PF_DOOR_STATEMENT, writes);
}

static bool
uses_foreign_table(PlannedStmt *plan)
{
	ListCell   *cell;

	foreach(cell, plan->rtable)
		if (((RangeTblEntry *) lfirst(cell))->relkind == RELKIND_FOREIGN_TABLE)
			return true;
	return false;
}

/* Foreign tables that are partitions are found when there is a row for them. */
static bool
has_routed_abroad(EState *estate)
{
	ListCell   *cell;

	foreach(cell, estate->es_tuple_routing_result_relations)
		if (((ResultRelInfo *) lfirst(cell))->ri_FdwRoutine)
			return true;
	return false;
}

/* Comes by with every statement: bench/gate_overhead counts its instructions. */
static void
executor_run(QueryDesc *query, ScanDirection direction, uint64 count PF_EXECUTE_ONCE_PARAMETER)
{
	if (pf_belongs_note_identity())
		happened |= NOTED;
	if (any_gate())
		come_to_statement_door(query->plannedstmt);
	if (likely(query->plannedstmt->commandType == CMD_SELECT && !query->plannedstmt->hasModifyingCTE))
	{
		next_executor_run(query, direction, count PF_EXECUTE_ONCE);
		return;
	}
	next_executor_run(query, direction, count PF_EXECUTE_ONCE);
	if (uses_foreign_table(query->plannedstmt) || has_routed_abroad(query->estate))
		come_first();
}

/* Whether a COPY FROM goes into a temporary table. */
static bool
copies_into_temporary(const CopyStmt *copy)
{
	Oid			relation = copy->relation ? RangeVarGetRelid(copy->relation, NoLock, true) : InvalidOid;

	return OidIsValid(relation) && get_rel_persistence(relation) == RELPERSISTENCE_TEMP;
}

/* What a utility statement does, by mode: nothing that matters, reads, writes. */
typedef enum
{
	UTILITY_PASSES,				/* in mode "all" too */
	UTILITY_READS,
	UTILITY_WRITES
} UtilityKind;

static UtilityKind
utility_kind(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_DeallocateStmt:
		case T_ClosePortalStmt:
		case T_DiscardStmt:
		case T_UnlistenStmt:
			return UTILITY_PASSES;

			/* what these run comes to a door by itself */
		case T_PlannedStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_ExplainStmt:
		case T_CallStmt:
		case T_DoStmt:

		case T_ListenStmt:
		case T_LoadStmt:
		case T_ConstraintsSetStmt:
		case T_CheckPointStmt:
		PF_CASE_WAIT_FOR
			return UTILITY_READS;
		case T_LockStmt:
			return ((LockStmt *) statement)->mode <= RowShareLock ? UTILITY_READS : UTILITY_WRITES;
		case T_CopyStmt:
			return !((CopyStmt *) statement)->is_from || copies_into_temporary((CopyStmt *) statement) ?
				UTILITY_READS : UTILITY_WRITES;
		default:
			return UTILITY_WRITES;
	}
}

static bool
is_commit_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) && ((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void vacuum(PlannedStmt *plan, const char *text, bool read_only_tree, ProcessUtilityContext context,
				   ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion);
static void enter_commit(uint64 (*stopped_by) (void *arg), void *arg);
static inline void leave_commit(void);

/*
 * The gates that stop COMMIT PREPARED of a transaction: this session's, and
 * those of who prepared it.  One that drains waits for just that.
 */
static uint64
stop_prepared(void *arg)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	volatile Oid owner = InvalidOid;
	PfBelongs	belongs;

	values[0] = CStringGetTextDatum((char *) arg);
	asking = true;
	PG_TRY();
	{
		SPI_connect();
		if (SPI_execute_with_args("SELECT ownerid FROM pg_catalog.pg_prepared_xact() WHERE gid OPERATOR(pg_catalog.=) $1",
								  1, types, values, NULL, false, 1) == SPI_OK_SELECT && SPI_processed > 0)
		{
			bool		isnull;

			owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		}
		SPI_finish();
	}
	PG_FINALLY();
	{
		asking = false;
	}
	PG_END_TRY();
	belongs = OidIsValid(owner) ? pf_belongs_to_role(owner) : pf_belongs();
	passing = belongs.covered & ~belongs.stopped;
	/* counted at the end of the statement's own transaction */
	if (passing != 0)
		happened |= NOTED;
	return closed(belongs.stopped);
}

static void
utility(PlannedStmt *plan, const char *text, bool read_only_tree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *statement = plan->utilityStmt;
	bool		commits_prepared = is_commit_prepared(statement);
	bool		prepares = IsA(statement, TransactionStmt) && ((TransactionStmt *) statement)->kind == TRANS_STMT_PREPARE;
	bool		goes_abroad = IsA(statement, CopyStmt) || IsA(statement, TruncateStmt);

	if (IsA(statement, VacuumStmt) && !vacuuming)
	{
		vacuum(plan, text, read_only_tree, context, params, environment, dest, completion);
		return;
	}
	if (pf_belongs_note_identity() || prepares)
		happened |= NOTED;
	if (IsA(statement, NotifyStmt))
	{
		has_notified = true;
		happened |= NOTED;
	}
	if (IsA(statement, DropdbStmt))
		pf_guard_drop_database((DropdbStmt *) statement);
	if (any_gate() && !is_out_of_it() && IsTransactionState() && !IsAbortedTransactionBlockState() &&
		utility_kind(statement) != UTILITY_PASSES && pf_belongs().stopped != 0)
	{
		note_wal();
		happened |= NOTED;
		pass_door(PF_DOOR_STATEMENT, utility_kind(statement) == UTILITY_WRITES);
	}
	if (commits_prepared)
		enter_commit(stop_prepared, ((TransactionStmt *) statement)->gid);
	if (next_utility)
		next_utility(plan, text, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(plan, text, read_only_tree, context, params, environment, dest, completion);
	if (commits_prepared)
		leave_commit();
	if (goes_abroad)
		come_first();
}

/*
 * VACUUM and ANALYZE change pages that no rollback restores, and may commit
 * without a transaction id.  That they run is shown before they come to the
 * first door: either they see a gate, or who closes it sees them.  Between two
 * tables they come to the third.
 */
static void
vacuum(PlannedStmt *plan, const char *text, bool read_only_tree, ProcessUtilityContext context,
	   ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	vacuuming = true;
	happened |= NOTED;
	pf_my_word()->vacuum_pid = MyProcPid;
	pg_memory_barrier();
	PG_TRY();
	{
		utility(plan, text, read_only_tree, context, params, environment, dest, completion);
	}
	PG_FINALLY();
	{
		vacuuming = false;
		pf_my_word()->vacuum_pid = 0;
	}
	PG_END_TRY();
}

/* ---- door 2: functions -------------------------------------------------- */

/* Whether a function is called without a query: by the protocol's fast path. */
static bool
is_fast_path(void)
{
	return ActivePortal == NULL && debug_query_string == NULL;
}

static PF_OUT_OF_LINE void
come_to_function_door(ObjectAccessType access, Oid class, Oid function, int sub, void *arg)
{
	if (function == F_PG_NOTIFY)
	{
		has_notified = true;
		happened |= NOTED;
	}
	if (any_gate() && !is_out_of_it() && (is_irrevocable(function) || is_fast_path()) && pf_belongs().stopped != 0)
		pass_door(PF_DOOR_FUNCTION, is_irrevocable(function));
	if (next_object_access)
		next_object_access(access, class, function, sub, arg);
}

/* Comes by with every function of an expression, as executor_run() does. */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (unlikely(access == OAT_FUNCTION_EXECUTE && (object == F_PG_NOTIFY || any_gate())))
		come_to_function_door(access, class, object, sub, arg);
	else if (next_object_access)
		next_object_access(access, class, object, sub, arg);
}

/* ---- door 3: commits ---------------------------------------------------- */

/* Not what the transaction has dropped: that is gone from the catalog. */
static bool
is_temporary(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	bool		answer = HeapTupleIsValid(tuple) &&
		((Form_pg_class) GETSTRUCT(tuple))->relpersistence == RELPERSISTENCE_TEMP;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return answer;
}

/*
 * Whether all that a transaction has written is its session's own temporary
 * tables: every relation that it has locked for writing is temporary, and
 * there is nothing in the WAL but what reading leaves there.  Without a lock on
 * any it has written something else, unless that was rolled back.
 */
static bool
wrote_only_temporary(void)
{
	LockData   *locks;
	bool		any = false;
	PfWalContent content;

	if (has_notified)
		return false;
	locks = GetLockStatusData();
	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];
		LOCKMASK	stronger = lock->holdMask & ~LOCKBIT_ON(AccessShareLock);

		if (lock->pid != MyProcPid || lock->locktag.locktag_type != LOCKTAG_RELATION || stronger == 0)
			continue;
		if (is_temporary(lock->locktag.locktag_field2))
			any = true;
		else if (stronger != LOCKBIT_ON(RowShareLock))
			return false;
	}
	content = pf_wal_content();
	return content == PF_WAL_UNDONE || (any && content != PF_WAL_CHANGES);
}

/* The gates that stop the commit of this transaction. */
static uint64
stop_commit(void *arg)
{
	PfBelongs	belongs = pf_belongs();
	uint64		gates = closed(belongs.stopped);

	passing = belongs.covered & ~belongs.stopped;
	if (gates != 0 && wrote_only_temporary())
		gates = 0;
	return gates;
}

static inline void
leave_commit(void)
{
	PfGateBackend *me = pf_my_word();

	if ((happened & WORD_IS_ODD) == 0)
		return;
	pg_write_barrier();
	pg_atomic_write_u64(&me->commit, pg_atomic_read_u64(&me->commit) + 1);
	happened &= ~WORD_IS_ODD;
}

/* Makes this backend's word odd. */
static inline void
show_commit(void)
{
	PfGateBackend *me = pf_my_word();

	PF_INJECTION_POINT("pg-freeze-door-passing");
	happened |= WORD_IS_ODD;
	pg_atomic_write_u64(&me->commit, pg_atomic_read_u64(&me->commit) + 1);
	pg_memory_barrier();
}

/* The same; false, and even again, if the word of the gates is another by now. */
static inline bool
pass_commit(uint64 word)
{
	show_commit();
	if (likely(pg_atomic_read_u64(&pf_gates->word) == word))
	{
		PF_INJECTION_POINT("pg-freeze-door-passed");
		return true;
	}
	leave_commit();
	return false;
}

/*
 * Returns with this backend's word odd, once no gate stops the commit.
 * "stopped_by" says which do; asked only while some gate is closed.
 */
static void
enter_commit(uint64 (*stopped_by) (void *arg), void *arg)
{
	PfWait		wait = {.door = PF_DOOR_COMMIT};

	passing = 0;
	for (;;)
	{
		uint64		word = pg_atomic_read_u64(&pf_gates->word);

		if (PF_ANY_GATE(word) && !is_out_of_it())
		{
			uint64		gates = stopped_by(arg);

			if (gates != 0)
			{
				happened |= NOTED;
				pf_wait(&wait, gates);
				continue;
			}
		}
		if (pass_commit(word))
			break;
	}
	pf_door_show_no_more();
}

/*
 * A commit while the process exits, which drops its temporary tables.
 * Interrupts are held off, so that a wait would hang terminate and shutdown:
 * it passes, and is counted.  It shows its commit as others do: a gate that is
 * closed after this has looked waits for it.
 */
static void
count_leaving(void)
{
	static PfGate gates[PF_GATES];

	show_commit();
	if (!any_gate())
		return;
	(void) pf_gate_copy_all(gates);
	for (int i = 0; i < PF_GATES; i++)
	{
		const PfTarget *target = &gates[i].record.target;

		if (gates[i].phase == PF_GATE_CLOSED &&
			(target->kind == PF_CLUSTER || (target->kind == PF_DATABASE && target->oid == MyDatabaseId) ||
			 (target->kind == PF_ROLE && target->oid == GetSessionUserId())))
			pf_gate_count(UINT64CONST(1) << i, PF_COUNT_EXIT_COMMITS);
	}
}

static PF_OUT_OF_LINE void
before_commit(bool last)
{
	bool		is_out = any_gate() && !proc_exit_inprogress && is_out_of_it();

	if ((happened & WORD_IS_ODD) || is_out ||
		(!TransactionIdIsValid(GetTopTransactionIdIfAny()) && !has_notified && !vacuuming))
		return;
	if (!proc_exit_inprogress)
		enter_commit(stop_commit, NULL);
	else if (last)
		count_leaving();
}

static PF_OUT_OF_LINE void
after_transaction(XactEvent event)
{
	if (event == XACT_EVENT_COMMIT && passing != 0)
		pf_gate_count(passing, PF_COUNT_EXEMPT_COMMITS);
	if (MyProc == NULL)
		return;
	leave_commit();
	happened = MyBackendType == B_BACKEND && !vacuuming ? 0 : NOTED;
	passing = 0;
	has_notified = false;
	pf_belongs_end_transaction();
	pf_wal_next(any_gate());
	pf_door_show_no_more();
}

/* A transaction that has a transaction id, is prepared, or of which something is noted. */
static PF_OUT_OF_LINE void
writing_transaction_event(XactEvent event, void *arg)
{
	uint64		word;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* most often that's all */
			word = pg_atomic_read_u64(&pf_gates->word);
			if (happened != 0 || PF_ANY_GATE(word) || proc_exit_inprogress || !pass_commit(word))
				before_commit(arg == NULL);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			if (happened == WORD_IS_ODD && passing == 0 && !any_gate())
				leave_commit();
			else
				after_transaction(event);
			break;
		default:
			break;
	}
}

/* An error at a door that a subtransaction has caught: nobody waits there any more. */
static void
subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		pf_door_show_no_more();
}

/* Comes by twice with every transaction, as executor_run() does with statements. */
static void
transaction_event(XactEvent event, void *arg)
{
	if (unlikely(happened != 0 || (event >= XACT_EVENT_PRE_COMMIT && TransactionIdIsValid(MyProc->xid))))
		writing_transaction_event(event, arg);
}

/* ---- installing --------------------------------------------------------- */

/* See door.h. */
void
pf_doors_install(void)
{
	next_executor_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = executor_run;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	next_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}

/* See door.h. */
void
pf_doors_pass_always(void)
{
	passes_always = true;
}
