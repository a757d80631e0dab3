// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the kernel's DMA calls for a function get to our ops: through the function's
 * own dma_ops, where the kernel has such a field, or else through hooks on the
 * calls themselves.
 */
#include <linux/dma-map-ops.h>
#include <linux/mutex.h>
#include <linux/xarray.h>

#include "adp.h"
#include "compat.h"
#include "hook.h"

enum adp_hook_kind {
	ADP_HOOK_DMA_OPS,
	ADP_HOOK_FTRACE,
};

static const char * const adp_hook_names[] = {
	[ADP_HOOK_DMA_OPS] = "dma_ops",
	[ADP_HOOK_FTRACE] = "ftrace",
};

static enum adp_hook_kind adp_hook_kind;

/* Protects adp_hook_users. */
static DEFINE_MUTEX(adp_hook_lock);

/* Companions that are served, or about to be. */
static unsigned int adp_hook_users;

/* With ftrace: the functions that are refused, by the address of their device. */
static DEFINE_XARRAY(adp_hook_refused);

/**
 * adp_hook_init() - choose how the kernel's calls get here
 * @choice: "auto", or the name of a way
 *
 * Return: 0; -EINVAL if there is no such way, or not in this kernel, which has been
 * said.
 */
int adp_hook_init(const char *choice)
{
#ifdef ADP_HAVE_DEV_DMA_OPS
	const bool have_ops = true;
#else
	const bool have_ops = false;
#endif

	if (sysfs_streq(choice, "auto")) {
		adp_hook_kind = have_ops ? ADP_HOOK_DMA_OPS : ADP_HOOK_FTRACE;
		return 0;
	}
	if (sysfs_streq(choice, adp_hook_names[ADP_HOOK_DMA_OPS])) {
		adp_hook_kind = ADP_HOOK_DMA_OPS;
		if (have_ops)
			return 0;
		pr_err("apple_dma_pci: hook=dma_ops: this kernel has none for each device (CONFIG_ARCH_HAS_DMA_OPS); load without hook=\n");
		return -EINVAL;
	}
	/* If that cannot be had, functions are gated, and what is missing is said then. */
	if (sysfs_streq(choice, adp_hook_names[ADP_HOOK_FTRACE])) {
		adp_hook_kind = ADP_HOOK_FTRACE;
		return 0;
	}
	pr_err("apple_dma_pci: hook=%s is neither auto, dma_ops nor ftrace\n", choice);
	return -EINVAL;
}

/**
 * adp_hook_name() - the way that was chosen
 */
const char *adp_hook_name(void)
{
	return adp_hook_names[adp_hook_kind];
}

/**
 * adp_hook_get() - a companion is to be served
 * @remedy: gets what to do if the kernel's calls cannot be had
 *
 * Context: may sleep.
 * Return: NULL, or why they cannot.
 */
const char *adp_hook_get(const char **remedy)
{
	const char *why = NULL;

	*remedy = "use a kernel with CONFIG_ARCH_HAS_DMA_OPS=y";
	mutex_lock(&adp_hook_lock);
	if (!adp_hook_users && adp_hook_kind == ADP_HOOK_FTRACE)
		why = adp_hook_ftrace_start(remedy);
	if (!why)
		adp_hook_users++;
	mutex_unlock(&adp_hook_lock);
	return why;
}

/**
 * adp_hook_put() - a companion is served no more
 *
 * Context: may sleep. Its function has no driver.
 */
void adp_hook_put(void)
{
	mutex_lock(&adp_hook_lock);
	if (!--adp_hook_users && adp_hook_kind == ADP_HOOK_FTRACE)
		adp_hook_ftrace_stop();
	mutex_unlock(&adp_hook_lock);
}

/**
 * adp_hook_install() - let the calls for a function come to our ops
 * @dev: function whose driver is about to be probed, with a gate
 * @ops: ops that serve it, or adp_refuse_ops
 *
 * dma_ops come before the kernel's own path, so masks and limits can be real. The
 * hooks of ftrace know a function by the limit of its gate, so it stays, under them.
 *
 * Context: may sleep.
 */
void adp_hook_install(struct device *dev, const struct dma_map_ops *ops)
{
	if (dev->dma_range_map)
		adp_gate_of(dev)->ops = ops;
	if (adp_hook_kind == ADP_HOOK_DMA_OPS) {
		if (ops != &adp_refuse_ops && dev->bus_dma_limit == ADP_GATE_LIMIT)
			dev->bus_dma_limit = 0;
		set_dma_ops(dev, ops);
	} else if (ops == &adp_refuse_ops) {
		/* Without memory for it, only its driver is not started again later. */
		xa_store(&adp_hook_refused, (unsigned long)dev, dev, GFP_KERNEL);
	}
}

/**
 * adp_hook_remove() - undo adp_hook_install()
 * @dev: function without a driver
 */
void adp_hook_remove(struct device *dev)
{
	if (adp_hook_kind == ADP_HOOK_DMA_OPS)
		set_dma_ops(dev, NULL);
	else
		xa_erase(&adp_hook_refused, (unsigned long)dev);
}

/**
 * adp_hook_refuses() - has a function ops that refuse
 * @dev: function
 */
bool adp_hook_refuses(struct device *dev)
{
	if (adp_hook_kind == ADP_HOOK_DMA_OPS)
		return get_dma_ops(dev) == &adp_refuse_ops;
	return xa_load(&adp_hook_refused, (unsigned long)dev);
}
