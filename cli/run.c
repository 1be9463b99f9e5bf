/*-------------------------------------------------------------------------
 *
 * run.c
 *	  The program pg_freeze: run.
 *
 *-------------------------------------------------------------------------
 */
#include "cli.h"

int
cmd_run(int argc, char **argv)
{
	die(EXIT_ERROR, "not built yet");
}
