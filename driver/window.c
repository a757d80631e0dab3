// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which guest memory is mapped, where, for whom.
 *
 * A window is one mapping of the host: whole host pages, keyed by where it
 * starts, since the host refuses a second live mapping with the same start
 * whatever its length. Mappings of the driver above share windows by
 * reference. One that begins where a window begins, but is longer, gets a
 * window of its own that starts a host page lower, or the next lower one that
 * is free: the host accepts ranges that overlap, as long as they start apart.
 *
 * Two tables lead from a guest page and from a DMA page to a window. They are
 * read without a lock: whoever finds a number there takes a reference, and
 * then looks whether it is the window that it wants. All else has the lock. A
 * reference can be had while the window is live; taking it out of use means
 * to swap a count of 0 for one far below 0.
 *
 * A transaction collects the windows that a request lacks and sends them as
 * one batch. The lock is held from the first look-up to the last answer.
 *
 * In lazy mode windows may be larger than what was asked for, and a window
 * whose last user has left stays mapped: until it has been idle for long, or
 * the budget is needed.
 */
#include <linux/bitmap.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp.h"
#include "lookup.h"

#define ADP_SHIFT		APPLE_DMA_PCI_HOST_PAGE_SHIFT

/* No number of references comes near to making this positive. */
#define ADP_DEAD		(INT_MIN / 2)

/*
 * What a pin counts for. A window of ADP_MAPPING_MAX may have one in each of its host
 * pages, and that is still below INT_MAX / 2.
 */
#define ADP_PIN			4096
static_assert(ADP_MAPPING_MAX / ADP_HOST_PAGE * ADP_PIN < INT_MAX / 2);

/*
 * How many starts are tried below a request. The bound keeps the time with
 * interrupts off short; a request that finds nothing is copied instead.
 */
#define ADP_START_TRIES		1024

/*
 * Windows unmapped together. The host is busy with the vCPU held for as long
 * as a batch takes, and callers may have interrupts off. Nor is more than this
 * part of the budget made free: it is warm, and may be wanted soon.
 */
#define ADP_RECLAIM_BATCH	512
#define ADP_RECLAIM_SHARE	8

/*
 * Large windows cost few doorbells and, used sparsely, much of the budget. With
 * all of RAM within the budget nothing can be wasted; but whether the platform
 * really has that much is only known when it has been had, so until then a window
 * is at most this part of what has been.
 */
#define ADP_BLOCK_ROOMY		0x400000UL
#define ADP_BLOCK		0x40000UL
#define ADP_PROVEN_SHARE	8

/*
 * The part of the budget, and of what is mapped, that memory which nobody
 * asked for may take in windows that are in use.
 */
#define ADP_EXTRA_SHARE		64
#define ADP_EXTRA_LIVE_SHARE	8

/* Windows looked at for that with each window that is to be enlarged. */
#define ADP_AUDIT		32

/* Near the end of the budget, which is this part of it, nothing is enlarged. */
#define ADP_SCARCE_SHARE	8

/*
 * The part that it may take where the platform avoids the addresses that suit, so
 * that windows have to begin lower. Elsewhere fillers will mostly do.
 */
#define ADP_LOWER_SHARE		2

/* What the platform has per function: see Documentation/design.rst. */
#define ADP_BUDGET_BYTES	0x60000000ULL
#define ADP_BUDGET_MAPPINGS	65536ULL

/* What is left of a budget at least, however often the host refuses. */
#define ADP_BUDGET_MIN_BYTES	0x100000ULL
#define ADP_BUDGET_MIN_MAPPINGS	16ULL

#define ADP_START_BITS		13

/* The largest adp_window.extra: a window of ADP_BLOCK_ROOMY has less. */
#define ADP_EXTRA_MAX		255

/* Ticks in the time that a window may be idle: how exact that time is. */
#define ADP_AGE_TICKS		4

/* Windows looked at together by the clock, with interrupts off. */
#define ADP_AGE_LOOK		1024

/* Gaps between DMA addresses that are looked at to foresee the next one. */
#define ADP_GAPS		256

/* The farthest beyond a gap's start that the platform is believed to place. */
#define ADP_SKEW_MAX		8

/* Starts that are tried for an aligned address, where gaps are known and where not. */
#define ADP_ALIGN_TRIES		32
#define ADP_LOWER_TRIES		4

/*
 * Fillers for one window, and lengths of each that are tried. Small gaps often are
 * many that have held the same before, so that none of them suits.
 */
#define ADP_FILLERS		64
#define ADP_FILLER_TRIES	16

/* How often a window is mapped again elsewhere, for an aligned address. */
#define ADP_ALIGN_ROUNDS	2

/*
 * Where addresses cannot be foreseen, trying is dear: after some failures only
 * one request in so many does.
 */
#define ADP_LUCK		32
#define ADP_UNLUCKY		64

/* Each page of a chunk knows which chunk it belongs to. */
static u16 adp_window_number(struct adp_windows *ws, const struct adp_window *w)
{
	unsigned long c = page_private(virt_to_page(w));

	return c * ADP_WINDOW_CHUNK + (w - ws->chunk[c]);
}

static void *adp_books_alloc(struct adp_windows *ws, size_t size)
{
	void *p = kzalloc(size, GFP_ATOMIC | __GFP_NOWARN);

	if (p)
		ws->memory += size;
	return p;
}

static void adp_list_add(struct adp_windows *ws, struct adp_list *list,
			 struct adp_window *w)
{
	u16 n = adp_window_number(ws, w);

	w->link = 0;
	if (list->first)
		adp_window_at(ws, list->last)->link = n;
	else
		list->first = n;
	list->last = n;
}

static struct adp_window *adp_list_pop(struct adp_windows *ws,
				       struct adp_list *list)
{
	struct adp_window *w;

	if (!list->first)
		return NULL;
	w = adp_window_at(ws, list->first);
	list->first = w->link;
	return w;
}

/*
 * The tables. A block that is all in one window, or has parts of one only, names
 * the window; one that has parts of several has a struct adp_fine. Memory for
 * either may be lacking: then a guest page goes without, and a window whose DMA
 * addresses cannot be entered is given up.
 */

static u32 adp_fine_new(struct adp_windows *ws)
{
	unsigned int c = ws->used_fine / ADP_FINE_CHUNK;
	struct adp_fine *chunk;
	u32 entry = ws->free_fine;

	if (entry) {
		ws->free_fine = adp_fine_at(ws, entry)->next;
		memset(adp_fine_at(ws, entry), 0, sizeof(*chunk));
		return entry;
	}
	if (ws->used_fine == ADP_FINE_IDS)
		return 0;
	if (!ws->fine[c]) {
		chunk = adp_books_alloc(ws, ADP_FINE_CHUNK * sizeof(*chunk));
		if (!chunk)
			return 0;
		/* Pairs with READ_ONCE() in adp_fine_at(). */
		smp_store_release(&ws->fine[c], chunk);
	}
	return adp_fine_entry(ws->used_fine++);
}

/* Who still reads it finds a window that is not the one it looks for. */
static void adp_fine_free(struct adp_windows *ws, u32 entry)
{
	adp_fine_at(ws, entry)->next = ws->free_fine;
	ws->free_fine = entry;
}

/* Whether near blocks are found without the lock. */
static void adp_table_open(struct adp_table *t, bool open)
{
	static const struct adp_near none;

	WRITE_ONCE(t->open, open ? t->near : &none);
}

/* The entry of a block, or NULL if there is none. */
static u32 *adp_block_at(struct adp_table *t, u32 page)
{
	u32 n = (page >> ADP_BLOCK_SHIFT) - t->base;
	struct adp_leaf *leaf;

	if (likely(n < t->near->nr))
		return &t->near->entry[n];
	leaf = xa_load(&t->far, page >> (ADP_BLOCK_SHIFT + ADP_LEAF_SHIFT));
	if (!leaf)
		return NULL;
	return &leaf->block[(page >> ADP_BLOCK_SHIFT) % ADP_LEAF_BLOCKS];
}

/* The same, made if it has to be. */
static u32 *adp_block_get(struct adp_windows *ws, struct adp_table *t, u32 page)
{
	u32 *block = adp_block_at(t, page);
	struct adp_leaf *leaf;

	if (block)
		return block;
	leaf = adp_books_alloc(ws, sizeof(*leaf));
	if (!leaf)
		return NULL;
	if (xa_err(xa_store(&t->far, page >> (ADP_BLOCK_SHIFT + ADP_LEAF_SHIFT),
			    leaf, GFP_ATOMIC))) {
		ws->memory -= sizeof(*leaf);
		kfree(leaf);
		return NULL;
	}
	return adp_block_at(t, page);
}

static struct adp_window *adp_table_get(struct adp_windows *ws,
					struct adp_table *t, u32 page)
{
	u32 *block = adp_block_at(t, page);
	struct adp_window *w;

	return block && adp_entry_window(ws, READ_ONCE(*block), page, &w) ?
	       w : NULL;
}

static u32 adp_window_first(struct adp_windows *ws, struct adp_table *t,
			    const struct adp_window *w)
{
	return t == &ws->by_dma ? w->dma : w->gpa;
}

/* Tell the pages of a block apart, which until now have named one window. */
static u32 adp_block_split(struct adp_windows *ws, struct adp_table *t,
			   u16 number, u32 block)
{
	struct adp_window *w = adp_window_at(ws, number);
	u32 entry = adp_fine_new(ws), i;
	struct adp_fine *fine;

	if (!entry)
		return 0;
	fine = adp_fine_at(ws, entry);
	for (i = 0; i < ADP_BLOCK_PAGES; i++)
		if (block + i - adp_window_first(ws, t, w) < w->pages)
			WRITE_ONCE(fine->id[i], number);
	return entry;
}

/* Make pages of a block lead to a window, whatever they led to. */
static int adp_block_set(struct adp_windows *ws, struct adp_table *t, u32 *p,
			 u32 first, u32 end, u16 number)
{
	u32 entry = *p, whole = adp_entry(number), page;
	struct adp_fine *fine;

	if (end - first == ADP_BLOCK_PAGES || !entry || entry == whole) {
		WRITE_ONCE(*p, whole);
		if (entry & ADP_FINE)
			adp_fine_free(ws, entry);
		return 0;
	}
	if (!(entry & ADP_FINE)) {
		entry = adp_block_split(ws, t, adp_entry_number(entry),
					round_down(first, ADP_BLOCK_PAGES));
		if (!entry)
			return -ENOMEM;
	}
	fine = adp_fine_at(ws, entry);
	for (page = first; page < end; page++)
		WRITE_ONCE(fine->id[page % ADP_BLOCK_PAGES], number);
	/* Who finds the entry sees what it leads to. */
	smp_store_release(p, entry);
	return 0;
}

static void adp_block_clear(struct adp_windows *ws, u32 *p, u32 first, u32 end,
			    u16 number)
{
	struct adp_fine *fine;
	u32 entry = *p, page;
	bool several = false;
	u16 other = 0;

	if (entry == adp_entry(number))
		WRITE_ONCE(*p, 0);
	if (!(entry & ADP_FINE))
		return;
	fine = adp_fine_at(ws, entry);
	for (page = first; page < end; page++)
		if (fine->id[page % ADP_BLOCK_PAGES] == number)
			WRITE_ONCE(fine->id[page % ADP_BLOCK_PAGES], 0);
	for (page = 0; page < ADP_BLOCK_PAGES; page++) {
		several |= other && fine->id[page] && fine->id[page] != other;
		other = fine->id[page] ?: other;
	}
	if (several)
		return;
	WRITE_ONCE(*p, adp_entry(other));
	adp_fine_free(ws, entry);
}

static void adp_table_clear(struct adp_windows *ws, struct adp_table *t,
			    struct adp_window *w)
{
	u32 page = adp_window_first(ws, t, w), end = page + w->pages, stop;
	u16 number = adp_window_number(ws, w);

	for (; page < end; page = stop) {
		u32 *block = adp_block_at(t, page);

		stop = min(end, (u32)round_down(page, ADP_BLOCK_PAGES) +
			   (u32)ADP_BLOCK_PAGES);
		if (block)
			adp_block_clear(ws, block, page, stop, number);
	}
}

static int adp_table_set(struct adp_windows *ws, struct adp_table *t,
			 struct adp_window *w)
{
	u32 page = adp_window_first(ws, t, w), end = page + w->pages, stop;
	u16 number = adp_window_number(ws, w);
	int err = 0;

	for (; page < end; page = stop) {
		u32 *block = adp_block_get(ws, t, page);
		int e = -ENOMEM;

		stop = min(end, (u32)round_down(page, ADP_BLOCK_PAGES) +
			   (u32)ADP_BLOCK_PAGES);
		if (block)
			e = adp_block_set(ws, t, block, page, stop, number);
		err = err ?: e;
	}
	return err;
}

/* The window that a page leads to, if it really has it; the lock is held. */
static struct adp_window *adp_table_find(struct adp_windows *ws,
					 struct adp_table *t, u32 page)
{
	struct adp_window *w = adp_table_get(ws, t, page);

	return w && page - adp_window_first(ws, t, w) < w->pages ? w : NULL;
}

/* Is an address of a window in use. */
static bool adp_dma_taken(struct adp_windows *ws, const struct adp_window *w)
{
	u32 page = w->dma, end = w->dma + w->pages;

	while (page < end) {
		u32 *block = adp_block_at(&ws->by_dma, page);

		if (!block || !*block)
			page = round_down(page, ADP_BLOCK_PAGES) +
			       ADP_BLOCK_PAGES;
		else if (adp_table_find(ws, &ws->by_dma, page++))
			return true;
	}
	return false;
}

/* Enter a window's addresses: -EEXIST if one is in use, -ENOMEM. */
static int adp_dma_set(struct adp_windows *ws, struct adp_window *w)
{
	int err;

	if (adp_dma_taken(ws, w))
		return -EEXIST;
	err = adp_table_set(ws, &ws->by_dma, w);
	if (err)
		adp_table_clear(ws, &ws->by_dma, w);
	else if (w->dma - ws->space_base < ADP_SPACE_PAGES - w->pages)
		bitmap_set(ws->space, w->dma - ws->space_base, w->pages);
	return err;
}

/* There is a new gap: that is where the search for gaps begins. */
static void adp_space_clear(struct adp_windows *ws, u32 at, u32 pages)
{
	unsigned int i;
	u32 start;

	bitmap_clear(ws->space, at, pages);
	start = find_last_bit(ws->space, at);
	start = start == at ? 0 : start + 1;
	for (i = 0; i < ADP_SPACE_CLASSES; i++)
		ws->lowest[i] = min(ws->lowest[i], start);
}

static void adp_dma_clear(struct adp_windows *ws, struct adp_window *w)
{
	adp_table_clear(ws, &ws->by_dma, w);
	if (w->dma - ws->space_base < ADP_SPACE_PAGES - w->pages)
		adp_space_clear(ws, w->dma - ws->space_base, w->pages);
}

/* Which window starts at a page, whatever its state is. */

static u16 *adp_start_head(struct adp_windows *ws, u32 page)
{
	return &ws->starts[hash_32(page, ADP_START_BITS)];
}

static struct adp_window *adp_start_find(struct adp_windows *ws, u32 page)
{
	u16 n;

	for (n = *adp_start_head(ws, page); n; n = adp_window_at(ws, n)->next)
		if (adp_window_at(ws, n)->gpa == page)
			return adp_window_at(ws, n);
	return NULL;
}

static void adp_start_add(struct adp_windows *ws, struct adp_window *w)
{
	u16 *head = adp_start_head(ws, w->gpa);

	w->next = *head;
	*head = adp_window_number(ws, w);
}

static void adp_start_remove(struct adp_windows *ws, struct adp_window *w)
{
	u16 *n = adp_start_head(ws, w->gpa), number = adp_window_number(ws, w);

	while (*n != number)
		n = &adp_window_at(ws, *n)->next;
	*n = w->next;
}

static bool adp_ids_alloc(struct adp_windows *ws, unsigned int c)
{
	if (!ws->ids[c])
		ws->ids[c] = adp_books_alloc(ws, ADP_WINDOW_CHUNK *
					     sizeof(*ws->ids[c]));
	return ws->ids[c];
}

static struct adp_window *adp_chunk_new(struct adp_windows *ws, unsigned int c)
{
	struct adp_window *chunk;
	const size_t size = ADP_WINDOW_CHUNK * sizeof(*chunk);
	unsigned int i;

	chunk = alloc_pages_exact(size, GFP_ATOMIC | __GFP_ZERO | __GFP_NOWARN);
	if (!chunk)
		return NULL;
	for (i = 0; i < size; i += PAGE_SIZE)
		set_page_private(virt_to_page((void *)chunk + i), c);
	for (i = 0; i < ADP_WINDOW_CHUNK; i++)
		atomic_set(&chunk[i].refs, ADP_DEAD);
	ws->memory += size;
	return chunk;
}

static struct adp_window *adp_window_new(struct adp_windows *ws)
{
	unsigned int c = ws->used / ADP_WINDOW_CHUNK;
	struct adp_window *w;

	if (ws->free) {
		w = adp_window_at(ws, ws->free);
		ws->free = w->next;
		return w;
	}
	if (ws->used == ADP_WINDOW_IDS)
		return NULL;
	/* A host that gives out odd handles goes on doing so. */
	if (c && ws->ids[c - 1] && !adp_ids_alloc(ws, c))
		return NULL;
	if (!ws->chunk[c]) {
		w = adp_chunk_new(ws, c);
		if (!w)
			return NULL;
		/* Pairs with READ_ONCE() in adp_window_at(). */
		smp_store_release(&ws->chunk[c], w);
	}
	return adp_window_at(ws, ws->used++);
}

/* Nothing leads to it any more but its start. */
static void adp_window_retire(struct adp_windows *ws, struct adp_window *w)
{
	adp_table_clear(ws, &ws->by_gpa, w);
	if (!w->tagged || w->state == ADP_WINDOW_PENDING)
		ws->extra_pages -= w->extra;
}

static void adp_window_free(struct adp_windows *ws, struct adp_window *w)
{
	adp_start_remove(ws, w);
	w->state = ADP_WINDOW_FREE;
	w->next = ws->free;
	ws->free = adp_window_number(ws, w);
}

/* Nobody can have it from here on: false if somebody does. */
static bool adp_window_kill(struct adp_windows *ws, struct adp_window *w)
{
	if (w->state != ADP_WINDOW_LIVE ||
	    atomic_cmpxchg(&w->refs, 0, ADP_DEAD))
		return false;
	adp_window_retire(ws, w);
	w->state = ADP_WINDOW_DYING;
	return true;
}

/* The host's handle. Hosts seen use the address that the window starts at. */
static u64 adp_window_id(struct adp_windows *ws, const struct adp_window *w)
{
	u16 n = adp_window_number(ws, w);
	u64 *ids = ws->ids[n / ADP_WINDOW_CHUNK];

	return (ids ? ids[n % ADP_WINDOW_CHUNK] : 0) ^ (u64)w->gpa << ADP_SHIFT;
}

static bool adp_window_set_id(struct adp_windows *ws, struct adp_window *w,
			      u64 id)
{
	u16 n = adp_window_number(ws, w);

	id ^= (u64)w->gpa << ADP_SHIFT;
	if (id && !adp_ids_alloc(ws, n / ADP_WINDOW_CHUNK))
		return false;
	if (ws->ids[n / ADP_WINDOW_CHUNK])
		ws->ids[n / ADP_WINDOW_CHUNK][n % ADP_WINDOW_CHUNK] = id;
	return true;
}

/* All of RAM, with something to spare. */
static bool adp_fits_budget(const struct adp_windows *ws, u64 bytes)
{
	return bytes <= ws->max_bytes / 4 * 3;
}

/**
 * adp_windows_complain() - say that a mapping failed, and how full it is
 * @ws: windows
 * @bytes: what was asked for
 * @why: the cause
 *
 * Rate-limited.
 */
void adp_windows_complain(struct adp_windows *ws, u64 bytes, const char *why)
{
	struct adp_stats *st = ws->stats;

	if (!__ratelimit(&ws->ratelimit))
		return;
	dev_warn(ws->ch->dev,
		 "cannot map %llu bytes: %s; live %llu bytes in %llu mappings, peak %llu in %llu (the platform allows about 1536 MiB and 65536)\n",
		 bytes, why, st->live_bytes, st->live_mappings, st->peak_bytes,
		 st->peak_mappings);
}

static u64 adp_window_bytes(const struct adp_window *w)
{
	return w->state == ADP_WINDOW_PARTIAL ? w->partial :
	       (u64)w->pages << ADP_SHIFT;
}

/* Does a window have some of a piece of memory. */
static bool adp_window_within(const struct adp_window *w, u64 start, u64 end)
{
	u64 first = (u64)w->gpa << ADP_SHIFT;

	return w->state != ADP_WINDOW_FREE && first < end &&
	       first + adp_window_bytes(w) > start;
}

/* The host may still hold it: keep its start and its addresses out of use. */
static void adp_window_quarantine(struct adp_windows *ws, struct adp_window *w)
{
	u64 bytes = adp_window_bytes(w);

	w->state = ADP_WINDOW_QUARANTINED;
	ws->stats->quarantined++;
	if (!ws->ch->broken && __ratelimit(&ws->ratelimit))
		dev_err(ws->ch->dev,
			"the host refused to unmap %llu KiB at %#llx; the device can still reach them, they are not mapped again\n",
			bytes >> 10, (u64)w->gpa << ADP_SHIFT);
}

/*
 * What look-ups without the lock have to know: with a host that is given up
 * nothing is found by them any more, with one that is nearly full not all is.
 */
static void adp_windows_heed(struct adp_windows *ws)
{
	u32 tick = (u16)ws->tick;

	if (!ws->roomy && ws->stats->live_bytes > ws->max_bytes / 4 * 3)
		tick |= ADP_TICK_THRIFTY;
	if (ws->tick != tick)
		WRITE_ONCE(ws->tick, tick);
	if (unlikely(ws->ch->broken))
		adp_table_open(&ws->by_gpa, false);
}

/**
 * adp_windows_open() - may windows be found by guest address without the lock
 * @ws: windows
 * @open: they may; if not, each mapping takes the lock
 *
 * Context: any.
 */
void adp_windows_open(struct adp_windows *ws, bool open)
{
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	adp_table_open(&ws->by_gpa, open);
	adp_windows_heed(ws);
	spin_unlock_irqrestore(&ws->lock, flags);
}

/*
 * Unmap windows: one doorbell for as many entries as the host takes in a batch.
 * What the host refuses is quarantined; @done gets the rest. Return: whether the
 * host has unmapped them all.
 */
static bool adp_windows_unmap(struct adp_windows *ws, struct adp_list *list,
			      struct adp_list *done)
{
	struct adp_channel *ch = ws->ch;
	bool all = true;

	while (list->first) {
		struct adp_list sent = {};
		struct adp_window *w;
		u32 i = 0;
		int err;

		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
		while (list->first) {
			w = adp_window_at(ws, list->first);
			if (adp_channel_add_unmap(ch, adp_window_id(ws, w),
						  adp_window_bytes(w)) < 0)
				break;
			adp_list_pop(ws, list);
			adp_list_add(ws, &sent, w);
		}

		err = adp_channel_sync(ch);
		while ((w = adp_list_pop(ws, &sent))) {
			if (err || adp_channel_unmap_result(ch, i++,
							    adp_window_id(ws, w),
							    adp_window_bytes(w))) {
				if (w->state == ADP_WINDOW_PENDING)
					adp_window_retire(ws, w);
				adp_window_quarantine(ws, w);
				all = false;
			} else {
				adp_list_add(ws, done, w);
			}
		}
	}
	return all;
}

/**
 * __adp_windows_release() - unmap windows
 * @ws: windows
 * @gone: windows that are ADP_WINDOW_DYING or ADP_WINDOW_PARTIAL; empty
 *	afterwards
 *
 * One doorbell for as many entries as the host takes in a batch. What the
 * host refuses to unmap is quarantined. While the companion sleeps they wait.
 *
 * Context: any; the caller holds the lock.
 */
void __adp_windows_release(struct adp_windows *ws, struct adp_list *gone)
{
	struct adp_list done = {};
	struct adp_window *w;

	lockdep_assert_held(&ws->lock);

	if (unlikely(ws->asleep)) {
		while ((w = adp_list_pop(ws, gone)))
			adp_list_add(ws, &ws->owed, w);
		return;
	}
	adp_windows_unmap(ws, gone, &done);
	while ((w = adp_list_pop(ws, &done))) {
		if (w->state == ADP_WINDOW_DYING)
			adp_dma_clear(ws, w);
		adp_window_free(ws, w);
	}
	adp_windows_heed(ws);
}

/*
 * Unmap a batch of idle windows, from where the last search ended. One that was
 * used in this tick is passed over, if there is any other.
 */
static unsigned int __adp_windows_reclaim(struct adp_windows *ws)
{
	struct adp_list gone = {};
	u64 room = ws->max_bytes / ADP_RECLAIM_SHARE, bytes = 0;
	unsigned int found = 0, round, i;

	lockdep_assert_held(&ws->lock);

	for (round = 0; round < 2 && !found; round++) {
		for (i = 1; i < ws->used && found < ADP_RECLAIM_BATCH &&
		     bytes < room; i++) {
			struct adp_window *w;

			if (++ws->hand >= ws->used)
				ws->hand = 1;
			w = adp_window_at(ws, ws->hand);
			if (!round && w->stamp == (u16)ws->tick)
				continue;
			if (adp_window_kill(ws, w)) {
				adp_list_add(ws, &gone, w);
				bytes += adp_window_bytes(w);
				found++;
			}
		}
	}
	__adp_windows_release(ws, &gone);
	ws->stats->reclaimed += found;
	return found;
}

/*
 * An idle window is not worth an address that does not suit, nor what it wastes.
 * Return: whether there was one, and its start is free; the host may refuse.
 */
static bool adp_start_evict(struct adp_windows *ws, u32 page)
{
	struct adp_window *w = adp_start_find(ws, page);
	struct adp_list gone = {};

	if (!w || !adp_window_kill(ws, w))
		return false;
	adp_list_add(ws, &gone, w);
	__adp_windows_release(ws, &gone);
	return !adp_start_find(ws, page);
}

/* The first of @n starts, from @page on, that only an idle window takes, or 0. */
static u32 adp_start_regain(struct adp_windows *ws, u32 page, unsigned int n)
{
	for (; n; n--, page++)
		if (adp_start_evict(ws, page))
			return page;
	return 0;
}

static void adp_window_wish(struct adp_window *w, unsigned int order)
{
	if (order) {
		w->note = max_t(unsigned int, w->note, order);
		w->tagged = 0;
	}
}

/* Another user for a window that holds what is asked for; the lock is held. */
static bool adp_window_join(struct adp_window *w, u64 start, u64 end,
			    unsigned int order)
{
	if (!adp_window_covers(w, start, end))
		return false;
	if (w->state == ADP_WINDOW_LIVE) {
		if (!adp_align_fits(w, order))
			return false;
		atomic_inc(&w->refs);
		return true;
	}
	if (w->state != ADP_WINDOW_PENDING)
		return false;
	w->wanted++;
	adp_window_wish(w, order);
	return true;
}

/*
 * How much of the memory that nobody asked for is in windows that are in use.
 * They cannot be made smaller; idle ones can be had back at any time. A few
 * windows are looked at each time, and what is mapped meanwhile counts.
 */
static u64 adp_windows_audit(struct adp_windows *ws)
{
	unsigned int i;

	for (i = 0; i < ADP_AUDIT; i++) {
		const struct adp_window *w;

		if (++ws->audit >= ws->used) {
			ws->held_pages = ws->audit_pages;
			ws->audit_pages = 0;
			ws->fresh_pages = 0;
			ws->audit = 0;
			break;
		}
		w = adp_window_at(ws, ws->audit);
		if (w->state == ADP_WINDOW_LIVE && !w->tagged &&
		    atomic_read(&w->refs) > 0)
			ws->audit_pages += w->extra;
	}
	return (ws->held_pages + ws->fresh_pages) << ADP_SHIFT;
}

/* May a window be enlarged, at most to @block bytes. */
static bool adp_may_extend(struct adp_windows *ws, u64 block, u64 bytes)
{
	u64 live = ws->stats->live_bytes;
	u64 room = ws->max_bytes - ws->max_bytes / ADP_SCARCE_SHARE;
	u64 share = min(ws->max_bytes / ADP_EXTRA_SHARE,
			live / ADP_EXTRA_LIVE_SHARE);

	if (ws->roomy)
		return true;
	return bytes < block / 2 && live + block <= room &&
	       adp_windows_audit(ws) + block <= share;
}

static u64 adp_block_proven(struct adp_windows *ws)
{
	u64 proven = ws->stats->peak_bytes / ADP_PROVEN_SHARE;

	proven = clamp(proven, (u64)ADP_HOST_PAGE, (u64)ADP_BLOCK_ROOMY);
	return 1ULL << ilog2(proven);
}

/*
 * More than was asked for, to serve the neighbours too: the memory around it
 * that is in no window, within a block, as far as the budget can spare it.
 */
static void adp_window_extend(struct adp_windows *ws,
			      const struct adp_ram_range *ram, u64 *start,
			      u64 *end)
{
	u64 block = ws->roomy ? adp_block_proven(ws) : ADP_BLOCK;
	u64 lo = max(round_down(*start, block), ADP_HOST_PAGE_UP(ram->start));
	u64 hi = min(round_up(*end, block), ADP_HOST_PAGE_DOWN(ram->end));

	if (!adp_may_extend(ws, block, *end - *start))
		return;
	while (*start > lo &&
	       !adp_table_find(ws, &ws->by_gpa, (*start - 1) >> ADP_SHIFT))
		*start -= ADP_HOST_PAGE;
	while (*end < hi &&
	       !adp_table_find(ws, &ws->by_gpa, *end >> ADP_SHIFT))
		*end += ADP_HOST_PAGE;
}

static struct adp_window *adp_window_start(struct adp_windows *ws, u64 start,
					   u64 end)
{
	struct adp_window *w = adp_window_new(ws);

	if (!w)
		return NULL;
	w->gpa = start >> ADP_SHIFT;
	w->pages = (end - start) >> ADP_SHIFT;
	w->extra = 0;
	w->tagged = 0;
	w->note = 0;
	w->wanted = 0;
	w->state = ADP_WINDOW_PENDING;
	adp_start_add(ws, w);
	return w;
}

/**
 * __adp_window_get() - a reference to a window that holds a piece of memory
 * @ws: windows
 * @txn: gets the window if it has to be mapped first
 * @start: start of a host page
 * @end: end of a host page
 * @order: alignment of the address that is wished for, adp_align_order()
 *
 * Context: any; the caller holds the lock, and sends @txn before it lets go.
 * Return: the window; ERR_PTR(-EFAULT) if the host pages are not all RAM;
 * ERR_PTR(-EEXIST) if every start that could serve is in use; ERR_PTR(-EIO) if
 * the channel is broken; ERR_PTR(-EAGAIN) if the companion sleeps;
 * ERR_PTR(-ENOSPC) if there are too many windows; ERR_PTR(-ENOMEM).
 */
struct adp_window *__adp_window_get(struct adp_windows *ws, struct adp_txn *txn,
				    u64 start, u64 end, unsigned int order)
{
	struct adp_ram_range ram;
	u64 first = start, last = end;
	struct adp_window *w;
	unsigned int tries;
	bool spare;

	lockdep_assert_held(&ws->lock);

	if (ws->ch->broken)
		return ERR_PTR(-EIO);

	if (!adp_ram_find(ws->ram, start, end, &ram) ||
	    end >> ADP_SHIFT > U32_MAX)
		return ERR_PTR(-EFAULT);

	/* After two refusals any address will do. */
	if (txn->tries == 2)
		order = 0;
	if (order && ws->luck <= 0) {
		if (ws->unlucky) {
			ws->unlucky--;
			order = 0;
		} else {
			WRITE_ONCE(ws->luck, 1);
		}
	}
	w = adp_table_get(ws, &ws->by_gpa, start >> ADP_SHIFT);
	spare = w && ws->tick & ADP_TICK_THRIFTY && !ws->asleep &&
		w->state == ADP_WINDOW_LIVE && !atomic_read(&w->refs) &&
		adp_window_wastes(w, start, end);
	if (w && !spare && adp_window_join(w, start, end, order))
		return w;
	if (ws->asleep)
		return ERR_PTR(-EAGAIN);

	if (!txn->exact) {
		adp_window_extend(ws, &ram, &first, &last);
		if (first != start && adp_start_find(ws, first >> ADP_SHIFT))
			first = start;
	}

	if (order || spare)
		adp_start_evict(ws, first >> ADP_SHIFT);
	for (tries = 0; (w = adp_start_find(ws, first >> ADP_SHIFT)); tries++) {
		if (adp_window_join(w, start, end, order))
			return w;
		if (w->state == ADP_WINDOW_PENDING) {
			w->pages = (end >> ADP_SHIFT) - w->gpa;
			adp_window_wish(w, order);
			w->wanted++;
			adp_table_set(ws, &ws->by_gpa, w);
			return w;
		}
		if (first - ram.start < ADP_HOST_PAGE ||
		    tries == ADP_START_TRIES) {
			first = (u64)adp_start_regain(ws, first >> ADP_SHIFT,
						      tries + 1) << ADP_SHIFT;
			if (!first)
				return ERR_PTR(-EEXIST);
			break;
		}
		first -= ADP_HOST_PAGE;
	}

	if (ws->used == ADP_WINDOW_IDS && !ws->free)
		return ERR_PTR(-ENOSPC);
	w = adp_window_start(ws, first, last);
	if (!w)
		return ERR_PTR(-ENOMEM);
	w->extra = min(w->pages - ((end - start) >> ADP_SHIFT),
		       (u64)ADP_EXTRA_MAX);
	w->note = order;
	/* What a large window is mapped for now is not all that it will serve. */
	if (!order && !txn->exact && ws->roomy && ws->luck > 0 &&
	    w->pages >> ADP_ALIGN_ORDERS > 1) {
		w->note = ADP_ALIGN_ORDERS;
		w->tagged = 1;
	}
	w->wanted = 1;
	ws->extra_pages += w->extra;
	ws->fresh_pages += w->extra;
	adp_table_set(ws, &ws->by_gpa, w);
	adp_list_add(ws, &txn->misses, w);
	return w;
}

/*
 * Aligned addresses. The platform takes no wishes, but most of its kind place a
 * window in the lowest gap that is large enough, or at a constant distance
 * beyond the start of it. So the gap is looked up in our own books, and if its
 * start is not as the memory wants it, then either the window is begun so much
 * lower, or a filler is mapped before it: some of the same memory once more (in
 * lazy mode perhaps with what follows it), which takes the gap's first pages and
 * is unmapped as soon as the window is where it shall be.
 */

/* How far beyond a gap's start a window is placed. */
static u32 adp_gap_skew(struct adp_windows *ws, u32 gap)
{
	return ws->skew[gap ? gap & 1 : 2];
}

/* The lowest gap from @from on that a window is likely to go to; U32_MAX: no idea. */
static u32 adp_space_gap(struct adp_windows *ws, u32 from, u32 pages)
{
	unsigned int class = min_t(unsigned int, ilog2(pages), ADP_SPACE_CLASSES - 1);
	unsigned long at, end = max(from, ws->lowest[class]), want;
	bool all = from <= ws->lowest[class], found = false;
	unsigned int i;

	for (i = 0; i < ADP_GAPS && !found; i++) {
		at = find_next_zero_bit(ws->space, ADP_SPACE_PAGES, end);
		want = at + adp_gap_skew(ws, at) + pages;
		if (want > ADP_SPACE_PAGES)
			break;
		end = find_next_bit(ws->space, want, at);
		found = end >= want;
	}
	/* What is too small for these pages is so for all that are more. */
	if (pages != 1U << class)
		class++;
	if (all && i && class < ADP_SPACE_CLASSES)
		ws->lowest[class] = max_t(u32, ws->lowest[class], at);
	return found ? at : U32_MAX;
}

/* Host pages that lack between an address and one that suits a window. */
static u32 adp_align_off(struct adp_windows *ws, const struct adp_window *w,
			 u32 dma)
{
	return (w->gpa - dma) & ((2U << w->note) - 1);
}

static u32 adp_gap_dma(struct adp_windows *ws, u32 gap)
{
	return ws->space_base + gap + adp_gap_skew(ws, gap);
}

/* Can a window begin so many host pages lower. An idle one that does is unmapped. */
static bool adp_align_start(struct adp_windows *ws, const struct adp_window *w,
			    u32 lower, bool *evicted)
{
	u64 end = (u64)(w->gpa + w->pages) << ADP_SHIFT;

	if (lower > w->gpa || w->extra + lower > ADP_EXTRA_MAX ||
	    !adp_ram_find(ws->ram, (u64)(w->gpa - lower) << ADP_SHIFT, end,
			  NULL))
		return false;
	if (!adp_start_find(ws, w->gpa - lower))
		return true;
	*evicted |= adp_start_evict(ws, w->gpa - lower);
	return false;
}

/* By how much a window may begin lower: so little of the budget may be lost so. */
static u32 adp_lower_most(struct adp_windows *ws, const struct adp_window *w)
{
	u32 most = 2 * (2U << w->note) - 1;
	u64 share = ADP_EXTRA_SHARE;

	if (ws->skew[0] || ws->skew[1]) {
		share = ADP_LOWER_SHARE;
		most = ADP_EXTRA_MAX;
	}
	if (adp_windows_audit(ws) > div64_u64(ws->max_bytes, share))
		most = w->pages / ADP_EXTRA_SHARE;
	return min(most, ws->spare_pages);
}

/*
 * By how much a window has to begin lower, so that the gap which it goes to with
 * its new length suits it; 0 if that cannot be told. @gap gets the gap.
 */
static u32 adp_align_search(struct adp_windows *ws, const struct adp_window *w,
			    u32 from, u32 *gap)
{
	u32 period = 2U << w->note, lower = 0, off, most = adp_lower_most(ws, w);
	bool evicted = false;
	unsigned int i;

	for (i = 0; i < ADP_ALIGN_TRIES; i++) {
		*gap = adp_space_gap(ws, from, w->pages + lower);
		if (*gap == U32_MAX || lower > most ||
		    w->extra + lower > ADP_EXTRA_MAX)
			return 0;
		off = adp_align_off(ws, w, adp_gap_dma(ws, *gap) + lower);
		if (!off && lower &&
		    adp_align_start(ws, w, lower, &evicted))
			return lower;
		if (evicted) {
			/* The gaps have changed. */
			evicted = false;
			lower = 0;
			continue;
		}
		lower += off ?: period;
	}
	return 0;
}

/* Begin a window lower. */
static void adp_align_lower(struct adp_windows *ws, struct adp_window *w,
			    u32 lower)
{
	adp_start_remove(ws, w);
	adp_table_clear(ws, &ws->by_gpa, w);
	w->gpa -= lower;
	w->pages += lower;
	w->extra += lower;
	ws->spare_pages -= min(lower, ws->spare_pages);
	ws->extra_pages += lower;
	ws->fresh_pages += lower;
	adp_start_add(ws, w);
	adp_table_set(ws, &ws->by_gpa, w);
}

/*
 * How long the fillers have to be that a window needs before it: one that leaves
 * a rest of the gap that suits the window, or takes all of it, so that the window
 * goes to another gap, and so on. None may fit a lower gap. @gap becomes where
 * the window goes. Return: how many.
 */
static unsigned int adp_filler_plan(struct adp_windows *ws,
				    const struct adp_window *w, u32 from,
				    u32 *gap, u16 *pages)
{
	u32 at = *gap, spare = ws->spare_pages;
	u32 most = min_t(u32, ADP_FILLERS, ws->spare_mappings), len, rest;
	unsigned int n, i;

	for (n = 0; n < most; n++) {
		len = adp_align_off(ws, w, adp_gap_dma(ws, at));
		if (!len)
			break;
		rest = find_next_bit(ws->space, ADP_SPACE_PAGES, at) - at;
		for (i = 0; i < ADP_FILLER_TRIES; i++, len += 2U << w->note) {
			if (len > spare || len + w->pages > rest)
				break;
			/*
			 * What is as long as the window goes nowhere before
			 * here; what is shorter may.
			 */
			if (len < w->pages &&
			    (n || adp_space_gap(ws, from, len) != at))
				continue;
			pages[n] = len;
			*gap = at + len;
			return n + 1;
		}

		if (rest > min_t(u32, ADP_EXTRA_MAX, spare))
			return 0;
		pages[n] = rest;
		spare -= rest;
		at = adp_space_gap(ws, at + rest, w->pages);
		if (at == U32_MAX)
			return 0;
	}
	*gap = at;
	return adp_align_off(ws, w, adp_gap_dma(ws, at)) ? 0 : n;
}

/*
 * A window that nobody wants. In lazy mode it stays, as an idle one; in strict mode it is
 * within the memory of another one, and goes when that is mapped.
 */
static struct adp_window *adp_align_filler(struct adp_windows *ws,
					   const struct adp_window *w, u32 pages)
{
	u64 end = (u64)(w->gpa + w->pages) << ADP_SHIFT;
	struct adp_ram_range ram;
	struct adp_window *filler;
	u32 gpa = w->gpa + 1;
	unsigned int i;

	if (ws->lazy &&
	    adp_ram_find(ws->ram, end - ADP_HOST_PAGE, end, &ram))
		end = ADP_HOST_PAGE_DOWN(ram.end);
	for (i = 0; i < ADP_START_TRIES && adp_start_find(ws, gpa); i++)
		gpa++;
	if ((u64)(gpa + pages) << ADP_SHIFT > end || adp_start_find(ws, gpa))
		return NULL;
	filler = adp_window_start(ws, (u64)gpa << ADP_SHIFT,
				  (u64)(gpa + pages) << ADP_SHIFT);
	if (filler)
		filler->tagged = w->tagged;
	return filler;
}

/*
 * Prepare a window for the address that it is going to get, which is @seen if
 * that is known, else foreseen from the gaps from @from on. Return: the gap that
 * it will be in, or U32_MAX if there is no telling.
 */
static u32 adp_window_arrange(struct adp_windows *ws, struct adp_txn *txn,
			      struct adp_window *w, u32 from, u32 seen)
{
	u32 gap = adp_space_gap(ws, from, w->pages), lower = 0, off, at, most;
	bool skewed = ws->skew[0] || ws->skew[1], evicted = false;
	struct adp_window *filler;
	u16 pages[ADP_FILLERS];
	unsigned int n, i;

	ws->raw = gap;
	ws->filled = false;
	if (!w->note)
		return gap;
	if (seen != U32_MAX && (gap == U32_MAX || adp_gap_dma(ws, gap) != seen)) {
		/* Why it was placed there we do not know. It may well be again. */
		off = adp_align_off(ws, w, seen);
		most = off && ws->lazy ? adp_lower_most(ws, w) : 0;
		for (i = 0; off && off <= most && i < ADP_LOWER_TRIES && !evicted; i++) {
			if (adp_align_start(ws, w, off, &evicted)) {
				adp_align_lower(ws, w, off);
				break;
			}
			off += 2U << w->note;
		}
		return gap;
	}
	if (gap == U32_MAX)
		return gap;
	off = adp_align_off(ws, w, adp_gap_dma(ws, gap));
	if (!off)
		return gap;

	if (!skewed && off > w->pages / ADP_EXTRA_SHARE) {
		at = gap;
		n = adp_filler_plan(ws, w, from, &at, pages);
		for (i = 0; i < n; i++) {
			filler = adp_align_filler(ws, w, pages[i]);
			if (!filler)
				break;
			ws->filled = true;
			ws->spare_pages -= pages[i];
			ws->spare_mappings--;
			adp_list_add(ws, &txn->misses, filler);
		}
		if (ws->filled)
			return at;
	}
	if (ws->lazy)
		lower = adp_align_search(ws, w, from, &gap);
	if (lower) {
		ws->raw = gap;
		adp_align_lower(ws, w, lower);
	}
	return gap;
}

/* The same for all windows of a transaction; @seen is where the first one was. */
static void adp_windows_arrange(struct adp_windows *ws, struct adp_txn *txn,
				u32 seen)
{
	struct adp_list list = txn->misses;
	u32 from = 0, raw = U32_MAX, gap;
	bool first = true, filled = false;
	struct adp_window *w;
	u16 n = list.first;

	while (n && !adp_window_at(ws, n)->note)
		n = adp_window_at(ws, n)->link;
	ws->raw = U32_MAX;
	ws->filled = false;
	if (!n)
		return;

	txn->misses = (struct adp_list){};
	while ((w = adp_list_pop(ws, &list))) {
		gap = U32_MAX;
		if (from != U32_MAX)
			gap = adp_window_arrange(ws, txn, w, from,
						 first ? seen : U32_MAX);
		if (first)
			raw = ws->raw;
		filled |= ws->filled;
		adp_list_add(ws, &txn->misses, w);
		from = gap == U32_MAX ? gap :
		       min_t(u32, gap + w->pages + adp_gap_skew(ws, gap),
			     ADP_SPACE_PAGES);
		first = false;
	}
	/* What is learned is where the first one goes. */
	ws->raw = raw;
	ws->filled = filled;
}

/*
 * Learn from where a window was placed whose gap had been looked up. If that is
 * far from it, the platform has no use for the gap, nor for those between.
 */
static void adp_align_learn(struct adp_windows *ws, u32 dma, u32 pages)
{
	unsigned int class = min_t(unsigned int, ilog2(pages), ADP_SPACE_CLASSES - 1);
	u32 at = dma - ws->space_base, skew = at - ws->raw;
	u8 *known;

	if (ws->raw == U32_MAX || at >= ADP_SPACE_PAGES || at < ws->raw)
		goto out;
	if (skew > ADP_SKEW_MAX) {
		for (; class < ADP_SPACE_CLASSES; class++)
			ws->lowest[class] = max(ws->lowest[class], at);
		goto out;
	}
	known = &ws->skew[ws->raw ? ws->raw & 1 : 2];
	if (*known != skew) {
		*known = skew;
		memset(ws->lowest, 0, sizeof(ws->lowest));
	}
out:
	ws->raw = U32_MAX;
}

static bool adp_align_suits(const struct adp_window *w, u32 dma)
{
	return !w->note || !((dma - w->gpa) & ((2U << w->note) - 1));
}

static void adp_align_judge(struct adp_windows *ws, bool good)
{
	if (good) {
		WRITE_ONCE(ws->luck, min(ws->luck + 1, ADP_LUCK));
		return;
	}
	WRITE_ONCE(ws->luck, ws->luck - 4);
	if (ws->luck <= 0)
		ws->unlucky = ADP_UNLUCKY;
}

/* It is not going to be live. Its users put it, and the last of them frees it. */
static void adp_window_fail(struct adp_windows *ws, struct adp_window *w)
{
	adp_window_retire(ws, w);
	w->state = ADP_WINDOW_FAILED;
}

/*
 * Take over what the host answered for a window: -EAGAIN if it is to be mapped
 * elsewhere. One that is not mapped at all stays ADP_WINDOW_PENDING.
 */
static int adp_window_settle(struct adp_windows *ws, struct adp_window *w,
			     u32 index, u32 *seen, bool last)
{
	u64 len = (u64)w->pages << ADP_SHIFT;
	u32 wanted = w->wanted, dma;
	struct adp_map_result res;
	int err;

	err = adp_channel_map_result(ws->ch, index, (u64)w->gpa << ADP_SHIFT,
				     len, &res);
	if (err && err != -EMSGSIZE)
		return err;

	/* Whatever is wrong with it, the host holds it. */
	if (!adp_window_set_id(ws, w, res.id)) {
		adp_window_retire(ws, w);
		adp_window_quarantine(ws, w);
		return -ENOMEM;
	}
	dma = res.dma_addr >> ADP_SHIFT;
	if (!err && (res.dma_addr + len - 1) >> ADP_SHIFT <= U32_MAX) {
		adp_align_learn(ws, dma, w->pages);
		if (!last && !w->tagged && !adp_align_suits(w, dma)) {
			*seen = min(*seen, dma);
			return -EAGAIN;
		}
		w->dma = dma;
		err = adp_dma_set(ws, w);
		if (!err)
			goto live;
		if (err == -EEXIST) {
			w->wanted = wanted;
			adp_channel_break(ws->ch,
					  "the host assigned %#llx, which is in use",
					  res.dma_addr);
			return -EIO;
		}
	} else {
		err = err ? -ENOSPC : -ERANGE;
	}

	/* The last put unmaps it. */
	adp_window_retire(ws, w);
	w->state = ADP_WINDOW_PARTIAL;
	w->partial = res.dma_len;
	w->left = wanted;
	return err;

live:
	if (w->note && !w->tagged)
		adp_align_judge(ws, adp_align_suits(w, dma));
	w->state = ADP_WINDOW_LIVE;
	w->stamp = ws->tick;
	w->note = 0;
	w->tagged = 0;
	/* Pairs with adp_window_hit(): who gets a reference sees the rest. */
	smp_mb__before_atomic();
	atomic_add((int)wanted - ADP_DEAD, &w->refs);
	return 0;
}

/* Has the platform, as far as is known, all that it should have. */
static bool adp_budget_whole(const struct adp_windows *ws)
{
	return ws->max_bytes >= ADP_BUDGET_BYTES &&
	       ws->max_mappings >= ADP_BUDGET_MAPPINGS;
}

/*
 * The clock stands still while the machine sleeps, and so does the doorbell. It runs
 * while something may be idle, or some of the budget is to be had back.
 */
static void adp_windows_wind(struct adp_windows *ws)
{
	if ((ws->lazy && ws->stats->live_mappings) || !adp_budget_whole(ws))
		queue_delayed_work(system_freezable_wq, &ws->aging, ws->period);
}

/*
 * Reclaim before the host refuses. What is spare afterwards can go into aligned
 * addresses, which have a little made free for them too.
 */
static void adp_windows_budget(struct adp_windows *ws, struct adp_txn *txn)
{
	u64 bytes, nr, want_bytes = 0, want = 0, spare_bytes = 0, spare = 0;
	u16 n;

	for (n = txn->misses.first; n; n = adp_window_at(ws, n)->link) {
		struct adp_window *w = adp_window_at(ws, n);

		want_bytes += adp_window_bytes(w);
		want++;
		if (w->note) {
			spare_bytes = min_t(u64, ADP_EXTRA_MAX << ADP_SHIFT,
					    ws->max_bytes / ADP_RECLAIM_SHARE);
			spare = min_t(u64, ADP_FILLERS,
				      ws->max_mappings / ADP_RECLAIM_SHARE);
		}
	}
	do {
		bytes = ws->stats->live_bytes + want_bytes;
		nr = ws->stats->live_mappings + want;
	} while ((bytes + spare_bytes > ws->max_bytes ||
		  nr + spare > ws->max_mappings) &&
		 __adp_windows_reclaim(ws));

	ws->spare_pages = 0;
	ws->spare_mappings = 0;
	if (bytes < ws->max_bytes && nr < ws->max_mappings) {
		ws->spare_pages = (ws->max_bytes - bytes) >> ADP_SHIFT;
		ws->spare_mappings = ws->max_mappings - nr;
	}
}

/*
 * Send all that a transaction lacks. @again gets the windows that are mapped, but
 * are to be elsewhere, and @seen where the first of them is; @done, fillers to unmap;
 * @refused, if it is not NULL, those that the host has refused.
 */
static int adp_windows_send(struct adp_windows *ws, struct adp_txn *txn,
			    struct adp_list *done, struct adp_list *again,
			    struct adp_list *refused, u32 *seen, bool last)
{
	struct adp_channel *ch = ws->ch;
	int err, ret = 0;

	while (txn->misses.first) {
		struct adp_list sent = {};
		struct adp_window *w;
		u32 i = 0;

		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_MAP);
		while (txn->misses.first) {
			w = adp_window_at(ws, txn->misses.first);
			err = adp_channel_add_map(ch, (u64)w->gpa << ADP_SHIFT,
						  (u64)w->pages << ADP_SHIFT);
			if (err == -ENOSPC)
				break;
			adp_list_pop(ws, &txn->misses);
			if (err < 0) {
				adp_window_fail(ws, w);
				ret = ret ?: -ENOSPC;
			} else {
				adp_list_add(ws, &sent, w);
			}
		}

		err = sent.first ? adp_channel_sync(ch) : 0;
		while ((w = adp_list_pop(ws, &sent))) {
			bool filler = !w->wanted;
			bool keep = w->tagged;
			int e = err;

			if (!err)
				e = adp_window_settle(ws, w, i++, seen, last);
			if (e == -ENOSPC && w->state == ADP_WINDOW_PENDING &&
			    refused && !filler) {
				adp_list_add(ws, refused, w);
				continue;
			}
			if (e && e != -EAGAIN && w->state == ADP_WINDOW_PENDING)
				adp_window_fail(ws, w);
			if (e == -EAGAIN)
				adp_list_add(ws, again, w);
			else if (!filler)
				ret = ret ?: e;
			else if (w->state == ADP_WINDOW_FAILED)
				adp_window_free(ws, w);
			else if (w->state == ADP_WINDOW_PARTIAL ||
				 (!keep && !ws->lazy && adp_window_kill(ws, w)))
				adp_list_add(ws, done, w);
		}
	}
	return ret;
}

/*
 * The host has refused windows, although the budget was not used up. Perhaps an
 * earlier kernel has left mappings that start where they do: unmap those, and
 * @txn gets the windows again. Or it has left others that take from the budget,
 * which are looked for in the background.
 */
static int adp_windows_recover(struct adp_windows *ws, struct adp_txn *txn,
			       struct adp_list *refused)
{
	struct adp_channel *ch = ws->ch;
	int err, ret = 0;

	while (refused->first) {
		struct adp_list sent = {};
		struct adp_window *w;
		u32 i = 0;

		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
		while (refused->first) {
			w = adp_window_at(ws, refused->first);
			if (adp_channel_add_unmap(ch, (u64)w->gpa << ADP_SHIFT,
						  adp_window_bytes(w)) < 0)
				break;
			adp_list_pop(ws, refused);
			adp_list_add(ws, &sent, w);
		}

		err = adp_channel_sync(ch);
		while ((w = adp_list_pop(ws, &sent))) {
			if (!err && adp_channel_search_result(ch, i++)) {
				ws->left->found++;
				adp_list_add(ws, &txn->misses, w);
			} else {
				adp_window_fail(ws, w);
				ret = ret ?: err ?: -ENOSPC;
			}
		}
	}
	__adp_left_suspect(ws->left);
	return ret;
}

/**
 * __adp_windows_abort() - do not map what a transaction lacks
 * @ws: windows
 * @txn: transaction; lacks nothing afterwards
 *
 * The caller puts every window that it got.
 *
 * Context: any; the caller holds the lock.
 */
void __adp_windows_abort(struct adp_windows *ws, struct adp_txn *txn)
{
	struct adp_window *w;

	lockdep_assert_held(&ws->lock);

	while ((w = adp_list_pop(ws, &txn->misses)))
		adp_window_fail(ws, w);
}

/**
 * __adp_windows_commit() - map all that a transaction lacks
 * @ws: windows
 * @txn: transaction; lacks nothing afterwards
 *
 * One doorbell for as many entries as the host takes in a batch, and a few more
 * where addresses are wished to be aligned and do not come so. After an error
 * the caller puts every window that it got.
 *
 * Context: any; the caller holds the lock.
 * Return: 0; -ENOSPC if the host refused any of them; -ERANGE if it assigned
 * addresses that are beyond all masks; -EIO if the channel is broken; -ENOMEM.
 */
int __adp_windows_commit(struct adp_windows *ws, struct adp_txn *txn)
{
	u32 round = ws->lazy ? 0 : ADP_ALIGN_ROUNDS, seen = U32_MAX;
	struct adp_list done = {}, again = {}, refused = {};
	bool search = __adp_left_possible(ws->left);
	int err, ret = 0;

	lockdep_assert_held(&ws->lock);

	ws->filled = false;
	while (txn->misses.first) {
		adp_windows_budget(ws, txn);
		/* Where fillers did not help, see where it goes without any. */
		if (ws->filled && round && seen == U32_MAX) {
			ws->raw = U32_MAX;
			ws->filled = false;
		} else {
			adp_windows_arrange(ws, txn, seen);
		}
		seen = U32_MAX;
		err = adp_windows_send(ws, txn, &done, &again,
				       search ? &refused : NULL, &seen,
				       round++ >= ADP_ALIGN_ROUNDS);
		/* With the fillers where they are now, it would not be placed there again. */
		if (ws->filled)
			seen = U32_MAX;
		__adp_windows_release(ws, &done);
		ret = ret ?: err;
		/* Windows that have users, to be mapped again elsewhere. */
		if (!adp_windows_unmap(ws, &again, &txn->misses))
			ret = ret ?: -ENOSPC;
		/* A host that is asked once answers the same the next time. */
		if (refused.first) {
			err = adp_windows_recover(ws, txn, &refused);
			ret = ret ?: err;
			search = false;
		}
		if (ret)
			__adp_windows_abort(ws, txn);
	}
	adp_windows_heed(ws);
	adp_windows_wind(ws);
	return ret;
}

/**
 * __adp_window_put() - give references back
 * @ws: windows
 * @gone: gets the window if it is to be unmapped
 * @w: window; not to be used afterwards
 * @n: how many
 *
 * Context: any; the caller holds the lock, and calls __adp_windows_release()
 * with @gone before it lets go.
 */
void __adp_window_put(struct adp_windows *ws, struct adp_list *gone,
		      struct adp_window *w, unsigned int n)
{
	lockdep_assert_held(&ws->lock);

	switch (w->state) {
	case ADP_WINDOW_LIVE:
		atomic_sub(n, &w->refs);
		if (!ws->lazy && adp_window_kill(ws, w))
			adp_list_add(ws, gone, w);
		break;
	case ADP_WINDOW_PARTIAL:
		w->left -= n;
		if (!w->left)
			adp_list_add(ws, gone, w);
		break;
	case ADP_WINDOW_FAILED:
		w->wanted -= n;
		if (!w->wanted)
			adp_window_free(ws, w);
		break;
	default:
		break;
	}
}

/**
 * __adp_window_find() - the window that a DMA address is in
 * @ws: windows
 * @dma: address of a mapping, which keeps the window
 *
 * Context: any; the caller holds the lock.
 * Return: a window that is in use, or NULL.
 */
struct adp_window *__adp_window_find(struct adp_windows *ws, u64 dma)
{
	struct adp_window *w;

	lockdep_assert_held(&ws->lock);

	if (dma >> ADP_SHIFT > U32_MAX)
		return NULL;
	w = adp_table_find(ws, &ws->by_dma, dma >> ADP_SHIFT);
	return w && atomic_read(&w->refs) > 0 ? w : NULL;
}

/**
 * adp_window_find() - the window that a DMA address is in
 * @ws: windows
 * @dma: address of a mapping, which keeps the window
 *
 * Takes no lock but where the table is being changed around that address, or
 * nothing is mapped there.
 *
 * Context: any.
 * Return: a window that is in use, or NULL.
 */
struct adp_window *adp_window_find(struct adp_windows *ws, u64 dma)
{
	struct adp_window *w;
	unsigned long flags;

	w = adp_table_get(ws, &ws->by_dma, dma >> ADP_SHIFT);
	if (likely(w && atomic_read(&w->refs) > 0 && adp_window_holds(w, dma)))
		return w;

	spin_lock_irqsave(&ws->lock, flags);
	w = __adp_window_find(ws, dma);
	spin_unlock_irqrestore(&ws->lock, flags);
	return w;
}

/**
 * adp_window_drop_strict() - give references back in strict mode
 * @ws: windows
 * @w: live window; not to be used afterwards
 * @n: how many
 *
 * The last one unmaps.
 *
 * Context: any.
 * Return: false if there are not so many; nothing is given back then.
 */
bool adp_window_drop_strict(struct adp_windows *ws, struct adp_window *w,
			    unsigned int n)
{
	int refs = atomic_read(&w->refs);
	struct adp_list gone = {};
	unsigned long flags;

	while (refs > (int)n)
		if (atomic_try_cmpxchg_release(&w->refs, &refs, refs - n))
			return true;

	spin_lock_irqsave(&ws->lock, flags);
	refs = atomic_read(&w->refs);
	if (refs >= (int)n) {
		__adp_window_put(ws, &gone, w, n);
		__adp_windows_release(ws, &gone);
	}
	spin_unlock_irqrestore(&ws->lock, flags);
	return refs >= (int)n;
}

/*
 * The host has less than it should, or than it had. It does not say of what, so
 * what is mapped now counts as all that there is of either; adp_windows_age()
 * finds out whether there is more.
 */
static void adp_windows_believe(struct adp_windows *ws)
{
	ws->roomy = false;
	ws->max_bytes = clamp(ws->stats->live_bytes, ADP_BUDGET_MIN_BYTES,
			      ws->max_bytes);
	ws->max_mappings = clamp(ws->stats->live_mappings,
				 ADP_BUDGET_MIN_MAPPINGS, ws->max_mappings);
	adp_windows_wind(ws);
}

/**
 * adp_windows_make_room() - what can be done after the host has refused
 * @ws: windows
 * @txn: the transaction that was refused, and is to be tried again
 *
 * The first time, unmap a batch of idle windows and ask for no more than is
 * needed; the second time, unmap all that is idle. What the transaction itself
 * has mapped is idle by then, so there is no third time.
 *
 * Context: any.
 * Return: false if it is not worth another try.
 */
bool adp_windows_make_room(struct adp_windows *ws, struct adp_txn *txn)
{
	unsigned int found, total = 0;
	bool smaller = !txn->exact;
	unsigned long flags;

	if (txn->tries == 2)
		return false;
	txn->tries++;
	txn->exact = true;
	spin_lock_irqsave(&ws->lock, flags);
	adp_windows_believe(ws);
	spin_unlock_irqrestore(&ws->lock, flags);
	do {
		spin_lock_irqsave(&ws->lock, flags);
		found = __adp_windows_reclaim(ws);
		spin_unlock_irqrestore(&ws->lock, flags);
		total += found;
	} while (found && txn->tries == 2);
	if (!total && !smaller)
		return false;

	spin_lock_irqsave(&ws->lock, flags);
	ws->stats->retries++;
	spin_unlock_irqrestore(&ws->lock, flags);
	return true;
}

/**
 * adp_txn_init() - start a transaction
 * @ws: windows
 * @txn: lacks nothing yet
 * @exact: map only what is asked for
 */
void adp_txn_init(struct adp_windows *ws, struct adp_txn *txn, bool exact)
{
	txn->misses = (struct adp_list){};
	txn->exact = exact || !READ_ONCE(ws->lazy);
	txn->tries = 0;
}

/**
 * adp_window_map() - a reference to a mapped window that holds a piece of memory
 * @ws: windows
 * @start: start of a host page
 * @end: end of a host page
 * @order: alignment of the address that is wished for, adp_align_order()
 * @exact: map nothing else
 *
 * Context: any.
 * Return: the window, or ERR_PTR() with an error of __adp_window_get() or
 * __adp_windows_commit().
 */
struct adp_window *adp_window_map(struct adp_windows *ws, u64 start, u64 end,
				  unsigned int order, bool exact)
{
	struct adp_list gone = {};
	struct adp_window *w;
	unsigned long flags;
	struct adp_txn txn;
	int err;

	w = adp_window_hit(ws, start, end, order);
	if (w)
		return w;

	adp_txn_init(ws, &txn, exact);
	do {
		spin_lock_irqsave(&ws->lock, flags);
		w = __adp_window_get(ws, &txn, start, end, order);
		err = PTR_ERR_OR_ZERO(w);
		if (!err) {
			err = __adp_windows_commit(ws, &txn);
			if (err) {
				__adp_window_put(ws, &gone, w, 1);
				__adp_windows_release(ws, &gone);
			}
		}
		spin_unlock_irqrestore(&ws->lock, flags);
	} while (err == -ENOSPC && adp_windows_make_room(ws, &txn));

	return err ? ERR_PTR(err) : w;
}

/**
 * adp_windows_map() - references to mapped windows that hold pieces of memory
 * @ws: windows
 * @piece: the pieces
 * @nr: how many
 * @bytes: how long each is, whole host pages
 *
 * What has to be mapped goes out as one batch, and nothing else is mapped.
 *
 * Context: any.
 * Return: 0; or an error of __adp_window_get() or __adp_windows_commit(), and
 * there are no references.
 */
int adp_windows_map(struct adp_windows *ws, struct adp_piece *piece,
		    unsigned int nr, u64 bytes)
{
	struct adp_txn txn;
	int err;

	adp_txn_init(ws, &txn, true);
	do {
		struct adp_list gone = {};
		unsigned int got = 0;
		unsigned long flags;

		err = 0;
		spin_lock_irqsave(&ws->lock, flags);
		while (got < nr) {
			u64 start = piece[got].start;
			struct adp_window *w;

			w = __adp_window_get(ws, &txn, start, start + bytes, 0);
			err = PTR_ERR_OR_ZERO(w);
			if (err)
				break;
			piece[got++].window = w;
		}
		if (err)
			__adp_windows_abort(ws, &txn);
		else
			err = __adp_windows_commit(ws, &txn);
		if (err) {
			while (got)
				__adp_window_put(ws, &gone, piece[--got].window, 1);
			__adp_windows_release(ws, &gone);
		}
		spin_unlock_irqrestore(&ws->lock, flags);
	} while (err == -ENOSPC && adp_windows_make_room(ws, &txn));

	return err;
}

/**
 * adp_window_unmap() - give a reference back
 * @ws: windows
 * @w: window; not to be used afterwards
 *
 * Context: any.
 * Return: false if the host was to unmap it, and has not: the device may still
 * reach it.
 */
bool adp_window_unmap(struct adp_windows *ws, struct adp_window *w)
{
	struct adp_list gone = {};
	unsigned long flags;
	u64 before;
	bool done;

	spin_lock_irqsave(&ws->lock, flags);
	before = ws->stats->quarantined;
	__adp_window_put(ws, &gone, w, 1);
	__adp_windows_release(ws, &gone);
	done = ws->stats->quarantined == before &&
	       w->state != ADP_WINDOW_DYING;
	spin_unlock_irqrestore(&ws->lock, flags);
	return done;
}

/**
 * adp_window_pin() - make a reference one that the driver above cannot give back
 * @w: live window that the caller has a reference to
 *
 * A driver that unmaps what is not mapped takes the reference of somebody who shares
 * the window. What it gets from this module, its queues and the copies, outlives that.
 *
 * Context: any.
 */
void adp_window_pin(struct adp_window *w)
{
	atomic_add(ADP_PIN - 1, &w->refs);
}

/**
 * adp_window_unpin() - undo adp_window_pin()
 * @ws: windows
 * @w: window that the caller has pinned; afterwards it has a reference
 *
 * Says so if the driver above has given back more than it had.
 *
 * Context: any.
 */
void adp_window_unpin(struct adp_windows *ws, struct adp_window *w)
{
	int refs = atomic_read(&w->refs);
	unsigned long flags;

	while (!atomic_try_cmpxchg(&w->refs, &refs, max(refs - (ADP_PIN - 1), 1)))
		;
	if (likely(refs >= ADP_PIN))
		return;
	spin_lock_irqsave(&ws->lock, flags);
	if (__ratelimit(&ws->ratelimit))
		dev_err(ws->ch->dev,
			"driver bug: memory at %#llx was unmapped more often than it was mapped; coherent memory and copies there stayed\n",
			(u64)w->gpa << ADP_SHIFT);
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_window_set_tag() - say that a window may hold copies
 * @ws: windows
 * @w: window that the caller has a reference to
 * @tag: see adp_window_tag(); it stays until the window goes
 *
 * Context: any.
 */
void adp_window_set_tag(struct adp_windows *ws, struct adp_window *w, u8 tag)
{
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	if (!w->tagged) {
		ws->extra_pages -= w->extra;
		w->extra = tag;
		w->tagged = 1;
	} else if (tag != ADP_TAG_BOUNCE) {
		w->extra = tag;
	}
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_set_lazy() - change the mode
 * @ws: windows; nobody maps or unmaps meanwhile
 * @lazy: windows without users stay mapped
 *
 * Context: may sleep.
 */
void adp_windows_set_lazy(struct adp_windows *ws, bool lazy)
{
	unsigned long flags;
	unsigned int found;

	spin_lock_irqsave(&ws->lock, flags);
	WRITE_ONCE(ws->lazy, lazy);
	adp_table_open(&ws->by_dma, lazy);
	spin_unlock_irqrestore(&ws->lock, flags);
	if (lazy)
		return;
	do {
		spin_lock_irqsave(&ws->lock, flags);
		found = __adp_windows_reclaim(ws);
		spin_unlock_irqrestore(&ws->lock, flags);
		cond_resched();
	} while (found);
}

/**
 * adp_windows_sleep() - send nothing any more
 * @ws: windows
 *
 * What is mapped stays so, and can be found and given back. What would have to be
 * mapped fails, and what would have to be unmapped waits for adp_windows_wake().
 *
 * Context: any.
 */
void adp_windows_sleep(struct adp_windows *ws)
{
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	ws->asleep = true;
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_wake() - the companion answers again
 * @ws: windows
 *
 * Context: any.
 */
void adp_windows_wake(struct adp_windows *ws)
{
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	ws->asleep = false;
	__adp_windows_release(ws, &ws->owed);
	spin_unlock_irqrestore(&ws->lock, flags);
}

/* Nothing can be done about it: it is in use, or the host would not unmap it. */
static bool adp_window_stays(const struct adp_window *w, u64 start, u64 end,
			     bool across)
{
	if (w->state == ADP_WINDOW_FREE)
		return false;
	return !across || w->state != ADP_WINDOW_LIVE ||
	       (u64)w->gpa << ADP_SHIFT < start ||
	       (u64)(w->gpa + w->pages) << ADP_SHIFT > end;
}

/**
 * adp_windows_evict() - unmap what nobody uses of some memory
 * @ws: windows
 * @start: first byte
 * @end: one past the last byte
 * @across: of windows in use count only those that hold other memory too
 *
 * Context: may sleep.
 * Return: how many windows with some of that memory are still mapped.
 */
unsigned int adp_windows_evict(struct adp_windows *ws, u64 start, u64 end,
			       bool across)
{
	unsigned int left = 0, n = 1;
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	while (n < ws->used) {
		unsigned int found = 0, looked = 0, first = n;
		struct adp_list gone = {};

		for (; n < ws->used && found < ADP_RECLAIM_BATCH &&
		     looked < ADP_AGE_LOOK; n++, looked++) {
			struct adp_window *w = adp_window_at(ws, n);

			if (adp_window_within(w, start, end) &&
			    adp_window_kill(ws, w)) {
				adp_list_add(ws, &gone, w);
				found++;
			}
		}
		__adp_windows_release(ws, &gone);
		for (; first < n; first++) {
			struct adp_window *w = adp_window_at(ws, first);

			left += adp_window_within(w, start, end) &&
				adp_window_stays(w, start, end, across);
		}
		spin_unlock_irqrestore(&ws->lock, flags);
		cond_resched();
		spin_lock_irqsave(&ws->lock, flags);
	}
	spin_unlock_irqrestore(&ws->lock, flags);
	return left;
}

/**
 * adp_windows_measure() - heed that there is more RAM, or less
 * @ws: windows
 *
 * Context: any.
 */
void adp_windows_measure(struct adp_windows *ws)
{
	u64 top, total = adp_ram_size(ws->ram, &top);
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	if (!adp_fits_budget(ws, total))
		ws->roomy = false;
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_insist() - the next wish for an aligned address counts
 * @ws: windows
 *
 * However often such wishes have come to nothing.
 *
 * Context: any.
 */
void adp_windows_insist(struct adp_windows *ws)
{
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	WRITE_ONCE(ws->luck, max(ws->luck, 1));
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_tight() - would a new window cost another one
 * @ws: windows
 *
 * Context: any. A guess: takes no lock.
 */
bool adp_windows_tight(struct adp_windows *ws)
{
	struct adp_stats *st = ws->stats;

	return READ_ONCE(st->live_bytes) > READ_ONCE(ws->max_bytes) / 8 * 7 ||
	       READ_ONCE(st->live_mappings) > READ_ONCE(ws->max_mappings) / 8 * 7;
}

/*
 * Has a window been idle for too long. Its stamp tells when it was mapped last,
 * so that nothing has to be written when it is unmapped; how long ago that was
 * is told by the ticks that have found it idle.
 */
static bool adp_window_old(struct adp_windows *ws, struct adp_window *w)
{
	if (w->state != ADP_WINDOW_LIVE)
		return false;
	if (atomic_read(&w->refs) || (u16)(ws->tick - w->stamp) <= 1) {
		w->note = 0;
		return false;
	}
	w->note++;
	return w->note >= ADP_AGE_TICKS - 1;
}

/* What the platform is known to have, and what follows from it. */
static void adp_windows_trust(struct adp_windows *ws)
{
	u64 top, total = adp_ram_size(ws->ram, &top);

	ws->max_bytes = ADP_BUDGET_BYTES;
	ws->max_mappings = ADP_BUDGET_MAPPINGS;
	ws->roomy = adp_fits_budget(ws, total);
}

/* What the host has refused it may have again: look, little by little. */
static void adp_windows_hope(struct adp_windows *ws)
{
	u64 bytes = ws->max_bytes + ws->max_bytes / 8;
	u64 mappings = ws->max_mappings + ws->max_mappings / 8;

	if (adp_budget_whole(ws))
		return;
	ws->max_bytes = min(bytes, ADP_BUDGET_BYTES);
	ws->max_mappings = min(mappings, ADP_BUDGET_MAPPINGS);
	if (adp_budget_whole(ws))
		adp_windows_trust(ws);
}

/* Unmap what has been idle for too long, a batch at a time. */
static void adp_windows_age(struct work_struct *work)
{
	struct adp_windows *ws = container_of(to_delayed_work(work),
					      struct adp_windows, aging);
	unsigned int n = 1;
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	WRITE_ONCE(ws->tick, (u16)(ws->tick + 1));
	adp_windows_hope(ws);
	adp_windows_heed(ws);
	while (n < ws->used) {
		struct adp_list gone = {};
		unsigned int found = 0, looked = 0;

		for (; n < ws->used && found < ADP_RECLAIM_BATCH &&
		     looked < ADP_AGE_LOOK; n++, looked++) {
			struct adp_window *w = adp_window_at(ws, n);

			if (adp_window_old(ws, w) && adp_window_kill(ws, w)) {
				adp_list_add(ws, &gone, w);
				found++;
			}
		}
		__adp_windows_release(ws, &gone);
		ws->stats->aged += found;
		spin_unlock_irqrestore(&ws->lock, flags);
		cond_resched();
		spin_lock_irqsave(&ws->lock, flags);
	}
	if (!ws->ch->broken)
		adp_windows_wind(ws);
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_refresh() - the host may have more again than it has shown
 * @ws: windows
 *
 * Context: any.
 */
void adp_windows_refresh(struct adp_windows *ws)
{
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	adp_windows_trust(ws);
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * __adp_windows_started() - may something of ours be mapped from a start on
 * @ws: windows
 * @start: the start
 *
 * Context: any; the caller holds the lock.
 */
bool __adp_windows_started(struct adp_windows *ws, u64 start)
{
	const struct adp_window *w = adp_start_find(ws, start >> ADP_SHIFT);

	return w && w->state != ADP_WINDOW_FAILED;
}

/* A window, if the host gives it at the first try. */
static struct adp_window *adp_window_once(struct adp_windows *ws, u64 start,
					  u64 end)
{
	struct adp_list gone = {};
	struct adp_window *w;
	unsigned long flags;
	struct adp_txn txn;

	adp_txn_init(ws, &txn, true);
	spin_lock_irqsave(&ws->lock, flags);
	w = __adp_window_get(ws, &txn, start, end, 0);
	if (!IS_ERR(w) && __adp_windows_commit(ws, &txn)) {
		__adp_window_put(ws, &gone, w, 1);
		__adp_windows_release(ws, &gone);
		w = NULL;
	}
	spin_unlock_irqrestore(&ws->lock, flags);
	return IS_ERR(w) ? NULL : w;
}

/* Unmap a window that nobody but the caller uses. */
static void __adp_window_end(struct adp_windows *ws, struct adp_window *w)
{
	struct adp_list gone = {};

	atomic_set(&w->refs, 0);
	adp_window_kill(ws, w);
	adp_list_add(ws, &gone, w);
	__adp_windows_release(ws, &gone);
}

/**
 * adp_windows_mark() - map what is mapped before all else, and after all else
 * @ws: windows, none yet
 * @start: start of a host page, of RAM that is a block of an aligned address' size
 * @end: its end
 *
 * It stays at the address that it gets. Meanwhile the rest of the block is mapped
 * before it, so that with most platforms the address is the last one of a block,
 * and what comes behind it is aligned.
 *
 * Context: any.
 * Return: whether the host has.
 */
bool adp_windows_mark(struct adp_windows *ws, u64 start, u64 end)
{
	u64 block = ADP_HOST_PAGE << (ADP_ALIGN_ORDERS + 1);
	struct adp_window *rest, *w;
	unsigned long flags;

	rest = adp_window_once(ws, end, start + block);
	w = adp_window_once(ws, start, end);
	spin_lock_irqsave(&ws->lock, flags);
	if (rest)
		__adp_window_end(ws, rest);
	ws->marker = w;
	spin_unlock_irqrestore(&ws->lock, flags);
	return w;
}

static int adp_table_init(struct adp_windows *ws, struct adp_table *t, u32 base,
			  u32 nr)
{
	struct adp_near *near = kvzalloc(struct_size(near, entry, nr), GFP_KERNEL);

	xa_init(&t->far);
	t->near = near;
	if (!near)
		return -ENOMEM;
	near->nr = nr;
	t->base = base;
	adp_table_open(t, true);
	ws->memory += struct_size(near, entry, nr);
	return 0;
}

static void adp_table_destroy(struct adp_table *t)
{
	struct adp_leaf *leaf;
	unsigned long index;

	xa_for_each(&t->far, index, leaf)
		kfree(leaf);
	xa_destroy(&t->far);
	kvfree(t->near);
}

/**
 * adp_windows_init() - no windows yet
 * @ws: to set up
 * @ch: channel, set up
 * @ram: what may be sent
 * @stats: counters of the companion
 * @lazy: windows without users stay mapped
 * @idle_ms: how long they do
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int adp_windows_init(struct adp_windows *ws, struct adp_channel *ch,
		     const struct adp_ram *ram, struct adp_stats *stats,
		     bool lazy, unsigned int idle_ms)
{
	u32 block;
	u64 top;
	int err;

	adp_ram_size(ram, &top);
	spin_lock_init(&ws->lock);
	ws->ch = ch;
	ws->ram = ram;
	ws->stats = stats;
	ws->lazy = lazy;
	ws->luck = ADP_LUCK;
	adp_windows_trust(ws);
	ws->used = 1;
	ws->used_fine = 1;
	ws->hand = 0;
	ws->raw = U32_MAX;
	ws->period = max(msecs_to_jiffies(idle_ms) / ADP_AGE_TICKS, 1UL);
	INIT_DELAYED_WORK(&ws->aging, adp_windows_age);
	ratelimit_state_init(&ws->ratelimit, DEFAULT_RATELIMIT_INTERVAL, 3);

	/* The address of the first mapping is as near to the others as any. */
	if (ch->dma_min >> ADP_SHIFT <= U32_MAX)
		ws->space_base = ch->dma_min >> ADP_SHIFT;
	block = ws->space_base >> ADP_BLOCK_SHIFT;
	err = adp_table_init(ws, &ws->by_gpa, 0,
			     DIV_ROUND_UP_ULL(top, ADP_HOST_PAGE <<
					      ADP_BLOCK_SHIFT));
	err = adp_table_init(ws, &ws->by_dma,
			     block - min(block, (u32)ADP_NEAR_BLOCKS / 8),
			     ADP_NEAR_BLOCKS) ?: err;
	if (!lazy)
		adp_table_open(&ws->by_dma, false);
	ws->space = kvcalloc(BITS_TO_LONGS(ADP_SPACE_PAGES),
			     sizeof(*ws->space), GFP_KERNEL);
	ws->starts = kvcalloc(1U << ADP_START_BITS, sizeof(*ws->starts),
			      GFP_KERNEL);
	ws->memory += BITS_TO_BYTES(ADP_SPACE_PAGES) +
		      (sizeof(*ws->starts) << ADP_START_BITS);
	if (!err && ws->space && ws->starts)
		return 0;
	adp_windows_destroy(ws);
	return -ENOMEM;
}

/**
 * adp_windows_purge() - unmap everything, whoever uses it
 * @ws: windows
 *
 * For when the managed function can do no DMA any more.
 *
 * Context: may sleep.
 * Return: how many windows were still in use.
 */
unsigned int adp_windows_purge(struct adp_windows *ws)
{
	unsigned int left = 0, n = 1;
	unsigned long flags;

	cancel_delayed_work_sync(&ws->aging);
	spin_lock_irqsave(&ws->lock, flags);
	while (n < ws->used) {
		struct adp_list gone = {};
		unsigned int found;

		for (found = 0; n < ws->used && found < ADP_RECLAIM_BATCH; n++) {
			struct adp_window *w = adp_window_at(ws, n);

			if (w->state != ADP_WINDOW_LIVE || w == ws->marker)
				continue;
			if (atomic_xchg(&w->refs, 0))
				left++;
			adp_window_kill(ws, w);
			adp_list_add(ws, &gone, w);
			found++;
		}
		__adp_windows_release(ws, &gone);
		spin_unlock_irqrestore(&ws->lock, flags);
		cond_resched();
		spin_lock_irqsave(&ws->lock, flags);
	}
	if (ws->marker)
		__adp_window_end(ws, ws->marker);
	ws->marker = NULL;
	/* What the last driver could not have says little about the next one. */
	adp_windows_trust(ws);
	spin_unlock_irqrestore(&ws->lock, flags);
	return left;
}

/**
 * adp_windows_revoke() - unmap everything for good, and keep the books
 * @ws: windows
 *
 * For the end of this kernel: the managed function's driver is still there, and
 * may give back what it holds, but nothing is sent to the host any more.
 *
 * Context: may sleep.
 */
void adp_windows_revoke(struct adp_windows *ws)
{
	struct adp_channel *ch = ws->ch;
	unsigned int n = 1, next, i;
	struct adp_window *w;
	unsigned long flags;

	cancel_delayed_work_sync(&ws->aging);
	spin_lock_irqsave(&ws->lock, flags);
	for (; n < ws->used; n = next) {
		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
		for (next = n; next < ws->used; next++) {
			w = adp_window_at(ws, next);
			if (w->state == ADP_WINDOW_LIVE && w != ws->marker &&
			    adp_channel_add_unmap(ch, adp_window_id(ws, w),
						  adp_window_bytes(w)) < 0)
				break;
		}
		if (ch->count && adp_channel_sync(ch))
			break;
		for (i = 0; n < next; n++) {
			w = adp_window_at(ws, n);
			if (w->state == ADP_WINDOW_LIVE && w != ws->marker)
				adp_channel_unmap_result(ch, i++,
							 adp_window_id(ws, w),
							 adp_window_bytes(w));
		}
	}
	w = ws->marker;
	if (w) {
		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
		adp_channel_add_unmap(ch, adp_window_id(ws, w), adp_window_bytes(w));
		if (!adp_channel_sync(ch))
			adp_channel_unmap_result(ch, 0, adp_window_id(ws, w),
						 adp_window_bytes(w));
	}
	ch->up = false;
	adp_channel_break(ch, "the machine is shut down");
	adp_windows_heed(ws);
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_destroy() - free the books; the host is not asked anything
 * @ws: windows, purged
 */
void adp_windows_destroy(struct adp_windows *ws)
{
	unsigned int i;

	cancel_delayed_work_sync(&ws->aging);
	adp_table_destroy(&ws->by_gpa);
	adp_table_destroy(&ws->by_dma);
	for (i = 0; i < ARRAY_SIZE(ws->fine); i++)
		kfree(ws->fine[i]);
	for (i = 0; i < ARRAY_SIZE(ws->chunk); i++) {
		kfree(ws->ids[i]);
		if (ws->chunk[i])
			free_pages_exact(ws->chunk[i], ADP_WINDOW_CHUNK *
					 sizeof(*ws->chunk[i]));
	}
	kvfree(ws->space);
	kvfree(ws->starts);
}
