/*-------------------------------------------------------------------------
 *
 * objects.c
 *	  The catalogs that carry privileges: scan, fetch, update.
 *
 * Rows are read with a scan of the catalog, not through the system caches,
 * so that a freeze of 100,000 tables does not fill the worker's memory; each
 * object is changed at most once in a transaction.
 *
 * A row is changed as aclchk.c does it: heavyweight lock on the tuple where
 * the server has inplace updates to fend off, new tuple, shared dependencies.
 * pg_init_privs stays as it is: only CREATE EXTENSION writes there.  A row
 * that another transaction is changing raises 55P03 at once instead of
 * waiting with thousands of rows changed behind it; the caller lets go of
 * everything and tries again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_default_acl.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_language.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_parameter_acl.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_tablespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

typedef struct CatalogInfo
{
	Oid			classid;
	Oid			depend_classid; /* as pg_shdepend has it */
	Oid			index;			/* by OID, or by relation and column */
	AttrNumber	oid;
	AttrNumber	nsp;			/* 0: none */
	AttrNumber	owner;			/* 0: elsewhere */
	AttrNumber	acl;
	ObjectType	objtype;
	bool		shared;
	bool		all_only;		/* has no privilege that writes */
} CatalogInfo;

static const CatalogInfo catalog_info[] = {
	{RelationRelationId, RelationRelationId, ClassOidIndexId, Anum_pg_class_oid,
		Anum_pg_class_relnamespace, Anum_pg_class_relowner, Anum_pg_class_relacl,
	OBJECT_TABLE, false, false},
	{AttributeRelationId, RelationRelationId, AttributeRelidNumIndexId, Anum_pg_attribute_attrelid,
	0, 0, Anum_pg_attribute_attacl, OBJECT_COLUMN, false, false},
	{NamespaceRelationId, NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid,
	0, Anum_pg_namespace_nspowner, Anum_pg_namespace_nspacl, OBJECT_SCHEMA, false, false},
	{DatabaseRelationId, DatabaseRelationId, DatabaseOidIndexId, Anum_pg_database_oid,
	0, Anum_pg_database_datdba, Anum_pg_database_datacl, OBJECT_DATABASE, true, false},
	{LargeObjectMetadataRelationId, LargeObjectRelationId, LargeObjectMetadataOidIndexId,
		Anum_pg_largeobject_metadata_oid, 0, Anum_pg_largeobject_metadata_lomowner,
	Anum_pg_largeobject_metadata_lomacl, OBJECT_LARGEOBJECT, false, false},
	{DefaultAclRelationId, DefaultAclRelationId, DefaultAclOidIndexId, Anum_pg_default_acl_oid,
		Anum_pg_default_acl_defaclnamespace, Anum_pg_default_acl_defaclrole,
	Anum_pg_default_acl_defaclacl, OBJECT_DEFACL, false, false},
	{ProcedureRelationId, ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid,
		Anum_pg_proc_pronamespace, Anum_pg_proc_proowner, Anum_pg_proc_proacl,
	OBJECT_FUNCTION, false, true},
	{TypeRelationId, TypeRelationId, TypeOidIndexId, Anum_pg_type_oid,
		Anum_pg_type_typnamespace, Anum_pg_type_typowner, Anum_pg_type_typacl,
	OBJECT_TYPE, false, true},
	{LanguageRelationId, LanguageRelationId, LanguageOidIndexId, Anum_pg_language_oid,
	0, Anum_pg_language_lanowner, Anum_pg_language_lanacl, OBJECT_LANGUAGE, false, true},
	{ForeignServerRelationId, ForeignServerRelationId, ForeignServerOidIndexId,
		Anum_pg_foreign_server_oid, 0, Anum_pg_foreign_server_srvowner,
	Anum_pg_foreign_server_srvacl, OBJECT_FOREIGN_SERVER, false, true},
	{ForeignDataWrapperRelationId, ForeignDataWrapperRelationId, ForeignDataWrapperOidIndexId,
		Anum_pg_foreign_data_wrapper_oid, 0, Anum_pg_foreign_data_wrapper_fdwowner,
	Anum_pg_foreign_data_wrapper_fdwacl, OBJECT_FDW, false, true},
	{TableSpaceRelationId, TableSpaceRelationId, TablespaceOidIndexId, Anum_pg_tablespace_oid,
		0, Anum_pg_tablespace_spcowner, Anum_pg_tablespace_spcacl,
	OBJECT_TABLESPACE, true, true},
	{ParameterAclRelationId, ParameterAclRelationId, ParameterAclOidIndexId,
		Anum_pg_parameter_acl_oid, 0, 0, Anum_pg_parameter_acl_paracl,
	OBJECT_PARAMETER_ACL, true, true},
};

struct PfCatalogs
{
	Relation	rels[lengthof(catalog_info)];
	CatalogIndexState indexes[lengthof(catalog_info)];
	Relation	lookups[lengthof(catalog_info)];	/* the indexes to fetch by */
	HTAB	   *own;			/* (class, object) of this extension's members */
	HeapTuple	fetched;
	int			nchanged;		/* since the last command counter increment */
};

/*
 * Changes per command.  The server goes through the invalidation messages of
 * the current command for each one that it adds.
 */
#define COMMAND 64

typedef struct OwnKey
{
	Oid			classid;
	Oid			objid;
} OwnKey;

static int
catalog_number(Oid classid)
{
	for (int i = 0; i < (int) lengthof(catalog_info); i++)
		if (catalog_info[i].classid == classid)
			return i;
	elog(ERROR, "catalog %u carries no privileges", classid);
}

bool
pf_object_is_shared(Oid classid)
{
	return IsSharedRelation(classid);
}

/* The members of this extension, which no freeze of a schema or database touches. */
static HTAB *
read_own_objects(void)
{
	HASHCTL		ctl = {.keysize = sizeof(OwnKey),.entrysize = sizeof(OwnKey),.hcxt = CurrentMemoryContext};
	HTAB	   *own = hash_create("pg_freeze members", 128, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(get_extension_oid(PF_NAME, false)));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		OwnKey		own_key = {depend->classid, depend->objid};

		if (depend->deptype == DEPENDENCY_EXTENSION)
			hash_search(own, &own_key, HASH_ENTER, NULL);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return own;
}

/* Opens what the other functions here need; lives in the current context. */
PfCatalogs *
pf_catalogs_open(void)
{
	PfCatalogs *catalogs = palloc0(sizeof(PfCatalogs));

	catalogs->own = read_own_objects();
	return catalogs;
}

static Relation
catalog_relation(PfCatalogs *catalogs, int number)
{
	if (catalogs->rels[number] == NULL)
		catalogs->rels[number] = table_open(catalog_info[number].classid, AccessShareLock);
	return catalogs->rels[number];
}

/* Closes the catalogs and keeps their locks, as DDL does. */
void
pf_catalogs_close(PfCatalogs *catalogs)
{
	for (int i = 0; i < (int) lengthof(catalog_info); i++)
	{
		if (catalogs->indexes[i])
			CatalogCloseIndexes(catalogs->indexes[i]);
		if (catalogs->lookups[i])
			index_close(catalogs->lookups[i], NoLock);
		if (catalogs->rels[i])
			table_close(catalogs->rels[i], NoLock);
	}
	hash_destroy(catalogs->own);
	pfree(catalogs);
}

static Oid
tuple_oid(Relation rel, HeapTuple tuple, AttrNumber attribute)
{
	bool		isnull;

	return DatumGetObjectId(heap_getattr(tuple, attribute, RelationGetDescr(rel), &isnull));
}

/*
 * What the row of a table says of its privileges' kind: false where GRANT
 * knows nothing of such relations, or where they are temporary.
 */
static bool
relation_object(Form_pg_class form, PfObject *object)
{
	if (form->relpersistence == RELPERSISTENCE_TEMP)
		return false;
	object->subtype = form->relkind;
	object->owner = form->relowner;
	object->nsp = form->relnamespace;
	switch (form->relkind)
	{
		case RELKIND_SEQUENCE:
			object->objtype = OBJECT_SEQUENCE;
			return true;
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
			object->objtype = OBJECT_TABLE;
			return true;
		default:
			return false;
	}
}

static bool
column_object(Form_pg_attribute form, PfObject *object)
{
	HeapTuple	tuple;
	bool		result;

	if (form->attisdropped)
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(form->attrelid));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = relation_object((Form_pg_class) GETSTRUCT(tuple), object);
	ReleaseSysCache(tuple);
	object->objtype = OBJECT_COLUMN;
	object->objsubid = form->attnum;
	return result;
}

/* Array, multirange and row types have no privileges of their own. */
static bool
type_object(Form_pg_type form)
{
	if (IsTrueArrayType(form) || form->typtype == TYPTYPE_MULTIRANGE)
		return false;
	return form->typtype != TYPTYPE_COMPOSITE ||
		get_rel_relkind(form->typrelid) == RELKIND_COMPOSITE_TYPE;
}

/* Fills *object from a row; false where the row is no object of ours. */
static bool
object_from_tuple(int number, Relation rel, HeapTuple tuple, PfObject *object)
{
	const CatalogInfo *info = &catalog_info[number];
	bool		isnull;
	Datum		acl;

	memset(object, 0, sizeof(*object));
	object->classid = info->classid;
	object->objtype = info->objtype;
	object->tuple = tuple;
	object->objid = tuple_oid(rel, tuple, info->oid);
	object->owner = info->owner ? tuple_oid(rel, tuple, info->owner) : BOOTSTRAP_SUPERUSERID;
	if (info->nsp)
		object->nsp = tuple_oid(rel, tuple, info->nsp);

	switch (info->classid)
	{
		case RelationRelationId:
			if (!relation_object((Form_pg_class) GETSTRUCT(tuple), object))
				return false;
			break;
		case AttributeRelationId:
			if (heap_attisnull(tuple, info->acl, RelationGetDescr(rel)) ||
				!column_object((Form_pg_attribute) GETSTRUCT(tuple), object))
				return false;
			break;
		case TypeRelationId:
			if (!type_object((Form_pg_type) GETSTRUCT(tuple)))
				return false;
			break;
		case DefaultAclRelationId:
			object->subtype = ((Form_pg_default_acl) GETSTRUCT(tuple))->defaclobjtype;
			break;
	}
	acl = heap_getattr(tuple, info->acl, RelationGetDescr(rel), &isnull);
	object->acl = isnull ? NULL : DatumGetAclPCopy(acl);
	return true;
}

/*
 * The ACL in force: the one that is there or the default for the owner.
 * Columns have none by default.
 */
Acl *
pf_object_effective_acl(const PfObject *object)
{
	return object->acl ? object->acl : acldefault(object->objtype, object->owner);
}

/* A column whose last privilege goes has no ACL any more, as after a REVOKE. */
Acl *
pf_object_null_acl(const PfObject *object, Acl *acl)
{
	return object->objtype == OBJECT_COLUMN && acl && ACL_NUM(acl) == 0 ? NULL : acl;
}

/* The privileges that a freeze of this mode takes on such an object. */
AclMode
pf_object_mask(const PfObject *object, PfMode mode)
{
	const AclMode relation = ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE |
		ACL_REFERENCES | ACL_TRIGGER | ACL_MAINTAIN;

	if (mode == PF_ALL)
		return ((AclMode) 1 << N_ACL_RIGHTS) - 1;
	switch (object->objtype)
	{
		case OBJECT_TABLE:
		case OBJECT_COLUMN:
			return relation;
		case OBJECT_SEQUENCE:
			return ACL_USAGE | ACL_UPDATE;
		case OBJECT_SCHEMA:
		case OBJECT_DATABASE:
			return ACL_CREATE;
		case OBJECT_LARGEOBJECT:
			return ACL_UPDATE;
		case OBJECT_DEFACL:
			switch (object->subtype)
			{
				case DEFACLOBJ_RELATION:
					return relation;
				case DEFACLOBJ_SEQUENCE:
					return ACL_USAGE | ACL_UPDATE;
				case DEFACLOBJ_NAMESPACE:
					return ACL_CREATE;
				case DEFACLOBJ_LARGEOBJECT:
					return ACL_UPDATE;
				default:
					return ACL_NO_RIGHTS;
			}
		default:
			return ACL_NO_RIGHTS;
	}
}

/* pg_catalog, information_schema, toast and temporary schemas. */
static bool
is_system_namespace(Oid nsp)
{
	return (nsp < FirstNormalObjectId && nsp != PG_PUBLIC_NAMESPACE) || isAnyTempNamespace(nsp);
}

/* Whether a freeze of this target looks at the object at all. */
bool
pf_object_in_target(PfCatalogs *catalogs, const PfObject *object, const PfTarget *target)
{
	OwnKey		key = {object->classid == AttributeRelationId ? RelationRelationId : object->classid, object->objid};

	if (target->kind == PF_ROLE)
	{
		/* another database's privileges are that database's business */
		if (object->classid == DatabaseRelationId && object->objid != MyDatabaseId)
			return false;
		if (object->owner == target->oid)
			return true;
		if (object->acl)
			for (int i = 0; i < ACL_NUM(object->acl); i++)
				if (PF_ACL_ITEMS(object->acl)[i].ai_grantee == target->oid)
					return true;
		return false;
	}
	if (hash_search(catalogs->own, &key, HASH_FIND, NULL))
		return false;
	if (target->kind == PF_SCHEMA)
		return object->classid == NamespaceRelationId ?
			object->objid == target->oid : object->nsp == target->oid;

	if (object->classid == DatabaseRelationId)
		return object->objid == MyDatabaseId;
	if (pf_object_is_shared(object->classid))
		return false;
	if (object->classid == NamespaceRelationId)
		return !is_system_namespace(object->objid);
	if (OidIsValid(object->nsp))
		return !is_system_namespace(object->nsp);
	return object->classid != LanguageRelationId || object->objid >= FirstNormalObjectId;
}

/*
 * The relations (oid[]) whose ACL, or with classid pg_attribute whose columns'
 * ACLs, name PUBLIC.  Quicker than the same in SQL: most rows of pg_attribute
 * have no ACL, and nothing but that is looked at.
 */
ArrayType *
pf_relations_of_public(Oid classid)
{
	const CatalogInfo *info = &catalog_info[catalog_number(classid)];
	Relation	rel = table_open(classid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	ArrayBuildState *result = initArrayResult(OIDOID, CurrentMemoryContext, false);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		datum;
		Acl		   *acl;

		CHECK_FOR_INTERRUPTS();
		if (heap_attisnull(tuple, info->acl, RelationGetDescr(rel)))
			continue;
		datum = heap_getattr(tuple, info->acl, RelationGetDescr(rel), &isnull);
		acl = DatumGetAclP(datum);
		if (pf_acl_has(acl, ACL_ID_PUBLIC, ~ACL_NO_RIGHTS))
			result = accumArrayResult(result, ObjectIdGetDatum(tuple_oid(rel, tuple, info->oid)),
									  false, OIDOID, CurrentMemoryContext);
		if (acl != (Acl *) DatumGetPointer(datum))
			pfree(acl);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return DatumGetArrayTypeP(makeArrayResult(result, CurrentMemoryContext));
}

/* Calls func for every object of the target in one catalog. */
void
pf_catalog_scan(PfCatalogs *catalogs, Oid classid, const PfTarget *target, PfObjectFunc func, void *arg)
{
	int			number = catalog_number(classid);
	Relation	rel = catalog_relation(catalogs, number);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	MemoryContext per_object = AllocSetContextCreate(CurrentMemoryContext, "pg_freeze object",
													 ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(per_object);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		PfObject	object;

		CHECK_FOR_INTERRUPTS();
		if (classid == AttributeRelationId &&
			heap_attisnull(tuple, catalog_info[number].acl, RelationGetDescr(rel)))
			continue;
		if (object_from_tuple(number, rel, tuple, &object) &&
			pf_object_in_target(catalogs, &object, target))
			func(&object, arg);
		MemoryContextReset(per_object);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(per_object);
	systable_endscan(scan);
}

/* Calls func for every object of the target that has, or may have, privileges. */
void
pf_objects_scan(PfCatalogs *catalogs, const PfTarget *target, PfObjectFunc func, void *arg)
{
	for (int i = 0; i < (int) lengthof(catalog_info); i++)
		if ((!catalog_info[i].all_only || target->mode == PF_ALL) &&
			(!target->only_here || catalog_info[i].classid == DatabaseRelationId))
			pf_catalog_scan(catalogs, catalog_info[i].classid, target, func, arg);
}

/*
 * Reads one object; false where it does not exist (any more).  The tuple of
 * the object fetched before is freed.
 */
bool
pf_object_fetch(PfCatalogs *catalogs, Oid classid, Oid objid, int32 objsubid, PfObject *object)
{
	int			number = catalog_number(classid);
	Relation	rel = catalog_relation(catalogs, number);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key[0], catalog_info[number].oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(objid));
	ScanKeyInit(&key[1], Anum_pg_attribute_attnum, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(objsubid));
	if (catalogs->lookups[number] == NULL)
		catalogs->lookups[number] = index_open(catalog_info[number].index, AccessShareLock);
	scan = systable_beginscan_ordered(rel, catalogs->lookups[number], NULL,
									  classid == AttributeRelationId ? 2 : 1, key);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (catalogs->fetched)
		heap_freetuple(catalogs->fetched);
	catalogs->fetched = NULL;
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(catalogs));

		catalogs->fetched = heap_copytuple(tuple);
		MemoryContextSwitchTo(old);
		if (classid == AttributeRelationId && heap_attisnull(tuple, Anum_pg_attribute_attacl, RelationGetDescr(rel)))
		{
			memset(object, 0, sizeof(*object));
			object->classid = classid;
			object->objid = objid;
			object->tuple = catalogs->fetched;
			found = column_object((Form_pg_attribute) GETSTRUCT(tuple), object);
		}
		else
			found = object_from_tuple(number, rel, catalogs->fetched, object);
	}
	systable_endscan_ordered(scan);
	return found;
}

/*
 * Locks a catalog row for update.  False if another transaction has changed
 * it, or is about to: then the caller raises with pf_raise_busy().
 */
bool
pf_tuple_lock(Relation rel, HeapTuple tuple)
{
	HeapTupleData current;
	Buffer		buffer;
	Page		page;
	ItemId		item;
	TM_Result	result;

#ifdef InplaceUpdateTupleLock
	if (IsInplaceUpdateRelation(rel))
		LockTuple(rel, &tuple->t_self, InplaceUpdateTupleLock);
#endif
	buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(&tuple->t_self));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	item = PageGetItemId(page, ItemPointerGetOffsetNumber(&tuple->t_self));
	current.t_data = (HeapTupleHeader) PageGetItem(page, item);
	current.t_len = ItemIdGetLength(item);
	current.t_tableOid = RelationGetRelid(rel);
	current.t_self = tuple->t_self;
	result = HeapTupleSatisfiesUpdate(&current, GetCurrentCommandId(false), buffer);
	UnlockReleaseBuffer(buffer);
	return result == TM_Ok;
}

/* Raises 55P03 for an object whose row somebody else is changing. */
void
pf_raise_busy(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("%s is being changed by another transaction", what),
			 errhint("Look in pg_locks and pg_stat_activity who is in the middle of DDL, GRANT or ANALYZE, and try again.")));
}

void
pf_tuple_unlock(Relation rel, HeapTuple tuple)
{
#ifdef InplaceUpdateTupleLock
	if (IsInplaceUpdateRelation(rel))
		UnlockTuple(rel, &tuple->t_self, InplaceUpdateTupleLock);
#endif
}

/*
 * Writes the ACL (NULL: the default) and the shared dependencies.  Raises
 * 55P03 if another transaction is changing the row.
 */
void
pf_object_set_acl(PfCatalogs *catalogs, PfObject *object, const Acl *acl)
{
	int			number = catalog_number(object->classid);
	const CatalogInfo *info = &catalog_info[number];
	Relation	rel = catalog_relation(catalogs, number);
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {0};
	bool		replaces[Natts_pg_class] = {0};
	HeapTuple	newtuple;
	Oid		   *oldmembers = NULL;
	Oid		   *newmembers = NULL;
	int			noldmembers = object->acl ? aclmembers(object->acl, &oldmembers) : 0;
	int			nnewmembers = acl ? aclmembers(acl, &newmembers) : 0;

	StaticAssertStmt(Natts_pg_proc <= Natts_pg_class && Natts_pg_type <= Natts_pg_class,
					 "pg_class is the widest of these catalogs");

	if (catalogs->indexes[number] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(catalogs));

		/* who only looks is no writer, for the drain of another freeze */
		LockRelationOid(info->classid, RowExclusiveLock);
		catalogs->indexes[number] = CatalogOpenIndexes(rel);
		MemoryContextSwitchTo(old);
	}
	values[info->acl - 1] = PointerGetDatum(acl);
	nulls[info->acl - 1] = acl == NULL;
	replaces[info->acl - 1] = true;

	if (!pf_tuple_lock(rel, object->tuple))
		pf_raise_busy(pf_object_text(object));
	newtuple = heap_modify_tuple(object->tuple, RelationGetDescr(rel), values, nulls, replaces);
	CatalogTupleUpdateWithInfo(rel, &newtuple->t_self, newtuple, catalogs->indexes[number]);
	pf_tuple_unlock(rel, object->tuple);

	updateAclDependencies(info->depend_classid, object->objid, object->objsubid, object->owner,
						  noldmembers, oldmembers, nnewmembers, newmembers);
	if (++catalogs->nchanged == COMMAND)
	{
		CommandCounterIncrement();
		catalogs->nchanged = 0;
	}
}

/* ---- names ------------------------------------------------------------ */

/* "table", "sequence", ... */
const char *
pf_relkind_text(char relkind)
{
	switch (relkind)
	{
		case RELKIND_SEQUENCE:
			return "sequence";
		case RELKIND_VIEW:
			return "view";
		case RELKIND_MATVIEW:
			return "materialized view";
		case RELKIND_FOREIGN_TABLE:
			return "foreign table";
		default:
			return "table";
	}
}

static ObjectAddress
object_address(const PfObject *object)
{
	ObjectAddress address;

	ObjectAddressSubSet(address,
						object->classid == AttributeRelationId ? RelationRelationId :
						object->classid == LargeObjectMetadataRelationId ? LargeObjectRelationId :
						object->classid, object->objid, object->objsubid);
	return address;
}

/* The type of an object as pg_identify_object_as_address() spells it. */
const char *
pf_object_kind(const PfObject *object)
{
	ObjectAddress address = object_address(object);

	if (object->classid == RelationRelationId)
		return pf_relkind_text(object->subtype);
	if (object->classid == AttributeRelationId)
		return psprintf("%s column", pf_relkind_text(object->subtype));
	return getObjectTypeDescription(&address, true);
}

ArrayType *
pf_text_array(List *strings)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(list_length(strings), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, strings)
		datums[n++] = CStringGetTextDatum((char *) lfirst(cell));
	return construct_array(datums, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/* Name and arguments as pg_identify_object_as_address() spells them. */
ArrayType *
pf_object_names(const PfObject *object, ArrayType **args)
{
	ObjectAddress address = object_address(object);
	List	   *names = NIL;
	List	   *arglist = NIL;

	if (object->classid == RelationRelationId)
		names = list_make2(get_namespace_name(object->nsp),
						   NameStr(((Form_pg_class) GETSTRUCT(object->tuple))->relname));
	else
		getObjectIdentityParts(&address, &names, &arglist, true);
	/* the scan sees rows that the caches don't have any more */
	if (names == NIL || list_member_ptr(names, NULL))
		pf_raise_busy(pf_object_text(object));
	*args = pf_text_array(arglist);
	return pf_text_array(names);
}

/* "table public.t", for people. */
char *
pf_object_text(const PfObject *object)
{
	ObjectAddress address = object_address(object);
	char	   *identity = getObjectIdentity(&address, true);

	if (identity == NULL)
		return psprintf("%s with OID %u", pf_object_kind(object), object->objid);
	return psprintf("%s %s", pf_object_kind(object), identity);
}

/*
 * Looks an object up by the name that the journal has, in a copy of the
 * database where OIDs differ.  False where there is none of that name.
 */
bool
pf_object_find(Oid classid, const char *kind, ArrayType *names, ArrayType *args, Oid *objid, int32 *objsubid)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool found = true;

	/* pg_get_object_address() raises where there is no such object */
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		FmgrInfo	flinfo;
		HeapTupleHeader row;
		Datum		values[3];
		bool		isnull;

		LOCAL_FCINFO(fcinfo, 3);

		fmgr_info(F_PG_GET_OBJECT_ADDRESS, &flinfo);
		InitFunctionCallInfoData(*fcinfo, &flinfo, 3, InvalidOid, NULL, NULL);
		values[0] = CStringGetTextDatum(kind);
		values[1] = PointerGetDatum(names);
		values[2] = PointerGetDatum(args);
		for (int i = 0; i < 3; i++)
		{
			fcinfo->args[i].value = values[i];
			fcinfo->args[i].isnull = false;
		}
		row = DatumGetHeapTupleHeader(FunctionCallInvoke(fcinfo));
		*objid = DatumGetObjectId(GetAttributeByNum(row, 2, &isnull));
		*objsubid = DatumGetInt32(GetAttributeByNum(row, 3, &isnull));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		found = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return found;
}

/*
 * Makes an empty row of default privileges by the name that the journal has:
 * one that a freeze emptied is in no dump, and therefore not in a copy made
 * from it.  False where the role or the schema does not exist.
 */
bool
pf_default_acl_make(ArrayType *names, ArrayType *args)
{
	Relation	rel;
	Datum	   *name;
	Datum	   *type;
	int			nnames;
	int			ntypes;
	Oid			role;
	Oid			nsp = InvalidOid;
	Oid			oid;
	Datum		values[Natts_pg_default_acl] = {0};
	bool		nulls[Natts_pg_default_acl] = {0};

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &name, NULL, &nnames);
	deconstruct_array(args, TEXTOID, -1, false, TYPALIGN_INT, &type, NULL, &ntypes);
	if (nnames < 1 || ntypes != 1)
		return false;
	role = get_role_oid(TextDatumGetCString(name[0]), true);
	if (nnames > 1)
		nsp = get_namespace_oid(TextDatumGetCString(name[1]), true);
	if (!OidIsValid(role) || (nnames > 1 && !OidIsValid(nsp)))
		return false;

	rel = table_open(DefaultAclRelationId, RowExclusiveLock);
	oid = GetNewOidWithIndex(rel, DefaultAclOidIndexId, Anum_pg_default_acl_oid);
	values[Anum_pg_default_acl_oid - 1] = ObjectIdGetDatum(oid);
	values[Anum_pg_default_acl_defaclrole - 1] = ObjectIdGetDatum(role);
	values[Anum_pg_default_acl_defaclnamespace - 1] = ObjectIdGetDatum(nsp);
	values[Anum_pg_default_acl_defaclobjtype - 1] = CharGetDatum(TextDatumGetCString(type[0])[0]);
	values[Anum_pg_default_acl_defaclacl - 1] = PointerGetDatum(make_empty_acl());
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, RowExclusiveLock);

	recordDependencyOnOwner(DefaultAclRelationId, oid, role);
	if (OidIsValid(nsp))
	{
		ObjectAddress myself;
		ObjectAddress schema;

		ObjectAddressSet(myself, DefaultAclRelationId, oid);
		ObjectAddressSet(schema, NamespaceRelationId, nsp);
		recordDependencyOn(&myself, &schema, DEPENDENCY_AUTO);
	}
	CommandCounterIncrement();
	return true;
}
