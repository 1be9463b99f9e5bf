/*-------------------------------------------------------------------------
 *
 * table.c
 *	  The program pg_freeze: statements that only look, and printing what they
 *	  have found: tables by psql's printer, JSON as the server made it.
 *
 *-------------------------------------------------------------------------
 */
#include "link.h"
#include "show.h"

#include "fe_utils/print.h"

/*
 * The result of a statement that writes nothing, or die().  "@." in it stands for
 * the extension's schema.  Its other names are those of the server whatever the
 * session's search_path is, which is left as it was.
 */
PGresult *
look(PGconn *conn, const char *sql, int nparams, const char *const *params)
{
	const char *schema = extension(conn);
	PQExpBufferData text;
	PGresult   *result;
	char	   *settings;

	initPQExpBuffer(&text);
	for (const char *p = sql; *p; p++)
	{
		if (p[0] == '@' && p[1] == '.')
			appendPQExpBufferStr(&text, schema);
		else
			appendPQExpBufferChar(&text, *p);
	}
	if (PQExpBufferDataBroken(text))
		die(EXIT_ERROR, "out of memory");
	settings = xformat("BEGIN READ ONLY; %sSET LOCAL search_path = pg_catalog, pg_temp", call_settings(conn, false, NULL));
	result = PQexec(conn, settings);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		exit(server_error(conn, result));
	PQclear(result);
	result = query(conn, text.data, nparams, params);
	PQclear(query(conn, "COMMIT", 0, NULL));
	termPQExpBuffer(&text);
	free(settings);
	return result;
}

/*
 * Prints the first "columns" columns of a result as a table.  What the others
 * have stands below it, a row after the other; NULLs are left out.
 */
void
print_table(PGconn *conn, const PGresult *result, const char *title, int columns, TableForm form)
{
	printTableOpt opt = {0};
	printTableContent content;
	int			rows = PQntuples(result);

	opt.format = form == TABLE_WRAPPED ? PRINT_WRAPPED : PRINT_ALIGNED;
	opt.expanded = form == TABLE_EXPANDED ? 1 : 2;
	opt.border = 1;
	opt.start_table = true;
	opt.stop_table = true;
	opt.encoding = PQclientEncoding(conn);
	if (getenv("COLUMNS"))
		opt.env_columns = atoi(getenv("COLUMNS"));

	printTableInit(&content, &opt, title, columns, rows);
	for (int i = 0; i < columns; i++)
		printTableAddHeader(&content, PQfname(result, i), false, column_type_alignment(PQftype(result, i)));
	for (int row = 0; row < rows; row++)
	{
		for (int i = 0; i < columns; i++)
			printTableAddCell(&content, PQgetvalue(result, row, i), false, false);
	}
	for (int row = 0; row < rows; row++)
	{
		for (int i = columns; i < PQnfields(result); i++)
		{
			if (!PQgetisnull(result, row, i))
				printTableAddFooter(&content, PQgetvalue(result, row, i));
		}
	}
	printTable(&content, stdout, false, NULL);
	printTableCleanup(&content);
}

/* Prints the first column as it is: for JSON. */
void
print_values(const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
		puts(PQgetvalue(result, row, 0));
}
