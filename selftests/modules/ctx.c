// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calling something from each context that a driver may call the DMA API from.
 */
#include <linux/bottom_half.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>

#include "adp_test.h"

struct adp_call {
	void (*fn)(void *arg);
	void *arg;
	struct completion done;
	struct tasklet_struct tasklet;
	struct irq_work irq;
};

static const char * const adp_ctx_names[ADP_NR_CTX] = {
	[ADP_PROCESS] = "process",
	[ADP_BH] = "bh",
	[ADP_IRQOFF] = "irqoff",
	[ADP_SOFTIRQ] = "softirq",
	[ADP_HARDIRQ] = "hardirq",
};

const char *adp_ctx_name(enum adp_ctx ctx)
{
	return ctx < ADP_NR_CTX ? adp_ctx_names[ctx] : NULL;
}

gfp_t adp_ctx_gfp(enum adp_ctx ctx)
{
	return ctx == ADP_PROCESS ? GFP_KERNEL : GFP_ATOMIC;
}

/* Is the caller where it believes to be? */
bool adp_ctx_is(enum adp_ctx ctx)
{
	switch (ctx) {
	case ADP_PROCESS:
		return !in_interrupt() && !irqs_disabled();
	case ADP_BH:
		return softirq_count() && !irqs_disabled();
	case ADP_IRQOFF:
		return irqs_disabled() && !in_hardirq();
	case ADP_SOFTIRQ:
		return in_serving_softirq() && !in_hardirq();
	case ADP_HARDIRQ:
		return in_hardirq() && irqs_disabled();
	default:
		return false;
	}
}

static void adp_call_tasklet(struct tasklet_struct *tasklet)
{
	struct adp_call *call = container_of(tasklet, struct adp_call, tasklet);

	call->fn(call->arg);
	complete(&call->done);
}

static void adp_call_irq(struct irq_work *work)
{
	struct adp_call *call = container_of(work, struct adp_call, irq);

	call->fn(call->arg);
	complete(&call->done);
}

void adp_call(enum adp_ctx ctx, void (*fn)(void *arg), void *arg)
{
	struct adp_call call = { .fn = fn, .arg = arg };
	unsigned long flags;
	spinlock_t lock;

	switch (ctx) {
	case ADP_BH:
		local_bh_disable();
		fn(arg);
		local_bh_enable();
		break;
	case ADP_IRQOFF:
		/* Its own lock: two CPUs shall meet inside the operation. */
		spin_lock_init(&lock);
		spin_lock_irqsave(&lock, flags);
		fn(arg);
		spin_unlock_irqrestore(&lock, flags);
		break;
	case ADP_SOFTIRQ:
		init_completion(&call.done);
		tasklet_setup(&call.tasklet, adp_call_tasklet);
		tasklet_schedule(&call.tasklet);
		wait_for_completion(&call.done);
		tasklet_kill(&call.tasklet);
		break;
	case ADP_HARDIRQ:
		init_completion(&call.done);
		call.irq = IRQ_WORK_INIT_HARD(adp_call_irq);
		irq_work_queue(&call.irq);
		wait_for_completion(&call.done);
		irq_work_sync(&call.irq);
		break;
	default:
		fn(arg);
	}
}
