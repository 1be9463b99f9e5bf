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

static const PfStrategy *const strategies[] = {&pf_revoke, &pf_lock, &pf_gate};

/* Named in the contract, with what each will be able to freeze. */
static const struct
{
	const char *name;
	bool		kinds[4];
	bool		modes[2];
}			contract[] = {
	{"gate", {true, false, true, true}, {true, true}},
	{"revoke", {true, true, true, false}, {true, true}},
	{"lock", {true, true, true, false}, {true, true}},
	{"read_only", {true, false, true, true}, {true, false}},
	{"disconnect", {true, false, true, true}, {false, true}},
};

/* A strategy that is built, NULL if there is none of this name. */
const PfStrategy *
pf_strategy_named(const char *name)
{
	for (int i = 0; i < (int) lengthof(strategies); i++)
		if (strcmp(strategies[i]->name, name) == 0)
			return strategies[i];
	return NULL;
}

/* The strategies that can, or will, freeze such a target, for a hint. */
static char *
candidates(const PfTarget *target)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(contract); i++)
	{
		const PfStrategy *strategy = pf_strategy_named(contract[i].name);

		if (contract[i].kinds[target->kind] && contract[i].modes[target->mode])
			appendStringInfo(&text, "%s%s%s", text.len ? ", " : "", contract[i].name,
							 strategy == NULL ? " (not built yet)" :
							 strategy->doors && pf_gates == NULL ? " (needs preloading)" : "");
	}
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

/*
 * "auto": never stops anybody but the target.  That is gate where pg_freeze is
 * preloaded.  Else, for a role, revoke where it stops the role's ordinary
 * writes and nobody else, else lock where nobody else writes there.  For a
 * schema or a database everybody is the target, and lock leaves the catalogs
 * alone.
 */
static const PfStrategy *
choose_automatically(const PfTarget *target, char **why)
{
	char	   *revoke;
	char	   *lock;

	if (pf_gates && pf_gate.kinds[target->kind] && pf_gate.modes[target->mode])
	{
		*why = "auto: preloaded, stops nobody but the target";
		return &pf_gate;
	}
	if (!pf_revoke.kinds[target->kind])
		check_preloaded(pf_gate.name);
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
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no strategy is built that stops the ordinary writes of %s and nobody else", pf_target_text(target)),
				 errdetail("Strategy %s.\nStrategy %s.", revoke, lock),
				 errhint("To accept one of them: SET pg_freeze.strategy = 'revoke' or 'lock'.")));
	*why = psprintf("auto: nobody else writes there; %s", revoke);
	return &pf_lock;
}

/*
 * Resolves a strategy for a target.  "name" is the argument, NULL where the
 * setting decides.  *why says how it was chosen.  Raises 22023 for what is no
 * strategy or cannot freeze this target, 0A000 for what is not built yet, 55000
 * for what needs preloading.
 */
const PfStrategy *
pf_strategy_choose(const char *name, const PfTarget *target, char **why)
{
	*why = name ? "asked for by argument" : "asked for by pg_freeze.strategy";
	if (name == NULL && pf_guc_strategy != PF_STRATEGY_AUTO)
		name = GetConfigOption(PF_NAME ".strategy", false, false);
	if (name == NULL || strcmp(name, "auto") == 0)
		return choose_automatically(target, why);

	for (int i = 0; i < (int) lengthof(contract); i++)
	{
		if (strcmp(name, contract[i].name) != 0)
			continue;
		if (!contract[i].kinds[target->kind] || !contract[i].modes[target->mode])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("strategy %s cannot freeze %s in mode %s", name,
							target->kind == PF_CLUSTER ? "the cluster" : psprintf("a %s", pf_kind_name(target->kind)),
							pf_mode_name(target->mode)),
					 errhint("Strategies that can: %s.", candidates(target))));
		if (pf_strategy_named(name) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("strategy %s is not built yet", name),
					 errhint("Strategies for this: %s.", candidates(target))));
		if (pf_strategy_named(name)->doors)
			check_preloaded(name);
		return pf_strategy_named(name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no strategy", name),
			 errhint("Strategies for this: auto, %s.", candidates(target))));
}
