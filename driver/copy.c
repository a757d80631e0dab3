// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies, where copying is cheaper than mapping: a pool of slots that is mapped
 * once, so a mapping that is copied costs no VM exit, and the device sees its
 * bytes and nothing around them.
 *
 * A slot has one word, which says what it is a copy of, and is 0 if it is free.
 * Who swaps it has the slot: no lock, nothing to allocate, no interrupt to keep
 * out. Of two unmaps of one address the second finds nothing. Each CPU looks
 * first at the slot that it has freed last, then at those behind it.
 *
 * The pool grows on demand and in any context. It is emptied when the driver of
 * the managed function has gone.
 */
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>

#include "adp.h"

#define ADP_AREA_SLOTS		64U
#define ADP_AREA_BYTES		(ADP_AREA_SLOTS * ADP_COPY_PAGE)

/* Slots looked at before whole areas are. */
#define ADP_COPY_TRIES		8U

/* After an area was not to be had, for how long nobody tries. */
#define ADP_COPY_PAUSE		max(HZ / 20, 1)

/*
 * The word of a slot that is in use: where the original is, and how long it is,
 * less one. Guest addresses are below 46 bits, see struct adp_window.
 */
#define ADP_SLOT_USED		BIT_ULL(63)
#define ADP_SLOT_SIZE_SHIFT	48
#define ADP_SLOT_PHYS_MASK	GENMASK_ULL(ADP_SLOT_SIZE_SHIFT - 1, 0)

/* The word of a slot whose unmap has begun. */
#define ADP_SLOT_ENDING		1

/**
 * struct adp_copy_area - slots that are next to each other
 * @window: keeps them mapped
 * @cpu: their memory
 * @dma: DMA address of @cpu
 * @spare: a slot has become free since the area was looked through; it may be
 *	wrong, but not for longer than until the next one becomes free
 * @slot: what each is a copy of, 0 if it is free
 */
struct adp_copy_area {
	struct adp_window *window;
	void *cpu;
	u64 dma;
	bool spare;
	atomic64_t slot[ADP_AREA_SLOTS];
};

static u64 adp_slot_word(phys_addr_t phys, size_t size)
{
	return ADP_SLOT_USED | (u64)(size - 1) << ADP_SLOT_SIZE_SHIFT | phys;
}

static phys_addr_t adp_slot_phys(u64 word)
{
	return word & ADP_SLOT_PHYS_MASK;
}

static size_t adp_slot_size(u64 word)
{
	return ((word & ~ADP_SLOT_USED) >> ADP_SLOT_SIZE_SHIFT) + 1;
}

/* How far into the mapping that a slot holds an address is; not in it: -1. */
static int adp_slot_offset(u64 word, u64 dma)
{
	u64 offset = (dma - adp_slot_phys(word)) & (ADP_COPY_PAGE - 1);

	if (!(word & ADP_SLOT_USED) || offset >= adp_slot_size(word))
		return -1;
	return offset;
}

/*
 * Whole pages are common, and copy_page() is the fastest for them. One that is
 * that long begins where a page does.
 */
static void adp_copy_data(void *to, const void *from, size_t size)
{
	if (size == PAGE_SIZE)
		copy_page(to, (void *)from);
	else
		memcpy(to, from, size);
}

/**
 * adp_copy_init() - an empty pool
 * @copies: to set up
 * @ws: where it is mapped
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int adp_copy_init(struct adp_copies *copies, struct adp_windows *ws)
{
	spin_lock_init(&copies->lock);
	copies->ws = ws;
	copies->nr = 0;
	copies->retry = jiffies;
	copies->cpu = alloc_percpu(struct adp_copy_cpu);
	return copies->cpu ? 0 : -ENOMEM;
}

/**
 * adp_copy_destroy() - free the books of a pool
 * @copies: pool, drained
 */
void adp_copy_destroy(struct adp_copies *copies)
{
	free_percpu(copies->cpu);
}

static bool adp_slot_take(atomic64_t *slot, u64 word)
{
	/* Pairs with adp_copy_put(). */
	return !atomic64_read(slot) &&
	       !atomic64_cmpxchg_acquire(slot, 0, word);
}

/* Look through an area. Return: the number of a slot in it, or -1. */
static int adp_area_get(struct adp_copy_area *area, u64 word)
{
	unsigned int i;

	if (!READ_ONCE(area->spare))
		return -1;
	WRITE_ONCE(area->spare, false);
	for (i = 0; i < ADP_AREA_SLOTS; i++) {
		if (adp_slot_take(&area->slot[i], word)) {
			WRITE_ONCE(area->spare, true);
			return i;
		}
	}
	return -1;
}

/* Take a slot that is free. Return: its number, or -1. */
static int adp_copy_get(struct adp_copies *copies, u64 word)
{
	/* Pairs with adp_copy_publish(). */
	unsigned int nr = smp_load_acquire(&copies->nr), i, a;
	unsigned int n = this_cpu_read(copies->cpu->next);
	struct adp_copy_area *area;

	for (i = 0; i < ADP_COPY_TRIES && n < nr * ADP_AREA_SLOTS; i++, n++) {
		area = copies->area[n / ADP_AREA_SLOTS];
		if (adp_slot_take(&area->slot[n % ADP_AREA_SLOTS], word))
			goto found;
	}
	for (i = 0, a = n / ADP_AREA_SLOTS; i < nr; i++, a++) {
		int slot;

		if (a >= nr)
			a = 0;
		slot = adp_area_get(copies->area[a], word);
		if (slot >= 0) {
			n = a * ADP_AREA_SLOTS + slot;
			goto found;
		}
	}
	return -1;

found:
	this_cpu_write(copies->cpu->next, n + 1);
	return n;
}

static void adp_copy_put(struct adp_copies *copies, unsigned int n)
{
	struct adp_copy_area *area = copies->area[n / ADP_AREA_SLOTS];

	/* Pairs with adp_slot_take(): the next owner writes to it after this. */
	atomic64_set_release(&area->slot[n % ADP_AREA_SLOTS], 0);
	if (!READ_ONCE(area->spare))
		WRITE_ONCE(area->spare, true);
	this_cpu_write(copies->cpu->next, n);
}

/*
 * How many of the areas that are wanted there may be. Where the platform has given
 * less than it should, the pool is modest until it may have that again.
 */
static unsigned int adp_copy_may_grow(struct adp_copies *copies,
				      unsigned int wanted)
{
	u64 most = READ_ONCE(copies->ws->max_bytes) / 4 / ADP_AREA_BYTES;
	u64 have = READ_ONCE(copies->nr);

	if (time_before(jiffies, READ_ONCE(copies->retry)) ||
	    READ_ONCE(copies->ws->ch->broken))
		return 0;
	most = min_t(u64, most, ADP_COPY_AREAS);
	return have < most ? min_t(u64, wanted, most - have) : 0;
}

static void adp_area_free(struct adp_copies *copies, struct adp_copy_area *area)
{
	adp_window_unpin(copies->ws, area->window);
	/* Memory that the host refused to unmap is nobody's any more. */
	if (adp_window_unmap(copies->ws, area->window))
		free_pages_exact(area->cpu, ADP_AREA_BYTES);
	kfree(area);
}

/* Memory for an area, which is not mapped yet. */
static struct adp_copy_area *adp_area_alloc(void)
{
	struct adp_copy_area *area;

	area = kzalloc(sizeof(*area), GFP_ATOMIC | __GFP_NOWARN);
	if (!area)
		return NULL;
	area->cpu = alloc_pages_exact(ADP_AREA_BYTES, GFP_ATOMIC | __GFP_NOWARN |
				      __GFP_ZERO);
	if (!area->cpu) {
		kfree(area);
		return NULL;
	}
	area->spare = true;
	return area;
}

/* Let others have slots in new areas. Return: how many of them there was room for. */
static unsigned int adp_copy_publish(struct adp_copies *copies,
				     struct adp_copy_area **area, unsigned int nr)
{
	unsigned long flags;
	unsigned int i, n;

	spin_lock_irqsave(&copies->lock, flags);
	n = copies->nr;
	nr = min(nr, ADP_COPY_AREAS - n);
	for (i = 0; i < nr; i++) {
		/* Whoever has a slot finds the tag. */
		adp_window_set_tag(copies->ws, area[i]->window, n + i + 1);
		copies->area[n + i] = area[i];
	}
	/* Pairs with adp_copy_get() and adp_area_find(). */
	smp_store_release(&copies->nr, n + nr);
	spin_unlock_irqrestore(&copies->lock, flags);
	if (nr)
		this_cpu_write(copies->cpu->next, n * ADP_AREA_SLOTS);
	return nr;
}

/*
 * More areas, with one doorbell; fewer than wanted if there is less memory. Return:
 * whether there are more slots than before.
 */
static bool adp_copy_grow(struct adp_copies *copies, unsigned int wanted)
{
	struct adp_growth {
		struct adp_copy_area *area[ADP_COPY_AREAS];
		struct adp_piece piece[ADP_COPY_AREAS];
	} *g;
	unsigned int nr = 0, used = 0, i;
	int err = -ENOMEM;

	wanted = adp_copy_may_grow(copies, wanted);
	if (!wanted)
		return false;

	g = kmalloc(sizeof(*g), GFP_ATOMIC | __GFP_NOWARN);
	while (g && nr < wanted && (g->area[nr] = adp_area_alloc())) {
		g->piece[nr].start = virt_to_phys(g->area[nr]->cpu);
		nr++;
	}
	if (nr)
		err = adp_windows_map(copies->ws, g->piece, nr, ADP_AREA_BYTES);
	if (err) {
		WRITE_ONCE(copies->retry, jiffies + ADP_COPY_PAUSE);
		for (i = 0; i < nr; i++) {
			free_pages_exact(g->area[i]->cpu, ADP_AREA_BYTES);
			kfree(g->area[i]);
		}
	} else {
		for (i = 0; i < nr; i++) {
			g->area[i]->window = g->piece[i].window;
			adp_window_pin(g->area[i]->window);
			g->area[i]->dma = adp_window_dma(g->piece[i].window,
							 g->piece[i].start);
		}
		used = adp_copy_publish(copies, g->area, nr);
		for (i = used; i < nr; i++)
			adp_area_free(copies, g->area[i]);
	}
	kfree(g);
	return used;
}

/**
 * adp_copy_reserve() - see to it that there are slots for a long list
 * @copies: pool
 * @slots: how many are wanted
 *
 * So that the pool does not grow bit by bit, with a doorbell for each. Somebody else
 * may take them first.
 *
 * Context: any.
 * Return: whether the pool has grown.
 */
bool adp_copy_reserve(struct adp_copies *copies, unsigned int slots)
{
	/* Pairs with adp_copy_publish(). */
	unsigned int nr = smp_load_acquire(&copies->nr), spare = 0, a, i;

	if (slots <= ADP_AREA_SLOTS)
		return false;
	for (a = 0; a < nr; a++) {
		for (i = 0; i < ADP_AREA_SLOTS; i++)
			spare += !atomic64_read(&copies->area[a]->slot[i]);
		if (spare >= slots)
			return false;
	}
	return adp_copy_grow(copies, DIV_ROUND_UP(slots - spare, ADP_AREA_SLOTS));
}

/**
 * adp_copy_map() - make a copy
 * @copies: pool
 * @phys: original, in RAM
 * @size: bytes, see adp_copy_fits()
 * @limit: highest DMA address that the function can use
 * @fill: the original is copied; if not, the driver will sync what it wants
 *	the device to read
 *
 * The copy is to be filled for a device that writes, too: one that writes less
 * than it was given room for must not show what was there before.
 *
 * Context: any.
 * Return: DMA address of the copy; DMA_MAPPING_ERROR if there is no slot, or
 * none in reach, or the original is not RAM.
 */
dma_addr_t adp_copy_map(struct adp_copies *copies, phys_addr_t phys,
			size_t size, u64 limit, bool fill)
{
	size_t pos = phys & (ADP_COPY_PAGE - 1);
	u64 word = adp_slot_word(phys, size);
	struct adp_copy_area *area;
	int n;

	if (READ_ONCE(copies->ws->ch->broken) ||
	    !adp_ram_find(copies->ws->ram, phys, (u64)phys + size, NULL))
		return DMA_MAPPING_ERROR;

	n = adp_copy_get(copies, word);
	if (unlikely(n < 0) && adp_copy_grow(copies, 1))
		n = adp_copy_get(copies, word);
	if (unlikely(n < 0))
		return DMA_MAPPING_ERROR;

	area = copies->area[n / ADP_AREA_SLOTS];
	if (unlikely(area->dma + ADP_AREA_BYTES - 1 > limit)) {
		adp_copy_put(copies, n);
		return DMA_MAPPING_ERROR;
	}
	pos += n % ADP_AREA_SLOTS * ADP_COPY_PAGE;
	if (fill)
		adp_copy_data(area->cpu + pos, phys_to_virt(phys), size);
	return area->dma + pos;
}

static bool adp_area_holds(const struct adp_copy_area *area, u64 dma)
{
	return dma - area->dma < ADP_AREA_BYTES;
}

/*
 * The area that an address is in, or -1. A tag is the right area but where a
 * window that was there before holds two of them, or other copies, or memory
 * of the driver above.
 */
static int adp_area_find(struct adp_copies *copies, u16 tag, u64 dma)
{
	/* Pairs with adp_copy_publish(). */
	unsigned int nr = smp_load_acquire(&copies->nr), i = tag - 1;

	if (likely(i < nr && adp_area_holds(copies->area[i], dma)))
		return i;
	for (i = 0; i < nr; i++)
		if (adp_area_holds(copies->area[i], dma))
			return i;
	return -1;
}

/**
 * adp_copy_unmap() - end a copy
 * @copies: pool
 * @tag: of the window that the address is in
 * @dma: address that adp_copy_map() returned
 * @dir: direction of the mapping
 * @skip_sync: the original is not to be written
 *
 * Context: any.
 * Return: 0; -ENOENT if no slot is at that address; -EINVAL if it is not in use.
 */
int adp_copy_unmap(struct adp_copies *copies, u16 tag, dma_addr_t dma,
		   enum dma_data_direction dir, bool skip_sync)
{
	int a = adp_area_find(copies, tag, dma), offset;
	struct adp_copy_area *area;
	unsigned int n;
	void *copy;
	u64 word;

	if (a < 0)
		return -ENOENT;
	area = copies->area[a];
	n = (dma - area->dma) / ADP_COPY_PAGE;
	word = atomic64_read(&area->slot[n]);
	offset = adp_slot_offset(word, dma);
	if (offset < 0 ||
	    atomic64_cmpxchg(&area->slot[n], word, ADP_SLOT_ENDING) != word)
		return -EINVAL;

	copy = area->cpu + n * ADP_COPY_PAGE +
	       (adp_slot_phys(word) & (ADP_COPY_PAGE - 1));
	if (!skip_sync && dir != DMA_TO_DEVICE)
		adp_copy_data(phys_to_virt(adp_slot_phys(word)), copy,
			      adp_slot_size(word));
	/* Nothing of what was mapped is left for the device to see. */
	if (!READ_ONCE(copies->ws->lazy))
		memset(copy, 0, adp_slot_size(word));
	adp_copy_put(copies, a * ADP_AREA_SLOTS + n);
	return 0;
}

/**
 * adp_copy_sync() - bring original and copy in step
 * @copies: pool
 * @tag: of the window that the address is in
 * @dma: first byte, in a mapping that is live
 * @size: bytes
 * @dir: direction of the mapping
 * @for_cpu: to the original, else to the copy
 *
 * Context: any.
 * Return: false if no slot is at that address.
 */
bool adp_copy_sync(struct adp_copies *copies, u16 tag, dma_addr_t dma,
		   size_t size, enum dma_data_direction dir, bool for_cpu)
{
	int a = adp_area_find(copies, tag, dma), offset;
	struct adp_copy_area *area;
	void *original, *copy;
	u64 word;

	if (a < 0)
		return false;
	area = copies->area[a];
	word = atomic64_read(&area->slot[(dma - area->dma) / ADP_COPY_PAGE]);
	offset = adp_slot_offset(word, dma);
	if (offset < 0)
		return true;

	size = min(size, adp_slot_size(word) - offset);
	original = phys_to_virt(adp_slot_phys(word)) + offset;
	copy = area->cpu + (dma - area->dma);
	if (for_cpu && dir != DMA_TO_DEVICE)
		memcpy(original, copy, size);
	else if (!for_cpu && dir != DMA_FROM_DEVICE)
		memcpy(copy, original, size);
	return true;
}

/**
 * adp_copy_bytes() - how large the pool is
 * @copies: pool
 */
u64 adp_copy_bytes(const struct adp_copies *copies)
{
	return READ_ONCE(copies->nr) * (u64)ADP_AREA_BYTES;
}

/**
 * adp_copy_drain() - end all copies without writing to the originals
 * @copies: pool; empty afterwards
 *
 * For when the managed function's driver has gone.
 *
 * Context: may sleep.
 * Return: how many there were.
 */
unsigned int adp_copy_drain(struct adp_copies *copies)
{
	unsigned int left = 0, a, i;

	for (a = 0; a < copies->nr; a++) {
		for (i = 0; i < ADP_AREA_SLOTS; i++)
			left += !!atomic64_read(&copies->area[a]->slot[i]);
		adp_area_free(copies, copies->area[a]);
	}
	copies->nr = 0;
	return left;
}
