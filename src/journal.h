/*-------------------------------------------------------------------------
 *
 * journal.h
 *	  The catalog tables in which freezes are written down.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_JOURNAL_H
#define PF_JOURNAL_H

#include "pg_freeze.h"
#include "storage/itemptr.h"
#include "worker.h"

/*
 * SPI as the superuser with a search_path that nobody can bend.  Nothing to
 * put back after an ERROR: transaction abort does.
 */
typedef struct PfSpi
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} PfSpi;

/* Above 0 between pf_spi_begin() and the end of that: pg_freeze asks, not the session. */
extern int	pf_asking;

extern PfSpi pf_spi_begin(void);
extern void pf_spi_end(PfSpi spi);

/* One journaled change of an object's privileges. */
typedef struct PfChange
{
	Oid			classid;
	Oid			objid;
	int32		objsubid;
	char	   *kind;
	ArrayType  *names;
	ArrayType  *args;
	Oid			owner;
	char	   *before;			/* as pf_acl_out() writes it; NULL: default */
	char	   *after;
	ItemPointerData tid;		/* of the journal's row, when read from it */
} PfChange;

/* Where changes are read and written; lives in a transaction. */
typedef struct PfChanges PfChanges;
typedef void (*PfChangeFunc) (PfChange *change, void *arg);

extern PfChanges *journal_changes_open(void);
extern void journal_changes_close(PfChanges *changes);
extern void journal_change_add(PfChanges *changes, int64 id, const PfChange *change);
extern void journal_changes_scan(PfChanges *changes, int64 id, PfChangeFunc func, void *arg);
extern bool journal_change_find(PfChanges *changes, int64 id, Oid classid, Oid objid, int32 objsubid, PfChange *change);
extern void journal_change_replace(PfChanges *changes, const PfChange *change, const char *before, const char *after);
extern void journal_change_done(PfChanges *changes, const PfChange *change, const char *outcome);
extern void journal_roles_write(int64 id);
extern List *journal_roles_read(int64 id);

/* An entry of freeze_journal_role: a role at the time of the freeze, and now. */
typedef struct PfRoleName
{
	Oid			then;
	Oid			now;			/* InvalidOid: no role of that name */
} PfRoleName;

extern char *journal_schema(void);
extern bool journal_exists(void);
extern Oid	journal_namespace(void);
extern Oid	journal_relation(const char *name);
extern void journal_execute(const char *sql, int nargs, Oid *types, Datum *values,
							const char *nulls, bool read_only);
extern int64 journal_begin(const PfRequest *request, List *leaks, List *also_stops);
extern PfFreeze *journal_read(int64 id);
extern PfFreeze *journal_read_existing(int64 id);
extern List *journal_ids(const char *condition, int nargs, Oid *types, Datum *values);
extern List *journal_live_others(int64 id);
extern bool journal_lock(int64 id, bool wait);
extern void journal_lock_for_transaction(int64 id);
extern void journal_lock_changes(void);
extern void journal_await_changes(void);
extern void journal_unlock(int64 id);
extern char *journal_also_stops(int64 id);
extern void journal_set(int64 id, const char *assignments, int nargs, Oid *types, Datum *values, const char *nulls);
extern void journal_note_gap(int64 id, const char *what);
extern void journal_forget_gaps(int64 id);
extern void journal_transition(PfFreeze *freeze, PfState to, const char *detail);
extern bool pf_state_may_follow(PfState from, PfState to);
extern const char *pf_state_name(PfState state);
extern PfState pf_state_parse(const char *text);
extern bool pf_state_is_live(PfState state);

#endif							/* PF_JOURNAL_H */
