// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calling something from each context that a driver may call the DMA API from.
 */
#include <linux/bottom_half.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>

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
	[ADP_REMOTE] = "remote",
	[ADP_RECLAIM] = "reclaim",
};

const char *adp_ctx_name(enum adp_ctx ctx)
{
	return ctx < ADP_NR_CTX ? adp_ctx_names[ctx] : NULL;
}

gfp_t adp_ctx_gfp(enum adp_ctx ctx)
{
	switch (ctx) {
	case ADP_PROCESS:
		return GFP_KERNEL;
	case ADP_RECLAIM:
		return GFP_NOIO;
	default:
		return GFP_ATOMIC;
	}
}

/* Is the caller where it believes to be? */
bool adp_ctx_is(enum adp_ctx ctx)
{
	switch (ctx) {
	case ADP_PROCESS:
	case ADP_RECLAIM:
		return !in_interrupt() && !irqs_disabled();
	case ADP_BH:
		return softirq_count() && !irqs_disabled();
	case ADP_IRQOFF:
		return irqs_disabled() && !in_hardirq();
	case ADP_SOFTIRQ:
		return in_serving_softirq() && !in_hardirq();
	case ADP_HARDIRQ:
		return in_hardirq() && irqs_disabled();
	case ADP_REMOTE:
		/* An idle CPU takes the call without an interrupt. */
		return irqs_disabled();
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

/* The next one after this, which is this one if it is alone. */
static unsigned int adp_other_cpu(void)
{
	unsigned int cpu = cpumask_next(raw_smp_processor_id(),
					cpu_online_mask);

	return cpu < nr_cpu_ids ? cpu : cpumask_first(cpu_online_mask);
}

void adp_call(enum adp_ctx ctx, void (*fn)(void *arg), void *arg)
{
	struct adp_call call = { .fn = fn, .arg = arg };
	unsigned long flags;
	/* of this call alone: two CPUs shall meet inside the operation */
	spinlock_t lock;
	unsigned int cpu;

	switch (ctx) {
	case ADP_BH:
		local_bh_disable();
		fn(arg);
		local_bh_enable();
		break;
	case ADP_IRQOFF:
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
	case ADP_REMOTE:
		cpu = adp_other_cpu();
		if (smp_call_function_single(cpu, fn, arg, true))
			adp_call(ADP_HARDIRQ, fn, arg);
		break;
	case ADP_RECLAIM:
		fs_reclaim_acquire(GFP_KERNEL);
		fn(arg);
		fs_reclaim_release(GFP_KERNEL);
		break;
	default:
		fn(arg);
	}
}
