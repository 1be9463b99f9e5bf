/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  What would remove the journal of a live freeze is refused.
 *
 * An event trigger; runs in the session that gives the command, before it
 * does anything.  A superuser can disable it; doc/how-it-works.md says what
 * then happens.  None fires for DROP DATABASE: that is refused where the library
 * is preloaded, for the freezes that hold something outside their database:
 * gates, and values of shared catalogs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "backup.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "door.h"
#include "journal.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "values.h"

PG_FUNCTION_INFO_V1(freeze_guard);

static bool
names_it(List *objects, const char *name)
{
	ListCell   *cell;

	foreach(cell, objects)
		if (strcmp(strVal(lfirst(cell)), name) == 0)
			return true;
	return false;
}

static bool
role_owns_journal(List *roles)
{
	PfSpi		spi = pf_spi_begin();
	ListCell   *cell;
	bool		result = false;
	bool		isnull;
	Oid			owner;

	journal_execute("SELECT extowner FROM pg_extension WHERE extname = 'pg_freeze'", 0, NULL, NULL, NULL, true);
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pf_spi_end(spi);
	foreach(cell, roles)
		result |= get_rolespec_oid(lfirst(cell), true) == owner;
	return result;
}

/* Whether a command would drop or change this extension. */
static bool
is_about_journal(Node *command)
{
	switch (nodeTag(command))
	{
		case T_DropStmt:
			{
				DropStmt   *drop = (DropStmt *) command;

				if (drop->removeType == OBJECT_EXTENSION)
					return names_it(drop->objects, PF_NAME);
				return drop->removeType == OBJECT_SCHEMA &&
					names_it(drop->objects, get_namespace_name(journal_namespace()));
			}
		case T_DropOwnedStmt:
			return role_owns_journal(((DropOwnedStmt *) command)->roles);
		case T_AlterExtensionStmt:
			return strcmp(((AlterExtensionStmt *) command)->extname, PF_NAME) == 0;
		case T_AlterExtensionContentsStmt:
			return strcmp(((AlterExtensionContentsStmt *) command)->extname, PF_NAME) == 0;
		default:
			return false;
	}
}

/* A backup that runs in this database has its row there, too. */
static void
check_no_backup(void)
{
	dsm_segment *segment;
	PfBackupBoard *board = pf_backup_board(&segment);

	if (board == NULL)
		return;
	if (board->request.database == MyDatabaseId && pf_backup_state(board).phase < PF_BACKUP_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the journal of pg_freeze is in use by a backup"),
				 errdetail("Backup " INT64_FORMAT " (%s) is running.", pf_backup_state(board).id, board->request.label),
				 errhint("End it, or give it up: SELECT %s.%s;", journal_schema(),
						 pf_backup_abort_call(pf_backup_state(board).id, board->request.label))));
	dsm_detach(segment);
}

Datum
freeze_guard(PG_FUNCTION_ARGS)
{
	EventTriggerData *data;
	List	   *live;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not fired by event trigger manager")));
	data = (EventTriggerData *) fcinfo->context;
	if (!is_about_journal(data->parsetree))
		PG_RETURN_NULL();
	live = journal_ids("state NOT IN ('thawed', 'aborted')", 0, NULL, NULL);
	if (live != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the journal of pg_freeze is in use by a live freeze"),
				 errdetail("%d live %s, the oldest is " INT64_FORMAT ". Without the journal nothing could be put back.",
						   list_length(live), list_length(live) == 1 ? "freeze" : "freezes", *(int64 *) linitial(live)),
				 errhint("Thaw first: SELECT * FROM %s.thaw_all();", journal_schema())));
	check_no_backup();
	PG_RETURN_NULL();
}

/* See door.h. */
void
pf_guard_drop_database(const DropdbStmt *statement)
{
	Oid			database = get_database_oid(statement->dbname, true);
	PfGate	   *gates;
	PfGateRecord *oldest = NULL;
	char	   *held;
	int			live = 0;

	if (!OidIsValid(database))
		return;
	held = pf_values_held_from(database);
	if (held)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("database \"%s\" has the journal of a live freeze", statement->dbname),
				 errdetail("What is changed for all databases would stay so: %s.", held),
				 errhint("Thaw first: connect to database %s and run SELECT * FROM thaw_all();",
						 quote_identifier(statement->dbname))));
	gates = palloc(PF_GATES * sizeof(PfGate));
	(void) pf_gate_copy_all(gates);
	for (int i = 0; i < PF_GATES; i++)
	{
		PfGateRecord *record = &gates[i].record;

		if (gates[i].phase == PF_GATE_FREE || record->cause != PF_CAUSE_FREEZE || record->home != database)
			continue;
		live++;
		if (oldest == NULL || record->freeze_id < oldest->freeze_id)
			oldest = record;
	}
	if (live > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("database \"%s\" has the journal of a live freeze", statement->dbname),
				 errdetail("%d live %s by gate, the oldest is " INT64_FORMAT " of %s.",
						   live, live == 1 ? "freeze" : "freezes", oldest->freeze_id, pf_target_text(&oldest->target)),
				 errhint("Thaw first: connect to database %s and run SELECT * FROM thaw_all();",
						 quote_identifier(statement->dbname))));
	pfree(gates);
}
