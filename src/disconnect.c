/*-------------------------------------------------------------------------
 *
 * disconnect.c
 *	  The strategy "disconnect": nobody of the target logs in, and nobody stays.
 *
 * A role loses its right to log in, a database stops to accept connections, in
 * a cluster all roles lose that right but superusers, exempt ones and those for
 * replication.  A role can also be kept out of the current database only
 * (target->only_here): then its privilege CONNECT is taken, which is a
 * privilege like others and the business of revoke.c.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "belongs.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "journal.h"
#include "miscadmin.h"
#include "objects.h"
#include "recycle.h"
#include "revoke.h"
#include "sessions.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool
is_among(List *values, Oid role)
{
	ListCell   *cell;

	foreach(cell, values)
		if (((PfValue *) lfirst(cell))->role == role)
			return true;
	return false;
}

/* The roles that a freeze of the cluster keeps out. */
static List *
wanted_roles(void)
{
	Relation	rel = table_open(AuthIdRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *values = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);
		PfValue    *login = pf_value_make(PF_VALUE_LOGIN, InvalidOid, form->oid);

		if (!form->rolsuper && !form->rolreplication && !pf_role_is_exempt(NameStr(form->rolname)) &&
			(form->rolcanlogin || pf_value_is_taken(login)))
			values = lappend(values, login);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return values;
}

static List *
wanted(const PfTarget *target)
{
	switch (target->kind)
	{
		case PF_ROLE:
			return list_make1(pf_value_make(PF_VALUE_LOGIN, InvalidOid, target->oid));
		case PF_DATABASE:
			return list_make1(pf_value_make(PF_VALUE_CONNECTIONS, target->oid, InvalidOid));
		case PF_CLUSTER:
			return wanted_roles();
		case PF_SCHEMA:
			break;
	}
	return NIL;
}

/* ---- what is refused -------------------------------------------------- */

static void
refuse(const PfTarget *target, char *detail, char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("strategy disconnect would lock out whoever could thaw %s", pf_target_text(target)),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

static bool
is_last_superuser(Oid role)
{
	PfSpi		spi;
	bool		last;

	if (!superuser_arg(role))
		return false;
	spi = pf_spi_begin();
	journal_execute(psprintf("SELECT FROM pg_authid WHERE rolsuper AND rolcanlogin AND oid <> %u LIMIT 1", role), 0, NULL, NULL, NULL, true);
	last = SPI_processed == 0;
	pf_spi_end(spi);
	return last;
}

/* Whether a role could connect to this database without a privilege of its own; *how says how. */
static bool
connects_anyway(const PfTarget *target, char **how)
{
	PfCatalogs *catalogs = pf_catalogs_open();
	PfObject	object;
	Acl		   *acl;
	Acl		   *after;
	bool		can;

	(void) pf_object_fetch(catalogs, DatabaseRelationId, MyDatabaseId, 0, &object);
	acl = pf_object_effective_acl(&object);
	after = pf_revoke_take(catalogs, &object, object.acl, target);
	can = aclmask(after ? after : acl, target->oid, object.owner, ACL_CONNECT, ACLMASK_ANY) != 0;
	*how = superuser_arg(target->oid) ? "it is a superuser" :
		pf_acl_has(acl, ACL_ID_PUBLIC, ACL_CONNECT) ? "PUBLIC has the privilege CONNECT" :
		"a role that it is a member of has the privilege CONNECT";
	pf_catalogs_close(catalogs);
	return can || superuser_arg(target->oid);
}

static void
disconnect_admit(const PfTarget *target)
{
	char	   *name = quote_literal_cstr(NameStr(target->name));
	char	   *held;
	char	   *how;

	if (target->kind == PF_DATABASE && target->oid == MyDatabaseId)
		refuse(target, "It is the current database, and nobody could connect to it.",
			   psprintf("Connect to another database that has the extension, and run it there: SELECT freeze_database(%s, mode => 'all', strategy => 'disconnect');", name));
	if (target->kind == PF_DATABASE && (held = pf_values_held_from(target->oid)) != NULL)
		refuse(target, psprintf("There is %s, which is thawed from there.", held), "Thaw that first, or wait until it is over.");
	/* one who is a superuser by SET ROLE only */
	if (target->kind == PF_CLUSTER && is_among(wanted_roles(), GetSessionUserId()))
		refuse(target, psprintf("You have logged in as role %s, and could not do so again.",
								quote_identifier(GetUserNameFromId(GetSessionUserId(), false))),
			   "Log in as a superuser, or add that role to pg_freeze.exempt_roles.");
	if (target->kind != PF_ROLE)
		return;
	if (target->oid == GetUserId() || target->oid == GetSessionUserId())
		refuse(target, psprintf("You are role %s, and could not log in again.", quote_identifier(NameStr(target->name))),
			   "Log in as another role, and run it there.");
	if (!superuser() && has_rolreplication(target->oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may disconnect a role for replication"),
				 errdetail("Role %s has REPLICATION: a standby that uses it could not connect anew.", quote_identifier(NameStr(target->name))),
				 errhint("Ask a superuser.")));
	if (is_last_superuser(target->oid))
		refuse(target, "No other superuser may log in.", "Make sure that another superuser can, and try again.");
	if (target->only_here && connects_anyway(target, &how))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role %s could still connect to database %s", quote_identifier(NameStr(target->name)),
						quote_identifier(get_database_name(MyDatabaseId))),
				 errdetail("pg_freeze.disconnect_role is connect, which takes the role's own privilege, but %s.", how),
				 errhint("SET pg_freeze.disconnect_role = 'login' keeps it out of all databases.")));
}

/* ---- the strategy ----------------------------------------------------- */

static void
disconnect_check(const PfTarget *target, PfEmit emit, void *arg)
{
	if (target->only_here)
		pf_revoke.check(target, emit, arg);
	else
		pf_recycle_check(emit, arg, wanted(target));
}

static int64
disconnect_engage(PfFreeze *freeze, int64 *covered)
{
	if (freeze->target.only_here)
		return pf_revoke.engage(freeze, covered);
	return pf_recycle_engage(freeze, covered, wanted(&freeze->target));
}

static void
disconnect_release(PfFreeze *freeze, PfRestore *result)
{
	if (freeze->target.only_here)
		pf_revoke.release(freeze, result);
	else
		pf_values_release(freeze, result);
}

static char *
disconnect_broken(PfFreeze *freeze, int64 *checked)
{
	char	   *back = freeze->target.only_here ? pf_revoke.broken(freeze, checked) :
		pf_recycle_broken(freeze, checked, wanted(&freeze->target));
	List	   *left;

	if (back)
		return back;
	left = pf_recycle_sessions(freeze);
	return left == NIL ? NULL : psprintf("there are sessions of the target: %s", pf_drain_describe(left));
}

static List *
disconnect_leaks(const PfTarget *target)
{
	List	   *notes = pf_recycle_note_left_alone(NIL, target);

	notes = pf_recycle_note(notes, "prepared",
							psprintf("SELECT '%s: ' || count(*) FROM pg_prepared_xact() WHERE %s HAVING count(*) > 0",
									 target->kind == PF_ROLE ? "a superuser may commit prepared transactions of it" :
									 "sessions that are left may commit prepared transactions",
									 target->kind == PF_ROLE ? "ownerid = $1" : target->kind == PF_DATABASE ? "dbid = $1" : "$1 IS NOT NULL"),
							target);
	if (target->kind == PF_DATABASE || target->only_here)
		notes = pf_recycle_note(notes, "owner",
								target->only_here ?
								"SELECT 'it owns the database, and may grant itself CONNECT again from another one' FROM pg_database WHERE datname = current_database() AND datdba = $1" :
								"SELECT 'its owner may allow connections again from another database: ' || quote_ident(rolname)"
								" FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.oid = $1 AND r.rolcanlogin AND NOT r.rolsuper", target);
	notes = pf_recycle_note_members(notes, target);
	if (target->kind == PF_CLUSTER)
		notes = pf_recycle_note(notes, "replication",
								"SELECT 'roles for replication may log in: ' || string_agg(quote_ident(rolname), ', ' ORDER BY rolname)"
								" FROM pg_roles WHERE rolcanlogin AND rolreplication AND NOT rolsuper AND $1 IS NOT NULL HAVING count(*) > 0", target);
	return notes;
}

static List *
disconnect_also_stops(const PfTarget *target)
{
	if (target->kind != PF_DATABASE)
		return NIL;
	return pf_recycle_note(NIL, "superusers", "SELECT 'superusers cannot connect to it either' WHERE $1 IS NOT NULL", target);
}

const PfStrategy pf_disconnect = {
	.name = "disconnect",
	.kinds = {[PF_ROLE] = true,[PF_DATABASE] = true,[PF_CLUSTER] = true},
	.modes = {[PF_ALL] = true},
	.rejects = true,
	.anywhere = true,
	.recycles = true,
	.done = "changed",
	.intact = "nobody of the target could log in",
	.admit = disconnect_admit,
	.check = disconnect_check,
	.engage = disconnect_engage,
	.release = disconnect_release,
	.told = pf_recycle_told,
	.broken = disconnect_broken,
	.leaks = disconnect_leaks,
	.also_stops = disconnect_also_stops,
};
