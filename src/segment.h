/*-------------------------------------------------------------------------
 *
 * segment.h
 *	  The segment that a request's caller and worker share: for call.c and
 *	  worker.c only.
 *
 * It lives as long as either has it mapped: a header, the request, and a queue
 * from the worker to the caller, in which everything travels that the caller
 * learns.  (Not through the catalogs: the caller's snapshot may be older than
 * the freeze.)
 *
 * The outcome is one word in the header, and moves once:
 *
 *	pending -> decided		by the worker: it will not go back any more
 *	pending -> cancelled	by the caller: what isn't complete is undone
 *
 * by compare-and-swap, so that caller and worker never disagree.  A freeze
 * decides when everything else is done and only the commit is left; a thaw
 * before it begins.
 *
 * worker_pid is there for the SIGINT with which a caller that has cancelled
 * interrupts the worker.  The spinlock is held while signalling, and while the
 * worker, before it goes away, takes its pid back: so the signal can't hit a
 * process that has the pid later.  The worker publishes its pid once it is
 * connected, and only then looks at the outcome; the caller does it the other
 * way round.  One of them sees the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_SEGMENT_H
#define PF_SEGMENT_H

#include "port/atomics.h"
#include "storage/spin.h"

/*
 * Change this with the layout of PfHeader, PfRequest or a message: after an
 * upgrade of the library, a session that has the old one must not be
 * misunderstood by a worker that loads the new one.
 */
#define PF_SEGMENT_MAGIC	UINT64CONST(0x70675f667a770006)

/* What is where. */
enum
{
	PF_KEY_HEADER,
	PF_KEY_REQUEST,
	PF_KEY_QUEUE
};

enum
{
	PF_OUTCOME_PENDING,
	PF_OUTCOME_DECIDED,
	PF_OUTCOME_CANCELLED
};

typedef struct PfHeader
{
	Size		request_size;	/* set before the worker is registered */
	pg_atomic_uint32 outcome;
	slock_t		mutex;
	pid_t		worker_pid;		/* 0: not connected yet, or going away;
								 * protected by mutex */
} PfHeader;

/*
 * The first byte of a message.  What follows: an int is its 4 bytes; a string
 * is its length and its bytes, without the 0; NULL is length -1.
 */
typedef enum PfMessageType
{
	PF_MESSAGE_NOTICE = 'n',	/* elevel, message, detail, hint */
	PF_MESSAGE_ROW = 'r',		/* number of values, values */
	PF_MESSAGE_ERROR = 'e',		/* sqlstate, message, detail, hint */
	PF_MESSAGE_DONE = 'd'		/* the last one */
} PfMessageType;

#endif							/* PF_SEGMENT_H */
