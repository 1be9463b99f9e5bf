/*-------------------------------------------------------------------------
 *
 * drain.c
 *	  Who of a target is in flight.
 *
 * Runs in the worker that makes a freeze, after the transaction that took
 * the privileges has committed; pf_drain_blockers() also runs in backends.
 * Takes no lock and holds nothing between two looks.
 *
 * What counts is evidence that a transaction got through a permission check
 * before the door was closed and can still commit something:
 *
 *	- A lock that only writers take.  Statements lock a relation first, then
 *	  read the invalidation messages, then check permission; who creates a
 *	  relation does so with its schema.  So whoever was let in by the old
 *	  privileges holds a lock from before the messages were sent, and keeps
 *	  it until after its commit record is written.  Sequences likewise.
 *	- A transaction id of the target's: DDL that locks no relation.  A backend
 *	  shows it until its commit record is written.
 *	- A prepared transaction: shown until its commit record is written.
 *
 * Each kind of evidence, taken by itself, lasts from before the first look
 * until after the commit record, so it does not matter that sessions and
 * locks are read one after the other: who had no lock when the locks were
 * read, and no xid when the sessions were, either is done or has not been
 * let in.  (Commit gives up the xid before the locks; a write takes the lock
 * before it gets an xid.  Each is read whole: a fast-path lock that moves to
 * the main table while pg_locks is being read is there when that is read.)
 * Only PREPARE TRANSACTION moves evidence from one place to another: the
 * prepared transaction appears before the session gives up its locks and xid,
 * therefore prepared transactions are read last.
 *
 * Transactions that begin after the door was closed cannot have been let in.
 * They are kept out of the drain, because each statement that is going to be
 * refused holds its lock for a moment, and fifty clients that try again and
 * again would never let it end.  They are told apart by virtual transaction
 * id: what is in progress when pf_drain() is entered is all that may block.
 *
 * What leaves no evidence is a leak: a transaction that opened a large object
 * for writing and has not written yet, and a few instructions between the
 * permission check and the first catalog lock of DDL that makes no relation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "drain.h"
#include "executor/spi.h"
#include "gates.h"
#include "guc.h"
#include "journal.h"
#include "leak.h"
#include "sessions.h"
#include "storage/procarray.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#define DESCRIBED		5		/* blockers in full */

/*
 * $1 target, $2 its kind, $3 mode is "all", $4 freeze or 0, $5 relations when
 * there is no freeze yet, $6 virtual transaction ids that may block, or NULL.
 *
 * The condition on count(*) makes the executor finish one scan before it
 * begins the next: sessions, locks, prepared transactions, in this order.
 *
 * "own": logged in as the target.  "may": may act as the target.  Reading a
 * large object takes the lock of a writer on pg_largeobject, so that does not
 * count.  Who holds a writer's lock on something taken without a privilege of
 * his own to write there got it inside a SECURITY DEFINER function, through a
 * view or by an action of a foreign key.  Not so RowShareLock, which is a
 * foreign key's look at a row that it refers to.  The locks of a prepared
 * transaction have no pid, and the virtual transaction id that its session had.
 */
static const char blockers_sql[] =
"WITH session AS MATERIALIZED (\n"
"	SELECT s.pid, s.usesysid AS roleid, s.application_name, s.client_addr, s.state,\n"
"		s.xact_start, s.query, s.backend_start, s.state_change,\n"
"		s.backend_xid IS NOT NULL AS has_xid,\n"
"		(s.xact_start IS NOT NULL OR s.backend_xmin IS NOT NULL)\n"
"			AND s.state IS DISTINCT FROM 'idle' AND s.backend_type <> 'walsender' AS in_transaction,\n"
"		s.backend_type = 'walsender' AS walsender\n"
"	FROM pg_stat_activity s\n"
"	WHERE s.datname = current_database() AND s.usesysid IS NOT NULL\n"
"		AND s.backend_type <> 'parallel worker' AND NOT starts_with(s.backend_type, 'pg_freeze')\n"
"		AND s.pid <> coalesce((SELECT j.by_pid FROM @.freeze_journal j WHERE j.id = $4), pg_backend_pid())),\n"
"\n"
"held AS MATERIALIZED (\n"
"	SELECT l.pid, l.virtualtransaction, l.transactionid, l.locktype, l.mode, l.relation, l.objid,\n"
"		l.locktype = 'relation' AND l.mode <> 'AccessShareLock'\n"
"			AND l.relation NOT IN ('pg_largeobject'::regclass, 'pg_largeobject_loid_pn_index'::regclass) AS writer\n"
"	FROM pg_locks l\n"
"	WHERE (SELECT count(*) FROM session) >= 0 AND l.granted AND l.mode <> 'SIReadLock'\n"
"		AND (l.locktype IN ('virtualxid', 'transactionid')\n"
"			OR l.database = (SELECT oid FROM pg_database WHERE datname = current_database())\n"
"				AND (l.locktype = 'relation' OR l.locktype = 'object' AND l.classid = 'pg_namespace'::regclass))),\n"
"\n"
"prepared AS MATERIALIZED (\n"
"	SELECT p.transaction, p.gid, p.prepared, p.ownerid\n"
"	FROM pg_prepared_xact() p\n"
"	WHERE (SELECT count(*) FROM held) >= 0\n"
"		AND p.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())),\n"
"\n"
"holder AS (\n"
"	SELECT h.*, coalesce(r.rolsuper, false) AS super, coalesce(r.rolname, h.roleid::text) AS role_name,\n"
"		$2 = 'role' AND h.roleid = $1 AS own,\n"
"		$2 = 'role' AND h.roleid <> $1 AND " PF_SQL_MAY_ACT_AS("h.roleid", "$1") " AS may\n"
"	FROM (SELECT pid, NULL::text AS gid, NULL::text AS vxid, roleid, application_name, client_addr, state,\n"
"				xact_start AS since, query, backend_start, state_change, has_xid, in_transaction, walsender\n"
"			FROM session\n"
"		UNION ALL\n"
"			SELECT NULL, gid, (SELECT l.virtualtransaction FROM held l\n"
"					WHERE l.locktype = 'transactionid' AND l.transactionid = p.transaction AND l.pid IS NULL LIMIT 1),\n"
"				ownerid, NULL, NULL, 'prepared',\n"
"				prepared, NULL, NULL, NULL, true, true, false\n"
"			FROM prepared p) h\n"
"	LEFT JOIN pg_roles r ON r.oid = h.roleid),\n"
"\n"
"held_here AS (\n"
"	SELECT h.pid, h.virtualtransaction, h.mode, h.writer, h.relation, c.relkind, c.relowner,\n"
"		h.locktype = 'object' AS schema,\n"
"		CASE WHEN h.locktype = 'object' THEN h.objid ELSE c.relnamespace END AS nsp,\n"
"		CASE WHEN h.locktype = 'object'\n"
"			THEN (SELECT true FROM @.freeze_journal_change g\n"
"				WHERE g.freeze_id = $4 AND g.classid = 'pg_namespace'::regclass AND g.objid = h.objid LIMIT 1)\n"
"			WHEN $4 = 0 THEN h.relation = ANY ($5)\n"
"			ELSE (SELECT true FROM @.freeze_journal_change g\n"
"				WHERE g.freeze_id = $4 AND g.classid IN ('pg_class'::regclass, 'pg_attribute'::regclass)\n"
"					AND g.objid = h.relation LIMIT 1)\n"
"			END AS taken\n"
"	FROM held h LEFT JOIN pg_class c ON h.locktype = 'relation' AND c.oid = h.relation\n"
"	WHERE CASE WHEN h.locktype = 'object'\n"
"		THEN NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid = h.objid AND starts_with(n.nspname, 'pg_temp_'))\n"
"		ELSE h.locktype = 'relation' AND c.relpersistence IS DISTINCT FROM 't' END)\n"
"\n"
"SELECT h.pid, h.gid, h.role_name, h.application_name, host(h.client_addr), h.state, h.query,\n"
"	concat_ws(', ',\n"
"		CASE WHEN h.has_xid AND h.gid IS NULL THEN 'in a transaction that has written'\n"
"			WHEN l.mode IS NULL THEN CASE WHEN h.gid IS NULL THEN 'in a transaction' ELSE 'prepared' END END,\n"
"		'holds ' || l.mode || ' on '\n"
"			|| CASE WHEN l.schema THEN 'schema ' || l.nsp::regnamespace::text ELSE l.relation::regclass::text END,\n"
"		CASE WHEN $2 <> 'role' OR h.own THEN NULL\n"
"			WHEN h.may THEN 'may act as the frozen role'\n"
"			ELSE 'with rights that are not its own' END),\n"
"	h.gid IS NULL AND NOT h.walsender\n"
"		AND ($2 <> 'role' OR h.own OR h.may OR l.relowner = $1),\n"
"	h.since, h.backend_start, h.state_change, current_database()::text, h.super AND NOT h.own\n"
"FROM holder h\n"
"LEFT JOIN LATERAL (\n"
"	SELECT d.*\n"
"	FROM held_here d\n"
"	WHERE (d.pid = h.pid OR d.pid IS NULL AND d.virtualtransaction = h.vxid)\n"
"		AND CASE $2\n"
"			WHEN 'role' THEN\n"
"				CASE WHEN NOT (d.writer OR d.schema) THEN false\n"
"					WHEN h.own THEN true\n"
"					WHEN d.taken IS NOT TRUE THEN false\n"
"					WHEN h.may THEN true\n"
"					WHEN d.schema OR d.mode = 'RowShareLock' THEN false\n"
"					WHEN d.relkind = 'S' THEN NOT has_sequence_privilege(h.roleid, d.relation, 'USAGE, UPDATE')\n"
"					ELSE NOT has_table_privilege(h.roleid, d.relation, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'\n"
"							|| CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ', MAINTAIN' ELSE '' END)\n"
"						AND NOT has_any_column_privilege(h.roleid, d.relation, 'INSERT, UPDATE, REFERENCES')\n"
"					END\n"
"			WHEN 'schema' THEN NOT h.super AND d.nsp = $1 AND (d.writer OR d.schema OR $3)\n"
"			ELSE NOT h.super AND (d.writer OR d.schema)\n"
"			END\n"
"	ORDER BY d.taken DESC NULLS LAST, d.relation < 16384, d.relkind IN ('i', 'I', 't'), d.writer DESC, d.relation\n"
"	LIMIT 1) l ON true\n"
"WHERE (l.mode IS NOT NULL\n"
"		OR CASE $2\n"
"			WHEN 'role' THEN h.own AND (h.has_xid OR $3 AND h.in_transaction)\n"
"			WHEN 'schema' THEN false\n"
"			ELSE NOT h.super AND (h.has_xid OR $3 AND h.in_transaction)\n"
"			END)\n"
"	AND ($6 IS NULL OR h.pid IS NULL\n"
"		OR EXISTS (SELECT FROM held v WHERE v.pid = h.pid AND v.virtualtransaction = ANY ($6)))\n"
"ORDER BY h.since, h.pid";

/*
 * The same for pf_drain_in_flight().  $1 target, $2 its kind, $3 mode is "all",
 * $4 freeze or 0, $5 virtual transaction ids that may block, or NULL, $6 roles
 * that are exempt.
 *
 * "belongs": is the target, or is a member of it, as pf_role_belongs() has it.  The relations of other databases can't
 * be looked up here: there, a lock on a temporary one counts too.  VACUUM
 * against wraparound is never waited for.
 */
static const char in_flight_sql[] =
"WITH RECURSIVE belongs (role) AS (\n"
"		SELECT $1::oid WHERE $2 = 'role'\n"
"	UNION\n"
"		SELECT m.member FROM belongs b JOIN pg_auth_members m ON m.roleid = b.role\n"
"		WHERE " PF_SQL_MEMBERSHIP_COUNTS("m") "),\n"
"\n"
"session AS MATERIALIZED (\n"
"	SELECT s.pid, s.usesysid AS roleid, s.datid, s.application_name, s.client_addr, s.state,\n"
"		s.xact_start, s.query, s.backend_start, s.state_change, s.backend_type,\n"
"		s.backend_xid IS NOT NULL AS has_xid,\n"
"		s.backend_type = 'autovacuum worker' OR s.state IN ('active', 'fastpath function call') AS active\n"
"	FROM pg_stat_activity s\n"
"	WHERE s.datid IS NOT NULL AND s.backend_type NOT IN ('parallel worker', 'walsender')\n"
"		AND NOT starts_with(s.backend_type, 'pg_freeze')\n"
"		AND NOT (s.backend_type = 'autovacuum worker' AND s.query LIKE '%(to prevent wraparound)%')\n"
"		AND s.pid <> coalesce((SELECT j.by_pid FROM @.freeze_journal j WHERE j.id = $4), pg_backend_pid())\n"
"		AND coalesce(s.usename::text, '') <> ALL ($6)),\n"
"\n"
"held AS MATERIALIZED (\n"
"	SELECT l.pid, l.virtualtransaction, l.locktype, l.mode, l.database, l.relation\n"
"	FROM pg_locks l\n"
"	WHERE (SELECT count(*) FROM session) >= 0 AND l.granted AND l.pid IS NOT NULL\n"
"		AND (l.locktype = 'virtualxid'\n"
"			OR l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'SIReadLock')\n"
"				AND l.relation NOT IN ('pg_largeobject'::regclass, 'pg_largeobject_loid_pn_index'::regclass))),\n"
"\n"
"prepared AS MATERIALIZED (\n"
"	SELECT p.gid, p.prepared, p.ownerid, p.dbid\n"
"	FROM pg_prepared_xact() p\n"
"	WHERE (SELECT count(*) FROM held) >= 0\n"
"		AND pg_get_userbyid(p.ownerid)::text <> ALL ($6)),\n"
"\n"
"holder AS (\n"
"	SELECT h.*, coalesce(r.rolsuper, false) AS super,\n"
"		coalesce(r.rolname, h.roleid::text, h.backend_type) AS role_name\n"
"	FROM (SELECT pid, NULL::text AS gid, roleid, datid, application_name, client_addr, state,\n"
"				xact_start AS since, query, backend_start, state_change, backend_type, has_xid, active\n"
"			FROM session\n"
"		UNION ALL\n"
"			SELECT NULL, gid, ownerid, dbid, NULL, NULL, 'prepared', prepared, NULL, NULL, NULL, NULL, true, false\n"
"			FROM prepared) h\n"
"	LEFT JOIN pg_roles r ON r.oid = h.roleid),\n"
"\n"
"writing AS (\n"
"	SELECT DISTINCT ON (h.pid) h.pid, h.mode,\n"
"		coalesce(c.oid::regclass::text, format('relation %s of another database', h.relation)) AS relation\n"
"	FROM held h LEFT JOIN pg_class c ON c.oid = h.relation\n"
"		AND (h.database = 0 OR h.database = (SELECT oid FROM pg_database WHERE datname = current_database()))\n"
"	WHERE h.locktype = 'relation' AND c.relpersistence IS DISTINCT FROM 't'\n"
"	ORDER BY h.pid, h.relation < 16384, c.relkind IN ('i', 'I', 't'), h.relation)\n"
"\n"
"SELECT h.pid, h.gid, h.role_name, h.application_name, host(h.client_addr), h.state, h.query,\n"
"	concat_ws(', ',\n"
"		CASE WHEN h.gid IS NOT NULL THEN 'prepared'\n"
"			WHEN h.has_xid THEN 'in a transaction that has written'\n"
"			WHEN w.mode IS NULL THEN 'in a statement' END,\n"
"		'holds ' || w.mode || ' on ' || w.relation),\n"
"	h.gid IS NULL AND h.roleid IS NOT NULL, h.since, h.backend_start, h.state_change,\n"
"	(SELECT d.datname::text FROM pg_database d WHERE d.oid = h.datid), h.super AND NOT ($2 = 'role' AND h.roleid = $1)\n"
"FROM holder h LEFT JOIN writing w ON w.pid = h.pid\n"
"WHERE CASE $2 WHEN 'role' THEN h.roleid IN (SELECT role FROM belongs)\n"
"		WHEN 'database' THEN h.datid = $1 AND NOT ($3 AND h.super)\n"
"		ELSE NOT ($3 AND h.super) END\n"
"	AND (h.has_xid OR w.mode IS NOT NULL OR $3 AND h.active)\n"
"	AND ($5 IS NULL OR h.pid IS NULL\n"
"		OR EXISTS (SELECT FROM held v WHERE v.pid = h.pid AND v.locktype = 'virtualxid' AND v.virtualtransaction = ANY ($5)))\n"
"ORDER BY h.since, h.pid";

static char *
copy_column(MemoryContext context, int row, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(context, value) : NULL;
}

static Datum
column(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* See drain.h. */
bool
pf_is_between_transactions(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);

	return proc && !LocalTransactionIdIsValid(*(volatile LocalTransactionId *) &pf_proc_lxid(proc));
}

/* What a session's state is that doesn't report it. */
static void
guess_state(PfBlocker *blocker)
{
	PGPROC	   *proc = BackendPidGetProc(blocker->pid);

	blocker->unreported = true;
	if (pf_is_between_transactions(blocker->pid))
		blocker->state = "idle";
	else
		blocker->state = proc && proc->wait_event_info == WAIT_EVENT_CLIENT_READ ? "idle in transaction" : "active";
}

/* See drain.h. */
List *
pf_drain_query(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	PfSpi		spi;

	/* pg_stat_activity stands still in a transaction unless it is told not to */
	pgstat_clear_backend_activity_snapshot();

	spi = pf_spi_begin();
	journal_execute(sql, nargs, types, values, nulls, false);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PfBlocker  *blocker = MemoryContextAllocZero(context, sizeof(PfBlocker));
		MemoryContext spi_context;
		bool		isnull;
		Datum		value;

		value = column(i, 1, &isnull);
		blocker->pid = isnull ? 0 : DatumGetInt32(value);
		blocker->gid = copy_column(context, i, 2);
		blocker->role = copy_column(context, i, 3);
		blocker->application = copy_column(context, i, 4);
		blocker->address = copy_column(context, i, 5);
		blocker->state = copy_column(context, i, 6);
		blocker->query = copy_column(context, i, 7);
		blocker->what = copy_column(context, i, 8);
		blocker->signalable = DatumGetBool(column(i, 9, &isnull)) && !isnull;
		value = column(i, 10, &isnull);
		blocker->since = isnull ? 0 : DatumGetTimestampTz(value);
		value = column(i, 11, &isnull);
		blocker->backend_start = isnull ? 0 : DatumGetTimestampTz(value);
		if (SPI_tuptable->tupdesc->natts > 11)
		{
			value = column(i, 12, &isnull);
			blocker->state_change = isnull ? 0 : DatumGetTimestampTz(value);
			blocker->database = copy_column(context, i, 13);
			blocker->superuser = DatumGetBool(column(i, 14, &isnull)) && !isnull;
		}

		if (blocker->state && strcmp(blocker->state, "disabled") == 0)
			guess_state(blocker);
		spi_context = MemoryContextSwitchTo(context);
		result = lappend(result, blocker);
		MemoryContextSwitchTo(spi_context);
	}
	pf_spi_end(spi);
	return result;
}

/* See drain.h. */
List *
pf_drain_writers(const PfTarget *target, int64 freeze_id, ArrayType *relations, ArrayType *in_progress)
{
	Oid			types[] = {OIDOID, TEXTOID, BOOLOID, INT8OID, OIDARRAYOID, TEXTARRAYOID};
	Datum		values[6];
	char		nulls[7] = "      ";

	values[0] = ObjectIdGetDatum(target->oid);
	values[1] = CStringGetTextDatum(pf_kind_name(target->kind));
	values[2] = BoolGetDatum(target->mode == PF_ALL);
	values[3] = Int64GetDatum(freeze_id);
	values[4] = PointerGetDatum(relations);
	values[5] = PointerGetDatum(in_progress);
	if (relations == NULL)
		nulls[4] = 'n';
	if (in_progress == NULL)
		nulls[5] = 'n';

	return pf_drain_query(blockers_sql, 6, types, values, nulls);
}

/* See drain.h. */
ArrayType *
pf_drain_exempt_roles(void)
{
	List	   *names = NIL;
	Datum	   *values;
	int			n = 0;
	ListCell   *lc;

	(void) SplitIdentifierString(pstrdup(pf_guc_exempt_roles ? pf_guc_exempt_roles : ""), ',', &names);
	values = palloc(sizeof(Datum) * Max(list_length(names), 1));
	foreach(lc, names)
		values[n++] = CStringGetTextDatum((char *) lfirst(lc));
	return construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * Whether a session waits at a door with nothing written.  It has locked what it
 * wants to write to, when its statement was parsed.
 */
static bool
waits_empty_handed(int pid)
{
	PGPROC	   *proc = pf_gates ? BackendPidGetProc(pid) : NULL;
	PfGateBackend *word = proc ? &pf_gates->backends[pf_proc_number(proc)].backend : NULL;
	bool		waits;

	if (word == NULL || TransactionIdIsValid(proc->xid))
		return false;
	SpinLockAcquire(&word->mutex);
	waits = word->pid == pid;
	SpinLockRelease(&word->mutex);
	return waits;
}

/* See drain.h. */
List *
pf_drain_in_flight(const PfTarget *target, int64 freeze_id, ArrayType *in_progress)
{
	Oid			types[] = {OIDOID, TEXTOID, BOOLOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		values[6];
	char		nulls[7] = "      ";
	List	   *result = NIL;
	ListCell   *lc;

	Assert(target->kind != PF_SCHEMA);
	values[0] = ObjectIdGetDatum(target->oid);
	values[1] = CStringGetTextDatum(pf_kind_name(target->kind));
	values[2] = BoolGetDatum(target->mode == PF_ALL);
	values[3] = Int64GetDatum(freeze_id);
	values[4] = PointerGetDatum(in_progress);
	nulls[4] = in_progress ? ' ' : 'n';
	values[5] = PointerGetDatum(pf_drain_exempt_roles());
	foreach(lc, pf_drain_query(in_flight_sql, 6, types, values, nulls))
	{
		PfBlocker  *blocker = lfirst(lc);

		if (blocker->pid == 0 || !waits_empty_handed(blocker->pid))
			result = lappend(result, blocker);
	}
	return result;
}

/* See drain.h. */
ArrayType *
pf_drain_in_progress(void)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Datum		value;
	bool		isnull;
	ArrayType  *result;

	journal_execute("SELECT coalesce(array_agg(virtualtransaction), '{}') FROM pg_locks "
					"WHERE locktype = 'virtualxid' AND granted AND virtualtransaction = virtualxid",
					0, NULL, NULL, NULL, false);
	value = column(0, 1, &isnull);
	MemoryContextSwitchTo(context);
	result = DatumGetArrayTypePCopy(value);
	pf_spi_end(spi);
	return result;
}

/* See drain.h. */
List *
pf_drain_blockers(const PfStrategy *strategy, const PfTarget *target, int64 freeze_id, ArrayType *relations)
{
	if (strategy->blockers)
		return strategy->blockers(target, freeze_id);
	if (strategy->recycles)
	{
		PfFreeze   *freeze = freeze_id ? journal_read_existing(freeze_id) : NULL;

		return pf_sessions_left(strategy, target, freeze_id, freeze ? freeze->superusers : pf_guc_drain_superusers,
								freeze ? freeze->keep_read_only : pf_guc_keep_read_only, NULL);
	}
	return pf_drain_writers(target, freeze_id, relations, NULL);
}

/* See drain.h. */
char *
pf_drain_describe(List *blockers)
{
	StringInfoData text;
	int			shown = 0;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, blockers)
	{
		PfBlocker  *blocker = lfirst(lc);

		if (shown == DESCRIBED)
		{
			appendStringInfo(&text, "; and %d more", list_length(blockers) - shown);
			break;
		}
		if (shown++ > 0)
			appendStringInfoString(&text, "; ");
		if (blocker->pid != 0)
			appendStringInfo(&text, "session %d", blocker->pid);
		else
			appendStringInfo(&text, "prepared transaction %s", quote_literal_cstr(blocker->gid));
		if (blocker->role)
			appendStringInfo(&text, " of role %s", quote_identifier(blocker->role));
		if (blocker->application && blocker->application[0])
			appendStringInfo(&text, " (%s)", blocker->application);
		if (blocker->pid != 0 && blocker->state)
			appendStringInfo(&text, ", %s", blocker->state);
		if (blocker->since || blocker->state_change)
			appendStringInfo(&text, " since %s", timestamptz_to_str(blocker->since ? blocker->since : blocker->state_change));
		appendStringInfo(&text, ": %s", blocker->what);
	}
	return text.data;
}
