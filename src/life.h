/*-------------------------------------------------------------------------
 *
 * life.h
 *	  The life of a freeze.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LIFE_H
#define PF_LIFE_H

#include "worker.h"

/*
 * Thaws in the caller's own transaction, where no worker can be had; takes
 * effect at its commit.
 */
extern void pf_life_thaw_here(const PfRequest *request, PfReply *reply);

/* Raises 55000 unless the freeze can be thawed, extended or altered now. */
extern void pf_life_check_in_hold(const PfFreeze *freeze);

#endif							/* PF_LIFE_H */
