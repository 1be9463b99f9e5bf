/*-------------------------------------------------------------------------
 *
 * sessions.c
 *	  The sessions of a target, as strategies that recycle sessions see them.
 *
 * Runs in the worker that makes a freeze, after the transaction that changed
 * the catalogs has committed, and in backends that look.
 *
 * Who gets into the process array when that transaction is over reads what
 * it has written.  So those who were in the array just after it are all that
 * may have read the former state, and pf_sessions_there() is the list of
 * them: the drain is over when none of them that is of the target is left.
 *
 * Some of them are still starting.  These show no database and no role in
 * pg_stat_activity before they have read all that concerns them (15 to 17
 * show no row at all, later ones the state "starting"), but PGPROC has the
 * role once it is known to be allowed in, and the database a little later.
 * Either tells whether they are of the target; until then they are in the
 * way.  That would be as long as a client likes that stops in the middle of
 * authentication.  But who waits for its client and has no role yet is in
 * authentication, and will read the role, and everything after it, later
 * (InitializeSessionUserId() takes in the invalidations that our commit has
 * sent).  So it is as good as one who comes later, and leaves the list.
 *
 * An entry of the list whose process has gone leaves it at the next look, so
 * that nobody is taken for a process whose pid he has got.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "guc.h"
#include "journal.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "sessions.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

/*
 * $1 target, $2 its kind, $3 mode is "all", $4 freeze or 0, $5 pids, $6 roles
 * that are exempt, $7 whether superusers are none, $8 whether those who were
 * read-only by their settings are left alone, $9 target in this database only,
 * $10 whether $5 are those who were there when the door was closed.  Else, and
 * where others may come in, who is one of them is told by the time.
 *
 * The conditions on count(*) make the executor finish one scan before it
 * begins the next: who prepares a transaction shows it before he is idle.
 */
static const char sessions_sql[] =
"WITH activity AS MATERIALIZED (\n"
"	SELECT s.*, coalesce(r.rolsuper, false) AS super,\n"
"		$2 = 'cluster' AND $3 AND coalesce(r.rolreplication AND NOT r.rolsuper, false) AS may_come\n"
"	FROM pg_stat_activity s LEFT JOIN pg_roles r ON r.oid = s.usesysid\n"
"	WHERE s.pid = ANY ($5) AND s.state IS DISTINCT FROM 'starting'),\n"
"\n"
"prepared AS MATERIALIZED (\n"
"	SELECT p.gid, p.prepared, p.ownerid, p.dbid, coalesce(r.rolsuper, false) AS super\n"
"	FROM pg_prepared_xact() p LEFT JOIN pg_roles r ON r.oid = p.ownerid\n"
"	WHERE (SELECT count(*) FROM activity) >= 0 AND NOT $3),\n"
"\n"
"entry AS (\n"
"	SELECT s.pid, NULL::text AS gid, s.usesysid AS roleid, s.datid, s.super, s.application_name AS application,\n"
"		host(s.client_addr) AS address, s.state, s.query,\n"
"		CASE WHEN s.backend_xid IS NOT NULL THEN 'in a transaction that has written'\n"
"			WHEN s.state IN ('active', 'fastpath function call') THEN 'in a statement'\n"
"			WHEN s.state LIKE 'idle in transaction%' THEN 'in a transaction'\n"
"			WHEN s.backend_type <> 'client backend' THEN s.backend_type\n"
"			ELSE 'connected' END AS what,\n"
"		true AS signalable, s.xact_start AS since, s.backend_start, s.state_change\n"
"	FROM activity s\n"
"	WHERE s.datid IS NOT NULL AND s.usesysid IS NOT NULL AND NOT s.may_come\n"
"		AND coalesce(s.backend_type, '') NOT IN ('walsender', 'parallel worker')\n"
"		AND NOT starts_with(coalesce(s.backend_type, ''), 'pg_freeze')\n"
"		AND s.pid <> coalesce((SELECT j.by_pid FROM @.freeze_journal j WHERE j.id = $4), pg_backend_pid())\n"
"		AND ($3 OR $10 OR NOT EXISTS (SELECT FROM @.freeze_journal j WHERE j.id = $4 AND s.backend_start > j.engaged_at))\n"
"	UNION ALL\n"
"	SELECT NULL, p.gid, p.ownerid, p.dbid, p.super, NULL, NULL, 'prepared', NULL, 'prepared',\n"
"		false, p.prepared, NULL, NULL\n"
"	FROM prepared p)\n"
"\n"
"SELECT e.pid, e.gid, coalesce(pg_get_userbyid(e.roleid)::text, e.roleid::text), e.application, e.address, e.state, e.query,\n"
"	e.what, e.signalable, e.since, e.backend_start, e.state_change, d.datname::text, false\n"
"FROM entry e LEFT JOIN pg_database d ON d.oid = e.datid\n"
"WHERE CASE $2 WHEN 'role' THEN e.roleid = $1 AND (NOT $9 OR d.datname = current_database())\n"
"		ELSE ($2 = 'cluster' OR e.datid = $1)\n"
"			AND ($7 OR NOT e.super) AND pg_get_userbyid(e.roleid)::text <> ALL ($6) END\n"
"	AND NOT (CASE WHEN $8 AND e.pid IS NOT NULL THEN\n"
"		coalesce((SELECT CASE WHEN v.freeze_id IS NULL THEN n.value ELSE v.before END\n"
"			FROM (VALUES (1, e.datid, e.roleid), (2, 0::oid, e.roleid), (3, e.datid, 0::oid), (4, 0::oid, 0::oid)) AS place (rank, database, role)\n"
"			LEFT JOIN @.freeze_journal_value v ON v.freeze_id = $4 AND v.kind = 'setting'\n"
"				AND v.database = place.database AND v.role = place.role\n"
"			LEFT JOIN LATERAL (SELECT split_part(c, '=', 2) AS value FROM pg_db_role_setting s, unnest(s.setconfig) c\n"
"				WHERE s.setdatabase = place.database AND s.setrole = place.role\n"
"					AND starts_with(c, 'default_transaction_read_only=')) n ON true\n"
"			WHERE CASE WHEN v.freeze_id IS NULL THEN n.value ELSE v.before END IS NOT NULL\n"
"			ORDER BY place.rank LIMIT 1), 'off')::boolean ELSE false END)\n"
"UNION ALL\n"
"SELECT t.pid, NULL, NULL, NULL, NULL, 'starting', NULL, 'is still starting', false, NULL, NULL, NULL, NULL, false\n"
"FROM unnest($5) AS t (pid)\n"
"WHERE t.pid <> 0 AND NOT EXISTS (SELECT FROM activity s WHERE s.pid = t.pid)\n"
"ORDER BY 10, 1";

/*
 * All sessions of a target: $1 it, $2 its kind, $3 freeze or 0, $4 roles that are
 * exempt, $5 whether superusers are none, $6 target in this database only, $7
 * mode is "all".  What follows the columns of pf_drain_query() is in
 * pf_sessions_all().
 */
static const char all_sql[] =
"WITH writing AS MATERIALIZED (\n"
"	SELECT DISTINCT l.pid FROM pg_locks l\n"
"	WHERE l.granted AND l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'SIReadLock')\n"
"		AND l.relation NOT IN ('pg_largeobject'::regclass, 'pg_largeobject_loid_pn_index'::regclass))\n"
"SELECT s.pid, NULL, s.usename::text, s.application_name, host(s.client_addr), s.state, s.query,\n"
"	CASE WHEN s.pid = coalesce(j.by_pid, pg_backend_pid()) THEN\n"
"			CASE WHEN j.id IS NULL THEN 'this session' ELSE 'the session that froze' END\n"
"		WHEN s.backend_type IN ('walsender', 'autovacuum worker') THEN s.backend_type\n"
"		WHEN $2 = 'role' AND s.usesysid = $1 THEN NULL\n"
"		WHEN r.rolsuper AND NOT $5 THEN 'superuser'\n"
"		WHEN s.usename::text = ANY ($4) THEN 'exempt'\n"
"		WHEN $2 = 'cluster' AND $7 AND r.rolreplication AND NOT r.rolsuper THEN 'role for replication'\n"
"		WHEN s.backend_start > j.engaged_at THEN 'began after the door was closed' END,\n"
"	s.backend_xid IS NOT NULL OR EXISTS (SELECT FROM writing w WHERE w.pid = s.pid), s.xact_start, s.backend_start, s.state_change,\n"
"	s.datname::text, s.signalled\n"
"FROM (SELECT a.*, EXISTS (SELECT FROM @.freeze_journal_session g\n"
"		WHERE g.freeze_id = $3 AND g.pid = a.pid AND g.at > a.backend_start\n"
"			AND g.rung <> 'idle' AND (g.at > a.state_change OR g.rung <> 'cancel')) AS signalled\n"
"	FROM pg_stat_activity a) s\n"
"	LEFT JOIN pg_roles r ON r.oid = s.usesysid LEFT JOIN @.freeze_journal j ON j.id = $3\n"
"WHERE (s.usesysid IS NOT NULL AND s.datid IS NOT NULL OR s.backend_type IN ('walsender', 'autovacuum worker'))\n"
"	AND coalesce(s.backend_type, '') <> 'parallel worker' AND NOT starts_with(coalesce(s.backend_type, ''), 'pg_freeze')\n"
"	AND CASE $2 WHEN 'role' THEN s.usesysid = $1 AND (NOT $6 OR s.datname = current_database())\n"
"		WHEN 'database' THEN s.datid = $1 ELSE $2 = 'cluster' END\n"
"ORDER BY s.backend_start, s.pid";

/*
 * The same conditions: $1 target, $2 its kind, $3 roles that are exempt, $4
 * whether superusers are none, $5 who asks.  Who has made a freeze is left out.
 */
static const char left_alone_sql[] =
"SELECT count(*) FILTER (WHERE r.rolsuper AND NOT $4), count(*) FILTER (WHERE NOT (r.rolsuper AND NOT $4))\n"
"FROM pg_stat_activity s JOIN pg_roles r ON r.oid = s.usesysid\n"
"WHERE $2 <> 'role' AND s.datid IS NOT NULL AND ($2 = 'cluster' OR s.datid = $1)\n"
"	AND coalesce(s.backend_type, '') NOT IN ('walsender', 'parallel worker')\n"
"	AND NOT starts_with(coalesce(s.backend_type, ''), 'pg_freeze')\n"
"	AND s.pid <> $5\n"
"	AND NOT EXISTS (SELECT FROM @.freeze_journal j WHERE j.by_pid = s.pid AND j.requested_at >= s.backend_start\n"
"		AND j.state NOT IN ('thawed', 'aborted'))\n"
"	AND (r.rolsuper AND NOT $4 OR r.rolname::text = ANY ($3))";

/* PGPROCs of backends and background workers; those of others come after these. */
static inline PGPROC *
proc_at(int i)
{
	return &ProcGlobal->allProcs[i];
}

/*
 * Whether a process waits for its client and isn't known by role: see above.
 * What it waits for is read first: once past that, it does not come back.
 */
static bool
in_authentication(PGPROC *proc)
{
	uint32		event = *(volatile uint32 *) &proc->wait_event_info;

	pg_read_barrier();
	return event == WAIT_EVENT_CLIENT_READ && !OidIsValid(*(volatile Oid *) &proc->roleId);
}

/* See sessions.h. */
ArrayType *
pf_sessions_there(void)
{
	Datum	   *pids = palloc(sizeof(Datum) * MaxBackends);
	int			n = 0;

	/* who has come before this is seen, for he has had the lock before */
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	LWLockRelease(ProcArrayLock);
	for (int i = 0; i < MaxBackends; i++)
	{
		int			pid = proc_at(i)->pid;

		if (pid == 0 || pid == MyProcPid || in_authentication(proc_at(i)))
			continue;
		/* background workers may be there without being in the array */
		if (BackendPidGetProc(pid) != NULL)
			pids[n++] = Int32GetDatum(pid);
	}
	return construct_array(pids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

static int *
pids_of(ArrayType *there, int *n)
{
	*n = ARR_NDIM(there) == 0 ? 0 : ARR_DIMS(there)[0];
	/* one dimension and no nulls */
	return (int *) ((char *) there + ARR_OVERHEAD_NONULLS(1));
}

static int
compare_pids(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return (x > y) - (x < y);
}

/* Takes out of the list who is gone. */
static void
forget_gone(ArrayType *there)
{
	int			n;
	int		   *pids = pids_of(there, &n);
	bool	   *found = palloc0(sizeof(bool) * Max(n, 1));

	qsort(pids, n, sizeof(int), compare_pids);
	for (int i = 0; i < MaxBackends; i++)
	{
		int			pid = proc_at(i)->pid;
		int		   *entry = pid == 0 ? NULL : bsearch(&pid, pids, n, sizeof(int), compare_pids);

		if (entry)
			found[entry - pids] = true;
	}
	for (int i = 0; i < n; i++)
		if (!found[i])
			pids[i] = 0;
}

static void
forget(ArrayType *there, int pid)
{
	int			n;
	int		   *pids = pids_of(there, &n);

	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			pids[i] = 0;
}

/* Superusers and those who are exempt, as the query above has them. */
static bool
is_left_alone(Oid role, bool superusers)
{
	List	   *names = NIL;
	char	   *name = GetUserNameFromId(role, true);
	ListCell   *lc;

	if (superuser_arg(role) && !superusers)
		return true;
	(void) SplitIdentifierString(pstrdup(pf_guc_exempt_roles ? pf_guc_exempt_roles : ""), ',', &names);
	foreach(lc, names)
		if (name && strcmp(name, lfirst(lc)) == 0)
			return true;
	return false;
}

/*
 * Whether a process that shows nothing of itself yet, or nothing any more, may
 * be of the target; if so, fills in what is known.
 */
static bool
starting_blocks(const PfTarget *target, bool superusers, PfBlocker *blocker, ArrayType *there)
{
	PGPROC	   *proc = BackendPidGetProc(blocker->pid);
	Oid			role;
	Oid			database;

	if (proc == NULL || in_authentication(proc))
	{
		forget(there, blocker->pid);
		return false;
	}
	role = *(volatile Oid *) &proc->roleId;
	database = *(volatile Oid *) &proc->databaseId;
	if (target->kind != PF_ROLE && OidIsValid(role) && is_left_alone(role, superusers))
		return false;
	if (target->kind == PF_ROLE && OidIsValid(role) && role != target->oid)
		return false;
	if (target->kind == PF_DATABASE && OidIsValid(database) && database != target->oid)
		return false;
	if (target->only_here && OidIsValid(database) && database != MyDatabaseId)
		return false;
	if (OidIsValid(role))
		blocker->role = GetUserNameFromId(role, true);
	/* nobody else's session is ended */
	blocker->signalable = OidIsValid(role) && (target->kind != PF_DATABASE || OidIsValid(database));
	return true;
}

/* See sessions.h. */
List *
pf_sessions_left(const PfStrategy *strategy, const PfTarget *target, int64 freeze_id,
				 bool superusers, bool keep_read_only, ArrayType *there)
{
	Oid			types[] = {OIDOID, TEXTOID, BOOLOID, INT8OID, INT4ARRAYOID, TEXTARRAYOID, BOOLOID, BOOLOID, BOOLOID, BOOLOID};
	Datum		values[10];
	List	   *result = NIL;
	bool		drains = there != NULL;
	ListCell   *lc;

	Assert(strategy->recycles && target->kind != PF_SCHEMA);
	values[9] = BoolGetDatum(drains);
	if (!drains)
		there = pf_sessions_there();
	else
		forget_gone(there);
	values[0] = ObjectIdGetDatum(target->oid);
	values[1] = CStringGetTextDatum(pf_kind_name(target->kind));
	values[2] = BoolGetDatum(target->mode == PF_ALL);
	values[3] = Int64GetDatum(freeze_id);
	values[4] = PointerGetDatum(there);
	values[5] = PointerGetDatum(pf_drain_exempt_roles());
	values[6] = BoolGetDatum(superusers);
	values[7] = BoolGetDatum(keep_read_only);
	values[8] = BoolGetDatum(target->only_here);
	foreach(lc, pf_drain_query(sessions_sql, 10, types, values, NULL))
	{
		PfBlocker  *blocker = lfirst(lc);

		if (blocker->state && strcmp(blocker->state, "starting") == 0 && !starting_blocks(target, superusers, blocker, there))
			continue;
		/* for who only looks it is not worth a word, and most of them are on their way out */
		if (!drains && blocker->pid != 0 && blocker->backend_start == 0 && blocker->role == NULL)
			continue;
		result = lappend(result, blocker);
	}
	return result;
}

/* The rung that would be next for somebody in the way; NULL: none. */
static const char *
next_rung_of(const PfBlocker *blocker, const PfOptions *options, bool recycles, bool signalled)
{
	PfRung		rung;

	for (rung = recycles ? PF_RUNG_IDLE : PF_RUNG_IDLE_IN_TRANSACTION; rung < PF_RUNG_TERMINATE; rung++)
		if (!signalled && pf_rung_reaches(rung, blocker, options))
			return pf_rung_name(rung);
	return pf_rung_reaches(PF_RUNG_TERMINATE, blocker, options) ? pf_rung_name(PF_RUNG_TERMINATE) : NULL;
}

static PfBlocker *
blocker_of(List *blockers, int pid)
{
	ListCell   *lc;

	foreach(lc, blockers)
		if (((PfBlocker *) lfirst(lc))->pid == pid)
			return lfirst(lc);
	return NULL;
}

static PfSession *
make_session(const PfStrategy *strategy, PfBlocker *blocker, const PfOptions *options, bool writer, bool signalled)
{
	PfSession  *session = palloc0(sizeof(PfSession));

	session->blocker = blocker;
	session->writer = writer;
	session->in_flight = !strategy->recycles || blocker->state == NULL || strcmp(blocker->state, "idle") != 0;
	session->next_rung = next_rung_of(blocker, options, strategy->recycles, signalled);
	session->why = blocker->pid == 0 ? psprintf("prepared transaction %s", quote_literal_cstr(blocker->gid)) :
		blocker->superuser && session->next_rung == NULL ? psprintf("superuser: %s", blocker->what) : blocker->what;
	return session;
}

/* See sessions.h. */
List *
pf_sessions_all(const PfStrategy *strategy, const PfTarget *target, int64 freeze_id, List *blockers)
{
	Oid			types[] = {OIDOID, TEXTOID, INT8OID, TEXTARRAYOID, BOOLOID, BOOLOID, BOOLOID};
	PfFreeze   *freeze = freeze_id ? journal_read_existing(freeze_id) : NULL;
	PfOptions	options = {.superusers = freeze ? freeze->superusers : pf_guc_drain_superusers};
	Datum		values[7];
	List	   *everybody;
	List	   *result = NIL;
	ListCell   *lc;

	values[0] = ObjectIdGetDatum(target->oid);
	values[1] = CStringGetTextDatum(pf_kind_name(target->kind));
	values[2] = Int64GetDatum(freeze_id);
	values[3] = PointerGetDatum(pf_drain_exempt_roles());
	values[4] = BoolGetDatum(options.superusers);
	values[5] = BoolGetDatum(target->only_here);
	values[6] = BoolGetDatum(target->mode == PF_ALL && strategy->recycles);
	everybody = pf_drain_query(all_sql, 7, types, values, NULL);
	foreach(lc, everybody)
	{
		PfBlocker  *seen = lfirst(lc);
		/* what the query says in places that have another meaning for blockers */
		char	   *alone = seen->what;
		bool		writer = seen->signalable;
		bool		signalled = seen->superuser;
		PfBlocker  *blocker = blocker_of(blockers, seen->pid);
		PfSession  *session;

		if (blocker)
			session = make_session(strategy, blocker, &options, writer, signalled);
		else
		{
			session = palloc0(sizeof(PfSession));
			session->blocker = seen;
			session->writer = writer;
			session->why = alone ? alone : !strategy->recycles ? "is not in flight" :
				freeze && freeze->keep_read_only ? "read-only by its settings" : "has gone on";
		}
		result = lappend(result, session);
	}
	foreach(lc, blockers)
	{
		PfBlocker  *blocker = lfirst(lc);

		if (blocker->pid == 0 || blocker_of(everybody, blocker->pid) == NULL)
			result = lappend(result, make_session(strategy, blocker, &options, target->mode == PF_WRITE, false));
	}
	return result;
}

/* See sessions.h. */
char *
pf_sessions_left_alone(const PfTarget *target, bool superusers)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[] = {OIDOID, TEXTOID, TEXTARRAYOID, BOOLOID, INT4OID};
	Datum		values[5];
	bool		isnull;
	int64		supers;
	int64		exempt;
	PfSpi		spi;

	values[0] = ObjectIdGetDatum(target->oid);
	values[1] = CStringGetTextDatum(pf_kind_name(target->kind));
	values[2] = PointerGetDatum(pf_drain_exempt_roles());
	values[3] = BoolGetDatum(superusers);
	values[4] = Int32GetDatum(pf_worker_asker());
	pgstat_clear_backend_activity_snapshot();
	spi = pf_spi_begin();
	journal_execute(left_alone_sql, 5, types, values, NULL, false);
	supers = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	exempt = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	pf_spi_end(spi);
	MemoryContextSwitchTo(context);
	if (supers + exempt == 0)
		return NULL;
	return psprintf("%s%s%s %s left alone",
					supers ? psprintf(INT64_FORMAT " session%s of superusers", supers, supers == 1 ? "" : "s") : "",
					supers && exempt ? " and " : "",
					exempt ? psprintf(INT64_FORMAT " session%s of exempt roles", exempt, exempt == 1 ? "" : "s") : "",
					supers + exempt == 1 ? "is" : "are");
}

/* See sessions.h. */
int
pf_sessions_newcomers(const PfFreeze *freeze, ArrayType *there)
{
	Oid			types[] = {OIDOID, TEXTOID, TIMESTAMPTZOID, INT4ARRAYOID};
	Datum		values[4];
	bool		isnull;
	int			count;
	PfSpi		spi;

	values[0] = ObjectIdGetDatum(freeze->target.oid);
	values[1] = CStringGetTextDatum(pf_kind_name(freeze->target.kind));
	values[2] = TimestampTzGetDatum(freeze->engaged_at);
	values[3] = PointerGetDatum(there);
	pgstat_clear_backend_activity_snapshot();
	spi = pf_spi_begin();
	journal_execute("SELECT count(*)::int FROM pg_stat_activity"
					" WHERE backend_type = 'client backend' AND backend_start >= $3 AND pid = ANY ($4) AND datid IS NOT NULL"
					" AND CASE $2 WHEN 'role' THEN usesysid = $1 WHEN 'database' THEN datid = $1 ELSE true END",
					4, types, values, NULL, false);
	count = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pf_spi_end(spi);
	return count;
}
