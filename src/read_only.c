/*-------------------------------------------------------------------------
 *
 * read_only.c
 *	  The strategy "read_only": default_transaction_read_only for the target,
 *	  and its sessions recycled so that it is in force for all of them.
 *
 * A courtesy: whoever wants to write says so and does (leak "override").
 *
 * The server takes the setting from the most special row of pg_db_role_setting
 * that says something: role in database, role, database, all roles.  So the row
 * of the target is set, and those more special ones that say "off".  For the
 * cluster that is the row of all roles: what ALTER SYSTEM does, but in a
 * transaction, together with the journal, and stronger than the command line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "drain.h"
#include "recycle.h"
#include "utils/builtins.h"

static bool
says_false(const PfSetting *setting)
{
	bool		on;

	return parse_bool(setting->text, &on) && !on;
}

/* Whether a role has a setting of its own in a database. */
static bool
has_own(List *settings, Oid database, Oid role)
{
	ListCell   *cell;

	foreach(cell, settings)
	{
		PfSetting  *setting = lfirst(cell);

		if (setting->value.database == database && setting->value.role == role)
			return true;
	}
	return false;
}

static List *
wanted(const PfTarget *target)
{
	Oid			database = target->kind == PF_DATABASE ? target->oid : InvalidOid;
	Oid			role = target->kind == PF_ROLE ? target->oid : InvalidOid;
	List	   *values = list_make1(pf_value_make(PF_VALUE_SETTING, database, role));
	List	   *settings = pf_settings();
	ListCell   *cell;

	foreach(cell, settings)
	{
		PfSetting  *setting = lfirst(cell);
		Oid			its_database = setting->value.database;
		Oid			its_role = setting->value.role;

		if (!says_false(setting) || (its_database == database && its_role == role))
			continue;
		if (target->kind == PF_DATABASE && its_database == InvalidOid && OidIsValid(its_role))
		{
			/* a role's own setting is stronger than that of the database */
			if (has_own(settings, database, its_role))
				continue;
			its_database = database;
		}
		if ((target->kind == PF_ROLE && its_role != role) || (target->kind == PF_DATABASE && its_database != database))
			continue;
		values = lappend(values, pf_value_make(PF_VALUE_SETTING, its_database, its_role));
	}
	return values;
}

static void
read_only_check(const PfTarget *target, PfEmit emit, void *arg)
{
	pf_recycle_check(emit, arg, wanted(target));
}

/* Whether no session of a role ever reads its settings. */
static bool
is_nobody(PfFreeze *freeze)
{
	PfValue		login = {PF_VALUE_LOGIN, InvalidOid, freeze->target.oid};
	char	   *can;

	return freeze->target.kind == PF_ROLE && pf_value_read(&login, &can) && pf_value_is_held(&login, can) &&
		!pf_value_is_taken(&login) && pf_recycle_sessions(freeze) == NIL;
}

static int64
read_only_engage(PfFreeze *freeze, int64 *covered)
{
	if (freeze->state == PF_ENGAGING && is_nobody(freeze))
		return 0;
	return pf_recycle_engage(freeze, covered, wanted(&freeze->target));
}

static char *
read_only_broken(PfFreeze *freeze, int64 *checked)
{
	return pf_recycle_broken(freeze, checked, wanted(&freeze->target));
}

/*
 * See PfStrategy.released.  A session reads its settings when it begins: those
 * that have begun during the hold would stay read-only for good.
 */
static void
read_only_released(PfFreeze *freeze, int caller, int patience, PfReply *reply)
{
	int			left = patience < 0 ? 0 : pf_drain_newcomers(freeze, caller, patience);
	char	   *message;

	if (patience == 0 || (patience > 0 && left == 0))
		return;
	message = patience < 0 ?
		psprintf("sessions that began while %s was frozen stay read-only", pf_target_text(&freeze->target)) :
		psprintf("%d session%s that began while %s was frozen %s read-only", left,
				 left == 1 ? "" : "s", pf_target_text(&freeze->target), left == 1 ? "stays" : "stay");
	if (reply)
		reply->notice(reply, WARNING, message,
					  "A session reads default_transaction_read_only when it begins.",
					  psprintf("In your own: SET default_transaction_read_only = off. End others when they are idle: SELECT * FROM freeze_drain(%s, state => 'idle');",
							   freeze->target.kind == PF_CLUSTER ? "everybody => true" :
							   psprintf("%s => %s", pf_kind_name(freeze->target.kind), quote_literal_cstr(NameStr(freeze->target.name)))));
	else
		ereport(LOG, (errmsg("pg_freeze: freeze " INT64_FORMAT " is thawed, but %s", freeze->id, message)));
}

static List *
read_only_leaks(const PfTarget *target)
{
	List	   *notes;

	notes = pf_recycle_note(NIL, "override",
							"SELECT 'any client may SET default_transaction_read_only = off, or BEGIN READ WRITE; strategies that it cannot override: gate, revoke, lock'",
							target);
	notes = pf_recycle_note_left_alone(notes, target);
	/* the settings of a role are for sessions that log in as it */
	notes = pf_recycle_note_members(notes, target);
	return pf_recycle_note(notes, "subscriptions",
						   psprintf("SELECT 'changes of subscriptions%s are applied all the same: ' || string_agg(quote_ident(subname), ', ' ORDER BY subname)"
									" FROM pg_subscription WHERE subenabled AND %s",
									target->kind == PF_ROLE ? " that it owns" : "",
									target->kind == PF_ROLE ? "subowner = $1" : target->kind == PF_DATABASE ? "subdbid = $1" : "$1 IS NOT NULL"),
						   target);
}

static List *
no_notes(const PfTarget *target)
{
	return NIL;
}

const PfStrategy pf_read_only = {
	.name = "read_only",
	.kinds = {[PF_ROLE] = true,[PF_DATABASE] = true,[PF_CLUSTER] = true},
	.modes = {[PF_WRITE] = true},
	.rejects = true,
	.anywhere = true,
	.recycles = true,
	.done = "changed",
	.intact = "no setting came back",
	.check = read_only_check,
	.engage = read_only_engage,
	.release = pf_values_release,
	.released = read_only_released,
	.told = pf_recycle_told,
	.broken = read_only_broken,
	.leaks = read_only_leaks,
	.also_stops = no_notes,
};
