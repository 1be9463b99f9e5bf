/*-------------------------------------------------------------------------
 *
 * login.h
 *	  Logins that a freeze refuses.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_LOGIN_H
#define PF_LOGIN_H

/* Installs the hook; from _PG_init, while preloading. */
extern void pf_login_install(void);

#endif							/* PF_LOGIN_H */
