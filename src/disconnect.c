/*-------------------------------------------------------------------------
 *
 * disconnect.c
 *	  The strategy "disconnect".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_freeze.h"

const PfStrategy pf_disconnect = {
	.name = "disconnect",
	.kinds = {[PF_ROLE] = true,[PF_DATABASE] = true,[PF_CLUSTER] = true},
	.modes = {[PF_ALL] = true},
	.rejects = true,
	.anywhere = true,
	.recycles = true,
	.done = "changed",
};
