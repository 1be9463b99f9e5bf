/*-------------------------------------------------------------------------
 *
 * read_only.c
 *	  The strategy "read_only".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_freeze.h"

const PfStrategy pf_read_only = {
	.name = "read_only",
	.kinds = {[PF_ROLE] = true,[PF_DATABASE] = true,[PF_CLUSTER] = true},
	.modes = {[PF_WRITE] = true},
	.rejects = true,
	.anywhere = true,
	.recycles = true,
	.done = "changed",
};
