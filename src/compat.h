/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between server versions, in the newest server's spelling.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_COMPAT_H
#define PF_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "pg_freeze needs PostgreSQL 15 or later"
#endif

#include "storage/lockdefs.h"

/* 17: the privilege to maintain a relation */
#if PG_VERSION_NUM < 170000
#define ACL_MAINTAIN 0
#endif

/* 17: places where a test can stop or fail the server */
#if PG_VERSION_NUM >= 180000
#include "utils/injection_point.h"
#define PF_INJECTION_POINT(name) INJECTION_POINT(name, NULL)
#elif PG_VERSION_NUM >= 170000
#include "utils/injection_point.h"
#define PF_INJECTION_POINT(name) INJECTION_POINT(name)
#else
#define PF_INJECTION_POINT(name) ((void) 0)
#endif

#endif							/* PF_COMPAT_H */
