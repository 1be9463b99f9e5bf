/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between server versions, in the newest server's spelling.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_COMPAT_H
#define PF_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "pg_freeze needs PostgreSQL 15 or later"
#endif

/* needs a header that need not be installed; a Port looks the same without */
#undef ENABLE_GSS

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_default_acl.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

/* For variables that are read with every statement: reading a hidden one takes one instruction less. */
#define PF_HIDDEN __attribute__((visibility("hidden")))

/* For what is rare and called from there; a copy with other arguments would make the caller shuffle them. */
#if defined(__GNUC__) && !defined(__clang__)
#define PF_OUT_OF_LINE pg_noinline __attribute__((noclone))
#else
#define PF_OUT_OF_LINE pg_noinline
#endif

/* 17: the privilege to maintain a relation */
#if PG_VERSION_NUM < 170000
#define ACL_MAINTAIN 0
#endif

/* 18: default privileges for large objects */
#ifndef DEFACLOBJ_LARGEOBJECT
#define DEFACLOBJ_LARGEOBJECT 'L'
#endif

/* 16: a membership can be kept without being of use */
#if PG_VERSION_NUM >= 160000
#define PF_MEMBERSHIP_OPTIONS
#endif

/* 16: a member may lack the right to SET ROLE.  Whether a role may use another's privileges, by itself or so. */
static inline bool
pf_role_acts_as(Oid role, Oid other)
{
#if PG_VERSION_NUM >= 160000
	return has_privs_of_role(role, other) || member_can_set_role(role, other);
#else
	return is_member_of_role(role, other);
#endif
}

/* 17: a second predefined role that changes every relation. */
static inline bool
pf_role_writes_everything(Oid role)
{
#if PG_VERSION_NUM >= 170000
	if (pf_role_acts_as(role, ROLE_PG_MAINTAIN))
		return true;
#endif
	return pf_role_acts_as(role, ROLE_PG_WRITE_ALL_DATA);
}

/* 16: a membership may be of no use but to grant it */
static inline bool
pf_membership_counts(Form_pg_auth_members membership)
{
#if PG_VERSION_NUM >= 160000
	return membership->inherit_option || membership->set_option;
#else
	return true;
#endif
}

/* The same in SQL. */
#ifdef PF_MEMBERSHIP_OPTIONS
#define PF_SQL_MEMBERSHIP_COUNTS(m) "(" m ".inherit_option OR " m ".set_option)"
#else
#define PF_SQL_MEMBERSHIP_COUNTS(m) "true"
#endif

/* 19: WAIT FOR */
#if PG_VERSION_NUM >= 190000
#define PF_CASE_WAIT_FOR case T_WaitStmt:
#else
#define PF_CASE_WAIT_FOR
#endif

/* 19: checkpoints that don't take their time are called fast */
#ifndef CHECKPOINT_FAST
#define CHECKPOINT_FAST CHECKPOINT_IMMEDIATE
#endif

/* 18: ExecutorRun() can be called again always */
#if PG_VERSION_NUM >= 180000
#define PF_EXECUTE_ONCE_PARAMETER
#define PF_EXECUTE_ONCE
#else
#define PF_EXECUTE_ONCE_PARAMETER , bool execute_once
#define PF_EXECUTE_ONCE , execute_once
#endif

/* 16: which permissions a plan asks for is a list of its own */
#if PG_VERSION_NUM >= 160000
#define PfPlanPermission RTEPermissionInfo
#define pf_plan_permissions(plan) ((plan)->permInfos)
#else
#define PfPlanPermission RangeTblEntry
#define pf_plan_permissions(plan) ((plan)->rtable)
#endif

/* 17: pg_logical_emit_message() can flush */
#if PG_VERSION_NUM < 170000
#define F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT_BOOL F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT
#define F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA_BOOL F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA
#endif

/* 16: a setting is found by name */
#if PG_VERSION_NUM >= 160000
#define pf_guc_source(name) (find_option(name, false, true, 0)->source)
#else
static inline int
pf_guc_source(const char *name)
{
	struct config_generic **all = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i]->source;
	return PGC_S_DEFAULT;
}
#endif

/* 17: places where a test can stop or fail the server */
#if PG_VERSION_NUM >= 180000
#include "utils/injection_point.h"
#define PF_INJECTION_POINT(name) INJECTION_POINT(name, NULL)
#elif PG_VERSION_NUM >= 170000
#include "utils/injection_point.h"
#define PF_INJECTION_POINT(name) INJECTION_POINT(name)
#else
#define PF_INJECTION_POINT(name) ((void) 0)
#endif

/* 17: wait events of extensions have names, and a process knows its number */
#if PG_VERSION_NUM < 170000
#define WaitEventExtensionNew(name) PG_WAIT_EXTENSION
#define MyProcNumber (MyProc->pgprocno)
#define pf_proc_number(proc) ((proc)->pgprocno)
#else
#define pf_proc_number(proc) GetNumberFromPGProc(proc)
#endif

/* 17: the local part of the virtual transaction id */
#if PG_VERSION_NUM < 170000
#define pf_proc_lxid(proc) ((proc)->lxid)
#else
#define pf_proc_lxid(proc) ((proc)->vxid.lxid)
#endif

/* 17: what kind of process this is, asked in one way; a time limit for transactions */
#if PG_VERSION_NUM < 170000
#include "postmaster/autovacuum.h"
#define AmAutoVacuumWorkerProcess() IsAutoVacuumWorkerProcess()
#define pf_disable_transaction_timeout() ((void) 0)
#else
#include "utils/timeout.h"
#define pf_disable_transaction_timeout() disable_timeout(TRANSACTION_TIMEOUT, false)
#endif

/* 16: one function for all kinds of objects; here for databases only */
#if PG_VERSION_NUM < 160000
#define object_ownercheck(classid, objid, role) pg_database_ownercheck(objid, role)
#endif

/* 19: GRANTED BY */
#if PG_VERSION_NUM >= 190000
#define pf_select_best_grantor(grant, privileges, acl, owner, by, options) \
	select_best_grantor((grant)->grantor, privileges, acl, owner, by, options)
#else
#define pf_select_best_grantor(grant, privileges, acl, owner, by, options) \
	select_best_grantor(GetUserId(), privileges, acl, owner, by, options)
#endif

/* 17: processes have numbers instead of backend ids */
#if PG_VERSION_NUM >= 170000
#include "storage/procarray.h"
#define pf_vxid_proc(vxid) ProcNumberGetProc((vxid).procNumber)
#else
#include "storage/sinvaladt.h"
#define pf_vxid_proc(vxid) BackendIdGetProc((vxid).backendId)
#endif

/*
 * The queue of those who wait for a lock, under its partition's lock.
 * 16: dclist instead of SHM_QUEUE; 19: PGPROC.waitLink instead of links.
 */
#if PG_VERSION_NUM >= 190000
#define pf_wait_link waitLink
#else
#define pf_wait_link links
#endif

static inline PGPROC *
pf_queue_next(LOCK *lock, PGPROC *proc)
{
#if PG_VERSION_NUM >= 160000
	return dclist_has_next(&lock->waitProcs, &proc->pf_wait_link) ?
		dlist_container(PGPROC, pf_wait_link, dclist_next_node(&lock->waitProcs, &proc->pf_wait_link)) : NULL;
#else
	return (PGPROC *) SHMQueueNext(&lock->waitProcs.links, &proc->pf_wait_link, offsetof(PGPROC, pf_wait_link));
#endif
}

static inline void
pf_queue_move_before(LOCK *lock, PGPROC *proc, PGPROC *other)
{
#if PG_VERSION_NUM >= 160000
	dclist_delete_from(&lock->waitProcs, &proc->pf_wait_link);
	dclist_insert_before(&lock->waitProcs, &other->pf_wait_link, &proc->pf_wait_link);
#else
	SHMQueueDelete(&proc->pf_wait_link);
	SHMQueueInsertBefore(&other->pf_wait_link, &proc->pf_wait_link);
#endif
}

/*
 * The end of the last WAL record, which XLogFlush() can reach: at the start
 * of a page GetXLogInsertRecPtr() is already behind the page's header.
 * Recent minor releases have GetXLogInsertEndRecPtr() for this.
 */
static inline XLogRecPtr
pf_wal_end(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/* The part of a file's modification time that is less than a second, in ns. */
#if defined(WIN32)
#define pf_stat_mtime_ns(st) 0
#elif defined(__APPLE__)
#define pf_stat_mtime_ns(st) ((st)->st_mtimespec.tv_nsec)
#else
#define pf_stat_mtime_ns(st) ((st)->st_mtim.tv_nsec)
#endif

/* The record of pages that are pruned while they are read, as 17 calls it. */
#if PG_VERSION_NUM < 170000
#define XLOG_HEAP2_PRUNE_ON_ACCESS XLOG_HEAP2_PRUNE
#endif

#endif							/* PF_COMPAT_H */
