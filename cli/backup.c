/*-------------------------------------------------------------------------
 *
 * backup.c
 *	  The program pg_freeze: backup-begin, backup-end, backup-abort and
 *	  backup-status, each a process of its own: what keeps a backup between
 *	  them is in the server.
 *
 *-------------------------------------------------------------------------
 */
#include "make.h"
#include "show.h"

static const char *const checkpoints[] = {"spread", "fast", "none", NULL};

enum
{
	OPT_NO_BACKUP_MODE = OPT_OWN,
	OPT_CHECKPOINT,
	OPT_HOLD_WAL,
	OPT_LABEL_DIRECTORY,
	OPT_OUTPUT,
	OPT_NO_WAIT,
	OPT_ACCEPT_UNKNOWN,
	OPT_ALL
};

/* Which backup is meant; neither: the one that runs, or the last one. */
typedef struct Which
{
	const char *id;
	const char *label;
} Which;

#define STATUS_COLUMNS 7
static const char status_sql[] =
"SELECT " NAME_AND_HOME("b.id", "b.home") " AS backup, b.label, b.state, " CLOCK("b.since") " AS since,"
" CASE WHEN b.ended_at IS NULL THEN 'until ' || " UNTIL("b.until") " ELSE " CLOCK("b.ended_at") " END AS ended,"
" b.target AS frozen, b.freeze_id AS freeze,"
" CASE b.state WHEN 'running' THEN concat('backup ', b.id, ': ', b.phase, ', by ', b.by, ' (' || nullif(b.application, '') || ')', ': ' || nullif(b.reason, ''))"
"  WHEN 'failed' THEN concat('backup ', b.id, ' failed: ', b.failure) END,"
" '    to end: ' || b.to_end,"
" '    to give up: ' || b.to_abort"
" FROM (SELECT *, row_number() OVER (ORDER BY since DESC) AS age FROM @.freeze_backup_status) b"
" WHERE $1::boolean OR b.age <= 10 OR b.state = 'running' ORDER BY b.since";

static const char status_json_sql[] =
"SELECT coalesce(json_agg(b ORDER BY b.since), '[]') FROM @.freeze_backup_status b"
" WHERE ($1::bigint IS NULL OR b.id = $1::bigint) AND ($2::text IS NULL OR b.label = $2::text)";

static const char one_sql[] =
"SELECT b.* FROM @.freeze_backup_status b WHERE ($1::bigint IS NULL OR b.id = $1::bigint) AND ($2::text IS NULL OR b.label = $2::text)"
" ORDER BY b.state = 'running' DESC, b.since DESC";

/*
 * Calls a function of backups, again where its answer got lost: that does no harm.
 * "sql" has the columns and %s for the extension's schema, "arguments" goes into
 * parentheses.
 */
static CallEnd
call_backup(Link *link, const char *columns, const char *function, const char *arguments, const char *waiting)
{
	char	   *settings = call_settings(link->conn, !on_standby(link->conn), NULL);
	char	   *sql = xformat("%sSELECT %s FROM %s.%s(%s) e", settings, columns, extension(link->conn), function, arguments);
	CallEnd		end = call_again(link, sql, "SELECT NULL", waiting);

	free(settings);
	free(sql);
	return end;
}

/* "id => 3", "label => 'night'" */
static char *
which_arguments(PGconn *conn, const Which *which)
{
	char	   *label = literal(conn, which->label, "text");
	char	   *result = xformat("id => %s, label => %s", which->id ? which->id : "NULL", label);

	free(label);
	return result;
}

/* What is left of the arguments: at most an id. */
static void
parse_which(Which *which, int argc, char **argv)
{
	if (optind < argc)
		which->id = parse_id(argv[optind++]);
	if (optind != argc)
		usage_error("there can be only one id: \"%s\"", argv[optind]);
	if (which->id && which->label)
		usage_error("an id or a label, not both");
}

static void
parse_label(Which *which)
{
	if (optarg[0] == '\0')
		usage_error("the label is empty");
	which->label = optarg;
}

int
cmd_backup_begin(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG, FREEZE_LONG,
		{"no-freeze", no_argument, NULL, OPT_NO_FREEZE},
		{"no-backup-mode", no_argument, NULL, OPT_NO_BACKUP_MODE},
		{"checkpoint", required_argument, NULL, OPT_CHECKPOINT},
		{"hold-wal", no_argument, NULL, OPT_HOLD_WAL},
		{"label-directory", required_argument, NULL, OPT_LABEL_DIRECTORY},
		{NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	FreezeOptions freeze = FREEZE_OPTIONS_INIT;
	BackupOptions backup = {.wanted = true,.backup_mode = true};
	Link		link;
	Made		made;
	int			status;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_NO_BACKUP_MODE)
			backup.backup_mode = false;
		else if (c == OPT_CHECKPOINT)
			backup.checkpoint = parse_word("--checkpoint", optarg, checkpoints);
		else if (c == OPT_HOLD_WAL)
			backup.hold_wal = true;
		else if (c == OPT_LABEL_DIRECTORY)
			backup.label_directory = optarg;
		else if (!freeze_option(&freeze, c))
			common_option(&connect, c);
	}
	if (optind != argc)
		usage_error("backup-begin takes no argument: \"%s\"", argv[optind]);
	if (!freeze.label)
		usage_error("a backup needs a --label");
	if (backup.backup_mode && backup.checkpoint && strcmp(backup.checkpoint, "none") == 0)
		usage_error("--checkpoint=none is for --no-backup-mode");
	if (!backup.backup_mode && backup.label_directory)
		usage_error("with --no-backup-mode there is no backup_label for --label-directory");
	backup.label = freeze.label;

	link_open(&link, &connect);
	if (!freeze.no_freeze && on_standby(link.conn))
	{
		say("this server is a standby, where nothing can be frozen");
		say("HINT: begin it on the primary, or with --no-freeze");
		return EXIT_STANDBY;
	}
	(void) extension(link.conn);
	catch_signals();
	status = make(&link, &freeze, &backup, freeze.timeout, &made);
	return status == EXIT_HELD ? tell_id(&link, &made, freeze.timeout) : status;
}

/* Whether the backup that is meant is one that failed. */
static bool
is_failed(PGconn *conn, const Which *which)
{
	const char *params[] = {which->id, which->label};
	PGresult   *result;
	const char *state;

	result = look(conn, one_sql, 2, params);
	state = value(result, 0, "state");
	return state && strcmp(state, "failed") == 0;
}

static void
print_line(const char *name, const char *text)
{
	if (text)
		printf("    %s: %s\n", name, text);
}

static void
print_end(const PGresult *result, const char *held, const char *output)
{
	const char *label = value(result, 0, "backup_label");
	const char *id = value(result, 0, "id");

	printf("backup %s, label %s: %s\n", id, value(result, 0, "label"), value(result, 0, "state"));
	print_line("held", !value(result, 0, "freeze_id") ? "nothing was frozen" : !held ? "unknown" : held[0] == 't' ? "yes" : "NO");
	print_line("lost", value(result, 0, "lost_reason"));
	print_line("evidence", value(result, 0, "evidence"));
	if (value(result, 0, "frozen_at"))
		printf("    frozen: %s to %s, LSN %s to %s\n", value(result, 0, "frozen_at"), value(result, 0, "thawed_at"),
			   value(result, 0, "frozen_lsn"), value(result, 0, "thawed_lsn"));
	if (value(result, 0, "start_lsn"))
		printf("    WAL: %s to %s\n", value(result, 0, "start_lsn"), value(result, 0, "stop_lsn"));
	if (label && output)
		printf("    backup_label: %s/backup_label\n", output);
	else if (label)
		printf("    backup_label: in the server, until the next backup: pg_freeze backup-end %s --output=DIRECTORY\n", id);
}

/* What has ended: prints it, writes its files.  Returns the exit status. */
static int
report_end(const PGresult *result, bool json, const char *output, bool accept_unknown)
{
	const char *label = value(result, 0, "label_bytes");
	const char *held = value(result, 0, "held");
	bool		written = true;

	if (output && label)
		written = write_backup_files(output, label, value(result, 0, "map_bytes"));
	else if (output)
		tell("backup %s was made without the backup mode and has no backup_label", value(result, 0, "id"));
	if (json)
		puts(value(result, 0, "json"));
	else if (!quiet)
		print_end(result, held, written ? output : NULL);
	close_stdout();
	if (!written)
	{
		say("HINT: backup %s has ended; its files can be had again: pg_freeze backup-end %s --output=DIRECTORY",
			value(result, 0, "id"), value(result, 0, "id"));
		return EXIT_ERROR;
	}
	if (!value(result, 0, "freeze_id"))
		return EXIT_HELD;
	if (held)
		return held[0] == 't' ? EXIT_HELD : EXIT_NOT_HELD;
	return accept_unknown ? EXIT_HELD : EXIT_UNKNOWN;
}

/* end raised an error: the exit status. */
static int
failed_end(Link *link, const Which *which)
{
	char		state[6];
	int			status;

	strlcpy(state, sqlstate(link_error(link)), sizeof(state));
	status = server_error(link->conn, link_error(link));
	/* then what was copied is not to be used */
	return strcmp(state, "55000") == 0 && is_failed(link->conn, which) ? EXIT_NOT_HELD : status;
}

int
cmd_backup_end(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG,
		{"label", required_argument, NULL, OPT_LABEL},
		{"output", required_argument, NULL, OPT_OUTPUT},
		{"no-wait", no_argument, NULL, OPT_NO_WAIT},
		{"accept-unknown", no_argument, NULL, OPT_ACCEPT_UNKNOWN},
		{"json", no_argument, NULL, OPT_JSON},
		{NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	Which		which = {0};
	const char *output = NULL;
	bool		wait = true;
	bool		json = false;
	bool		accept_unknown = false;
	Link		link;
	char	   *arguments;
	int			status;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_LABEL)
			parse_label(&which);
		else if (c == OPT_OUTPUT)
			output = optarg;
		else if (c == OPT_NO_WAIT)
			wait = false;
		else if (c == OPT_ACCEPT_UNKNOWN)
			accept_unknown = true;
		else if (c == OPT_JSON)
			json = true;
		else
			common_option(&connect, c);
	}
	parse_which(&which, argc, argv);

	link_open(&link, &connect);
	catch_signals();
	arguments = which_arguments(link.conn, &which);
	switch (call_backup(&link,
						"e.*, pg_catalog.row_to_json(e) AS json,"
						" pg_catalog.convert_to(e.backup_label, pg_catalog.getdatabaseencoding()) AS label_bytes,"
						" pg_catalog.convert_to(e.tablespace_map, pg_catalog.getdatabaseencoding()) AS map_bytes",
						"freeze_backup_end", xformat("%s, wait_for_archive => %s", arguments, wait ? "true" : "false"),
						"waiting until the WAL of the backup is archived"))
	{
		case CALL_DONE:
			status = report_end(link_rows(&link, 0), json, output, accept_unknown);
			break;
		case CALL_ERROR:
			status = failed_end(&link, &which);
			break;
		default:
			say("it is not known whether the backup has ended");
			say("HINT: backup-end may be repeated, and \"pg_freeze backup-status\" shows it");
			status = EXIT_UNKNOWN;
			break;
	}
	link_close(&link);
	return status;
}

int
cmd_backup_abort(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG,
		{"label", required_argument, NULL, OPT_LABEL},
		{"reason", required_argument, NULL, OPT_REASON},
		{NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	Which		which = {0};
	const char *reason = NULL;
	Link		link;
	CallEnd		end;
	char	   *quoted;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_LABEL)
			parse_label(&which);
		else if (c == OPT_REASON)
			reason = optarg;
		else
			common_option(&connect, c);
	}
	parse_which(&which, argc, argv);

	link_open(&link, &connect);
	catch_signals();
	quoted = literal(link.conn, reason, "text");
	end = call_backup(&link, "e AS id", "freeze_backup_abort", xformat("%s, reason => %s", which_arguments(link.conn, &which), quoted),
					  "giving the backup up");
	if (end == CALL_ERROR)
		return server_error(link.conn, link_error(&link));
	if (end != CALL_DONE)
		die(EXIT_UNKNOWN, "it is not known whether the backup was given up; \"pg_freeze backup-status\" shows it");
	tell("backup %s is given up; what was copied is not to be used", value(link_rows(&link, 0), 0, "id"));
	link_close(&link);
	return EXIT_HELD;
}

int
cmd_backup_status(int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG,
		{"label", required_argument, NULL, OPT_LABEL},
		{"all", no_argument, NULL, OPT_ALL},
		{"json", no_argument, NULL, OPT_JSON},
		{NULL, 0, NULL, 0}};
	ConnectOptions connect = {0};
	Which		which = {0};
	const char *params[2];
	const char *all = "false";
	bool		json = false;
	PGconn	   *conn;
	PGresult   *result;
	int			c;

	while ((c = getopt_long(argc, argv, COMMON_SHORT, long_options, NULL)) != -1)
	{
		if (c == OPT_LABEL)
			parse_label(&which);
		else if (c == OPT_ALL)
			all = "true";
		else if (c == OPT_JSON)
			json = true;
		else
			common_option(&connect, c);
	}
	parse_which(&which, argc, argv);

	params[0] = which.id;
	params[1] = which.label;
	conn = connect_server(&connect);
	if (which.id || which.label)
	{
		result = look(conn, one_sql, 2, params);
		if (PQntuples(result) == 0)
			die(EXIT_ERROR, "there is no backup %s%s", which.id ? which.id : "with label ", which.id ? "" : which.label);
		if (!json)
			print_table(conn, result, NULL, PQnfields(result), TABLE_EXPANDED);
	}
	else if (!json)
	{
		result = look(conn, status_sql, 1, &all);
		if (PQntuples(result) == 0)
			puts("no backup");
		else
			print_table(conn, result, NULL, STATUS_COLUMNS, TABLE_AUTO);
	}
	if (json)
		print_values(look(conn, status_json_sql, 2, params));
	close_stdout();
	PQfinish(conn);
	return EXIT_HELD;
}
