/*-------------------------------------------------------------------------
 *
 * membership.h
 *	  Memberships of a role in others, taken and given back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_MEMBERSHIP_H
#define PF_MEMBERSHIP_H

#include "journal.h"

#define PF_MEMBERSHIP_KIND "role membership"

/* Called for each membership that a freeze of the target takes. */
typedef void (*PfMembershipFunc) (PfChange *change, HeapTuple tuple, void *arg);

extern void pf_memberships_scan(const PfTarget *target, PfMembershipFunc func, void *arg);
extern void pf_membership_switch_off(HeapTuple tuple, const char *text);
extern char *pf_membership_give_back(const PfChange *change);
extern Oid	pf_membership_role(const PfChange *change);
extern char *pf_membership_text(const PfChange *change);

/* leak.c: whether the role carries nothing but what mode write takes. */
extern bool pf_membership_is_write_only(Oid role);

#endif							/* PF_MEMBERSHIP_H */
