/*-------------------------------------------------------------------------
 *
 * lock.h
 *	  The strategy "lock", as far as the choice of a strategy needs to know.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LOCK_H
#define PF_LOCK_H

#include "pg_freeze.h"

/*
 * Why a target cannot be locked now, NULL if it can: no room in the lock
 * table, a standby in mode all, a database that needs vacuum.  Needs a
 * transaction.
 */
extern char *pf_lock_obstacle(const PfTarget *target);

/*
 * The age of this database in transactions or multixacts, whichever is more.
 * Needs a transaction.
 */
extern int	pf_database_age(void);

#endif							/* PF_LOCK_H */
