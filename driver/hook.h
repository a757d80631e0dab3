/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate of a function, and how the kernel's DMA calls for it get to our ops.
 */
#ifndef ADP_HOOK_H
#define ADP_HOOK_H

#include <linux/container_of.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/types.h>

struct adp_companion;

/*
 * No memory is that low, so nothing that goes around our ops is in reach: not
 * on the kernel's direct path, and not after this module has gone.
 */
#define ADP_GATE_LIMIT		1

/**
 * struct adp_gate - the range map of a function whose driver we have met
 * @none: no range at all, so for the kernel's direct path nothing is in reach
 * @magic: ADP_GATE_MAGIC; firmware's maps have a second entry there
 * @ops: what serves the function, or refuses
 * @c: its companion; NULL if they refuse
 * @seen: where hooks leave a mark when they are tried; NULL for all functions
 *
 * The driver core frees it when the driver has gone.
 */
struct adp_gate {
	struct bus_dma_region none;
	u64 magic;
	const struct dma_map_ops *ops;
	struct adp_companion *c;
	unsigned long *seen;
};

#define ADP_GATE_MAGIC		0x6164702d67617465ULL

/* Of a function that has our ops. */
static inline struct adp_gate *adp_gate_of(struct device *dev)
{
	return container_of(dev->dma_range_map, struct adp_gate, none);
}

/* ops.c */

extern const struct dma_map_ops adp_refuse_ops;

/* hook.c */

void adp_hook_install(struct device *dev, const struct dma_map_ops *ops);
void adp_hook_remove(struct device *dev);
bool adp_hook_refuses(struct device *dev);

/* hook-ftrace.c */

/**
 * struct adp_hook - a function of the DMA API that ftrace hooks
 * @name: its name
 * @at: where it begins
 * @to: our counterpart
 */
struct adp_hook {
	const char *name;
	unsigned long at;
	unsigned long to;
};

/* Code of its own kind, and what it goes by. */
void adp_stub(void);
extern const struct adp_hook adp_stub_hooks[];
extern unsigned long adp_stub_base;
extern u8 *adp_stub_map;

const char *adp_hook_ftrace_start(const char **remedy);
void adp_hook_ftrace_stop(void);

#endif /* ADP_HOOK_H */
