/*-------------------------------------------------------------------------
 *
 * login.c
 *	  Logins that a gate of mode "all" refuses, and the words for those that
 *	  the server refuses because of a freeze by strategy disconnect.
 *
 * Runs in a session that is being started, after the client has shown who it
 * is and before it is told so: libpq then goes on to its next host, and a
 * pooler knows that the server doesn't take it.  Who fails to authenticate
 * gets that error and learns nothing of a freeze.
 *
 * The session is in a transaction and in no database yet.  Only shared
 * catalogs can be read, by those syscaches that authentication itself uses:
 * the indexes of other ones may not be there.
 *
 * A session that slips in while a gate is being closed is no hole: it is
 * stopped at its first statement.
 *
 * Strategy disconnect needs nobody here: what it changed in the catalogs keeps
 * logins out.  But the server's own words say nothing of a freeze, and libpq
 * doesn't go on to its next host.  So who is going to be refused anyway, by what
 * the catalogs say now, is told so.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "belongs.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "door.h"
#include "gates.h"
#include "guc.h"
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "live.h"
#include "login.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "values.h"

static ClientAuthentication_hook_type next_hook = NULL;

/* What the server is going to look at when a role connects to a database. */
typedef struct Database
{
	Oid			oid;			/* InvalidOid: there is none of this name */
	bool		allows;			/* datallowconn */
	bool		grants;			/* the role has CONNECT, or may have it */
} Database;

/*
 * Whether a role may have CONNECT.  Not by way of acl.c: what is asked of it now
 * it would remember, and answer wrongly later in this session.  So memberships
 * count that give no privilege.
 */
static bool
may_connect(HeapTuple tuple, TupleDesc desc, Oid role)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_database_datacl, desc, &isnull);
	Acl		   *acl;

	/* by default PUBLIC has it; what is stored elsewhere can't be read yet */
	if (isnull || VARATT_IS_EXTERNAL(DatumGetPointer(datum)))
		return true;
	acl = DatumGetAclP(datum);
	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		const AclItem *item = &PF_ACL_ITEMS(acl)[i];

		if ((ACLITEM_GET_PRIVS(*item) & ACL_CONNECT) != 0 &&
			(item->ai_grantee == ACL_ID_PUBLIC || pf_role_belongs(role, item->ai_grantee)))
			return true;
	}
	return false;
}

/* As GetDatabaseTuple() of the server does it. */
static Database
look_up_database(const char *name, Oid role)
{
	Database	database = {InvalidOid};
	ScanKeyData key;
	Relation	relation;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(relation, DatabaseNameIndexId, criticalSharedRelcachesBuilt, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		database.oid = ((Form_pg_database) GETSTRUCT(tuple))->oid;
		database.allows = ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
		database.grants = may_connect(tuple, RelationGetDescr(relation), role);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return database;
}

/* The value that "-c name=value" or "--name=value" gives to a setting, or NULL. */
static char *
value_of(const char *option, const char *setting)
{
	char	   *name;
	char	   *value;

	ParseLongOption(option, &name, &value);
	return value && pg_strcasecmp(name, setting) == 0 ? value : NULL;
}

/*
 * The pass in the startup packet, or NULL.  Settings are made of the packet
 * only after authentication, so it has to be read here.
 */
static char *
startup_pass(Port *port)
{
	static const char setting[] = PF_NAME ".pass";
	char	   *pass = NULL;
	char	   *value;

	if (port->cmdline_options != NULL)
	{
		/* see process_startup_options() */
		char	  **options = palloc((2 + (strlen(port->cmdline_options) + 1) / 2) * sizeof(char *));
		int			count = 0;

		pg_split_opts(options, &count, port->cmdline_options);
		for (int i = 0; i < count; i++)
		{
			const char *option = options[i];

			if (strcmp(option, "-c") == 0 && i + 1 < count)
				option = options[++i];
			else if (strncmp(option, "-c", 2) == 0 || strncmp(option, "--", 2) == 0)
				option += 2;
			else
				continue;
			value = value_of(option, setting);
			if (value)
				pass = value;
		}
	}
	for (ListCell *cell = list_head(port->guc_options); cell;)
	{
		char	   *name = lfirst(cell);

		cell = lnext(port->guc_options, cell);
		if (pg_strcasecmp(name, setting) == 0)
			pass = lfirst(cell);
		cell = lnext(port->guc_options, cell);
	}
	return pass;
}

/* Whether a role that logs in to a database belongs to the target of a gate. */
static bool
belongs_to(const PfTarget *target, Oid role, bool superuser, const char *database)
{
	switch (target->kind)
	{
		case PF_ROLE:
			return superuser ? role == target->oid : pf_role_belongs(role, target->oid);
		case PF_DATABASE:
			return !superuser && look_up_database(database, role).oid == target->oid;
		case PF_CLUSTER:
			return !superuser;
		case PF_SCHEMA:
			break;
	}
	return false;
}

/* ---- gates -------------------------------------------------------------- */

/* Whether a gate refuses logins at all. */
static bool
refuses_logins(const PfGate *gate)
{
	const PfGateRecord *record = &gate->record;

	if ((gate->phase != PF_GATE_DRAINING && gate->phase != PF_GATE_CLOSED) || record->target.mode != PF_ALL)
		return false;
	if (record->cause == PF_CAUSE_PROMOTION && pf_guc_on_promote != PF_PROMOTE_KEEP)
		return false;
	return !pf_gate_open_overdue(gate);
}

static void
check_gates(Port *port)
{
	PfGate	   *gates;
	HeapTuple	tuple;
	Oid			role;
	bool		superuser;
	char	   *pass;

	if (pf_gates == NULL || !PF_ANY_GATE(pg_atomic_read_u64(&pf_gates->word)))
		return;

	/* physical replication and base backups go on */
	if (am_walsender && !am_db_walsender)
		return;
	if (RecoveryInProgress())
		return;

	/* with no such role the login is going to fail, and it is not for us to say why */
	tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(port->user_name));
	if (!HeapTupleIsValid(tuple))
		return;
	role = ((Form_pg_authid) GETSTRUCT(tuple))->oid;
	superuser = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;
	ReleaseSysCache(tuple);

	if (pf_role_is_exempt(port->user_name))
		return;
	pass = startup_pass(port);

	gates = palloc(PF_GATES * sizeof(PfGate));
	(void) pf_gate_copy_all(gates);
	for (int i = 0; i < PF_GATES; i++)
	{
		const PfGate *gate = &gates[i];

		if (!refuses_logins(gate) || pf_is_pass(&gate->record, pass) ||
			!belongs_to(&gate->record.target, role, superuser, port->database_name))
			continue;

		pf_gate_count(UINT64CONST(1) << i, PF_COUNT_LOGINS);
		ereport(FATAL,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("%s, no login until it is thawed", pf_gate_frozen_text(gate)),
				 errdetail("%s", pf_gate_detail(gate)),
				 errhint("%s", pf_gate_hint(gate))));
	}
	pfree(gates);
}

/* ---- strategy disconnect ------------------------------------------------ */

/* What the server is going to look at when a role logs in. */
typedef struct Role
{
	Oid			oid;
	bool		superuser;
	bool		may_log_in;
} Role;

/* Whether a freeze is a reason for which the server refuses this login. */
static bool
keeps_out(const PfFreeze *freeze, const Role *role, const Database *database)
{
	PfValue		login = {PF_VALUE_LOGIN, InvalidOid, role->oid};
	PfValue		connections = {PF_VALUE_CONNECTIONS, database->oid, InvalidOid};

	if (!role->may_log_in)
		return pf_value_is_held_by(&login, freeze->id, freeze->home);
	if (!OidIsValid(database->oid))
		return false;
	if (!database->allows)
		return pf_value_is_held_by(&connections, freeze->id, freeze->home);
	return freeze->target.only_here && freeze->target.oid == role->oid && freeze->home == database->oid &&
		!role->superuser && !database->grants;
}

/* Whether one freeze lasts longer than another. */
static bool
lasts_longer(const PfFreeze *one, const PfFreeze *other)
{
	return other->thaw_at != 0 && (one->thaw_at == 0 || one->thaw_at > other->thaw_at);
}

static void
check_disconnected(Port *port)
{
	List	   *freezes;
	ListCell   *cell;
	HeapTuple	tuple;
	Role		role;
	Database	database = {InvalidOid};
	const PfFreeze *reason = NULL;

	if (RecoveryInProgress())
		return;
	freezes = pf_live_by(&pf_disconnect);
	if (freezes == NIL)
		return;

	/* the server does it too, after this hook: a client may have taken its time */
	AcceptInvalidationMessages();
	tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(port->user_name));
	if (!HeapTupleIsValid(tuple))
		return;
	role.oid = ((Form_pg_authid) GETSTRUCT(tuple))->oid;
	role.superuser = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;
	role.may_log_in = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	/* a physical walsender connects to none */
	if (!am_walsender || am_db_walsender)
		database = look_up_database(port->database_name, role.oid);

	/* the door opens with the last of them */
	foreach(cell, freezes)
	{
		const PfFreeze *freeze = lfirst(cell);

		if (keeps_out(freeze, &role, &database) && (reason == NULL || lasts_longer(freeze, reason)))
			reason = freeze;
	}
	if (reason)
		ereport(FATAL,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("%s is frozen, no login until it is thawed", pf_target_text(&reason->target)),
				 errdetail("%s", pf_frozen_detail(reason->id, reason->home, reason->owner_name, reason->frozen_at,
												  reason->thaw_at, reason->reason)),
				 errhint("%s", pf_frozen_hint(reason->id, reason->home))));
	list_free(freezes);
}

static void
on_authentication(Port *port, int status)
{
	if (next_hook)
		next_hook(port, status);
	if (status != STATUS_OK)
		return;
	check_gates(port);
	check_disconnected(port);
}

void
pf_login_install(void)
{
	next_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = on_authentication;
}
