/*-------------------------------------------------------------------------
 *
 * statefile.h
 *	  The gates on disk, so that a restart finds them closed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_STATEFILE_H
#define PF_STATEFILE_H

#include "gates.h"

/* Opens every gate at the next start or reload. */
#define PF_WAY_OUT_FILE		"pg_freeze.open"

/*
 * Replaces the file durably; with count 0 removes it.  Returns NULL, or the
 * reason why it could not (then the old file is there).  Raises nothing; needs
 * no transaction.
 */
extern char *pf_state_file_write(const PfGateRecord *records, int count);

/*
 * At the start of the server, in the postmaster, once the shared memory is
 * there and before the first connection: reads the file and calls
 * pf_gates_load().
 */
extern void pf_state_file_startup(void);

/* Whether the file of the way out is there; and, gates being open, removes it and the state file. */
extern bool pf_way_out_is_asked(void);
extern void pf_way_out_done(void);

#endif							/* PF_STATEFILE_H */
