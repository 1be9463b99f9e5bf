/*-------------------------------------------------------------------------
 *
 * make.c
 *	  The program pg_freeze: making a freeze, or beginning a backup.
 *
 * One message freezes and asks for what COMMAND is told, so that nothing lies
 * between.  Its transaction has an application name of its own: if the answer
 * is lost, what it made is found by that, on whatever connection.  A freeze
 * that nobody knows of has a deadline from its first moment on.
 *
 *-------------------------------------------------------------------------
 */
#include "make.h"

#include <time.h>
#include <unistd.h>

char *
freeze_arguments(PGconn *conn, const FreezeOptions *options)
{
	const struct
	{
		const char *name;
		const char *value;
		const char *type;
	}			arguments[] = {
		{"mode", options->mode, "text"},
		{"strategy", options->strategy, "text"},
		{"action", options->action, "text"},
		{"in_flight", options->in_flight, "text"},
		{"drain_timeout", options->drain_timeout < 0 ? NULL : interval_text(options->drain_timeout), "interval"},
		{"on_drain_timeout", options->on_drain_timeout, "text"},
		{"attempts", options->attempts, "int4"},
		{"reason", options->reason, "text"}
	};
	PQExpBufferData text;

	initPQExpBuffer(&text);
	for (size_t i = 0; i < lengthof(arguments); i++)
	{
		char	   *quoted;

		if (!arguments[i].value)
			continue;
		quoted = literal(conn, arguments[i].value, arguments[i].type);
		appendPQExpBuffer(&text, ", %s => %s", arguments[i].name, quoted);
		free(quoted);
	}
	if (PQExpBufferDataBroken(text))
		die(EXIT_ERROR, "out of memory");
	return text.data;
}

char *
freeze_call(PGconn *conn, const FreezeOptions *options, int64 thaw_after)
{
	const char *kind = options->kind ? options->kind : "database";
	char	   *arguments = freeze_arguments(conn, options);
	char	   *label = literal(conn, options->label, "text");
	char	   *target = options->target ? literal(conn, options->target, "name") : xstrdup("pg_catalog.current_database()");
	char	   *result;

	result = xformat("%s.freeze_%s(%s%s%sthaw_after => '" INT64_FORMAT " milliseconds'::pg_catalog.interval, label => %s%s)",
					 extension(conn), kind, strcmp(kind, "cluster") == 0 ? "" : kind, strcmp(kind, "cluster") == 0 ? "" : " => ",
					 strcmp(kind, "cluster") == 0 ? "" : xformat("%s, ", target), thaw_after, label, arguments);
	free(arguments);
	free(label);
	free(target);
	return result;
}

static char *
backup_call(PGconn *conn, const FreezeOptions *freeze, const BackupOptions *backup)
{
	char	   *arguments = freeze_arguments(conn, freeze);
	char	   *label = literal(conn, backup->label, "text");
	char	   *kind = literal(conn, freeze->no_freeze ? NULL : freeze->kind ? freeze->kind : "database", "text");
	char	   *target = literal(conn, freeze->target, "name");
	char	   *checkpoint = backup->checkpoint ? literal(conn, backup->checkpoint, "text") : NULL;
	char	   *directory = literal(conn, backup->label_directory, "text");
	char	   *result;

	result = xformat("%s.freeze_backup_begin(%s, kind => %s, target => %s, timeout => '" INT64_FORMAT " milliseconds'::pg_catalog.interval,"
					 " backup_mode => %s, hold_wal => %s, label_directory => %s%s%s%s)",
					 extension(conn), label, kind, target, freeze->timeout,
					 backup->backup_mode ? "true" : "false", backup->hold_wal ? "true" : "false", directory,
					 checkpoint ? ", checkpoint => " : "", checkpoint ? checkpoint : "", arguments);
	free(arguments);
	free(label);
	free(kind);
	free(target);
	free(checkpoint);
	free(directory);
	return result;
}

/*
 * The rows of the freezes that are live.  A superuser reads the journal: the
 * view also finds out whether each freeze is in force, which may take long, and
 * the application stands still meanwhile.
 */
static const char *
freeze_rows(PGconn *conn)
{
	static char *rows = NULL;
	char	   *sql;
	PGresult   *result;

	if (rows)
		return rows;
	sql = xformat("SELECT pg_catalog.has_table_privilege('%s.freeze_journal', 'SELECT')", extension(conn));
	result = query(conn, sql, 0, NULL);
	rows = PQgetvalue(result, 0, 0)[0] == 't' ?
		xformat("(SELECT id, CASE target_kind WHEN 'cluster' THEN 'the cluster' ELSE target_kind || ' ' || pg_catalog.quote_ident(target_name) END AS target,"
				" strategy, state, frozen_at AS since, frozen_lsn, label, by_application AS application FROM %s.freeze_journal"
				" WHERE state NOT IN ('thawed', 'aborted'))", extension(conn)) :
		xformat("(SELECT id, target, strategy, state, since, frozen_lsn, label, application FROM %s.freeze_status"
				" WHERE home = pg_catalog.current_database())", extension(conn));
	PQclear(result);
	free(sql);
	return rows;
}

#define ISO "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'"

static char *
what_was_made(PGconn *conn, const FreezeOptions *freeze, const BackupOptions *backup, const char *application)
{
	char	   *quoted = literal(conn, application, "text");
	char	   *condition = xformat("WHERE %s.application = %s", backup->wanted ? "b" : "f", quoted);
	const char *began = backup->wanted ? "coalesce(f.since, b.since)" : "f.since";
	char	   *end = backup->wanted ? xstrdup("b.until") :
		xformat("f.since + '" INT64_FORMAT " milliseconds'::pg_catalog.interval", freeze->timeout);
	char	   *result;

	result = xformat("SELECT f.id, f.target, f.strategy, f.frozen_lsn, f.label,%s"
					 " pg_catalog.to_char(%s AT TIME ZONE 'UTC', " ISO ") AS frozen_at,"
					 " pg_catalog.to_char((%s) AT TIME ZONE 'UTC', " ISO ") AS until,"
					 " (extract(epoch FROM (%s) - pg_catalog.clock_timestamp()) * 1000)::pg_catalog.int8 AS left,"
					 " (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory') AS data_directory"
					 " FROM %s%s f %s%s ORDER BY 1 DESC LIMIT 1",
					 backup->wanted ? " b.id AS backup_id, b.start_lsn, b.label AS backup_label," : "",
					 began, end, end,
					 backup->wanted ? xformat("%s.freeze_backup_status b LEFT JOIN ", extension(conn)) : "",
					 freeze_rows(conn), backup->wanted ? "ON f.id = b.freeze_id " : "", condition);
	free(quoted);
	free(condition);
	free(end);
	return result;
}

/* Says what a freeze or a backup that is being made waits for. */
static char *
waiting_query(PGconn *conn, const BackupOptions *backup, const char *application)
{
	char	   *quoted = literal(conn, application, "text");
	char	   *blockers;
	char	   *result;

	blockers = xformat("SELECT pg_catalog.string_agg(CASE WHEN b.pid IS NULL THEN 'prepared transaction ' || b.gid ELSE 'pid ' || b.pid END"
					   " || ' (' || pg_catalog.concat_ws(', ', nullif(b.application, ''), b.role, b.state,"
					   " 'for ' || extract(epoch FROM pg_catalog.clock_timestamp() - b.since)::pg_catalog.int8 || ' s') || ')', ', ')"
					   " FROM %s.freeze_blockers b JOIN %s f ON f.id = b.id WHERE f.application = %s",
					   extension(conn), freeze_rows(conn), quoted);
	if (backup->wanted)
		result = xformat("SELECT CASE b.phase WHEN 'checkpoint' THEN 'waiting for the checkpoint' WHEN 'freezing' THEN"
						 " coalesce('waiting for ' || (%s), 'freezing') ELSE b.phase END"
						 " FROM %s.freeze_backup_status b WHERE b.application = %s AND b.state = 'running'",
						 blockers, extension(conn), quoted);
	else
		result = xformat("SELECT 'waiting for ' || (%s)", blockers);
	free(blockers);
	free(quoted);
	return result;
}

/* What is live of what was made: ids and states of freezes, and ids of backups without a state. */
static char *
left_query(PGconn *conn, const Made *made)
{
	char	   *quoted = literal(conn, made->application, "text");
	char	   *result;

	result = made->backup ?
		xformat("SELECT id, state FROM %s f WHERE application = %s"
				" UNION ALL SELECT id, NULL FROM %s.freeze_backup_status WHERE application = %s AND state = 'running'",
				freeze_rows(conn), quoted, extension(conn), quoted) :
		xformat("SELECT id, state FROM %s f WHERE application = %s", freeze_rows(conn), quoted);
	free(quoted);
	return result;
}

/* The statement that ends the first thing of left_query() that can be ended, NULL: none can. */
static char *
end_of_first(PGconn *conn, const PGresult *rows)
{
	char	   *settings = call_settings(conn, true, NULL);
	char	   *result = NULL;

	/* a backup ends its freeze; who is still making one undoes it when he sees that nobody waits for it */
	for (int row = PQntuples(rows) - 1; row >= 0 && !result; row--)
	{
		const char *state = value(rows, row, "state");

		if (!state)
			result = xformat("%sSELECT %s.freeze_backup_abort(%s, reason => 'the program that made it has given up')",
							 settings, extension(conn), PQgetvalue(rows, row, 0));
		else if (strcmp(state, "engaging") != 0 && strcmp(state, "draining") != 0)
			result = xformat("%sSELECT FROM %s.thaw(%s)", settings, extension(conn), PQgetvalue(rows, row, 0));
	}
	free(settings);
	return result;
}

/* The answer to left_query() or to end_of_first(); true if it was the former and nothing is left. */
static bool
nothing_left(Link *link, bool asked, int64 *look_at)
{
	const PGresult *rows = link_rows(link, 0);
	char	   *sql;

	*look_at = now_ms();
	if (link_error(link))
	{
		/* somebody else may have ended it; looking again shows */
		if (verbose)
			print_server_message(link_error(link));
		*look_at += 200;
	}
	if (link_error(link) || !asked || !rows)
		return false;
	if (PQntuples(rows) == 0)
		return true;
	sql = end_of_first(link->conn, rows);
	if (sql)
		link_send(link, sql, link->patience);
	else
		*look_at += 100;
	free(sql);
	return false;
}

void
unmake(Link *link, const Made *made, int64 patience)
{
	int64		until = now_ms() + patience;
	int64		look_at = now_ms();
	bool		asked = false;

	if (link->state == LINK_DOWN)
		tell("trying to find out what became of it, for at most " INT64_FORMAT " s", (patience + 999) / 1000);
	for (;;)
	{
		switch (link_step(link))
		{
			case LINK_ANSWER:
				if (nothing_left(link, asked, &look_at))
				{
					say("nothing is left frozen");
					return;
				}
				asked = false;
				break;
			case LINK_LOST:
			case LINK_BACK:
				look_at = now_ms();
				break;
			case LINK_NOTHING:
				break;
		}
		if (link->state == LINK_IDLE && now_ms() >= look_at)
		{
			char	   *sql = left_query(link->conn, made);

			link_send(link, sql, link->patience);
			asked = true;
			free(sql);
		}
		if (now_ms() >= until)
		{
			say("it is not known whether something is frozen; if so, the server thaws it within " INT64_FORMAT " s", (patience + 999) / 1000);
			return;
		}
		if (next_signal() != 0)
			until = Min(until, now_ms() + 1000);
		wait_for(link, NULL, link->state == LINK_IDLE ? Min(look_at, until) : until);
	}
}

static char *
copy(const PGresult *rows, const char *column)
{
	const char *text = value(rows, 0, column);

	return text ? xstrdup(text) : NULL;
}

static void
read_made(const PGresult *rows, const FreezeOptions *freeze, int64 lease, Made *made)
{
	const char *left = value(rows, 0, "left");

	made->id = copy(rows, "id");
	made->backup_id = copy(rows, "backup_id");
	made->label = copy(rows, made->backup_id ? "backup_label" : "label");
	made->target = copy(rows, "target");
	made->strategy = copy(rows, "strategy");
	made->frozen_lsn = copy(rows, "frozen_lsn");
	made->start_lsn = copy(rows, "start_lsn");
	made->frozen_at = copy(rows, "frozen_at");
	made->until = copy(rows, "until");
	made->data_directory = copy(rows, "data_directory");
	made->over_at = now_ms() + (left ? strtoll(left, NULL, 10) : freeze->timeout);
	made->lease_over_at = Min(now_ms() + lease, made->over_at);
}

/* So long, and no longer, can what is made be frozen without anybody knowing. */
static int64
unmake_patience(const FreezeOptions *freeze, const BackupOptions *backup, int64 lease)
{
	return (backup->wanted ? Max(freeze->timeout, lease) : lease) + 1000;
}

static char *
own_application(PGconn *conn)
{
	const char *given = PQparameterStatus(conn, "application_name");
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	/* what is too long would be cut by the server, at the end */
	return xformat("%.30s %d.%08x%05x", given && given[0] ? given : "pg_freeze",
				   (int) getpid(), (unsigned int) now.tv_sec, (unsigned int) now.tv_nsec / 1000);
}

/*
 * A backend that waits for a drain does not see that its client is gone, and
 * the target stands still meanwhile, unless it is told to look.  Not every
 * server can.
 */
static const char *
look_at_client(PGconn *conn)
{
	PGresult   *result = PQexec(conn, "SELECT pg_catalog.set_config('client_connection_check_interval', '500ms', true)");
	bool		can = PQresultStatus(result) == PGRES_TUPLES_OK;

	PQclear(result);
	return can ? "SET LOCAL client_connection_check_interval = '500ms'; " : "";
}

int
make(Link *link, const FreezeOptions *freeze, const BackupOptions *backup, int64 lease, Made *made)
{
	PGconn	   *conn = link->conn;
	char	   *settings;
	char	   *call = backup->wanted ? backup_call(conn, freeze, backup) : freeze_call(conn, freeze, lease);
	char	   *ask;
	char	   *waiting;
	char	   *sql;
	CallEnd		end;
	const PGresult *error;
	const PGresult *rows;

	memset(made, 0, sizeof(Made));
	made->backup = backup->wanted;
	made->backup_mode = backup->backup_mode;
	made->application = own_application(conn);
	settings = call_settings(conn, false, made->application);
	ask = what_was_made(conn, freeze, backup, made->application);
	waiting = waiting_query(conn, backup, made->application);
	sql = xformat("%s%sSELECT %s AS made; %s", settings, look_at_client(conn), call, ask);
	end = call_server(link, sql, waiting, backup->wanted ? "beginning the backup" : "freezing");
	free(settings);
	free(call);
	free(ask);
	free(waiting);
	free(sql);

	error = link_error(link);
	rows = link_rows(link, 1);
	if (end == CALL_DONE && rows && PQntuples(rows) == 1)
	{
		read_made(rows, freeze, lease, made);
		return EXIT_HELD;
	}
	if (end == CALL_ERROR && !link_rows(link, 0))
		return server_error(link->conn, error);
	if (end == CALL_INTERRUPTED && link->state == LINK_IDLE && !link_rows(link, 0))
	{
		if (strcmp(sqlstate(error), "57014") != 0)
			return server_error(link->conn, error);
		say("interrupted; nothing is frozen");
		return EXIT_ERROR;
	}
	if (error)
		print_server_message(error);
	else if (end == CALL_DONE)
		say("the server does not show what was made");
	unmake(link, made, unmake_patience(freeze, backup, lease));
	return EXIT_ERROR;
}

int
tell_id(Link *link, const Made *made, int64 timeout)
{
	if (next_signal() != 0)
		say("interrupted");
	else if (printf("%s\n", made->backup ? made->backup_id : made->id) >= 0 && fflush(stdout) == 0)
	{
		link_close(link);
		return EXIT_HELD;
	}
	else
		say("could not write to standard output: %s", strerror(errno));
	unmake(link, made, timeout + 1000);
	return EXIT_ERROR;
}
