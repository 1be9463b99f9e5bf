/*-------------------------------------------------------------------------
 *
 * recycle.h
 *	  What the strategies that recycle sessions have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_RECYCLE_H
#define PF_RECYCLE_H

#include "values.h"

/* For PfStrategy.engage, .check and .broken; "wanted" is a List of PfValue *. */
extern int64 pf_recycle_engage(PfFreeze *freeze, int64 *covered, List *wanted);
extern void pf_recycle_check(PfEmit emit, void *arg, List *wanted);
extern char *pf_recycle_broken(PfFreeze *freeze, int64 *checked, List *wanted);

/* The sessions of the target that are there now (List of PfBlocker *); not those that are still starting. */
extern List *pf_recycle_sessions(PfFreeze *freeze);

/* See PfStrategy.told: whom the drain has ended. */
extern char *pf_recycle_told(PfFreeze *freeze);

/*
 * Adds a note to a list if there is something to say: "sql" answers, for the
 * OID of the target as $1, with a text, or NULL or no row.
 */
extern List *pf_recycle_note(List *notes, const char *code, const char *sql, const PfTarget *target);

/* Leaks: sessions of the target that are left alone. */
extern List *pf_recycle_note_left_alone(List *notes, const PfTarget *target);

/* Leak: who is not kept from acting as the target, a role. */
extern List *pf_recycle_note_members(List *notes, const PfTarget *target);

extern PfValue *pf_value_make(PfValueKind kind, Oid database, Oid role);

#endif							/* PF_RECYCLE_H */
