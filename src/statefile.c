/*-------------------------------------------------------------------------
 *
 * statefile.c
 *	  The gates on disk, so that a restart finds them closed.
 *
 * The file pg_freeze.gates in the data directory has a header, the records of
 * the gates that are live, and a CRC of both.  Without gates there is no file.
 * It is replaced as a whole, by whoever changes a gate, under the file lock of
 * gates.c; it is read by the postmaster only, when it has made the shared
 * memory: at its own start and after the crash of a backend.
 *
 * What is found there:
 *
 *	pg_freeze.open		the way out: both files are removed, nothing is loaded
 *	standby.signal or	the file came with a backup, or this was a primary
 *	recovery.signal		once: it is replaced by records that say that gates
 *						have to be worked out from the journals when recovery
 *						ends.  It is written down because a crash after the
 *						promotion and before that finds no such signal any more.
 *	another system's	ignored: journals of another system are copies, too
 *	damage				one record that closes everything for all but
 *						superusers; what was frozen nobody knows
 *
 * The file belongs to this build: another size of a record is damage, since
 * guessing at what is frozen is worse than a superuser's having to look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "statefile.h"

#define STATE_FILE		"pg_freeze.gates"
#define STATE_FILE_NEW	STATE_FILE ".new"

#define STATE_MAGIC		"pgfreeze"	/* 8 bytes */
#define STATE_VERSION	1

typedef struct StateHeader
{
	char		magic[8];
	uint32		version;
	uint32		record_size;
	uint64		system_identifier;
	uint32		count;
	uint32		reserved;
} StateHeader;

#define STATE_SIZE(count)	(sizeof(StateHeader) + (count) * sizeof(PfGateRecord) + sizeof(pg_crc32c))
#define STATE_SIZE_MAX		STATE_SIZE(PF_GATES)

/* ---- writing ---------------------------------------------------------- */

/* Copies a record into zeroed memory: field by field, so that every byte is defined. */
static void
copy_record(PfGateRecord *to, const PfGateRecord *from)
{
	to->cause = from->cause;
	to->freeze_id = from->freeze_id;
	to->home = from->home;
	to->owner = from->owner;
	strlcpy(NameStr(to->owner_name), NameStr(from->owner_name), NAMEDATALEN);
	to->target.kind = from->target.kind;
	to->target.mode = from->target.mode;
	to->target.oid = from->target.oid;
	to->target.only_here = from->target.only_here;
	strlcpy(NameStr(to->target.name), NameStr(from->target.name), NAMEDATALEN);
	to->action = from->action;
	to->in_flight = from->in_flight;
	to->max_wait = from->max_wait;
	to->notice_after = from->notice_after;
	to->yield_after = from->yield_after;
	to->frozen_at = from->frozen_at;
	to->thaw_at = from->thaw_at;
	to->opening = from->opening;
	to->opened_at = from->opened_at;
	to->opened_lsn = from->opened_lsn;
	strlcpy(to->pass, from->pass, sizeof(to->pass));
	strlcpy(to->reason, from->reason, sizeof(to->reason));
}

static pg_crc32c
checksum(const char *data, Size size)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, size);
	FIN_CRC32C(crc);
	return crc;
}

/* Removes a file if it is there; NULL, or the reason why it could not. */
static char *
remove_file(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0 && errno == ENOENT)
		return NULL;
	if (durable_unlink(path, LOG) != 0)
		return psprintf("file \"%s\" could not be removed, the server log has the reason", path);
	return NULL;
}

static char *
write_new_file(const char *data, Size size)
{
	int			fd = BasicOpenFile(STATE_FILE_NEW, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	bool		written;
	int			save_errno;

	if (fd < 0)
		return psprintf("could not create file \"%s\": %m", STATE_FILE_NEW);

	/* a short write leaves errno alone, and comes of a full disk */
	errno = ENOSPC;
	written = write(fd, data, size) == (ssize_t) size && pg_fsync(fd) == 0;
	save_errno = errno;
	if (close(fd) != 0 && written)
	{
		written = false;
		save_errno = errno;
	}
	errno = save_errno;
	return written ? NULL : psprintf("could not write file \"%s\": %m", STATE_FILE_NEW);
}

/* See statefile.h. */
char *
pf_state_file_write(const PfGateRecord *records, int count)
{
	Size		size = STATE_SIZE(count);
	char	   *data;
	StateHeader *header;
	PfGateRecord *copies;
	pg_crc32c	crc;
	char	   *problem;

	if (count == 0)
		return remove_file(STATE_FILE);

	Assert(count <= PF_GATES);
	data = palloc0(size);
	header = (StateHeader *) data;
	memcpy(header->magic, STATE_MAGIC, sizeof(header->magic));
	header->version = STATE_VERSION;
	header->record_size = sizeof(PfGateRecord);
	header->system_identifier = GetSystemIdentifier();
	header->count = count;
	copies = (PfGateRecord *) (data + sizeof(StateHeader));
	for (int i = 0; i < count; i++)
		copy_record(&copies[i], &records[i]);
	crc = checksum(data, size - sizeof(crc));
	memcpy(data + size - sizeof(crc), &crc, sizeof(crc));

	problem = write_new_file(data, size);
	pfree(data);
	if (problem)
		(void) unlink(STATE_FILE_NEW);
	/* both files are on disk, so durable_rename() would sync each of them once more, and everybody waits meanwhile */
	else if (rename(STATE_FILE_NEW, STATE_FILE) != 0)
		problem = psprintf("could not rename file \"%s\" to \"%s\": %m", STATE_FILE_NEW, STATE_FILE);
	else if (fsync_fname_ext(".", true, false, LOG) != 0)
		problem = psprintf("the rename of file \"%s\" could not be written to disk, the server log has the reason", STATE_FILE);
	return problem;
}

/* ---- reading ---------------------------------------------------------- */

static bool
is_terminated(const char *text, Size size)
{
	return memchr(text, '\0', size) != NULL;
}

/* Whether a record can have been written by pf_state_file_write(). */
static bool
is_possible(const PfGateRecord *record)
{
	return (record->cause == PF_CAUSE_FREEZE || record->cause == PF_CAUSE_PROMOTION) &&
		(record->target.kind == PF_ROLE || record->target.kind == PF_DATABASE || record->target.kind == PF_CLUSTER) &&
		(record->target.mode == PF_WRITE || record->target.mode == PF_ALL) &&
		(record->action == PF_GATE_WAIT || record->action == PF_GATE_REJECT) &&
		(record->in_flight == PF_GATE_HOLD || record->in_flight == PF_GATE_DRAIN) &&
		record->max_wait >= 0 && record->notice_after >= -1 && record->yield_after >= -1 &&
		*(const unsigned char *) &record->opening <= 1 && *(const unsigned char *) &record->target.only_here == 0 &&
		is_terminated(NameStr(record->owner_name), NAMEDATALEN) &&
		is_terminated(NameStr(record->target.name), NAMEDATALEN) &&
		is_terminated(record->pass, sizeof(record->pass)) &&
		is_terminated(record->reason, sizeof(record->reason));
}

/* What is wrong with the content of the file, NULL if nothing is. */
static const char *
find_damage(const char *data, Size size)
{
	const StateHeader *header = (const StateHeader *) data;
	const PfGateRecord *records = (const PfGateRecord *) (data + sizeof(StateHeader));
	pg_crc32c	crc;

	if (size < STATE_SIZE(0))
		return "it is too short";
	if (memcmp(header->magic, STATE_MAGIC, sizeof(header->magic)) != 0)
		return "it is something else";
	if (header->version != STATE_VERSION || header->record_size != sizeof(PfGateRecord))
		return "it is of another version";
	if (header->count == 0 || header->count > PF_GATES || size != STATE_SIZE(header->count))
		return "its size is wrong";
	memcpy(&crc, data + size - sizeof(crc), sizeof(crc));
	if (!EQ_CRC32C(crc, checksum(data, size - sizeof(crc))))
		return "its checksum is wrong";
	for (uint32 i = 0; i < header->count; i++)
		if (!is_possible(&records[i]))
			return "it has impossible values";
	return NULL;
}

/*
 * Reads the whole file; false if there is none.  *problem is why it could not
 * be read, or NULL.  "data" has room for one byte more than a file can have.
 */
static bool
read_file(char *data, Size *size, const char **problem)
{
	int			fd = BasicOpenFile(STATE_FILE, O_RDONLY | PG_BINARY);
	ssize_t		got = 0;

	*size = 0;
	*problem = NULL;
	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd >= 0)
	{
		while (*size <= STATE_SIZE_MAX &&
			   (got = read(fd, data + *size, STATE_SIZE_MAX + 1 - *size)) > 0)
			*size += got;
	}
	if (fd < 0 || got < 0)
		*problem = psprintf("it cannot be read: %m");
	if (fd >= 0)
		close(fd);
	return true;
}

/* A gate of no freeze.  One of mode "all" stops all but superusers. */
static PfGateRecord
closed_for_all(PfGateCause cause, int64 id, PfMode mode, PfGateAction action)
{
	PfGateRecord record;

	memset(&record, 0, sizeof(record));
	record.cause = cause;
	record.freeze_id = id;
	record.home = InvalidOid;
	record.target.kind = PF_CLUSTER;
	record.target.mode = mode;
	record.action = action;
	record.in_flight = PF_GATE_HOLD;
	record.max_wait = 60000;
	record.notice_after = 5000;
	record.yield_after = -1;
	return record;
}

static void
load_damage(const char *what)
{
	PfGateRecord record = closed_for_all(PF_CAUSE_DAMAGE, PF_NO_FREEZE, PF_ALL, PF_GATE_REJECT);

	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("pg_freeze: the state file \"%s\" is damaged: %s; everything may be frozen, so the cluster is closed for all but superusers",
					STATE_FILE, what),
			 errhint("A superuser runs SELECT * FROM thaw_cluster(force => true), or creates the file %s in the data directory and reloads.",
					 PF_WAY_OUT_FILE)));
	pf_gates_load(&record, 1);
}

/* See above: what the file said is of no use here, and what it says now is. */
static void
load_promotion(void)
{
	PfGateRecord records[] = {
		closed_for_all(PF_CAUSE_PROMOTION, PF_NO_FREEZE, PF_ALL, PF_GATE_WAIT),
		closed_for_all(PF_CAUSE_PROMOTION, PF_NO_FREEZE_WRITES, PF_WRITE, PF_GATE_WAIT)
	};
	char	   *problem = pf_state_file_write(records, lengthof(records));

	if (problem)
		ereport(LOG,
				(errmsg("pg_freeze: %s", problem)));
	pf_gates_load(records, lengthof(records));
}

static bool
exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* See statefile.h. */
void
pf_state_file_startup(void)
{
	char	   *data;
	Size		size;
	const char *problem;

	/* of a crash, or it came with a backup */
	(void) unlink(STATE_FILE_NEW);

	if (pf_way_out_is_asked())
	{
		pf_way_out_done();
		return;
	}
	if (exists(STANDBY_SIGNAL_FILE) || exists(RECOVERY_SIGNAL_FILE))
	{
		load_promotion();
		return;
	}

	data = palloc(STATE_SIZE_MAX + 1);
	if (read_file(data, &size, &problem))
	{
		const StateHeader *header = (const StateHeader *) data;

		if (problem == NULL)
			problem = find_damage(data, size);
		if (problem)
			load_damage(problem);
		else if (header->system_identifier == GetSystemIdentifier())
			pf_gates_load((const PfGateRecord *) (data + sizeof(StateHeader)), header->count);
		else
			ereport(LOG,
					(errmsg("pg_freeze: the state file \"%s\" is another server's and is ignored", STATE_FILE)));
	}
	pfree(data);
}

/* ---- the way out ------------------------------------------------------ */

/* See statefile.h. */
bool
pf_way_out_is_asked(void)
{
	return exists(PF_WAY_OUT_FILE);
}

/* See statefile.h. */
void
pf_way_out_done(void)
{
	char	   *problem = remove_file(STATE_FILE);

	/* in this order, so that an interrupted way out is gone through again */
	if (problem == NULL)
		problem = remove_file(PF_WAY_OUT_FILE);
	ereport(LOG,
			(errmsg("pg_freeze: every gate is open, because there is a file %s", PF_WAY_OUT_FILE),
			 problem ? errdetail("%s.  Remove it by hand, or gates are opened at each start and reload.", problem) : 0));
}
