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

/**
 * adp_bench_set_alloc() - allocate pages
 * @set: gets them
 * @bytes: how much
 *
 * Return: 0 or -ENOMEM.
 */
int adp_bench_set_alloc(struct adp_bench_set *set, u64 bytes)
{
	unsigned long want = bytes >> PAGE_SHIFT, i;
	unsigned int order = get_order(ADP_BENCH_BLOCK);

	set->nr = 0;
	set->page = kvmalloc_array(want, sizeof(*set->page), GFP_KERNEL);
	if (!set->page)
		return -ENOMEM;

	while (set->nr < want) {
		struct page *page;

		order = min_t(unsigned int, order, ilog2(want - set->nr));
		page = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN,
				   order);
		if (!page && !order) {
			adp_bench_set_free(set);
			return -ENOMEM;
		}
		if (!page) {
			order--;
			continue;
		}
		split_page(page, order);
		for (i = 0; i < 1UL << order; i++)
			set->page[set->nr++] = page + i;
		cond_resched();
	}
	return 0;
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
	while (set->nr)
		__free_page(set->page[--set->nr]);
	kvfree(set->page);
	set->page = NULL;
}
