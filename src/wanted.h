/*-------------------------------------------------------------------------
 *
 * wanted.h
 *	  The locks that a freeze by strategy "lock" wants.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_WANTED_H
#define PF_WANTED_H

#include "pg_freeze.h"
#include "storage/lock.h"

typedef struct PfWanted
{
	Oid			classid;		/* pg_class or pg_namespace */
	Oid			objid;
	LOCKMODE	mode;
	char		relkind;		/* 0 for a schema */
} PfWanted;

typedef struct PfWantedList
{
	PfWanted   *items;
	int			count;
	int			room;
} PfWantedList;

/*
 * Schemas, and what else stops new objects: to be locked before the relations
 * are looked for.
 */
extern PfWantedList *pf_wanted_schemas(const PfTarget *target);
extern PfWantedList *pf_wanted_relations(const PfTarget *target);

extern void pf_wanted_tag(const PfWanted *wanted, LOCKTAG *tag);
extern const char *pf_wanted_kind(const PfWanted *wanted);
extern char *pf_wanted_name(const PfWanted *wanted);

#endif							/* PF_WANTED_H */
