/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a mapping costs that is warm: finding its window by guest address, and
 * by DMA address, without the lock. Inline, for it is all that most I/O sees of
 * this module. See window.c for what holds between these and the rest.
 */
#ifndef ADP_LOOKUP_H
#define ADP_LOOKUP_H

#include "adp.h"

static __always_inline struct adp_window *adp_window_at(struct adp_windows *ws, unsigned int n)
{
	return READ_ONCE(ws->chunk[n / ADP_WINDOW_CHUNK]) + n % ADP_WINDOW_CHUNK;
}

/*
 * An entry of a table names a window by its chunk and by its place there in bytes,
 * so that it is found without a multiplication; a struct adp_fine likewise.
 */
#define ADP_ENTRY_SHIFT		(PAGE_SHIFT + 3)
#define ADP_ENTRY_PLACE		(BIT(ADP_ENTRY_SHIFT) - 1)
#define ADP_FINE_PLACE		(ADP_FINE_CHUNK * sizeof(struct adp_fine) - 1)

static_assert(ADP_WINDOW_CHUNK * sizeof(struct adp_window) <= ADP_ENTRY_PLACE);

static inline u32 adp_entry(u16 number)
{
	return number / ADP_WINDOW_CHUNK << ADP_ENTRY_SHIFT |
	       number % ADP_WINDOW_CHUNK * sizeof(struct adp_window);
}

static inline u16 adp_entry_number(u32 entry)
{
	return (entry >> ADP_ENTRY_SHIFT) * ADP_WINDOW_CHUNK +
	       (entry & ADP_ENTRY_PLACE) / sizeof(struct adp_window);
}

static inline u32 adp_fine_entry(u32 number)
{
	return ADP_FINE | number * sizeof(struct adp_fine);
}

static __always_inline struct adp_fine *adp_fine_at(struct adp_windows *ws, u32 entry)
{
	/* Subtracted from the index, the flag is part of the array's offset. */
	unsigned long chunk = entry / (ADP_FINE_PLACE + 1) - ADP_FINE / (ADP_FINE_PLACE + 1);

	return (void *)READ_ONCE(ws->fine[chunk]) + (entry & ADP_FINE_PLACE);
}

/* What an entry of a table says of a page: is there a window that may have it? */
static __always_inline bool
adp_entry_window(struct adp_windows *ws, u32 entry, u32 page,
		 struct adp_window **w)
{
	u32 n;

	/* One comparison for the two that are rare: nothing, and ADP_FINE. */
	if (likely((int)entry > 0)) {
		*w = (void *)READ_ONCE(ws->chunk[entry >> ADP_ENTRY_SHIFT]) +
		     (entry & ADP_ENTRY_PLACE);
		return true;
	}
	if (!entry)
		return false;
	n = READ_ONCE(adp_fine_at(ws, entry)->id[page % ADP_BLOCK_PAGES]);
	if (unlikely(!n))
		return false;
	*w = adp_window_at(ws, n);
	return true;
}

/* Is there a window that may have a page of a near block? */
static __always_inline bool
adp_table_warm(struct adp_windows *ws, struct adp_table *t, u32 base, u32 page,
	       struct adp_window **w)
{
	const struct adp_near *open = READ_ONCE(t->open);
	u32 n = (page >> ADP_BLOCK_SHIFT) - base;

	if (unlikely(n >= open->nr))
		return false;
	return adp_entry_window(ws, READ_ONCE(open->entry[n]), page, w);
}

/**
 * adp_window_covers() - does a window hold a piece of memory
 * @w: window that the caller has a reference to
 * @start: first byte
 * @end: one past the last byte, above @start
 */
static __always_inline bool adp_window_covers(const struct adp_window *w,
					      u64 start, u64 end)
{
	u64 first = start >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;
	u64 last = (end - 1) >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;

	return first >= w->gpa && last - w->gpa < w->pages;
}

/**
 * adp_window_wastes() - would a mapping keep much memory in the budget for nothing
 * @w: window without other users
 * @start: first byte
 * @end: one past the last byte
 *
 * Large windows come from large mappings. Where little is left of the budget an
 * idle one is about to go, but cannot while the smallest mapping uses it.
 */
static inline bool adp_window_wastes(const struct adp_window *w, u64 start,
				     u64 end)
{
	u64 pages = (end - start) >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;

	/* What begins and ends in the middle of a host page has two more. */
	return w->pages > ADP_BLOCK_PAGES && w->pages > pages + 2;
}

/**
 * adp_window_drop() - give references back
 * @ws: windows
 * @w: live window; not to be used afterwards
 * @n: how many
 *
 * In lazy mode this takes no lock and writes to the window only. In strict mode
 * the last one unmaps.
 *
 * Context: any.
 * Return: false if there are not so many; nothing is given back then.
 */
static __always_inline bool
adp_window_drop(struct adp_windows *ws, struct adp_window *w, unsigned int n)
{
	if (!READ_ONCE(ws->lazy))
		return adp_window_drop_strict(ws, w, n);

	if (likely(atomic_fetch_sub_release(n, &w->refs) >= (int)n))
		return true;
	atomic_add(n, &w->refs);
	return false;
}

/**
 * adp_window_try() - a reference to the window that may hold a piece of memory
 * @ws: windows
 * @start: first byte
 * @end: one past the last byte
 * @order: alignment of the address that is wished for, adp_align_order()
 * @ref: gets a window that there is a reference to, or NULL
 *
 * Takes no lock, and writes nothing but the window's count and, once in a tick,
 * its time.
 *
 * Context: any.
 * Return: whether that window holds all of it; if not, the reference is to be
 * given back, and the caller looks again with the lock.
 */
static __always_inline bool adp_window_try(struct adp_windows *ws, u64 start,
					   u64 end, unsigned int order,
					   struct adp_window **ref)
{
	struct adp_window *w;
	u32 page = start >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;
	u32 tick;

	*ref = NULL;
	if (unlikely(!adp_table_warm(ws, &ws->by_gpa, 0, page, &w)))
		return false;
	if (unlikely(atomic_fetch_inc_acquire(&w->refs) < 0)) {
		atomic_dec(&w->refs);
		return false;
	}
	*ref = w;
	if (unlikely(!adp_window_covers(w, start, end)))
		return false;
	if (unlikely(!adp_align_fits(w, order)) && READ_ONCE(ws->luck) > 0)
		return false;

	tick = READ_ONCE(ws->tick);
	if (unlikely(READ_ONCE(w->stamp) != tick)) {
		/* Or the size is read again before it is known to be needed. */
		barrier();
		if (tick & ADP_TICK_THRIFTY && atomic_read(&w->refs) == 1 &&
		    adp_window_wastes(w, start, end))
			return false;
		if (w->stamp != (u16)tick)
			WRITE_ONCE(w->stamp, tick);
	}
	return true;
}

/**
 * adp_window_hit() - a reference to a window that is live already
 * @ws: windows
 * @start: first byte
 * @end: one past the last byte
 * @order: alignment of the address that is wished for, adp_align_order()
 *
 * Context: any.
 * Return: a window that holds all of it, or NULL: look again with the lock.
 */
static __always_inline struct adp_window *
adp_window_hit(struct adp_windows *ws, u64 start, u64 end, unsigned int order)
{
	struct adp_window *w;

	if (likely(adp_window_try(ws, start, end, order, &w)))
		return w;
	if (w)
		adp_window_drop(ws, w, 1);
	return NULL;
}

/**
 * adp_window_drop_lazy() - give a reference back by DMA address
 * @ws: windows
 * @dma: address of a mapping, which keeps the window
 *
 * Context: any.
 * Return: false if nothing was given back: the mode is strict, the address is
 * far from the others or may be a copy's, the table is being changed around it,
 * or nothing is mapped there.
 */
static __always_inline bool adp_window_drop_lazy(struct adp_windows *ws, u64 dma)
{
	u32 page = dma >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;
	struct adp_window *w;

	if (unlikely(!adp_table_warm(ws, &ws->by_dma, ws->by_dma.base, page, &w) ||
		     w->tagged || !adp_window_holds(w, dma)))
		return false;
	/*
	 * Release order would be enough, but only the fully ordered form is in all
	 * kernels. On x86 it needs no register: the flags say the result.
	 */
	if (likely(!atomic_add_negative(-1, &w->refs)))
		return true;
	atomic_inc(&w->refs);
	return false;
}

#endif /* ADP_LOOKUP_H */
