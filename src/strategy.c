/*-------------------------------------------------------------------------
 *
 * strategy.c
 *	  The table of strategies, and the choice that "auto" makes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "pg_freeze.h"

static const PfStrategy *const strategies[] = {&pf_revoke};

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
		if (contract[i].kinds[target->kind] && contract[i].modes[target->mode])
			appendStringInfo(&text, "%s%s%s", text.len ? ", " : "", contract[i].name,
							 pf_strategy_named(contract[i].name) ? "" : " (not built yet)");
	return text.data;
}

/*
 * "auto": never stops anybody but the target.  For a role that is revoke
 * where it stops the role's ordinary writes and nobody else; for a schema or
 * a database everybody is the target.
 */
static const PfStrategy *
choose_automatically(const PfTarget *target, char **why)
{
	List	   *also_stops;
	ListCell   *cell;

	if (!pf_revoke.kinds[target->kind])
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("no strategy that freezes %s is built yet", pf_target_text(target)),
				 errhint("Strategies that will: %s.", candidates(target))));
	if (target->kind != PF_ROLE)
	{
		*why = "auto: the only strategy built that can";
		return &pf_revoke;
	}
	also_stops = pf_revoke.also_stops(target);
	if (also_stops != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no strategy is built that stops %s and nobody else", pf_target_text(target)),
				 errdetail("Strategy revoke would also stop:\n%s", pf_notes_text(also_stops)),
				 errhint("To accept that: SET pg_freeze.strategy = 'revoke'.")));
	foreach(cell, pf_revoke.leaks(target))
	{
		PfNote	   *leak = lfirst(cell);

		if (leak->ordinary)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("no strategy is built that stops the ordinary writes of %s", pf_target_text(target)),
					 errdetail("Strategy revoke leaves a way: %s: %s", leak->code, leak->text),
					 errhint("To freeze all the same, with a verdict that says so: SET pg_freeze.strategy = 'revoke'.")));
	}
	*why = "auto: stops the role's ordinary writes and nobody else";
	return &pf_revoke;
}

/*
 * Resolves a strategy for a target.  "name" is the argument, NULL where the
 * setting decides.  *why says how it was chosen.  Raises 22023 for what is no
 * strategy or cannot freeze this target, 0A000 for what is not built yet.
 */
const PfStrategy *
pf_strategy_choose(const char *name, const PfTarget *target, char **why)
{
	*why = name ? "asked for by argument" : "asked for by pg_freeze.strategy";
	if (name == NULL && pf_guc_strategy != PF_STRATEGY_AUTO)
		name = strategies[pf_guc_strategy - 1]->name;
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
		return pf_strategy_named(name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no strategy", name),
			 errhint("Strategies for this: auto, %s.", candidates(target))));
}
