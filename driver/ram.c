// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which guest physical addresses may be sent to the host: whole host pages of
 * RAM. What a host does with anything else differs, and some of it is
 * dangerous.
 */
#include <linux/ioport.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "adp.h"

#define ADP_SECTION		((u64)PAGES_PER_SECTION << PAGE_SHIFT)

/**
 * struct adp_ram_walk - what a walk over the resource tree collects
 * @map: gets the ranges
 * @room: ranges that @map has room for
 * @seen: ranges that there are
 * @come: RAM that is about to come online, or empty
 * @gone: RAM that has gone offline, or empty
 */
struct adp_ram_walk {
	struct adp_ram_map *map;
	unsigned int room;
	unsigned int seen;
	struct adp_ram_range come;
	struct adp_ram_range gone;
};

/* Memory that is plugged, but offline, may be taken away without a word. */
static bool adp_ram_online(const struct adp_ram_walk *walk, u64 addr)
{
	if (addr >= walk->gone.start && addr < walk->gone.end)
		return false;
	if (addr >= walk->come.start && addr < walk->come.end)
		return true;
	return pfn_to_online_page(PHYS_PFN(addr));
}

static void adp_ram_note(struct adp_ram_walk *walk, u64 start, u64 end)
{
	if (start == end)
		return;
	if (walk->seen < walk->room) {
		struct adp_ram_range *r = &walk->map->range[walk->map->nr++];

		r->start = start;
		r->end = end;
	}
	walk->seen++;
}

/* Memory comes and goes by the section. */
static int adp_ram_collect(struct resource *res, void *arg)
{
	u64 start = res->start, at = start, end = (u64)res->end + 1;
	struct adp_ram_walk *walk = arg;

	while (at < end) {
		u64 next = min(end, round_down(at, ADP_SECTION) + ADP_SECTION);

		if (!adp_ram_online(walk, round_up(at, (u64)PAGE_SIZE))) {
			adp_ram_note(walk, start, at);
			start = next;
		}
		at = next;
	}
	adp_ram_note(walk, start, end);
	return 0;
}

static int adp_ram_walk(struct adp_ram_walk *walk)
{
	walk->seen = 0;
	if (walk->map)
		walk->map->nr = 0;
	return walk_iomem_res_desc(IORES_DESC_NONE,
				   IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY,
				   0, -1, walk, adp_ram_collect);
}

static struct adp_ram_map *adp_ram_make(const struct adp_ram_range *come,
					const struct adp_ram_range *gone)
{
	struct adp_ram_walk walk = {};

	if (come)
		walk.come = *come;
	if (gone)
		walk.gone = *gone;

	/* Ranges may appear between the walk that counts and that which reads. */
	do {
		unsigned int room;

		kfree(walk.map);
		walk.map = NULL;
		walk.room = 0;
		if (adp_ram_walk(&walk))
			return NULL;
		room = walk.seen;
		walk.map = kzalloc(struct_size(walk.map, range, room),
				   GFP_KERNEL);
		if (!walk.map)
			return NULL;
		walk.room = room;
		if (adp_ram_walk(&walk)) {
			kfree(walk.map);
			return NULL;
		}
	} while (walk.seen > walk.room);

	return walk.map;
}

/**
 * adp_ram_read() - read the guest's System RAM that is online
 * @ram: gets the ranges, in the place of those that it had
 * @come: RAM that counts as online, although it is not yet; or NULL
 * @gone: RAM that does not count as online; or NULL
 *
 * Those that look for RAM cannot ask the kernel: the lock of its resource tree
 * may not be taken with interrupts off.
 *
 * Context: may sleep; the caller serializes.
 * Return: 0, or -ENOMEM. Then @ram has what it had, but nothing if something is
 * gone: what cannot be told from memory that is not there is not sent.
 */
int adp_ram_read(struct adp_ram *ram, const struct adp_ram_range *come,
		 const struct adp_ram_range *gone)
{
	struct adp_ram_map *map = adp_ram_make(come, gone);
	struct adp_ram_map *old;

	if (!map && !gone)
		return -ENOMEM;
	old = rcu_replace_pointer(ram->map, map, true);
	if (old)
		synchronize_rcu();
	kfree(old);
	return map ? 0 : -ENOMEM;
}

/**
 * adp_ram_copy() - the ranges as they are now
 * @ram: the ranges; the caller sees to it that they are not read meanwhile
 *
 * Context: may sleep.
 * Return: to be freed with kfree(), or NULL.
 */
struct adp_ram_map *adp_ram_copy(const struct adp_ram *ram)
{
	const struct adp_ram_map *map = rcu_dereference_protected(ram->map, true);

	return map ? kmemdup(map, struct_size(map, range, map->nr), GFP_KERNEL) :
		     NULL;
}

/**
 * adp_ram_free() - free the ranges
 * @ram: nobody looks for RAM in it any more
 */
void adp_ram_free(struct adp_ram *ram)
{
	kfree(rcu_replace_pointer(ram->map, NULL, true));
}

/**
 * adp_ram_find() - which RAM a piece of memory lies in
 * @ram: the ranges
 * @start: first byte
 * @end: one past the last byte
 * @found: gets the range that holds all of it; or NULL
 *
 * A range may begin or end in the middle of a host page: a caller that asks for
 * whole host pages gets false there.
 *
 * Context: any.
 * Return: whether there is such a range.
 */
bool adp_ram_find(const struct adp_ram *ram, u64 start, u64 end,
		  struct adp_ram_range *found)
{
	const struct adp_ram_map *map;
	unsigned int lo = 0, hi;
	bool good = false;

	rcu_read_lock();
	map = rcu_dereference(ram->map);
	hi = map ? map->nr : 0;
	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;
		const struct adp_ram_range *r = &map->range[mid];

		if (start < r->start) {
			hi = mid;
		} else if (start >= r->end) {
			lo = mid + 1;
		} else {
			good = end <= r->end && start < end;
			if (good && found)
				*found = *r;
			break;
		}
	}
	rcu_read_unlock();
	return good;
}

/**
 * adp_ram_size() - how much RAM there is
 * @ram: the ranges
 * @top: gets one past the last byte of it
 *
 * Context: any.
 * Return: bytes.
 */
u64 adp_ram_size(const struct adp_ram *ram, u64 *top)
{
	const struct adp_ram_map *map;
	u64 total = 0;
	unsigned int i;

	*top = 0;
	rcu_read_lock();
	map = rcu_dereference(ram->map);
	for (i = 0; map && i < map->nr; i++) {
		total += map->range[i].end - map->range[i].start;
		*top = max(*top, map->range[i].end);
	}
	rcu_read_unlock();
	return total;
}
