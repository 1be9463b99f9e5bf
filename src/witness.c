/*-------------------------------------------------------------------------
 *
 * witness.c
 *	  Event trigger: what third parties do to privileges while a freeze by
 *	  the strategy "revoke" is live.
 *
 * Runs in the session that gives a GRANT or REVOKE, at its end, and writes in
 * its transaction: if that rolls back, nothing was witnessed and nothing was
 * done.
 *
 * REVOKE of a privilege that the freeze has already taken finds nothing in
 * the catalog, and thaw would give back what somebody has revoked; CASCADE
 * stops at what is not there.  So the command is given once more, with the
 * server's own aclupdate(), to the ACL as it would be without the freeze.
 * GRANT of something back to the target ends the hold: it is noted in the
 * journal, because a later REVOKE would leave no trace of it.
 *
 * ALTER ... OWNER puts the new owner into the old one's place in an ACL, and
 * merges where both are there; it does so in the journaled ones at once, for
 * the last owner alone does not tell.
 *
 * No event trigger fires for databases, tablespaces, parameters and role
 * memberships; default privileges do not say what was changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_language.h"
#include "catalog/pg_largeobject_metadata.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "compat.h"
#include "revoke.h"
#include "tcop/deparse_utility.h"
#include "utils/aclchk_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(freeze_witness);

typedef struct Witness
{
	PfCatalogs *catalogs;
	PfChanges  *changes;
	List	   *live;			/* of PfFreeze * */
	InternalGrant *grant;
} Witness;

static Oid
catalog_of(ObjectType objtype)
{
	switch (objtype)
	{
		case OBJECT_TABLE:
		case OBJECT_SEQUENCE:
			return RelationRelationId;
		case OBJECT_SCHEMA:
			return NamespaceRelationId;
		case OBJECT_LARGEOBJECT:
			return LargeObjectMetadataRelationId;
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
			return ProcedureRelationId;
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			return TypeRelationId;
		case OBJECT_LANGUAGE:
			return LanguageRelationId;
		case OBJECT_FOREIGN_SERVER:
			return ForeignServerRelationId;
		case OBJECT_FDW:
			return ForeignDataWrapperRelationId;
		default:
			return InvalidOid;
	}
}

/* What a live freeze has taken from an object. */
typedef struct Share
{
	PfChange	change;			/* the journal's row, as of today's owner */
	Acl		   *before;
	Acl		   *taken;
} Share;

/*
 * The ACL as it would be without any freeze, and in *shares (List of Share *)
 * who has taken what of it.
 */
static Acl *
acl_without_freezes(Witness *witness, const PfObject *object, List **shares)
{
	Acl		   *full = pf_object_effective_acl(object);
	ListCell   *cell;

	*shares = NIL;
	foreach(cell, witness->live)
	{
		Share	   *share = palloc(sizeof(Share));

		if (!journal_change_find(witness->changes, ((PfFreeze *) lfirst(cell))->id,
								 object->classid, object->objid, object->objsubid, &share->change))
			continue;
		pf_change_follow_owner(&share->change, object->owner);
		share->before = share->change.before ? pf_acl_in(share->change.before, NULL, NULL) :
			acldefault(object->objtype, object->owner);
		share->taken = pf_acl_difference(share->before, pf_acl_in(share->change.after, NULL, NULL));
		full = pf_acl_give_back(full, share->taken, share->before);
		*shares = lappend(*shares, share);
	}
	return full;
}

/* All privileges that there are on such an object. */
static AclMode
privileges_on(const PfObject *object)
{
	Acl		   *acl;
	AclItem    *items;
	AclMode		result = ACL_NO_RIGHTS;

	if (object->objtype == OBJECT_COLUMN)
		return ACL_ALL_RIGHTS_COLUMN;
	acl = acldefault(object->objtype, object->owner);
	items = PF_ACL_ITEMS(acl);
	for (int i = 0; i < ACL_NUM(acl); i++)
		result |= ACLITEM_GET_PRIVS(items[i]);
	return result;
}

/*
 * Takes away what its grantor cannot grant any more.  The command has taken the
 * grantor's option in the catalog; what depended on that and was taken by a
 * freeze, it has not seen.
 */
static Acl *
without_dangling(Acl *acl, Oid owner, AclMode privileges, DropBehavior behavior)
{
	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclItem		item = PF_ACL_ITEMS(acl)[i];
		AclMode		granted = (ACLITEM_GET_PRIVS(item) | ACLITEM_GET_GOPTIONS(item)) & privileges;
		AclMode		options = aclmask(acl, item.ai_grantor, owner, ACL_GRANT_OPTION_FOR(granted), ACLMASK_ALL);
		AclMode		dangling = granted & ~ACL_OPTION_TO_PRIVS(options);

		if (dangling == ACL_NO_RIGHTS)
			continue;
		if (behavior == DROP_RESTRICT)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("dependent privileges exist"),
					 errdetail("A live freeze by pg_freeze has taken them, and thaw gives them back."),
					 errhint("Use CASCADE to revoke them too.")));
		ACLITEM_SET_PRIVS_GOPTIONS(item, dangling, dangling);
		acl = aclupdate(acl, &item, ACL_MODECHG_DEL, owner, DROP_CASCADE);
		i = -1;
	}
	return acl;
}

/*
 * Gives the command once more, as ExecGrant_Relation() and its like do, to the
 * ACL as it would be without the freezes.  What it then takes away, directly
 * or by CASCADE, is neither left in the catalog nor given back by thaw.  Where
 * it would be an error there, it is one now.
 */
static void
replay(Witness *witness, PfObject *object, AclMode privileges, const Acl *of_relation)
{
	InternalGrant *grant = witness->grant;
	List	   *shares;
	Acl		   *full = acl_without_freezes(witness, object, &shares);
	Acl		   *result = full;
	Acl		   *lost;
	Acl		   *left;
	Oid			grantor;
	AclMode		options;
	ListCell   *cell;

	if (shares == NIL)
		return;
	privileges &= privileges_on(object);
	pf_select_best_grantor(grant, privileges, of_relation ? aclconcat(of_relation, full) : full,
						   object->owner, &grantor, &options);
	privileges &= ACL_OPTION_TO_PRIVS(options);
	foreach(cell, grant->grantees)
	{
		AclItem		item = {.ai_grantee = lfirst_oid(cell),.ai_grantor = grantor};

		if (!grant->is_grant)
		{
			ACLITEM_SET_PRIVS_GOPTIONS(item, grant->grant_option ? ACL_NO_RIGHTS : privileges, privileges);
			result = aclupdate(result, &item, ACL_MODECHG_DEL, object->owner, grant->behavior);
		}
		else if (grant->grant_option && privileges != ACL_NO_RIGHTS)
		{
			/* only to see that it does not go round in a circle */
			ACLITEM_SET_PRIVS_GOPTIONS(item, privileges, privileges);
			aclupdate(full, &item, ACL_MODECHG_ADD, object->owner, grant->behavior);
		}
	}
	/* a column's grantors may have their option on the relation */
	if (!grant->is_grant && of_relation == NULL)
		result = without_dangling(result, object->owner, privileges, grant->behavior);
	lost = pf_acl_difference(full, result);
	if (ACL_NUM(lost) == 0)
		return;

	foreach(cell, shares)
	{
		Share	   *share = lfirst(cell);
		Acl		   *before = pf_acl_difference(share->before, lost);

		if (!pf_acl_equal(before, share->before))
			journal_change_replace(witness->changes, &share->change, pf_acl_out(before), share->change.after);
	}
	left = pf_acl_difference(pf_object_effective_acl(object), lost);
	if (!pf_acl_equal(left, pf_object_effective_acl(object)))
		pf_object_set_acl(witness->catalogs, object, pf_object_null_acl(object, left));
	/* the command may name the object again */
	CommandCounterIncrement();
}

/* Notes that the target holds again what the freeze takes. */
static void
note_gap(PfFreeze *freeze, const PfObject *object, const Acl *without)
{
	if (freeze->gap)
		return;
	freeze->gap = psprintf("at %s role %s granted %s on %s back to the target",
						   timestamptz_to_str(GetCurrentTimestamp()),
						   quote_identifier(GetUserNameFromId(GetUserId(), false)),
						   pf_acl_describe(pf_acl_difference(pf_object_effective_acl(object), without)),
						   pf_object_text(object));
	journal_note_gap(freeze->id, freeze->gap);
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " of %s does not hold: %s", freeze->id,
					pf_target_text(&freeze->target), freeze->gap)));
}

static void
witness_object(Witness *witness, Oid classid, Oid objid, int32 objsubid, AclMode privileges)
{
	Acl		   *of_relation = NULL;
	List	   *shares;
	PfObject	object;
	ListCell   *cell;

	if (classid == AttributeRelationId)
	{
		if (!pf_object_fetch(witness->catalogs, RelationRelationId, objid, 0, &object))
			return;
		of_relation = acl_without_freezes(witness, &object, &shares);
	}
	if (!pf_object_fetch(witness->catalogs, classid, objid, objsubid, &object))
		return;
	replay(witness, &object, privileges, of_relation);
	if (!witness->grant->is_grant)
		return;
	foreach(cell, witness->live)
	{
		PfFreeze   *freeze = lfirst(cell);
		Acl		   *without = pf_revoke_take(witness->catalogs, &object, object.acl, &freeze->target);

		if (without != NULL)
			note_gap(freeze, &object, without);
	}
}

/* The bits of a column privilege list; ALL has no name. */
static AclMode
column_privilege(const char *name)
{
	if (name == NULL)
		return ACL_ALL_RIGHTS_COLUMN;
	if (strcmp(name, "insert") == 0)
		return ACL_INSERT;
	if (strcmp(name, "update") == 0)
		return ACL_UPDATE;
	if (strcmp(name, "references") == 0)
		return ACL_REFERENCES;
	return ACL_SELECT;
}

/* A REVOKE on a table takes the columns' privileges too. */
static void
witness_relation_columns(Witness *witness, Oid relid, AclMode privileges)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	AttrNumber	natts;

	if (!HeapTupleIsValid(tuple))
		return;
	natts = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	for (AttrNumber attnum = FirstLowInvalidHeapAttributeNumber + 1; attnum <= natts; attnum++)
		if (attnum != 0)
			witness_object(witness, AttributeRelationId, relid, attnum, privileges & ACL_ALL_RIGHTS_COLUMN);
}

static void
witness_grant(Witness *witness)
{
	InternalGrant *grant = witness->grant;
	Oid			classid = catalog_of(grant->objtype);
	AclMode		privileges = grant->all_privs ? ((AclMode) 1 << N_ACL_RIGHTS) - 1 : grant->privileges;
	ListCell   *object;
	ListCell   *cell;
	ListCell   *column;

	if (!OidIsValid(classid))
		return;
	foreach(object, grant->objects)
	{
		Oid			objid = lfirst_oid(object);

		witness_object(witness, classid, objid, 0, privileges);
		if (classid != RelationRelationId)
			continue;
		if (!grant->is_grant && privileges != ACL_NO_RIGHTS)
			witness_relation_columns(witness, objid, privileges);
		foreach(cell, grant->col_privs)
		{
			AccessPriv *priv = lfirst(cell);

			foreach(column, priv->cols)
				witness_object(witness, AttributeRelationId, objid,
							   get_attnum(objid, strVal(lfirst(column))), column_privilege(priv->priv_name));
		}
	}
}

/* Whether a command gives objects another owner. */
static bool
changes_owner(Node *command)
{
	ListCell   *cell;

	if (IsA(command, AlterOwnerStmt))
		return true;
	if (IsA(command, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) command)->cmds)
			if (((AlterTableCmd *) lfirst(cell))->subtype == AT_ChangeOwner)
				return true;
	return false;
}

/* Gives a journaled change the owner that its object has now. */
static void
follow_owner(PfChange *change, void *arg)
{
	Witness    *witness = arg;
	PfObject	object;

	if (change->classid == AuthMemRelationId ||
		!pf_object_fetch(witness->catalogs, change->classid, change->objid, change->objsubid, &object) ||
		object.owner == change->owner)
		return;
	pf_change_follow_owner(change, object.owner);
	journal_change_replace(witness->changes, change, change->before, change->after);
}

Datum
freeze_witness(PG_FUNCTION_ARGS)
{
	Witness		witness = {0};
	bool		owners;
	bool		privileges;
	List	   *grants = NIL;
	MemoryContext context = CurrentMemoryContext;
	Node	   *command;
	PfSpi		spi;
	ListCell   *cell;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not fired by event trigger manager")));
	command = ((EventTriggerData *) fcinfo->context)->parsetree;
	owners = changes_owner(command);
	privileges = IsA(command, GrantStmt) || IsA(command, CreateSchemaStmt);
	if (!owners && !privileges)
		PG_RETURN_NULL();
	foreach(cell, journal_live_others(0))
		if (((PfFreeze *) lfirst(cell))->strategy == &pf_revoke && !((PfFreeze *) lfirst(cell))->is_copy)
			witness.live = lappend(witness.live, lfirst(cell));
	if (witness.live == NIL)
		PG_RETURN_NULL();

	spi = pf_spi_begin();
	journal_execute("SELECT command FROM pg_event_trigger_ddl_commands()", 0, NULL, NULL, NULL, false);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		CollectedCommand *collected = (CollectedCommand *)
			DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContext old = MemoryContextSwitchTo(context);

		if (collected->type == SCT_Grant)
			grants = lappend(grants, collected->d.grant.istmt);
		MemoryContextSwitchTo(old);
	}
	pf_spi_end(spi);

	witness.catalogs = pf_catalogs_open();
	witness.changes = journal_changes_open();
	if (owners)
		foreach(cell, witness.live)
			journal_changes_scan(witness.changes, ((PfFreeze *) lfirst(cell))->id, follow_owner, &witness);
	foreach(cell, grants)
	{
		witness.grant = lfirst(cell);
		witness_grant(&witness);
		CommandCounterIncrement();
	}
	journal_changes_close(witness.changes);
	pf_catalogs_close(witness.catalogs);
	PG_RETURN_NULL();
}
