// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which guest physical addresses may be sent to the host: whole host pages of
 * RAM. What a host does with anything else differs, and some of it is
 * dangerous.
 */
#include <linux/ioport.h>
#include <linux/slab.h>

#include "adp.h"

struct adp_ram_walk {
	struct adp_ram *ram;
	unsigned int room;
	unsigned int seen;
};

static int adp_ram_collect(struct resource *res, void *arg)
{
	struct adp_ram_walk *walk = arg;

	if (walk->seen < walk->room) {
		struct adp_ram_range *r = &walk->ram->range[walk->seen];

		r->start = res->start;
		r->end = (u64)res->end + 1;
		walk->ram->nr++;
	}
	walk->seen++;
	return 0;
}

static int adp_ram_walk(struct adp_ram_walk *walk)
{
	walk->seen = 0;
	if (walk->ram)
		walk->ram->nr = 0;
	return walk_iomem_res_desc(IORES_DESC_NONE,
				   IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY,
				   0, -1, walk, adp_ram_collect);
}

/**
 * adp_ram_read() - read the guest's System RAM from the resource tree
 *
 * The tree cannot be asked later: its lock may not be taken with interrupts
 * off.
 *
 * Context: may sleep.
 * Return: the ranges, to be freed with kfree(), or NULL.
 */
struct adp_ram *adp_ram_read(void)
{
	struct adp_ram_walk walk = {};

	/* Ranges may appear between the walk that counts and that which reads. */
	do {
		unsigned int room;

		kfree(walk.ram);
		walk.ram = NULL;
		walk.room = 0;
		if (adp_ram_walk(&walk))
			return NULL;
		room = walk.seen;
		walk.ram = kzalloc(struct_size(walk.ram, range, room),
				   GFP_KERNEL);
		if (!walk.ram)
			return NULL;
		walk.room = room;
		if (adp_ram_walk(&walk)) {
			kfree(walk.ram);
			return NULL;
		}
	} while (walk.seen > walk.room);

	return walk.ram;
}

/**
 * adp_ram_find() - which RAM a piece of memory lies in
 * @ram: the ranges
 * @start: first byte
 * @end: one past the last byte
 *
 * A range may begin or end in the middle of a host page: a caller that asks for
 * whole host pages gets NULL there.
 *
 * Return: the range that holds all of it, or NULL.
 */
const struct adp_ram_range *adp_ram_find(const struct adp_ram *ram, u64 start,
					 u64 end)
{
	unsigned int lo = 0, hi = ram->nr;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;
		const struct adp_ram_range *r = &ram->range[mid];

		if (start < r->start)
			hi = mid;
		else if (start >= r->end)
			lo = mid + 1;
		else
			return end <= r->end && start < end ? r : NULL;
	}
	return NULL;
}
