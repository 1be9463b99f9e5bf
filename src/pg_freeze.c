/*-------------------------------------------------------------------------
 *
 * pg_freeze.c
 *	  What happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "door.h"
#include "guc.h"
#include "live.h"
#include "login.h"
#include "miscadmin.h"
#include "pg_freeze.h"
#include "scheduler.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	pf_guc_define();
	if (process_shared_preload_libraries_in_progress)
	{
		pf_gates_request();
		pf_doors_install();
		pf_login_install();
		pf_live_request();
		pf_scheduler_register_launcher();
	}
}
