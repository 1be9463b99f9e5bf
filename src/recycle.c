/*-------------------------------------------------------------------------
 *
 * recycle.c
 *	  What the strategies that recycle sessions have in common.
 *
 * Each has a list of values in shared catalogs that it wants to be otherwise
 * while a freeze is live: values.c changes them and puts them back, ladder.c
 * ends the sessions that were let in before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "guc.h"
#include "journal.h"
#include "leak.h"
#include "recycle.h"
#include "sessions.h"
#include "utils/builtins.h"

/* See recycle.h. */
PfValue *
pf_value_make(PfValueKind kind, Oid database, Oid role)
{
	PfValue    *value = palloc(sizeof(PfValue));

	value->kind = kind;
	value->database = database;
	value->role = role;
	return value;
}

/* See recycle.h. */
List *
pf_recycle_sessions(PfFreeze *freeze)
{
	List	   *sessions = NIL;
	ListCell   *cell;

	foreach(cell, pf_sessions_left(freeze->strategy, &freeze->target, freeze->id, freeze->superusers, freeze->keep_read_only, NULL))
	{
		PfBlocker  *session = lfirst(cell);

		if (session->pid != 0 && strcmp(session->state ? session->state : "", "starting") != 0)
			sessions = lappend(sessions, session);
	}
	return sessions;
}

/*
 * See recycle.h.  Where nothing need be changed because it was so before, there
 * is still something to do if there are sessions that came in before that.
 */
int64
pf_recycle_engage(PfFreeze *freeze, int64 *covered, List *wanted)
{
	int64		changed = 0;
	ListCell   *cell;

	foreach(cell, wanted)
		changed += pf_value_take(freeze, lfirst(cell), covered);
	if (freeze->state == PF_ENGAGING && changed + *covered == 0 && pf_recycle_sessions(freeze) != NIL)
		*covered = 1;
	return changed;
}

/* See recycle.h. */
void
pf_recycle_check(PfEmit emit, void *arg, List *wanted)
{
	ListCell   *cell;

	foreach(cell, wanted)
	{
		PfValue    *value = lfirst(cell);
		char	   *now;

		if (pf_value_read(value, &now) && !pf_value_is_held(value, now))
			emit(arg, InvalidOid, value->kind == PF_VALUE_SETTING ? "setting" : value->kind == PF_VALUE_LOGIN ? "role" : "database",
				 pf_value_text(value), psprintf("from %s to %s", now ? now : "not set", pf_value_wanted(value)));
	}
}

/* See recycle.h. */
char *
pf_recycle_broken(PfFreeze *freeze, int64 *checked, List *wanted)
{
	char	   *altered;
	char	   *back = pf_values_broken(freeze, checked, &altered);
	ListCell   *cell;

	if (altered)
		freeze->doubt = psprintf("altered: changed by somebody meanwhile, so nobody can tell whether it held all the time: %s", altered);
	if (back)
		return back;
	foreach(cell, wanted)
	{
		PfValue    *value = lfirst(cell);
		char	   *now;

		if (pf_value_read(value, &now) && !pf_value_is_held(value, now))
			return psprintf("%s is %s", pf_value_text(value), now ? now : "not set");
	}
	return NULL;
}

/* See recycle.h. */
char *
pf_recycle_told(PfFreeze *freeze)
{
	static const char sql[] =
		"SELECT nullif(concat_ws(', ',"
		" nullif(ended, 0) || CASE ended WHEN 1 THEN ' session' ELSE ' sessions' END || ' ended',"
		" nullif(cancelled, 0) || CASE cancelled WHEN 1 THEN ' statement' ELSE ' statements' END || ' cancelled'), '')"
		" FROM (SELECT count(DISTINCT pid) FILTER (WHERE rung <> 'cancel') AS ended,"
		" count(DISTINCT pid) FILTER (WHERE rung = 'cancel') AS cancelled"
		" FROM @.freeze_journal_session WHERE freeze_id = $1) AS s";
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(freeze->id);
	char	   *text;

	journal_execute(sql, 1, &type, &value, NULL, true);
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (text)
		text = MemoryContextStrdup(context, text);
	pf_spi_end(spi);
	return text;
}

static List *
add_note(List *notes, const char *code, char *text)
{
	PfNote	   *note = palloc0(sizeof(PfNote));

	note->code = code;
	note->text = text;
	return lappend(notes, note);
}

/* See recycle.h. */
List *
pf_recycle_note(List *notes, const char *code, const char *sql, const PfTarget *target)
{
	MemoryContext context = CurrentMemoryContext;
	PfSpi		spi = pf_spi_begin();
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(target->oid);
	char	   *text;

	journal_execute(sql, 1, &type, &value, NULL, true);
	text = SPI_processed ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
	if (text)
		text = MemoryContextStrdup(context, text);
	pf_spi_end(spi);
	return text ? add_note(notes, code, text) : notes;
}

/* See recycle.h. */
List *
pf_recycle_note_left_alone(List *notes, const PfTarget *target)
{
	char	   *text = pf_sessions_left_alone(target, pf_guc_drain_superusers);

	if (text)
		notes = add_note(notes, "left_alone", text);
	return pf_recycle_note(notes, "walsenders",
						   psprintf("SELECT 'connections for logical replication may run statements: ' || count(*) FROM pg_stat_activity"
									" WHERE backend_type = 'walsender' AND datid IS NOT NULL AND %s AND $1 IS NOT NULL HAVING count(*) > 0",
									target->kind == PF_ROLE ? "usesysid = $1" : target->kind == PF_DATABASE ? "datid = $1" : "true"),
						   target);
}

/* See recycle.h. */
List *
pf_recycle_note_members(List *notes, const PfTarget *target)
{
	if (target->kind != PF_ROLE)
		return notes;
	return pf_recycle_note(notes, "members",
						   "SELECT 'other roles may act as it: ' || array_to_string((array_agg(quote_ident(rolname) ORDER BY rolname))[1:3], ', ')"
						   " || CASE WHEN count(*) > 3 THEN ' and ' || count(*) - 3 || ' more' ELSE '' END"
						   " FROM pg_roles r WHERE rolcanlogin AND NOT rolsuper AND oid <> $1 AND " PF_SQL_MAY_ACT_AS("r.oid", "$1")
						   " HAVING count(*) > 0", target);
}
