/*-------------------------------------------------------------------------
 *
 * gate.h
 *	  The strategy "gate", for what is not in its table of functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PF_GATE_H
#define PF_GATE_H

/*
 * In a connected worker, outside a transaction: removes the gates of this
 * database that no freeze in its journal has that is live and not lost.
 */
extern void pf_gate_sweep(void);

#endif							/* PF_GATE_H */
