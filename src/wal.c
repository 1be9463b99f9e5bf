/*-------------------------------------------------------------------------
 *
 * wal.c
 *	  What a transaction has written to the WAL.
 *
 * Who writes to temporary tables has a transaction id and leaves nothing in
 * the WAL.  But reading may: pages of catalogs and tables are pruned, and with
 * checksums the first hint on a page after a checkpoint is logged.  So where
 * such a transaction has written to the WAL, its records are looked at.
 *
 * Records bear the id of the transaction, once that has one; those from before
 * are nothing that a commit makes valid.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "miscadmin.h"
#include "wal.h"

#define FARTHEST	(64 * 1024 * 1024)	/* read no more, of everybody's WAL, for one commit */

/* This transaction's records are not before it. */
static XLogRecPtr begins = InvalidXLogRecPtr;

/* See wal.h. */
void
pf_wal_note(XLogRecPtr earlier)
{
	if (RecoveryInProgress())
		return;
	if (XactLastRecEnd == InvalidXLogRecPtr)
		begins = GetXLogInsertRecPtr();
	else
		begins = Max(begins, earlier);
}

/* See wal.h. */
void
pf_wal_next(bool any_gate)
{
	begins = any_gate && !RecoveryInProgress() ? GetXLogInsertRecPtr() : InvalidXLogRecPtr;
}

static PfWalContent
content_of(XLogReaderState *reader)
{
	uint8		info = XLogRecGetInfo(reader) & ~XLR_INFO_MASK;
	TransactionId xid = XLogRecGetXid(reader);

	if (!TransactionIdIsValid(xid))
		return PF_WAL_NOTHING;
	/* that of a subtransaction that was rolled back is not mine any more */
	if (XLogRecGetRmid(reader) == RM_XACT_ID && (info & XLOG_XACT_OPMASK) == XLOG_XACT_ABORT)
		return TransactionIdFollows(xid, GetTopTransactionIdIfAny()) &&
			SubTransGetTopmostTransaction(xid) == GetTopTransactionIdIfAny() ? PF_WAL_UNDONE : PF_WAL_NOTHING;
	if (!TransactionIdIsCurrentTransactionId(xid))
		return PF_WAL_NOTHING;
	switch (XLogRecGetRmid(reader))
	{
		case RM_XLOG_ID:
			return info == XLOG_FPI_FOR_HINT || info == XLOG_NEXTOID ? PF_WAL_UPKEEP : PF_WAL_CHANGES;
		case RM_XACT_ID:
			return (info & XLOG_XACT_OPMASK) == XLOG_XACT_ASSIGNMENT ? PF_WAL_UPKEEP : PF_WAL_CHANGES;
		case RM_HEAP2_ID:
			return (info & XLOG_HEAP_OPMASK) == XLOG_HEAP2_PRUNE_ON_ACCESS ? PF_WAL_UPKEEP : PF_WAL_CHANGES;
		case RM_CLOG_ID:
		case RM_COMMIT_TS_ID:
			return PF_WAL_UPKEEP;
		default:
			return PF_WAL_CHANGES;
	}
}

/* See wal.h. */
PfWalContent
pf_wal_content(void)
{
	XLogRecPtr	end = XactLastRecEnd;
	XLogReaderState *reader;
	XLogSegNo	segment;
	PfWalContent content = PF_WAL_NOTHING;
	char	   *problem;

	if (end == InvalidXLogRecPtr)
		return PF_WAL_NOTHING;
	if (begins == InvalidXLogRecPtr || end - begins > FARTHEST)
		return PF_WAL_CHANGES;
	XLByteToSeg(begins, segment, wal_segment_size);
	if (segment <= XLogGetLastRemovedSegno())
		return PF_WAL_CHANGES;
	reader = XLogReaderAllocate(wal_segment_size, NULL,
								XL_ROUTINE(.page_read = read_local_xlog_page,
										   .segment_open = wal_segment_open,
										   .segment_close = wal_segment_close), NULL);
	if (reader == NULL)
		return PF_WAL_CHANGES;
	XLogFlush(end);
	XLogBeginRead(reader, begins);
	while (content != PF_WAL_CHANGES && reader->EndRecPtr < end)
	{
		if (XLogReadRecord(reader, &problem) == NULL)
			content = PF_WAL_CHANGES;
		else
			content = Max(content, content_of(reader));
	}
	if (content == PF_WAL_CHANGES)
		ereport(DEBUG1,
				(errmsg_internal("pg_freeze: record at %X/%08X (resource manager %d, info %02x) is a change",
								 LSN_FORMAT_ARGS(reader->ReadRecPtr), XLogRecGetRmid(reader), XLogRecGetInfo(reader))));
	XLogReaderFree(reader);
	return content;
}
