/*-------------------------------------------------------------------------
 *
 * values.c
 *	  What strategies read_only and disconnect change in the catalogs that all
 *	  databases share, and put back.
 *
 * The journal of a freeze is in one database; what is changed here belongs to
 * all of them, and freezes of other databases may hold the same.  So besides
 * the journal there is a register that all databases see: for each value that
 * is held, what it was before and which freezes hold it.  Whoever comes first
 * changes the value, whoever goes last puts it back.  It is kept in
 * pg_shseclabel, the only shared catalog that has room for text of others,
 * under the class of pg_db_role_setting, which has no security labels: neither
 * pg_seclabels nor pg_dumpall shows it.
 *
 * Value, register and journal are changed in one transaction, under a lock on
 * pg_shseclabel.  A holder whose database was dropped, or whose freeze is over
 * in its journal because somebody has undone it by hand, doesn't count; the
 * latter only its own database can know, see pf_values_sweep().
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_shseclabel.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/seclabel.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "objects.h"
#include "step.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "values.h"

#define SETTING		"default_transaction_read_only"
#define PROVIDER	PF_NAME " %s %u %u"

static const char *const kind_names[] = {"login", "connections", "setting"};

/* What each kind is set to. */
static const char *const held_as[] = {"false", "false", "on"};

/* A freeze that holds a value. */
typedef struct Holder
{
	int64		id;
	Oid			home;
} Holder;

/* An entry of the register. */
typedef struct Entry
{
	PfValue		value;
	char	   *before;			/* NULL: was not set */
	List	   *holders;		/* of Holder * */
} Entry;

/* A row of the journal. */
typedef struct Row
{
	PfValue		value;
	char	   *database_name;
	char	   *role_name;
	char	   *before;
	TransactionId version;
} Row;

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static const char *
database_text(Oid database)
{
	char	   *name = get_database_name(database);

	return name ? quote_identifier(name) : psprintf("%u", database);
}

static const char *
role_text(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name ? quote_identifier(name) : psprintf("%u", role);
}

/* See values.h. */
char *
pf_value_text(const PfValue *value)
{
	switch (value->kind)
	{
		case PF_VALUE_LOGIN:
			return psprintf("login of role %s", role_text(value->role));
		case PF_VALUE_CONNECTIONS:
			return psprintf("connections to database %s", database_text(value->database));
		case PF_VALUE_SETTING:
			break;
	}
	if (OidIsValid(value->role))
		return psprintf("%s of role %s%s", SETTING, role_text(value->role),
						OidIsValid(value->database) ? psprintf(" in database %s", database_text(value->database)) : "");
	return psprintf("%s of %s", SETTING, OidIsValid(value->database) ? psprintf("database %s", database_text(value->database)) : "all roles");
}

/* See values.h. */
const char *
pf_value_wanted(const PfValue *value)
{
	return held_as[value->kind];
}

/* See values.h. */
bool
pf_value_is_held(const PfValue *value, const char *now)
{
	return same(now, held_as[value->kind]);
}

/* ---- the catalogs ----------------------------------------------------- */

/* The row of pg_db_role_setting, a copy; NULL: there is none. */
static HeapTuple
setting_row(Oid database, Oid role)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(database));
	ScanKeyInit(&key[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(rel, DbRoleSettingDatidRolidIndexId, true, NULL, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

/* What a row of pg_db_role_setting says of the setting, NULL: nothing. */
static char *
setting_in(HeapTuple tuple, TupleDesc desc)
{
	Datum		config;
	bool		isnull;
	Datum	   *items;
	int			n;

	config = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, desc, &isnull);
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(config), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *item = TextDatumGetCString(items[i]);

		if (strncmp(item, SETTING "=", strlen(SETTING "=")) == 0)
			return item + strlen(SETTING "=");
	}
	return NULL;
}

/* As pf_value_read(); *version is the xmin of the row, invalid where there is none. */
static bool
read_version(const PfValue *value, char **text, TransactionId *version)
{
	HeapTuple	tuple = NULL;

	*text = NULL;
	*version = InvalidTransactionId;
	switch (value->kind)
	{
		case PF_VALUE_LOGIN:
			tuple = SearchSysCacheCopy1(AUTHOID, ObjectIdGetDatum(value->role));
			if (!HeapTupleIsValid(tuple))
				return false;
			*text = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin ? "true" : "false";
			break;
		case PF_VALUE_CONNECTIONS:
			tuple = SearchSysCacheCopy1(DATABASEOID, ObjectIdGetDatum(value->database));
			if (!HeapTupleIsValid(tuple))
				return false;
			*text = ((Form_pg_database) GETSTRUCT(tuple))->datallowconn ? "true" : "false";
			break;
		case PF_VALUE_SETTING:
			if ((OidIsValid(value->role) && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(value->role))) ||
				(OidIsValid(value->database) && !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(value->database))))
				return false;
			tuple = setting_row(value->database, value->role);
			if (HeapTupleIsValid(tuple))
			{
				Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);

				*text = setting_in(tuple, RelationGetDescr(rel));
				table_close(rel, AccessShareLock);
			}
			break;
	}
	if (HeapTupleIsValid(tuple))
		*version = HeapTupleHeaderGetRawXmin(tuple->t_data);
	return true;
}

/* See values.h. */
bool
pf_value_read(const PfValue *value, char **text)
{
	TransactionId version;

	return read_version(value, text, &version);
}

/*
 * Updates a row of pg_authid or pg_database.  It is copied once it is locked:
 * VACUUM changes rows of pg_database in place.
 */
static void
update_row(Oid catalog, Oid index, AttrNumber key_column, Oid oid, bool *(*column) (HeapTuple), bool on, const PfValue *value)
{
	Relation	rel = table_open(catalog, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	HeapTuple	newtuple;

	ScanKeyInit(&key, key_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple) || !pf_tuple_lock(rel, tuple))
		pf_raise_busy(pf_value_text(value));
	newtuple = heap_copytuple(tuple);
	*column(newtuple) = on;
	CatalogTupleUpdate(rel, &newtuple->t_self, newtuple);
	pf_tuple_unlock(rel, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

static bool *
can_login(HeapTuple tuple)
{
	return &((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
}

static bool *
allows_connections(HeapTuple tuple)
{
	return &((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
}

/* As ALTER ROLE or DATABASE ... SET, or RESET. */
static void
alter_setting(const PfValue *value, const char *text)
{
	VariableSetStmt *set = makeNode(VariableSetStmt);
	HeapTuple	tuple = setting_row(value->database, value->role);

	if (HeapTupleIsValid(tuple))
	{
		Relation	rel = table_open(DbRoleSettingRelationId, RowExclusiveLock);

		if (!pf_tuple_lock(rel, tuple))
			pf_raise_busy(pf_value_text(value));
		table_close(rel, NoLock);
	}
	set->kind = text ? VAR_SET_VALUE : VAR_RESET;
	set->name = SETTING;
	if (text)
	{
		A_Const    *constant = makeNode(A_Const);

		constant->val.sval.type = T_String;
		constant->val.sval.sval = pstrdup(text);
		constant->location = -1;
		set->args = list_make1(constant);
	}
	AlterSetting(value->database, value->role, set);
}

/* Raises 55P03 where somebody else changes the row. */
static void
write_value(const PfValue *value, const char *text)
{
	switch (value->kind)
	{
		case PF_VALUE_LOGIN:
			update_row(AuthIdRelationId, AuthIdOidIndexId, Anum_pg_authid_oid, value->role, can_login, strcmp(text, "true") == 0, value);
			break;
		case PF_VALUE_CONNECTIONS:
			update_row(DatabaseRelationId, DatabaseOidIndexId, Anum_pg_database_oid, value->database, allows_connections, strcmp(text, "true") == 0, value);
			break;
		case PF_VALUE_SETTING:
			alter_setting(value, text);
			break;
	}
	CommandCounterIncrement();
}

/* ---- the register ----------------------------------------------------- */

static void
lock_register(void)
{
	LockRelationOid(SharedSecLabelRelationId, ShareRowExclusiveLock);
}

static ObjectAddress
address_of(const PfValue *value)
{
	ObjectAddress address;

	ObjectAddressSet(address, DbRoleSettingRelationId, OidIsValid(value->role) ? value->role : value->database);
	return address;
}

static char *
provider_of(const PfValue *value)
{
	return psprintf(PROVIDER, kind_names[value->kind], value->database, value->role);
}

/* "=off" or "-", then a line "ID@HOME" for each holder.  NULL: somebody has damaged it. */
static Entry *
parse_entry(const PfValue *value, const char *label)
{
	Entry	   *entry = palloc0(sizeof(Entry));
	const char *line = strchr(label, '\n');

	entry->value = *value;
	if (label[0] == '=')
		entry->before = pnstrdup(label + 1, strcspn(label + 1, "\n"));
	for (; line; line = strchr(line + 1, '\n'))
	{
		Holder	   *holder = palloc(sizeof(Holder));

		if (sscanf(line + 1, INT64_FORMAT "@%u", &holder->id, &holder->home) != 2)
			return NULL;
		entry->holders = lappend(entry->holders, holder);
	}
	return entry;
}

static Entry *
read_entry(const PfValue *value)
{
	ObjectAddress address = address_of(value);
	char	   *label = GetSecurityLabel(&address, provider_of(value));
	Entry	   *entry = label ? parse_entry(value, label) : NULL;

	if (label && entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the note of who holds %s is damaged", pf_value_text(value)),
				 errdetail("Label of provider \"%s\" in pg_shseclabel: %s", provider_of(value), label),
				 errhint("Nobody but pg_freeze writes there. Delete that row: what the journal says of each freeze counts then.")));
	return entry;
}

/* Without holders it goes. */
static void
write_entry(const Entry *entry)
{
	ObjectAddress address = address_of(&entry->value);
	StringInfoData label;
	ListCell   *cell;

	initStringInfo(&label);
	if (entry->before)
		appendStringInfo(&label, "=%s", entry->before);
	else
		appendStringInfoChar(&label, '-');
	foreach(cell, entry->holders)
	{
		Holder	   *holder = lfirst(cell);

		appendStringInfo(&label, "\n" INT64_FORMAT "@%u", holder->id, holder->home);
	}
	SetSecurityLabel(&address, provider_of(&entry->value), entry->holders ? label.data : NULL);
	CommandCounterIncrement();
}

/* All entries (List of Entry *) that are not damaged. */
static List *
read_register(void)
{
	Relation	rel = table_open(SharedSecLabelRelationId, AccessShareLock);
	List	   *entries = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_shseclabel_classoid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(DbRoleSettingRelationId));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		char	   *provider = TextDatumGetCString(heap_getattr(tuple, Anum_pg_shseclabel_provider, RelationGetDescr(rel), &isnull));
		char	   *label = TextDatumGetCString(heap_getattr(tuple, Anum_pg_shseclabel_label, RelationGetDescr(rel), &isnull));
		char		kind[NAMEDATALEN];
		PfValue		value;

		if (sscanf(provider, PF_NAME " %63s %u %u", kind, &value.database, &value.role) != 3)
			continue;
		for (int i = 0; i < (int) lengthof(kind_names); i++)
			if (strcmp(kind, kind_names[i]) == 0)
			{
				Entry	   *entry;

				value.kind = (PfValueKind) i;
				entry = parse_entry(&value, label);
				if (entry)
					entries = lappend(entries, entry);
			}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return entries;
}

/* The ids of this database's freezes that may hold values. */
static List *
live_here(void)
{
	return journal_exists() ? journal_ids("strategy IN ('read_only', 'disconnect') AND state NOT IN ('thawed', 'aborted')", 0, NULL, NULL) : NIL;
}

/* Whether a holder counts: see the top of this file. */
static bool
still_holds(const Holder *holder, List *live)
{
	ListCell   *cell;

	if (holder->home != MyDatabaseId)
		return get_database_name(holder->home) != NULL;
	foreach(cell, live)
		if (*(int64 *) lfirst(cell) == holder->id)
			return true;
	return false;
}

/* Takes a freeze, id 0: none, and all who don't count, out of an entry's holders. */
static void
drop_holders(Entry *entry, int64 id, List *live)
{
	List	   *left = NIL;
	ListCell   *cell;

	foreach(cell, entry->holders)
	{
		Holder	   *holder = lfirst(cell);

		if (!(holder->id == id && holder->home == MyDatabaseId) && still_holds(holder, live))
			left = lappend(left, holder);
	}
	entry->holders = left;
}

/* ---- taking ----------------------------------------------------------- */

static void
journal_row(int64 id, const PfValue *value, const char *before, TransactionId version)
{
	PfSpi		spi = pf_spi_begin();
	Oid			types[] = {INT8OID, TEXTOID, OIDOID, OIDOID, TEXTOID, TEXTOID, XIDOID};
	Datum		values[7];
	char		nulls[8] = "       ";

	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(kind_names[value->kind]);
	values[2] = ObjectIdGetDatum(value->database);
	values[3] = ObjectIdGetDatum(value->role);
	values[4] = before ? CStringGetTextDatum(before) : (Datum) 0;
	nulls[4] = before ? ' ' : 'n';
	values[5] = CStringGetTextDatum(held_as[value->kind]);
	values[6] = TransactionIdGetDatum(version);
	journal_execute("INSERT INTO @.freeze_journal_value (freeze_id, kind, database, role, database_name, role_name, before, after, version)"
					" SELECT $1, $2, $3, $4, coalesce((SELECT datname FROM pg_database WHERE oid = $3), ''),"
					" coalesce((SELECT rolname FROM pg_authid WHERE oid = $4), ''), $5, $6, $7",
					7, types, values, nulls, false);
	pf_spi_end(spi);
}

/* See values.h. */
bool
pf_value_take(const PfFreeze *freeze, const PfValue *value, int64 *covered)
{
	Holder	   *me = palloc(sizeof(Holder));
	TransactionId version;
	Entry	   *entry;
	char	   *now;
	ListCell   *cell;

	lock_register();
	if (!read_version(value, &now, &version))
		return false;
	entry = read_entry(value);
	if (entry == NULL)
	{
		entry = palloc0(sizeof(Entry));
		entry->value = *value;
	}
	foreach(cell, entry->holders)
	{
		Holder	   *holder = lfirst(cell);

		/* if somebody has given it back meanwhile the verdict says so */
		if (holder->id == freeze->id && holder->home == MyDatabaseId)
			return false;
	}
	if (entry->holders == NIL || !pf_value_is_held(value, now))
		entry->before = now;
	else
		(*covered)++;
	me->id = freeze->id;
	me->home = MyDatabaseId;
	entry->holders = lappend(entry->holders, me);
	write_entry(entry);
	if (!pf_value_is_held(value, now))
	{
		write_value(value, held_as[value->kind]);
		version = GetCurrentTransactionId();
	}
	journal_row(freeze->id, value, entry->before, version);
	return !pf_value_is_held(value, now);
}

/* ---- looking ---------------------------------------------------------- */

/* See values.h. */
bool
pf_value_is_taken(const PfValue *value)
{
	return read_entry(value) != NULL;
}

/* See values.h. */
bool
pf_value_is_held_by(const PfValue *value, int64 id, Oid home)
{
	Entry	   *entry = read_entry(value);
	ListCell   *cell;

	if (entry == NULL || pf_value_is_held(value, entry->before))
		return false;
	foreach(cell, entry->holders)
	{
		Holder	   *holder = lfirst(cell);

		if (holder->id == id && holder->home == home)
			return true;
	}
	return false;
}

/* The rows of a freeze without an outcome (List of Row *). */
static List *
journal_rows(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(id);
	List	   *rows = NIL;
	MemoryContext old;

	journal_execute("SELECT array_position(ARRAY['login', 'connections', 'setting'], kind) - 1, database, role,"
					" database_name, role_name, before, version"
					" FROM @.freeze_journal_value WHERE freeze_id = $1 AND outcome IS NULL ORDER BY kind, database, role",
					1, &type, &value, NULL, true);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Row		   *row = palloc(sizeof(Row));
		bool		isnull;

		row->value.kind = (PfValueKind) DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		row->value.database = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		row->value.role = DatumGetObjectId(SPI_getbinval(tuple, desc, 3, &isnull));
		row->database_name = SPI_getvalue(tuple, desc, 4);
		row->role_name = SPI_getvalue(tuple, desc, 5);
		row->before = SPI_getvalue(tuple, desc, 6);
		row->version = DatumGetTransactionId(SPI_getbinval(tuple, desc, 7, &isnull));
		rows = lappend(rows, row);
	}
	MemoryContextSwitchTo(old);
	pf_spi_end(spi);
	return rows;
}

/* See values.h. */
char *
pf_values_broken(const PfFreeze *freeze, int64 *checked, char **altered)
{
	StringInfoData back;
	StringInfoData doubt;
	ListCell   *cell;

	initStringInfo(&back);
	initStringInfo(&doubt);
	foreach(cell, journal_rows(freeze->id))
	{
		Row		   *row = lfirst(cell);
		TransactionId version;
		char	   *now;

		(*checked)++;
		if (!read_version(&row->value, &now, &version))
			continue;
		if (!pf_value_is_held(&row->value, now))
			appendStringInfo(&back, "%s%s is %s again", back.len ? "; " : "", pf_value_text(&row->value), now ? now : "not set");
		else if (version != row->version)
			appendStringInfo(&doubt, "%s%s", doubt.len ? ", " : "", pf_value_text(&row->value));
	}
	*altered = doubt.len ? doubt.data : NULL;
	return back.len ? back.data : NULL;
}

/* See values.h. */
List *
pf_values_held(PfValueKind kind)
{
	List	   *values = NIL;
	ListCell   *cell;

	foreach(cell, read_register())
	{
		Entry	   *entry = lfirst(cell);

		if (entry->value.kind == kind)
			values = lappend(values, &entry->value);
	}
	return values;
}

/* See values.h. */
List *
pf_settings(void)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *entries = read_register();
	List	   *settings = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_db_role_setting form = (Form_pg_db_role_setting) GETSTRUCT(tuple);
		PfSetting  *setting = palloc(sizeof(PfSetting));
		ListCell   *cell;

		setting->value.kind = PF_VALUE_SETTING;
		setting->value.database = form->setdatabase;
		setting->value.role = form->setrole;
		setting->text = setting_in(tuple, RelationGetDescr(rel));
		foreach(cell, entries)
		{
			Entry	   *entry = lfirst(cell);

			if (entry->value.kind == PF_VALUE_SETTING && entry->value.database == form->setdatabase &&
				entry->value.role == form->setrole && pf_value_is_held(&entry->value, setting->text))
				setting->text = entry->before;
		}
		if (setting->text)
			settings = lappend(settings, setting);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return settings;
}

/* See values.h. */
char *
pf_values_held_from(Oid home)
{
	StringInfoData text;
	List	   *seen = NIL;
	ListCell   *cell;
	ListCell   *other;

	initStringInfo(&text);
	foreach(cell, read_register())
		foreach(other, ((Entry *) lfirst(cell))->holders)
	{
		Holder	   *holder = lfirst(other);
		char	   *freeze;
		bool		known = false;
		ListCell   *one;

		if (holder->home != home)
			continue;
		freeze = psprintf("freeze " INT64_FORMAT, holder->id);
		foreach(one, seen)
			known |= strcmp(lfirst(one), freeze) == 0;
		if (known)
			continue;
		seen = lappend(seen, freeze);
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", freeze);
	}
	return text.len ? psprintf("%s of database %s", text.data, database_text(home)) : NULL;
}

/* ---- giving back ------------------------------------------------------ */

static void
row_done(int64 id, const PfValue *value, const char *outcome)
{
	PfSpi		spi = pf_spi_begin();
	Oid			types[] = {INT8OID, TEXTOID, OIDOID, OIDOID, TEXTOID};
	Datum		values[5];

	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(kind_names[value->kind]);
	values[2] = ObjectIdGetDatum(value->database);
	values[3] = ObjectIdGetDatum(value->role);
	values[4] = outcome ? CStringGetTextDatum(outcome) : (Datum) 0;
	journal_execute(outcome ?
					"UPDATE @.freeze_journal_value SET outcome = $5"
					" WHERE freeze_id = $1 AND kind = $2 AND database = $3 AND role = $4" :
					"DELETE FROM @.freeze_journal_value"
					" WHERE freeze_id = $1 AND kind = $2 AND database = $3 AND role = $4",
					outcome ? 5 : 4, types, values, NULL, false);
	pf_spi_end(spi);
}

/*
 * Takes a freeze, id 0: none, out of the register; whoever is the last gives
 * the value back as it was.  Returns NULL where that is done, "passed" where
 * somebody else holds it, else what happened instead.
 */
static char *
give_back(const PfValue *value, int64 id, const char *before, List *live)
{
	Entry	   *entry = read_entry(value);
	char	   *now;

	if (!pf_value_read(value, &now))
	{
		if (entry)
		{
			entry->holders = NIL;
			write_entry(entry);
		}
		/* who was dropping it could not see a row that was not committed yet */
		if (value->kind == PF_VALUE_SETTING)
			write_value(value, NULL);
		return "skipped: dropped meanwhile";
	}
	if (entry)
	{
		drop_holders(entry, id, live);
		before = entry->before;
		write_entry(entry);
		if (entry->holders)
			return "passed";
	}
	if (same(now, before))
		return NULL;
	if (!pf_value_is_held(value, now))
		return psprintf("skipped: somebody else has set it meanwhile: %s", now ? now : "not set");
	write_value(value, before);
	return NULL;
}

/* The same in a copy of the database, whose journal is not what the register goes by. */
static char *
give_back_in_copy(const PfFreeze *freeze, const Row *row)
{
	PfValue		value = row->value;
	char	   *now;

	if (freeze->same_cluster)
		return "skipped: belongs to the cluster, not to this copy of the database";
	if (OidIsValid(value.role))
		value.role = get_role_oid(row->role_name, true);
	if (OidIsValid(value.database))
		value.database = get_database_oid(row->database_name, true);
	if (OidIsValid(value.role) != OidIsValid(row->value.role) || OidIsValid(value.database) != OidIsValid(row->value.database) ||
		!pf_value_read(&value, &now))
		return "skipped: no role or database of that name in this cluster";
	if (same(now, row->before))
		return NULL;
	if (!pf_value_is_held(&value, now))
		return "skipped: belongs to the cluster and is not as the freeze left it";
	write_value(&value, row->before);
	return NULL;
}

/* See values.h. */
void
pf_values_release(PfFreeze *freeze, PfRestore *result)
{
	List	   *live = live_here();
	ListCell   *cell;

	lock_register();
	foreach(cell, journal_rows(freeze->id))
	{
		Row		   *row = lfirst(cell);
		char	   *outcome = freeze->is_copy ? give_back_in_copy(freeze, row) :
			give_back(&row->value, freeze->id, row->before, live);

		if (outcome && strcmp(outcome, "passed") == 0)
		{
			result->passed++;
			outcome = NULL;
		}
		else if (outcome && strncmp(outcome, "skipped", 7) == 0)
			result->skipped++;
		else
			result->restored++;
		row_done(freeze->id, &row->value, outcome);
	}
}

/* Whether an entry has a holder that this database knows to be none. */
static bool
is_stale(const Entry *entry, List *live)
{
	ListCell   *cell;

	foreach(cell, entry->holders)
		if (!still_holds(lfirst(cell), live))
			return true;
	return false;
}

static void
step_sweep(PfFreeze *freeze, void *arg)
{
	List	   *live;
	ListCell   *cell;

	lock_register();
	live = live_here();
	foreach(cell, read_register())
	{
		Entry	   *entry = lfirst(cell);
		char	   *outcome;

		if (!is_stale(entry, live))
			continue;
		outcome = give_back(&entry->value, 0, entry->before, live);
		ereport(LOG,
				(errmsg("pg_freeze: %s was held for a freeze that is over%s%s", pf_value_text(&entry->value),
						outcome ? ": " : ", and is given back",
						outcome == NULL ? "" : strcmp(outcome, "passed") == 0 ? "others still hold it" : outcome)));
	}
}

/* See values.h. */
void
pf_values_sweep(void)
{
	MemoryContext context = CurrentMemoryContext;
	PfFreeze	none = {0};

	/* whatever is wrong there must not be in the way of other freezes */
	PG_TRY();
	{
		List	   *entries;
		List	   *live;
		bool		any = false;
		ListCell   *cell;

		/* in this order: what is made meanwhile is in the journal first */
		pf_begin();
		entries = read_register();
		live = entries ? live_here() : NIL;
		foreach(cell, entries)
			any |= is_stale(lfirst(cell), live);
		CommitTransactionCommand();
		MemoryContextSwitchTo(context);
		if (any)
			pf_run_step(&none, step_sweep, NULL, 0);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		pf_abort();
		ereport(LOG,
				(errmsg("pg_freeze: what is held for freezes that are over could not be given back yet: %s", error->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}
