/*-------------------------------------------------------------------------
 *
 * board.h
 *	  Where the sleeping worker of a database is found and told.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_BOARD_H
#define PF_BOARD_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/dsm.h"
#include "storage/spin.h"

#define PF_NEVER	DT_NOEND

typedef struct PfBoard
{
	uint32		magic;			/* these two never change */
	Oid			database;
	slock_t		mutex;			/* protects the rest */
	TimestampTz wake_at;		/* PF_NEVER: nobody has called */
	bool		alive;			/* there is a scheduler, and it will look */
	bool		handover;		/* whoever attaches next is to take over */
	TimestampTz file;			/* time of the file PF_THAW_FILE that was heeded last, 0: none */
	int			procno;			/* whose latch to set; -1: nobody's */
} PfBoard;

extern PfBoard *pf_board_in(dsm_segment *segment, Oid database);
extern PfBoard *pf_board_create(Oid database, TimestampTz wake_at, dsm_segment **segment);
extern void pf_board_leave(PfBoard *board);
extern bool pf_board_take_over(PfBoard *board);
extern bool pf_board_is_taken_over(PfBoard *board);
extern void pf_board_set_handover(PfBoard *board, bool handover);
extern void pf_board_clear_wake(PfBoard *board);
extern void pf_board_wake_before(PfBoard *board, TimestampTz at);
extern bool pf_board_retire(PfBoard *board);
extern TimestampTz pf_board_wake_at(PfBoard *board);
extern TimestampTz pf_board_file(PfBoard *board);
extern void pf_board_heed_file(PfBoard *board, TimestampTz file);
extern bool pf_board_tell(dsm_handle handle, TimestampTz at);
extern bool pf_board_tell_of(Oid database, dsm_handle handle, TimestampTz at);

/* The tables whose one row leads to the board of a database's worker. */
#define PF_SCHEDULER_ROW	"freeze_scheduler"
#define PF_HOLDER_ROW		"freeze_holder"

extern dsm_handle pf_board_read_row(const char *table, bool lock);
extern void pf_board_write_row(const char *table, dsm_handle handle);

#endif							/* PF_BOARD_H */
