/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  The settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_GUC_H
#define PF_GUC_H

typedef enum PfOnRestart
{
	PF_RESTART_KEEP,
	PF_RESTART_THAW
} PfOnRestart;

typedef enum PfOnPromote
{
	PF_PROMOTE_LOST,
	PF_PROMOTE_KEEP
} PfOnPromote;

typedef enum PfInFlightSetting
{
	PF_IN_FLIGHT_AUTO,			/* hold where work waits, drain where it is rejected */
	PF_IN_FLIGHT_HOLD,
	PF_IN_FLIGHT_DRAIN
} PfInFlightSetting;

typedef enum PfDisconnectRole
{
	PF_DISCONNECT_LOGIN,		/* it may not log in */
	PF_DISCONNECT_CONNECT		/* it may not connect to this database */
} PfDisconnectRole;

#define PF_STRATEGY_AUTO 0		/* else one by name */

extern int	pf_guc_strategy;
extern int	pf_guc_drain_timeout;	/* ms */
extern int	pf_guc_on_drain_timeout;	/* PfOnDrainTimeout */
extern int	pf_guc_drain_log_after; /* ms, -1: never */
extern int	pf_guc_idle_wait;	/* ms */
extern int	pf_guc_idle_in_transaction_wait;	/* ms */
extern int	pf_guc_cancel_wait; /* ms */
extern int	pf_guc_terminate_wait;	/* ms */
extern bool pf_guc_drain_superusers;
extern bool pf_guc_keep_read_only;
extern int	pf_guc_disconnect_role; /* PfDisconnectRole */
extern int	pf_guc_thaw_after;	/* s, 0: not scheduled */
extern int	pf_guc_on_leak;		/* PfOnLeak */
extern int	pf_guc_max_hold;	/* s, 0: no limit */
extern int	pf_guc_history_keep;	/* min */
extern int	pf_guc_on_restart;	/* PfOnRestart */
extern int	pf_guc_remind_after;	/* s */
extern int	pf_guc_lock_max_age;	/* transactions */
extern bool pf_guc_lock_standbys;
extern int	pf_guc_action;		/* PfGateAction */
extern int	pf_guc_in_flight;	/* PfInFlightSetting */
extern int	pf_guc_max_wait;	/* ms, 0: for ever */
extern int	pf_guc_notice_after;	/* ms, -1: never */
extern int	pf_guc_yield_after; /* ms, -1: never */
extern char *pf_guc_exempt_roles;	/* names, as SplitIdentifierString() reads them */
extern int	pf_guc_on_promote;	/* PfOnPromote */
extern char *pf_guc_pass;

extern void pf_guc_define(void);
extern void pf_guc_check_placeholders(void);

#endif							/* PF_GUC_H */
