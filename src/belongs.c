/*-------------------------------------------------------------------------
 *
 * belongs.c
 *	  Which gates stop this session.
 *
 * Worked out when a gate is closed and something has changed since the last
 * time: the gates (the word in shared memory), as whom the transaction acts,
 * memberships, settings.  Between that a statement compares a few numbers.
 *
 * As whom a transaction acts is noted at each statement, also while nothing
 * is frozen, and without looking at a catalog: SET ROLE and SECURITY DEFINER
 * are over by the time of the commit, and a gate may be closed in between.
 * Where the server itself acts as the owner of a table (foreign-key checks,
 * maintenance) that doesn't count.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "belongs.h"
#include "access/htup_details.h"
#include "catalog/pg_auth_members.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "port.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define MAX_IDENTITIES	16		/* of one transaction; more: belongs to every role */

Oid			pf_noted_user = InvalidOid;

static Oid	identities[MAX_IDENTITIES];
static int	n_identities = 0;
static bool too_many = false;
static bool has_others = false;	/* identities besides the session's user */

/* What the answer is good for. */
static struct
{
	bool		valid;
	bool		has_gates;
	uint64		word;
	Oid			session_user;
	Oid			current_user;
	int			n_identities;
	bool		recovery;
	PfBelongs	answer;
	PfGate		gates[PF_GATES];
}			known;

static bool watching = false;
static uint64 forgotten = 0;	/* how often something was */

/* ---- identities --------------------------------------------------------- */

static void
add_identity(Oid user)
{
	for (int i = 0; i < n_identities; i++)
		if (identities[i] == user)
			return;
	if (n_identities < MAX_IDENTITIES)
		identities[n_identities++] = user;
	else
		too_many = true;
}

/* Whether the server acts as somebody by itself. */
static bool
server_acts(void)
{
	return InSecurityRestrictedOperation() || InNoForceRLSOperation();
}

/* See belongs.h. */
bool
pf_belongs_note_another(void)
{
	if (server_acts() || pf_asking > 0)
		return false;
	pf_noted_user = GetUserId();
	add_identity(pf_noted_user);
	has_others = n_identities > 1 || pf_noted_user != GetSessionUserId();
	return has_others;
}

/*
 * See belongs.h.  The session's user alone stays noted, so that nothing has to
 * be done in most transactions; after SET SESSION AUTHORIZATION the next one
 * counts as his, too.
 */
void
pf_belongs_end_transaction(void)
{
	if (!has_others)
		return;
	pf_noted_user = InvalidOid;
	n_identities = 0;
	too_many = false;
	has_others = false;
}

/* As whom the session acts now; within what the server does by itself, as who asked for it. */
static Oid
acting_user(void)
{
	return server_acts() ? GetOuterUserId() : GetUserId();
}

/* ---- roles -------------------------------------------------------------- */

/* See belongs.h. */
bool
pf_role_belongs(Oid role, Oid target)
{
	List	   *found = list_make1_oid(role);
	ListCell   *cell;

	/* the list grows while it is walked */
	foreach(cell, found)
	{
		Oid			member = lfirst_oid(cell);
		CatCList   *memberships;

		if (member == target)
			return true;
		memberships = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(member));
		for (int i = 0; i < memberships->n_members; i++)
		{
			Form_pg_auth_members membership = (Form_pg_auth_members) GETSTRUCT(&memberships->members[i]->tuple);

			if (pf_membership_counts(membership))
				found = list_append_unique_oid(found, membership->roleid);
		}
		ReleaseSysCacheList(memberships);
	}
	return false;
}

/* See belongs.h. */
bool
pf_role_is_exempt(const char *role_name)
{
	char	   *names;
	List	   *list;
	ListCell   *cell;

	if (pf_guc_exempt_roles == NULL || pf_guc_exempt_roles[0] == '\0')
		return false;
	names = pstrdup(pf_guc_exempt_roles);
	if (SplitIdentifierString(names, ',', &list))
		foreach(cell, list)
			if (strcmp(lfirst(cell), role_name) == 0)
				return true;
	return false;
}

/* ---- the answer --------------------------------------------------------- */

/* See belongs.h. */
bool
pf_is_pass(const PfGateRecord *record, const char *pass)
{
	return pass && strlen(pass) == PF_PASS_LENGTH &&
		timingsafe_bcmp(pass, record->pass, PF_PASS_LENGTH) == 0;
}

static bool
is_covered(const PfGateRecord *record, Oid session_user)
{
	switch (record->cause)
	{
		case PF_CAUSE_DAMAGE:
			return true;
		case PF_CAUSE_PROMOTION:
			return pf_guc_on_promote == PF_PROMOTE_KEEP;
		case PF_CAUSE_FREEZE:
			break;
	}
	switch (record->target.kind)
	{
		case PF_CLUSTER:
			return true;
		case PF_DATABASE:
			return record->target.oid == MyDatabaseId;
		case PF_ROLE:
			if (too_many || pf_role_belongs(session_user, record->target.oid))
				return true;
			for (int i = 0; i < n_identities; i++)
				if (pf_role_belongs(identities[i], record->target.oid))
					return true;
			return OidIsValid(known.current_user) && pf_role_belongs(known.current_user, record->target.oid);
		case PF_SCHEMA:
			break;
	}
	return false;
}

/* See belongs.h. */
void
pf_belongs_forget(void)
{
	known.valid = false;
	forgotten++;
}

static void
forget(Datum arg, int cacheid, uint32 hash)
{
	pf_belongs_forget();
}

static void
work_out(void)
{
	Oid			session_user = GetSessionUserId();
	bool		superuser = superuser_arg(session_user);
	bool		exempt;
	char	   *name;
	PfGateBackend *me = &pf_gates->backends[MyProcNumber].backend;
	PfBelongs	answer = {0, 0};
	uint64		before;

	if (!watching)
	{
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget, (Datum) 0);
		watching = true;
	}
	/* a membership from before the gate was closed, which this transaction need not have heard of */
	AcceptInvalidationMessages();
	before = forgotten;
	known.valid = false;
	if (!known.has_gates || known.word != pg_atomic_read_u64(&pf_gates->word))
		known.word = pf_gate_copy_all(known.gates);
	known.has_gates = true;
	known.session_user = session_user;
	known.current_user = acting_user();
	known.n_identities = n_identities;
	known.recovery = RecoveryInProgress();
	name = GetUserNameFromId(session_user, true);
	exempt = name && pf_role_is_exempt(name);

	for (int i = 0; i < PF_GATES && !known.recovery; i++)
	{
		const PfGate *gate = &known.gates[i];
		uint64		bit = UINT64CONST(1) << i;

		if ((gate->phase != PF_GATE_CLOSED && gate->phase != PF_GATE_DRAINING) ||
			!is_covered(&gate->record, session_user))
			continue;
		answer.covered |= bit;
		if (!exempt && !pf_is_pass(&gate->record, pf_guc_pass) &&
			!(superuser && gate->record.target.mode == PF_ALL && gate->record.target.kind != PF_ROLE))
			answer.stopped |= bit;
	}
	known.answer = answer;
	/* not if something changed while the catalogs were read */
	known.valid = forgotten == before;

	SpinLockAcquire(&me->mutex);
	me->exempt_pid = MyProcPid;
	me->exempt_from = answer.covered & ~answer.stopped;
	SpinLockRelease(&me->mutex);
}

/* See belongs.h. */
PfBelongs
pf_belongs(void)
{
	if (!known.valid || known.word != pg_atomic_read_u64(&pf_gates->word) ||
		known.session_user != GetSessionUserId() || known.current_user != acting_user() ||
		known.n_identities != n_identities || known.recovery != RecoveryInProgress())
		work_out();
	return known.answer;
}

/* See belongs.h. */
const PfGate *
pf_belongs_gate(int number)
{
	return &known.gates[number];
}

/* See belongs.h. */
uint64
pf_belongs_word(void)
{
	return known.word;
}

/* See belongs.h. */
PfBelongs
pf_belongs_to_role(Oid role)
{
	PfBelongs	answer = pf_belongs();
	uint64		passed = answer.covered & ~answer.stopped;
	char	   *name = GetUserNameFromId(GetSessionUserId(), true);
	bool		exempt = name && pf_role_is_exempt(name);

	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGate *gate = &known.gates[i];
		uint64		bit = UINT64CONST(1) << i;

		if ((gate->phase != PF_GATE_CLOSED && gate->phase != PF_GATE_DRAINING) ||
			gate->record.cause != PF_CAUSE_FREEZE || gate->record.target.kind != PF_ROLE ||
			!pf_role_belongs(role, gate->record.target.oid))
			continue;
		answer.covered |= bit;
		if (!exempt && (passed & bit) == 0 && !pf_is_pass(&gate->record, pf_guc_pass))
			answer.stopped |= bit;
	}
	return answer;
}
