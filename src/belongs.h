/*-------------------------------------------------------------------------
 *
 * belongs.h
 *	  Which gates stop this session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_BELONGS_H
#define PF_BELONGS_H

#include "gates.h"
#include "miscadmin.h"

/* Sets of gates, by the bits of their numbers. */
typedef struct PfBelongs
{
	uint64		covered;		/* this session, or its transaction, belongs to the target */
	uint64		stopped;		/* of those: it may not pass */
} PfBelongs;

/*
 * Worked out anew only when a gate, the identity or memberships have changed.
 * In a transaction; reads catalogs then.
 */
extern PfBelongs pf_belongs(void);

/* A gate, and the word of all, as they were when that was worked out. */
extern const PfGate *pf_belongs_gate(int number);
extern uint64 pf_belongs_word(void);

/* The same for what a role has prepared, when this session commits it. */
extern PfBelongs pf_belongs_to_role(Oid role);

/* As whom this transaction was seen to act last. */
extern PF_HIDDEN Oid pf_noted_user;
extern bool pf_belongs_note_another(void);

/* called for each statement: without the detour by the linkage table */
#if defined(__GNUC__) && !defined(__clang__)
extern Oid	GetUserId(void) __attribute__((noplt));
#endif

/*
 * Notes as whom the transaction acts, at each statement; no catalog access.
 * True: pf_belongs_end_transaction() has to forget it.
 */
static inline bool
pf_belongs_note_identity(void)
{
	return unlikely(GetUserId() != pf_noted_user) && pf_belongs_note_another();
}

extern void pf_belongs_end_transaction(void);

/* Forgets what was worked out: a setting that matters has changed. */
extern void pf_belongs_forget(void);

/*
 * Whether a role belongs to a target of kind role: is it, or is a member of
 * it with INHERIT or SET, directly or through others.  A superuser is no
 * member of everything.  In a transaction; reads pg_auth_members only, by its
 * syscache, so that it can be used while somebody logs in.
 */
extern bool pf_role_belongs(Oid role, Oid target);

/* Whether somebody presents the pass of a gate; NULL: nothing. */
extern bool pf_is_pass(const PfGateRecord *record, const char *pass);

/* Whether a role is in pg_freeze.exempt_roles, by name. */
extern bool pf_role_is_exempt(const char *role_name);

#endif							/* PF_BELONGS_H */
