/*-------------------------------------------------------------------------
 *
 * evict.c
 *	  freeze_drain(): the ladder without a freeze.
 *
 * Runs in the caller's backend and transaction, on a standby too, and writes
 * nothing down but in the log.  Who matches when it begins is all that it is
 * about; who has ceased to match by the next look is out of the way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "arguments.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "drain.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(freeze_drain);

/* The arguments of freeze_drain(), in their order. */
enum
{
	ROLE,
	DATABASE,
	APPLICATION,
	ADDRESS,
	STATE,
	OLDER_THAN,
	EVERYBODY,
	DRAIN_TIMEOUT				/* and on_drain_timeout */
};

/*
 * $1 role, $2 database, $3 application, $4 address, $5 state, $6 age, $7
 * whether idle sessions count, $8 roles that are exempt.  NULL: any.
 *
 * "why" is the reason for which nobody is ever signalled here.  A role that is
 * named is meant, be it exempt or a superuser.
 */
static const char matching_sql[] =
"SELECT s.pid, NULL, s.usename::text, s.application_name, host(s.client_addr), s.state, s.query,\n"
"	CASE WHEN s.backend_type = 'walsender' THEN 'walsender'\n"
"		WHEN s.usesysid = $1 THEN NULL\n"
"		WHEN s.usename::text = ANY ($8) THEN 'exempt' END,\n"
"	true, s.xact_start, s.backend_start, s.state_change, s.datname::text, coalesce(r.rolsuper, false) AND s.usesysid IS DISTINCT FROM $1\n"
"FROM pg_stat_activity s LEFT JOIN pg_roles r ON r.oid = s.usesysid\n"
"WHERE s.usesysid IS NOT NULL AND (s.datid IS NOT NULL OR s.backend_type = 'walsender')\n"
"	AND s.pid <> pg_backend_pid() AND s.state IS DISTINCT FROM 'starting'\n"
"	AND coalesce(s.backend_type, '') <> 'parallel worker' AND NOT starts_with(coalesce(s.backend_type, ''), 'pg_freeze')\n"
"	AND ($1 IS NULL OR s.usesysid = $1)\n"
"	AND ($2 IS NULL OR s.datid = $2)\n"
"	AND ($3 IS NULL OR s.application_name = $3 OR s.application_name LIKE $3)\n"
"	AND ($4 IS NULL OR s.client_addr <<= $4)\n"
"	AND ($5 IS NULL OR s.state = $5 OR s.state = $5 || ' (aborted)')\n"
"	AND ($6 IS NULL OR CASE WHEN s.state = 'idle' THEN s.state_change ELSE coalesce(s.xact_start, s.state_change) END <= clock_timestamp() - $6)\n"
"	AND ($7 OR s.state IS DISTINCT FROM 'idle')\n"
"ORDER BY s.backend_start, s.pid";

/* A session that matched. */
typedef struct Evicted
{
	PfBlocker  *session;		/* as it was then */
	bool		mine;			/* may be signalled by who called */
	bool		gone;
	PfRung		rung;			/* what was done to it */
	const char *why;
} Evicted;

typedef struct Eviction
{
	Oid			types[8];
	Datum		values[8];
	char		nulls[9];
	bool		ends_sessions;	/* on_drain_timeout is terminate */
	List	   *all;			/* of Evicted * */
} Eviction;

static Evicted *
evicted(Eviction *eviction, const PfBlocker *session)
{
	ListCell   *lc;

	foreach(lc, eviction->all)
	{
		Evicted    *entry = lfirst(lc);

		if (entry->session->pid == session->pid && entry->session->backend_start == session->backend_start)
			return entry;
	}
	return NULL;
}

/* What pg_signal_backend() asks for. */
static const char *
why_not(const PfBlocker *session, const PfOptions *options, Oid role)
{
	if (session->what)
		return session->what;
	if (superuser())
		return session->superuser && !options->superusers ? "session of a superuser, and pg_freeze.drain_superusers is off" : NULL;
	if (!OidIsValid(role) || superuser_arg(role))
		return "session of a superuser";
	if (!has_privs_of_role(GetUserId(), role) && !has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND))
		return "you may not end sessions of that role";
	return NULL;
}

static List *
matching(Eviction *eviction)
{
	return pf_drain_query(matching_sql, 8, eviction->types, eviction->values, eviction->nulls);
}

/* What the ladder needs. */

static void
no_transaction(PfLadder *ladder)
{
}

static List *
look(PfLadder *ladder)
{
	Eviction   *eviction = ladder->arg;
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, eviction->all)
		((Evicted *) lfirst(lc))->gone = true;
	foreach(lc, matching(eviction))
	{
		PfBlocker  *session = lfirst(lc);
		Evicted    *entry = evicted(eviction, session);

		/* where sessions aren't ended it is about one transaction of theirs */
		if (entry == NULL || (!eviction->ends_sessions && session->since != entry->session->since))
			continue;
		entry->gone = false;
		session->what = session->state ? session->state : "connected";
		session->superuser = false;
		if (entry->mine)
			result = lappend(result, session);
	}
	return result;
}

static bool
cancelled(PfLadder *ladder)
{
	return false;
}

static void
write_down(PfLadder *ladder, List *blockers, PfRung rung)
{
}

static void
signalled_one(PfLadder *ladder, const PfBlocker *blocker, PfRung rung)
{
	evicted(ladder->arg, blocker)->rung = rung;
}

static void
give_up(PfLadder *ladder, List *blockers)
{
}

static const char *
what_happened(const Evicted *entry, bool ends_sessions)
{
	static const char *const done[] = {"", "ended while it was idle", "ended while it was idle in a transaction",
	"cancelled", "terminated"};

	if (entry->gone)
		return entry->rung != PF_RUNG_NONE ? done[entry->rung] :
			ends_sessions ? "went by itself" : "its transaction was over by itself";
	if (!entry->mine)
		return entry->why;
	return entry->rung == PF_RUNG_NONE ? "is still there" :
		psprintf("%s, and is still there", done[entry->rung]);
}

static PfOptions
options_of(FunctionCallInfo fcinfo)
{
	PfOptions	options = {
		.drain_timeout = pf_guc_drain_timeout,
		.on_drain_timeout = PF_DRAIN_TERMINATE,
		.log_after = pf_guc_drain_log_after,
		.idle_wait = pf_guc_idle_wait,
		.idle_in_transaction_wait = pf_guc_idle_in_transaction_wait,
		.cancel_wait = pf_guc_cancel_wait,
		.terminate_wait = pf_guc_terminate_wait,
		.superusers = pf_guc_drain_superusers
	};

	pf_drain_arguments(fcinfo, DRAIN_TIMEOUT, &options);
	return options;
}

/* Raises where an argument names nothing that there is, or nobody is meant. */
static void
read_arguments(FunctionCallInfo fcinfo, Eviction *eviction)
{
	static const char *const states[] = {"idle", "active", "idle in transaction", "idle in transaction (aborted)",
	"fastpath function call", "disabled"};
	static const Oid types[] = {OIDOID, OIDOID, TEXTOID, INETOID, TEXTOID, INTERVALOID, BOOLOID, TEXTARRAYOID};
	bool		somebody = pf_flag_argument(fcinfo, EVERYBODY);

	memcpy(eviction->types, types, sizeof(types));
	for (int i = ROLE; i <= OLDER_THAN; i++)
	{
		eviction->nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		eviction->values[i] = PG_GETARG_DATUM(i);
		somebody |= !PG_ARGISNULL(i);
	}
	if (!somebody)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("freeze_drain needs to be told whose sessions"),
				 errhint("Give a role, database, application, address, state or older_than, or everybody => true, which is all sessions but this one.")));
	if (!PG_ARGISNULL(ROLE))
		eviction->values[ROLE] = ObjectIdGetDatum(get_role_oid(NameStr(*PG_GETARG_NAME(ROLE)), false));
	if (!PG_ARGISNULL(DATABASE))
		eviction->values[DATABASE] = ObjectIdGetDatum(get_database_oid(NameStr(*PG_GETARG_NAME(DATABASE)), false));
	if (!PG_ARGISNULL(STATE))
	{
		char	   *state = pf_text_argument(fcinfo, STATE);
		bool		known = false;

		for (int i = 0; i < (int) lengthof(states); i++)
			known |= strcmp(state, states[i]) == 0;
		if (!known)
			pf_bad_argument("state", state, "As pg_stat_activity has them: idle, active, idle in transaction, ...");
	}
	if (!PG_ARGISNULL(OLDER_THAN))
		(void) pf_span_argument("older_than", PG_GETARG_INTERVAL_P(OLDER_THAN));
	eviction->values[6] = BoolGetDatum(eviction->ends_sessions);
	eviction->nulls[6] = ' ';
	eviction->values[7] = PointerGetDatum(pf_drain_exempt_roles());
	eviction->nulls[7] = ' ';
}

static void
put_row(ReturnSetInfo *rsinfo, const Evicted *entry, bool ends_sessions)
{
	PfBlocker  *session = entry->session;
	Oid			role = session->role ? get_role_oid(session->role, true) : InvalidOid;
	bool		see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		(OidIsValid(role) && has_privs_of_role(GetUserId(), role));
	const char *texts[10] = {
		NULL, session->role, session->database, session->application, see_all ? session->address : NULL,
		session->state, see_all ? session->query : NULL,
		entry->rung == PF_RUNG_NONE ? NULL : pf_rung_name(entry->rung), NULL, what_happened(entry, ends_sessions)
	};
	Datum		values[10];
	bool		nulls[10];

	for (int i = 0; i < 10; i++)
	{
		nulls[i] = texts[i] == NULL;
		values[i] = texts[i] == NULL ? (Datum) 0 :
			i == 1 || i == 2 ? DirectFunctionCall1(namein, CStringGetDatum(texts[i])) : CStringGetTextDatum(texts[i]);
	}
	values[0] = Int32GetDatum(session->pid);
	nulls[0] = false;
	values[8] = BoolGetDatum(entry->gone);
	nulls[8] = false;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
freeze_drain(PG_FUNCTION_ARGS)
{
	PfOptions	options = options_of(fcinfo);
	Eviction	eviction = {.ends_sessions = options.on_drain_timeout == PF_DRAIN_TERMINATE};
	PfLadder	ladder = {
		.options = &options,
		.name = psprintf("freeze_drain() by %s", quote_identifier(GetUserNameFromId(GetUserId(), false))),
		.recycles = eviction.ends_sessions,
		.arg = &eviction,
		.begin = no_transaction,
		.end = no_transaction,
		.look = look,
		.cancelled = cancelled,
		.write_down = write_down,
		.signalled_one = signalled_one,
		.give_up = give_up
	};
	ListCell   *lc;

	pf_guc_check_placeholders();
	read_arguments(fcinfo, &eviction);
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, matching(&eviction))
	{
		Evicted    *entry = palloc0(sizeof(Evicted));

		entry->session = lfirst(lc);
		entry->why = why_not(entry->session, &options,
							 entry->session->role ? get_role_oid(entry->session->role, true) : InvalidOid);
		entry->mine = entry->why == NULL;
		eviction.all = lappend(eviction.all, entry);
	}
	(void) pf_ladder_climb(&ladder);
	foreach(lc, eviction.all)
		put_row((ReturnSetInfo *) fcinfo->resultinfo, lfirst(lc), eviction.ends_sessions);
	return (Datum) 0;
}
