/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Event trigger: DDL that a freeze by strategy "lock" doesn't stop.
 *
 * Functions, types, schemas, privileges, comments and the like are made,
 * changed and dropped without a lock on any relation or schema.  Such a
 * command is not stopped but noted in the journal, so that the verdict knows.
 *
 * Runs in the session that gives the command, at its end, and writes in its
 * transaction.  It must not make anybody's command fail: it looks only at
 * what is there, and treats what it can't find as not there.  While no such
 * freeze is live it costs one look at an index that is empty then.
 *
 * What belongs to a target: for a role what it, or who may act as it, does,
 * and what anybody gives it to write to, which it may have used by the time it
 * is taken away again; for a schema what lies in it; for a database everything.  Temporary objects
 * never do.  No event trigger fires for REASSIGN OWNED, for event triggers,
 * and for databases, tablespaces, parameters and roles.  The triggers leave
 * out the commands that locks stop, which are those of everyday.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "tcop/deparse_utility.h"
#include "utils/aclchk_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(freeze_witness_ddl);

/* A command, or one object of it. */
typedef struct Seen
{
	const char *tag;
	const char *object;			/* NULL: that of "address", or none */
	ObjectAddress address;
	Oid			nsp;			/* its schema; of a schema itself; or InvalidOid */
	const InternalGrant *grant; /* of a GRANT or REVOKE, else NULL */
} Seen;

/* ---- freezes ---------------------------------------------------------- */

/* The ids (List of int64 *) of live freezes by strategy lock. */
static List *
live_locks(void)
{
	Oid			journal = journal_relation("freeze_journal");
	Oid			index = journal_relation("freeze_journal_live");
	List	   *ids = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	AttrNumber	id;
	AttrNumber	strategy;

	if (!OidIsValid(journal) || !OidIsValid(index))
		return NIL;
	rel = table_open(journal, AccessShareLock);
	id = get_attnum(journal, "id");
	strategy = get_attnum(journal, "strategy");
	scan = systable_beginscan(rel, index, true, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		int64	   *live;

		if (strcmp(TextDatumGetCString(heap_getattr(tuple, strategy, RelationGetDescr(rel), &isnull)),
				   pf_lock.name) != 0)
			continue;
		live = palloc(sizeof(int64));
		*live = DatumGetInt64(heap_getattr(tuple, id, RelationGetDescr(rel), &isnull));
		ids = lappend(ids, live);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return ids;
}

/* A superuser is not a member of everything here. */
static bool
counts_as(Oid role, Oid target)
{
	if (role == target)
		return true;
	return superuser_arg(role) ? is_member_of_role_nosuper(role, target) : pf_role_acts_as(role, target);
}

/* Whether this session counts as the target of a role freeze. */
static bool
by_target(Oid target)
{
	return counts_as(GetSessionUserId(), target) || counts_as(GetOuterUserId(), target) ||
		counts_as(GetUserId(), target);
}

/*
 * Whether a freeze wants to know of commands.  Before it is
 * frozen each is noted, for what is committed until then is struck out again;
 * after that one is enough.
 */
static bool
is_watching(const PfFreeze *freeze)
{
	if (freeze->is_copy || freeze->state == PF_THAWING || !pf_state_is_live(freeze->state))
		return false;
	if (freeze->gap && (freeze->state == PF_FROZEN || freeze->state == PF_LOST))
		return false;
	return true;
}

static List *
watching(void)
{
	List	   *freezes = NIL;
	ListCell   *cell;

	foreach(cell, live_locks())
	{
		PfFreeze   *freeze = journal_read(*(int64 *) lfirst(cell));

		if (freeze && is_watching(freeze))
			freezes = lappend(freezes, freeze);
	}
	return freezes;
}

/* ---- commands --------------------------------------------------------- */

/* Triggers, rules and policies are where their table is. */
static const char collected_sql[] =
"SELECT e.command_tag, e.object_type || coalesce(' ' || e.object_identity, ''), n.oid, e.command"
" FROM pg_event_trigger_ddl_commands() e"
"	LEFT JOIN pg_class c ON c.oid = CASE e.classid"
"		WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = e.objid)"
"		WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = e.objid)"
"		WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = e.objid) END"
"	LEFT JOIN pg_namespace n ON CASE"
"		WHEN e.classid = 'pg_namespace'::regclass THEN n.oid = e.objid"
"		WHEN c.oid IS NOT NULL THEN n.oid = c.relnamespace ELSE n.nspname = e.schema_name END"
" WHERE e.schema_name IS DISTINCT FROM 'pg_temp' AND c.relpersistence IS DISTINCT FROM 't'";

static const char dropped_sql[] =
"SELECT NULL, e.object_type || coalesce(' ' || e.object_identity, ''), n.oid, NULL"
" FROM pg_event_trigger_dropped_objects() e"
"	LEFT JOIN pg_namespace n ON n.nspname = e.schema_name"
" WHERE NOT e.is_temporary AND e.address_names[1] IS DISTINCT FROM 'pg_temp'"
" ORDER BY NOT e.original";

/* Where the object of a GRANT lies; InvalidOid for what is in no schema, or gone. */
static Oid
granted_nsp(const ObjectAddress *address)
{
	HeapTuple	tuple;
	Oid			nsp;

	switch (address->classId)
	{
		case RelationRelationId:
			return get_rel_namespace(address->objectId);
		case ProcedureRelationId:
			return SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(address->objectId)) ?
				get_func_namespace(address->objectId) : InvalidOid;
		case NamespaceRelationId:
			return address->objectId;
		case TypeRelationId:
			tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(address->objectId));
			if (!HeapTupleIsValid(tuple))
				return InvalidOid;
			nsp = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
			ReleaseSysCache(tuple);
			return nsp;
		default:
			return InvalidOid;
	}
}

/* The objects of a GRANT or REVOKE, which the server doesn't name. */
static List *
add_grant(List *list, const InternalGrant *grant)
{
	Oid			classid = InvalidOid;
	ListCell   *cell;

	switch (grant->objtype)
	{
		case OBJECT_TABLE:
		case OBJECT_SEQUENCE:
			classid = RelationRelationId;
			break;
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
			classid = ProcedureRelationId;
			break;
		case OBJECT_SCHEMA:
			classid = NamespaceRelationId;
			break;
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			classid = TypeRelationId;
			break;
		default:
			break;
	}
	foreach(cell, grant->objects)
	{
		Seen	   *seen = palloc0(sizeof(Seen));

		seen->tag = grant->is_grant ? "GRANT" : "REVOKE";
		ObjectAddressSet(seen->address, classid, lfirst_oid(cell));
		seen->nsp = granted_nsp(&seen->address);
		seen->grant = grant;
		if (!OidIsValid(seen->nsp) || !isAnyTempNamespace(seen->nsp))
			list = lappend(list, seen);
	}
	return list;
}

/* What the command that the trigger was fired for has done (List of Seen *). */
static List *
what_was_done(const EventTriggerData *data)
{
	bool		drop = strcmp(data->event, "sql_drop") == 0;
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	List	   *list = NIL;
	MemoryContext old;

	journal_execute(drop ? dropped_sql : collected_sql, 0, NULL, NULL, NULL, false);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		CollectedCommand *command;
		bool		isnull;
		Seen	   *seen;

		command = drop ? NULL : (CollectedCommand *) DatumGetPointer(SPI_getbinval(row, desc, 4, &isnull));
		if (command && command->type == SCT_Grant)
		{
			list = add_grant(list, command->d.grant.istmt);
			continue;
		}
		seen = palloc0(sizeof(Seen));
		seen->tag = drop ? GetCommandTagName(data->tag) : SPI_getvalue(row, desc, 1);
		seen->object = SPI_getvalue(row, desc, 2);
		seen->nsp = DatumGetObjectId(SPI_getbinval(row, desc, 3, &isnull));
		if (isnull)
			seen->nsp = InvalidOid;
		list = lappend(list, seen);
	}
	MemoryContextSwitchTo(old);
	pf_spi_end(spi);
	return list;
}

/* ---- what belongs to a role ------------------------------------------- */

/* Whether a GRANT lets a role write to something. */
static bool
lets_write(const InternalGrant *grant, Oid role)
{
	AclMode		reads = ACL_SELECT | ACL_EXECUTE | ACL_CREATE_TEMP | ACL_CONNECT;
	bool		writes = grant->all_privs;
	ListCell   *cell;

	if (!grant->is_grant || superuser_arg(role))
		return false;
	if (grant->objtype != OBJECT_SEQUENCE)
		reads |= ACL_USAGE;
	if (grant->privileges & ~reads)
		writes = true;
	foreach(cell, grant->col_privs)
	{
		const char *name = ((AccessPriv *) lfirst(cell))->priv_name;

		if (name == NULL || strcmp(name, "select") != 0)
			writes = true;
	}
	if (!writes)
		return false;
	foreach(cell, grant->grantees)
		if (lfirst_oid(cell) == ACL_ID_PUBLIC || pf_role_acts_as(role, lfirst_oid(cell)))
			return true;
	return false;
}

/* ---- what belongs to a schema ----------------------------------------- */

/* Whether ALTER ... SET SCHEMA may have taken something out of a schema. */
static bool
moves_out_of(const AlterObjectSchemaStmt *stmt, Oid nsp)
{
	List	   *names = NIL;
	char	   *schema = NULL;
	char	   *object;
	Oid			path[16];
	int			length;

	if (stmt->object == NULL)
		return false;			/* a relation: locked */
	if (IsA(stmt->object, ObjectWithArgs))
		names = ((ObjectWithArgs *) stmt->object)->objname;
	else if (IsA(stmt->object, TypeName))
		names = ((TypeName *) stmt->object)->names;
	else if (IsA(stmt->object, List))
		names = (List *) stmt->object;
	if (names == NIL || !IsA(llast(names), String))
		return false;
	if (stmt->objectType == OBJECT_OPCLASS || stmt->objectType == OBJECT_OPFAMILY)
		names = list_copy_tail(names, 1);	/* the first is the access method */
	if (list_length(names) > 3)
		return false;
	DeconstructQualifiedName(names, &schema, &object);
	if (schema)
		return get_namespace_oid(schema, true) == nsp;
	length = fetch_search_path_array(path, lengthof(path));
	for (int i = 0; i < Min(length, (int) lengthof(path)); i++)
		if (path[i] == nsp)
			return true;
	return false;
}

/* Whether ALTER DEFAULT PRIVILEGES names a schema. */
static bool
is_default_in(const AlterDefaultPrivilegesStmt *stmt, Oid nsp)
{
	ListCell   *option;
	ListCell   *name;

	foreach(option, stmt->options)
	{
		DefElem    *element = lfirst(option);

		if (strcmp(element->defname, "schemas") != 0)
			continue;
		foreach(name, (List *) element->arg)
			if (get_namespace_oid(strVal(lfirst(name)), true) == nsp)
				return true;
	}
	return false;
}

static bool
belongs(const Seen *seen, const PfTarget *target, Node *command)
{
	if (target->kind == PF_ROLE)
		return by_target(target->oid) || (seen->grant && lets_write(seen->grant, target->oid));
	if (target->kind != PF_SCHEMA || seen->nsp == target->oid)
		return true;
	if (IsA(command, AlterObjectSchemaStmt))
		return moves_out_of((AlterObjectSchemaStmt *) command, target->oid);
	if (IsA(command, AlterDefaultPrivilegesStmt))
		return is_default_in((AlterDefaultPrivilegesStmt *) command, target->oid);
	return false;
}

/* ---- noting ----------------------------------------------------------- */

static void
note(PfFreeze *freeze, const Seen *seen)
{
	const char *object = seen->object;
	char	   *role = GetUserNameFromId(GetUserId(), true);
	char	   *what;

	if (object == NULL && OidIsValid(seen->address.classId))
		object = getObjectDescription(&seen->address, true);
	what = psprintf("at %s role %s ran %s%s%s", timestamptz_to_str(GetCurrentTimestamp()),
					role ? quote_identifier(role) : "", seen->tag, object ? ": " : "", object ? object : "");
	journal_note_gap(freeze->id, what);
	if (freeze->state == PF_FROZEN || freeze->state == PF_LOST)
		ereport(LOG,
				(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s does not hold: %s", freeze->id,
						pf_target_text(&freeze->target), what)));
}

Datum
freeze_witness_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *data;
	List	   *freezes;
	List	   *done;
	ListCell   *freeze;
	ListCell   *seen;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not fired by event trigger manager")));
	data = (EventTriggerData *) fcinfo->context;
	freezes = watching();
	if (freezes == NIL)
		PG_RETURN_NULL();
	done = what_was_done(data);
	foreach(freeze, freezes)
	{
		PfFreeze   *watcher = lfirst(freeze);

		foreach(seen, done)
			if (belongs(lfirst(seen), &watcher->target, data->parsetree))
			{
				note(watcher, lfirst(seen));
				break;
			}
	}
	PG_RETURN_NULL();
}
