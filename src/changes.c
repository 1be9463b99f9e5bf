/*-------------------------------------------------------------------------
 *
 * changes.c
 *	  The journal's rows of changed objects.
 *
 * There are as many of them as the freeze has objects, so they are written
 * and read with the access methods directly, in batches, without SPI.  Runs
 * in the transaction that changes the catalogs: a row is there if and only if
 * its change is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "journal.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* columns of freeze_journal_change */
enum
{
	COL_FREEZE_ID, COL_CLASSID, COL_OBJID, COL_OBJSUBID, COL_KIND, COL_NAMES, COL_ARGS,
	COL_OWNER, COL_BEFORE, COL_AFTER, COL_OUTCOME, NCOLS
};

#define BATCH 500				/* rows per multi-insert */

struct PfChanges
{
	MemoryContext context;
	MemoryContext batch;		/* of the rows not yet written */
	Relation	rel;
	Oid			index;			/* the primary key */
	CatalogIndexState indexes;
	TupleTableSlot *slots[BATCH];
	int			nslots;
};

/* Opens the table for reading and writing; lives in the current context. */
PfChanges *
journal_changes_open(void)
{
	PfChanges  *changes = palloc0(sizeof(PfChanges));

	changes->context = CurrentMemoryContext;
	changes->batch = AllocSetContextCreate(CurrentMemoryContext, "pg_freeze changes", ALLOCSET_DEFAULT_SIZES);
	changes->rel = table_open(journal_relation("freeze_journal_change"), RowExclusiveLock);
	changes->index = journal_relation("freeze_journal_change_pkey");
	changes->indexes = CatalogOpenIndexes(changes->rel);
	return changes;
}

static void
flush(PfChanges *changes)
{
	if (changes->nslots > 0)
		CatalogTuplesMultiInsertWithInfo(changes->rel, changes->slots, changes->nslots, changes->indexes);
	changes->nslots = 0;
	MemoryContextReset(changes->batch);
}

/* Writes what is pending and closes. */
void
journal_changes_close(PfChanges *changes)
{
	flush(changes);
	for (int i = 0; i < BATCH && changes->slots[i]; i++)
		ExecDropSingleTupleTableSlot(changes->slots[i]);
	CatalogCloseIndexes(changes->indexes);
	table_close(changes->rel, NoLock);
	MemoryContextDelete(changes->batch);
	pfree(changes);
}

/* Adds a row; it is written at the latest by journal_changes_close(). */
void
journal_change_add(PfChanges *changes, int64 id, const PfChange *change)
{
	MemoryContext old = MemoryContextSwitchTo(changes->batch);
	TupleTableSlot *slot;
	Datum		values[NCOLS];
	bool		nulls[NCOLS] = {0};
	HeapTuple	tuple;

	values[COL_FREEZE_ID] = Int64GetDatum(id);
	values[COL_CLASSID] = ObjectIdGetDatum(change->classid);
	values[COL_OBJID] = ObjectIdGetDatum(change->objid);
	values[COL_OBJSUBID] = Int32GetDatum(change->objsubid);
	values[COL_KIND] = CStringGetTextDatum(change->kind);
	values[COL_NAMES] = PointerGetDatum(change->names);
	values[COL_ARGS] = PointerGetDatum(change->args);
	values[COL_OWNER] = ObjectIdGetDatum(change->owner);
	nulls[COL_BEFORE] = change->before == NULL;
	values[COL_BEFORE] = change->before ? CStringGetTextDatum(change->before) : (Datum) 0;
	values[COL_AFTER] = CStringGetTextDatum(change->after);
	nulls[COL_OUTCOME] = true;
	values[COL_OUTCOME] = (Datum) 0;
	tuple = heap_form_tuple(RelationGetDescr(changes->rel), values, nulls);

	/* a multi-insert loses the place of a row that it has to toast, and indexes nothing */
	if (tuple->t_len > TOAST_TUPLE_THRESHOLD)
	{
		CatalogTupleInsertWithInfo(changes->rel, tuple, changes->indexes);
		MemoryContextSwitchTo(old);
		return;
	}
	MemoryContextSwitchTo(changes->context);
	if (changes->slots[changes->nslots] == NULL)
		changes->slots[changes->nslots] = MakeSingleTupleTableSlot(RelationGetDescr(changes->rel), &TTSOpsHeapTuple);
	slot = changes->slots[changes->nslots++];
	ExecStoreHeapTuple(tuple, slot, false);
	MemoryContextSwitchTo(old);

	if (changes->nslots == BATCH)
		flush(changes);
}

static void
change_from_tuple(PfChanges *changes, HeapTuple tuple, PfChange *change)
{
	Datum		values[NCOLS];
	bool		nulls[NCOLS];

	heap_deform_tuple(tuple, RelationGetDescr(changes->rel), values, nulls);
	change->classid = DatumGetObjectId(values[COL_CLASSID]);
	change->objid = DatumGetObjectId(values[COL_OBJID]);
	change->objsubid = DatumGetInt32(values[COL_OBJSUBID]);
	change->kind = TextDatumGetCString(values[COL_KIND]);
	change->names = DatumGetArrayTypePCopy(values[COL_NAMES]);
	change->args = DatumGetArrayTypePCopy(values[COL_ARGS]);
	change->owner = DatumGetObjectId(values[COL_OWNER]);
	change->before = nulls[COL_BEFORE] ? NULL : TextDatumGetCString(values[COL_BEFORE]);
	change->after = TextDatumGetCString(values[COL_AFTER]);
	change->tid = tuple->t_self;
}

/*
 * Calls func for each row of a freeze that has no outcome yet, in a memory
 * context that is reset after it.  func may change and delete the row it is
 * given, and add rows of other freezes.
 */
void
journal_changes_scan(PfChanges *changes, int64 id, PfChangeFunc func, void *arg)
{
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "pg_freeze change", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	flush(changes);
	ScanKeyInit(&key, COL_FREEZE_ID + 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = systable_beginscan(changes->rel, changes->index, true, NULL, 1, &key);
	/* an index scan allocates on its way what it needs until its end */
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		PfChange	change;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(per_row);
		if (heap_attisnull(tuple, COL_OUTCOME + 1, RelationGetDescr(changes->rel)))
		{
			change_from_tuple(changes, tuple, &change);
			func(&change, arg);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(per_row);
	}
	systable_endscan(scan);
	MemoryContextDelete(per_row);
}

/* Reads the row of one object, if the freeze has one without an outcome. */
bool
journal_change_find(PfChanges *changes, int64 id, Oid classid, Oid objid, int32 objsubid, PfChange *change)
{
	ScanKeyData key[4];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	flush(changes);
	ScanKeyInit(&key[0], COL_FREEZE_ID + 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	ScanKeyInit(&key[1], COL_CLASSID + 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(classid));
	ScanKeyInit(&key[2], COL_OBJID + 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objid));
	ScanKeyInit(&key[3], COL_OBJSUBID + 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(objsubid));
	scan = systable_beginscan(changes->rel, changes->index, true, NULL, 4, key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple) && heap_attisnull(tuple, COL_OUTCOME + 1, RelationGetDescr(changes->rel));
	if (found)
		change_from_tuple(changes, tuple, change);
	systable_endscan(scan);
	return found;
}

static void
replace_columns(PfChanges *changes, const PfChange *change, Datum *values, bool *nulls, bool *replaces)
{
	HeapTupleData old;
	Buffer		buffer;
	HeapTuple	newtuple;

	old.t_self = change->tid;
	if (!heap_fetch(changes->rel, SnapshotSelf, &old, &buffer, false))
		elog(ERROR, "a row of the journal has gone");
	newtuple = heap_modify_tuple(&old, RelationGetDescr(changes->rel), values, nulls, replaces);
	ReleaseBuffer(buffer);
	CatalogTupleUpdateWithInfo(changes->rel, &newtuple->t_self, newtuple, changes->indexes);
}

/* Gives a row other ACLs, and the owner that the change now has. */
void
journal_change_replace(PfChanges *changes, const PfChange *change, const char *before, const char *after)
{
	Datum		values[NCOLS] = {0};
	bool		nulls[NCOLS] = {0};
	bool		replaces[NCOLS] = {0};

	values[COL_OWNER] = ObjectIdGetDatum(change->owner);
	replaces[COL_OWNER] = true;
	values[COL_BEFORE] = before ? CStringGetTextDatum(before) : (Datum) 0;
	nulls[COL_BEFORE] = before == NULL;
	replaces[COL_BEFORE] = true;
	values[COL_AFTER] = CStringGetTextDatum(after);
	replaces[COL_AFTER] = true;
	replace_columns(changes, change, values, nulls, replaces);
}

/*
 * The change is undone, or as far as it can be.  With an outcome the row
 * stays for the history; without, nothing needs to be said of it and it goes.
 */
void
journal_change_done(PfChanges *changes, const PfChange *change, const char *outcome)
{
	Datum		values[NCOLS] = {0};
	bool		nulls[NCOLS] = {0};
	bool		replaces[NCOLS] = {0};

	if (outcome == NULL)
	{
		ItemPointerData tid = change->tid;

		CatalogTupleDelete(changes->rel, &tid);
		return;
	}
	values[COL_OUTCOME] = CStringGetTextDatum(outcome);
	replaces[COL_OUTCOME] = true;
	replace_columns(changes, change, values, nulls, replaces);
}

/* ---- roles ------------------------------------------------------------ */

/* Writes the names of all roles in a freeze's rows, for a restored dump. */
void
journal_roles_write(int64 id)
{
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);

	journal_execute("INSERT INTO @.freeze_journal_role (freeze_id, role, name)"
					" SELECT $1, r.oid, r.rolname FROM pg_authid r WHERE r.oid IN ("
					" SELECT owner FROM @.freeze_journal_change WHERE freeze_id = $1"
					" UNION SELECT (regexp_matches(acl_before, '\\d+', 'g'))[1]::oid"
					" FROM (SELECT DISTINCT acl_before FROM @.freeze_journal_change WHERE freeze_id = $1) c"
					" UNION SELECT target_oid FROM @.freeze_journal WHERE id = $1)"
					" ON CONFLICT DO NOTHING",
					1, &type, &value, NULL, false);
	pf_spi_end(spi);
}

/* The roles of a freeze by their names (List of PfRoleName *). */
List *
journal_roles_read(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	List	   *roles = NIL;
	MemoryContext old;

	journal_execute("SELECT j.role, r.oid FROM @.freeze_journal_role j"
					" LEFT JOIN pg_authid r ON r.rolname = j.name WHERE j.freeze_id = $1",
					1, &type, &value, NULL, true);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PfRoleName *role = palloc(sizeof(PfRoleName));
		bool		isnull;

		role->then = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		role->now = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		if (isnull)
			role->now = InvalidOid;
		roles = lappend(roles, role);
	}
	MemoryContextSwitchTo(old);
	pf_spi_end(spi);
	return roles;
}
