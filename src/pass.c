/*-------------------------------------------------------------------------
 *
 * pass.c
 *	  Lets transactions in flight pass a process that waits for a strong lock.
 *
 * A lock that waits makes everybody else wait behind it: those who are about to
 * begin, which is what it is for, and those who hold locks elsewhere and want
 * this one in order to finish, which is how a freeze and an application that
 * takes its tables in random order keep each other from getting anywhere.  The
 * lock manager can't tell the two apart; but who has written has a transaction
 * id.
 *
 * The order of a wait queue is the deadlock detector's to change, when that
 * breaks a circle (DeadLockCheck()); what is done here is the same, with the
 * same functions and under the same lock, only sooner.  Any order of a queue is
 * a correct one.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "pass.h"

/* See pass.h. */
int
pf_let_pass(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);
	LOCK	   *lock = proc ? proc->waitLock : NULL;
	LOCKTAG		tag;
	LWLock	   *partition;
	int			behind = -1;
	bool		moved = false;

	if (lock == NULL)
		return -1;

	/* not ours to read yet; locks live in memory that stays, so it is only perhaps wrong */
	tag = lock->tag;
	partition = LockHashPartitionLock(LockTagHashCode(&tag));
	LWLockAcquire(partition, LW_EXCLUSIVE);
	if (proc->pid == pid && proc->waitLock == lock && memcmp(&lock->tag, &tag, sizeof(LOCKTAG)) == 0)
	{
		PGPROC	   *next;

		behind = 0;
		for (PGPROC *waiter = pf_queue_next(lock, proc); waiter; waiter = next)
		{
			next = pf_queue_next(lock, waiter);
			if (TransactionIdIsValid(waiter->xid))
			{
				pf_queue_move_before(lock, waiter, proc);
				moved = true;
			}
			else
				behind++;
		}
		if (moved)
			ProcLockWakeup(GetLocksMethodTable(lock), lock);
	}
	LWLockRelease(partition);
	return behind;
}

/* See pass.h.  Reads without a lock: somebody may begin or end just now. */
bool
pf_anybody_has_written(int pid)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = GetPGProcByNumber(i);

		if (proc->pid != 0 && proc->pid != pid && proc->databaseId == MyDatabaseId &&
			TransactionIdIsValid(proc->xid))
			return true;
	}
	return false;
}
