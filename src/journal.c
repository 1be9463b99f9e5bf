/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  The rows of freezes, and the one function that moves a freeze from one
 *	  state to the next.
 *
 * Runs in workers and, read-only, in callers.  Everything goes through SPI as
 * the superuser with a fixed search_path.  A freeze's row is changed only by
 * the process that holds its work lock, an advisory lock on the journal
 * table's OID and the freeze's id: a process that dies lets go of it, so that
 * an unfinished state whose lock is free is an abandoned one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "journal.h"
#include "live.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

static const char *const state_names[] = {
	"engaging", "draining", "frozen", "thawing", "thawed", "aborted", "lost"
};

const char *
pf_state_name(PfState state)
{
	return state_names[state];
}

PfState
pf_state_parse(const char *text)
{
	for (int i = 0; i < (int) lengthof(state_names); i++)
		if (strcmp(text, state_names[i]) == 0)
			return (PfState) i;
	elog(ERROR, "unknown state \"%s\" in the journal", text);
}

/* The table in pg_freeze.h. */
bool
pf_state_may_follow(PfState from, PfState to)
{
	switch (from)
	{
		case PF_ENGAGING:
			return to == PF_DRAINING || to == PF_ABORTED;
		case PF_DRAINING:
			return to == PF_FROZEN || to == PF_ABORTED;
		case PF_FROZEN:
			return to == PF_THAWING || to == PF_THAWED || to == PF_LOST;
		case PF_LOST:
			return to == PF_THAWING || to == PF_THAWED;
		case PF_THAWING:
			return to == PF_THAWED;
		case PF_THAWED:
		case PF_ABORTED:
			return false;
	}
	return false;
}

/* Whether a freeze in this state still holds, or may hold, anything. */
bool
pf_state_is_live(PfState state)
{
	return state != PF_THAWED && state != PF_ABORTED;
}

/* ---- SPI -------------------------------------------------------------- */

int			pf_asking = 0;

/* SPI's memory goes with the connection, also where an error ends that. */
static void
asks_no_more(void *arg)
{
	pf_asking--;
}

PfSpi
pf_spi_begin(void)
{
	PfSpi		spi = {0};
	MemoryContextCallback *callback;

	GetUserIdAndSecContext(&spi.userid, &spi.sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, spi.sec_context | SECURITY_LOCAL_USERID_CHANGE);
	spi.guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	/* the journal as it is now, whatever the caller's snapshot is */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	callback = palloc0(sizeof(MemoryContextCallback));
	callback->func = asks_no_more;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	pf_asking++;
	return spi;
}

void
pf_spi_end(PfSpi spi)
{
	SPI_finish();
	PopActiveSnapshot();
	AtEOXact_GUC(true, spi.guc_level);
	SetUserIdAndSecContext(spi.userid, spi.sec_context);
}

/* The schema of the extension's objects, InvalidOid where it is not installed. */
Oid
journal_namespace(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(PF_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		result = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* Whether this database has the extension.  Needs a transaction. */
bool
journal_exists(void)
{
	return OidIsValid(journal_namespace());
}

/* The schema of the extension's objects, quoted for SQL.  Needs a transaction. */
char *
journal_schema(void)
{
	Oid			nsp = journal_namespace();

	if (!OidIsValid(nsp))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database", PF_NAME),
				 errhint("Run CREATE EXTENSION %s.", PF_NAME)));
	return pstrdup(quote_identifier(get_namespace_name(nsp)));
}

/* The OID of one of the extension's relations. */
Oid
journal_relation(const char *name)
{
	return get_relname_relid(name, journal_namespace());
}

/*
 * Runs a statement in which @ stands for the extension's schema; between
 * pf_spi_begin() and pf_spi_end().
 */
void
journal_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls, bool read_only)
{
	char	   *schema = journal_schema();
	StringInfoData text;
	int			code;

	initStringInfo(&text);
	for (const char *p = sql; *p; p++)
	{
		if (*p == '@')
			appendStringInfoString(&text, schema);
		else
			appendStringInfoChar(&text, *p);
	}
	code = SPI_execute_with_args(text.data, nargs, types, values, nulls, read_only, 0);
	if (code < 0)
		elog(ERROR, "%s: %s", SPI_result_code_string(code), text.data);
}

/* ---- locks ------------------------------------------------------------ */

/* Apart from advisory locks that SQL can take: those have 1 or 2 here. */
#define WORK_LOCK_CLASS 0x5046
#define CHANGES_LOCK_CLASS 0x5047

/*
 * An advisory lock, because only those survive the abort of a transaction, as
 * when a step is tried again or undone, and are let go by a process that exits
 * between two transactions.
 */
static void
work_lock_tag(LOCKTAG *tag, int64 id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, journal_relation("freeze_journal"), (uint32) id, WORK_LOCK_CLASS);
}

/*
 * Takes the work lock of a freeze for the session; without wait returns
 * false where somebody else has it.
 */
bool
journal_lock(int64 id, bool wait)
{
	LOCKTAG		tag;

	work_lock_tag(&tag, id);
	return LockAcquire(&tag, ExclusiveLock, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Takes the work lock until the end of the caller's transaction. */
void
journal_lock_for_transaction(int64 id)
{
	LOCKTAG		tag;

	work_lock_tag(&tag, id);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
journal_unlock(int64 id)
{
	LOCKTAG		tag;

	work_lock_tag(&tag, id);
	LockRelease(&tag, ExclusiveLock, true);
}

static void
changes_lock_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, journal_relation("freeze_journal"), 0, CHANGES_LOCK_CLASS);
}

/*
 * Keeps others in this database from engaging or releasing until the end of
 * the transaction: what one freeze passes to another must not be missed by
 * that one's release.  Raises 55P03 where somebody is at it.
 */
void
journal_lock_changes(void)
{
	LOCKTAG		tag;

	changes_lock_tag(&tag);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another freeze or thaw is changing privileges in this database"),
				 errhint("Try again, or give it more time with drain_timeout.")));
}

/* The same for who cannot try again: waits. */
void
journal_await_changes(void)
{
	LOCKTAG		tag;

	changes_lock_tag(&tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* ---- freezes ---------------------------------------------------------- */

static Datum
interval_from_us(int64 us)
{
	return DirectFunctionCall3(interval_in,
							   CStringGetDatum(psprintf(INT64_FORMAT " microseconds", us)),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/* Notes as text, one a line: "code: text". */
char *
pf_notes_text(List *notes)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, notes)
	{
		PfNote	   *note = lfirst(cell);

		appendStringInfo(&text, "%s%s: %s", text.len ? "\n" : "", note->code, note->text);
	}
	return text.data;
}

/*
 * Writes the row of a new freeze in state engaging and returns its id.
 * Needs a transaction.
 */
int64
journal_begin(const PfRequest *request, List *leaks, List *also_stops)
{
	static const char *const on_timeout[] = {"abort", "cancel", "terminate"};
	const PfOptions *options = &request->options;
	bool		doors = pf_strategy_named(NameStr(request->strategy))->doors;
	PfSpi		spi = pf_spi_begin();
	Datum		values[31];
	char		nulls[32] = "                               ";
	Oid			types[] = {TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INTERVALOID, TEXTOID, INTERVALOID,
		TEXTOID, TEXTOID, INT8OID, OIDOID, INT8OID,
		TEXTOID, TEXTOID, INTERVALOID, INTERVALOID, INTERVALOID, BOOLOID, BOOLOID, BOOLOID, INT8OID};
	bool		isnull;
	int64		id;

	values[0] = CStringGetTextDatum(pf_kind_name(request->target.kind));
	values[1] = ObjectIdGetDatum(request->target.oid);
	values[2] = CStringGetTextDatum(NameStr(request->target.name));
	values[3] = CStringGetTextDatum(pf_mode_name(request->target.mode));
	values[4] = CStringGetTextDatum(NameStr(request->strategy));
	values[5] = CStringGetTextDatum(request->why);
	values[6] = CStringGetTextDatum(request->label);
	values[7] = CStringGetTextDatum(request->reason);
	values[8] = ObjectIdGetDatum(request->caller.role);
	values[9] = CStringGetTextDatum(NameStr(request->caller.role_name));
	values[10] = CStringGetTextDatum(NameStr(request->caller.session_user));
	values[11] = CStringGetTextDatum(request->caller.application);
	values[12] = CStringGetTextDatum(request->caller.client_addr);
	values[13] = Int32GetDatum(request->caller.pid);
	values[14] = interval_from_us((int64) options->drain_timeout * 1000);
	values[15] = CStringGetTextDatum(on_timeout[options->on_drain_timeout]);
	values[16] = interval_from_us(options->thaw_after);
	values[17] = CStringGetTextDatum(pf_notes_text(leaks));
	values[18] = CStringGetTextDatum(pf_notes_text(also_stops));
	values[19] = Int64GetDatum((int64) GetSystemIdentifier());
	values[20] = ObjectIdGetDatum(MyDatabaseId);
	values[21] = Int64GetDatum((int64) GetWALInsertionTimeLine());
	values[22] = CStringGetTextDatum(pf_action_name(options->action));
	values[23] = CStringGetTextDatum(pf_in_flight_name(options->in_flight));
	values[24] = interval_from_us((int64) options->max_wait * 1000);
	nulls[24] = doors ? ' ' : 'n';
	values[25] = interval_from_us((int64) options->notice_after * 1000);
	nulls[25] = doors && options->notice_after >= 0 ? ' ' : 'n';
	values[26] = interval_from_us((int64) options->yield_after * 1000);
	nulls[26] = doors && options->yield_after >= 0 ? ' ' : 'n';
	values[27] = BoolGetDatum(request->target.only_here);
	values[28] = BoolGetDatum(options->superusers);
	values[29] = BoolGetDatum(options->keep_read_only);
	values[30] = Int64GetDatum(request->backup);
	nulls[30] = request->backup ? ' ' : 'n';

	journal_execute("INSERT INTO @.freeze_journal (target_kind, target_oid, target_name, mode,"
					" strategy, why, state, label, reason, owner, owner_name, by_session_user,"
					" by_application, by_address, by_pid, drain_timeout, on_drain_timeout, thaw_after,"
					" leaks, also_stops, system_identifier, database_oid, timeline,"
					" action, in_flight, max_wait, notice_after, yield_after, only_here, superusers, keep_read_only, backup)"
					" VALUES ($1, $2, $3, $4, $5, $6, 'engaging', nullif($7, ''), nullif($8, ''), $9, $10,"
					" $11, $12, nullif($13, ''), $14, $15, $16, $17, $18, $19, $20, $21, $22,"
					" $23, $24, $25, $26, $27, $28, $29, $30, $31) RETURNING id",
					31, types, values, nulls, false);
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pf_spi_end(spi);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s is engaging, mode %s, strategy %s, by %s",
					id, pf_target_text(&request->target), pf_mode_name(request->target.mode),
					NameStr(request->strategy), NameStr(request->caller.role_name))));
	pf_live_note(id);
	return id;
}

static char *
column_text(int row, int column)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return text;
}

static int64
column_time(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static bool
column_flag(int row, int column)
{
	bool		isnull;

	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull)) && !isnull;
}

/* An interval in ms, or what NULL stands for. */
static int
column_ms(int row, int column, int null)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? null : (int) (DatumGetIntervalP(value)->time / 1000);
}

/*
 * Reads a freeze, NULL if there is none with this id.  The result is in the
 * current memory context.  Needs a transaction.
 */
PfFreeze *
journal_read(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	PfFreeze   *freeze = NULL;

	journal_execute("SELECT target_kind, target_oid, target_name, mode, strategy, state, owner, owner_name,"
					" label, frozen_at, thaw_at, thawed_at, end_reason, frozen_lsn, leaks,"
					" (SELECT string_agg(what, '; ' ORDER BY at) FROM"
					" (SELECT what, at FROM @.freeze_journal_gap g WHERE g.freeze_id = j.id"
					" ORDER BY at LIMIT CASE strategy WHEN 'lock' THEN 5 ELSE 1 END) AS gap),"
					" system_identifier, database_oid, thaw_after, reason, ended_at, requested_at,"
					" thaw_failures, reminded_at, retry_at, by_pid, retaken_at, stays_lost, timeline,"
					" action, in_flight, max_wait, notice_after, yield_after, only_here, superusers, keep_read_only,"
					" engaged_at, EXISTS (SELECT FROM @.freeze_backup b WHERE b.id = j.backup AND b.state <> 'running')"
					" FROM @.freeze_journal j WHERE id = $1", 1, &type, &value, NULL, true);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old;
		bool		isnull;

		old = MemoryContextSwitchTo(context);
		freeze = palloc0(sizeof(PfFreeze));
		freeze->id = id;
		freeze->home = MyDatabaseId;
		freeze->target.kind = pf_kind_parse(column_text(0, 1));
		freeze->target.oid = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
		namestrcpy(&freeze->target.name, column_text(0, 3));
		freeze->target.mode = pf_mode_parse(column_text(0, 4));
		freeze->strategy = pf_strategy_named(column_text(0, 5));
		freeze->state = pf_state_parse(column_text(0, 6));
		freeze->owner = DatumGetObjectId(SPI_getbinval(row, desc, 7, &isnull));
		freeze->owner_name = column_text(0, 8);
		freeze->label = column_text(0, 9);
		freeze->frozen_at = column_time(0, 10);
		freeze->thaw_at = column_time(0, 11);
		freeze->thawed_at = column_time(0, 12);
		freeze->end_reason = column_text(0, 13);
		freeze->frozen_lsn = (XLogRecPtr) column_time(0, 14);
		freeze->leaks = column_text(0, 15);
		freeze->gap = column_text(0, 16);
		freeze->same_cluster = column_time(0, 17) == (int64) GetSystemIdentifier();
		freeze->is_copy = !freeze->same_cluster ||
			DatumGetObjectId(SPI_getbinval(row, desc, 18, &isnull)) != MyDatabaseId;
		freeze->reason = column_text(0, 20);
		freeze->ended_at = column_time(0, 21);
		freeze->requested_at = column_time(0, 22);
		freeze->thaw_failures = DatumGetInt32(SPI_getbinval(row, desc, 23, &isnull));
		freeze->reminded_at = column_time(0, 24);
		freeze->retry_at = column_time(0, 25);
		freeze->by_pid = DatumGetInt32(SPI_getbinval(row, desc, 26, &isnull));
		freeze->retaken_at = column_time(0, 27);
		freeze->stays_lost = DatumGetBool(SPI_getbinval(row, desc, 28, &isnull));
		freeze->promoted = !RecoveryInProgress() &&
			DatumGetInt64(SPI_getbinval(row, desc, 29, &isnull)) != (int64) GetWALInsertionTimeLine();
		freeze->action = pf_action_parse(column_text(0, 30));
		freeze->in_flight = pf_in_flight_parse(column_text(0, 31));
		freeze->max_wait = column_ms(0, 32, 0);
		freeze->notice_after = column_ms(0, 33, -1);
		freeze->yield_after = column_ms(0, 34, -1);
		freeze->target.only_here = column_flag(0, 35);
		freeze->superusers = column_flag(0, 36);
		freeze->keep_read_only = column_flag(0, 37);
		freeze->engaged_at = column_time(0, 38);
		freeze->backup_over = column_flag(0, 39);
		MemoryContextSwitchTo(old);
	}
	pf_spi_end(spi);
	return freeze;
}

/* Who else a freeze stops, as pf_notes_text() wrote it. */
char *
journal_also_stops(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	char	   *text;

	journal_execute("SELECT also_stops FROM @.freeze_journal WHERE id = $1", 1, &type, &value, NULL, true);
	text = MemoryContextStrdup(context, column_text(0, 1));
	pf_spi_end(spi);
	return text;
}

/* The same, but raises 22023 where there is no such freeze. */
PfFreeze *
journal_read_existing(int64 id)
{
	PfFreeze   *freeze = journal_read(id);

	if (freeze == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no freeze " INT64_FORMAT " in this database", id),
				 errhint("%s", pf_live_is_there() ? "freeze_status lists what is frozen, freeze_history what was frozen here." :
						 "freeze_status lists what is frozen here, freeze_history what was. A freeze is known where it was made.")));
	return freeze;
}

/* The ids (List of int64 *) of the freezes for which an SQL condition holds, oldest first. */
List *
journal_ids(const char *condition, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	List	   *ids = NIL;
	MemoryContext old;

	journal_execute(psprintf("SELECT id FROM @.freeze_journal WHERE %s ORDER BY id", condition),
					nargs, types, values, NULL, true);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = column_time((int) i, 1);
		ids = lappend(ids, id);
	}
	MemoryContextSwitchTo(old);
	pf_spi_end(spi);
	return ids;
}

/* The other freezes (List of PfFreeze *) that hold something, oldest first. */
List *
journal_live_others(int64 id)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, journal_ids("id <> $1 AND state IN ('draining', 'frozen', 'lost', 'thawing')", 1, &type, &value))
		others = lappend(others, journal_read(*(int64 *) lfirst(cell)));
	return others;
}

/*
 * Sets columns of a freeze's row; $1 is the id, the values follow.  Needs a
 * transaction; the caller has the work lock.
 */
void
journal_set(int64 id, const char *assignments, int nargs, Oid *types, Datum *values, const char *nulls)
{
	PfSpi		spi = pf_spi_begin();
	Oid			all_types[8] = {INT8OID};
	Datum		all_values[8] = {Int64GetDatum(id)};
	char		all_nulls[9] = "        ";

	Assert(nargs < 8);
	for (int i = 0; i < nargs; i++)
	{
		all_types[i + 1] = types[i];
		all_values[i + 1] = values[i];
		all_nulls[i + 1] = nulls ? nulls[i] : ' ';
	}
	journal_execute(psprintf("UPDATE @.freeze_journal SET %s WHERE id = $1", assignments),
					nargs + 1, all_types, all_values, all_nulls, false);
	if (SPI_processed != 1)
		elog(ERROR, "freeze " INT64_FORMAT " is not in the journal", id);
	pf_spi_end(spi);
	pf_live_note(id);
}

/*
 * Moves a freeze to its next state: the only place where that happens.
 * Checks that the state may follow, writes it and its time, and logs one line.
 * The caller has the work lock and commits.
 */
void
journal_transition(PfFreeze *freeze, PfState to, const char *detail)
{
	static const char *const also_set[] = {
		[PF_DRAINING] = ", engaged_at = clock_timestamp()",
		[PF_FROZEN] = ", frozen_at = clock_timestamp()",
		[PF_THAWING] = "",
		[PF_THAWED] = ", ended_at = clock_timestamp(), end_reason = $3",
		[PF_ABORTED] = ", ended_at = clock_timestamp(), end_reason = $3",
		[PF_LOST] = ", lost_reason = $3",
	};
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];

	if (!pf_state_may_follow(freeze->state, to))
		elog(ERROR, "freeze " INT64_FORMAT " cannot go from %s to %s", freeze->id,
			 pf_state_name(freeze->state), pf_state_name(to));
	values[0] = CStringGetTextDatum(pf_state_name(to));
	values[1] = CStringGetTextDatum(detail);
	journal_set(freeze->id, psprintf("state = $2%s", also_set[to]),
				strchr(also_set[to], '$') ? 2 : 1, types, values, NULL);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s is %s: %s", freeze->id,
					pf_target_text(&freeze->target), pf_state_name(to), detail)));
	freeze->state = to;
}

/*
 * Notes what came back to the target of a live freeze.  Runs in any session,
 * so it adds a row and changes none: nobody waits for that session's end.
 */
void
journal_note_gap(int64 id, const char *what)
{
	Relation	rel = table_open(journal_relation("freeze_journal_gap"), RowExclusiveLock);
	Datum		values[3] = {Int64GetDatum(id), TimestampTzGetDatum(GetCurrentTimestamp()), CStringGetTextDatum(what)};
	bool		nulls[3] = {false, false, false};

	PushActiveSnapshot(GetLatestSnapshot());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	PopActiveSnapshot();
	table_close(rel, NoLock);
}

/* Removes what was noted of a freeze; what others note and have not committed stays. */
void
journal_forget_gaps(int64 id)
{
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);

	journal_execute("DELETE FROM @.freeze_journal_gap WHERE freeze_id = $1", 1, &type, &value, NULL, false);
	pf_spi_end(spi);
}
