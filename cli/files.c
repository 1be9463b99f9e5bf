/*-------------------------------------------------------------------------
 *
 * files.c
 *	  The program pg_freeze: backup_label and tablespace_map on this machine.
 *
 * A file appears under its name only when it is complete and on disk: without
 * its backup_label, or with half of it, a restored copy would be started as if
 * the server had crashed, and be damaged silently.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void
check_output(const char *directory)
{
	struct stat status;

	if (stat(directory, &status) != 0)
		usage_error("directory \"%s\" cannot be used: %s", directory, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		usage_error("\"%s\" is no directory", directory);
	if (access(directory, W_OK | X_OK) != 0)
		usage_error("no file can be made in directory \"%s\": %s", directory, strerror(errno));
}

static bool
fsync_directory(const char *directory)
{
	int			fd = open(directory, O_RDONLY | O_CLOEXEC);
	bool		done = fd >= 0 && fsync(fd) == 0;

	/* some file systems have no such thing */
	if (fd >= 0 && !done && (errno == EINVAL || errno == EBADF))
		done = true;
	if (!done)
		say("could not fsync directory \"%s\": %s", directory, strerror(errno));
	if (fd >= 0)
		close(fd);
	return done;
}

static bool
write_all(int fd, const unsigned char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t		n = write(fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;
			return false;
		}
		data += n;
		length -= n;
	}
	return true;
}

/* False: it failed, and why has been said. */
static bool
write_file(const char *directory, const char *name, const char *bytea)
{
	size_t		length;
	unsigned char *data = PQunescapeBytea((const unsigned char *) bytea, &length);
	char	   *path = xformat("%s/%s", directory, name);
	char	   *partial = xformat("%s.partial", path);
	int			fd;
	bool		done;

	if (!data)
		die(EXIT_ERROR, "out of memory");
	/* one that was left, or a link that somebody has put there, is not followed */
	(void) unlink(partial);
	fd = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	done = fd >= 0 && write_all(fd, data, length) && fsync(fd) == 0;
	if (fd >= 0 && close(fd) != 0)
		done = false;
	if (done && rename(partial, path) != 0)
		done = false;
	if (!done)
	{
		say("could not write file \"%s\": %s", path, strerror(errno));
		(void) unlink(partial);
	}
	PQfreemem(data);
	free(path);
	free(partial);
	return done;
}

/* So that one of an earlier backup isn't taken for this one's. */
static bool
remove_file(const char *directory, const char *name)
{
	char	   *path = xformat("%s/%s", directory, name);
	bool		done = unlink(path) == 0 || errno == ENOENT;

	if (!done)
		say("could not remove file \"%s\": %s", path, strerror(errno));
	free(path);
	return done;
}

void
remove_backup_files(const char *directory)
{
	/* the label first: the map alone means nothing */
	if (remove_file(directory, "backup_label") && remove_file(directory, "tablespace_map"))
		(void) fsync_directory(directory);
}

bool
write_backup_files(const char *directory, const char *backup_label, const char *tablespace_map)
{
	bool		map = tablespace_map && tablespace_map[0] != '\0' && strcmp(tablespace_map, "\\x") != 0;

	/* the map first: a label without it would be taken for complete */
	return (map ? write_file(directory, "tablespace_map", tablespace_map) : remove_file(directory, "tablespace_map")) &&
		write_file(directory, "backup_label", backup_label) && fsync_directory(directory);
}
