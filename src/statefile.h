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

#endif							/* PF_STATEFILE_H */
