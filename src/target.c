/*-------------------------------------------------------------------------
 *
 * target.c
 *	  What can be frozen: from names to OIDs, and who may freeze it; the words
 *	  for that and for how.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "miscadmin.h"
#include "pg_freeze.h"
#include "utils/acl.h"
#include "utils/builtins.h"

static const char *const kind_names[] = {"role", "schema", "database", "cluster"};
static const char *const mode_names[] = {"write", "all"};
static const char *const action_names[] = {"wait", "reject"};
static const char *const in_flight_names[] = {"hold", "drain"};

const char *
pf_kind_name(PfKind kind)
{
	return kind_names[kind];
}

/* Raises 22023 where the text is no kind of target. */
PfKind
pf_kind_parse(const char *text)
{
	for (int i = 0; i < (int) lengthof(kind_names); i++)
		if (strcmp(text, kind_names[i]) == 0)
			return (PfKind) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no kind of target", text),
			 errhint("Kinds are role, schema, database and cluster.")));
}

const char *
pf_mode_name(PfMode mode)
{
	return mode_names[mode];
}

/* Raises 22023 where the text is no mode. */
PfMode
pf_mode_parse(const char *text)
{
	for (int i = 0; i < (int) lengthof(mode_names); i++)
		if (strcmp(text, mode_names[i]) == 0)
			return (PfMode) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no mode", text),
			 errhint("Modes are write (reads go on) and all (nothing goes on).")));
}

const char *
pf_action_name(PfGateAction action)
{
	return action_names[action];
}

/* Raises 22023 where the text is no action. */
PfGateAction
pf_action_parse(const char *text)
{
	for (int i = 0; i < (int) lengthof(action_names); i++)
		if (strcmp(text, action_names[i]) == 0)
			return (PfGateAction) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\": %s", "action", quote_literal_cstr(text)),
			 errhint("Actions are wait and reject.")));
}

const char *
pf_in_flight_name(PfGateInFlight in_flight)
{
	return in_flight_names[in_flight];
}

/* Raises 22023 where the text is not what can become of work in flight. */
PfGateInFlight
pf_in_flight_parse(const char *text)
{
	for (int i = 0; i < (int) lengthof(in_flight_names); i++)
		if (strcmp(text, in_flight_names[i]) == 0)
			return (PfGateInFlight) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\": %s", "in_flight", quote_literal_cstr(text)),
			 errhint("What is in flight can be held (hold) or let finish (drain).")));
}

/* "role gitlab", for people. */
char *
pf_target_text(const PfTarget *target)
{
	if (target->kind == PF_CLUSTER)
		return pstrdup("the cluster");
	return psprintf("%s %s", kind_names[target->kind], quote_identifier(NameStr(target->name)));
}

/*
 * The OID of a target's name.  Raises 42704, 3F000 or 3D000 where there is
 * none, or returns InvalidOid.
 */
Oid
pf_target_oid(const PfTarget *target, bool missing_ok)
{
	switch (target->kind)
	{
		case PF_ROLE:
			return get_role_oid(NameStr(target->name), missing_ok);
		case PF_SCHEMA:
			return get_namespace_oid(NameStr(target->name), missing_ok);
		case PF_DATABASE:
			return get_database_oid(NameStr(target->name), missing_ok);
		case PF_CLUSTER:
			break;
	}
	return InvalidOid;
}

/*
 * Sets the OID of a target by its name; raises as pf_target_oid() does, and
 * 22023 for a schema of the system.
 */
void
pf_target_resolve(PfTarget *target)
{
	target->oid = pf_target_oid(target, false);
	if (target->kind == PF_SCHEMA && target->oid < FirstNormalObjectId && target->oid != PG_PUBLIC_NAMESPACE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schema %s belongs to the system and cannot be frozen", quote_identifier(NameStr(target->name)))));
}

/*
 * Raises 42501 unless the current user may freeze this: a superuser anything
 * (EXECUTE on the functions is the door for everybody else); others neither a
 * superuser nor what would freeze themselves, nor what is elsewhere and not
 * theirs.  (The strategies that freeze from another database leave this session
 * alone then.)
 */
void
pf_target_check_permission(const PfTarget *target)
{
	if (superuser())
		return;
	if (target->kind == PF_ROLE && superuser_arg(target->oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may freeze a superuser"),
				 errdetail("Role %s is a superuser.", quote_identifier(NameStr(target->name)))));
	if (target->kind == PF_ROLE)
	{
		/* by SET ROLE too */
		Oid			roles[] = {GetUserId(), GetSessionUserId()};

		for (int i = 0; i < (int) lengthof(roles); i++)
			if (is_member_of_role_nosuper(roles[i], target->oid))
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("you would freeze yourself"),
						 roles[i] == target->oid ?
						 errdetail("You are role %s.", quote_identifier(NameStr(target->name))) :
						 errdetail("Role %s is a member of role %s.",
								   quote_identifier(GetUserNameFromId(roles[i], false)),
								   quote_identifier(NameStr(target->name))),
						 errhint("Ask a superuser, or somebody who is not a member of that role.")));
	}
	if (target->kind == PF_CLUSTER)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may freeze the cluster")));
	if (target->kind == PF_DATABASE && target->oid != MyDatabaseId &&
		!object_ownercheck(DatabaseRelationId, target->oid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser or its owner may freeze a database from another one"),
				 errhint("Connect to database %s and run it there.", quote_identifier(NameStr(target->name)))));
	/* from another database he can */
	if (target->mode == PF_ALL && (target->kind == PF_SCHEMA || (target->kind == PF_DATABASE && target->oid == MyDatabaseId)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may freeze a %s in mode all", kind_names[target->kind]),
				 errdetail("You would freeze yourself and could not thaw it."),
				 errhint("Use mode write, or ask a superuser.")));
}
