/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  The program pg_freeze: from frozen to the verdict.
 *
 * One loop, in which nothing is waited for but events: an answer of the
 * server's, COMMAND's end, a signal, a time.  What is going on with the server
 * and what is going on with COMMAND are independent of each other: what is
 * frozen is thawed while a COMMAND that was told to end has not ended yet.
 *
 * Times of the server's are never compared with ours: how long ago something
 * was is asked for, and counted back from when that was asked.
 *
 *-------------------------------------------------------------------------
 */
#include "hold.h"

#define RENEWALS 3				/* a lease is renewed so often while it lasts */
#define THAW_PATIENCE 30000		/* ms that the answer to a thaw may take */
#define GRACE 2000				/* ms that is still tried after what was frozen is surely thawed */

typedef enum Asked
{
	ASKED_NOTHING,
	ASKED_EXTEND,
	ASKED_END,					/* to thaw, or to end the backup or give it up */
	ASKED_HISTORY
} Asked;

typedef struct Hold
{
	Link	   *link;
	const Made *made;
	Child	   *child;
	Verdict    *verdict;
	int64		lease;
	int64		timeout;
	int64		renew_at;
	int64		lease_over_at;	/* by when the server has thawed it, at the latest */
	Asked		asked;			/* what the link is busy with */
	int64		sent_at;
	bool		ending;			/* is to be thawed */
	int64		ending_since;
	char	   *stopped;		/* why that is so although COMMAND has not ended, or NULL */
	bool		timed_out;
	bool		decided;		/* there is a verdict, or there won't be one */
	bool		look;			/* into the history, before the next thaw */
	int64		try_at;
	char	   *complaint;		/* an error that was said, not to be repeated */
} Hold;

static void
complain(Hold *hold, const PGresult *error)
{
	const char *text = PQresultErrorMessage(error);

	if (hold->complaint && strcmp(hold->complaint, text) == 0)
		return;
	free(hold->complaint);
	hold->complaint = xstrdup(text);
	print_server_message(error);
}

/* ---- what is sent ----------------------------------------------------- */

static void
send_call(Hold *hold, Asked asked, const char *call, int64 patience)
{
	/* a standby refuses it, and there is nothing to write there */
	char	   *settings = call_settings(hold->link->conn, hold->made->id != NULL, NULL);
	char	   *sql = xformat("%s%s", settings, call);

	hold->asked = asked;
	hold->sent_at = now_ms();
	link_send(hold->link, sql, patience);
	free(settings);
	free(sql);
}

/* The server computes the end, so that it is later than the timeout's by no more than this call takes. */
static void
send_extend(Hold *hold)
{
	char	   *call;

	call = xformat("SELECT %s.freeze_extend(%s, greatest('1 millisecond'::pg_catalog.interval, least('" INT64_FORMAT " milliseconds'::pg_catalog.interval,"
				   " '%s'::pg_catalog.timestamptz - pg_catalog.clock_timestamp())))",
				   extension(hold->link->conn), hold->made->id, hold->lease, hold->made->until);
	send_call(hold, ASKED_EXTEND, call, hold->link->patience);
	free(call);
}

/* Whether the backup is given up: what COMMAND leaves behind is not a copy. */
static bool
gives_up(const Hold *hold)
{
	return hold->stopped || (hold->made->backup_mode && hold->child->status != 0);
}

static void
send_end(Hold *hold)
{
	const Made *made = hold->made;
	const char *schema = extension(hold->link->conn);
	char	   *call;

	if (!made->backup_id)
		call = xformat("SELECT held, lost_reason, evidence FROM %s.thaw(%s)", schema, made->id);
	else if (gives_up(hold))
	{
		char	   *why = hold->stopped ? xstrdup(hold->stopped) : xformat("COMMAND ended with status %d", hold->child->status);
		char	   *reason = literal(hold->link->conn, why, "text");

		call = xformat("SELECT %s.freeze_backup_abort(%s, reason => %s)", schema, made->backup_id, reason);
		free(why);
		free(reason);
	}
	else
		call = xformat("SELECT state, held, lost_reason, evidence, freeze_id,"
					   " pg_catalog.convert_to(backup_label, pg_catalog.getdatabaseencoding()) AS backup_label,"
					   " pg_catalog.convert_to(tablespace_map, pg_catalog.getdatabaseencoding()) AS tablespace_map"
					   " FROM %s.freeze_backup_end(%s, wait_for_archive => false)", schema, made->backup_id);
	send_call(hold, ASKED_END, call, THAW_PATIENCE);
	free(call);
}

static void
send_history(Hold *hold)
{
	char	   *call;

	call = xformat("SELECT held, lost_reason, evidence, end_reason,"
				   " (extract(epoch FROM pg_catalog.clock_timestamp() - thawed_at) * 1000)::pg_catalog.int8 AS ago"
				   " FROM %s.freeze_history WHERE id = %s", extension(hold->link->conn), hold->made->id);
	send_call(hold, ASKED_HISTORY, call, THAW_PATIENCE);
	free(call);
}

/* ---- ending ----------------------------------------------------------- */

/* From now on it is to be thawed; "stopped": COMMAND shall not go on. */
static void
begin_ending(Hold *hold, char *stopped)
{
	if (stopped && !hold->stopped)
	{
		say("%s", stopped);
		hold->stopped = stopped;
		child_stop(hold->child);
	}
	if (hold->ending)
		return;
	hold->ending = true;
	hold->ending_since = now_ms();
	hold->try_at = hold->ending_since;
}

static void
decide(Hold *hold, int held, const PGresult *rows)
{
	Verdict    *verdict = hold->verdict;
	const char *why = rows ? value(rows, 0, "lost_reason") : NULL;
	const char *evidence = rows ? value(rows, 0, "evidence") : NULL;

	verdict->known = true;
	verdict->held = held;
	if (why && !verdict->why)
		verdict->why = xstrdup(why);
	if (evidence)
		verdict->evidence = xstrdup(evidence);
	hold->decided = true;
}

static int
held_of(const PGresult *rows)
{
	const char *held = value(rows, 0, "held");

	return !held ? -1 : held[0] == 't';
}

/* Whether an error says that it is not to be had, however often one asks. */
static bool
is_final(const PGresult *error)
{
	return strcmp(sqlstate(error), "55000") == 0 || strcmp(sqlstate(error), "22023") == 0;
}

/* ---- answers ---------------------------------------------------------- */

static void
extended(Hold *hold, const PGresult *error)
{
	if (!error)
	{
		hold->lease_over_at = Min(now_ms() + hold->lease, hold->made->over_at);
		hold->renew_at = hold->sent_at + hold->lease / RENEWALS;
		return;
	}
	complain(hold, error);
	hold->renew_at = now_ms() + Max(hold->lease / 30, 100);
	if (is_final(error))
		begin_ending(hold, xstrdup("the freeze has ended before COMMAND"));
}

static void
backup_ended(Hold *hold, const PGresult *error, const PGresult *rows)
{
	Verdict    *verdict = hold->verdict;

	if (error)
	{
		/* one that is given up may have failed by itself */
		if (!gives_up(hold))
			complain(hold, error);
		if (is_final(error))
			decide(hold, 0, NULL);
		return;
	}
	if (gives_up(hold))
	{
		decide(hold, 0, NULL);
		return;
	}
	verdict->nothing_frozen = !value(rows, 0, "freeze_id");
	verdict->backup_usable = true;
	if (value(rows, 0, "backup_label"))
		verdict->backup_label = xstrdup(value(rows, 0, "backup_label"));
	if (value(rows, 0, "tablespace_map"))
		verdict->tablespace_map = xstrdup(value(rows, 0, "tablespace_map"));
	decide(hold, held_of(rows), rows);
}

/* Somebody else has thawed it, or we have and didn't hear of it. */
static void
found_in_history(Hold *hold, const PGresult *rows)
{
	const char *ago = value(rows, 0, "ago");
	const char *why = value(rows, 0, "end_reason");
	int64		thawed_at = hold->sent_at - (ago ? strtoll(ago, NULL, 10) : 0);

	if (!hold->child->ended || thawed_at < hold->child->ended_at)
	{
		hold->verdict->why = xformat("it was thawed before COMMAND had ended: %s", why ? why : "not known why");
		decide(hold, 0, rows);
	}
	else
		decide(hold, held_of(rows), rows);
}

static void
answered(Hold *hold)
{
	const PGresult *error = link_error(hold->link);
	const PGresult *rows = link_rows(hold->link, 0);
	Asked		asked = hold->asked;

	hold->asked = ASKED_NOTHING;
	hold->try_at = now_ms() + 300;
	switch (asked)
	{
		case ASKED_EXTEND:
			extended(hold, error);
			hold->try_at = now_ms();
			break;
		case ASKED_END:
			if (hold->made->backup_id)
				backup_ended(hold, error, rows);
			else if (!error && PQntuples(rows) > 0)
				decide(hold, held_of(rows), rows);
			else
			{
				if (error && !is_final(error))
					complain(hold, error);
				/* it may be over already */
				hold->look = true;
				hold->try_at = now_ms();
			}
			break;
		case ASKED_HISTORY:
			hold->look = false;
			if (error)
				complain(hold, error);
			else if (PQntuples(rows) > 0)
				found_in_history(hold, rows);
			break;
		case ASKED_NOTHING:
			break;
	}
}

/* ---- the loop --------------------------------------------------------- */

static void
link_turn(Hold *hold)
{
	switch (link_step(hold->link))
	{
		case LINK_ANSWER:
			answered(hold);
			break;
		case LINK_LOST:
			/* what was asked for may have been done */
			if (hold->asked == ASKED_EXTEND)
				hold->lease_over_at = Min(Max(hold->lease_over_at, now_ms() + hold->lease), hold->made->over_at);
			hold->asked = ASKED_NOTHING;
			break;
		case LINK_BACK:
			hold->renew_at = hold->try_at = now_ms();
			break;
		case LINK_NOTHING:
			break;
	}
	if (hold->link->state != LINK_IDLE || hold->decided)
		return;
	if (!hold->ending && hold->made->id && now_ms() >= hold->renew_at)
		send_extend(hold);
	else if (hold->ending && now_ms() >= hold->try_at)
	{
		if (hold->look && hold->made->id)
			send_history(hold);
		else
			send_end(hold);
	}
}

static void
child_turn(Hold *hold)
{
	int			number;

	while ((number = next_signal()) != 0)
	{
		if (hold->child->ended)
			tell("%s: thawing", signal_name(number));
		child_signal(hold->child, number);
	}
	child_look(hold->child);
	if (hold->child->ended)
		begin_ending(hold, NULL);
}

/* Until when the server is asked, once it is to be thawed. */
static int64
give_up_at(const Hold *hold)
{
	int64		over_at = hold->made->backup_id ? hold->made->over_at : hold->lease_over_at;

	return Max(over_at, hold->ending_since) + GRACE;
}

static void
time_turn(Hold *hold)
{
	LinkState	state = hold->link->state;

	if (!hold->ending && now_ms() >= hold->made->over_at)
	{
		begin_ending(hold, xformat("the timeout of %g s is over, and COMMAND has not ended", hold->timeout / 1000.0));
		hold->timed_out = true;
	}
	else if (!hold->ending && hold->made->id && now_ms() >= hold->lease_over_at)
		begin_ending(hold, xstrdup("the lease could not be renewed and is over, and COMMAND has not ended"));
	if (hold->ending && !hold->decided && now_ms() >= give_up_at(hold) && state != LINK_BUSY && state != LINK_CHECKING)
	{
		hold->verdict->known = false;
		hold->verdict->why = xstrdup("the server could not be asked");
		hold->decided = true;
	}
}

static int64
earliest(int64 a, int64 b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

static int64
next_time(const Hold *hold)
{
	int64		at = child_due(hold->child);
	bool		idle = hold->link->state == LINK_IDLE;

	if (!hold->ending)
	{
		at = earliest(at, hold->made->over_at);
		if (hold->made->id)
			at = earliest(at, hold->lease_over_at);
		if (hold->made->id && idle)
			at = earliest(at, hold->renew_at);
	}
	else if (!hold->decided)
		at = earliest(at, idle ? hold->try_at : hold->link->state == LINK_BUSY ? -1 : give_up_at(hold));
	return at;
}

void
hold(Link *link, const Made *made, int64 lease, int64 timeout, Child *child, Verdict *verdict)
{
	Hold		hold = {.link = link,.made = made,.child = child,.verdict = verdict,.lease = lease,.timeout = timeout};

	memset(verdict, 0, sizeof(Verdict));
	/* that of a backup was made for its whole timeout */
	hold.lease_over_at = made->backup_id ? made->over_at : made->lease_over_at;
	hold.renew_at = made->backup_id ? now_ms() : now_ms() + lease / RENEWALS;
	while (!hold.decided || !child->ended)
	{
		child_turn(&hold);
		time_turn(&hold);
		link_turn(&hold);
		if (!hold.decided || !child->ended)
			wait_for(link, NULL, next_time(&hold));
	}
	if (hold.stopped)
	{
		verdict->stopped = true;
		/* it knows what COMMAND needed, the server doesn't */
		if (hold.timed_out || verdict->known)
			verdict->held = 0;
		verdict->known |= hold.timed_out;
	}
	free(hold.stopped);
	free(hold.complaint);
}
