/*-------------------------------------------------------------------------
 *
 * values.h
 *	  What strategies read_only and disconnect change in the catalogs that all
 *	  databases share, and put back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_VALUES_H
#define PF_VALUES_H

#include "pg_freeze.h"

typedef enum PfValueKind
{
	PF_VALUE_LOGIN,				/* rolcanlogin of a role: "true", "false" */
	PF_VALUE_CONNECTIONS,		/* datallowconn of a database: "true", "false" */
	PF_VALUE_SETTING			/* default_transaction_read_only of a role, a database, both, or of all */
} PfValueKind;

/* A value in a shared catalog; InvalidOid: all databases or roles, or none. */
typedef struct PfValue
{
	PfValueKind kind;
	Oid			database;
	Oid			role;
} PfValue;

/* "login of role app", "setting of role app in database shop", for people. */
extern char *pf_value_text(const PfValue *value);

/* What a freeze sets it to, and whether that is what it is now. */
extern const char *pf_value_wanted(const PfValue *value);
extern bool pf_value_is_held(const PfValue *value, const char *now);

/* What is there now.  False: the role or the database is gone.  *text is NULL where it is not set. */
extern bool pf_value_read(const PfValue *value, char **text);

/*
 * Sets a value as a freeze wants it (login and connections to false, the setting
 * to on), in the journal and in the catalog, and notes for all databases that
 * the freeze holds it.  Does nothing where it holds it already.  Returns
 * whether the catalog had to be changed; *covered is counted up where that was
 * not necessary because another live freeze holds it.  In a transaction of
 * pf_run_step(), which repeats what meets somebody else's change.
 */
extern bool pf_value_take(const PfFreeze *freeze, const PfValue *value, int64 *covered);

/* Gives back all that a freeze has taken: see PfStrategy.release. */
extern void pf_values_release(PfFreeze *freeze, PfRestore *result);

/* Whether any live freeze of any database holds it. */
extern bool pf_value_is_taken(const PfValue *value);

/* The values of a kind that any live freeze of any database holds (List of PfValue *). */
extern List *pf_values_held(PfValueKind kind);

/*
 * Whether a freeze holds a value that was not so before, and would not be so
 * without freezes.  Also while somebody logs in, who is in no database yet.
 */
extern bool pf_value_is_held_by(const PfValue *value, int64 id, Oid home);

/* What a row of pg_db_role_setting says of default_transaction_read_only. */
typedef struct PfSetting
{
	PfValue		value;
	char	   *text;
} PfSetting;

/* All that say something (List of PfSetting *), as it would be without any freeze. */
extern List *pf_settings(void);

/*
 * What has come back of what a freeze took, NULL if nothing; *checked counts
 * values; *altered is set to who has been changed in some way meanwhile and
 * cannot be told to have held, NULL: nobody.
 */
extern char *pf_values_broken(const PfFreeze *freeze, int64 *checked, char **altered);

/*
 * Gives back what is held for freezes of this database that are not live any
 * more: somebody has undone them by hand, say.
 */
extern void pf_values_sweep(void);

/*
 * The freezes in a database's journal that hold anything that all databases
 * share: "freeze 5, freeze 7 of database shop"; NULL: none.  For who is about
 * to close that database.
 */
extern char *pf_values_held_from(Oid home);

#endif							/* PF_VALUES_H */
