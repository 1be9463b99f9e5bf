/*-------------------------------------------------------------------------
 *
 * options.c
 *	  The program pg_freeze: options that commands have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

#include <ctype.h>

static const char *const modes[] = {"write", "all", NULL};
static const char *const actions[] = {"wait", "reject", NULL};
static const char *const in_flights[] = {"hold", "drain", NULL};
static const char *const on_drain_timeouts[] = {"abort", "cancel", "terminate", NULL};

void
common_option(ConnectOptions *options, int c)
{
	switch (c)
	{
		case 'h':
			options->host = optarg;
			break;
		case 'p':
			options->port = optarg;
			break;
		case 'U':
			options->user = optarg;
			break;
		case 'd':
			options->dbname = optarg;
			break;
		case 'w':
			options->password = -1;
			break;
		case 'W':
			options->password = 1;
			break;
		case 'q':
			quiet = true;
			break;
		case 'v':
			verbose = true;
			break;
		case OPT_HELP:
			command_help();
		default:
			/* getopt_long() has said why */
			usage_error("wrong option");
	}
}

static void
set_target(FreezeOptions *options, const char *kind, const char *target)
{
	if (options->kind || options->no_freeze)
		usage_error("there can be only one target");
	if (target && target[0] == '\0')
		usage_error("the name of the %s is empty", kind);
	options->kind = kind;
	options->target = target;
}

bool
freeze_option(FreezeOptions *options, int c)
{
	switch (c)
	{
		case OPT_ROLE:
			set_target(options, "role", optarg);
			break;
		case OPT_SCHEMA:
			set_target(options, "schema", optarg);
			break;
		case OPT_DATABASE:
			set_target(options, "database", optarg);
			break;
		case OPT_CLUSTER:
			set_target(options, "cluster", NULL);
			break;
		case OPT_NO_FREEZE:
			if (options->kind)
				usage_error("there can be only one target");
			options->no_freeze = true;
			break;
		case OPT_MODE:
			options->mode = parse_word("--mode", optarg, modes);
			break;
		case OPT_STRATEGY:
			options->strategy = optarg;
			break;
		case OPT_ACTION:
			options->action = parse_word("--action", optarg, actions);
			break;
		case OPT_IN_FLIGHT:
			options->in_flight = parse_word("--in-flight", optarg, in_flights);
			break;
		case OPT_DRAIN_TIMEOUT:
			options->drain_timeout = parse_interval("--drain-timeout", optarg);
			break;
		case OPT_ON_DRAIN_TIMEOUT:
			options->on_drain_timeout = parse_word("--on-drain-timeout", optarg, on_drain_timeouts);
			break;
		case OPT_ATTEMPTS:
			if (strspn(optarg, "0123456789") != strlen(optarg) || strlen(optarg) > 9 || atoi(optarg) == 0)
				usage_error("--attempts is no number above 0: \"%s\"", optarg);
			options->attempts = optarg;
			break;
		case OPT_LABEL:
			if (optarg[0] == '\0')
				usage_error("the label is empty");
			options->label = optarg;
			break;
		case OPT_REASON:
			options->reason = optarg;
			break;
		case OPT_TIMEOUT:
			options->timeout = parse_interval("--timeout", optarg);
			if (options->timeout <= 0)
				usage_error("--timeout must be above 0; use SQL for a freeze without a deadline");
			break;
		default:
			return false;
	}
	return true;
}

/* The length of a unit in ms, 0 if it is none. */
static double
unit_length(const char *unit, size_t length)
{
	static const struct
	{
		const char *name;
		double		ms;
	}			units[] = {
		{"ms", 1}, {"msec", 1}, {"millisecond", 1},
		{"", 1000}, {"s", 1000}, {"sec", 1000}, {"second", 1000},
		{"m", 60000}, {"min", 60000}, {"minute", 60000},
		{"h", 3600000}, {"hour", 3600000},
		{"d", 86400000}, {"day", 86400000}};

	for (size_t i = 0; i < lengthof(units); i++)
	{
		size_t		n = strlen(units[i].name);

		if (strncmp(units[i].name, unit, length) == 0 && length == n)
			return units[i].ms;
		/* seconds, but not "ss" */
		if (n > 2 && length == n + 1 && strncmp(units[i].name, unit, n) == 0 && unit[n] == 's')
			return units[i].ms;
	}
	return 0;
}

int64
parse_interval(const char *option, const char *text)
{
	const char *p = text;
	double		ms = 0;
	bool		found = false;

	for (;;)
	{
		const char *number;
		char	   *end;
		double		n;
		double		unit;

		while (isspace((unsigned char) *p))
			p++;
		if (*p == '\0')
			break;
		number = p;
		if (!isdigit((unsigned char) *p))
			break;
		n = strtod(number, &end);
		if (strspn(number, "0123456789.") != (size_t) (end - number))
			break;
		p = end;
		while (isspace((unsigned char) *p))
			p++;
		number = p;
		while (isalpha((unsigned char) *p))
			p++;
		unit = unit_length(number, p - number);
		/* what follows a number without a unit would be taken for another one */
		if (unit == 0 || (p == number && *p != '\0'))
		{
			p = number;
			found = false;
			break;
		}
		ms += n * unit;
		found = true;
	}
	if (*p != '\0' || !found)
		usage_error("%s is no interval such as 60s, 500ms, 5min or 1h: \"%s\"", option, text);
	/* what an interval of the server's can be is more, but nobody means it */
	if (!(ms <= 3650.0 * 86400000.0))
		usage_error("%s is too long: \"%s\"", option, text);
	if (ms > 0 && ms < 1)
		usage_error("%s is below a millisecond: \"%s\"", option, text);
	return (int64) ms;
}

char *
interval_text(int64 ms)
{
	return xformat(INT64_FORMAT " milliseconds", ms);
}

const char *
parse_id(const char *text)
{
	size_t		length = strlen(text);

	if (length == 0 || length > 18 || strspn(text, "0123456789") != length)
		usage_error("an id is a number: \"%s\"", text);
	return text;
}

const char *
parse_word(const char *option, const char *text, const char *const *words)
{
	PQExpBufferData list;

	for (const char *const *word = words; *word; word++)
		if (strcmp(*word, text) == 0)
			return text;
	initPQExpBuffer(&list);
	for (const char *const *word = words; *word; word++)
		appendPQExpBuffer(&list, "%s%s", word == words ? "" : word[1] ? ", " : " or ", *word);
	usage_error("%s is %s: \"%s\"", option, list.data, text);
}
