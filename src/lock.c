/*-------------------------------------------------------------------------
 *
 * lock.c
 *	  The strategy "lock": a background worker holds a lock on everything that
 *	  the target could write to.
 *
 * Nothing in the catalogs is changed.  The locks are taken and held by the
 * holder (holder.c); here is what the rest of pg_freeze asks of a strategy.
 *
 * Engaging checks that there is room and writes down that the freeze is under
 * way.  The drain asks the holder and waits until it has everything: with
 * locks, closing the door and waiting for who is inside are one thing.  While
 * it waits, this side looks whether somebody the holder waits for waits for the
 * holder, and then has it let go at once; asks autovacuum to go; and raises
 * 25001 where it is the caller who is in the way.
 *
 * The freeze lasts as long as the holder.  lock_attend(), which the scheduler
 * and each request call, finds that it has gone, writes down that the freeze is
 * lost and since when, and has a new one take the locks again.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/multixact.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "drain.h"
#include "guc.h"
#include "holder.h"
#include "journal.h"
#include "leak.h"
#include "lock.h"
#include "pass.h"
#include "step.h"
#include "wanted.h"

#define FAST_PATH_RESERVE	16	/* locks of a backend that strong locks may push off its fast path */
#define RETRY_EVERY			10000	/* ms between tries to have a lost freeze taken again */
#define SUPERVISE_EVERY		200		/* ms between looks at a holder that tries */
#define LOOK_ROUNDS			32		/* ms between looks at whom a holder that tries waits for */
#define STRAGGLERS_WAIT		100		/* ms */
#define ROOM_MARGIN			64	/* locks that come and go between the look and the locking */

/* ---- the lock table --------------------------------------------------- */

/* Everything that is wanted, schemas first. */
static List *
wanted_lists(const PfTarget *target)
{
	return list_make2(pf_wanted_schemas(target), pf_wanted_relations(target));
}

static int
count_wanted(List *lists)
{
	int			count = 0;
	ListCell   *cell;

	foreach(cell, lists)
		count += ((PfWantedList *) lfirst(cell))->count;
	return count;
}

typedef struct HeldLock
{
	LOCKTAG		tag;
	LOCKMASK	modes;
} HeldLock;

/* The locks that a process has, and what the lock table has besides. */
typedef struct LockTable
{
	HTAB	   *held;			/* of HeldLock */
	int			in_use;			/* entries of the main table */
	int			fast;			/* locks on a fast path */
} LockTable;

static LockTable
read_lock_table(int pid)
{
	HASHCTL		ctl = {.keysize = sizeof(LOCKTAG),.entrysize = sizeof(HeldLock),.hcxt = CurrentMemoryContext};
	LockTable	table = {.held = hash_create("pg_freeze locks", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT)};
	LockData   *data = GetLockStatusData();

	for (int i = 0; i < data->nelements; i++)
	{
		LockInstanceData *lock = &data->locks[i];

		if (lock->fastpath)
			table.fast++;
		else
			table.in_use++;
		if (pid != 0 && lock->pid == pid)
			((HeldLock *) hash_search(table.held, &lock->locktag, HASH_ENTER, NULL))->modes = lock->holdMask;
	}
	pfree(data->locks);
	pfree(data);
	return table;
}

static bool
is_held(const LockTable *table, const PfWanted *wanted)
{
	LOCKTAG		tag;
	HeldLock   *held;

	pf_wanted_tag(wanted, &tag);
	held = hash_search(table->held, &tag, HASH_FIND, NULL);
	return held && (held->modes & LOCKBIT_ON(wanted->mode));
}

/*
 * Whether the lock table has room for a target.  What the holder has locked for
 * another freeze, in whatever mode, needs no more of it.  Computed as the server does
 * when it makes the table; a reserve is left for everybody else: strong locks
 * on many relations keep all backends off their fast paths.  Otherwise *setting
 * is what max_locks_per_transaction has to be, and the result says why.
 */
static char *
lacks_room(const PfTarget *target, int *setting)
{
	LockTable	table = read_lock_table(pf_holder_pid());
	int			per_transaction = MaxBackends + max_prepared_xacts;
	int64		room = (int64) max_locks_per_xact * per_transaction;
	int64		reserve = Max(FAST_PATH_RESERVE * (int64) MaxBackends, 2 * (int64) table.fast) + ROOM_MARGIN;
	int64		new = 0;
	int64		need;
	ListCell   *cell;

	foreach(cell, wanted_lists(target))
	{
		PfWantedList *list = lfirst(cell);

		for (int i = 0; i < list->count; i++)
		{
			LOCKTAG		tag;

			pf_wanted_tag(&list->items[i], &tag);
			if (hash_search(table.held, &tag, HASH_FIND, NULL) == NULL)
				new++;
		}
	}
	hash_destroy(table.held);
	need = new + table.in_use + reserve;
	if (need <= room)
		return NULL;
	*setting = (int) ((need + per_transaction - 1) / per_transaction);
	return psprintf(INT64_FORMAT " locks are needed, %d are in use and " INT64_FORMAT " are kept for others; there is room for " INT64_FORMAT,
					new, table.in_use, reserve, room);
}

/*
 * What keeps ACCESS EXCLUSIVE from being used: a sign of a standby, which
 * would hold the locks too.  NULL: nothing.
 */
static char *
standby_sign(void)
{
	PfSpi		spi;
	char	   *sign;
	MemoryContext context = CurrentMemoryContext;

	if (!XLogStandbyInfoActive() || pf_guc_lock_standbys)
		return NULL;
	spi = pf_spi_begin();
	journal_execute("SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_get_wal_senders() AS s (pid)) THEN 'a standby or a backup is connected'"
					" WHEN EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical') THEN 'there is a physical replication slot'"
					" WHEN current_setting('archive_mode') <> 'off' THEN 'WAL is archived, from which a standby may read' END",
					0, NULL, NULL, NULL, true);
	sign = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	sign = sign ? MemoryContextStrdup(context, sign) : NULL;
	pf_spi_end(spi);
	return sign;
}

/* See lock.h. */
int
pf_database_age(void)
{
	HeapTuple	tuple;
	Form_pg_database form;
	int32		xids;
	int32		multixacts;

	AcceptInvalidationMessages();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	form = (Form_pg_database) GETSTRUCT(tuple);
	xids = (int32) (ReadNextTransactionId() - form->datfrozenxid);
	multixacts = (int32) (ReadNextMultiXactId() - form->datminmxid);
	ReleaseSysCache(tuple);
	return Max(xids, multixacts);
}

/* See lock.h. */
char *
pf_lock_obstacle(const PfTarget *target)
{
	int			setting;
	char	   *why = target->mode == PF_ALL ? standby_sign() : NULL;

	if (why == NULL && pf_database_age() >= pf_guc_lock_max_age)
		why = pstrdup("the database is older than pg_freeze.lock_max_age");
	if (why == NULL)
		why = lacks_room(target, &setting);
	return why;
}

/* Raises what keeps a target from being locked. */
static void
check_obstacles(const PfTarget *target)
{
	int			setting;
	char	   *why;

	if (target->mode == PF_ALL && (why = standby_sign()) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("strategy lock in mode all would lock standbys as well"),
				 errdetail("ACCESS EXCLUSIVE locks go through the WAL, stop readers there, and can fill a standby's lock table: %s.", why),
				 errhint("Use mode write, strategy revoke, or SET pg_freeze.lock_standbys = on if that is meant.")));
	if (pf_database_age() >= pf_guc_lock_max_age)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("strategy lock would keep vacuum out of a database that needs it"),
				 errdetail("The oldest transaction id or multixact in it is %d old, pg_freeze.lock_max_age is %d.",
						   pf_database_age(), pf_guc_lock_max_age),
				 errhint("VACUUM the database, or use strategy revoke.")));
	why = lacks_room(target, &setting);
	if (why)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("the lock table is too small to lock %s", pf_target_text(target)),
				 errdetail("%s.", why),
				 errhint("Set max_locks_per_transaction to %d or more (now %d) and restart, freeze less at a time, or use strategy revoke.",
						 setting, max_locks_per_xact)));
}

/* ---- dry run ---------------------------------------------------------- */

static const char *
mode_text(LOCKMODE mode)
{
	return mode == AccessExclusiveLock ? "ACCESS EXCLUSIVE" : mode == ExclusiveLock ? "EXCLUSIVE" : "SHARE";
}

static void
lock_check(const PfTarget *target, PfEmit emit, void *arg)
{
	char	   *why = pf_lock_obstacle(target);
	ListCell   *cell;

	foreach(cell, wanted_lists(target))
	{
		PfWantedList *list = lfirst(cell);

		for (int i = 0; i < list->count; i++)
		{
			PfWanted   *wanted = &list->items[i];

			emit(arg, wanted->relkind ? wanted->objid : InvalidOid, pf_wanted_kind(wanted), pf_wanted_name(wanted),
				 psprintf("locks it, %s", mode_text(wanted->mode)));
		}
	}
	if (why)
		emit(arg, InvalidOid, NULL, NULL, why);
}

/* ---- engaging and draining -------------------------------------------- */

static char *missing(PfFreeze *freeze, const PfHold *hold, int64 *checked);

/*
 * In state engaging: checks, and locks nothing yet.  In state draining the
 * locks are held: looks whether they are all that is wanted.
 */
static int64
lock_engage(PfFreeze *freeze, int64 *covered)
{
	PfHold		hold;
	Oid			type = INT8OID;
	Datum		value;
	int64		checked;

	if (freeze->state == PF_ENGAGING)
	{
		/* what is nothing needs no room */
		int			count = count_wanted(wanted_lists(&freeze->target));

		if (count > 0)
			check_obstacles(&freeze->target);
		return count;
	}
	hold = pf_holder_look(freeze->id);
	if (hold.state != PF_HOLD_HOLDING || missing(freeze, &hold, &checked) != NULL)
	{
		pf_holder_again(freeze->id);
		return 1;
	}
	freeze->changed = hold.locks;
	value = Int64GetDatum(freeze->changed);
	journal_set(freeze->id, "changed = $2", 1, &type, &value, NULL);
	/* what the witness saw so far was committed before the freeze was frozen */
	journal_forget_gaps(freeze->id);
	return 0;
}

/* Looks whom the holder waits for, and does what helps; in a transaction. */
static void
clear_the_way(const PfFreeze *freeze, int holder)
{
	Oid			type = INT4OID;
	Datum		value = Int32GetDatum(holder);
	PfSpi		spi;

	pgstat_clear_backend_activity_snapshot();
	if (freeze->state == PF_DRAINING && pf_waits_for(holder, freeze->by_pid))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the freeze waits for a lock that its own caller holds"),
				 errdetail("Session %d has asked for the freeze, and its transaction has used what is to be locked.", freeze->by_pid),
				 errhint("Commit or roll back first.")));
	if (pf_waits_for(holder, holder))
		pf_holder_interrupt();

	spi = pf_spi_begin();
	journal_execute("SELECT pg_cancel_backend(pid), pid, query FROM pg_stat_activity"
					" WHERE backend_type = 'autovacuum worker' AND pid = ANY (pg_blocking_pids($1))"
					" AND query NOT LIKE '%(to prevent wraparound)'", 1, &type, &value, NULL, false);
	for (uint64 i = 0; i < SPI_processed; i++)
		ereport(LOG,
				(errmsg("pg_freeze: freeze " INT64_FORMAT " asked autovacuum worker %s to go: %s", freeze->id,
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2),
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3))));
	pf_spi_end(spi);
}

/*
 * Has the holder make an attempt while this process keeps the gate, which is
 * what the holder waits for first.  The gate keeper's weak lock lets everybody
 * in but the holder; who wants in there and has not written yet is kept out by
 * the holder, waiting; who has written is let pass it.  So the application runs
 * dry behind the gate, whatever else its transactions touch in whatever order,
 * and only then does the keeper step aside.  Where it does not run dry, because
 * somebody is not part of it or stays idle in a transaction, that happens when
 * most of the attempt's time is over.  In a transaction, with which the gate
 * keeper's lock ends.
 */
static void
keep_gate(const PfFreeze *freeze, const PfHold *before)
{
	PfWanted	gate = {before->gate_class, before->gate, NoLock, 0};
	LOCKTAG		tag;
	bool		kept;
	bool		seen = false;
	TimestampTz begin = GetCurrentTimestamp();

	pf_wanted_tag(&gate, &tag);
	kept = LockAcquire(&tag, RowShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
	pf_holder_go(freeze->id);
	for (int round = 1;; round++)
	{
		int			behind = pf_let_pass(before->pid);
		bool		waits = behind >= 0;

		if (waits && (!seen || round % LOOK_ROUNDS == 0))
			clear_the_way(freeze, before->pid);
		seen |= waits;
		if (kept && (waits ? !pf_anybody_has_written(before->pid) : seen))
		{
			LockRelease(&tag, RowShareLock, false);
			kept = false;
		}
		/* nobody begins here: it is not the place to wait */
		if (behind == 0 && kept && TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), before->slice / 4))
			pf_holder_interrupt();
		if (kept && TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), before->slice * 3 / 4))
		{
			LockRelease(&tag, RowShareLock, false);
			kept = false;
		}
		if (!waits && round % 4 == 0)
		{
			PfHold		hold = pf_holder_look(freeze->id);

			if (hold.state != PF_HOLD_TRYING || hold.attempts != before->attempts)
				break;
		}
		/* the gate is passed, and somebody who is needed waits behind it */
		if (waits && !kept && round % 8 == 0 && pf_waits_for(before->pid, before->pid))
			pf_holder_interrupt();
		if (TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), 2 * before->slice))
			break;
		pf_pause(1);
	}
}

/*
 * Helps the holder with a freeze whose locks it tries to take, for the time of
 * an attempt or so.
 */
static PfHold
supervise(const PfFreeze *freeze)
{
	PfHold		hold;

	pf_begin();
	hold = pf_holder_look(freeze->id);
	if (hold.state == PF_HOLD_TRYING && OidIsValid(hold.gate))
		keep_gate(freeze, &hold);
	CommitTransactionCommand();
	return hold;
}

#define HELD_NAME "coalesce(h.relation::regclass::text, 'schema ' || h.objid::regnamespace)"

/*
 * $1 relations, $2 schemas, $3 mode is "all", $4 freeze or 0, $5 kind of the
 * target, $6 its OID, $7 holder, $8 next transaction id when it had everything.
 *
 * Whoever has a lock that keeps the holder from getting its own, while there are
 * such in $1 and $2.  And, once the holder has had them ($8 is NULL before),
 * transactions of the target that had written by then: they may have run DDL
 * that takes no lock on relations or schemas, before the witness knew of the
 * freeze, and commit it yet.  For a schema that is whoever has written and has
 * no lock on what lies elsewhere.  Who waits for the holder can't commit.
 * Sessions of superusers are marked as such: whoever may freeze could not end
 * them otherwise.
 */
static const char blockers_sql[] =
"WITH held AS MATERIALIZED (\n"
"	SELECT DISTINCT ON (l.pid, l.virtualtransaction) l.pid, l.virtualtransaction, l.mode, l.relation, l.objid\n"
"	FROM pg_locks l\n"
"	WHERE cardinality($1) + cardinality($2) > 0 AND l.granted AND l.pid IS DISTINCT FROM $7\n"
"		AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())\n"
"		AND CASE WHEN l.locktype = 'relation' AND l.relation = 'pg_largeobject_metadata'::regclass\n"
"				THEN l.relation = ANY ($1) AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock', 'SIReadLock')\n"
"			WHEN l.locktype = 'relation'\n"
"				THEN l.relation = ANY ($1) AND l.mode <> 'SIReadLock' AND ($3 OR l.mode <> 'AccessShareLock')\n"
"			ELSE l.locktype = 'object' AND l.classid = 'pg_namespace'::regclass AND l.objid = ANY ($2) END\n"
"	ORDER BY l.pid, l.virtualtransaction, l.mode = 'AccessShareLock', l.relation)\n"
"SELECT s.pid, NULL::text AS gid, s.usename::text, s.application_name, host(s.client_addr), s.state, s.query,\n"
"	'holds ' || h.mode || ' on ' || " HELD_NAME "\n"
"		|| CASE WHEN s.backend_type = 'client backend' THEN '' ELSE ' (' || s.backend_type || ')' END,\n"
"	s.backend_type NOT IN ('walsender', 'autovacuum worker') AND r.oid IS NOT NULL,\n"
"	s.xact_start, s.backend_start, s.state_change, s.datname::text, r.rolsuper AND NOT ($5 = 'role' AND r.oid = $6)\n"
"FROM held h JOIN pg_stat_activity s ON s.pid = h.pid LEFT JOIN pg_roles r ON r.oid = s.usesysid\n"
"WHERE s.backend_type <> 'parallel worker' AND NOT starts_with(s.backend_type, 'pg_freeze')\n"
"	AND s.pid <> coalesce((SELECT j.by_pid FROM @.freeze_journal j WHERE j.id = $4), pg_backend_pid())\n"
"UNION ALL\n"
"SELECT NULL, p.gid, p.owner::text, NULL, NULL, 'prepared', NULL, 'holds ' || h.mode || ' on ' || " HELD_NAME ", false, p.prepared, NULL, NULL, p.database::text, NULL\n"
"FROM held h JOIN pg_locks t ON t.locktype = 'transactionid' AND t.granted AND t.pid IS NULL\n"
"	AND t.virtualtransaction = h.virtualtransaction\n"
"	JOIN pg_prepared_xacts p ON p.transaction = t.transactionid\n"
"WHERE h.pid IS NULL\n"
"UNION ALL\n"
"SELECT s.pid, NULL, s.usename::text, s.application_name, host(s.client_addr), s.state, s.query,\n"
"	'in a transaction that has written' || CASE WHEN s.backend_type = 'client backend' THEN '' ELSE ' (' || s.backend_type || ')' END,\n"
"	s.backend_type NOT IN ('walsender', 'autovacuum worker') AND r.oid IS NOT NULL,\n"
"	s.xact_start, s.backend_start, s.state_change, s.datname::text, r.rolsuper AND NOT ($5 = 'role' AND r.oid = $6)\n"
"FROM pg_stat_activity s LEFT JOIN pg_roles r ON r.oid = s.usesysid\n"
"WHERE s.datname = current_database() AND NOT starts_with(s.backend_type, 'pg_freeze')\n"
"	AND age(s.backend_xid) > age($8::xid) AND s.pid NOT IN (SELECT pid FROM held WHERE pid IS NOT NULL)\n"
"	AND NOT ($7 = ANY (pg_blocking_pids(s.pid)))\n"
"	AND CASE $5 WHEN 'database' THEN true WHEN 'role' THEN NOT coalesce(r.rolsuper AND r.oid <> $6, true)\n"
"		AND " PF_SQL_MAY_ACT_AS("s.usesysid", "$6") "\n"
"		WHEN 'schema' THEN NOT EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation\n"
"			WHERE l.pid = s.pid AND l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'SIReadLock')\n"
"				AND c.relnamespace <> $6 AND c.oid >= 16384) END\n"
"UNION ALL\n"
"SELECT NULL, p.gid, p.owner::text, NULL, NULL, 'prepared', NULL, 'prepared', false, p.prepared, NULL, NULL, p.database::text, NULL\n"
"FROM pg_prepared_xacts p\n"
"WHERE p.database = current_database() AND age(p.transaction) > age($8::xid)\n"
"	AND NOT EXISTS (SELECT FROM held h JOIN pg_locks t ON t.virtualtransaction = h.virtualtransaction\n"
"		WHERE h.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.transactionid = p.transaction)\n"
"	AND CASE $5 WHEN 'database' THEN true WHEN 'role' THEN p.owner = (SELECT rolname FROM pg_roles WHERE oid = $6) END\n"
"ORDER BY 10, 1";

static Datum
wanted_oids(List *lists, Oid classid)
{
	ArrayBuildState *oids = initArrayResult(OIDOID, CurrentMemoryContext, false);
	ListCell   *cell;

	foreach(cell, lists)
	{
		PfWantedList *list = lfirst(cell);

		for (int i = 0; i < list->count; i++)
			if (list->items[i].classid == classid)
				oids = accumArrayResult(oids, ObjectIdGetDatum(list->items[i].objid), false, OIDOID, CurrentMemoryContext);
	}
	return makeArrayResult(oids, CurrentMemoryContext);
}

static List *
lock_blockers(const PfTarget *target, int64 freeze_id)
{
	Oid			types[] = {OIDARRAYOID, OIDARRAYOID, BOOLOID, INT8OID, TEXTOID, OIDOID, INT4OID, TEXTOID};
	List	   *lists = NIL;
	PfHold		hold = {PF_HOLD_NONE};
	Datum		values[8];
	char		nulls[9] = "        ";

	if (freeze_id != 0)
		hold = pf_holder_look(freeze_id);
	if (hold.state != PF_HOLD_HOLDING)
		lists = wanted_lists(target);
	values[0] = wanted_oids(lists, RelationRelationId);
	values[1] = wanted_oids(lists, NamespaceRelationId);
	values[2] = BoolGetDatum(target->mode == PF_ALL);
	values[3] = Int64GetDatum(freeze_id);
	values[4] = CStringGetTextDatum(pf_kind_name(target->kind));
	values[5] = ObjectIdGetDatum(target->oid);
	values[6] = Int32GetDatum(hold.pid);
	values[7] = CStringGetTextDatum(psprintf("%u", hold.next_xid));
	if (!TransactionIdIsValid(hold.next_xid))
		nulls[7] = 'n';
	return pf_drain_query(blockers_sql, 8, types, values, nulls);
}

/*
 * Whether transactions of the target are left that may commit what no lock
 * stops.  The application waits meanwhile, so it is not for long: true if they
 * have gone, else the locks are let go.
 */
static bool
stragglers_gone(const PfFreeze *freeze)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), STRAGGLERS_WAIT);

	for (;;)
	{
		bool		gone;
		bool		late;

		pf_begin();
		gone = lock_blockers(&freeze->target, freeze->id) == NIL;
		late = GetCurrentTimestamp() >= end;
		if (!gone && late)
			pf_holder_again(freeze->id);
		CommitTransactionCommand();
		if (gone || late)
			return gone;
		pf_pause(STRAGGLERS_WAIT / 10);
	}
}

/* Waits for the outcome of a holder's first attempt: one look is a look at that. */
static bool
first_attempt_succeeds(const PfFreeze *freeze)
{
	PfHold		hold;

	do
	{
		pf_pause(1);
		pf_begin();
		hold = pf_holder_look(freeze->id);
		CommitTransactionCommand();
	} while (hold.state == PF_HOLD_TRYING && hold.attempts == 0);
	return hold.state == PF_HOLD_HOLDING && stragglers_gone(freeze);
}

static bool
lock_drained(PfFreeze *freeze)
{
	PfHold		hold = supervise(freeze);

	switch (hold.state)
	{
		case PF_HOLD_NONE:
			/* not asked yet, or it died before it had everything */
			pf_holder_ask(freeze->id);
			return first_attempt_succeeds(freeze);
		case PF_HOLD_TRYING:
			return false;
		case PF_HOLD_HOLDING:
			return stragglers_gone(freeze);
		case PF_HOLD_FAILED:
		case PF_HOLD_TOO_OLD:
			break;
	}
	ereport(ERROR,
			(errcode(hold.sqlstate),
			 errmsg("%s could not be locked: %s", pf_target_text(&freeze->target), hold.why),
			 hold.sqlstate == ERRCODE_OUT_OF_MEMORY ?
			 errhint("Raise max_locks_per_transaction (now %d); a restart is needed.", max_locks_per_xact) :
			 hold.sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED ?
			 errhint("Freeze less at a time, schema by schema, or use strategy revoke.") :
			 errhint("Try again, or use strategy revoke.")));
	return false;
}

/* ---- in force? -------------------------------------------------------- */

/* The first thing wanted now that the holder has not, NULL if it has all. */
static char *
missing(PfFreeze *freeze, const PfHold *hold, int64 *checked)
{
	LockTable	table = read_lock_table(hold->pid);
	char	   *first = NULL;
	int64		count = 0;
	ListCell   *cell;

	*checked = 0;
	foreach(cell, wanted_lists(&freeze->target))
	{
		PfWantedList *list = lfirst(cell);

		for (int i = 0; i < list->count; i++)
		{
			PfWanted   *wanted = &list->items[i];

			++*checked;
			if (is_held(&table, wanted))
				continue;
			if (count++ == 0)
				first = psprintf("%s %s is new to the target and was not locked", pf_wanted_kind(wanted), pf_wanted_name(wanted));
		}
	}
	hash_destroy(table.held);
	return count > 1 ? psprintf("%s, nor %s " INT64_FORMAT " more", first, count == 2 ? "was" : "were", count - 1) : first;
}

/* Large objects of a role that were made since; a database's are locked. */
static char *
new_large_objects(PfFreeze *freeze, const PfHold *hold)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[2];
	char	   *text = NULL;

	values[0] = ObjectIdGetDatum(freeze->target.oid);
	values[1] = CStringGetTextDatum(psprintf("%u", hold->next_xid));
	journal_execute("SELECT 'large object ' || min(oid::bigint) || ' is new' FROM pg_largeobject_metadata"
					" WHERE lomowner = $1 AND age(xmin) <= age($2::xid) HAVING count(*) > 0", 2, types, values, NULL, true);
	if (SPI_processed > 0)
		text = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	pf_spi_end(spi);
	return text;
}

static char *
lock_broken(PfFreeze *freeze, int64 *checked)
{
	PfHold		hold = pf_holder_look(freeze->id);
	char	   *what;

	*checked = 0;
	if (hold.state != PF_HOLD_HOLDING)
	{
		char	   *from = pstrdup(timestamptz_to_str(Max(freeze->frozen_at, freeze->retaken_at)));

		return psprintf("nothing holds its locks; they were let go between %s and %s%s%s", from,
						timestamptz_to_str(GetCurrentTimestamp()), hold.why[0] ? ": " : "", hold.why);
	}
	if (freeze->state == PF_FROZEN && hold.since > freeze->frozen_at)
		return psprintf("its locks were taken again at %s", timestamptz_to_str(hold.since));
	what = missing(freeze, &hold, checked);
	if (what == NULL && freeze->target.kind == PF_ROLE)
		what = new_large_objects(freeze, &hold);
	return what;
}

/* The process holds nothing that outlives it: letting go comes after the commit. */
static void
lock_release(PfFreeze *freeze, PfRestore *result)
{
	PfHold		hold = pf_holder_look(freeze->id);

	if (hold.state == PF_HOLD_HOLDING)
		result->restored = hold.locks;
}

/* ---- lost, and taken again -------------------------------------------- */

static void
note_lost(PfFreeze *freeze, const char *why, bool stays_lost)
{
	char	   *what;

	pf_begin();
	what = psprintf("its locks were let go at the latest at %s: %s", timestamptz_to_str(GetCurrentTimestamp()), why);
	journal_note_gap(freeze->id, what);
	journal_set(freeze->id, psprintf("lost_at = clock_timestamp(), retaken_at = NULL, stays_lost = %s", stays_lost ? "true" : "false"),
				0, NULL, NULL, NULL);
	if (freeze->state == PF_FROZEN)
		journal_transition(freeze, PF_LOST, what);
	else
		ereport(LOG,
				(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s is lost again: %s", freeze->id,
						pf_target_text(&freeze->target), what)));
	freeze->retaken_at = 0;
	freeze->stays_lost = stays_lost;
	CommitTransactionCommand();
}

static void
note_retaken(PfFreeze *freeze, TimestampTz at)
{
	char	   *what;

	pf_begin();
	what = psprintf("they were taken again at %s", timestamptz_to_str(at));
	journal_note_gap(freeze->id, what);
	journal_set(freeze->id, "retaken_at = clock_timestamp()", 0, NULL, NULL, NULL);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s was lost, its locks are taken again", freeze->id,
					pf_target_text(&freeze->target))));
	CommitTransactionCommand();
}

/* Asks for the locks of a lost freeze; what keeps that from being done is a line in the log. */
static bool
take_again(PfFreeze *freeze)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool asked = false;

	PG_TRY();
	{
		pf_holder_ask(freeze->id);
		pf_holder_deadline(freeze->id, freeze->thaw_at);
		asked = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		pf_abort();
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("pg_freeze: the locks of freeze " INT64_FORMAT " cannot be taken again yet: %s", freeze->id, error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return asked;
}

/*
 * Called for a freeze that is frozen or lost; its work lock is held.  In a copy
 * of the database and after a failover nobody expects the application to be
 * held, and perhaps nobody is there who would thaw it: there a freeze stays
 * lost.
 */
static int
lock_attend(PfFreeze *freeze)
{
	PfHold		hold;

	pf_begin();
	hold = pf_holder_look(freeze->id);
	CommitTransactionCommand();

	if (hold.state != PF_HOLD_HOLDING && (freeze->state == PF_FROZEN || freeze->retaken_at != 0))
		note_lost(freeze,
				  freeze->is_copy ? "this database is a copy" :
				  freeze->promoted ? "another server held them" :
				  hold.state == PF_HOLD_FAILED || hold.state == PF_HOLD_TOO_OLD ? hold.why :
				  "the process that held them ended",
				  freeze->is_copy || freeze->promoted || hold.state == PF_HOLD_TOO_OLD);
	if (freeze->state != PF_LOST || freeze->stays_lost)
		return 0;

	switch (hold.state)
	{
		case PF_HOLD_FAILED:
		case PF_HOLD_TOO_OLD:
			ereport(LOG,
					(errmsg("pg_freeze: the locks of freeze " INT64_FORMAT " could not be taken again: %s", freeze->id, hold.why)));
			take_again(freeze);
			return RETRY_EVERY;
		case PF_HOLD_NONE:
			return take_again(freeze) ? SUPERVISE_EVERY : RETRY_EVERY;
		case PF_HOLD_TRYING:
			(void) supervise(freeze);
			return SUPERVISE_EVERY;
		case PF_HOLD_HOLDING:
			if (freeze->retaken_at == 0)
				note_retaken(freeze, hold.since);
			return 0;
	}
	return 0;
}

const PfStrategy pf_lock = {
	.name = "lock",
	.kinds = {true, true, true, false},
	.modes = {true, true},
	.rejects = false,
	.done = "locked",
	.intact = "every lock was held",
	.check = lock_check,
	.engage = lock_engage,
	.drained = lock_drained,
	.blockers = lock_blockers,
	.release = lock_release,
	.settle = pf_holder_let_go,
	.settle_at_commit = pf_holder_let_go_at_commit,
	.deadline = pf_holder_deadline,
	.attend = lock_attend,
	.broken = lock_broken,
	.leaks = pf_lock_leaks,
	.also_stops = pf_lock_also_stops,
};
