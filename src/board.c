/*-------------------------------------------------------------------------
 *
 * board.c
 *	  Where the sleeping worker of a database is found and told.
 *
 * The board is a small segment that lives as long as a process has it mapped:
 * so its being there shows that somebody is.  Its handle is the one row of
 * freeze_scheduler.  Only a row whose handle leads to a board that is alive and
 * of this database counts; what a restart, a crash, a copy of the database or a
 * base backup leaves there doesn't.  (The holder's board is in slots.h; its row
 * is read here.)
 *
 * The fields of the board are protected by its spinlock.  The row, and with it
 * who becomes the scheduler and when it may retire, is protected by SHARE ROW
 * EXCLUSIVE on freeze_scheduler, held until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include "board.h"
#include "journal.h"

#define BOARD_MAGIC		0x70676663	/* change it with the layout of PfBoard */
#define NOBODY			(-1)

/* ---- the board -------------------------------------------------------- */

/* The board in a segment; NULL if it is something else or somebody else's. */
PfBoard *
pf_board_in(dsm_segment *segment, Oid database)
{
	PfBoard    *board = dsm_segment_address(segment);

	if (dsm_segment_map_length(segment) < sizeof(PfBoard) ||
		board->magic != BOARD_MAGIC || board->database != database)
		return NULL;
	return board;
}

/*
 * A new board, which this process keeps for somebody who is yet to come.  In a
 * transaction the mapping ends with it.
 */
PfBoard *
pf_board_create(Oid database, TimestampTz wake_at, dsm_segment **segment)
{
	PfBoard    *board;

	*segment = dsm_create(sizeof(PfBoard), 0);
	board = dsm_segment_address(*segment);
	board->database = database;
	SpinLockInit(&board->mutex);
	board->wake_at = wake_at;
	board->alive = false;
	board->handover = true;
	board->file = 0;
	board->procno = MyProcNumber;
	board->magic = BOARD_MAGIC;
	return board;
}

/*
 * A scheduler goes away: nobody is to count on it any more.  If somebody else
 * has taken over, this does nothing.
 */
void
pf_board_leave(PfBoard *board)
{
	SpinLockAcquire(&board->mutex);
	if (board->procno == MyProcNumber)
	{
		board->alive = false;
		board->procno = NOBODY;
	}
	SpinLockRelease(&board->mutex);
}

/*
 * Makes this process the scheduler that the board shows, if it waits for one,
 * and tells whoever waits.
 */
bool
pf_board_take_over(PfBoard *board)
{
	int			before = NOBODY;
	bool		mine;

	SpinLockAcquire(&board->mutex);
	mine = board->handover || !board->alive;
	if (mine)
	{
		before = board->procno;
		board->procno = MyProcNumber;
		board->alive = true;
		board->handover = false;
	}
	SpinLockRelease(&board->mutex);

	/* If that process has gone, its successor wakes up once for nothing. */
	if (before != NOBODY && before != MyProcNumber)
		SetLatch(&GetPGProcByNumber(before)->procLatch);
	return mine;
}

/* Whether the one that this process waits for has taken over. */
bool
pf_board_is_taken_over(PfBoard *board)
{
	bool		taken;

	SpinLockAcquire(&board->mutex);
	taken = board->procno != MyProcNumber;
	SpinLockRelease(&board->mutex);
	return taken;
}

/* Sets whether the board waits for a successor. */
void
pf_board_set_handover(PfBoard *board, bool handover)
{
	SpinLockAcquire(&board->mutex);
	board->handover = handover;
	SpinLockRelease(&board->mutex);
}

/* Before a round of work: from here on a time on the board is a new one. */
void
pf_board_clear_wake(PfBoard *board)
{
	SpinLockAcquire(&board->mutex);
	board->wake_at = PF_NEVER;
	SpinLockRelease(&board->mutex);
}

/* Brings the time to wake up forward. */
void
pf_board_wake_before(PfBoard *board, TimestampTz at)
{
	SpinLockAcquire(&board->mutex);
	board->wake_at = Min(board->wake_at, at);
	SpinLockRelease(&board->mutex);
}

/*
 * Under the lock on the row: the scheduler retires, unless a time was put on
 * the board since it was cleared.
 */
bool
pf_board_retire(PfBoard *board)
{
	bool		retired;

	SpinLockAcquire(&board->mutex);
	retired = (board->wake_at == PF_NEVER);
	if (retired)
		board->alive = false;
	SpinLockRelease(&board->mutex);
	return retired;
}

TimestampTz
pf_board_wake_at(PfBoard *board)
{
	TimestampTz at;

	SpinLockAcquire(&board->mutex);
	at = board->wake_at;
	SpinLockRelease(&board->mutex);
	return at;
}

/* Which file of the way out a round of work has heeded. */
TimestampTz
pf_board_file(PfBoard *board)
{
	TimestampTz file;

	SpinLockAcquire(&board->mutex);
	file = board->file;
	SpinLockRelease(&board->mutex);
	return file;
}

void
pf_board_heed_file(PfBoard *board, TimestampTz file)
{
	SpinLockAcquire(&board->mutex);
	board->file = file;
	SpinLockRelease(&board->mutex);
}

/*
 * Looks at the board with this handle: true if a scheduler of this database
 * is alive there.  With a time other than PF_NEVER, that scheduler is told.
 */
bool
pf_board_tell(dsm_handle handle, TimestampTz at)
{
	return pf_board_tell_of(MyDatabaseId, handle, at);
}

/* The same for the scheduler of another database. */
bool
pf_board_tell_of(Oid database, dsm_handle handle, TimestampTz at)
{
	dsm_segment *segment;
	bool		mapped;
	PfBoard    *board;
	bool		alive = false;
	int			procno = NOBODY;

	if (handle == DSM_HANDLE_INVALID)
		return false;
	segment = dsm_find_mapping(handle);
	mapped = (segment != NULL);
	if (!mapped)
		segment = dsm_attach(handle);
	if (segment == NULL)
		return false;

	board = pf_board_in(segment, database);
	if (board)
	{
		SpinLockAcquire(&board->mutex);
		alive = board->alive;
		if (alive && at < board->wake_at)
		{
			board->wake_at = at;
			procno = board->procno;
		}
		SpinLockRelease(&board->mutex);
	}
	if (procno != NOBODY)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);

	if (!mapped)
		dsm_detach(segment);
	return alive;
}

/* ---- the row ---------------------------------------------------------- */

/*
 * In a transaction: reads the handle that is in PF_SCHEDULER_ROW or
 * PF_HOLDER_ROW, DSM_HANDLE_INVALID if none.  With lock it locks that table
 * first, until the end of the transaction.  Each statement has its own
 * snapshot, so that who has waited for the lock sees what came before.
 */
dsm_handle
pf_board_read_row(const char *table, bool lock)
{
	dsm_handle	handle = DSM_HANDLE_INVALID;
	PfSpi		spi = pf_spi_begin();

	if (lock)
		journal_execute(psprintf("LOCK TABLE @.%s IN SHARE ROW EXCLUSIVE MODE", table),
						0, NULL, NULL, NULL, false);
	journal_execute(psprintf("SELECT board FROM @.%s", table), 0, NULL, NULL, NULL, !lock);
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
										  1, &isnull);

		handle = (dsm_handle) DatumGetInt64(value);
	}
	pf_spi_end(spi);
	return handle;
}

/* Under that lock: writes the handle, or removes it (DSM_HANDLE_INVALID). */
void
pf_board_write_row(const char *table, dsm_handle handle)
{
	PfSpi		spi = pf_spi_begin();

	if (handle == DSM_HANDLE_INVALID)
		journal_execute(psprintf("DELETE FROM @.%s", table), 0, NULL, NULL, NULL, false);
	else
	{
		Oid			type = INT8OID;
		Datum		value = Int64GetDatum((int64) handle);

		journal_execute(psprintf("INSERT INTO @.%s (board) VALUES ($1)"
								 " ON CONFLICT (only_one) DO UPDATE SET board = excluded.board", table),
						1, &type, &value, NULL, false);
	}
	pf_spi_end(spi);
}
