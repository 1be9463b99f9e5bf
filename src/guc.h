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

#define PF_STRATEGY_AUTO 0		/* else 1 + number in the table of strategies */

extern int	pf_guc_strategy;
extern int	pf_guc_drain_timeout;	/* ms */
extern int	pf_guc_on_drain_timeout;	/* PfOnDrainTimeout */
extern int	pf_guc_cancel_wait; /* ms */
extern int	pf_guc_thaw_after;	/* s, 0: not scheduled */
extern int	pf_guc_on_leak;		/* PfOnLeak */
extern int	pf_guc_max_hold;	/* s, 0: no limit */
extern int	pf_guc_history_keep;	/* min */
extern int	pf_guc_on_restart;	/* PfOnRestart */
extern int	pf_guc_remind_after;	/* s */
extern int	pf_guc_lock_max_age;	/* transactions */
extern bool pf_guc_lock_standbys;

extern void pf_guc_define(void);
extern void pf_guc_check_placeholders(void);

#endif							/* PF_GUC_H */
