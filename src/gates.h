/*-------------------------------------------------------------------------
 *
 * gates.h
 *	  The gates of strategy "gate" in shared memory, and the words by which
 *	  backends show that they are committing.
 *
 * Exists only with shared_preload_libraries = 'pg_freeze'.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_GATES_H
#define PF_GATES_H

#include "compat.h"
#include "pg_freeze.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#define PF_GATES		64		/* live at once in the cluster: bits of a mask */
#define PF_PASS_LENGTH	32

typedef enum PfGateCause
{
	PF_CAUSE_FREEZE,
	PF_CAUSE_DAMAGE,			/* the state file could not be read: closed for all but superusers */
	PF_CAUSE_PROMOTION			/* was a standby: closed until the journals have been read */
} PfGateCause;

/*
 * The ids of gates of another cause than a freeze; their home is InvalidOid.
 * After a promotion there are two: one stops all but superusers, one stops the
 * writes of superusers, too, for a freeze may have done that.
 */
#define PF_NO_FREEZE		0
#define PF_NO_FREEZE_WRITES	1
#define PF_GATES_FOR_FREEZES	(PF_GATES - 2)

/*
 * free -> reserved -> draining -> closed -> open -> free; draining may be left
 * out, and may be gone back to while the freeze is being made.
 */
typedef enum PfGatePhase
{
	PF_GATE_FREE,
	PF_GATE_RESERVED,			/* is in the state file, and stops nobody yet */
	PF_GATE_DRAINING,			/* stops new transactions, lets those that have written finish */
	PF_GATE_CLOSED,
	PF_GATE_OPEN				/* a thaw has opened it; the journal doesn't know yet */
} PfGatePhase;

/* What a gate is; what the state file keeps. */
typedef struct PfGateRecord
{
	PfGateCause cause;
	int64		freeze_id;
	Oid			home;			/* the database that has its journal */
	Oid			owner;
	NameData	owner_name;
	PfTarget	target;			/* a cluster has no oid and no name */
	PfGateAction action;
	PfGateInFlight in_flight;
	int			max_wait;		/* ms, 0: for ever */
	int			notice_after;	/* ms, -1: never */
	int			yield_after;	/* ms, -1: never */
	TimestampTz frozen_at;		/* 0: not yet */
	TimestampTz thaw_at;		/* 0: not scheduled */
	bool		opening;		/* a thaw has begun: not closed again by a restart */
	TimestampTz opened_at;
	XLogRecPtr	opened_lsn;		/* end of WAL when it was opened */
	char		pass[PF_PASS_LENGTH + 1];
	char		reason[128];	/* for messages, cut off */
} PfGateRecord;

/* What happened at a gate since it was closed, or since the server started. */
typedef enum PfGateCount
{
	PF_COUNT_WAITED,			/* statements and commits that had to wait */
	PF_COUNT_REFUSED,			/* ... that got an error */
	PF_COUNT_EXEMPT_COMMITS,	/* of sessions of the target that may pass */
	PF_COUNT_EXIT_COMMITS,		/* of sessions that ended, with their temporary tables */
	PF_COUNT_WRAPAROUND,		/* transactions of autovacuum against wraparound */
	PF_COUNT_LOGINS,			/* refused */
	PF_COUNTS
} PfGateCount;

typedef struct PfGate
{
	PfGatePhase phase;
	PfGateRecord record;
	TimestampTz closed_at;		/* by this process's start or engage */
	TimestampTz shut_at;		/* the last time that it became PF_GATE_CLOSED */
	XLogRecPtr	shut_lsn;		/* not after that; invalid: not known */
	bool		restarted;		/* came from the state file: counted since then only */
	pg_atomic_uint64 counts[PF_COUNTS];
} PfGate;

typedef enum PfDoor
{
	PF_NO_DOOR,
	PF_DOOR_STATEMENT,
	PF_DOOR_FUNCTION,
	PF_DOOR_COMMIT
} PfDoor;

/*
 * What a backend shows of itself, by its number.  "commit" is odd from before
 * it passes the door of a commit until after the commit record is written and
 * the transaction is visible; see gates.c.
 */
typedef struct PfGateBackend
{
	pg_atomic_uint64 commit;
	slock_t		mutex;			/* protects the rest */
	int			pid;			/* of who waits, 0: nobody does */
	PfDoor		door;
	uint64		gates;			/* those it waits for */
	TimestampTz since;
	/* who of the target may pass, for yield_after */
	uint64		exempt_from;
	int			exempt_pid;
	/* who is in VACUUM or ANALYZE, 0: nobody; written without the mutex */
	int			vacuum_pid;
} PfGateBackend;

#define PF_GATE_BACKEND_SIZE	128		/* two cache lines, so that neighbours don't share */

typedef union PfGateBackendPadded
{
	PfGateBackend backend;
	char		pad[PF_GATE_BACKEND_SIZE];
} PfGateBackendPadded;

/*
 * "word" is twice the generation, which every change of a gate raises, plus
 * one while any gate stops anybody: the one thing that is read while nothing
 * is frozen.
 */
typedef struct PfGateShared
{
	pg_atomic_uint64 word;
	char		pad[PG_CACHE_LINE_SIZE];
	LWLock	   *lock;			/* protects gates[], but for the counts */
	LWLock	   *file_lock;		/* who changes gates and state file; held while the file is synced */
	ConditionVariable changed;	/* waiters at the doors */
	pg_atomic_uint32 awaited;	/* the database whose journal the launcher waits for, see launcher.c */
	int			nbackends;
	PfGate		gates[PF_GATES];
	PfGateBackendPadded backends[FLEXIBLE_ARRAY_MEMBER];
} PfGateShared;

/* NULL where the library is not preloaded. */
extern PF_HIDDEN PfGateShared *pf_gates;

#define PF_ANY_GATE(word) (((word) & 1) != 0)

/* Registers the shared memory; from _PG_init, while preloading. */
extern void pf_gates_request(void);

/* ---- gates, by the database of their journal and their freeze's id ------- */

/*
 * Takes a place in the table and writes the state file; stops nobody yet.
 * Replaces one of the same freeze.  Raises 53400 where no place is free, and
 * what writing a file raises.
 */
extern void pf_gate_reserve(const PfGateRecord *record);

/* Sets the phase: PF_GATE_DRAINING or PF_GATE_CLOSED.  False: there is none. */
extern bool pf_gate_close(Oid home, int64 id, PfGatePhase phase);

/*
 * Opens: notes it in the state file, then lets everybody go on.  Needs no
 * lock but the two of gates.c, no transaction and no catalog, and opens also
 * where the file can't be written (a WARNING says so).  False: there is no
 * such gate that is closed.
 */
extern bool pf_gate_open(Oid home, int64 id);

/* The same, but only for a freeze that is known to be frozen: for a caller that has not read the journal. */
extern bool pf_gate_open_frozen(Oid home, int64 id);

/* Opens the gates of a database's freezes whose deadline has come. */
extern void pf_gates_open_due(Oid home);

/* Forgets a gate whose freeze is over, in table and file.  False: there is none. */
extern bool pf_gate_remove(Oid home, int64 id);

/* Forgets those that belong to no freeze. */
extern bool pf_gate_remove_without_freeze(void);

/* Notes what has changed of a live gate, in table and file. */
extern bool pf_gate_set_action(Oid home, int64 id, PfGateAction action);
extern bool pf_gate_set_deadline(Oid home, int64 id, TimestampTz thaw_at);	/* the first one says that it is frozen */

/* A copy of a gate; false: there is none. */
extern bool pf_gate_read(Oid home, int64 id, PfGate *copy);

/* Copies all, those that are free too, into gates[PF_GATES]; returns the word that goes with them. */
extern uint64 pf_gate_copy_all(PfGate *gates);

/* For the start of the server, under no lock: what the state file says. */
extern void pf_gates_load(const PfGateRecord *records, int count);

/* ---- the barrier -------------------------------------------------------- */

/* The backends that were committing when a gate was closed. */
typedef struct PfBarrier
{
	int			count;
	struct
	{
		int			number;
		uint64		commit;
	}			backends[FLEXIBLE_ARRAY_MEMBER];
} PfBarrier;

/* Of one database, or of all. */
extern PfBarrier *pf_barrier_begin(Oid database);

/* Drops those that are through; returns how many are left. */
extern int	pf_barrier_look(PfBarrier *barrier);

/* Counts something at each of a set of gates, by their bits. */
extern void pf_gate_count(uint64 gates, PfGateCount count);

#endif							/* PF_GATES_H */
