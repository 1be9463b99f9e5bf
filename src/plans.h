/*-------------------------------------------------------------------------
 *
 * plans.h
 *	  What the plan of a query does, as far as a gate is concerned.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_PLANS_H
#define PF_PLANS_H

#include "postgres.h"

#include "nodes/plannodes.h"

/*
 * Whether a plan could write, lock rows included, to anything but temporary
 * tables.  Reads syscaches.
 */
extern bool pf_plan_writes(PlannedStmt *plan);

/*
 * Whether any of these functions is called anywhere in a plan, but in what
 * runs as a query of its own.  Takes long for a large plan.
 */
extern bool pf_plan_calls(PlannedStmt *plan, const Oid *functions, int count);

/*
 * Whether a plan does nothing but call functions of pg_freeze or read its
 * views: so that, in mode "all" too, somebody who is no superuser can look
 * and thaw.  Reads catalogs.
 */
extern bool pf_plan_only_asks_us(PlannedStmt *plan);

#endif							/* PF_PLANS_H */
