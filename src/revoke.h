/*-------------------------------------------------------------------------
 *
 * revoke.h
 *	  What the strategy "revoke" takes from an object.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_REVOKE_H
#define PF_REVOKE_H

#include "journal.h"
#include "objects.h"

extern Acl *pf_revoke_take(PfCatalogs *catalogs, const PfObject *object, const Acl *acl, const PfTarget *target);
extern void pf_change_follow_owner(PfChange *change, Oid owner);

#endif							/* PF_REVOKE_H */
