/* interim */
#include "postgres.h"
#include "fmgr.h"
PG_FUNCTION_INFO_V1(freeze_backup_begin);
PG_FUNCTION_INFO_V1(freeze_backup_end);
PG_FUNCTION_INFO_V1(freeze_backup_abort);
PG_FUNCTION_INFO_V1(freeze_backup_kept);
PG_FUNCTION_INFO_V1(freeze_backup_archived);
static Datum later(void) { ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("backups are not built yet"))); return 0; }
Datum freeze_backup_begin(PG_FUNCTION_ARGS) { return later(); }
Datum freeze_backup_end(PG_FUNCTION_ARGS) { return later(); }
Datum freeze_backup_abort(PG_FUNCTION_ARGS) { return later(); }
Datum freeze_backup_kept(PG_FUNCTION_ARGS) { return later(); }
Datum freeze_backup_archived(PG_FUNCTION_ARGS) { return later(); }
