/*-------------------------------------------------------------------------
 *
 * show.h
 *	  The program pg_freeze: what its commands that look have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_SHOW_H
#define PF_SHOW_H

#include "cli.h"

/* SQL: a time as short as it can be told; the same of a deadline, which may be missing. */
#define CLOCK(column) \
	"to_char(" column ", CASE WHEN " column " BETWEEN now() - interval '12 h' AND now() + interval '12 h'" \
	" THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI' END)"
#define UNTIL(column) "coalesce(" CLOCK(column) ", 'none')"

/* SQL: how a name of something that may be of another database is written. */
#define NAME_AND_HOME(id, home) \
	"CASE WHEN " home " = current_database() THEN " id "::text ELSE concat_ws(' in ', " id ", " home ") END"

typedef enum TableForm
{
	TABLE_AUTO,					/* as a table; a value per line on a terminal that is too narrow */
	TABLE_WRAPPED,				/* the same, but long values go on below */
	TABLE_EXPANDED				/* a value per line */
} TableForm;

extern PGresult *look(PGconn *conn, const char *sql, int nparams, const char *const *params);
extern void print_table(PGconn *conn, const PGresult *result, const char *title, int columns, TableForm form);
extern void print_values(const PGresult *result);

#endif							/* PF_SHOW_H */
