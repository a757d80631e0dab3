// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of the machine as a whole: memory comes and goes, and it is put
 * to sleep.
 */
#include <linux/memory.h>
#include <linux/pfn.h>
#include <linux/suspend.h>

#include "adp.h"

/* What is mapped when a kernel is restored cannot be had at the same addresses. */
static int adp_system_freezable(struct adp_companion *c, void *what)
{
	if (!c->hooked)
		return 0;
	pci_err(c->managed,
		"%s: its driver has addresses that the platform would not assign again; unbind the driver first\n",
		(const char *)what);
	return -EBUSY;
}

/**
 * adp_system_freeze() - may an image of this kernel be made
 * @c: companion
 *
 * For a driver that has been bound since the machine was asked to hibernate.
 *
 * Return: 0, or -EBUSY if the managed function has a driver that is served.
 */
int adp_system_freeze(struct adp_companion *c)
{
	return adp_system_freezable(c, "this machine cannot hibernate");
}

static int adp_pm_notify(struct notifier_block *nb, unsigned long action,
			 void *data)
{
	switch (action) {
	case PM_HIBERNATION_PREPARE:
		return notifier_from_errno(adp_claim_each(adp_system_freezable,
							  "this machine cannot hibernate"));
	case PM_RESTORE_PREPARE:
		return notifier_from_errno(adp_claim_each(adp_system_freezable,
							  "no hibernated system can take over"));
	default:
		return NOTIFY_DONE;
	}
}

static struct notifier_block adp_pm_nb = {
	.notifier_call = adp_pm_notify,
};

/* Before anything is moved out of it. */
static int adp_memory_leaves(struct adp_companion *c, void *range)
{
	struct adp_ram_range *r = range;

	if (!adp_windows_evict(&c->windows, r->start, r->end, true))
		return 0;
	pci_err(c->pdev,
		"memory at %#llx to %#llx cannot go offline: it shares mappings with memory around it that are in use; try again later, or unbind the managed function's driver\n",
		r->start, r->end - 1);
	return -EBUSY;
}

/* Nobody uses it any more. */
static int adp_memory_gone(struct adp_companion *c, void *range)
{
	struct adp_ram_range *r = range;

	if (adp_ram_read(&c->ram, NULL, r))
		pci_err(c->pdev,
			"no memory to find out what RAM is left: every new mapping fails from now on, load the module again\n");
	if (adp_windows_evict(&c->windows, r->start, r->end, false))
		pci_err(c->pdev,
			"memory at %#llx to %#llx has gone offline and is still mapped; do not unplug it\n",
			r->start, r->end - 1);
	adp_windows_measure(&c->windows);
	return 0;
}

static int adp_memory_comes(struct adp_companion *c, void *range)
{
	int err = adp_ram_read(&c->ram, range, NULL);

	adp_windows_measure(&c->windows);
	return err;
}

static int adp_memory_notify(struct notifier_block *nb, unsigned long action,
			     void *data)
{
	struct memory_notify *what = data;
	struct adp_ram_range range = {
		.start = PFN_PHYS(what->start_pfn),
		.end = PFN_PHYS(what->start_pfn + what->nr_pages),
	};
	int err = 0;

	switch (action) {
	case MEM_GOING_ONLINE:
	case MEM_ONLINE:
		err = adp_claim_each(adp_memory_comes, &range);
		break;
	case MEM_GOING_OFFLINE:
		err = adp_claim_each(adp_memory_leaves, &range);
		break;
	case MEM_OFFLINE:
	case MEM_CANCEL_ONLINE:
		err = adp_claim_each(adp_memory_gone, &range);
		break;
	}
	return notifier_from_errno(err);
}

static struct notifier_block adp_memory_nb = {
	.notifier_call = adp_memory_notify,
};

/**
 * adp_system_init() - watch what becomes of the machine
 *
 * After adp_claim_init(), before the first companion is probed.
 *
 * Return: 0 or a negative error.
 */
int adp_system_init(void)
{
	int err;

	err = register_memory_notifier(&adp_memory_nb);
	if (err)
		return err;
	err = register_pm_notifier(&adp_pm_nb);
	if (err)
		unregister_memory_notifier(&adp_memory_nb);
	return err;
}

/**
 * adp_system_exit() - undo adp_system_init()
 */
void adp_system_exit(void)
{
	unregister_pm_notifier(&adp_pm_nb);
	unregister_memory_notifier(&adp_memory_nb);
}
