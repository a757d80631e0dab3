// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is plugged while the function is at work.
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp_test.h"

#define ADP_PLUG_PAGES	64

/**
 * struct adp_plug - mappings of memory that has been plugged
 * @n: how many
 * @map: the mappings
 */
struct adp_plug {
	unsigned int n;
	struct adp_map map[ADP_PLUG_PAGES];
};

void adp_plug_drop(struct adp_dev *adp)
{
	struct adp_plug *plug = adp->plug;

	if (!plug)
		return;
	while (plug->n) {
		struct adp_map *map = &plug->map[--plug->n];

		if (map->live)
			adp_unmap(adp, map, ADP_PROCESS);
		free_page((unsigned long)map->cpu);
	}
	kfree(plug);
	adp->plug = NULL;
}

/* Movable pages come from plugged memory first, if that is online_movable. */
static void adp_plug_take(struct adp_run *run, struct adp_plug *plug, u64 start,
			  u64 end, unsigned int n)
{
	struct page *page, *next;
	unsigned int tries;
	LIST_HEAD(others);

	for (tries = 0; plug->n < n && tries < 16384; tries++) {
		struct adp_map *map = &plug->map[plug->n];

		page = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_NORETRY |
				  __GFP_NOWARN);
		if (!page)
			break;
		if (page_to_phys(page) < start || page_to_phys(page) >= end) {
			list_add(&page->lru, &others);
			continue;
		}
		map->kind = ADP_PAGE;
		map->cpu = page_address(page);
		map->len = PAGE_SIZE;
		map->dir = DMA_BIDIRECTIONAL;
		map->seed = adp_rnd64(run);
		adp_fill(map->cpu, map->len, map->seed, 0);
		plug->n++;
	}
	list_for_each_entry_safe(page, next, &others, lru)
		__free_page(page);
}

/*
 * plugged start=ADDR size=BYTES n=N: maps pages of that memory, and keeps them
 * mapped until plugged_free.
 */
static void adp_case_plugged(struct adp_run *run)
{
	u64 start = adp_arg(run, "start", 0), size = adp_arg(run, "size", 0);
	unsigned int n = adp_arg(run, "n", 16), i;
	struct adp_dev *adp = run->adp;

	adp_plug_drop(adp);
	adp->plug = kzalloc(sizeof(*adp->plug), GFP_KERNEL);
	if (!adp_expect(run, adp->plug && n <= ADP_PLUG_PAGES, "no memory"))
		return;
	adp_plug_take(run, adp->plug, start, start + size, n);
	adp_expect(run, adp->plug->n == n, "%u pages of it could be had",
		   adp->plug->n);
	for (i = 0; i < adp->plug->n; i++) {
		struct adp_map *map = &adp->plug->map[i];

		if (!adp_expect(run, !adp_map(adp, map, ADP_PROCESS),
				"the page at %#llx cannot be mapped",
				(u64)virt_to_phys(map->cpu)))
			return;
		adp_prove(run, map, ADP_PROCESS);
	}
}

static void adp_case_plugged_free(struct adp_run *run)
{
	adp_plug_drop(run->adp);
}

/*
 * plug and unplug, start=ADDR size=BYTES: for memory that is there, but was
 * withheld from the kernel by mem=, where no firmware tells of hot-plugged memory.
 */
static void adp_case_plug(struct adp_run *run)
{
	int ret = add_memory(0, adp_arg(run, "start", 0),
			     adp_arg(run, "size", 0), MHP_NONE);

	adp_expect(run, !ret, "adding it: %d", ret);
}

static void adp_case_unplug(struct adp_run *run)
{
	int ret = remove_memory(adp_arg(run, "start", 0),
				adp_arg(run, "size", 0));

	adp_expect(run, !ret, "removing it: %d", ret);
}

const struct adp_case adp_plug_cases[] = {
	{ "plugged", adp_case_plugged },
	{ "plugged_free", adp_case_plugged_free },
	{ "plug", adp_case_plug },
	{ "unplug", adp_case_unplug },
	{ }
};
