// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads that keep what they map until something gives out: scatter, gpu.
 * What the timed part has mapped stays until drop, for the caller to look at.
 */
#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "adp_bench.h"

/*
 * scatter: one small mapping in each stretch of memory, as many as there can
 * be. Nothing writes to the pages, so the host need not have all the memory.
 */

#define ADP_SCATTER_STRETCH	SZ_256K

struct adp_scatter {
	struct page **page;
	dma_addr_t *dma;
	unsigned long pages;
	unsigned long live;
};

static void adp_scatter_unmap(struct adp_bench *b, struct adp_scatter *s)
{
	while (s->live) {
		dma_unmap_page(b->dev, s->dma[--s->live], ADP_BENCH_SMALL,
			       DMA_TO_DEVICE);
		cond_resched();
	}
}

static void adp_scatter_free(struct adp_bench *b, struct adp_scatter *s)
{
	adp_scatter_unmap(b, s);
	while (s->pages)
		__free_page(s->page[--s->pages]);
	kvfree(s->page);
	kvfree(s->dma);
	kfree(s);
}

static int adp_scatter_setup(struct adp_bench *b)
{
	struct adp_scatter *s = kzalloc(sizeof(*s), GFP_KERNEL);
	unsigned int order = get_order(ADP_SCATTER_STRETCH);
	unsigned long want, i;
	int err = 0;

	if (!s)
		return -ENOMEM;
	want = adp_bench_arg(b, "pages", 65536, 1, 1 << 20);
	s->page = kvmalloc_array(want, sizeof(*s->page), GFP_KERNEL);
	s->dma = kvmalloc_array(want, sizeof(*s->dma), GFP_KERNEL);
	if (!s->page || !s->dma) {
		adp_scatter_free(b, s);
		return -ENOMEM;
	}

	/* A stretch that has lost a page is not given out again. */
	while (s->pages < want && !err) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_NORETRY |
						__GFP_NOWARN, order);

		if (!page)
			break;
		split_page(page, order);
		for (i = 1; i < 1UL << order; i++)
			__free_page(page + i);
		s->page[s->pages++] = page;
		err = adp_bench_rest();
	}
	if (err) {
		adp_scatter_free(b, s);
		return err;
	}
	b->data = s;
	return 0;
}

static int adp_scatter_go(struct adp_bench *b)
{
	struct adp_scatter *s = b->data;
	u64 begun;
	int err;

	adp_scatter_unmap(b, s);
	begun = ktime_get_ns();
	while (s->live < s->pages) {
		dma_addr_t dma = dma_map_page(b->dev, s->page[s->live], 0,
					      ADP_BENCH_SMALL, DMA_TO_DEVICE);

		if (dma_mapping_error(b->dev, dma))
			break;
		s->dma[s->live++] = dma;
		err = adp_bench_rest();
		if (err)
			return err;
	}
	adp_bench_fact(b, "ns", ktime_get_ns() - begun);
	adp_bench_fact(b, "ops", s->live);
	adp_bench_fact(b, "pages", s->pages);
	adp_bench_fact(b, "live_mappings", s->live);
	adp_bench_fact(b, "failures", s->live < s->pages);
	return 0;
}

static void adp_scatter_drop(struct adp_bench *b)
{
	adp_scatter_free(b, b->data);
}

/*
 * gpu: many small mappings, clustered, and a few large ones, long-lived. The
 * memory is an arena of its own, so that a mapping may be larger than the page
 * allocator's blocks: a bit for each page from the lowest to the highest, and
 * what is not ours is taken for good.
 */

#define ADP_GPU_BLOCK		SZ_4M
#define ADP_GPU_CLUSTER		SZ_2M
#define ADP_GPU_MIN_SHIFT	16
#define ADP_GPU_MAX_SHIFT	24
#define ADP_GPU_LIVE		131072

/* So many times in a row the arena has no room: it is full. */
#define ADP_GPU_PATIENCE	64

struct adp_gpu_map {
	unsigned long page;
	unsigned long bytes;
	dma_addr_t dma;
};

struct adp_gpu {
	unsigned long *block;
	unsigned int blocks;
	unsigned long base;
	unsigned long pages;
	unsigned long *taken;
	unsigned long hint;
	unsigned long cluster;
	unsigned long at;
	struct adp_gpu_map *map;
	unsigned int live;
	u64 bytes;
	u64 budget;
	u64 ops;
	unsigned int rounds;
};

enum adp_gpu_end {
	ADP_GPU_FAILED,
	ADP_GPU_ENOUGH,
	ADP_GPU_ARENA,
};

static int adp_gpu_less(const void *a, const void *b)
{
	unsigned long x = *(unsigned long *)a, y = *(unsigned long *)b;

	return x < y ? -1 : x > y;
}

static int adp_gpu_arena(struct adp_gpu *g, u64 bytes)
{
	unsigned long per = ADP_GPU_BLOCK >> PAGE_SHIFT, i;
	unsigned int want = div_u64(bytes, ADP_GPU_BLOCK);

	g->block = kvmalloc_array(want, sizeof(*g->block), GFP_KERNEL);
	if (!g->block)
		return -ENOMEM;
	while (g->blocks < want) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_NORETRY |
						__GFP_NOWARN,
						get_order(ADP_GPU_BLOCK));

		if (!page)
			return -ENOMEM;
		g->block[g->blocks++] = page_to_pfn(page);
		cond_resched();
	}
	sort(g->block, g->blocks, sizeof(*g->block), adp_gpu_less, NULL);
	g->base = g->block[0];
	g->pages = g->block[g->blocks - 1] + per - g->base;
	g->taken = kvmalloc_array(BITS_TO_LONGS(g->pages), sizeof(long),
				  GFP_KERNEL);
	if (!g->taken)
		return -ENOMEM;
	bitmap_fill(g->taken, g->pages);
	for (i = 0; i < g->blocks; i++)
		bitmap_clear(g->taken, g->block[i] - g->base, per);
	g->cluster = g->pages;
	return 0;
}

static unsigned long adp_gpu_find(struct adp_gpu *g, unsigned long nr,
				  unsigned long align)
{
	unsigned long page;

	page = bitmap_find_next_zero_area(g->taken, g->pages, g->hint, nr,
					  align - 1);
	if (page >= g->pages && g->hint)
		page = bitmap_find_next_zero_area(g->taken, g->pages, 0, nr,
						  align - 1);
	if (page >= g->pages)
		return g->pages;
	g->hint = page + nr;
	return page;
}

/* The next page of a cluster, and now and then one a little further on. */
static unsigned long adp_gpu_small(struct adp_bench *b, struct adp_gpu *g)
{
	unsigned long per = ADP_GPU_CLUSTER >> PAGE_SHIFT, page;

	if (g->cluster < g->pages) {
		unsigned long end = g->cluster + per;

		if (!adp_bench_below(b, 8))
			g->at += adp_bench_below(b, 8);
		page = find_next_zero_bit(g->taken, end, min(g->at, end));
		if (page >= end)
			page = find_next_zero_bit(g->taken, end, g->cluster);
		if (page < end) {
			g->at = page + 1;
			return page;
		}
	}
	g->cluster = adp_gpu_find(g, per, per);
	g->at = g->cluster + 1;
	return g->cluster;
}

static unsigned long adp_gpu_large(struct adp_bench *b, struct adp_gpu *g,
				   unsigned long *bytes)
{
	unsigned int shift = ADP_GPU_MIN_SHIFT +
		adp_bench_below(b, ADP_GPU_MAX_SHIFT - ADP_GPU_MIN_SHIFT);
	unsigned long align;

	/* Even within an octave is near enough to log-uniform. */
	*bytes = (1UL << shift) + adp_bench_below(b, 1U << shift);
	*bytes = ALIGN(*bytes, PAGE_SIZE);
	align = min_t(unsigned long, roundup_pow_of_two(*bytes), SZ_2M);
	return adp_gpu_find(g, *bytes >> PAGE_SHIFT, align >> PAGE_SHIFT);
}

static void adp_gpu_unmap(struct adp_bench *b, struct adp_gpu *g, unsigned int i)
{
	struct adp_gpu_map *m = &g->map[i];

	dma_unmap_page(b->dev, m->dma, m->bytes, DMA_BIDIRECTIONAL);
	bitmap_clear(g->taken, m->page, DIV_ROUND_UP(m->bytes, PAGE_SIZE));
	g->bytes -= m->bytes;
	*m = g->map[--g->live];
}

static void adp_gpu_unmap_all(struct adp_bench *b, struct adp_gpu *g)
{
	while (g->live) {
		adp_gpu_unmap(b, g, g->live - 1);
		cond_resched();
	}
}

static void adp_gpu_unmap_share(struct adp_bench *b, struct adp_gpu *g,
				unsigned int percent)
{
	unsigned int n = g->live * percent / 100;

	while (n--) {
		adp_gpu_unmap(b, g, adp_bench_below(b, g->live));
		cond_resched();
	}
}

/* Grow and decay, three to one, up to @limit live bytes or what ends it before. */
static int adp_gpu_grow(struct adp_bench *b, struct adp_gpu *g, u64 limit)
{
	unsigned int misses = 0, step = 0;

	while (g->bytes < limit && g->live < ADP_GPU_LIVE) {
		struct adp_gpu_map *m = &g->map[g->live];
		struct page *page;
		int err;

		err = adp_bench_rest();
		if (err)
			return err;
		if (++step % 4 == 0 && g->live) {
			adp_gpu_unmap(b, g, adp_bench_below(b, g->live));
			continue;
		}
		m->bytes = ADP_BENCH_SMALL;
		if (adp_bench_below(b, 10))
			m->page = adp_gpu_small(b, g);
		else
			m->page = adp_gpu_large(b, g, &m->bytes);
		if (m->page >= g->pages) {
			if (++misses == ADP_GPU_PATIENCE)
				return ADP_GPU_ARENA;
			continue;
		}
		misses = 0;

		page = pfn_to_page(g->base + m->page);
		m->dma = dma_map_page(b->dev, page, 0, m->bytes,
				      DMA_BIDIRECTIONAL);
		g->ops++;
		if (dma_mapping_error(b->dev, m->dma))
			return ADP_GPU_FAILED;
		bitmap_set(g->taken, m->page,
			   DIV_ROUND_UP(m->bytes, PAGE_SIZE));
		g->bytes += m->bytes;
		g->live++;
	}
	return ADP_GPU_ENOUGH;
}

static void adp_gpu_free(struct adp_bench *b, struct adp_gpu *g)
{
	adp_gpu_unmap_all(b, g);
	while (g->blocks)
		__free_pages(pfn_to_page(g->block[--g->blocks]),
			     get_order(ADP_GPU_BLOCK));
	kvfree(g->block);
	kvfree(g->taken);
	kvfree(g->map);
	kfree(g);
}

static int adp_gpu_setup(struct adp_bench *b)
{
	struct adp_gpu *g = kzalloc(sizeof(*g), GFP_KERNEL);
	u64 arena;
	int err;

	if (!g)
		return -ENOMEM;
	g->budget = adp_bench_arg(b, "budget", 1536ULL << 20, SZ_1M, SZ_16G);
	g->rounds = adp_bench_arg(b, "rounds", 200, 0, 100000);
	arena = adp_bench_arg(b, "arena", 2 * g->budget, SZ_32M, SZ_16G);
	err = -ENOMEM;
	g->map = kvmalloc_array(ADP_GPU_LIVE, sizeof(*g->map), GFP_KERNEL);
	if (g->map)
		err = adp_gpu_arena(g, arena);
	if (err) {
		adp_gpu_free(b, g);
		return err;
	}
	b->data = g;
	return 0;
}

/* From nothing to the first failure, the same way each time. */
static int adp_gpu_first(struct adp_bench *b, struct adp_gpu *g)
{
	adp_gpu_unmap_all(b, g);
	g->hint = 0;
	g->cluster = g->pages;
	prandom_seed_state(&b->rnd, adp_bench_arg(b, "seed", 1, 0, U64_MAX));
	return adp_gpu_grow(b, g, g->budget);
}

static int adp_gpu_go(struct adp_bench *b)
{
	struct adp_gpu *g = b->data;
	u64 first, near, aged, begun;
	unsigned int early = 0, mappings, i;
	int end, end_aged;

	g->ops = 0;
	begun = ktime_get_ns();
	end = adp_gpu_first(b, g);
	if (end < 0)
		return end;
	first = g->bytes;
	mappings = g->live;
	near = div_u64(first * 95, 100);

	for (i = 0; i < g->rounds; i++) {
		int ret;

		adp_gpu_unmap_share(b, g, 20 + adp_bench_below(b, 41));
		ret = adp_gpu_grow(b, g, near);
		if (ret < 0)
			return ret;
		early += ret == ADP_GPU_FAILED;
	}
	adp_gpu_unmap_share(b, g, 33);
	end_aged = adp_gpu_grow(b, g, g->budget);
	if (end_aged < 0)
		return end_aged;
	aged = g->bytes;
	i = adp_gpu_first(b, g);
	if ((int)i < 0)
		return i;

	adp_bench_fact(b, "ns", ktime_get_ns() - begun);
	adp_bench_fact(b, "ops", g->ops);
	adp_bench_fact(b, "budget", g->budget);
	adp_bench_fact(b, "live_bytes", first);
	adp_bench_fact(b, "live_mappings", mappings);
	adp_bench_fact(b, "end", end);
	adp_bench_fact(b, "early_failures", early);
	adp_bench_fact(b, "live_bytes_aged", aged);
	adp_bench_fact(b, "end_aged", end_aged);
	adp_bench_fact(b, "live_bytes_again", g->bytes);
	return 0;
}

static void adp_gpu_drop(struct adp_bench *b)
{
	adp_gpu_free(b, b->data);
}

const struct adp_bench_work adp_bench_budget[] = {
	{ "scatter", adp_scatter_setup, adp_scatter_go, adp_scatter_drop },
	{ "gpu", adp_gpu_setup, adp_gpu_go, adp_gpu_drop },
	{ }
};
