/*-------------------------------------------------------------------------
 *
 * wal.h
 *	  What a transaction has written to the WAL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_WAL_H
#define PF_WAL_H

#include "access/xlogdefs.h"

/*
 * Notes where the WAL ends, at a door that some gate has closed for this
 * session.  Where the transaction has written to it already, when it was
 * parsed or planned, "earlier" is a place that it has begun after, or invalid.
 */
extern void pf_wal_note(XLogRecPtr earlier);

/* At the end of a transaction: the next one begins after this, if some gate is closed. */
extern void pf_wal_next(bool any_gate);

typedef enum PfWalContent
{
	PF_WAL_NOTHING,
	PF_WAL_UPKEEP,				/* what a read leaves behind */
	PF_WAL_UNDONE,				/* that, and the end of subtransactions that were rolled back */
	PF_WAL_CHANGES				/* anything else, or it can't be told */
} PfWalContent;

/*
 * Of the transaction that is about to commit.  Reads the WAL where that has to
 * be; at most a segment or so of it.
 */
extern PfWalContent pf_wal_content(void);

#endif							/* PF_WAL_H */
