// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coherent memory: naturally aligned DMA addresses, although the platform
 * aligns to nothing but its page.
 *
 * Small allocations are carved from shared chunks, which stay mapped. A large
 * one gets a chunk of its own. Either way it is the DMA address that is
 * carved, so that a chunk which is larger than the allocation always has an
 * aligned address in it.
 */
#include <linux/genalloc.h>
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp.h"

/* Shared chunks: large enough to be rare, small enough to be had late. */
#define ADP_CHUNK_SIZE		max(256UL << 10, 8 * PAGE_SIZE)

/* The largest allocation that is carved from a shared chunk. */
#define ADP_CHUNK_ALLOC_MAX	max(32UL << 10, PAGE_SIZE)

/*
 * How often a chunk is mapped until it lies in pages of 64 KiB as its memory does.
 * Of addresses at random each fourth one suits: one chunk in 100 million is not to be had.
 */
#define ADP_CHUNK_TRIES		64

/* Mappings that fill gaps of addresses, so that a chunk comes to lie behind them. */
#define ADP_SPACERS		240U
#define ADP_SPACER_TRIES	320U

/* Blocks looked at for a run that no single buddy block can hold. */
#define ADP_SPAN_BLOCKS		24

/**
 * struct adp_chunk - mapped memory of ours
 * @node: in adp_pool.chunks, if it is shared
 * @window: keeps it mapped
 * @gen: carves it, or NULL if it holds one allocation
 * @cpu: its memory
 * @dma: DMA address of @cpu
 * @size: bytes
 * @used: bytes allocated from it
 */
struct adp_chunk {
	struct list_head node;
	struct adp_window *window;
	struct gen_pool *gen;
	void *cpu;
	u64 dma;
	size_t size;
	size_t used;
};

/**
 * struct adp_alloc - one allocation
 * @chunk: where it is
 * @size: bytes, whole pages
 */
struct adp_alloc {
	struct adp_chunk *chunk;
	size_t size;
};

/* What the DMA API promises for coherent memory of a size. */
static u64 adp_pool_align(size_t size)
{
	return clamp_t(u64, roundup_pow_of_two(size), PAGE_SIZE,
		       ADP_COHERENT_ALIGN_MAX);
}

/*
 * Physically contiguous memory of more than the largest buddy block: take
 * blocks until some of them are neighbours. They are split into pages, so that
 * all memory here is freed in one way.
 */
static void *adp_span_alloc(size_t size, gfp_t gfp)
{
	const unsigned int order = get_order(ADP_COHERENT_ALIGN_MAX);
	const size_t block = PAGE_SIZE << order;
	unsigned int want = DIV_ROUND_UP(size, block);
	unsigned long blocks[ADP_SPAN_BLOCKS];
	unsigned int nr, i, run;
	void *span = NULL;

	gfp |= __GFP_NORETRY | __GFP_NOWARN;
	for (nr = 0; nr < ADP_SPAN_BLOCKS && !span; nr++) {
		unsigned long addr = __get_free_pages(gfp, order);

		if (!addr)
			break;
		for (i = nr; i > 0 && blocks[i - 1] > addr; i--)
			blocks[i] = blocks[i - 1];
		blocks[i] = addr;

		for (i = 1, run = 1; i <= nr && run < want; i++)
			run = blocks[i] == blocks[i - 1] + block ? run + 1 : 1;
		if (run == want)
			span = (void *)blocks[i - want];
	}

	while (nr--) {
		unsigned long addr = blocks[nr];

		if (span && addr >= (unsigned long)span &&
		    addr < (unsigned long)span + want * block)
			split_page(virt_to_page((void *)addr), order);
		else
			free_pages(addr, order);
	}
	if (span)
		for (i = size >> PAGE_SHIFT; i < want << order; i++)
			free_page((unsigned long)span + i * PAGE_SIZE);
	return span;
}

static void *adp_mem_alloc(size_t size, gfp_t gfp)
{
	if (get_order(size) > get_order(ADP_COHERENT_ALIGN_MAX))
		return adp_span_alloc(size, gfp);
	return alloc_pages_exact(size, gfp | __GFP_NOWARN);
}

/*
 * What to ask of a window for memory that is aligned to @align, a power of two, so
 * that its address is: as adp_align_order(), up to 4 MiB.
 */
static unsigned int adp_chunk_order(phys_addr_t phys, u64 align)
{
	if (align < BIT(ADP_ALIGN_SHIFT) || !IS_ALIGNED(phys, align))
		return 0;
	return ilog2(align) - ADP_ALIGN_SHIFT + 1;
}

/*
 * Map a chunk's memory. Both its address and its memory are to be carved at the
 * kernel's pages. Where these are larger than the host's, 64 KiB, that takes an
 * address that is a multiple of them, and mapping again where it is not.
 */
static bool adp_chunk_map(struct adp_pool *pool, struct adp_chunk *chunk,
			  u64 align)
{
	phys_addr_t phys = virt_to_phys(chunk->cpu);
	unsigned int tries;

	for (tries = 0; tries < ADP_CHUNK_TRIES; tries++) {
		unsigned int order = adp_chunk_order(phys, max(align, PAGE_SIZE));
		struct adp_window *w;

		w = adp_window_map(pool->ws, ADP_HOST_PAGE_DOWN(phys),
				   ADP_HOST_PAGE_UP(phys + chunk->size), order,
				   true);
		if (IS_ERR(w))
			break;
		chunk->window = w;
		chunk->dma = adp_window_dma(w, phys);
		if (PAGE_ALIGNED(chunk->dma)) {
			adp_window_pin(w);
			return true;
		}
		/* Memory that the host refused to unmap is nobody's any more. */
		if (!adp_window_unmap(pool->ws, w))
			return false;
		align = PAGE_SIZE;
		adp_windows_insist(pool->ws);
	}
	free_pages_exact(chunk->cpu, chunk->size);
	return false;
}

/*
 * Map memory of @size bytes, a multiple of both kinds of pages, if possible at an
 * address that is a multiple of @align.
 */
static struct adp_chunk *adp_chunk_create(struct adp_pool *pool, size_t size,
					  u64 align, gfp_t gfp)
{
	struct adp_chunk *chunk;

	chunk = kzalloc(sizeof(*chunk), gfp & ~__GFP_ZERO);
	if (!chunk)
		return NULL;
	chunk->size = size;
	chunk->cpu = adp_mem_alloc(size, gfp);
	if (chunk->cpu && adp_chunk_map(pool, chunk, align))
		return chunk;
	kfree(chunk);
	return NULL;
}

static void adp_chunk_destroy(struct adp_pool *pool, struct adp_chunk *chunk)
{
	adp_window_unpin(pool->ws, chunk->window);
	/*
	 * Memory that the host refused to unmap is nobody's any more. In lazy
	 * mode it is reached for a while after this, like all that is unmapped.
	 */
	if (adp_window_unmap(pool->ws, chunk->window))
		free_pages_exact(chunk->cpu, chunk->size);
	if (chunk->gen)
		gen_pool_destroy(chunk->gen);
	kfree(chunk);
}

static void adp_pool_account(struct adp_pool *pool, s64 bytes)
{
	unsigned long flags;

	spin_lock_irqsave(&pool->ws->lock, flags);
	pool->ws->stats->coherent_bytes += bytes;
	spin_unlock_irqrestore(&pool->ws->lock, flags);
}

/* The caller has taken it off the list. */
static void adp_pool_drop(struct adp_pool *pool, struct adp_chunk *chunk)
{
	adp_pool_account(pool, -(s64)chunk->size);
	adp_chunk_destroy(pool, chunk);
}

/* Free shared chunks that are empty; @keep of them may stay. */
static void adp_pool_shrink(struct adp_pool *pool, unsigned int keep)
{
	struct adp_chunk *chunk, *next;
	unsigned long flags;
	LIST_HEAD(empty);

	spin_lock_irqsave(&pool->lock, flags);
	list_for_each_entry_safe(chunk, next, &pool->chunks, node)
		if (!chunk->used && !(keep && keep--))
			list_move(&chunk->node, &empty);
	spin_unlock_irqrestore(&pool->lock, flags);

	list_for_each_entry_safe(chunk, next, &empty, node)
		adp_pool_drop(pool, chunk);
}

static void adp_pool_trim(struct work_struct *work)
{
	adp_pool_shrink(container_of(work, struct adp_pool, trim), 1);
}

/**
 * adp_pool_init() - an empty pool
 * @pool: to set up
 * @ws: where chunks are mapped
 */
void adp_pool_init(struct adp_pool *pool, struct adp_windows *ws)
{
	spin_lock_init(&pool->lock);
	pool->ws = ws;
	INIT_LIST_HEAD(&pool->chunks);
	xa_init_flags(&pool->allocs, XA_FLAGS_LOCK_IRQ);
	INIT_WORK(&pool->trim, adp_pool_trim);
}

/* The part of a chunk that an allocation takes, or 0. */
static u64 adp_chunk_carve(struct adp_chunk *chunk, size_t size, u64 align,
			   u64 limit)
{
	struct genpool_data_align data = { .align = align };
	u64 dma;

	if (chunk->dma + chunk->size - 1 > limit)
		return 0;
	dma = gen_pool_alloc_algo(chunk->gen, size, gen_pool_first_fit_align,
				  &data);
	if (dma)
		chunk->used += size;
	return dma;
}

static struct adp_chunk *adp_pool_carve(struct adp_pool *pool, size_t size,
					u64 align, u64 limit, u64 *dma)
{
	struct adp_chunk *chunk;
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	list_for_each_entry(chunk, &pool->chunks, node) {
		*dma = adp_chunk_carve(chunk, size, align, limit);
		if (*dma) {
			/* Full chunks sink to the end. */
			list_move(&chunk->node, &pool->chunks);
			goto out;
		}
	}
	chunk = NULL;
out:
	spin_unlock_irqrestore(&pool->lock, flags);
	return chunk;
}

/* Add a shared chunk. gen_pool's books are to be had only where all is allowed. */
static bool adp_pool_grow(struct adp_pool *pool, gfp_t gfp)
{
	struct adp_chunk *chunk;
	unsigned long flags;

	if ((gfp & GFP_KERNEL) != GFP_KERNEL)
		return false;

	chunk = adp_chunk_create(pool, ADP_CHUNK_SIZE, 0, gfp);
	if (!chunk)
		return false;
	chunk->gen = gen_pool_create(PAGE_SHIFT, NUMA_NO_NODE);
	if (!chunk->gen ||
	    gen_pool_add(chunk->gen, chunk->dma, chunk->size, NUMA_NO_NODE)) {
		adp_chunk_destroy(pool, chunk);
		return false;
	}
	adp_pool_account(pool, chunk->size);
	spin_lock_irqsave(&pool->lock, flags);
	list_add(&chunk->node, &pool->chunks);
	spin_unlock_irqrestore(&pool->lock, flags);
	return true;
}

/*
 * Most platforms place a window in the lowest gap that is large enough. Where one was
 * placed badly, fill that gap up to the next good address, with a spacer that is as
 * long; and the lower gaps first that this one would go to, with long ones and then
 * with shorter ones. Spacers are mappings of memory that nobody uses, each of which
 * begins a host page after the one before.
 */
static struct adp_chunk *adp_solo_nudge(struct adp_pool *pool, size_t whole,
					u64 align, gfp_t gfp)
{
	void *cpu = alloc_pages_exact(ADP_COHERENT_ALIGN_MAX,
				      gfp | __GFP_NORETRY | __GFP_NOWARN);
	struct adp_window **spacer, *w;
	struct adp_chunk *chunk = NULL;
	unsigned int nr = 0, tries = 0;
	u64 phys, dma, off, at, len;
	bool gone = true;

	spacer = kmalloc_array(ADP_SPACERS, sizeof(*spacer), gfp);
	if (!cpu || !spacer)
		goto out;
	/* It is aligned to far more than host pages. */
	phys = virt_to_phys(cpu);
next:
	adp_windows_insist(pool->ws);
	chunk = adp_chunk_create(pool, whole, align, gfp);
	if (!chunk || IS_ALIGNED(chunk->dma, align))
		goto out;
	dma = chunk->dma;
	off = round_up(dma, align) - dma;
	adp_chunk_destroy(pool, chunk);
	chunk = NULL;
	len = ADP_COHERENT_ALIGN_MAX / 2;
	for (; nr < ADP_SPACERS && tries < ADP_SPACER_TRIES; tries++) {
		u64 start = phys + nr * ADP_HOST_PAGE;

		len = max(len, off);
		w = ERR_PTR(-ENOSPC);
		if (start + len <= phys + ADP_COHERENT_ALIGN_MAX)
			w = adp_window_map(pool->ws, start, start + len, 0, true);
		if (!IS_ERR(w)) {
			at = adp_window_dma(w, start);
			if (len == off || at < dma) {
				spacer[nr++] = w;
				if (at >= dma)
					goto next;
				continue;
			}
			gone &= adp_window_unmap(pool->ws, w);
		}
		if (len == off)
			break;
		len = ADP_HOST_PAGE_UP(len / 2);
	}
out:
	while (nr)
		gone &= adp_window_unmap(pool->ws, spacer[--nr]);
	kfree(spacer);
	/* Memory that the host refused to unmap is nobody's any more. */
	if (cpu && gone)
		free_pages_exact(cpu, ADP_COHERENT_ALIGN_MAX);
	return chunk;
}

/*
 * A chunk of a size with an address in it that is a multiple of @align. Mostly it can
 * be had aligned; if not, a chunk that is larger by the alignment has such an address
 * wherever the platform puts it. That of the largest alignment is more than the kernel
 * has in one piece, so finding it is luck.
 */
static struct adp_chunk *adp_solo_create(struct adp_pool *pool, size_t whole,
					 u64 align, gfp_t gfp)
{
	size_t unit = max_t(size_t, PAGE_SIZE, ADP_HOST_PAGE);
	struct adp_chunk *chunk;

	chunk = adp_chunk_create(pool, whole, align, gfp);
	if (!chunk || IS_ALIGNED(chunk->dma, align))
		return chunk;
	adp_chunk_destroy(pool, chunk);
	chunk = adp_chunk_create(pool, round_up(whole + align - ADP_HOST_PAGE, unit),
				 0, gfp);
	return chunk ?: adp_solo_nudge(pool, whole, align, gfp);
}

/* A chunk for one allocation. */
static struct adp_chunk *adp_pool_solo(struct adp_pool *pool, size_t size,
				       u64 align, u64 limit, gfp_t gfp,
				       u64 *dma)
{
	size_t unit = max_t(size_t, PAGE_SIZE, ADP_HOST_PAGE);
	struct adp_chunk *chunk;

	chunk = adp_solo_create(pool, round_up(size, unit), align, gfp);
	if (!chunk)
		return NULL;

	*dma = round_up(chunk->dma, align);
	if (*dma + size - 1 > limit) {
		adp_chunk_destroy(pool, chunk);
		return NULL;
	}
	chunk->used = size;
	adp_pool_account(pool, chunk->size);
	return chunk;
}

static void adp_pool_give_back(struct adp_pool *pool, struct adp_chunk *chunk,
			       u64 dma, size_t size)
{
	unsigned long flags;

	if (!chunk->gen) {
		adp_pool_drop(pool, chunk);
		return;
	}

	spin_lock_irqsave(&pool->lock, flags);
	gen_pool_free(chunk->gen, dma, size);
	chunk->used -= size;
	if (!chunk->used)
		queue_work(system_freezable_wq, &pool->trim);
	spin_unlock_irqrestore(&pool->lock, flags);
}

/**
 * adp_pool_alloc() - allocate coherent memory
 * @pool: pool
 * @size: bytes, rounded up to pages
 * @limit: highest DMA address that the function can use
 * @gfp: whether it may sleep
 * @dma: gets the DMA address, a multiple of @size rounded up to a power of two,
 *	up to ADP_COHERENT_ALIGN_MAX
 *
 * Context: any that @gfp allows.
 * Return: zeroed memory in the linear map, page-aligned and physically
 * contiguous, or NULL.
 */
void *adp_pool_alloc(struct adp_pool *pool, size_t size, u64 limit, gfp_t gfp,
		     dma_addr_t *dma)
{
	struct adp_chunk *chunk = NULL;
	struct adp_alloc *alloc;
	unsigned long flags;
	u64 align, addr;
	void *cpu;
	int err;

	if (!size || size > ADP_MAPPING_MAX)
		return NULL;

	gfp &= ~(__GFP_DMA | __GFP_DMA32 | __GFP_HIGHMEM | __GFP_COMP |
		 __GFP_ZERO);
	size = PAGE_ALIGN(size);
	align = adp_pool_align(size);

	alloc = kmalloc(sizeof(*alloc), gfp);
	if (!alloc)
		return NULL;

	if (size <= ADP_CHUNK_ALLOC_MAX) {
		chunk = adp_pool_carve(pool, size, align, limit, &addr);
		if (!chunk && adp_pool_grow(pool, gfp))
			chunk = adp_pool_carve(pool, size, align, limit, &addr);
	}
	if (!chunk)
		chunk = adp_pool_solo(pool, size, align, limit, gfp, &addr);
	if (!chunk)
		goto free_alloc;

	alloc->chunk = chunk;
	alloc->size = size;
	xa_lock_irqsave(&pool->allocs, flags);
	err = xa_err(__xa_store(&pool->allocs, addr >> PAGE_SHIFT, alloc,
				GFP_ATOMIC));
	xa_unlock_irqrestore(&pool->allocs, flags);
	if (err)
		goto give_back;

	cpu = chunk->cpu + (addr - chunk->dma);
	memset(cpu, 0, size);
	*dma = addr;
	return cpu;

give_back:
	adp_pool_give_back(pool, chunk, addr, size);
free_alloc:
	kfree(alloc);
	return NULL;
}

/**
 * adp_pool_free() - free what adp_pool_alloc() gave
 * @pool: pool
 * @size: as it was asked for
 * @dma: its DMA address
 *
 * Context: any.
 * Return: false if there is no such allocation; nothing is freed then.
 */
bool adp_pool_free(struct adp_pool *pool, size_t size, dma_addr_t dma)
{
	struct adp_alloc *alloc;
	unsigned long flags;

	if (offset_in_page(dma))
		return false;

	xa_lock_irqsave(&pool->allocs, flags);
	alloc = xa_load(&pool->allocs, dma >> PAGE_SHIFT);
	if (alloc && alloc->size == PAGE_ALIGN(size))
		__xa_erase(&pool->allocs, dma >> PAGE_SHIFT);
	else
		alloc = NULL;
	xa_unlock_irqrestore(&pool->allocs, flags);
	if (!alloc)
		return false;

	adp_pool_give_back(pool, alloc->chunk, dma, alloc->size);
	kfree(alloc);
	return true;
}

/**
 * adp_pool_drain() - free everything
 * @pool: pool; empty afterwards
 *
 * For when nobody can use it any more.
 *
 * Context: may sleep.
 * Return: how many allocations were not freed by whoever made them.
 */
unsigned int adp_pool_drain(struct adp_pool *pool)
{
	struct adp_alloc *alloc;
	unsigned int left = 0;
	unsigned long index;

	xa_for_each(&pool->allocs, index, alloc) {
		adp_pool_free(pool, alloc->size, (dma_addr_t)index << PAGE_SHIFT);
		left++;
	}
	cancel_work_sync(&pool->trim);
	adp_pool_shrink(pool, 0);
	xa_destroy(&pool->allocs);
	return left;
}
