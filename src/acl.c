/*-------------------------------------------------------------------------
 *
 * acl.c
 *	  Arithmetic on access control lists.
 *
 * Plain values in, plain values out: nothing here reads a catalog, apart
 * from pf_acl_without_missing_roles(), which asks whether roles exist.
 *
 * The server's aclupdate() is not used to take privileges away: it removes,
 * with a grant option, what was granted through it, and puts what it adds at
 * the end.  A freeze leaves other people's grants in force and puts its own
 * bits back in their old place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "pg_freeze.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static const char rights_letters[] = ACL_ALL_RIGHTS_STR;

static Acl *
acl_allocate(int nitems)
{
	Size		size = ACL_N_SIZE(nitems);
	Acl		   *acl = palloc0(size);

	SET_VARSIZE(acl, size);
	acl->ndim = 1;
	acl->dataoffset = 0;
	acl->elemtype = ACLITEMOID;
	ARR_LBOUND(acl)[0] = 1;
	ARR_DIMS(acl)[0] = nitems;
	return acl;
}

static void
acl_truncate(Acl *acl, int nitems)
{
	ARR_DIMS(acl)[0] = nitems;
	SET_VARSIZE(acl, ACL_N_SIZE(nitems));
}

static AclItem *
acl_find(const Acl *acl, const AclItem *like)
{
	AclItem    *items = PF_ACL_ITEMS(acl);

	for (int i = 0; i < ACL_NUM(acl); i++)
		if (items[i].ai_grantee == like->ai_grantee &&
			items[i].ai_grantor == like->ai_grantor)
			return &items[i];
	return NULL;
}

/*
 * The ACL without the bits in "mask", and the grant options on them, that
 * "who" holds; NULL where it holds none of them.  Order and grantors of what
 * stays are kept; an item without privileges left goes.
 */
Acl *
pf_acl_take(const Acl *acl, PfGrantee who, AclMode mask)
{
	AclItem    *items = PF_ACL_ITEMS(acl);
	Acl		   *result = NULL;
	int			nresult = 0;

	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclItem		item = items[i];

		if ((who.everybody || item.ai_grantee == who.role) &&
			((ACLITEM_GET_PRIVS(item) | ACLITEM_GET_GOPTIONS(item)) & mask) != 0)
		{
			if (result == NULL)
			{
				result = acl_allocate(ACL_NUM(acl));
				memcpy(PF_ACL_ITEMS(result), items, i * sizeof(AclItem));
				nresult = i;
			}
			ACLITEM_SET_PRIVS_GOPTIONS(item,
									   ACLITEM_GET_PRIVS(item) & ~mask,
									   ACLITEM_GET_GOPTIONS(item) & ~mask);
			if (ACLITEM_GET_RIGHTS(item) == ACL_NO_RIGHTS)
				continue;
		}
		if (result != NULL)
			PF_ACL_ITEMS(result)[nresult++] = item;
	}
	if (result != NULL)
		acl_truncate(result, nresult);
	return result;
}

/* What "before" holds and "after" does not, item by item. */
Acl *
pf_acl_difference(const Acl *before, const Acl *after)
{
	Acl		   *result = acl_allocate(ACL_NUM(before));
	int			nresult = 0;

	for (int i = 0; i < ACL_NUM(before); i++)
	{
		AclItem		item = PF_ACL_ITEMS(before)[i];
		AclItem    *left = acl_find(after, &item);

		if (left != NULL)
			ACLITEM_SET_RIGHTS(item, ACLITEM_GET_RIGHTS(item) & ~ACLITEM_GET_RIGHTS(*left));
		if (ACLITEM_GET_RIGHTS(item) != ACL_NO_RIGHTS)
			PF_ACL_ITEMS(result)[nresult++] = item;
	}
	acl_truncate(result, nresult);
	return result;
}

/*
 * "current" with the items of "taken" put back.  An item that is gone comes
 * back behind the nearest of its predecessors in "order" that is still there.
 */
Acl *
pf_acl_give_back(const Acl *current, const Acl *taken, const Acl *order)
{
	Acl		   *result = acl_allocate(ACL_NUM(current) + ACL_NUM(taken));
	AclItem    *items = PF_ACL_ITEMS(result);
	int			nresult = ACL_NUM(current);

	memcpy(items, PF_ACL_ITEMS(current), nresult * sizeof(AclItem));
	acl_truncate(result, nresult);

	for (int t = 0; t < ACL_NUM(taken); t++)
	{
		AclItem		item = PF_ACL_ITEMS(taken)[t];
		AclItem    *found = acl_find(result, &item);
		AclItem    *place = acl_find(order, &item);
		int			at = 0;

		if (found != NULL)
		{
			ACLITEM_SET_RIGHTS(*found, ACLITEM_GET_RIGHTS(*found) | ACLITEM_GET_RIGHTS(item));
			continue;
		}
		if (place == NULL)
			at = nresult;
		else
			for (int p = place - PF_ACL_ITEMS(order) - 1; p >= 0; p--)
			{
				AclItem    *before = acl_find(result, &PF_ACL_ITEMS(order)[p]);

				if (before != NULL)
				{
					at = before - items + 1;
					break;
				}
			}
		memmove(&items[at + 1], &items[at], (nresult - at) * sizeof(AclItem));
		items[at] = item;
		nresult++;
		acl_truncate(result, nresult);
	}
	return result;
}

/* Same items in the same order; both may be NULL. */
bool
pf_acl_equal(const Acl *a, const Acl *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return ACL_NUM(a) == ACL_NUM(b) &&
		memcmp(PF_ACL_ITEMS(a), PF_ACL_ITEMS(b), ACL_NUM(a) * sizeof(AclItem)) == 0;
}

/* Whether "role" (ACL_ID_PUBLIC too) itself holds any bit of "mask". */
bool
pf_acl_has(const Acl *acl, Oid role, AclMode mask)
{
	for (int i = 0; i < ACL_NUM(acl); i++)
		if (PF_ACL_ITEMS(acl)[i].ai_grantee == role &&
			(ACLITEM_GET_PRIVS(PF_ACL_ITEMS(acl)[i]) & mask) != 0)
			return true;
	return false;
}

/*
 * The ACL without items whose grantee or grantor does not exist any more;
 * *missing is raised by their number.  Needs a transaction.
 */
Acl *
pf_acl_without_missing_roles(const Acl *acl, int *missing)
{
	Acl		   *result = acl_allocate(ACL_NUM(acl));
	int			nresult = 0;

	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclItem    *item = &PF_ACL_ITEMS(acl)[i];

		if ((item->ai_grantee == ACL_ID_PUBLIC ||
			 SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(item->ai_grantee))) &&
			SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(item->ai_grantor)))
			PF_ACL_ITEMS(result)[nresult++] = *item;
		else
			(*missing)++;
	}
	acl_truncate(result, nresult);
	return result;
}

/*
 * An ACL as text: items "grantee=privileges/grantor" with a comma between,
 * roles by OID (PUBLIC is empty), privileges by aclitem's letters.  Not an
 * aclitem[], whose input fails for a role that is gone, which would fail the
 * restore of a whole dump, and whose storage differs between versions.
 */
char *
pf_acl_out(const Acl *acl)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclItem    *item = &PF_ACL_ITEMS(acl)[i];
		char		number[12];

		if (i > 0)
			appendStringInfoChar(&text, ',');
		if (item->ai_grantee != ACL_ID_PUBLIC)
			appendBinaryStringInfo(&text, number, pg_ultoa_n(item->ai_grantee, number));
		appendStringInfoChar(&text, '=');
		for (int bit = 0; bit < N_ACL_RIGHTS; bit++)
		{
			if ((ACLITEM_GET_PRIVS(*item) & ((AclMode) 1 << bit)) != 0)
				appendStringInfoChar(&text, rights_letters[bit]);
			if ((ACLITEM_GET_GOPTIONS(*item) & ((AclMode) 1 << bit)) != 0)
				appendStringInfoChar(&text, '*');
		}
		appendStringInfoChar(&text, '/');
		appendBinaryStringInfo(&text, number, pg_ultoa_n(item->ai_grantor, number));
	}
	return text.data;
}

/*
 * Reads what pf_acl_out() wrote.  map_role (may be NULL) translates the OIDs
 * of another cluster; where it returns InvalidOid the item is left out.  A
 * privilege that this version does not know is left out too.
 */
Acl *
pf_acl_in(const char *text, Oid (*map_role) (Oid role, void *arg), void *arg)
{
	int			nitems = *text == '\0' ? 0 : 1;
	int			nresult = 0;
	Acl		   *result;

	for (const char *p = text; *p; p++)
		if (*p == ',')
			nitems++;
	result = acl_allocate(nitems);

	for (int i = 0; i < nitems; i++)
	{
		AclItem		item;
		AclMode		privs = 0;
		AclMode		goptions = 0;
		AclMode		last = 0;
		char	   *end;

		item.ai_grantee = (Oid) strtoul(text, &end, 10);
		if (*end != '=')
			elog(ERROR, "damaged access control list in the journal");
		for (text = end + 1; *text && *text != '/'; text++)
		{
			const char *letter = *text == '*' ? NULL : strchr(rights_letters, *text);

			if (*text == '*')
				goptions |= last;
			else
				last = letter ? (AclMode) 1 << (letter - rights_letters) : 0;
			privs |= last;
		}
		if (*text != '/')
			elog(ERROR, "damaged access control list in the journal");
		item.ai_grantor = (Oid) strtoul(text + 1, &end, 10);
		text = *end == ',' ? end + 1 : end;

		if (map_role)
		{
			if (item.ai_grantee != ACL_ID_PUBLIC)
			{
				item.ai_grantee = map_role(item.ai_grantee, arg);
				if (!OidIsValid(item.ai_grantee))
					continue;
			}
			item.ai_grantor = map_role(item.ai_grantor, arg);
			if (!OidIsValid(item.ai_grantor))
				continue;
		}
		item.ai_privs = 0;
		ACLITEM_SET_PRIVS_GOPTIONS(item, privs, goptions);
		if (ACLITEM_GET_RIGHTS(item) != ACL_NO_RIGHTS)
			PF_ACL_ITEMS(result)[nresult++] = item;
	}
	acl_truncate(result, nresult);
	return result;
}

/* The privileges of an ACL in words, without who: "INSERT, UPDATE". */
char *
pf_acl_describe(const Acl *acl)
{
	static const char *const words[N_ACL_RIGHTS] = {
		"INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES",
		"TRIGGER", "EXECUTE", "USAGE", "CREATE", "TEMPORARY", "CONNECT",
		"SET", "ALTER SYSTEM",
#if N_ACL_RIGHTS > 14
		"MAINTAIN",
#endif
	};
	AclMode		all = 0;
	StringInfoData text;

	for (int i = 0; i < ACL_NUM(acl); i++)
		all |= ACLITEM_GET_PRIVS(PF_ACL_ITEMS(acl)[i]) | ACLITEM_GET_GOPTIONS(PF_ACL_ITEMS(acl)[i]);
	initStringInfo(&text);
	for (int bit = 0; bit < N_ACL_RIGHTS; bit++)
		if ((all & ((AclMode) 1 << bit)) != 0)
			appendStringInfo(&text, "%s%s", text.len ? ", " : "", words[bit]);
	return text.data;
}
