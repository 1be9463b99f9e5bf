/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  The settings.
 *
 * Without shared_preload_libraries a session can SET pg_freeze.x before the
 * library is loaded; the server then checks the value when the setting is
 * defined, warns, and goes on with the default.  A freeze with a default that
 * nobody asked for is worse than none, so such values are remembered and
 * every function that freezes raises 22023 until they are set right.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "belongs.h"
#include "compat.h"
#include "guc.h"
#include "pg_freeze.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

int			pf_guc_strategy = PF_STRATEGY_AUTO;
int			pf_guc_drain_timeout = 5000;
int			pf_guc_on_drain_timeout = PF_DRAIN_ABORT;
int			pf_guc_drain_log_after = 1000;
int			pf_guc_idle_wait = 0;
int			pf_guc_idle_in_transaction_wait = 2000;
int			pf_guc_cancel_wait = 2000;
int			pf_guc_terminate_wait = 2000;
bool		pf_guc_drain_superusers = false;
bool		pf_guc_keep_read_only = false;
int			pf_guc_disconnect_role = PF_DISCONNECT_LOGIN;
int			pf_guc_thaw_after = 0;
int			pf_guc_on_leak = PF_LEAK_WARN;
int			pf_guc_max_hold = 0;
int			pf_guc_history_keep = 90 * 24 * 60;
int			pf_guc_on_restart = PF_RESTART_KEEP;
int			pf_guc_remind_after = 3600;
int			pf_guc_lock_max_age = 1000000000;
bool		pf_guc_lock_standbys = false;
int			pf_guc_action = PF_GATE_WAIT;
int			pf_guc_in_flight = PF_IN_FLIGHT_AUTO;
int			pf_guc_max_wait = 60000;
int			pf_guc_notice_after = 5000;
int			pf_guc_yield_after = 2000;
char	   *pf_guc_exempt_roles = NULL;
int			pf_guc_on_promote = PF_PROMOTE_LOST;
char	   *pf_guc_pass = NULL;

static const struct config_enum_entry strategy_options[] = {
	{"auto", PF_STRATEGY_AUTO, false},
	{"revoke", 1, false},
	{"lock", 2, false},
	{"gate", 3, false},
	{"read_only", 4, false},
	{"disconnect", 5, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_drain_timeout_options[] = {
	{"abort", PF_DRAIN_ABORT, false},
	{"cancel", PF_DRAIN_CANCEL, false},
	{"terminate", PF_DRAIN_TERMINATE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry disconnect_role_options[] = {
	{"login", PF_DISCONNECT_LOGIN, false},
	{"connect", PF_DISCONNECT_CONNECT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_leak_options[] = {
	{"warn", PF_LEAK_WARN, false},
	{"error", PF_LEAK_ERROR, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_restart_options[] = {
	{"keep", PF_RESTART_KEEP, false},
	{"thaw", PF_RESTART_THAW, false},
	{NULL, 0, false}
};

static const struct config_enum_entry action_options[] = {
	{"wait", PF_GATE_WAIT, false},
	{"reject", PF_GATE_REJECT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry in_flight_options[] = {
	{"auto", PF_IN_FLIGHT_AUTO, false},
	{"hold", PF_IN_FLIGHT_HOLD, false},
	{"drain", PF_IN_FLIGHT_DRAIN, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_promote_options[] = {
	{"lost", PF_PROMOTE_LOST, false},
	{"keep", PF_PROMOTE_KEEP, false},
	{NULL, 0, false}
};

/* Settings that anybody may set, with the value found before they were defined. */
static struct
{
	const char *name;
	char	   *before;
}			placeholders[] = {
	{PF_NAME ".strategy", NULL},
	{PF_NAME ".drain_timeout", NULL},
	{PF_NAME ".on_drain_timeout", NULL},
	{PF_NAME ".drain_log_after", NULL},
	{PF_NAME ".idle_wait", NULL},
	{PF_NAME ".idle_in_transaction_wait", NULL},
	{PF_NAME ".cancel_wait", NULL},
	{PF_NAME ".terminate_wait", NULL},
	{PF_NAME ".keep_read_only", NULL},
	{PF_NAME ".disconnect_role", NULL},
	{PF_NAME ".thaw_after", NULL},
	{PF_NAME ".on_leak", NULL},
	{PF_NAME ".action", NULL},
	{PF_NAME ".in_flight", NULL},
	{PF_NAME ".max_wait", NULL},
	{PF_NAME ".notice_after", NULL},
	{PF_NAME ".yield_after", NULL},
};

/* A list of role names; whether there are such roles can't be asked here. */
static bool
check_exempt_roles(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	bool		valid = SplitIdentifierString(copy, ',', &names);

	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return valid;
}

/* Who may pass a gate is worked out anew with the new value. */
static void
forget_who_belongs(const char *newval, void *extra)
{
	pf_belongs_forget();
}

static void
define_settings(void)
{
	DefineCustomEnumVariable(PF_NAME ".strategy",
							 "How a freeze holds its target still.",
							 "\"auto\" chooses the strategy that stops the target and nobody else. "
							 "Read by the freezing call and stored with the freeze.",
							 &pf_guc_strategy, PF_STRATEGY_AUTO, strategy_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".drain_timeout",
							"How long a freeze waits for work that was already inside.",
							"Transactions that had written when the door closed may go on for so long; "
							"then pg_freeze.on_drain_timeout decides. 0 looks once and does not wait.",
							&pf_guc_drain_timeout, 5000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable(PF_NAME ".on_drain_timeout",
							 "What happens when work inside does not end in time.",
							 "\"abort\" undoes the freeze and names the blockers, \"cancel\" cancels their "
							 "statements first, \"terminate\" ends their sessions after that.",
							 &pf_guc_on_drain_timeout, PF_DRAIN_ABORT, on_drain_timeout_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".drain_log_after",
							"After how long a drain says in the log who is in its way.",
							"The first rung of the ladder. -1 never says it.",
							&pf_guc_drain_log_after, 1000, -1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".idle_wait",
							"How long a session is idle before a freeze that recycles sessions ends it.",
							"For strategies read_only and disconnect. 0 ends those that are idle at once.",
							&pf_guc_idle_wait, 0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".idle_in_transaction_wait",
							"How long sessions that are idle in a transaction have to go once they are ended.",
							"Then the ladder of pg_freeze.on_drain_timeout = 'terminate' goes on to cancel statements.",
							&pf_guc_idle_in_transaction_wait, 2000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".cancel_wait",
							"How long a cancelled statement has to end.",
							"Then the ladder of pg_freeze.on_drain_timeout goes on to end sessions, or gives up.",
							&pf_guc_cancel_wait, 2000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".terminate_wait",
							"How long a terminated session has to go.",
							"The last rung of the ladder of pg_freeze.on_drain_timeout; then the freeze gives up.",
							&pf_guc_terminate_wait, 2000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable(PF_NAME ".drain_superusers",
							 "Whether a drain may cancel and end sessions of superusers.",
							 "Without it they are left alone, and a freeze that recycles sessions names them as a leak.",
							 &pf_guc_drain_superusers, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(PF_NAME ".keep_read_only",
							 "Whether strategy read_only leaves sessions alone that are read-only by their settings already.",
							 "What such a session has SET for itself is not known to others.",
							 &pf_guc_keep_read_only, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(PF_NAME ".disconnect_role",
							 "How strategy disconnect keeps a role out.",
							 "\"login\" takes its right to log in, to any database; \"connect\" takes its privilege "
							 "CONNECT on the current database only.",
							 &pf_guc_disconnect_role, PF_DISCONNECT_LOGIN, disconnect_role_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".thaw_after",
							"When a freeze is thawed by itself, counted from when it is frozen.",
							"0 does not schedule a thaw: the freeze then holds until somebody thaws it.",
							&pf_guc_thaw_after, 0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable(PF_NAME ".on_leak",
							 "What happens when the target could still write in some way.",
							 "\"warn\" names the ways in the NOTICE and in freeze_status, \"error\" refuses the freeze.",
							 &pf_guc_on_leak, PF_LEAK_WARN, on_leak_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".max_hold",
							"The longest deadline that somebody who is no superuser may set.",
							"0 is no limit. With a limit a freeze of theirs must have a deadline.",
							&pf_guc_max_hold, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".history_keep",
							"How long freezes that are over stay in freeze_history.",
							"Older ones are deleted when the next freeze is made or thawed.",
							&pf_guc_history_keep, 90 * 24 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomEnumVariable(PF_NAME ".on_restart",
							 "What happens to live freezes when the server has been started.",
							 "\"thaw\" is for a server restored from a snapshot that was taken while frozen. "
							 "Takes effect at the start with shared_preload_libraries, else at the next call.",
							 &pf_guc_on_restart, PF_RESTART_KEEP, on_restart_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".remind_after",
							"How often the log says that a freeze without a deadline is in force.",
							"The line has the id, who made it, and the statement that thaws it.",
							&pf_guc_remind_after, 3600, 10, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".lock_max_age",
							"The age of a database, in transactions, at which strategy lock lets go.",
							"Its locks keep vacuum out. A freeze that is in force is lost then and stays so; "
							"a new one is refused until VACUUM has been there.",
							&pf_guc_lock_max_age, 1000000000, 1000, 2000000000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(PF_NAME ".lock_standbys",
							 "Whether strategy lock may use mode all where standbys would hold its locks too.",
							 "ACCESS EXCLUSIVE locks stop readers on standbys and need room in their lock tables.",
							 &pf_guc_lock_standbys, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(PF_NAME ".action",
							 "What happens to work that meets a freeze by strategy gate.",
							 "\"wait\" lets it wait for the thaw, \"reject\" raises an error. "
							 "freeze_alter changes it while the freeze is live.",
							 &pf_guc_action, PF_GATE_WAIT, action_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(PF_NAME ".in_flight",
							 "What becomes of transactions that had written when a freeze by strategy gate begins.",
							 "\"hold\" stops them at their next statement or commit, with the locks they hold; \"drain\" "
							 "lets them finish for pg_freeze.drain_timeout; \"auto\" holds where work waits and drains where it is rejected.",
							 &pf_guc_in_flight, PF_IN_FLIGHT_AUTO, in_flight_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".max_wait",
							"How long a statement or a commit waits for the thaw of a freeze by strategy gate.",
							"Then it gets an error. Should be less than what a pooler or the client waits. 0 waits for ever.",
							&pf_guc_max_wait, 60000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".notice_after",
							"After how long a client that waits for a thaw is told so by a NOTICE.",
							"-1 never tells it. For freezes by strategy gate.",
							&pf_guc_notice_after, 5000, -1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(PF_NAME ".yield_after",
							"How long a session that waits for a thaw may be in the way of one that is exempt.",
							"Then it gets an error, so that its locks are gone. -1 lets it wait. For freezes by strategy gate.",
							&pf_guc_yield_after, 2000, -1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable(PF_NAME ".exempt_roles",
							   "Roles whose sessions no freeze by strategy gate stops.",
							   "A list of the names of session users, for example of an HA manager or of monitoring that writes.",
							   &pf_guc_exempt_roles, "",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_exempt_roles, forget_who_belongs, NULL);
	DefineCustomEnumVariable(PF_NAME ".on_promote",
							 "What happens to freezes by strategy gate when a standby is promoted.",
							 "\"lost\" lets everybody go on, and the verdicts say so; \"keep\" lets nobody but superusers "
							 "in until they are in force again.",
							 &pf_guc_on_promote, PF_PROMOTE_LOST, on_promote_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(PF_NAME ".pass",
							   "The pass that freeze_pass has given out: this session is not stopped by that freeze.",
							   "For freezes by strategy gate. A wrong one does nothing.",
							   &pf_guc_pass, "",
							   PGC_USERSET, GUC_NO_SHOW_ALL | GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE, NULL, forget_who_belongs, NULL);
}

/* Defines the settings; called once, when the library is loaded. */
void
pf_guc_define(void)
{
	for (int i = 0; i < (int) lengthof(placeholders); i++)
	{
		const char *value = GetConfigOption(placeholders[i].name, true, false);

		if (value)
			placeholders[i].before = MemoryContextStrdup(TopMemoryContext, value);
	}
	define_settings();
	MarkGUCPrefixReserved(PF_NAME);
}

/*
 * Raises 22023 if a setting was given an invalid value before the library was
 * loaded and has not been set since.
 */
void
pf_guc_check_placeholders(void)
{
	for (int i = 0; i < (int) lengthof(placeholders); i++)
		if (placeholders[i].before &&
			pf_guc_source(placeholders[i].name) == PGC_S_DEFAULT &&
			set_config_option(placeholders[i].name, placeholders[i].before, PGC_USERSET, PGC_S_TEST,
							  GUC_ACTION_SET, false, DEBUG5, false) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for parameter \"%s\": \"%s\"",
							placeholders[i].name, placeholders[i].before),
					 errdetail("It was set before the library was loaded, when nothing could check it."),
					 errhint("SET %s to a valid value, or RESET it and SET it to the default.",
							 placeholders[i].name)));
}
