/*-------------------------------------------------------------------------
 *
 * leak.h
 *	  Ways around a freeze, and who else it stops.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LEAK_H
#define PF_LEAK_H

#include "pg_freeze.h"

/*
 * SQL: whether a role may use the privileges of another, by inheritance or
 * by SET ROLE.  Membership for the sake of ADMIN alone does not count.
 */
#define PF_SQL_MAY_ACT_AS(role, other) \
	"(pg_has_role(" role ", " other ", 'USAGE') OR pg_has_role(" role ", " other ", " \
	"CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END))"

/* Lists of PfNote *.  Need a transaction; use SPI; change nothing. */
extern List *pf_revoke_leaks(const PfTarget *target);
extern List *pf_revoke_also_stops(const PfTarget *target);
extern List *pf_lock_leaks(const PfTarget *target);
extern List *pf_lock_also_stops(const PfTarget *target);

#endif							/* PF_LEAK_H */
