/*-------------------------------------------------------------------------
 *
 * live.h
 *	  Every live freeze of the cluster, for those who look from another
 *	  database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LIVE_H
#define PF_LIVE_H

#include "pg_freeze.h"

/* Registers the shared memory; from _PG_init, while preloading. */
extern void pf_live_request(void);

/* Whether the library is preloaded, so that there is such memory. */
extern bool pf_live_is_there(void);

/*
 * Notes how a freeze of this database stands in the current transaction, and
 * has it published when that commits.  For everybody who changes its row in
 * the journal; needs the work lock, or a row that nobody else can know yet.
 */
extern void pf_live_note(int64 id);

/* Whether this freeze of this database is published. */
extern bool pf_live_is_known(int64 id);

/* The ids of this database's published freezes (List of int64 *). */
extern List *pf_live_ids(void);

/* Takes a freeze of this database out: its journal doesn't have it as live. */
extern void pf_live_forget(int64 id);

/* The journals of all databases have been read since the server's start. */
extern void pf_live_complete(void);

/*
 * The live freezes of other databases (List of PfFreeze *), by database and
 * id; id 0: all.  What the memory doesn't have is 0 or NULL.  Needs a
 * transaction.
 */
extern List *pf_live_elsewhere(int64 id);

/*
 * The live freezes by a strategy that were made in whatever database (List of
 * PfFreeze *), as above; copies of journals are left out.  Needs no
 * transaction.  Texts are in the encoding of each one's home.
 */
extern List *pf_live_by(const PfStrategy *strategy);

#endif							/* PF_LIVE_H */
