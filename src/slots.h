/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  The board of the process that holds locks: for hold.c and holder.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_SLOTS_H
#define PF_SLOTS_H

#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/spin.h"

#include "holder.h"

#define HOLDER_MAGIC	0x70676868	/* change it with the layout of HolderBoard */
#define SLOTS			64		/* freezes of one database */
#define NOBODY			(-1)

typedef struct Slot
{
	int64		id;				/* 0: free */
	int			slice;			/* ms */
	int			asker;			/* whose latch to set when the state changes */
	bool		let_go;
	bool		again;
	bool		go;
	TimestampTz deadline;		/* 0: none */
	PfHold		hold;
} Slot;

typedef struct HolderBoard
{
	uint32		magic;			/* these two never change */
	Oid			database;
	slock_t		mutex;			/* protects the rest */
	bool		alive;
	int			procno;
	int			pid;
	dsm_handle	scheduler;
	Slot		slots[SLOTS];
} HolderBoard;

/* The board in a segment; NULL if it is something else or another database's. */
static inline HolderBoard *
board_in(dsm_segment *segment)
{
	HolderBoard *board = dsm_segment_address(segment);

	if (dsm_segment_map_length(segment) < sizeof(HolderBoard) ||
		board->magic != HOLDER_MAGIC || board->database != MyDatabaseId)
		return NULL;
	return board;
}

static inline void
wake(int procno)
{
	if (procno != NOBODY)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
}

#endif							/* PF_SLOTS_H */
