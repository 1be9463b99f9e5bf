/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  What the SQL functions have in common: arguments, the caller, replies.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_ARGUMENTS_H
#define PF_ARGUMENTS_H

#include "worker.h"

/* Raises 55000 on a standby, and 22023 where a setting is not what was asked for. */
extern void pf_check_server(void);

/* NULL and false where the argument is NULL. */
extern char *pf_text_argument(FunctionCallInfo fcinfo, int n);
extern bool pf_flag_argument(FunctionCallInfo fcinfo, int n);

/* These raise 22023. */
extern void pf_bad_argument(const char *name, const char *value, const char *hint);
extern void pf_check_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern int64 pf_span_argument(const char *name, Interval *interval);
extern void pf_drain_arguments(FunctionCallInfo fcinfo, int first, PfOptions *options);
extern void pf_check_max_hold(const char *name, int64 us);
extern void pf_copy_argument(const char *name, char *to, Size size, const char *from);

/*
 * Raises 25001 where the statement that calls is itself a writer: the drain
 * does not wait for its own caller.
 */
extern void pf_check_not_writing(void);

/*
 * The request of a freeze.  Its arguments are, from number "first" on: mode,
 * thaw_after, strategy, action, in_flight, drain_timeout, on_drain_timeout,
 * attempts.  NULL means the setting decides.  Checks target and privilege.
 */
extern PfRequest *pf_freeze_request(FunctionCallInfo fcinfo, PfKind kind, Name name, int first,
									const PfStrategy **strategy);

extern PfOptions pf_options_of_settings(const PfStrategy *strategy);

extern PfCaller pf_this_caller(void);

/* For PfReply: notices are raised here; the first value of the last row goes to *(char **) arg. */
extern void pf_caller_notice(PfReply *reply, int elevel, const char *message, const char *detail, const char *hint);
extern void pf_value_row(PfReply *reply, int nvalues, char **values);

/* Calls func in a subtransaction; returns the error that ends it, NULL: none does. */
extern ErrorData *pf_try(void (*func) (void *arg), void *arg);

#endif							/* PF_ARGUMENTS_H */
