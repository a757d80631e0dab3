// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sets of pages.
 */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp_bench.h"

/* Memory comes in blocks of this size, as it does on a machine that is young. */
#define ADP_BENCH_BLOCK		SZ_4M

/* As large a block as there is; few are small, or the machine is too full for this. */
static int adp_bench_set_grow(struct adp_bench_set *set, unsigned long max,
			      unsigned int order)
{
	struct adp_bench_block *block = &set->block[set->blocks];
	unsigned long i;

	if (set->blocks == max)
		return -ENOMEM;
	block->page = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN,
				  order);
	if (!block->page)
		return -ENOMEM;
	block->order = order;
	set->blocks++;
	for (i = 0; i < 1UL << order; i++)
		set->page[set->nr++] = block->page + i;
	return 0;
}

/**
 * adp_bench_set_alloc() - allocate pages
 * @set: gets them
 * @bytes: how much
 *
 * Return: 0 or -ENOMEM.
 */
int adp_bench_set_alloc(struct adp_bench_set *set, u64 bytes)
{
	unsigned int order = get_order(ADP_BENCH_BLOCK);
	unsigned long want = bytes >> PAGE_SHIFT;
	unsigned long max = want / 16 + 1024;

	set->nr = 0;
	set->blocks = 0;
	set->page = kvmalloc_array(want, sizeof(*set->page), GFP_KERNEL);
	set->block = kvmalloc_array(max, sizeof(*set->block), GFP_KERNEL);
	if (!set->page || !set->block)
		goto fail;

	while (set->nr < want) {
		order = min_t(unsigned int, order, ilog2(want - set->nr));
		if (adp_bench_set_grow(set, max, order) && !order--)
			goto fail;
		cond_resched();
	}
	return 0;

fail:
	adp_bench_set_free(set);
	return -ENOMEM;
}

/**
 * adp_bench_set_shuffle() - put pages in random order
 * @b: device under test
 * @set: pages
 */
void adp_bench_set_shuffle(struct adp_bench *b, struct adp_bench_set *set)
{
	unsigned long i, other;

	for (i = set->nr; i > 1; i--) {
		other = adp_bench_below(b, i);
		swap(set->page[i - 1], set->page[other]);
	}
}

/**
 * adp_bench_set_free() - free pages
 * @set: pages
 */
void adp_bench_set_free(struct adp_bench_set *set)
{
	while (set->blocks) {
		struct adp_bench_block *block = &set->block[--set->blocks];

		__free_pages(block->page, block->order);
	}
	kvfree(set->block);
	kvfree(set->page);
	set->block = NULL;
	set->page = NULL;
}
