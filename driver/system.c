// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of the machine as a whole: memory comes and goes.
 */
#include <linux/memory.h>
#include <linux/pfn.h>

#include "adp.h"

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
	return register_memory_notifier(&adp_memory_nb);
}

/**
 * adp_system_exit() - undo adp_system_init()
 */
void adp_system_exit(void)
{
	unregister_memory_notifier(&adp_memory_nb);
}
