/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The program pg_freeze: the table of commands, help, messages.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

bool		quiet = false;
bool		verbose = false;

/* of help texts: options that several commands take */
#define HELP_TARGET \
	"\nWhat is frozen; without any of these the database that one is connected to:\n" \
	"  --role=ROLE              a role\n" \
	"  --freeze-schema=SCHEMA   a schema\n" \
	"  --database=DATABASE      a database\n" \
	"  --cluster                everything\n"
#define HELP_FREEZE \
	HELP_TARGET \
	"\nHow; of what is left out the settings pg_freeze.* decide:\n" \
	"  --timeout=INTERVAL       for how long at most (60s)\n" \
	"  --mode=write|all         all: nobody reads either\n" \
	"  --strategy=STRATEGY      gate, revoke, lock, read_only, disconnect or auto\n" \
	"  --action=wait|reject     what those who meet the freeze get\n" \
	"  --in-flight=hold|drain   what becomes of transactions that are under way\n" \
	"  --drain-timeout=INTERVAL how long these have to end\n" \
	"  --on-drain-timeout=WORD  then: abort, cancel or terminate\n" \
	"  --attempts=N             so many tries, if a drain times out (1)\n" \
	"  --label=LABEL            a name to thaw it by\n" \
	"  --reason=TEXT            for people\n"

static const Command commands[] = {
	{"run", cmd_run, "[OPTION]... -- COMMAND [ARGUMENT]...",
		"freeze, run COMMAND, thaw whatever happens\n"
		"\nIt ends with the status of COMMAND, if the freeze held. COMMAND has PGFREEZE_ID,\n"
		"PGFREEZE_LSN, PGFREEZE_BACKUP_ID, PGFREEZE_START_LSN, PGFREEZE_FROZEN_AT,\n"
		"PGFREEZE_UNTIL, PGFREEZE_LABEL, PGFREEZE_TARGET, PGFREEZE_STRATEGY and\n"
		"PGFREEZE_DATA_DIRECTORY in its environment, as far as there are such.\n"
		HELP_FREEZE
		"  --lease=INTERVAL         how long it outlives this program (15s)\n"
		"  --accept-unknown         where it is unknown whether it held, it did\n"
		"  --standby=fail|skip      on a standby: status 5, or do nothing\n"
		"\nA backup:\n"
		"  --backup=LABEL           with pg_backup_start before and pg_backup_stop after it\n"
		"  --output=DIR             on this machine: backup_label and tablespace_map are\n"
		"                           written there, and fsynced\n"
		"  --no-freeze              nothing is frozen: an online backup\n"
		"  --checkpoint=spread|fast before the freeze (spread); also without --backup\n"
		"  --hold-wal               keep its WAL in the server a while, by a replication slot\n"
		"  --label-directory=DIR    on the server: the files are written there, too\n"},
	{"freeze", cmd_freeze, "[OPTION]...",
		"freeze, and print the id of the freeze\n"
		HELP_FREEZE},
	{"thaw", cmd_thaw, "ID | --label=LABEL | --all",
		"thaw, and say whether it held\n"
		"\nOptions:\n"
		"  --label=LABEL            all freezes with this label\n"
		"  --all                    all freezes\n"
		"  --home=DATABASE          the database where the one with this ID was made\n"},
	{"extend", cmd_extend, "ID INTERVAL",
		"move the deadline of a freeze: to now plus INTERVAL\n"
		"\nOptions:\n"
		"  --home=DATABASE          the database where it was made\n"},
	{"status", cmd_status, "[--json]",
		"what is frozen, by whom, until when, and how to thaw it\n"
		"\nOptions:\n"
		"  --json                   all that is known, for scripts\n"
		"  -x, --expanded           a value per line\n"},
	{"check", cmd_check, "[OPTION]...",
		"a dry run: what would be changed, who is in the way, what leaks\n"
		"\nWith status 1 if it would be refused.\n"
		HELP_FREEZE
		"\nOutput:\n"
		"  --json                   for scripts\n"
		"  -v                       a line for each object\n"},
	{"sessions", cmd_sessions, "[ID]",
		"sessions of what is frozen, and who is in the way, or waits\n"
		"\nOptions:\n"
		"  --json                   all that is known, for scripts\n"
		"  -x, --expanded           a value per line\n"},
	{"backup-begin", cmd_backup_begin, "--label=LABEL [OPTION]...",
		"begin a backup, freeze for it, and print its id\n"
		"\nIt goes on until backup-end, from whatever session; after --timeout it fails.\n"
		HELP_FREEZE
		"  --no-freeze              nothing is frozen: an online backup\n"
		"\nThe backup:\n"
		"  --checkpoint=spread|fast how it begins (spread); without the backup mode also none\n"
		"  --no-backup-mode         no pg_backup_start: for an atomic snapshot of all volumes\n"
		"  --hold-wal               keep its WAL in the server a while, by a replication slot\n"
		"  --label-directory=DIR    on the server: backup_label is written there at the end\n"},
	{"backup-end", cmd_backup_end, "[ID | --label=LABEL] [OPTION]...",
		"end a backup, thaw, and say whether it held\n"
		"\nWithout ID or label: the backup that runs, or the last one. It may be repeated.\n"
		"\nOptions:\n"
		"  --label=LABEL            the backup with this label\n"
		"  --output=DIR             on this machine: backup_label and tablespace_map are written\n"
		"                           there, and fsynced; without it they stay in the server\n"
		"  --no-wait                don't wait for its WAL to be archived\n"
		"  --accept-unknown         status 0 also where it is unknown whether the freeze held\n"
		"  --json                   for scripts\n"},
	{"backup-abort", cmd_backup_abort, "[ID | --label=LABEL] [OPTION]...",
		"give a backup up, and thaw\n"
		"\nOptions:\n"
		"  --label=LABEL            the backup with this label\n"
		"  --reason=TEXT            for people\n"},
	{"backup-status", cmd_backup_status, "[ID | --label=LABEL] [OPTION]...",
		"the backup that runs, and those that were\n"
		"\nOptions:\n"
		"  --label=LABEL            the backups with this label\n"
		"  --all                    more than the last ten\n"
		"  --json                   all that is known, for scripts\n"},
	{"rescue", cmd_rescue, "--sql [ID]",
		"print SQL that undoes what is frozen, when the library can't be loaded\n"
		"\nIt looks into all databases, for psql to run as a superuser. With an ID it prints\n"
		"only what undoes that freeze of the database that one is connected to.\n"},
	{NULL, NULL, NULL, NULL}
};

static const Command *command = NULL;	/* that runs */

static char *waiting = NULL;	/* the line that is shown, or was shown last */
static bool waiting_shown = false;	/* is on the terminal now */

bool
shows_waiting(void)
{
	return !quiet && (verbose || isatty(STDERR_FILENO));
}

static void
clear_waiting(void)
{
	if (waiting_shown)
		fputs("\r\033[K", stderr);
	waiting_shown = false;
}

void
show_waiting(const char *text, int seconds)
{
	struct winsize size;
	char		suffix[32] = "";
	int			width;

	if (!text || !text[0] || !shows_waiting())
	{
		clear_waiting();
		fflush(stderr);
		free(waiting);
		waiting = NULL;
		return;
	}
	if (!isatty(STDERR_FILENO))
	{
		if (!waiting || strcmp(waiting, text) != 0)
		{
			free(waiting);
			waiting = xstrdup(text);
			say("%s", text);
		}
		return;
	}
	if (seconds >= 0)
		snprintf(suffix, sizeof(suffix), " (%d s)", seconds);
	width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
	width = Max(width - 1 - (int) strlen("pg_freeze: ") - (int) strlen(suffix), 20);
	fprintf(stderr, "\r\033[Kpg_freeze: %.*s%s", width, text, suffix);
	fflush(stderr);
	waiting_shown = true;
}

static void print_message(const char *fmt, va_list args) pg_attribute_printf(1, 0);

static void
print_message(const char *fmt, va_list args)
{
	PQExpBufferData line;
	char		text[8192];

	/* one write, so that lines of several programs don't mix */
	vsnprintf(text, sizeof(text), fmt, args);
	initPQExpBuffer(&line);
	appendPQExpBuffer(&line, "pg_freeze: %s\n", text);
	clear_waiting();
	fwrite(line.data, 1, line.len, stderr);
	fflush(stderr);
	termPQExpBuffer(&line);
}

void
say(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	print_message(fmt, args);
	va_end(args);
}

void
tell(const char *fmt,...)
{
	va_list		args;

	if (quiet)
		return;
	va_start(args, fmt);
	print_message(fmt, args);
	va_end(args);
}

void
die(int status, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	print_message(fmt, args);
	va_end(args);
	exit(status);
}

void
usage_error(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	print_message(fmt, args);
	va_end(args);
	if (command)
		say("try \"pg_freeze %s --help\"", command->name);
	else
		say("try \"pg_freeze --help\"");
	exit(EXIT_USAGE);
}

void
close_stdout(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		die(EXIT_ERROR, "could not write to standard output: %s", strerror(errno));
}

static void
common_help(void)
{
	printf("\nConnection options, as of psql; its environment variables and service files count too:\n"
		   "  -h, --host=HOSTNAME      server, or directory of its socket\n"
		   "  -p, --port=PORT          port of the server\n"
		   "  -U, --username=NAME      user to connect as\n"
		   "  -d, --dbname=CONNSTR     database to connect to; a conninfo string or URI too\n"
		   "  -w, --no-password        never ask for a password\n"
		   "  -W, --password           ask for a password at once\n"
		   "\nOther options:\n"
		   "  -q, --quiet              errors and warnings only\n"
		   "  -v, --verbose            say more\n"
		   "  --help                   this help\n");
}

void
command_help(void)
{
	const char *line = command->help;

	printf("pg_freeze %s: %.*s\n\nUsage:\n  pg_freeze %s %s\n",
		   command->name, (int) strcspn(line, "\n"), line, command->name, command->synopsis);
	line += strcspn(line, "\n");
	if (*line)
		line++;
	printf("%s", line);
	common_help();
	close_stdout();
	exit(0);
}

static void
help(void)
{
	printf("pg_freeze holds an application still while something else happens, and lets it go on.\n"
		   "It has nothing to do with VACUUM FREEZE.\n"
		   "\nUsage:\n"
		   "  pg_freeze COMMAND [OPTION]...\n"
		   "  pg_freeze COMMAND --help\n"
		   "  pg_freeze --help | --version\n"
		   "\nCommands:\n");
	for (const Command *c = commands; c->name; c++)
		printf("  %-14s %.*s\n", c->name, (int) strcspn(c->help, "\n"), c->help);
	printf("\nExit status:\n"
		   "  0  done; of thaw and run: it held\n"
		   "  1  an error; nothing is left frozen by this call, or the message says what\n"
		   "  2  wrong usage\n"
		   "  3  it did not hold\n"
		   "  4  it is unknown whether it held\n"
		   "  5  the server is a standby\n"
		   "  6  the drain timed out: somebody did not end his transaction\n"
		   "run ends with the status of COMMAND if it held.\n");
	close_stdout();
	exit(0);
}

/*
 * Takes the numbers of standard streams that are closed: a connection that had
 * one would get what is printed.  What is printed fails as it would have.
 */
static void
fill_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(EXIT_ERROR);
}

int
main(int argc, char **argv)
{
	const char *name;

	fill_standard_streams();
	/* so that a write that fails is seen, and a reader that goes away ends nothing */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2)
		usage_error("which command?");
	name = argv[1];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-?") == 0 || strcmp(name, "help") == 0)
		help();
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
	{
		printf("pg_freeze " PF_VERSION "\n");
		close_stdout();
		return 0;
	}
	if (name[0] == '-')
		usage_error("the command comes first, and then its options: \"%s\"", name);
	for (const Command *c = commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			command = c;
	if (!command)
		usage_error("there is no command \"%s\"", name);
	return command->run(argc - 1, argv + 1);
}
