/*-------------------------------------------------------------------------
 *
 * pg_freeze.h
 *	  The parts of pg_freeze and what each owns.
 *
 * "Freeze" means quiesce: hold a role, schema or database still and put it
 * back exactly.  It has nothing to do with VACUUM FREEZE.
 *
 *	functions.c	the SQL functions: check arguments and privilege, call, return
 *	stop.c		stop_role: a gate and a disconnect
 *	backup.c	those about backups
 *	thawing.c	those about live freezes; arguments.c what they have in common
 *	guc.c		the settings
 *	target.c	what can be frozen: names to OIDs, who may; words
 *	life.c		the life of a freeze: engage, drain, frozen; recovery
 *	thaw.c		thawing, the verdict, the deadline
 *	step.c		transactions that are tried again
 *	journal.c	the rows of freezes; the one transition function; locks
 *	changes.c	the rows of changed objects
 *	strategy.c	the table of strategies and the choice that "auto" makes
 *	revoke.c	the strategy "revoke"
 *	lock.c		the strategy "lock"
 *	holder.c	the process that holds its locks
 *	hold.c		what others ask of it and tell it
 *	wanted.c	which locks those are
 *	waiters.c	who waits for them
 *	pass.c		transactions in flight pass a lock that waits
 *	witness.c	event trigger: what third parties do to privileges meanwhile
 *	ddl.c		event trigger: DDL that no lock stops
 *	objects.c	the catalogs that carry privileges: scan, fetch, update
 *	membership.c	memberships of a role in others
 *	acl.c		arithmetic on ACLs; plain values in, plain values out
 *	leak.c		ways around a freeze, and who else a freeze stops
 *	drain.c		who is in flight
 *	ladder.c	waiting for them, and the ladder that ends them
 *	evict.c		the ladder without a freeze
 *	call.c, worker.c	a request's two sides: caller and background worker
 *	keeper.c	the process that keeps a backup; backups.c how it is found and told
 *	scheduler.c	the sleeping worker: deadlines, recovery, reminders
 *	board.c		where the sleeping worker is found
 *	read_only.c	the strategy "read_only"
 *	disconnect.c	the strategy "disconnect"
 *	values.c	what they change in shared catalogs, and who else holds it
 *	sessions.c	the sessions of a target, as they see them
 *	gate.c		the strategy "gate"
 *	gates.c		its gates in shared memory, and the barrier
 *	statefile.c	its gates on disk
 *	door.c		its doors: hooks of statements, functions and commits
 *	wait.c		being refused, or waiting, at a door
 *	plans.c		what the plan of a query does
 *	belongs.c	which gates stop a session
 *	background.c	autovacuum and logical replication at a gate
 *	login.c		logins at a gate
 *	launcher.c	after a start of the server: a scheduler where one is needed
 *	live.c		every live freeze of the cluster, in shared memory
 *	guard.c		the journal of a live freeze stays
 *
 * Processes.  The caller's backend checks and waits.  A request worker does
 * the freezing or thawing in transactions of its own.  One scheduler per
 * database with a live freeze sleeps, unconnected, until something is due.
 * One holder per database with a live freeze by strategy lock has the locks.
 * A keeper owns the session of a backup that runs.
 *
 * Whoever works on a freeze holds its work lock (journal_lock), so that a
 * freeze being made, a thaw and a recovery never meet.  Everything else that
 * must survive is in the journal: write down, commit, then act.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_FREEZE_H
#define PG_FREEZE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/acl.h"
#include "utils/array.h"

#define PF_NAME "pg_freeze"

/* ---- words ------------------------------------------------------------ */

typedef enum PfKind
{
	PF_ROLE,
	PF_SCHEMA,
	PF_DATABASE,
	PF_CLUSTER
} PfKind;

typedef enum PfMode
{
	PF_WRITE,					/* reads go on */
	PF_ALL						/* nothing goes on */
} PfMode;

/*
 * The states of a freeze and what may follow.  journal_transition() is the
 * one function that moves a freeze; pf_state_may_follow() is this table.
 *
 *	engaging -> draining, aborted
 *	draining -> frozen, aborted
 *	frozen	 -> thawing, thawed, lost
 *	lost	 -> thawing, thawed
 *	thawing  -> thawed
 *
 * frozen -> thawed directly is a thaw inside the caller's transaction.
 */
typedef enum PfState
{
	PF_ENGAGING,
	PF_DRAINING,
	PF_FROZEN,
	PF_THAWING,
	PF_THAWED,
	PF_ABORTED,
	PF_LOST
} PfState;

typedef enum PfOnDrainTimeout
{
	PF_DRAIN_ABORT,
	PF_DRAIN_CANCEL,
	PF_DRAIN_TERMINATE
} PfOnDrainTimeout;

typedef enum PfOnLeak
{
	PF_LEAK_WARN,
	PF_LEAK_ERROR
} PfOnLeak;

/* What work that meets a freeze gets. */
typedef enum PfGateAction
{
	PF_GATE_WAIT,
	PF_GATE_REJECT
} PfGateAction;

/* What becomes of transactions that had written when the gate was closed. */
typedef enum PfGateInFlight
{
	PF_GATE_HOLD,				/* they stop at the next door and stay there */
	PF_GATE_DRAIN				/* they may go on and commit until drain_timeout */
} PfGateInFlight;

typedef struct PfTarget
{
	PfKind		kind;
	PfMode		mode;
	Oid			oid;			/* of the role, schema or database */
	NameData	name;
	bool		only_here;		/* strategy disconnect: a role, in the current database only */
} PfTarget;

struct PfStrategy;
struct PfReply;

/*
 * One freeze, as the journal has it.  Strings live in the memory context in
 * which journal_read() was called.
 */
typedef struct PfFreeze
{
	int64		id;
	Oid			home;			/* the database whose journal it is in */
	char	   *home_schema;	/* of the extension there, quoted; NULL: not known here */
	uint32		home_board;		/* handle of the scheduler's board there; 0: not known here */
	PfTarget	target;
	const struct PfStrategy *strategy;
	PfState		state;
	Oid			owner;			/* role that may thaw it besides superusers */
	char	   *owner_name;
	char	   *label;			/* NULL: none */
	TimestampTz frozen_at;		/* 0: never was */
	TimestampTz thaw_at;		/* 0: not scheduled */
	TimestampTz thawed_at;		/* 0: is not */
	TimestampTz ended_at;		/* thawed or aborted; 0: is live */
	TimestampTz requested_at;
	TimestampTz engaged_at;		/* 0: not yet */
	TimestampTz reminded_at;	/* 0: never */
	TimestampTz retry_at;		/* of a thaw that failed, 0: none did */
	int			thaw_failures;
	int64		changed;		/* objects */
	int			by_pid;			/* of the session that asked for it */
	char	   *end_reason;		/* why it ended, NULL while live */
	char	   *reason;			/* NULL: none */
	XLogRecPtr	frozen_lsn;
	char	   *leaks;			/* one per line, "" if none */
	char	   *gap;			/* what was seen to come back, or NULL */
	char	   *doubt;			/* why that can't be told, set by PfStrategy.broken; NULL: it can */
	bool		is_copy;		/* journal came here by dump, clone or template */
	bool		same_cluster;	/* system identifier is this server's */
	bool		promoted;		/* this was a standby, or recovered from a backup, since */
	TimestampTz retaken_at;		/* lost, but in force again; 0: not */
	bool		stays_lost;
	PfGateAction action;
	PfGateInFlight in_flight;
	int			max_wait;		/* ms, 0: for ever; this and the next two are of strategy gate */
	int			notice_after;	/* ms, -1: never */
	int			yield_after;	/* ms, -1: never */
	bool		superusers;		/* their sessions are ended too; this and the next are of what recycles sessions */
	bool		keep_read_only; /* leaves those alone that were read-only by their settings */
	bool		backup_over;	/* that it was made for */
} PfFreeze;

/* What a freeze call asks for, settings already resolved by the caller. */
typedef struct PfOptions
{
	int			drain_timeout;	/* ms */
	PfOnDrainTimeout on_drain_timeout;
	/* how long each rung of the ladder has, in ms */
	int			log_after;		/* from the beginning of the drain until the log names who is in the way, -1: never */
	int			idle_wait;		/* that a session is idle before it is ended */
	int			idle_in_transaction_wait;
	int			cancel_wait;
	int			terminate_wait;
	bool		superusers;		/* their sessions are ended too */
	bool		keep_read_only;
	bool		persist;		/* the last rung is climbed again and again */
	int64		thaw_after;		/* us, 0: not scheduled */
	PfOnLeak	on_leak;
	int			attempts;
	bool		lock_standbys;	/* the caller's setting of that name */
	PfGateAction action;
	PfGateInFlight in_flight;
	int			max_wait;		/* ms, 0: for ever */
	int			notice_after;	/* ms, -1: never */
	int			yield_after;	/* ms, -1: never */
} PfOptions;

/* Who called, for the journal. */
typedef struct PfCaller
{
	Oid			role;			/* current user */
	NameData	role_name;
	NameData	session_user;
	char		application[NAMEDATALEN];
	char		client_addr[64];	/* "": local */
	char		timezone[TZ_STRLEN_MAX + 1];	/* of the times in messages */
	int			pid;
} PfCaller;

/* What thawing did, counted in objects. */
typedef struct PfRestore
{
	int64		restored;
	int64		skipped;
	int64		passed;			/* stay taken, for another live freeze */
} PfRestore;

/* ---- strategies ------------------------------------------------------- */

/*
 * Receives one row of a dry run: an object and what would change there;
 * "relation" is InvalidOid for what is no relation or column.  Without a kind
 * it is not an object but the reason for which the freeze would be refused.
 */
typedef void (*PfEmit) (void *arg, Oid relation, const char *kind, const char *object, const char *detail);

/*
 * A strategy.  engage, release and intact run inside a transaction of the
 * caller's of this table, with the superuser's rights.
 */
typedef struct PfStrategy
{
	const char *name;
	bool		kinds[4];		/* by PfKind */
	bool		modes[2];		/* by PfMode */
	bool		rejects;		/* blocked work gets an error, else it waits */

	/*
	 * It has no objects but doors: it stops sessions in whatever database they
	 * are, so the target may be another one; action and in_flight are as the
	 * freeze has them.  What "done" and "told" say takes the place of a number
	 * of objects.
	 */
	bool		doors;

	/* It works on what all databases share: the target may be another database. */
	bool		anywhere;

	/*
	 * Its drain ends the target's sessions, all that were there when the door
	 * was closed: those that are idle at once, the others when their transaction
	 * is over.  Who is in the way is who of them is still there, see sessions.h.
	 */
	bool		recycles;
	const char *done;			/* what engage does to objects: "changed" */
	const char *intact;			/* what the verdict says when nothing was seen */

	/* Raises 55000 where freezing this target is refused, in the caller.  NULL: never. */
	void		(*admit) (const PfTarget *target);

	/* Emits a row per object that engage would change; changes nothing. */
	void		(*check) (const PfTarget *target, PfEmit emit, void *arg);

	/*
	 * Closes the door and journals what it changed.  Returns the number of
	 * objects; *covered counts objects that another live freeze holds and
	 * this one now holds too.  Raises 55P03 where an object is in use.
	 * Called again in state draining, for what has appeared meanwhile.
	 */
	int64		(*engage) (PfFreeze *freeze, int64 *covered);

	/*
	 * Whether the drain is over, NULL where that is when nobody is in flight
	 * any more.  Called again and again, outside a transaction.
	 */
	bool		(*drained) (PfFreeze *freeze);

	/*
	 * Who keeps a drain from ending (List of PfBlocker *), NULL where drain.c
	 * knows.  freeze_id is 0 in a dry run.
	 */
	List	   *(*blockers) (const PfTarget *target, int64 freeze_id);

	/*
	 * Lets the target go on before anything is written down; outside a
	 * transaction.  NULL: release does.
	 */
	void		(*open) (int64 id);

	/* Puts back what the journal says and deletes or marks those rows. */
	void		(*release) (PfFreeze *freeze, PfRestore *result);

	/*
	 * What is left to do once what was changed has been put back and that is
	 * committed, outside a transaction, for up to "patience" ms; below 0: it is not
	 * committed yet, and this only says what is left to do.  "caller" is the pid of
	 * the session that thaws, 0: there is none.  NULL: nothing.
	 */
	void		(*released) (PfFreeze *freeze, int caller, int patience, struct PfReply *reply);

	/*
	 * What is left to do once the end of a freeze is committed, outside a
	 * transaction; and what to do so that it happens when the current
	 * transaction commits.  NULL: nothing.
	 */
	void		(*settle) (int64 id);
	void		(*settle_at_commit) (int64 id);

	/* What else the NOTICE of a freeze says, or NULL; in a transaction. */
	char	   *(*told) (PfFreeze *freeze);

	/*
	 * Since when the target of a freeze in hold goes on, for somebody has begun
	 * to thaw it, 0: it doesn't.  If he doesn't come to write it down, the
	 * scheduler does.  Outside a transaction too.  NULL: it never goes on before
	 * the journal says so.
	 */
	TimestampTz (*gone_on) (PfFreeze *freeze);

	/* Takes note of a new action that is committed.  NULL: can't change it. */
	void		(*alter) (int64 id, PfGateAction action);

	/* Takes note of a new deadline that is committed, 0: none.  NULL: needs none. */
	void		(*deadline) (int64 id, TimestampTz at);

	/*
	 * Looks after a freeze that is frozen or lost; outside a transaction, with
	 * the work lock.  Returns in how many ms it wants to be called again, 0: no
	 * wish.  NULL: what the strategy changed stays by itself.
	 */
	int			(*attend) (PfFreeze *freeze);

	/*
	 * NULL while the freeze is in force, else what came back; *checked is the
	 * number of objects looked at.  May set freeze->doubt.
	 */
	char	   *(*broken) (PfFreeze *freeze, int64 *checked);

	/*
	 * What the evidence of a verdict begins with; NULL: the number of objects.
	 * *lsn is the end of the WAL, or is set to where it was when the target went
	 * on.
	 */
	char	   *(*evidence) (PfFreeze *freeze, int64 checked, XLogRecPtr *lsn);

	/* Lines for the leak list and the list of who else is stopped. */
	List	   *(*leaks) (const PfTarget *target);
	List	   *(*also_stops) (const PfTarget *target);
} PfStrategy;

extern const PfStrategy pf_revoke;
extern const PfStrategy pf_lock;
extern const PfStrategy pf_gate;
extern const PfStrategy pf_read_only;
extern const PfStrategy pf_disconnect;

/* A leak or a side effect: code is stable and documented, text is for people. */
typedef struct PfNote
{
	const char *code;
	char	   *text;
	bool		ordinary;		/* the target's ordinary writes pass this way */
} PfNote;

/* strategy.c */
extern const PfStrategy *pf_strategy_named(const char *name);
extern const PfStrategy *pf_strategy_choose(const char *name,
											const PfTarget *target, char **why);

extern char *pf_notes_text(List *notes);

/* ---- target.c --------------------------------------------------------- */

extern const char *pf_kind_name(PfKind kind);
extern PfKind pf_kind_parse(const char *text);
extern const char *pf_mode_name(PfMode mode);
extern PfMode pf_mode_parse(const char *text);
extern const char *pf_action_name(PfGateAction action);
extern PfGateAction pf_action_parse(const char *text);
extern const char *pf_in_flight_name(PfGateInFlight in_flight);
extern PfGateInFlight pf_in_flight_parse(const char *text);
extern Oid	pf_target_oid(const PfTarget *target, bool missing_ok);
extern void pf_target_resolve(PfTarget *target);
extern void pf_target_check_permission(const PfTarget *target);
extern char *pf_target_text(const PfTarget *target);

/* ---- acl.c ------------------------------------------------------------ */

/* ACL_DAT() of an array that, like every ACL, has one dimension and no nulls */
#define PF_ACL_ITEMS(acl) ((AclItem *) ((char *) (acl) + ARR_OVERHEAD_NONULLS(1)))

/* Whose bits a freeze takes. */
typedef struct PfGrantee
{
	bool		everybody;		/* PUBLIC included */
	Oid			role;			/* when not everybody */
} PfGrantee;

extern Acl *pf_acl_take(const Acl *acl, PfGrantee who, AclMode mask);
extern Acl *pf_acl_difference(const Acl *before, const Acl *after);
extern Acl *pf_acl_give_back(const Acl *current, const Acl *taken, const Acl *order);
extern bool pf_acl_equal(const Acl *a, const Acl *b);
extern Acl *pf_acl_without_missing_roles(const Acl *acl, int *missing);
extern bool pf_acl_has(const Acl *acl, Oid role, AclMode mask);
extern char *pf_acl_out(const Acl *acl);
extern Acl *pf_acl_in(const char *text, Oid (*map_role) (Oid role, void *arg), void *arg);
extern char *pf_acl_describe(const Acl *taken);

#endif							/* PG_FREEZE_H */
