/*-------------------------------------------------------------------------
 *
 * run.c
 *	  The program pg_freeze: run, which freezes, runs COMMAND and thaws.
 *
 * Which processes.  This program, and COMMAND as its child, in a process group
 * of its own (child.c).  On the server a backend per connection, and workers
 * that freeze and thaw; with --backup the keeper of the backup.  Nothing else:
 * no file, no lock, nothing that outlives the program.
 *
 * What lasts.  A freeze is made with a deadline of --lease from its first
 * moment, and while COMMAND runs freeze_extend() moves it, three times per
 * lease, never beyond --timeout.  So whatever becomes of this program, of the
 * machine it runs on or of the network, the server thaws by itself within a
 * lease.  (A freeze of a backup is made for --timeout, by the keeper, and
 * shortened to the lease by the first call; a backup without end or abort
 * fails at --timeout.)
 *
 * Order.  Everything that may fail without anything being frozen comes first:
 * options, whether COMMAND is there, the connection, a standby.  Then make.c
 * makes it, hold.c runs COMMAND and thaws, and what takes time and needs
 * nothing frozen (the files, the archive) comes last.
 *
 * Signals: SIGINT, SIGTERM, SIGHUP, SIGQUIT.  Before connecting they end the
 * program.  While the freeze is made they cancel it, and what was made all the
 * same is thawed.  While COMMAND runs they are passed on to it, the second as
 * SIGKILL, and when it ends the thaw follows.  While it is being thawed they
 * change nothing: that is bounded.  On a terminal COMMAND has the foreground
 * and gets Ctrl-C itself.
 *
 * What can fail, and what then:
 *
 *	COMMAND fails			thaw; its status.  Its backup is given up: what it
 *		leaves behind shall not look like a copy
 *	COMMAND outlives the timeout	thaw at once, SIGTERM, 10 s later SIGKILL; 3
 *	somebody else thaws		the next renewal fails: as above; 3
 *	the connection is lost	connect again, and renew or thaw.  Not possible
 *		until the lease is surely over: SIGTERM for COMMAND as above; what
 *		freeze_history says as soon as it can be asked, else 4
 *	the server is restarted	the same; the strategy decides what survives, the
 *		verdict tells
 *	the answer to the freeze is lost	it is looked for by its application
 *		name, and thawed; 1
 *	the answer to the thaw is lost	thaw again; that it is over already is an
 *		error, and freeze_history has the verdict
 *	this program is killed	the lease; COMMAND gets SIGTERM from the kernel.
 *		While the freeze is made the server looks whether we are there
 *
 * The verdict is about the time until COMMAND had ended: a freeze that was
 * thawed before has not held, whatever its own verdict.
 *
 *-------------------------------------------------------------------------
 */
#include "hold.h"

typedef struct RunOptions
{
	ConnectOptions connect;
	FreezeOptions freeze;
	BackupOptions backup;
	int64		lease;			/* ms */
	const char *output;			/* directory here */
	const char *standby;		/* fail, skip, replay; NULL: not given */
	bool		accept_unknown;
	char	  **command;
} RunOptions;

enum
{
	OPT_LEASE = OPT_OWN,
	OPT_BACKUP,
	OPT_CHECKPOINT,
	OPT_HOLD_WAL,
	OPT_LABEL_DIRECTORY,
	OPT_OUTPUT,
	OPT_STANDBY,
	OPT_ACCEPT_UNKNOWN
};

static const char *const checkpoints[] = {"spread", "fast", "none", NULL};
static const char *const standbys[] = {"fail", "skip", "replay", NULL};

/* An option that only run has. */
static bool
run_option(RunOptions *options, int c)
{
	switch (c)
	{
		case OPT_LEASE:
			options->lease = parse_interval("--lease", optarg);
			if (options->lease < 1000)
				usage_error("--lease must be at least 1s");
			break;
		case OPT_BACKUP:
			if (optarg[0] == '\0')
				usage_error("the label is empty");
			options->backup.label = optarg;
			options->backup.backup_mode = true;
			break;
		case OPT_CHECKPOINT:
			options->backup.checkpoint = parse_word("--checkpoint", optarg, checkpoints);
			break;
		case OPT_HOLD_WAL:
			options->backup.hold_wal = true;
			break;
		case OPT_LABEL_DIRECTORY:
			options->backup.label_directory = optarg;
			break;
		case OPT_OUTPUT:
			options->output = optarg;
			break;
		case OPT_STANDBY:
			options->standby = parse_word("--standby", optarg, standbys);
			break;
		case OPT_ACCEPT_UNKNOWN:
			options->accept_unknown = true;
			break;
		default:
			return false;
	}
	return true;
}

/* What can't go together; and what follows from what. */
static void
check_options(RunOptions *options)
{
	BackupOptions *backup = &options->backup;

	if (!options->command[0])
		usage_error("which command?");
	if (options->standby && strcmp(options->standby, "replay") == 0)
		usage_error("--standby=replay is not built yet");
	if (backup->backup_mode && options->freeze.label)
		usage_error("the freeze of a backup has the label of the backup: there can't be --label and --backup");
	if (!backup->backup_mode)
	{
		if (options->freeze.no_freeze)
			usage_error("--no-freeze is for --backup");
		if (options->output || backup->label_directory || backup->hold_wal)
			usage_error("%s is for --backup", options->output ? "--output" : backup->hold_wal ? "--hold-wal" : "--label-directory");
	}
	/* without the backup mode, but with its checkpoint before the freeze */
	backup->wanted = backup->backup_mode || (backup->checkpoint && strcmp(backup->checkpoint, "none") != 0);
	if (backup->wanted && !backup->label)
		backup->label = options->freeze.label ? options->freeze.label : "pg_freeze run";
	if (options->lease > options->freeze.timeout)
		options->lease = options->freeze.timeout;
	if (options->output)
		check_output(options->output);
}

static void
parse_options(RunOptions *options, int argc, char **argv)
{
	static const struct option long_options[] = {
		COMMON_LONG,
		FREEZE_LONG,
		{"no-freeze", no_argument, NULL, OPT_NO_FREEZE},
		{"lease", required_argument, NULL, OPT_LEASE},
		{"backup", required_argument, NULL, OPT_BACKUP},
		{"checkpoint", required_argument, NULL, OPT_CHECKPOINT},
		{"hold-wal", no_argument, NULL, OPT_HOLD_WAL},
		{"label-directory", required_argument, NULL, OPT_LABEL_DIRECTORY},
		{"output", required_argument, NULL, OPT_OUTPUT},
		{"standby", required_argument, NULL, OPT_STANDBY},
		{"accept-unknown", no_argument, NULL, OPT_ACCEPT_UNKNOWN},
		{NULL, 0, NULL, 0}
	};
	int			c;

	/* +: what follows COMMAND is its own */
	while ((c = getopt_long(argc, argv, "+" COMMON_SHORT, long_options, NULL)) != -1)
		if (!run_option(options, c) && !freeze_option(&options->freeze, c))
			common_option(&options->connect, c);
	options->command = argv + optind;
	check_options(options);
}

/* On a standby: the exit status, or below 0 where there is nothing to keep from. */
static int
standby_status(PGconn *conn, const RunOptions *options)
{
	if (!on_standby(conn))
		return -1;
	if (options->standby && strcmp(options->standby, "skip") == 0)
	{
		tell("this server is a standby: COMMAND is not run");
		return EXIT_HELD;
	}
	if (options->freeze.no_freeze && !options->standby)
		return -1;
	say("this server is a standby, where nothing can be frozen");
	say("HINT: run it on the primary, or with --standby=skip where it shall do nothing on a standby");
	return EXIT_STANDBY;
}

/* The exit status as far as the server's verdict goes: 0 where COMMAND's counts. */
static int
verdict_status(const RunOptions *options, const Made *made, const Verdict *verdict, const Child *child)
{
	const char *colon = verdict->why ? ": " : "";
	const char *why = verdict->why ? verdict->why : "";

	if (options->backup.wanted && verdict->known && !verdict->backup_usable)
	{
		if (!verdict->stopped && made->backup_mode && child->status != 0)
		{
			say("COMMAND ended with status %d: backup %s is given up", child->status, made->backup_id);
			return 0;
		}
		say("%s%s%s", made->backup_mode ? "the backup is not usable" : "it did not hold", colon, why);
		return EXIT_NOT_HELD;
	}
	if (!verdict->known)
	{
		say("it is not known whether it held%s%s", colon, why);
		return EXIT_UNKNOWN;
	}
	if (verdict->held == 0 && (!verdict->nothing_frozen || verdict->stopped))
	{
		say("it did not hold%s%s", colon, why);
		return EXIT_NOT_HELD;
	}
	if (verdict->held < 0 && !verdict->nothing_frozen)
	{
		say("it is not certain that it held: %s", verdict->evidence ? verdict->evidence : "a leak applied");
		return options->accept_unknown ? 0 : EXIT_UNKNOWN;
	}
	if (!verdict->nothing_frozen)
		tell("it held: %s", verdict->evidence ? verdict->evidence : "nothing was seen");
	return 0;
}

/* The files, and the archive.  Returns 0, or the exit status. */
static int
finish_backup(Link *link, const RunOptions *options, const Made *made, const Verdict *verdict)
{
	char	   *settings;
	char	   *sql;
	CallEnd		end;

	if (!verdict->known || !verdict->backup_usable || !options->backup.backup_mode)
		return 0;
	if (options->output &&
		!write_backup_files(options->output, verdict->backup_label, verdict->tablespace_map))
		return EXIT_ERROR;

	/* done already; this waits for the WAL */
	for (int tries = 0;; tries++)
	{
		int64		until = now_ms() + 10000;

		while (link->state != LINK_IDLE && now_ms() < until)
		{
			(void) link_step(link);
			if (link->state != LINK_IDLE)
				wait_for(link, NULL, until);
		}
		if (link->state != LINK_IDLE)
			end = CALL_LOST;
		else
		{
			settings = call_settings(link->conn, false, NULL);
			sql = xformat("%sSELECT state FROM %s.freeze_backup_end(%s)", settings, extension(link->conn), made->backup_id);
			end = call_server(link, sql, "SELECT NULL", "waiting until the WAL of the backup is archived");
			free(settings);
			free(sql);
		}
		if (end == CALL_DONE)
			return 0;
		if (end != CALL_LOST || tries == 2)
			break;
	}
	if (end == CALL_ERROR)
		print_server_message(link_error(link));
	say("backup %s is done, but it is not known whether its WAL is archived", made->backup_id);
	say("HINT: \"pg_freeze backup-end %s\" waits for it", made->backup_id);
	return EXIT_ERROR;
}

int
cmd_run(int argc, char **argv)
{
	RunOptions	options = {.freeze = FREEZE_OPTIONS_INIT,.lease = 15000};
	Link		link;
	Made		made;
	Child		child;
	Verdict		verdict;
	int			status;
	int			backup_status;

	parse_options(&options, argc, argv);
	status = child_findable(options.command[0]);
	if (status != 0)
		return status;
	link_open(&link, &options.connect);
	status = standby_status(link.conn, &options);
	if (status >= 0)
		return status;
	(void) extension(link.conn);
	link.patience = Max(Min(options.lease / 3, 5000), 500);
	catch_signals();

	status = make(&link, &options.freeze, &options.backup, options.lease, &made);
	if (status != EXIT_HELD)
		return status;
	if (options.output)
		remove_backup_files(options.output);
	child_start(&child, options.command, &made);
	hold(&link, &made, options.lease, options.freeze.timeout, &child, &verdict);
	status = verdict_status(&options, &made, &verdict, &child);
	backup_status = finish_backup(&link, &options, &made, &verdict);
	link_close(&link);
	if (status == 0)
		status = backup_status;
	if (status != 0 && child.status != 0)
		say("COMMAND ended with status %d", child.status);
	return status != 0 ? status : child.status;
}
