// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads about where things end up: aligned, alloc.
 */
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp_bench.h"

/* aligned: blocks that are aligned in memory; are they so for the device? */

struct adp_block {
	struct page *page;
	unsigned long size;
	dma_addr_t dma;
	bool live;
};

struct adp_aligned {
	struct adp_block *block;
	unsigned int nr;
	u64 maps;
	u64 large;
	u64 congruent;
	u64 failures;
};

static void adp_aligned_unmap(struct adp_bench *b, struct adp_block *block)
{
	if (block->live)
		dma_unmap_page(b->dev, block->dma, block->size,
			       DMA_TO_DEVICE);
	block->live = false;
}

static void adp_aligned_map(struct adp_bench *b, struct adp_aligned *a,
			    struct adp_block *block)
{
	a->maps++;
	block->dma = dma_map_page(b->dev, block->page, 0, block->size,
				  DMA_TO_DEVICE);
	if (dma_mapping_error(b->dev, block->dma)) {
		a->failures++;
		return;
	}
	block->live = true;
	if (block->size > ADP_BENCH_SMALL) {
		a->large++;
		a->congruent += IS_ALIGNED(block->dma, block->size);
	}
}

static void adp_aligned_free(struct adp_bench *b, struct adp_aligned *a)
{
	while (a->nr) {
		struct adp_block *block = &a->block[--a->nr];

		adp_aligned_unmap(b, block);
		__free_pages(block->page, get_order(block->size));
	}
	kvfree(a->block);
	kfree(a);
}

static int adp_aligned_add(struct adp_aligned *a, unsigned long size)
{
	struct adp_block *block = &a->block[a->nr];

	block->page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, get_order(size));
	if (!block->page)
		return -ENOMEM;
	block->size = size;
	block->live = false;
	a->nr++;
	return 0;
}

static int adp_aligned_setup(struct adp_bench *b)
{
	struct adp_aligned *a = kzalloc(sizeof(*a), GFP_KERNEL);
	unsigned int huge, medium, i;
	int err = -ENOMEM;

	if (!a)
		return -ENOMEM;
	huge = adp_bench_arg(b, "huge", 64, 0, 4096);
	medium = adp_bench_arg(b, "medium", 1024, 1, 65536);
	a->block = kvcalloc(2 * (huge + medium), sizeof(*a->block), GFP_KERNEL);
	if (!a->block)
		goto free;

	/* After each block a small one, and the huge ones spread over all. */
	for (i = 0; i < huge + medium; i++) {
		bool is_huge = (u64)(i + 1) * huge / (huge + medium) !=
			       (u64)i * huge / (huge + medium);

		err = adp_aligned_add(a, is_huge ? SZ_2M : SZ_64K) ?:
		      adp_aligned_add(a, PAGE_SIZE);
		if (err)
			goto free;
		a->block[a->nr - 1].size = ADP_BENCH_SMALL;
	}
	b->data = a;
	return 0;

free:
	adp_aligned_free(b, a);
	return err;
}

static int adp_aligned_go(struct adp_bench *b)
{
	struct adp_aligned *a = b->data;
	unsigned int i, round;
	u64 begun;
	int err;

	a->maps = 0;
	a->large = 0;
	a->congruent = 0;
	a->failures = 0;
	for (i = 0; i < a->nr; i++)
		adp_aligned_unmap(b, &a->block[i]);

	begun = ktime_get_ns();
	for (round = 0; round < 3; round++) {
		for (i = 0; i < a->nr; i++) {
			if (!a->block[i].live)
				adp_aligned_map(b, a, &a->block[i]);
			err = adp_bench_rest();
			if (err)
				return err;
		}
		for (i = 0; round < 2 && i < a->nr; i++)
			if (adp_bench_below(b, 2))
				adp_aligned_unmap(b, &a->block[i]);
	}
	adp_bench_fact(b, "ns", ktime_get_ns() - begun);
	adp_bench_fact(b, "ops", a->maps);
	adp_bench_fact(b, "large", a->large);
	adp_bench_fact(b, "congruent", a->congruent);
	adp_bench_fact(b, "failures", a->failures);
	return 0;
}

static void adp_aligned_drop(struct adp_bench *b)
{
	adp_aligned_free(b, b->data);
}

/* alloc: coherent memory of many sizes, freed in random order. */

struct adp_coherent {
	void *cpu;
	dma_addr_t dma;
	unsigned long size;
};

struct adp_alloc {
	struct adp_coherent *live;
	unsigned int nr;
	unsigned int max;
	u64 bytes;
	u64 limit;
	u64 ops;
};

static void adp_alloc_free_one(struct adp_bench *b, struct adp_alloc *a,
			       unsigned int i)
{
	struct adp_coherent *c = &a->live[i];

	dma_free_coherent(b->dev, c->size, c->cpu, c->dma);
	a->bytes -= c->size;
	*c = a->live[--a->nr];
}

static int adp_alloc_setup(struct adp_bench *b)
{
	struct adp_alloc *a = kzalloc(sizeof(*a), GFP_KERNEL);

	if (!a)
		return -ENOMEM;
	a->ops = adp_bench_arg(b, "ops", 1000, 1, ULONG_MAX);
	a->limit = adp_bench_arg(b, "set", SZ_64M, SZ_4M, SZ_2G);
	a->max = a->limit >> PAGE_SHIFT;
	a->live = kvmalloc_array(a->max, sizeof(*a->live), GFP_KERNEL);
	if (!a->live) {
		kfree(a);
		return -ENOMEM;
	}
	b->data = a;
	return 0;
}

static int adp_alloc_go(struct adp_bench *b)
{
	struct adp_alloc *a = b->data;
	u64 i, misaligned = 0, failures = 0, begun;
	int err;

	begun = ktime_get_ns();
	for (i = 0; i < a->ops; i++) {
		struct adp_coherent *c;
		unsigned int shift = 12 + adp_bench_below(b, 10);
		unsigned long size;

		size = (1UL << shift) + adp_bench_below(b, (1U << shift) + 1);
		size = PAGE_ALIGN(size);
		while (a->bytes + size > a->limit || a->nr == a->max)
			adp_alloc_free_one(b, a, adp_bench_below(b, a->nr));

		c = &a->live[a->nr];
		c->size = size;
		c->cpu = dma_alloc_coherent(b->dev, size, &c->dma,
					    GFP_KERNEL | __GFP_NOWARN);
		if (c->cpu) {
			a->nr++;
			a->bytes += size;
			misaligned += !IS_ALIGNED(c->dma,
						  PAGE_SIZE << get_order(size));
		} else {
			failures++;
		}
		err = adp_bench_rest();
		if (err)
			return err;
	}
	while (a->nr)
		adp_alloc_free_one(b, a, adp_bench_below(b, a->nr));
	adp_bench_fact(b, "ns", ktime_get_ns() - begun);
	adp_bench_fact(b, "ops", a->ops);
	adp_bench_fact(b, "misaligned", misaligned);
	adp_bench_fact(b, "failures", failures);
	return 0;
}

static void adp_alloc_drop(struct adp_bench *b)
{
	struct adp_alloc *a = b->data;

	while (a->nr)
		adp_alloc_free_one(b, a, a->nr - 1);
	kvfree(a->live);
	kfree(a);
}

const struct adp_bench_work adp_bench_layout[] = {
	{ "aligned", adp_aligned_setup, adp_aligned_go, adp_aligned_drop },
	{ "alloc", adp_alloc_setup, adp_alloc_go, adp_alloc_drop },
	{ }
};
