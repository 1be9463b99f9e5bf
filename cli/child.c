/*-------------------------------------------------------------------------
 *
 * child.c
 *	  The program pg_freeze: COMMAND of run.
 *
 * COMMAND is the leader of a process group of its own, so that what is passed
 * on reaches its children too and a Ctrl-C doesn't end us before it.  If we
 * have the terminal's foreground, it gets that, and we take it back: it may
 * ask for a password.  If it is stopped there (Ctrl-Z) it is made to go on:
 * the shell doesn't know of it, and an application is held still meanwhile.
 *
 * If we are killed the kernel sends it SIGTERM (on Linux): what it copies is
 * held still by nobody any more, and nobody would throw it away.
 *
 *-------------------------------------------------------------------------
 */
#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define KILL_AFTER 10000		/* ms from SIGTERM to SIGKILL */

/* 0: can be run.  A directory that may not be searched counts for a path, but not in PATH. */
static int
look_at_program(const char *path, int denied)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return errno == EACCES ? denied : 127;
	return S_ISREG(status.st_mode) && access(path, X_OK) == 0 ? 0 : 126;
}

int
child_findable(const char *name)
{
	const char *path = getenv("PATH");
	int			result = 127;

	if (strchr(name, '/') || !path)
		result = path || strchr(name, '/') ? look_at_program(name, 126) : 0;
	else
		for (const char *p = path;; p++)
		{
			size_t		length = strcspn(p, ":");
			char	   *file = length ? xformat("%.*s/%s", (int) length, p, name) : xformat("./%s", name);
			int			found = look_at_program(file, 127);

			free(file);
			if (found == 0 || result == 127)
				result = found;
			p += length;
			if (result == 0 || *p == '\0')
				break;
		}
	if (result == 127)
		say("%s: command not found; nothing was frozen", name);
	else if (result == 126)
		say("%s: cannot be executed; nothing was frozen", name);
	return result;
}

static void
set_variable(const char *name, const char *text)
{
	if ((text ? setenv(name, text, 1) : unsetenv(name)) != 0)
		die(EXIT_ERROR, "out of memory");
}

static void
set_environment(const Made *made)
{
	set_variable("PGFREEZE_ID", made->id);
	set_variable("PGFREEZE_BACKUP_ID", made->backup_id);
	set_variable("PGFREEZE_LSN", made->frozen_lsn);
	set_variable("PGFREEZE_START_LSN", made->start_lsn);
	set_variable("PGFREEZE_FROZEN_AT", made->id ? made->frozen_at : NULL);
	set_variable("PGFREEZE_UNTIL", made->until);
	set_variable("PGFREEZE_LABEL", made->label);
	set_variable("PGFREEZE_TARGET", made->target);
	set_variable("PGFREEZE_STRATEGY", made->strategy);
	set_variable("PGFREEZE_DATA_DIRECTORY", made->data_directory);
}

/* In the child: does not return. */
static _Noreturn void
become(char **argv, const Child *child, pid_t parent, int report)
{
	int			error;

	(void) setpgid(0, 0);
	if (child->terminal >= 0)
		(void) tcsetpgrp(child->terminal, getpid());
#ifdef PR_SET_PDEATHSIG
	(void) prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(128 + SIGTERM);
#endif
	restore_signals();
	(void) execvp(argv[0], argv);
	error = errno;
	(void) (write(report, &error, sizeof(error)) + 1);
	_exit(127);
}

static void
end(Child *child, int status)
{
	child->ended = true;
	child->status = status;
	child->ended_at = now_ms();
	child->kill_at = -1;
	child->pid = 0;
	if (child->terminal >= 0)
		(void) tcsetpgrp(child->terminal, getpgrp());
}

void
child_start(Child *child, char **argv, const Made *made)
{
	int			report[2];
	int			error = 0;
	pid_t		parent = getpid();

	memset(child, 0, sizeof(Child));
	child->kill_at = -1;
	child->terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (child->terminal >= 0 && tcgetpgrp(child->terminal) != getpgrp())
	{
		(void) close(child->terminal);
		child->terminal = -1;
	}
	set_environment(made);
	if (pipe(report) != 0)
		report[0] = report[1] = -1;
	for (int i = 0; i < 2; i++)
		(void) fcntl(report[i], F_SETFD, FD_CLOEXEC);
	fflush(stdout);
	child->pid = fork();
	if (child->pid == 0)
		become(argv, child, parent, report[1]);
	error = errno;
	(void) close(report[1]);
	if (child->pid < 0)
	{
		say("could not start %s: %s", argv[0], strerror(error));
		end(child, 126);
	}
	else
	{
		ssize_t		n;

		(void) setpgid(child->pid, child->pid);
		/* closed by a successful exec */

		while ((n = read(report[0], &error, sizeof(error))) < 0 && errno == EINTR)
			;
		if (n == sizeof(error))
		{
			say("could not run %s: %s", argv[0], strerror(error));
			while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
				;
			end(child, error == ENOENT ? 127 : 126);
		}
	}
	(void) close(report[0]);
}

/* What a COMMAND that wasn't told to end has put in the background copies on, and nothing is held still for it. */
static void
warn_of_rest(const Child *child)
{
	if (child->kill_at < 0 && child->signals == 0 && kill(-child->pid, 0) == 0)
		say("WARNING: COMMAND has ended, but processes that it has started go on: they are not waited for");
}

void
child_look(Child *child)
{
	int			status;
	pid_t		pid;

	if (child->ended)
		return;
	if (child->kill_at >= 0 && now_ms() >= child->kill_at)
	{
		say("COMMAND has not ended: killing it");
		(void) kill(-child->pid, SIGKILL);
		child->kill_at = -1;
	}
	while ((pid = waitpid(child->pid, &status, WNOHANG | WUNTRACED)) > 0)
	{
		if (WIFEXITED(status) || WIFSIGNALED(status))
			warn_of_rest(child);
		if (WIFEXITED(status))
			end(child, WEXITSTATUS(status));
		else if (WIFSIGNALED(status))
			end(child, 128 + WTERMSIG(status));
		else if (WIFSTOPPED(status) && child->terminal >= 0)
		{
			tell("COMMAND was stopped, and goes on: something is frozen meanwhile");
			(void) tcsetpgrp(child->terminal, child->pid);
			(void) kill(-child->pid, SIGCONT);
			continue;
		}
		else
			continue;
		return;
	}
}

void
child_signal(Child *child, int number)
{
	if (child->ended)
		return;
	if (child->signals++ > 0)
		number = SIGKILL;
	tell("%s is passed on to COMMAND", number == SIGKILL ? "SIGKILL" : signal_name(number));
	(void) kill(-child->pid, number);
	(void) kill(-child->pid, SIGCONT);
}

void
child_stop(Child *child)
{
	if (child->ended || child->kill_at >= 0)
		return;
	(void) kill(-child->pid, SIGTERM);
	(void) kill(-child->pid, SIGCONT);
	child->kill_at = now_ms() + KILL_AFTER;
}

int64
child_due(const Child *child)
{
	return child->kill_at;
}
