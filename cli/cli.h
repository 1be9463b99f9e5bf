/*-------------------------------------------------------------------------
 *
 * cli.h
 *	  The program pg_freeze: what its files share.
 *
 * "Freeze" means quiesce: hold an application still.  It has nothing to do
 * with VACUUM FREEZE.
 *
 *	main.c		the table of commands, help, messages
 *	options.c	options that commands have in common, intervals
 *	connect.c	connections, statements that must not fail, notices
 *	files.c		backup_label and tablespace_map on this machine
 *	signals.c	signals, the clock, waiting for several things at once
 *	link.c		a connection that is never waited for, and comes back
 *	call.c		calls that may take long, and saying what is waited for
 *	make.c		making a freeze or beginning a backup
 *	freeze.c	freeze, thaw, extend
 *	run.c		run: its options, and what happens in which order
 *	hold.c		run: from frozen to the verdict
 *	child.c		run: COMMAND
 *	show.c		status, check, sessions
 *	backup.c	backup-begin, backup-end, backup-abort, backup-status
 *	rescue.c	rescue
 *	table.c		statements that only look, tables
 *
 * A command parses its own options with getopt_long(), with what options.c has
 * for all.  Exit statuses are fixed, see below; all of them go through die(),
 * or a command returns one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_CLI_H
#define PF_CLI_H

#include "postgres_fe.h"

#include "getopt_long.h"
#include "libpq-fe.h"
#include "pqexpbuffer.h"

/* Exit statuses: documented, and the same for all commands. */
#define EXIT_HELD		0		/* or done */
#define EXIT_ERROR		1		/* nothing is left frozen by this call, or the message says what */
#define EXIT_USAGE		2
#define EXIT_NOT_HELD	3
#define EXIT_UNKNOWN	4		/* the verdict is NULL, or could not be had */
#define EXIT_STANDBY	5
#define EXIT_DRAIN		6		/* the drain timed out */

typedef struct Command
{
	const char *name;
	int			(*run) (int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
	const char *synopsis;		/* what follows the name */
	const char *help;			/* whole lines; the first is what the list of commands says */
} Command;

/* ---- main.c ----------------------------------------------------------- */

extern bool quiet;				/* -q: errors and warnings only */
extern bool verbose;			/* -v */

/* A line on stderr that begins with "pg_freeze: "; no full stop. */
extern void say(const char *fmt,...) pg_attribute_printf(1, 2);

/* The same, but not with -q. */
extern void tell(const char *fmt,...) pg_attribute_printf(1, 2);
extern _Noreturn void die(int status, const char *fmt,...) pg_attribute_printf(2, 3);

/* die(EXIT_USAGE, ...), and where to read more about the command that runs. */
extern _Noreturn void usage_error(const char *fmt,...) pg_attribute_printf(1, 2);

/* Prints the help of the command that runs, and ends. */
extern _Noreturn void command_help(void);

/* die() unless everything printed on stdout has arrived. */
extern void close_stdout(void);

/*
 * What is waited for, "" or NULL: nothing any more.  On a terminal a line that
 * the next message or the next call replaces; with -v elsewhere a message if it
 * has changed.  "seconds" are added on a terminal, below 0: none.
 */
extern void show_waiting(const char *text, int seconds);
extern bool shows_waiting(void);	/* whether anybody sees it */

/* ---- options.c -------------------------------------------------------- */

typedef struct ConnectOptions
{
	const char *host;
	const char *port;
	const char *user;
	const char *dbname;			/* a conninfo string or URI, too */
	int			password;		/* -1: never ask, 1: ask at once, 0: where it is needed */
} ConnectOptions;

/* What is frozen, and how; NULL: not given. */
typedef struct FreezeOptions
{
	const char *kind;			/* role, schema, database, cluster */
	const char *target;			/* NULL: the current database, or the cluster */
	bool		no_freeze;
	const char *mode;
	const char *strategy;
	const char *action;
	const char *in_flight;
	int64		drain_timeout;	/* ms, -1: not given */
	const char *on_drain_timeout;
	const char *attempts;
	const char *label;
	const char *reason;
	int64		timeout;		/* ms */
} FreezeOptions;

#define FREEZE_OPTIONS_INIT {.drain_timeout = -1, .timeout = 60000}

/* Values of options that have no letter; a command's own begin at OPT_OWN. */
enum
{
	OPT_ROLE = 256,
	OPT_SCHEMA,
	OPT_DATABASE,
	OPT_CLUSTER,
	OPT_NO_FREEZE,
	OPT_MODE,
	OPT_STRATEGY,
	OPT_ACTION,
	OPT_IN_FLIGHT,
	OPT_DRAIN_TIMEOUT,
	OPT_ON_DRAIN_TIMEOUT,
	OPT_ATTEMPTS,
	OPT_LABEL,
	OPT_REASON,
	OPT_TIMEOUT,
	OPT_JSON,
	OPT_HELP,
	OPT_OWN = 512
};

/* Of every command: connection, -q, -v, --help. */
#define COMMON_SHORT "h:p:U:d:wWqv"
#define COMMON_LONG \
	{"host", required_argument, NULL, 'h'}, \
	{"port", required_argument, NULL, 'p'}, \
	{"username", required_argument, NULL, 'U'}, \
	{"dbname", required_argument, NULL, 'd'}, \
	{"no-password", no_argument, NULL, 'w'}, \
	{"password", no_argument, NULL, 'W'}, \
	{"quiet", no_argument, NULL, 'q'}, \
	{"verbose", no_argument, NULL, 'v'}, \
	{"help", no_argument, NULL, OPT_HELP}

#define TARGET_LONG \
	{"role", required_argument, NULL, OPT_ROLE}, \
	{"freeze-schema", required_argument, NULL, OPT_SCHEMA}, \
	{"database", required_argument, NULL, OPT_DATABASE}, \
	{"cluster", no_argument, NULL, OPT_CLUSTER}

#define FREEZE_LONG \
	TARGET_LONG, \
	{"mode", required_argument, NULL, OPT_MODE}, \
	{"strategy", required_argument, NULL, OPT_STRATEGY}, \
	{"action", required_argument, NULL, OPT_ACTION}, \
	{"in-flight", required_argument, NULL, OPT_IN_FLIGHT}, \
	{"drain-timeout", required_argument, NULL, OPT_DRAIN_TIMEOUT}, \
	{"on-drain-timeout", required_argument, NULL, OPT_ON_DRAIN_TIMEOUT}, \
	{"attempts", required_argument, NULL, OPT_ATTEMPTS}, \
	{"label", required_argument, NULL, OPT_LABEL}, \
	{"reason", required_argument, NULL, OPT_REASON}, \
	{"timeout", required_argument, NULL, OPT_TIMEOUT}

/* These take one of the above; anything else is wrong usage, also getopt's '?'. */
extern void common_option(ConnectOptions *options, int c);
extern bool freeze_option(FreezeOptions *options, int c);	/* false: isn't one */

/* 60s, 500ms, 5min, "1 hour 30 minutes"; without a unit seconds.  In ms; wrong usage if it is none. */
extern int64 parse_interval(const char *option, const char *text);

/* An interval for the server, in a buffer of malloc's. */
extern char *interval_text(int64 ms);

/* An id, or wrong usage. */
extern const char *parse_id(const char *text);

/* One of the words, which end with NULL, or wrong usage. */
extern const char *parse_word(const char *option, const char *text, const char *const *words);

/* ---- connect.c -------------------------------------------------------- */

/* A connection, or die(). */
extern PGconn *connect_server(const ConnectOptions *options);

/* The extension's schema in the current database, quoted; or die(). */
extern const char *extension(PGconn *conn);

/* The result of a statement, or die() by its SQLSTATE.  NULL among the parameters is NULL. */
extern PGresult *query(PGconn *conn, const char *sql, int nparams, const char *const *params);

/* Prints an error of the server's or of the connection's; returns the exit status that goes with it. */
extern int	server_error(PGconn *conn, const PGresult *result);

/* The SQLSTATE of a result, "" if it has none. */
extern const char *sqlstate(const PGresult *result);

/* A value, NULL where it is NULL or missing. */
extern const char *value(const PGresult *result, int row, const char *column);

extern bool on_standby(PGconn *conn);

/* Keywords and values for libpq, as many as CONNECT_KEYWORDS, NULL at the end included. */
#define CONNECT_KEYWORDS 8
extern void connect_keywords(const ConnectOptions *options, const char **keywords, const char **values);

/* A connection just made: messages of the server's go to stderr. */
extern void connection_ready(PGconn *conn);

/* The first line of the connection's last error; the caller frees. */
extern char *connection_error(PGconn *conn);

/* Prints a message of the server's, with DETAIL and HINT. */
extern void print_server_message(const PGresult *result);

extern void *xmalloc(size_t size);
extern char *xstrdup(const char *text);
extern char *xformat(const char *fmt,...) pg_attribute_printf(1, 2);

/* ---- files.c ---------------------------------------------------------- */

/* die(EXIT_USAGE) unless files can be written there. */
extern void check_output(const char *directory);

/*
 * What an earlier backup has left there does not belong to the copy that is
 * about to be made.  Says so where it fails: then writing them does, too.
 */
extern void remove_backup_files(const char *directory);

/*
 * Writes and fsyncs backup_label and, unless it is NULL or empty, tablespace_map.
 * Both are values of a column of type bytea, so that no encoding comes between.
 * False: it failed, and why has been said.
 */
extern bool write_backup_files(const char *directory, const char *backup_label, const char *tablespace_map);

/* ---- commands --------------------------------------------------------- */

extern int	cmd_run(int argc, char **argv);
extern int	cmd_freeze(int argc, char **argv);
extern int	cmd_thaw(int argc, char **argv);
extern int	cmd_extend(int argc, char **argv);
extern int	cmd_status(int argc, char **argv);
extern int	cmd_check(int argc, char **argv);
extern int	cmd_sessions(int argc, char **argv);
extern int	cmd_backup_begin(int argc, char **argv);
extern int	cmd_backup_end(int argc, char **argv);
extern int	cmd_backup_abort(int argc, char **argv);
extern int	cmd_backup_status(int argc, char **argv);
extern int	cmd_rescue(int argc, char **argv);

#endif							/* PF_CLI_H */
