/*-------------------------------------------------------------------------
 *
 * signals.c
 *	  The program pg_freeze: signals, the clock, waiting for several things at
 *	  once.
 *
 * A handler does nothing but write the signal's number into a pipe, so that
 * none is lost between looking and waiting, and their order is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static const struct
{
	int			number;
	const char *name;
}			asking[] = {
	{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}, {SIGQUIT, "SIGQUIT"}
};

static int	wake[2] = {-1, -1};
static struct sigaction before[lengthof(asking)];

static void
note_signal(int number)
{
	int			save_errno = errno;
	unsigned char byte = number;

	/* full: there are signals enough to wake up for */
	(void) (write(wake[1], &byte, 1) + 1);
	errno = save_errno;
}

void
catch_signals(void)
{
	struct sigaction action = {0};

	if (pipe(wake) != 0)
		die(EXIT_ERROR, "could not make a pipe: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
	{
		(void) fcntl(wake[i], F_SETFD, FD_CLOEXEC);
		(void) fcntl(wake[i], F_SETFL, O_NONBLOCK);
	}
	action.sa_handler = note_signal;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < lengthof(asking); i++)
	{
		(void) sigaction(asking[i].number, NULL, &before[i]);
		/* nohup, or a job that a shell has put in the background */
		if (before[i].sa_handler != SIG_IGN)
			(void) sigaction(asking[i].number, &action, NULL);
	}
	action.sa_flags = SA_RESTART;
	(void) sigaction(SIGCHLD, &action, NULL);
	/* messages and the terminal, also while COMMAND is in its foreground */
	action.sa_handler = SIG_IGN;
	(void) sigaction(SIGTTOU, &action, NULL);
	/* Ctrl-Z: something is frozen, or about to be */
	(void) sigaction(SIGTSTP, &action, NULL);
}

void
restore_signals(void)
{
	struct sigaction action = {0};

	action.sa_handler = SIG_DFL;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < lengthof(asking); i++)
		(void) sigaction(asking[i].number, &before[i], NULL);
	(void) sigaction(SIGCHLD, &action, NULL);
	(void) sigaction(SIGTTOU, &action, NULL);
	(void) sigaction(SIGTSTP, &action, NULL);
	(void) sigaction(SIGPIPE, &action, NULL);
}

int
next_signal(void)
{
	unsigned char byte;

	while (read(wake[0], &byte, 1) == 1)
		if (byte != SIGCHLD)
			return byte;
	return 0;
}

const char *
signal_name(int number)
{
	for (size_t i = 0; i < lengthof(asking); i++)
		if (asking[i].number == number)
			return asking[i].name;
	return "a signal";
}

int64
now_ms(void)
{
	struct timespec now;

#ifdef CLOCK_BOOTTIME
	if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
#endif
		(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
wait_for(Link *one, Link *other, int64 until)
{
	Link	   *links[2] = {one, other};
	struct pollfd fds[3];
	int			n = 0;
	int64		left;

	fds[n].fd = wake[0];
	fds[n++].events = POLLIN;
	for (int i = 0; i < 2; i++)
	{
		int64		due;

		if (!links[i])
			continue;
		fds[n].fd = link_socket(links[i], &fds[n].events);
		if (fds[n].fd >= 0)
			n++;
		due = link_due(links[i]);
		if (due >= 0 && (until < 0 || due < until))
			until = due;
	}
	left = until < 0 ? -1 : Max(until - now_ms(), 0);
	/* what interrupts it has written into the pipe */
	(void) poll(fds, n, left < 0 ? -1 : (int) Min(left + 1, 60000));
}
