/*-------------------------------------------------------------------------
 *
 * membership.c
 *	  Memberships of a role in others, taken and given back.
 *
 * Where a membership has options (16 and later) it is switched off in place:
 * admin, inherit and set become false, row, OID and grantor stay.  Before,
 * the row is deleted and inserted again.
 *
 * pg_auth_members is shared: a freeze works on it from the database where it
 * is journaled, and a copy of that database leaves it alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "compat.h"
#include "membership.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "objects.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

typedef struct Options
{
	bool		admin;
	bool		inherit;
	bool		set;
	Oid			grantor;
} Options;

static Options
options_of(HeapTuple tuple)
{
	Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(tuple);
	Options		options = {form->admin_option, true, true, form->grantor};

#ifdef PF_MEMBERSHIP_OPTIONS
	options.inherit = form->inherit_option;
	options.set = form->set_option;
#endif
	return options;
}

static char *
options_out(Options options)
{
	return psprintf("admin=%d inherit=%d set=%d grantor=%u",
					options.admin, options.inherit, options.set, options.grantor);
}

static Options
options_in(const char *text)
{
	int			admin,
				inherit,
				set;
	Options		options;

	if (sscanf(text, "admin=%d inherit=%d set=%d grantor=%u", &admin, &inherit, &set, &options.grantor) != 4)
		elog(ERROR, "damaged role membership in the journal");
	options.admin = admin != 0;
	options.inherit = inherit != 0;
	options.set = set != 0;
	return options;
}

static bool
is_off(Options options)
{
	return !options.admin && !options.inherit && !options.set;
}

/*
 * Calls func for each membership of a role target that a freeze takes: in
 * mode all every one, in mode write those that carry nothing but privileges
 * that mode write takes.
 */
void
pf_memberships_scan(const PfTarget *target, PfMembershipFunc func, void *arg)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (target->kind != PF_ROLE || target->only_here)
		return;
	rel = table_open(AuthMemRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_auth_members_member, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(target->oid));
	scan = systable_beginscan(rel, AuthMemMemRoleIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(tuple);
		Options		options = options_of(tuple);
		PfChange	change = {.classid = AuthMemRelationId,.kind = PF_MEMBERSHIP_KIND};

		if (is_off(options) ||
			(target->mode == PF_WRITE && !pf_membership_is_write_only(form->roleid)))
			continue;
#ifdef PF_MEMBERSHIP_OPTIONS
		change.objid = form->oid;
#else
		change.objid = form->roleid;
		change.objsubid = (int32) form->member;
#endif
		change.names = pf_text_array(list_make2(GetUserNameFromId(form->roleid, false),
												GetUserNameFromId(form->member, false)));
		change.args = pf_text_array(NIL);
		change.owner = form->grantor;
		change.before = options_out(options);
		change.after = options_out((Options) {false, false, false, form->grantor});
		func(&change, tuple, arg);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/* Takes the membership away.  Raises 55P03 where somebody else changes it. */
void
pf_membership_switch_off(HeapTuple tuple, const char *text)
{
	Relation	rel = table_open(AuthMemRelationId, RowExclusiveLock);
#ifdef PF_MEMBERSHIP_OPTIONS
	HeapTuple	newtuple = heap_copytuple(tuple);
	Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(newtuple);

	if (!pf_tuple_lock(rel, tuple))
		pf_raise_busy(text);
	form->admin_option = form->inherit_option = form->set_option = false;
	CatalogTupleUpdate(rel, &newtuple->t_self, newtuple);
#else
	if (!pf_tuple_lock(rel, tuple))
		pf_raise_busy(text);
	CatalogTupleDelete(rel, &tuple->t_self);
#endif
	table_close(rel, NoLock);
}

#ifdef PF_MEMBERSHIP_OPTIONS
static char *
give_back(Relation rel, const PfChange *change, Options before)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *outcome = NULL;

	ScanKeyInit(&key, Anum_pg_auth_members_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(change->objid));
	scan = systable_beginscan(rel, AuthMemOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		outcome = "skipped: revoked meanwhile";
	else
	{
		Options		now = options_of(tuple);
		HeapTuple	newtuple = heap_copytuple(tuple);
		Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(newtuple);

		if (!is_off(now))
			outcome = "merged with a grant made meanwhile";
		if (!pf_tuple_lock(rel, tuple))
			pf_raise_busy(pf_membership_text(change));
		form->admin_option = before.admin || now.admin;
		form->inherit_option = before.inherit || now.inherit;
		form->set_option = before.set || now.set;
		CatalogTupleUpdate(rel, &newtuple->t_self, newtuple);
	}
	systable_endscan(scan);
	return outcome;
}
#else
static char *
give_back(Relation rel, const PfChange *change, Options before)
{
	Oid			role = change->objid;
	Oid			member = (Oid) change->objsubid;
	HeapTuple	tuple = SearchSysCache2(AUTHMEMROLEMEM, ObjectIdGetDatum(role), ObjectIdGetDatum(member));
	Datum		values[Natts_pg_auth_members];
	bool		nulls[Natts_pg_auth_members] = {0};

	if (HeapTupleIsValid(tuple))
	{
		HeapTuple	newtuple = heap_copytuple(tuple);
		Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(newtuple);

		if (!pf_tuple_lock(rel, tuple))
			pf_raise_busy(pf_membership_text(change));
		form->admin_option = before.admin || form->admin_option;
		CatalogTupleUpdate(rel, &newtuple->t_self, newtuple);
		ReleaseSysCache(tuple);
		return "merged with a grant made meanwhile";
	}
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)) ||
		!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(member)))
		return "skipped: the role was dropped";
	values[Anum_pg_auth_members_roleid - 1] = ObjectIdGetDatum(role);
	values[Anum_pg_auth_members_member - 1] = ObjectIdGetDatum(member);
	values[Anum_pg_auth_members_grantor - 1] = ObjectIdGetDatum(before.grantor);
	values[Anum_pg_auth_members_admin_option - 1] = BoolGetDatum(before.admin);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	return NULL;
}
#endif

/*
 * Gives the membership back.  Returns NULL if it is as it was, else what
 * happened to it instead.
 */
char *
pf_membership_give_back(const PfChange *change)
{
	Relation	rel = table_open(AuthMemRelationId, RowExclusiveLock);
	char	   *outcome = give_back(rel, change, options_in(change->before));

	table_close(rel, NoLock);
	return outcome;
}

/* The role of which it is a membership; InvalidOid if it was dropped. */
Oid
pf_membership_role(const PfChange *change)
{
	Datum	   *names;
	int			n;

	deconstruct_array(change->names, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	return get_role_oid(TextDatumGetCString(names[0]), true);
}

/* "membership of role a in b", for people. */
char *
pf_membership_text(const PfChange *change)
{
	Datum	   *names;
	int			n;

	deconstruct_array(change->names, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	return psprintf("membership of %s in %s", quote_identifier(TextDatumGetCString(names[1])),
					quote_identifier(TextDatumGetCString(names[0])));
}
