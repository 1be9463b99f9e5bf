/*-------------------------------------------------------------------------
 *
 * wanted.c
 *	  The locks that a freeze by strategy "lock" wants.
 *
 * One list for whoever engages, checks, looks for blockers and gives the
 * verdict.  Read from the catalogs as they are now; takes no lock but those of
 * a catalog scan.  Needs a transaction.
 *
 * Who creates a relation takes ACCESS SHARE on the schema as an object
 * (RangeVarGetAndCheckCreationNamespace()), therefore ACCESS EXCLUSIVE there
 * stops new relations and nothing else.  Catalogs are not locked, with one
 * exception: SHARE on pg_largeobject_metadata stops who makes or drops large
 * objects, and nobody who reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_largeobject_metadata.h"
#include "catalog/pg_namespace.h"
#include "compat.h"
#include "miscadmin.h"
#include "objects.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "wanted.h"

/* Whether the target may act as a role; asked once a role. */
typedef struct RoleKey
{
	Oid			role;
	bool		acts_as;
} RoleKey;

typedef struct WantedState
{
	const PfTarget *target;
	PfWantedList *list;
	HTAB	   *roles;			/* of RoleKey; for a role target */
	HTAB	   *seen;			/* OIDs of relations; for a role target */
	bool		everything;		/* a role target that may write everywhere */
} WantedState;

/* ---- a role's reach --------------------------------------------------- */

static bool
acts_as(WantedState *state, Oid role)
{
	bool		found;
	RoleKey    *key;

	if (role == ACL_ID_PUBLIC)
		return true;
	key = hash_search(state->roles, &role, HASH_ENTER, &found);
	if (!found)
		key->acts_as = pf_role_acts_as(state->target->oid, role);
	return key->acts_as;
}

/* Whether the target may write to an object, or create in it. */
static bool
may_write(WantedState *state, const PfObject *object)
{
	AclMode		mask = pf_object_mask(object, PF_WRITE);

	if (object->classid != AttributeRelationId && acts_as(state, object->owner))
		return true;
	if (object->acl == NULL)
		return false;			/* by default only the owner may */
	for (int i = 0; i < ACL_NUM(object->acl); i++)
	{
		const AclItem *item = &PF_ACL_ITEMS(object->acl)[i];

		if ((ACLITEM_GET_PRIVS(*item) & mask) && acts_as(state, item->ai_grantee))
			return true;
	}
	return false;
}

/* ---- scanning --------------------------------------------------------- */

static void
add(WantedState *state, Oid classid, Oid objid, LOCKMODE mode, char relkind)
{
	PfWantedList *list = state->list;

	if (list->count == list->room)
	{
		list->room *= 2;
		list->items = repalloc_huge(list->items, list->room * sizeof(PfWanted));
	}
	list->items[list->count++] = (PfWanted)
	{
		classid, objid, mode, relkind
	};
}

static void
want_object(PfObject *object, void *arg)
{
	WantedState *state = arg;
	bool		found = false;

	if (state->target->kind == PF_ROLE)
	{
		Oid			relation = object->objid;

		if (!(state->everything && object->classid != NamespaceRelationId) && !may_write(state, object))
			return;
		if (object->classid != NamespaceRelationId)
			hash_search(state->seen, &relation, HASH_ENTER, &found);
	}
	if (!found)
		add(state, object->classid == NamespaceRelationId ? NamespaceRelationId : RelationRelationId, object->objid,
			object->classid == NamespaceRelationId || state->target->mode == PF_ALL ? AccessExclusiveLock : ExclusiveLock,
			object->classid == NamespaceRelationId ? 0 : object->subtype);
}

static void
begin_scan(WantedState *state, const PfTarget *target)
{
	state->target = target;
	state->list = palloc(sizeof(PfWantedList));
	state->list->count = 0;
	state->list->room = 64;
	state->list->items = palloc(state->list->room * sizeof(PfWanted));
	if (target->kind == PF_ROLE)
	{
		HASHCTL		roles = {.keysize = sizeof(Oid),.entrysize = sizeof(RoleKey),.hcxt = CurrentMemoryContext};
		HASHCTL		seen = {.keysize = sizeof(Oid),.entrysize = sizeof(Oid),.hcxt = CurrentMemoryContext};

		state->roles = hash_create("pg_freeze roles", 64, &roles, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		state->seen = hash_create("pg_freeze relations", 1024, &seen, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		state->everything = pf_role_writes_everything(target->oid);
	}
}

static PfWantedList *
scan(WantedState *state, Oid classid, Oid columns)
{
	/* a role's objects are sought among those of the database */
	PfTarget	where = *state->target;
	PfCatalogs *catalogs = pf_catalogs_open();

	if (where.kind == PF_ROLE)
		where.kind = PF_DATABASE;
	pf_catalog_scan(catalogs, classid, &where, want_object, state);
	if (OidIsValid(columns) && state->target->kind == PF_ROLE && !state->everything)
		pf_catalog_scan(catalogs, columns, &where, want_object, state);
	pf_catalogs_close(catalogs);
	return state->list;
}

PfWantedList *
pf_wanted_schemas(const PfTarget *target)
{
	WantedState state = {0};

	begin_scan(&state, target);
	if (target->kind == PF_DATABASE)
		add(&state, RelationRelationId, LargeObjectMetadataRelationId, ShareLock, RELKIND_RELATION);
	return scan(&state, NamespaceRelationId, InvalidOid);
}

PfWantedList *
pf_wanted_relations(const PfTarget *target)
{
	WantedState state = {0};

	begin_scan(&state, target);
	return scan(&state, RelationRelationId, AttributeRelationId);
}

/* ---- one lock --------------------------------------------------------- */

void
pf_wanted_tag(const PfWanted *wanted, LOCKTAG *tag)
{
	if (wanted->classid == NamespaceRelationId)
		SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, NamespaceRelationId, wanted->objid, 0);
	else
		SET_LOCKTAG_RELATION(*tag, MyDatabaseId, wanted->objid);
}

/* "table", "sequence", "schema", ... */
const char *
pf_wanted_kind(const PfWanted *wanted)
{
	return wanted->relkind ? pf_relkind_text(wanted->relkind) : "schema";
}

/* The name for people; of what is gone its OID. */
char *
pf_wanted_name(const PfWanted *wanted)
{
	char	   *name;

	if (wanted->classid == RelationRelationId)
		return DatumGetCString(DirectFunctionCall1(regclassout, ObjectIdGetDatum(wanted->objid)));
	name = get_namespace_name(wanted->objid);
	return name ? pstrdup(quote_identifier(name)) : psprintf("%u", wanted->objid);
}
