/*-------------------------------------------------------------------------
 *
 * strategy.c
 *	  The table of strategies, and the choice that "auto" makes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gates.h"
#include "guc.h"
#include "lock.h"
#include "miscadmin.h"
#include "step.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

static const PfStrategy *const strategies[] = {&pf_gate, &pf_revoke, &pf_lock, &pf_read_only, &pf_disconnect};

/* A strategy, NULL if there is none of this name. */
const PfStrategy *
pf_strategy_named(const char *name)
{
	for (int i = 0; i < (int) lengthof(strategies); i++)
		if (strcmp(strategies[i]->name, name) == 0)
			return strategies[i];
	return NULL;
}

static bool
can_freeze(const PfStrategy *strategy, const PfTarget *target)
{
	return strategy->kinds[target->kind] && strategy->modes[target->mode];
}

/* Whether a target is a database that this session is not connected to. */
static bool
is_elsewhere(const PfTarget *target)
{
	return target->kind == PF_DATABASE && target->oid != MyDatabaseId;
}

/* The strategies that can freeze such a target from here, for a hint. */
static char *
candidates(const PfTarget *target)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(strategies); i++)
		if (can_freeze(strategies[i], target) && (strategies[i]->anywhere || !is_elsewhere(target)))
			appendStringInfo(&text, "%s%s%s", text.len ? ", " : "", strategies[i]->name,
							 strategies[i]->doors && pf_gates == NULL ? " (needs preloading)" : "");
	return text.data;
}

/*
 * What shared_preload_libraries must be set to: what it is now, and pg_freeze.
 * ALTER SYSTEM wants a string for each library.
 */
static char *
preload_with_pg_freeze(void)
{
	StringInfoData text;
	List	   *names = NIL;
	ListCell   *cell;

	initStringInfo(&text);
	(void) SplitDirectoriesString(pstrdup(GetConfigOption("shared_preload_libraries", false, false)), ',', &names);
	foreach(cell, names)
		appendStringInfo(&text, "%s, ", quote_literal_cstr((char *) lfirst(cell)));
	appendStringInfoString(&text, quote_literal_cstr(PF_NAME));
	return text.data;
}

/* Raises 55000 unless the doors of a strategy that has some are there. */
static void
check_preloaded(const char *strategy)
{
	if (pf_gates)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("strategy %s needs pg_freeze in shared_preload_libraries", strategy),
			 superuser() ?
			 errhint("Add it, for example: ALTER SYSTEM SET shared_preload_libraries = %s; and restart the server.",
					 preload_with_pg_freeze()) :
			 errhint("Ask a superuser to add it and to restart the server.")));
}

/* Why revoke is not the one to choose for a role, NULL if it is. */
static char *
objection_to_revoke(const PfTarget *target)
{
	List	   *also_stops = pf_revoke.also_stops(target);
	ListCell   *cell;

	if (also_stops != NIL)
		return psprintf("revoke would also stop: %s", pf_one_line(pf_notes_text(also_stops)));
	foreach(cell, pf_revoke.leaks(target))
	{
		PfNote	   *leak = lfirst(cell);

		if (leak->ordinary)
			return psprintf("revoke leaves a way: %s: %s", leak->code, leak->text);
	}
	return NULL;
}

/* The same of lock. */
static char *
objection_to_lock(const PfTarget *target)
{
	char	   *obstacle = pf_lock_obstacle(target);
	List	   *stopped = NIL;
	ListCell   *cell;

	if (obstacle)
		return psprintf("lock cannot: %s", obstacle);
	foreach(cell, pf_lock.also_stops(target))
		if (((PfNote *) lfirst(cell))->ordinary)
			stopped = lappend(stopped, lfirst(cell));
	return stopped ? psprintf("lock would also stop: %s", pf_one_line(pf_notes_text(stopped))) : NULL;
}

/* What speaks against a strategy that ends the sessions it finds. */
static char *
objection_to_recycling(const PfStrategy *strategy, const PfTarget *target)
{
	List	   *also_stops = strategy->also_stops(target);
	List	   *leaks = strategy->leaks(target);
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s ends sessions%s", strategy->name, target->mode == PF_ALL ? " and keeps logins out" : "");
	if (also_stops != NIL)
		appendStringInfo(&text, "; also stops: %s", pf_one_line(pf_notes_text(also_stops)));
	if (leaks != NIL)
		appendStringInfo(&text, "; leaks: %s", pf_one_line(pf_notes_text(leaks)));
	return text.data;
}

/*
 * Raises 55000: "auto" may choose none.  "objections" has what speaks against
 * some, a line for each.
 */
static void
refuse_to_choose(const PfTarget *target, StringInfo objections)
{
	StringInfoData names;
	StringInfoData hint;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(strategies); i++)
	{
		const PfStrategy *strategy = strategies[i];

		if (strategy->doors || !can_freeze(strategy, target) || (is_elsewhere(target) && !strategy->anywhere))
			continue;
		if (strategy->recycles)
			appendStringInfo(objections, "%sStrategy %s.", objections->len ? "\n" : "", objection_to_recycling(strategy, target));
		appendStringInfo(&names, "%s'%s'", names.len ? " or " : "", strategy->name);
	}
	initStringInfo(&hint);
	if (is_elsewhere(target))
		appendStringInfo(&hint, "Connect to database %s and run it there. ", quote_identifier(NameStr(target->name)));
	appendStringInfo(&hint, "To accept %s: SET pg_freeze.strategy = %s.", strchr(names.data, ' ') ? "one of them" : "that", names.data);
	if (superuser())
		appendStringInfo(&hint, " For strategy %s: ALTER SYSTEM SET shared_preload_libraries = %s; and restart the server.",
						 pf_gate.name, preload_with_pg_freeze());
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("without preloading there is no strategy that stops %s%s and nobody else", pf_target_text(target),
					is_elsewhere(target) ? " from another database" : ""),
			 errdetail("%s", objections->data),
			 errhint("%s", hint.data)));
}

/*
 * "auto": never stops anybody but the target.  That is gate where pg_freeze is
 * preloaded.  Else, for a role, revoke where it stops the role's ordinary
 * writes and nobody else, else lock where nobody else writes there.  For a
 * schema or a database everybody is the target, and lock leaves the catalogs
 * alone.  What ends sessions has to be asked for.
 */
static const PfStrategy *
choose_automatically(const PfTarget *target, char **why)
{
	StringInfoData objections;
	char	   *revoke;
	char	   *lock;

	if (pf_gates && can_freeze(&pf_gate, target))
	{
		*why = "auto: preloaded, stops nobody but the target";
		return &pf_gate;
	}
	initStringInfo(&objections);
	if (target->kind == PF_CLUSTER || is_elsewhere(target))
		refuse_to_choose(target, &objections);
	if (target->kind != PF_ROLE)
	{
		lock = pf_lock_obstacle(target);
		*why = lock ? psprintf("auto: lock cannot: %s", lock) : "auto: stops every writer, changes nothing";
		return lock ? &pf_revoke : &pf_lock;
	}
	revoke = objection_to_revoke(target);
	if (revoke == NULL)
	{
		*why = "auto: stops the role's ordinary writes and nobody else";
		return &pf_revoke;
	}
	lock = objection_to_lock(target);
	if (lock)
	{
		appendStringInfo(&objections, "Strategy %s.\nStrategy %s.", revoke, lock);
		refuse_to_choose(target, &objections);
	}
	*why = psprintf("auto: nobody else writes there; %s", revoke);
	return &pf_lock;
}

/*
 * Resolves a strategy for a target.  "name" is the argument, NULL where the
 * setting decides.  *why says how it was chosen.  Raises 22023 for what is no
 * strategy or cannot freeze this target, 55000 for what needs preloading or
 * works in the target only.
 */
const PfStrategy *
pf_strategy_choose(const char *name, const PfTarget *target, char **why)
{
	const PfStrategy *strategy;

	*why = name ? "asked for by argument" : "asked for by pg_freeze.strategy";
	if (name == NULL && pf_guc_strategy != PF_STRATEGY_AUTO)
		name = GetConfigOption(PF_NAME ".strategy", false, false);
	if (name == NULL || strcmp(name, "auto") == 0)
		return choose_automatically(target, why);

	strategy = pf_strategy_named(name);
	if (strategy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no strategy", name),
				 errhint("Strategies for this: auto, %s.", candidates(target))));
	if (!can_freeze(strategy, target))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("strategy %s cannot freeze %s in mode %s", name,
						target->kind == PF_CLUSTER ? "the cluster" : psprintf("a %s", pf_kind_name(target->kind)),
						pf_mode_name(target->mode)),
				 errhint("%sStrategies that can: %s.",
						 strategy->kinds[target->kind] ?
						 psprintf("Strategy %s needs mode => '%s'. ", name, pf_mode_name(target->mode == PF_ALL ? PF_WRITE : PF_ALL)) : "",
						 candidates(target))));
	if (is_elsewhere(target) && !strategy->anywhere)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("strategy %s works only in the database that it freezes", strategy->name),
				 errhint("Connect to database %s and run it there. Strategies that work from here: %s.",
						 quote_identifier(NameStr(target->name)), candidates(target))));
	if (strategy->doors)
		check_preloaded(name);
	return strategy;
}
