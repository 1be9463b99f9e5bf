/*-------------------------------------------------------------------------
 *
 * leak.h
 *	  Ways around the strategy "revoke", and who else it stops.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LEAK_H
#define PF_LEAK_H

#include "pg_freeze.h"

/* Lists of PfNote *.  Need a transaction; use SPI; change nothing. */
extern List *pf_revoke_leaks(const PfTarget *target);
extern List *pf_revoke_also_stops(const PfTarget *target);

#endif							/* PF_LEAK_H */
