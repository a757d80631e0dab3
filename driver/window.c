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
 * Two page tables lead from a guest page and from a DMA page to a window. They
 * are read without a lock: whoever finds a number there takes a reference, and
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
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "adp.h"

#define ADP_SHIFT		APPLE_DMA_PCI_HOST_PAGE_SHIFT

/* No number of references comes near to making this positive. */
#define ADP_DEAD		(INT_MIN / 2)

/*
 * How many starts are tried below a request. The bound keeps the time with
 * interrupts off short; a request that finds nothing is copied instead.
 */
#define ADP_START_TRIES		1024

/*
 * Windows unmapped together. The host is busy with the vCPU held for as long
 * as a batch takes, and callers may have interrupts off.
 */
#define ADP_RECLAIM_BATCH	512

/*
 * Large windows cost few doorbells and, used sparsely, much of the budget. With
 * all of RAM within the budget nothing can be wasted.
 */
#define ADP_BLOCK_ROOMY		0x400000UL
#define ADP_BLOCK		0x40000UL

/* The part of the budget that memory which nobody asked for may take. */
#define ADP_EXTRA_SHARE		8

/* What the platform has per function: see Documentation/design.rst. */
#define ADP_BUDGET_BYTES	0x60000000ULL
#define ADP_BUDGET_MAPPINGS	65536ULL

#define ADP_START_BITS		14

/* Ticks in the time that a window may be idle: how exact that time is. */
#define ADP_AGE_TICKS		4

static struct adp_window *adp_window_at(struct adp_windows *ws, unsigned int n)
{
	return READ_ONCE(ws->chunk[n / ADP_WINDOW_CHUNK]) + n % ADP_WINDOW_CHUNK;
}

static void adp_list_add(struct adp_windows *ws, struct adp_list *list,
			 struct adp_window *w)
{
	w->link = 0;
	if (list->first)
		adp_window_at(ws, list->last)->link = w->self;
	else
		list->first = w->self;
	list->last = w->self;
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

/* The page tables. A leaf that is not there yet is made, or the page goes without. */

static struct adp_leaf *adp_gpa_leaf(struct adp_windows *ws, u64 page)
{
	u64 i = page >> ADP_LEAF_SHIFT;

	return i < ws->nr_gpa ? READ_ONCE(ws->by_gpa[i]) : NULL;
}

static u16 adp_gpa_get(struct adp_windows *ws, u64 page)
{
	struct adp_leaf *leaf = adp_gpa_leaf(ws, page);

	return leaf ? READ_ONCE(leaf->id[page % ADP_LEAF_PAGES]) : 0;
}

static void adp_gpa_set(struct adp_windows *ws, struct adp_window *w)
{
	u32 page;

	for (page = w->gpa; page < w->gpa + w->pages; page++) {
		struct adp_leaf *leaf = adp_gpa_leaf(ws, page);

		if (!leaf) {
			leaf = kzalloc(sizeof(*leaf), GFP_ATOMIC | __GFP_NOWARN);
			if (!leaf)
				return;
			/* Pairs with READ_ONCE() in adp_gpa_leaf(). */
			smp_store_release(&ws->by_gpa[page >> ADP_LEAF_SHIFT],
					  leaf);
		}
		WRITE_ONCE(leaf->id[page % ADP_LEAF_PAGES], w->self);
	}
}

static void adp_gpa_clear(struct adp_windows *ws, struct adp_window *w)
{
	u32 page;

	for (page = w->gpa; page < w->gpa + w->pages; page++) {
		struct adp_leaf *leaf = adp_gpa_leaf(ws, page);

		if (leaf && leaf->id[page % ADP_LEAF_PAGES] == w->self)
			WRITE_ONCE(leaf->id[page % ADP_LEAF_PAGES], 0);
	}
}

static u16 adp_dma_get(struct adp_windows *ws, u64 page)
{
	struct adp_leaf *leaf = xa_load(&ws->by_dma, page >> ADP_LEAF_SHIFT);

	return leaf ? READ_ONCE(leaf->id[page % ADP_LEAF_PAGES]) : 0;
}

static struct adp_leaf *adp_dma_leaf(struct adp_windows *ws, u64 page)
{
	unsigned long i = page >> ADP_LEAF_SHIFT;
	struct adp_leaf *leaf = xa_load(&ws->by_dma, i);

	if (leaf)
		return leaf;
	leaf = kzalloc(sizeof(*leaf), GFP_ATOMIC | __GFP_NOWARN);
	if (leaf && xa_err(xa_store(&ws->by_dma, i, leaf, GFP_ATOMIC))) {
		kfree(leaf);
		leaf = NULL;
	}
	return leaf;
}

static void adp_dma_clear(struct adp_windows *ws, struct adp_window *w)
{
	u32 page;

	for (page = w->dma; page < w->dma + w->pages; page++) {
		struct adp_leaf *leaf = xa_load(&ws->by_dma,
						page >> ADP_LEAF_SHIFT);

		if (leaf && leaf->id[page % ADP_LEAF_PAGES] == w->self)
			WRITE_ONCE(leaf->id[page % ADP_LEAF_PAGES], 0);
	}
}

/* Enter a window's addresses: -EEXIST if one is in use, -ENOMEM. */
static int adp_dma_set(struct adp_windows *ws, struct adp_window *w)
{
	u32 page;

	for (page = w->dma; page < w->dma + w->pages; page++) {
		struct adp_leaf *leaf = adp_dma_leaf(ws, page);

		if (!leaf || leaf->id[page % ADP_LEAF_PAGES]) {
			adp_dma_clear(ws, w);
			return leaf ? -EEXIST : -ENOMEM;
		}
		WRITE_ONCE(leaf->id[page % ADP_LEAF_PAGES], w->self);
	}
	return 0;
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
	*head = w->self;
}

static void adp_start_remove(struct adp_windows *ws, struct adp_window *w)
{
	u16 *n = adp_start_head(ws, w->gpa);

	while (*n != w->self)
		n = &adp_window_at(ws, *n)->next;
	*n = w->next;
}

static struct adp_window *adp_window_new(struct adp_windows *ws)
{
	unsigned int c = ws->used / ADP_WINDOW_CHUNK, i;
	struct adp_window *w, *chunk;

	if (ws->free) {
		w = adp_window_at(ws, ws->free);
		ws->free = w->next;
		return w;
	}
	if (ws->used == ADP_WINDOW_IDS)
		return NULL;
	if (!ws->chunk[c]) {
		chunk = alloc_pages_exact(ADP_WINDOW_CHUNK * sizeof(*chunk),
					  GFP_ATOMIC | __GFP_ZERO | __GFP_NOWARN);
		if (!chunk)
			return NULL;
		for (i = 0; i < ADP_WINDOW_CHUNK; i++) {
			atomic_set(&chunk[i].refs, ADP_DEAD);
			chunk[i].self = c * ADP_WINDOW_CHUNK + i;
		}
		/* Pairs with READ_ONCE() in adp_window_at(). */
		smp_store_release(&ws->chunk[c], chunk);
	}
	return adp_window_at(ws, ws->used++);
}

static void adp_window_free(struct adp_windows *ws, struct adp_window *w)
{
	ws->extra_pages -= w->extra;
	adp_gpa_clear(ws, w);
	adp_start_remove(ws, w);
	w->state = ADP_WINDOW_FREE;
	w->next = ws->free;
	ws->free = w->self;
}

/* Nobody can have it from here on: false if somebody does. */
static bool adp_window_kill(struct adp_windows *ws, struct adp_window *w)
{
	if (w->state != ADP_WINDOW_LIVE ||
	    atomic_cmpxchg(&w->refs, 0, ADP_DEAD))
		return false;
	w->state = ADP_WINDOW_DYING;
	adp_gpa_clear(ws, w);
	return true;
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

/* The host may still hold it: keep its start and its addresses out of use. */
static void adp_window_quarantine(struct adp_windows *ws, struct adp_window *w)
{
	w->state = ADP_WINDOW_QUARANTINED;
	ws->stats->quarantined++;
	if (!ws->ch->broken && __ratelimit(&ws->ratelimit))
		dev_err(ws->ch->dev,
			"the host refused to unmap %u KiB at %#llx; the device can still reach them, they are not mapped again\n",
			w->pages << (ADP_SHIFT - 10), (u64)w->gpa << ADP_SHIFT);
}

static u64 adp_window_bytes(const struct adp_window *w)
{
	return w->state == ADP_WINDOW_PARTIAL ? w->partial :
	       (u64)w->pages << ADP_SHIFT;
}

/**
 * __adp_windows_release() - unmap windows
 * @ws: windows
 * @gone: windows that are ADP_WINDOW_DYING or ADP_WINDOW_PARTIAL; empty
 *	afterwards
 *
 * One doorbell for as many entries as the host takes in a batch. What the
 * host refuses to unmap is quarantined.
 *
 * Context: any; the caller holds the lock.
 */
void __adp_windows_release(struct adp_windows *ws, struct adp_list *gone)
{
	struct adp_channel *ch = ws->ch;

	lockdep_assert_held(&ws->lock);

	while (gone->first) {
		struct adp_list sent = {};
		struct adp_window *w;
		u32 i = 0;
		int err;

		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
		while (gone->first) {
			w = adp_window_at(ws, gone->first);
			if (adp_channel_add_unmap(ch, w->id,
						  adp_window_bytes(w)) < 0)
				break;
			adp_list_pop(ws, gone);
			adp_list_add(ws, &sent, w);
		}

		err = adp_channel_sync(ch);
		while ((w = adp_list_pop(ws, &sent))) {
			if (err || adp_channel_unmap_result(ch, i++, w->id,
							    adp_window_bytes(w))) {
				adp_window_quarantine(ws, w);
				continue;
			}
			if (w->state == ADP_WINDOW_DYING)
				adp_dma_clear(ws, w);
			adp_window_free(ws, w);
		}
	}
}

/*
 * Unmap a batch of idle windows, from where the last search ended. One that was
 * used in this tick is passed over, if there is any other.
 */
static unsigned int __adp_windows_reclaim(struct adp_windows *ws)
{
	struct adp_list gone = {};
	unsigned int found = 0, round, i;

	lockdep_assert_held(&ws->lock);

	for (round = 0; round < 2 && !found; round++) {
		for (i = 1; i < ws->used && found < ADP_RECLAIM_BATCH; i++) {
			struct adp_window *w;

			if (++ws->hand >= ws->used)
				ws->hand = 1;
			w = adp_window_at(ws, ws->hand);
			if (!round && w->stamp == ws->tick)
				continue;
			if (adp_window_kill(ws, w)) {
				adp_list_add(ws, &gone, w);
				found++;
			}
		}
	}
	__adp_windows_release(ws, &gone);
	ws->stats->reclaimed += found;
	return found;
}

/* Another user for a window that holds what is asked for; the lock is held. */
static bool adp_window_join(struct adp_window *w, u64 start, u64 end)
{
	if (!adp_window_covers(w, start, end))
		return false;
	if (w->state == ADP_WINDOW_LIVE)
		atomic_inc(&w->refs);
	else if (w->state == ADP_WINDOW_PENDING)
		w->wanted++;
	else
		return false;
	return true;
}

/*
 * More than was asked for, to serve the neighbours too: the memory around it
 * that is in no window, within a block, as far as the budget can spare it.
 */
static void adp_window_extend(struct adp_windows *ws,
			      const struct adp_ram_range *ram, u64 *start,
			      u64 *end)
{
	u64 block = ws->roomy ? ADP_BLOCK_ROOMY : ADP_BLOCK;
	u64 lo = max(round_down(*start, block), ADP_HOST_PAGE_UP(ram->start));
	u64 hi = min(round_up(*end, block), ADP_HOST_PAGE_DOWN(ram->end));
	u64 extra = (ws->extra_pages << ADP_SHIFT) + block;

	if (!ws->roomy && extra > ws->max_bytes / ADP_EXTRA_SHARE)
		return;
	while (*start > lo && !adp_gpa_get(ws, (*start - 1) >> ADP_SHIFT))
		*start -= ADP_HOST_PAGE;
	while (*end < hi && !adp_gpa_get(ws, *end >> ADP_SHIFT))
		*end += ADP_HOST_PAGE;
}

/**
 * __adp_window_get() - a reference to a window that holds a piece of memory
 * @ws: windows
 * @txn: gets the window if it has to be mapped first
 * @start: start of a host page
 * @end: end of a host page
 *
 * Context: any; the caller holds the lock, and sends @txn before it lets go.
 * Return: the window; ERR_PTR(-EFAULT) if the host pages are not all RAM;
 * ERR_PTR(-EEXIST) if every start that could serve is taken; ERR_PTR(-EIO) if
 * the channel is broken; ERR_PTR(-ENOSPC) if there are too many windows;
 * ERR_PTR(-ENOMEM).
 */
struct adp_window *__adp_window_get(struct adp_windows *ws, struct adp_txn *txn,
				    u64 start, u64 end)
{
	const struct adp_ram_range *ram;
	u64 first = start, last = end;
	struct adp_window *w;
	unsigned int tries;
	u16 n;

	lockdep_assert_held(&ws->lock);

	if (ws->ch->broken)
		return ERR_PTR(-EIO);

	ram = adp_ram_find(ws->ram, start, end);
	if (!ram || end >> ADP_SHIFT > U32_MAX)
		return ERR_PTR(-EFAULT);

	n = adp_gpa_get(ws, start >> ADP_SHIFT);
	w = n ? adp_window_at(ws, n) : NULL;
	if (w && adp_window_join(w, start, end))
		return w;

	if (!txn->exact) {
		adp_window_extend(ws, ram, &first, &last);
		if (first != start && adp_start_find(ws, first >> ADP_SHIFT))
			first = start;
	}

	for (tries = 0; (w = adp_start_find(ws, first >> ADP_SHIFT)); tries++) {
		if (adp_window_join(w, start, end))
			return w;
		if (w->state == ADP_WINDOW_PENDING) {
			w->pages = (end >> ADP_SHIFT) - w->gpa;
			w->wanted++;
			adp_gpa_set(ws, w);
			return w;
		}
		if (first - ram->start < ADP_HOST_PAGE ||
		    tries == ADP_START_TRIES)
			return ERR_PTR(-EEXIST);
		first -= ADP_HOST_PAGE;
	}

	if (ws->used == ADP_WINDOW_IDS && !ws->free)
		return ERR_PTR(-ENOSPC);
	w = adp_window_new(ws);
	if (!w)
		return ERR_PTR(-ENOMEM);
	w->gpa = first >> ADP_SHIFT;
	w->pages = (last - first) >> ADP_SHIFT;
	w->extra = w->pages - ((end - start) >> ADP_SHIFT);
	w->wanted = 1;
	w->state = ADP_WINDOW_PENDING;
	ws->extra_pages += w->extra;
	adp_start_add(ws, w);
	adp_gpa_set(ws, w);
	adp_list_add(ws, &txn->misses, w);
	return w;
}

/* Take over what the host answered for a window. */
static int adp_window_settle(struct adp_windows *ws, struct adp_window *w,
			     u32 index)
{
	u64 len = (u64)w->pages << ADP_SHIFT;
	struct adp_map_result res;
	int err;

	w->state = ADP_WINDOW_FAILED;
	err = adp_channel_map_result(ws->ch, index, (u64)w->gpa << ADP_SHIFT,
				     len, &res);
	if (err && err != -EMSGSIZE)
		return err;

	/* Whatever is wrong with it, the host holds it: the last put unmaps it. */
	w->id = res.id;
	w->partial = res.dma_len;
	w->state = ADP_WINDOW_PARTIAL;
	if (err)
		return -ENOSPC;
	if ((res.dma_addr + len - 1) >> ADP_SHIFT > U32_MAX)
		return -ERANGE;

	w->dma = res.dma_addr >> ADP_SHIFT;
	err = adp_dma_set(ws, w);
	if (err == -EEXIST) {
		w->state = ADP_WINDOW_FAILED;
		adp_channel_break(ws->ch, "the host assigned %#llx, which is in use",
				  res.dma_addr);
		return -EIO;
	}
	if (err) {
		w->partial = res.dma_len;
		return err;
	}

	w->state = ADP_WINDOW_LIVE;
	w->stamp = ws->tick;
	/* Pairs with adp_window_hit(): who gets a reference sees the rest. */
	smp_mb__before_atomic();
	atomic_add((int)w->wanted - ADP_DEAD, &w->refs);
	return 0;
}

/* The clock stands still while the machine sleeps, and so does the doorbell. */
static void adp_windows_wind(struct adp_windows *ws)
{
	queue_delayed_work(system_freezable_wq, &ws->aging, ws->period);
}

/* Reclaim before the host refuses. */
static void adp_windows_budget(struct adp_windows *ws, struct adp_txn *txn)
{
	u64 bytes = ws->stats->live_bytes, nr = ws->stats->live_mappings;
	u64 want_bytes = 0, want = 0;
	u16 n;

	for (n = txn->misses.first; n; n = adp_window_at(ws, n)->link) {
		want_bytes += (u64)adp_window_at(ws, n)->pages << ADP_SHIFT;
		want++;
	}
	while (bytes + want_bytes > ws->max_bytes || nr + want > ws->max_mappings) {
		if (!__adp_windows_reclaim(ws))
			break;
		bytes = ws->stats->live_bytes;
		nr = ws->stats->live_mappings;
	}
}

/**
 * __adp_windows_commit() - map all that a transaction lacks
 * @ws: windows
 * @txn: transaction; lacks nothing afterwards
 *
 * One doorbell for as many entries as the host takes in a batch. After an
 * error the caller puts every window that it got.
 *
 * Context: any; the caller holds the lock.
 * Return: 0; -ENOSPC if the host refused any of them; -ERANGE if it assigned
 * addresses that are beyond all masks; -EIO if the channel is broken; -ENOMEM.
 */
int __adp_windows_commit(struct adp_windows *ws, struct adp_txn *txn)
{
	struct adp_channel *ch = ws->ch;
	int err, ret = 0;

	lockdep_assert_held(&ws->lock);

	if (!txn->misses.first)
		return 0;

	adp_windows_budget(ws, txn);
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
				w->state = ADP_WINDOW_FAILED;
				ret = ret ?: -ENOSPC;
			} else {
				adp_list_add(ws, &sent, w);
			}
		}

		err = sent.first ? adp_channel_sync(ch) : 0;
		while ((w = adp_list_pop(ws, &sent))) {
			int e = err;

			if (err)
				w->state = ADP_WINDOW_FAILED;
			else
				e = adp_window_settle(ws, w, i++);
			ret = ret ?: e;
		}
	}
	if (ws->lazy)
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

	if (w->state == ADP_WINDOW_LIVE) {
		w->stamp = ws->tick;
		atomic_sub(n, &w->refs);
		if (!ws->lazy && adp_window_kill(ws, w))
			adp_list_add(ws, gone, w);
		return;
	}

	w->wanted -= n;
	if (w->wanted)
		return;
	if (w->state == ADP_WINDOW_PARTIAL)
		adp_list_add(ws, gone, w);
	else
		adp_window_free(ws, w);
}

/**
 * adp_window_hit() - a reference to a window that is live already
 * @ws: windows
 * @start: first byte
 * @end: one past the last byte
 *
 * Takes no lock and writes nothing but the window's count.
 *
 * Context: any.
 * Return: a window that holds all of it, or NULL: look again with the lock.
 */
struct adp_window *adp_window_hit(struct adp_windows *ws, u64 start, u64 end)
{
	struct adp_window *w;
	u16 n;

	if (unlikely(READ_ONCE(ws->ch->broken)))
		return NULL;
	n = adp_gpa_get(ws, start >> ADP_SHIFT);
	if (!n)
		return NULL;

	w = adp_window_at(ws, n);
	if (unlikely(atomic_fetch_inc_acquire(&w->refs) < 0)) {
		atomic_dec(&w->refs);
		return NULL;
	}
	if (likely(adp_window_covers(w, start, end)))
		return w;
	adp_window_drop(ws, w, 1);
	return NULL;
}

/**
 * adp_window_find() - the window that a DMA address is in
 * @ws: windows
 * @dma: address of a mapping, which keeps the window
 *
 * Context: any.
 * Return: a window that is in use, or NULL.
 */
struct adp_window *adp_window_find(struct adp_windows *ws, u64 dma)
{
	struct adp_window *w;
	u16 n;

	n = adp_dma_get(ws, dma >> ADP_SHIFT);
	if (!n)
		return NULL;
	w = adp_window_at(ws, n);
	return atomic_read(&w->refs) > 0 ? w : NULL;
}

/* The last user of a window in strict mode: unmap it before we return. */
static bool adp_window_drop_strict(struct adp_windows *ws, struct adp_window *w,
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
bool adp_window_drop(struct adp_windows *ws, struct adp_window *w,
		     unsigned int n)
{
	u16 tick;

	if (!READ_ONCE(ws->lazy))
		return adp_window_drop_strict(ws, w, n);

	tick = READ_ONCE(ws->tick);
	if (READ_ONCE(w->stamp) != tick)
		WRITE_ONCE(w->stamp, tick);
	if (likely(atomic_fetch_sub_release(n, &w->refs) >= (int)n))
		return true;
	atomic_add(n, &w->refs);
	return false;
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
	do {
		spin_lock_irqsave(&ws->lock, flags);
		ws->roomy = false;
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
 * @exact: map nothing else
 *
 * Context: any.
 * Return: the window, or ERR_PTR() with an error of __adp_window_get() or
 * __adp_windows_commit().
 */
struct adp_window *adp_window_map(struct adp_windows *ws, u64 start, u64 end,
				  bool exact)
{
	struct adp_list gone = {};
	struct adp_window *w;
	unsigned long flags;
	struct adp_txn txn;
	int err;

	w = adp_window_hit(ws, start, end);
	if (w)
		return w;

	adp_txn_init(ws, &txn, exact);
	do {
		spin_lock_irqsave(&ws->lock, flags);
		w = __adp_window_get(ws, &txn, start, end);
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
 * adp_window_unmap() - give a reference back
 * @ws: windows
 * @w: window; not to be used afterwards
 *
 * Context: any.
 * Return: false if the host was to unmap it, and did not: the device may still
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
	done = ws->stats->quarantined == before;
	spin_unlock_irqrestore(&ws->lock, flags);
	return done;
}

/* Unmap what has been idle for too long, a batch at a time. */
static void adp_windows_age(struct work_struct *work)
{
	struct adp_windows *ws = container_of(to_delayed_work(work),
					      struct adp_windows, aging);
	unsigned int n = 1;
	unsigned long flags;
	bool more;

	spin_lock_irqsave(&ws->lock, flags);
	WRITE_ONCE(ws->tick, ws->tick + 1);
	while (n < ws->used) {
		struct adp_list gone = {};
		unsigned int found = 0, looked = 0;

		for (; n < ws->used && found < ADP_RECLAIM_BATCH &&
		     looked < ADP_WINDOW_CHUNK; n++, looked++) {
			struct adp_window *w = adp_window_at(ws, n);

			if ((u16)(ws->tick - w->stamp) >= ws->age &&
			    adp_window_kill(ws, w)) {
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
	more = ws->stats->live_mappings && !ws->ch->broken;
	spin_unlock_irqrestore(&ws->lock, flags);
	if (more)
		adp_windows_wind(ws);
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
	u64 total = 0, top = 0;
	unsigned int i;

	for (i = 0; i < ram->nr; i++) {
		total += ram->range[i].end - ram->range[i].start;
		top = max(top, ram->range[i].end);
	}

	spin_lock_init(&ws->lock);
	ws->ch = ch;
	ws->ram = ram;
	ws->stats = stats;
	ws->lazy = lazy;
	ws->max_bytes = ADP_BUDGET_BYTES;
	ws->max_mappings = ADP_BUDGET_MAPPINGS;
	ws->roomy = total <= ws->max_bytes / 4 * 3;
	ws->used = 1;
	ws->hand = 0;
	ws->age = ADP_AGE_TICKS;
	ws->period = max(msecs_to_jiffies(idle_ms) / ADP_AGE_TICKS, 1UL);
	INIT_DELAYED_WORK(&ws->aging, adp_windows_age);
	ratelimit_state_init(&ws->ratelimit, DEFAULT_RATELIMIT_INTERVAL, 3);
	xa_init(&ws->by_dma);

	ws->nr_gpa = DIV_ROUND_UP_ULL(top, (u64)ADP_LEAF_PAGES << ADP_SHIFT);
	ws->by_gpa = kvcalloc(ws->nr_gpa, sizeof(*ws->by_gpa), GFP_KERNEL);
	ws->starts = kvcalloc(1U << ADP_START_BITS, sizeof(*ws->starts),
			      GFP_KERNEL);
	if (ws->by_gpa && ws->starts)
		return 0;
	kvfree(ws->by_gpa);
	kvfree(ws->starts);
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

			if (w->state != ADP_WINDOW_LIVE)
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
			if (w->state == ADP_WINDOW_LIVE &&
			    adp_channel_add_unmap(ch, w->id,
						  adp_window_bytes(w)) < 0)
				break;
		}
		if (ch->count && adp_channel_sync(ch))
			break;
		for (i = 0; n < next; n++) {
			w = adp_window_at(ws, n);
			if (w->state == ADP_WINDOW_LIVE)
				adp_channel_unmap_result(ch, i++, w->id,
							 adp_window_bytes(w));
		}
	}
	ch->up = false;
	adp_channel_break(ch, "the machine is shut down");
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_destroy() - free the books; the host is not asked anything
 * @ws: windows, purged
 */
void adp_windows_destroy(struct adp_windows *ws)
{
	struct adp_leaf *leaf;
	unsigned long index;
	unsigned int i;

	cancel_delayed_work_sync(&ws->aging);
	xa_for_each(&ws->by_dma, index, leaf)
		kfree(leaf);
	xa_destroy(&ws->by_dma);
	for (i = 0; i < ws->nr_gpa; i++)
		kfree(ws->by_gpa[i]);
	for (i = 0; i < ARRAY_SIZE(ws->chunk); i++)
		if (ws->chunk[i])
			free_pages_exact(ws->chunk[i], ADP_WINDOW_CHUNK *
					 sizeof(*ws->chunk[i]));
	kvfree(ws->by_gpa);
	kvfree(ws->starts);
}
