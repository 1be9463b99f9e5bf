/*-------------------------------------------------------------------------
 *
 * revoke.c
 *	  The strategy "revoke": takes the target's privileges away, object by
 *	  object, and puts back exactly what was there.
 *
 * Engaging and releasing are one transaction each, so a freeze is there whole
 * or not at all; the journal's rows are written in the same transaction.
 * Conflicts with concurrent DDL raise 55P03 and leave nothing; life.c repeats
 * the transaction.
 *
 * Giving an object back.  "before" and "after" are the ACLs on both sides of
 * the freeze's change.  If the catalog still has "after", "before" goes back,
 * NULL included.  Otherwise somebody else changed the ACL meanwhile: what the
 * freeze took (before minus after) is added to what is there.  An owner that
 * changed is substituted in both, as ALTER ... OWNER does in the catalog.
 *
 * What other live freezes cover is not given back but passes to them: each of
 * them takes its share of the restored ACL again, and its row in the journal
 * then promises what this one's did.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_class.h"
#include "catalog/pg_default_acl.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "common/hashfn.h"
#include "compat.h"
#include "journal.h"
#include "leak.h"
#include "membership.h"
#include "objects.h"
#include "revoke.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static PfGrantee
grantee_of(const PfTarget *target)
{
	PfGrantee	who = {target->kind != PF_ROLE, target->kind == PF_ROLE ? target->oid : InvalidOid};

	return who;
}

/*
 * What is left of an object's ACL when the target's share is taken; NULL:
 * there is none.
 */
Acl *
pf_revoke_take(PfCatalogs *catalogs, const PfObject *object, const Acl *acl, const PfTarget *target)
{
	PfObject	with_acl = *object;

	with_acl.acl = unconstify(Acl *, acl);
	if (!pf_object_in_target(catalogs, &with_acl, target))
		return NULL;
	return pf_acl_take(pf_object_effective_acl(&with_acl), grantee_of(target),
					   !target->only_here ? pf_object_mask(object, target->mode) :
					   object->classid == DatabaseRelationId ? ACL_CONNECT : ACL_NO_RIGHTS);
}

/* ---- check ------------------------------------------------------------ */

typedef struct CheckState
{
	PfCatalogs *catalogs;
	const PfTarget *target;
	PfEmit		emit;
	void	   *arg;
} CheckState;

static void
check_object(PfObject *object, void *arg)
{
	CheckState *state = arg;
	Acl		   *after = pf_revoke_take(state->catalogs, object, object->acl, state->target);

	if (after)
		state->emit(state->arg,
					object->classid == RelationRelationId || object->classid == AttributeRelationId ? object->objid : InvalidOid,
					pf_object_kind(object), pf_object_text(object),
					psprintf("takes %s", pf_acl_describe(pf_acl_difference(pf_object_effective_acl(object), after))));
}

static void
check_membership(PfChange *change, HeapTuple tuple, void *arg)
{
	CheckState *state = arg;

	state->emit(state->arg, InvalidOid, change->kind, pf_membership_text(change), "takes the membership");
}

static void
revoke_check(const PfTarget *target, PfEmit emit, void *arg)
{
	CheckState	state = {pf_catalogs_open(), target, emit, arg};

	pf_objects_scan(state.catalogs, target, check_object, &state);
	pf_memberships_scan(target, check_membership, &state);
	pf_catalogs_close(state.catalogs);
}

/* ---- engage ----------------------------------------------------------- */

typedef struct EngageState
{
	PfFreeze   *freeze;
	PfCatalogs *catalogs;
	PfChanges  *changes;
	int64		changed;
	bool		again;			/* after the drain */
} EngageState;

static void
engage_object(PfObject *object, void *arg)
{
	EngageState *state = arg;
	Acl		   *after = pf_revoke_take(state->catalogs, object, object->acl, &state->freeze->target);
	PfChange	change = {0};

	if (after == NULL)
		return;
	/* taken before and granted back by somebody else: the verdict says so */
	if (state->again && journal_change_find(state->changes, state->freeze->id, object->classid,
											object->objid, object->objsubid, &change))
		return;
	change.classid = object->classid;
	change.objid = object->objid;
	change.objsubid = object->objsubid;
	change.kind = unconstify(char *, pf_object_kind(object));
	change.names = pf_object_names(object, &change.args);
	change.owner = object->owner;
	change.before = object->acl ? pf_acl_out(object->acl) : NULL;
	change.after = pf_acl_out(after);
	journal_change_add(state->changes, state->freeze->id, &change);
	pf_object_set_acl(state->catalogs, object, after);
	state->changed++;
}

static void
engage_membership(PfChange *change, HeapTuple tuple, void *arg)
{
	EngageState *state = arg;
	PfChange	before;

	if (state->again && journal_change_find(state->changes, state->freeze->id, change->classid,
											change->objid, change->objsubid, &before))
		return;
	journal_change_add(state->changes, state->freeze->id, change);
	pf_membership_switch_off(tuple, pf_membership_text(change));
	state->changed++;

	/* it outlives this database, whose journal is the only other record of it */
	ereport(LOG,
			(errmsg("pg_freeze: freeze " INT64_FORMAT " takes the %s (%s)", state->freeze->id,
					pf_membership_text(change), change->before),
			 errhint("If this database is dropped before the thaw, grant it again by hand.")));
}

typedef struct CoverState
{
	PfFreeze   *freeze;
	PfCatalogs *catalogs;
	int64		covered;
} CoverState;

/* Counts what another live freeze holds and this one would take otherwise. */
static void
cover_change(PfChange *change, void *arg)
{
	CoverState *state = arg;
	PfObject	object;

	if (change->classid == AuthMemRelationId)
		state->covered += state->freeze->target.kind == PF_ROLE;
	else if (pf_object_fetch(state->catalogs, change->classid, change->objid, change->objsubid, &object) &&
			 pf_revoke_take(state->catalogs, &object, change->before ? pf_acl_in(change->before, NULL, NULL) : NULL,
				  &state->freeze->target))
		state->covered++;
}

/* The other live freezes that take privileges and put them back. */
static List *
others_by_revoke(const PfFreeze *freeze)
{
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, journal_live_others(freeze->id))
	{
		PfFreeze   *other = lfirst(cell);

		if (other->strategy == &pf_revoke || other->target.only_here)
			others = lappend(others, other);
	}
	return others;
}

static int64
revoke_engage(PfFreeze *freeze, int64 *covered)
{
	EngageState state = {freeze, pf_catalogs_open(), journal_changes_open(), 0, freeze->state == PF_DRAINING};
	CoverState	cover = {freeze, state.catalogs, 0};
	ListCell   *cell;

	pf_objects_scan(state.catalogs, &freeze->target, engage_object, &state);
	pf_memberships_scan(&freeze->target, engage_membership, &state);
	if (state.changed == 0 && !state.again)
		foreach(cell, others_by_revoke(freeze))
			journal_changes_scan(state.changes, ((PfFreeze *) lfirst(cell))->id, cover_change, &cover);
	*covered = cover.covered;
	journal_changes_close(state.changes);
	pf_catalogs_close(state.catalogs);
	return state.changed;
}

/* ---- release ---------------------------------------------------------- */

#define DECODED 8

/* An ACL of the journal, and how it came about. */
typedef struct Decoded
{
	MemoryContext context;		/* of what follows */
	char	   *text;
	Oid			owner_then;
	Oid			owner_now;
	Acl		   *acl;
	Acl		   *present;		/* without roles that were dropped */
	int			missing;		/* items of such roles */
} Decoded;

typedef struct ReleaseState
{
	MemoryContext context;		/* for the whole of it */
	PfFreeze   *freeze;
	PfCatalogs *catalogs;
	PfChanges  *changes;
	List	   *others;			/* of PfFreeze *, live */
	List	   *roles;			/* of PfRoleName *, in a copy */
	PfRestore  *result;
	Decoded		before[DECODED];	/* by a hash of the text */
	Decoded		after[DECODED];
} ReleaseState;

static Oid
map_role(Oid role, void *arg)
{
	ListCell   *cell;

	foreach(cell, (List *) arg)
		if (((PfRoleName *) lfirst(cell))->then == role)
			return ((PfRoleName *) lfirst(cell))->now;
	return InvalidOid;
}

/*
 * An ACL of the journal as of now: roles of a copy, owner of today.  Few of a
 * freeze's ACLs differ, so the last ones are kept.
 */
static const Decoded *
journaled_acl(ReleaseState *state, Decoded *kept, const char *text, Oid owner_then, Oid owner_now)
{
	static const Decoded none = {0};
	Decoded    *last;
	MemoryContext old;
	Acl		   *acl;

	if (text == NULL)
		return &none;
	last = &kept[hash_bytes((const unsigned char *) text, strlen(text)) % DECODED];
	if (last->text && strcmp(last->text, text) == 0 &&
		last->owner_then == owner_then && last->owner_now == owner_now)
		return last;

	if (last->context == NULL)
		last->context = AllocSetContextCreate(state->context, "pg_freeze ACL", ALLOCSET_SMALL_SIZES);
	last->text = NULL;
	MemoryContextReset(last->context);
	old = MemoryContextSwitchTo(last->context);
	last->text = pstrdup(text);
	last->owner_then = owner_then;
	last->owner_now = owner_now;
	if (state->freeze->is_copy)
	{
		acl = pf_acl_in(text, map_role, state->roles);
		owner_then = map_role(owner_then, state->roles);
	}
	else
		acl = pf_acl_in(text, NULL, NULL);
	if (OidIsValid(owner_then) && owner_then != owner_now)
		acl = aclnewowner(acl, owner_then, owner_now);
	last->acl = acl;
	last->missing = 0;
	last->present = pf_acl_without_missing_roles(acl, &last->missing);
	MemoryContextSwitchTo(old);
	return last;
}

/* Rewrites a change as ALTER ... OWNER rewrites an ACL, if the owner is another now. */
void
pf_change_follow_owner(PfChange *change, Oid owner)
{
	if (change->owner == owner)
		return;
	if (change->before)
		change->before = pf_acl_out(aclnewowner(pf_acl_in(change->before, NULL, NULL), change->owner, owner));
	change->after = pf_acl_out(aclnewowner(pf_acl_in(change->after, NULL, NULL), change->owner, owner));
	change->owner = owner;
}

/*
 * A dump made while frozen cannot carry grants by a grantor whose grant
 * option the freeze had taken, nor those of their grantees in turn: in a copy
 * they are given back too.
 */
static Acl *
dangling_grants(const Acl *before, const Acl *after)
{
	Acl		   *none = pf_acl_difference(after, after);
	Acl		   *result = none;
	Acl		   *lost = pf_acl_difference(before, after);
	int			known;

	do
	{
		known = ACL_NUM(result);
		for (int t = 0; t < ACL_NUM(lost); t++)
		{
			AclItem    *grantor = PF_ACL_ITEMS(lost) + t;

			for (int i = 0; i < ACL_NUM(after); i++)
			{
				AclItem		item = PF_ACL_ITEMS(after)[i];

				if (item.ai_grantor != grantor->ai_grantee || item.ai_grantee == item.ai_grantor)
					continue;
				result = pf_acl_give_back(result, aclupdate(none, &item, ACL_MODECHG_EQL, item.ai_grantor, DROP_RESTRICT), after);
			}
		}
		lost = result;
	} while (ACL_NUM(result) > known);
	return result;
}

/* "whole" for the journal: NULL where it is the default that NULL stood for. */
static char *
before_text(const PfChange *change, const Acl *whole, const Acl *order)
{
	return change->before == NULL && pf_acl_equal(whole, order) ? NULL : pf_acl_out(whole);
}

/*
 * Passes to another live freeze what it covers of "taken", which is part of
 * "full", the ACL that would go back.  Returns the ACL that is left, full
 * itself if it covers nothing.  What others granted meanwhile stays.
 *
 * The other's row, if it has one, gets in its place also what it does not
 * cover, so that the last thaw finds the whole ACL in its order.
 */
static Acl *
pass_to(ReleaseState *state, PfFreeze *other, const PfChange *change, const PfObject *object,
		Acl *full, const Acl *taken, const Acl *order)
{
	Acl		   *uncovered = pf_revoke_take(state->catalogs, object, taken, &other->target);
	Acl		   *passed = pf_acl_difference(taken, uncovered ? uncovered : taken);
	Acl		   *left = full;
	PfChange	theirs;

	if (uncovered)
		left = pf_acl_difference(full ? full : order, passed);
	if (journal_change_find(state->changes, other->id, change->classid, object->objid, object->objsubid, &theirs))
	{
		Acl		   *before;
		Acl		   *after;

		pf_change_follow_owner(&theirs, object->owner);
		before = theirs.before ? pf_acl_in(theirs.before, NULL, NULL) : acldefault(object->objtype, theirs.owner);
		after = pf_acl_give_back(pf_acl_in(theirs.after, NULL, NULL), taken, before);
		after = pf_acl_difference(after, passed);
		if (theirs.before && strcmp(theirs.before, change->after) == 0)
			theirs.before = change->before;
		else
		{
			Acl		   *whole = pf_acl_give_back(before, taken, order);

			if (!pf_acl_equal(whole, before))
				theirs.before = before_text(change, whole, order);
		}
		journal_change_replace(state->changes, &theirs, theirs.before, pf_acl_out(after));
	}
	else if (uncovered)
	{
		theirs = *change;
		theirs.objid = object->objid;
		theirs.objsubid = object->objsubid;
		theirs.owner = object->owner;
		/* others may have had their part of "full" already */
		theirs.before = full ? before_text(change, pf_acl_give_back(left, passed, order), order) : NULL;
		theirs.after = pf_acl_out(left);
		journal_change_add(state->changes, other->id, &theirs);
	}
	return left ? left : full;
}

/*
 * Whether another freeze took its share of this object on top of this one's:
 * what it will put back is then what this one left.
 */
static bool
is_on_top(ReleaseState *state, const PfFreeze *other, const PfChange *change, const PfObject *object)
{
	PfChange	theirs;

	if (!journal_change_find(state->changes, other->id, change->classid, object->objid, object->objsubid, &theirs))
		return false;
	pf_change_follow_owner(&theirs, object->owner);
	return theirs.before && strcmp(theirs.before, change->after) == 0;
}

/* Finds the object of a change; NULL with *why where there is none. */
static bool
find_object(ReleaseState *state, const PfChange *change, PfObject *object, char **why)
{
	Oid			objid = change->objid;
	int32		objsubid = change->objsubid;

	if (state->freeze->is_copy)
	{
		if (pf_object_is_shared(change->classid) && state->freeze->same_cluster)
		{
			*why = "skipped: belongs to the cluster, not to this copy of the database";
			return false;
		}
		if (!pf_object_find(change->classid, change->kind, change->names, change->args, &objid, &objsubid) &&
			!(change->classid == DefaultAclRelationId && change->after[0] == '\0' &&
			  pf_default_acl_make(change->names, change->args) &&
			  pf_object_find(change->classid, change->kind, change->names, change->args, &objid, &objsubid)))
		{
			*why = "skipped: no object of that name in this copy";
			return false;
		}
	}
	if (!pf_object_fetch(state->catalogs, change->classid, objid, objsubid, object))
	{
		*why = "skipped: dropped meanwhile";
		return false;
	}
	object->objid = objid;
	return true;
}

static char *
release_object(ReleaseState *state, const PfChange *change)
{
	PfObject	object;
	PfChange	followed;
	char	   *why = NULL;
	int			missing = 0;
	bool		untouched;
	bool		passed = false;
	List	   *others;
	const Decoded *decoded;
	Acl		   *before;
	Acl		   *after;
	Acl		   *full;
	Acl		   *base;
	Acl		   *taken;
	ListCell   *cell;

	if (!find_object(state, change, &object, &why))
		return why;
	followed = *change;
	if (!state->freeze->is_copy)
		pf_change_follow_owner(&followed, object.owner);
	decoded = journaled_acl(state, state->before, followed.before, followed.owner, object.owner);
	before = decoded->acl;
	after = journaled_acl(state, state->after, followed.after, followed.owner, object.owner)->acl;
	untouched = pf_acl_equal(object.acl, after);
	if (state->freeze->is_copy && !untouched && pf_object_is_shared(change->classid))
		return "skipped: belongs to the cluster and is not as the freeze left it";

	base = before ? before : pf_object_effective_acl(&(PfObject) {.objtype = object.objtype,.owner = object.owner});
	taken = untouched && state->others == NIL ? NULL : pf_acl_difference(base, after);
	if (untouched)
	{
		full = decoded->present;
		missing = decoded->missing;
	}
	else
	{
		if (state->freeze->is_copy)
			taken = pf_acl_give_back(taken, dangling_grants(base, after), base);
		taken = pf_acl_without_missing_roles(taken, &missing);
		full = pf_acl_give_back(pf_object_effective_acl(&object), taken, base);
		if (before == NULL && pf_acl_equal(full, base))
			full = NULL;
	}

	/* first the one on top: it inherits what this one would put back, NULL included */
	others = state->others;
	foreach(cell, state->others)
		if (is_on_top(state, lfirst(cell), &followed, &object))
			others = lcons(lfirst(cell), list_delete_ptr(list_copy(others), lfirst(cell)));
	foreach(cell, others)
	{
		Acl		   *left = pass_to(state, lfirst(cell), &followed, &object, full, taken, base);

		passed |= left != full;
		full = left;
	}
	full = pf_object_null_acl(&object, full);
	if (!pf_acl_equal(object.acl, full))
		pf_object_set_acl(state->catalogs, &object, full);

	if (missing > 0)
		return psprintf("skipped in part: %d %s of roles that were dropped", missing,
						missing == 1 ? "privilege" : "privileges");
	if (passed)
		return "passed";
	return untouched ? NULL : "merged with changes made meanwhile";
}

static char *
release_membership(ReleaseState *state, const PfChange *change)
{
	ListCell   *cell;
	bool		passed = false;

	if (state->freeze->is_copy)
		return "skipped: belongs to the cluster, not to this copy of the database";
	foreach(cell, state->others)
	{
		PfFreeze   *other = lfirst(cell);
		PfChange	theirs;

		if (passed || other->target.kind != PF_ROLE || other->target.only_here || other->target.oid != state->freeze->target.oid ||
			(other->target.mode == PF_WRITE && state->freeze->target.mode == PF_ALL &&
			 !pf_membership_is_write_only(pf_membership_role(change))))
			continue;
		if (!journal_change_find(state->changes, other->id, change->classid, change->objid, change->objsubid, &theirs))
			journal_change_add(state->changes, other->id, change);
		passed = true;
	}
	return passed ? "passed" : pf_membership_give_back(change);
}

static void
release_change(PfChange *change, void *arg)
{
	ReleaseState *state = arg;
	char	   *outcome = change->classid == AuthMemRelationId ?
		release_membership(state, change) : release_object(state, change);

	if (outcome && strcmp(outcome, "passed") == 0)
	{
		state->result->passed++;
		outcome = NULL;
	}
	else if (outcome && strncmp(outcome, "skipped", 7) == 0)
		state->result->skipped++;
	else
		state->result->restored++;
	journal_change_done(state->changes, change, outcome);
}

/* Takes a membership for another freeze that did not have to before. */
static void
cover_membership(PfChange *change, HeapTuple tuple, void *arg)
{
	EngageState *state = arg;
	PfChange	theirs;

	if (!journal_change_find(state->changes, state->freeze->id, change->classid, change->objid, change->objsubid, &theirs))
		engage_membership(change, tuple, state);
}

/*
 * Roles that carried nothing while this freeze was there carry write
 * privileges again: other freezes now take their target's membership in them.
 */
static void
pass_memberships(ReleaseState *state)
{
	ListCell   *cell;

	foreach(cell, state->others)
	{
		EngageState theirs = {lfirst(cell), state->catalogs, state->changes, 0, false};

		CommandCounterIncrement();
		pf_memberships_scan(&theirs.freeze->target, cover_membership, &theirs);
	}
}

static void
revoke_release(PfFreeze *freeze, PfRestore *result)
{
	ReleaseState state = {.context = CurrentMemoryContext,.freeze = freeze,.catalogs = pf_catalogs_open(),.changes = journal_changes_open()};
	ListCell   *cell;

	state.others = others_by_revoke(freeze);
	state.roles = freeze->is_copy ? journal_roles_read(freeze->id) : NIL;
	state.result = result;
	journal_changes_scan(state.changes, freeze->id, release_change, &state);
	if (!freeze->is_copy)
		pass_memberships(&state);
	journal_changes_close(state.changes);
	pf_catalogs_close(state.catalogs);
	if (result->passed > 0)
	{
		CommandCounterIncrement();
		foreach(cell, state.others)
			journal_roles_write(((PfFreeze *) lfirst(cell))->id);
	}
}

/* ---- still in force? -------------------------------------------------- */

typedef struct BrokenState
{
	CheckState	check;
	StringInfoData text;
	int64		checked;
	int64		back;
} BrokenState;

static void
broken_emit(void *arg, Oid relation, const char *kind, const char *object, const char *detail)
{
	BrokenState *state = arg;

	state->back++;
	if (state->back <= 3)
		appendStringInfo(&state->text, "%s%s on %s", state->back > 1 ? "; " : "",
						 strncmp(detail, "takes ", 6) == 0 ? detail + 6 : detail, object);
}

static void
broken_object(PfObject *object, void *arg)
{
	BrokenState *state = arg;

	state->checked++;
	check_object(object, &state->check);
}

static char *
revoke_broken(PfFreeze *freeze, int64 *checked)
{
	BrokenState state = {.check = {pf_catalogs_open(), &freeze->target, broken_emit, &state}};

	initStringInfo(&state.text);
	pf_objects_scan(state.check.catalogs, &freeze->target, broken_object, &state);
	pf_memberships_scan(&freeze->target, check_membership, &state.check);
	pf_catalogs_close(state.check.catalogs);
	*checked = state.checked;
	if (state.back == 0)
		return NULL;
	if (state.back > 3)
		appendStringInfo(&state.text, "; and " INT64_FORMAT " more", state.back - 3);
	return psprintf("the target holds again: %s", state.text.data);
}

const PfStrategy pf_revoke = {
	.name = "revoke",
	.kinds = {[PF_ROLE] = true,[PF_SCHEMA] = true,[PF_DATABASE] = true},
	.modes = {[PF_WRITE] = true,[PF_ALL] = true},
	.rejects = true,
	.done = "changed",
	.intact = "no privilege came back",
	.check = revoke_check,
	.engage = revoke_engage,
	.release = revoke_release,
	.broken = revoke_broken,
	.leaks = pf_revoke_leaks,
	.also_stops = pf_revoke_also_stops,
};
