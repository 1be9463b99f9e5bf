/*-------------------------------------------------------------------------
 *
 * plans.c
 *	  What the plan of a query does, as far as a gate is concerned.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "nodes/nodeFuncs.h"
#include "nodes/nodes.h"
#include "pg_freeze.h"
#include "plans.h"
#include "utils/lsyscache.h"

/* See plans.h. */
bool
pf_plan_writes(PlannedStmt *plan)
{
	ListCell   *cell;

	foreach(cell, pf_plan_permissions(plan))
	{
		PfPlanPermission *permission = lfirst(cell);

		if ((permission->requiredPerms & ~ACL_SELECT) != 0 &&
			get_rel_persistence(permission->relid) != RELPERSISTENCE_TEMP)
			return true;
	}
	return false;
}

/* See plans.h. */
bool
pf_plan_calls(PlannedStmt *plan, const Oid *functions, int count)
{
	char	   *text = nodeToString(plan);
	bool		found = false;

	for (int i = 0; i < count && !found; i++)
	{
		char	   *call = psprintf("funcid %u ", functions[i]);

		found = strstr(text, call) != NULL;
		pfree(call);
	}
	pfree(text);
	return found;
}

/* Whether an expression calls a function that isn't an extension's; "found" is set where it calls one that is. */
typedef struct Functions
{
	Oid			extension;
	bool		found;
} Functions;

static bool
calls_others(Node *node, Functions *functions)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		if (getExtensionOfObject(ProcedureRelationId, ((FuncExpr *) node)->funcid) != functions->extension)
			return true;
		functions->found = true;
	}
	else if (IsA(node, OpExpr) || IsA(node, SubPlan) || IsA(node, Aggref))
		return true;
	return expression_tree_walker(node, calls_others, functions);
}

static bool
plan_calls_others(Plan *plan, Functions *functions)
{
	if (plan == NULL)
		return false;
	switch (nodeTag(plan))
	{
		case T_Result:
		case T_ProjectSet:
			break;
		case T_FunctionScan:
			if (calls_others((Node *) ((FunctionScan *) plan)->functions, functions))
				return true;
			break;
		default:
			return true;
	}
	return calls_others((Node *) plan->targetlist, functions) || calls_others((Node *) plan->qual, functions) ||
		plan_calls_others(plan->lefttree, functions);
}

/* See plans.h. */
bool
pf_plan_only_asks_us(PlannedStmt *plan)
{
	Functions	functions = {get_extension_oid(PF_NAME, true), false};
	bool		reads_view = false;
	ListCell   *cell;

	if (!OidIsValid(functions.extension) || plan->commandType != CMD_SELECT)
		return false;
	foreach(cell, plan->rtable)
	{
		RangeTblEntry *entry = lfirst(cell);

		if (entry->rtekind != RTE_RELATION)
			continue;
		if (getExtensionOfObject(RelationRelationId, entry->relid) == functions.extension)
			reads_view = true;
		else if (get_rel_namespace(entry->relid) != PG_CATALOG_NAMESPACE)
			return false;
	}
	/* functions of others that read anything come to the door by their own statements */
	if (reads_view)
		return true;
	return !plan_calls_others(plan->planTree, &functions) && functions.found;
}
