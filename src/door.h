/*-------------------------------------------------------------------------
 *
 * door.h
 *	  The three doors of strategy "gate": statements, functions, commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_DOOR_H
#define PF_DOOR_H

#include "gates.h"

/* Installs the hooks; from _PG_init, while preloading. */
extern void pf_doors_install(void);

/* In a process of pg_freeze itself: passes every door, uncounted. */
extern void pf_doors_pass_always(void);

/* For whoever is stopped: opens a gate whose deadline passed some time ago.  True: it is open now. */
extern bool pf_gate_open_overdue(const PfGate *gate);

/* "role shop is frozen" */
extern char *pf_gate_frozen_text(const PfGate *gate);

/* Shows that this process waits, and for which gates; the end of its transaction takes it back. */
extern void pf_door_show(PfDoor door, uint64 gates, TimestampTz since);
extern void pf_door_show_no_more(void);

/* About a gate, for DETAIL and HINT; also while somebody logs in. */
extern char *pf_gate_detail(const PfGate *gate);
extern char *pf_gate_hint(const PfGate *gate);

/* The same about a freeze that is not by strategy gate. */
extern char *pf_frozen_detail(int64 id, Oid home, const char *by, TimestampTz since, TimestampTz until, const char *reason);
extern char *pf_frozen_hint(int64 id, Oid home);

/* guard.c: 55006 for DROP DATABASE of a database with the journal of a live gate. */
extern void pf_guard_drop_database(const DropdbStmt *statement);

#endif							/* PF_DOOR_H */
