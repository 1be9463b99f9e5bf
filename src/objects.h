/*-------------------------------------------------------------------------
 *
 * objects.h
 *	  The catalogs that carry privileges.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_OBJECTS_H
#define PF_OBJECTS_H

#include "access/htup.h"
#include "pg_freeze.h"

/*
 * An object with privileges.  classid is the catalog that carries the ACL
 * (pg_class, pg_attribute, pg_namespace, ...); an ACL of NULL is the
 * catalog's NULL, which means acldefault(objtype, owner).
 */
typedef struct PfObject
{
	Oid			classid;
	Oid			objid;
	int32		objsubid;
	ObjectType	objtype;
	char		subtype;		/* relkind or defaclobjtype, else 0 */
	Oid			owner;
	Oid			nsp;			/* InvalidOid: has none */
	Acl		   *acl;			/* a copy, or NULL */
	HeapTuple	tuple;			/* valid until the next object is fetched */
} PfObject;

/* Catalogs kept open for updates; one per engage or release. */
typedef struct PfCatalogs PfCatalogs;

/* Called for each object, in a memory context that is reset after it. */
typedef void (*PfObjectFunc) (PfObject *object, void *arg);

extern void pf_catalog_scan(PfCatalogs *catalogs, Oid classid, const PfTarget *target,
							PfObjectFunc func, void *arg);
extern void pf_objects_scan(PfCatalogs *catalogs, const PfTarget *target, PfObjectFunc func, void *arg);
extern ArrayType *pf_relations_of_public(Oid classid);
extern bool pf_object_in_target(PfCatalogs *catalogs, const PfObject *object, const PfTarget *target);
extern Acl *pf_object_null_acl(const PfObject *object, Acl *acl);
extern AclMode pf_object_mask(const PfObject *object, PfMode mode);
extern Acl *pf_object_effective_acl(const PfObject *object);
extern bool pf_object_is_shared(Oid classid);
extern const char *pf_relkind_text(char relkind);
extern const char *pf_object_kind(const PfObject *object);
extern ArrayType *pf_object_names(const PfObject *object, ArrayType **args);
extern char *pf_object_text(const PfObject *object);
extern ArrayType *pf_text_array(List *strings);

extern PfCatalogs *pf_catalogs_open(void);
extern void pf_catalogs_close(PfCatalogs *catalogs);
extern bool pf_object_fetch(PfCatalogs *catalogs, Oid classid, Oid objid, int32 objsubid, PfObject *object);
extern bool pf_object_find(Oid classid, const char *kind, ArrayType *names, ArrayType *args,
						   Oid *objid, int32 *objsubid);
extern bool pf_default_acl_make(ArrayType *names, ArrayType *args);
extern void pf_object_set_acl(PfCatalogs *catalogs, PfObject *object, const Acl *acl);
extern bool pf_tuple_lock(Relation rel, HeapTuple tuple);
extern void pf_raise_busy(const char *what);
extern void pf_tuple_unlock(Relation rel, HeapTuple tuple);

#endif							/* PF_OBJECTS_H */
