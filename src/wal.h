/*-------------------------------------------------------------------------
 *
 * wal.h
 *	  What a transaction has written to the WAL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_WAL_H
#define PF_WAL_H

/*
 * Notes where the WAL ends, at a door that some gate has closed for this
 * session, if the transaction has written nothing yet; costs a comparison
 * once that is known.  Forgotten at the end of the transaction.
 */
extern void pf_wal_note(void);
extern void pf_wal_forget(void);

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
