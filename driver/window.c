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
 * A transaction collects the windows that a request lacks and sends them as
 * one batch. The lock is held from the first look-up to the last answer, so
 * nobody sees a window that is still pending.
 */
#include <linux/slab.h>

#include "adp.h"

/*
 * How many starts are tried below a request. Each is one step in the tree;
 * the bound keeps the time with interrupts off short, a request that finds
 * nothing is copied instead.
 */
#define ADP_START_TRIES		1024

static struct kmem_cache *adp_window_cache;

/**
 * adp_window_cache_create() - make the slab cache that all companions share
 *
 * Return: 0 or -ENOMEM.
 */
int adp_window_cache_create(void)
{
	adp_window_cache = KMEM_CACHE(adp_window, 0);
	return adp_window_cache ? 0 : -ENOMEM;
}

/**
 * adp_window_cache_destroy() - undo adp_window_cache_create()
 */
void adp_window_cache_destroy(void)
{
	kmem_cache_destroy(adp_window_cache);
}

/**
 * adp_windows_init() - no windows yet
 * @ws: to set up
 * @ch: channel, set up
 * @ram: what may be sent
 * @stats: counters of the companion
 */
void adp_windows_init(struct adp_windows *ws, struct adp_channel *ch,
		      const struct adp_ram *ram, struct adp_stats *stats)
{
	spin_lock_init(&ws->lock);
	ws->ch = ch;
	ws->ram = ram;
	ws->stats = stats;
	ws->by_gpa = RB_ROOT;
	ws->by_dma = RB_ROOT;
	ratelimit_state_init(&ws->ratelimit, DEFAULT_RATELIMIT_INTERVAL, 3);
}

/**
 * adp_txn_init() - start a transaction that lacks nothing yet
 * @txn: transaction
 */
void adp_txn_init(struct adp_txn *txn)
{
	INIT_LIST_HEAD(&txn->misses);
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

/* The window with the highest start that is not above @gpa. */
static struct adp_window *adp_window_floor(struct adp_windows *ws, u64 gpa)
{
	struct rb_node *node = ws->by_gpa.rb_node;
	struct adp_window *best = NULL;

	while (node) {
		struct adp_window *w = rb_entry(node, struct adp_window, gpa_node);

		if (w->gpa <= gpa) {
			best = w;
			node = node->rb_right;
		} else {
			node = node->rb_left;
		}
	}
	return best;
}

static struct adp_window *adp_window_prev(struct adp_window *w)
{
	struct rb_node *node = rb_prev(&w->gpa_node);

	return node ? rb_entry(node, struct adp_window, gpa_node) : NULL;
}

static void adp_window_insert_gpa(struct adp_windows *ws, struct adp_window *new)
{
	struct rb_node **link = &ws->by_gpa.rb_node, *parent = NULL;

	while (*link) {
		struct adp_window *w;

		parent = *link;
		w = rb_entry(parent, struct adp_window, gpa_node);
		link = new->gpa < w->gpa ? &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&new->gpa_node, parent, link);
	rb_insert_color(&new->gpa_node, &ws->by_gpa);
}

/* Enter a window that the host holds; false if it overlaps another. */
static bool adp_window_insert_dma(struct adp_windows *ws, struct adp_window *new)
{
	struct rb_node **link = &ws->by_dma.rb_node, *parent = NULL;

	while (*link) {
		struct adp_window *w;

		parent = *link;
		w = rb_entry(parent, struct adp_window, dma_node);
		if (new->dma + new->size <= w->dma)
			link = &parent->rb_left;
		else if (new->dma >= w->dma + w->size)
			link = &parent->rb_right;
		else
			return false;
	}
	rb_link_node(&new->dma_node, parent, link);
	rb_insert_color(&new->dma_node, &ws->by_dma);
	return true;
}

static void adp_window_free(struct adp_windows *ws, struct adp_window *w)
{
	rb_erase(&w->gpa_node, &ws->by_gpa);
	if (!RB_EMPTY_NODE(&w->dma_node))
		rb_erase(&w->dma_node, &ws->by_dma);
	kmem_cache_free(adp_window_cache, w);
}

static bool adp_window_covers(const struct adp_window *w, u64 start, u64 end)
{
	return w->state != ADP_WINDOW_QUARANTINED && w->gpa <= start &&
	       w->gpa + w->len >= end;
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
 * the channel is broken; ERR_PTR(-ENOMEM).
 */
struct adp_window *__adp_window_get(struct adp_windows *ws, struct adp_txn *txn,
				    u64 start, u64 end)
{
	const struct adp_ram_range *ram;
	struct adp_window *w;
	unsigned int tries;

	lockdep_assert_held(&ws->lock);

	if (ws->ch->broken)
		return ERR_PTR(-EIO);

	ram = adp_ram_find(ws->ram, start, end);
	if (!ram)
		return ERR_PTR(-EFAULT);

	w = adp_window_floor(ws, start);
	for (tries = 0; w; tries++) {
		if (adp_window_covers(w, start, end)) {
			ws->stats->shared_hits++;
			w->refs++;
			return w;
		}
		if (w->gpa != start)
			break;
		if (w->state == ADP_WINDOW_PENDING) {
			w->len = end - w->gpa;
			w->refs++;
			return w;
		}
		if (start - ram->start < ADP_HOST_PAGE ||
		    tries == ADP_START_TRIES)
			return ERR_PTR(-EEXIST);
		start -= ADP_HOST_PAGE;
		w = adp_window_prev(w);
	}

	w = kmem_cache_zalloc(adp_window_cache, GFP_ATOMIC | __GFP_NOWARN);
	if (!w)
		return ERR_PTR(-ENOMEM);
	w->gpa = start;
	w->len = end - start;
	w->refs = 1;
	w->state = ADP_WINDOW_PENDING;
	RB_CLEAR_NODE(&w->dma_node);
	adp_window_insert_gpa(ws, w);
	list_add_tail(&w->link, &txn->misses);
	return w;
}

/* Take over what the host answered for a window. */
static int adp_window_settle(struct adp_windows *ws, struct adp_window *w,
			     u32 index)
{
	struct adp_map_result res;
	int err;

	err = adp_channel_map_result(ws->ch, index, w->gpa, w->len, &res);
	if (err && err != -EMSGSIZE)
		return err;

	w->id = res.id;
	w->dma = res.dma_addr;
	w->size = res.dma_len;
	w->mapped = true;
	/* A partial mapping is a failure; the caller's put unmaps it. */
	if (err)
		return -ENOSPC;
	if (!adp_window_insert_dma(ws, w)) {
		adp_channel_break(ws->ch, "the host assigned %#llx, which is in use",
				  w->dma);
		return -EIO;
	}
	w->state = ADP_WINDOW_LIVE;
	return 0;
}

/**
 * __adp_windows_commit() - map all that a transaction lacks
 * @ws: windows
 * @txn: transaction; empty afterwards
 *
 * One doorbell for as many entries as the host takes in a batch. After an
 * error the caller puts every window that it got.
 *
 * Context: any; the caller holds the lock.
 * Return: 0; -ENOSPC if the host refused any of them; -EIO if the channel is
 * broken.
 */
int __adp_windows_commit(struct adp_windows *ws, struct adp_txn *txn)
{
	struct adp_channel *ch = ws->ch;
	struct adp_window *w, *next;
	LIST_HEAD(sent);
	int err, ret = 0;
	u32 i;

	lockdep_assert_held(&ws->lock);

	while (!list_empty(&txn->misses)) {
		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_MAP);
		list_for_each_entry_safe(w, next, &txn->misses, link) {
			err = adp_channel_add_map(ch, w->gpa, w->len);
			if (err == -ENOSPC)
				break;
			if (err < 0) {
				list_del_init(&w->link);
				ret = ret ?: -ENOSPC;
				continue;
			}
			list_move_tail(&w->link, &sent);
		}
		if (list_empty(&sent))
			continue;

		err = adp_channel_sync(ch);
		i = 0;
		list_for_each_entry_safe(w, next, &sent, link) {
			list_del_init(&w->link);
			if (!err) {
				int e = adp_window_settle(ws, w, i++);

				ret = ret ?: e;
			}
		}
		ret = ret ?: err;
	}
	return ret;
}

/**
 * __adp_window_put() - give a reference back
 * @ws: windows
 * @gone: gets the window if it was the last reference and the host holds it
 * @w: window; not to be used afterwards
 *
 * Context: any; the caller holds the lock, and calls __adp_windows_release()
 * with @gone before it lets go.
 */
void __adp_window_put(struct adp_windows *ws, struct list_head *gone,
		      struct adp_window *w)
{
	lockdep_assert_held(&ws->lock);

	if (--w->refs)
		return;
	if (w->mapped) {
		list_add_tail(&w->link, gone);
	} else {
		list_del(&w->link);
		adp_window_free(ws, w);
	}
}

/* The host may still hold it: keep its start and its addresses out of use. */
static void adp_window_quarantine(struct adp_windows *ws, struct adp_window *w)
{
	w->state = ADP_WINDOW_QUARANTINED;
	w->refs = 0;
	ws->stats->quarantined++;
	if (!ws->ch->broken && __ratelimit(&ws->ratelimit))
		dev_err(ws->ch->dev,
			"the host refused to unmap %#llx bytes at %#llx; the device can still reach them, they are not mapped again\n",
			w->size, w->gpa);
}

/**
 * __adp_windows_release() - unmap windows
 * @ws: windows
 * @gone: windows without references; empty afterwards
 *
 * One doorbell for as many entries as the host takes in a batch. What the
 * host refuses to unmap is quarantined.
 *
 * Context: any; the caller holds the lock.
 */
void __adp_windows_release(struct adp_windows *ws, struct list_head *gone)
{
	struct adp_channel *ch = ws->ch;
	struct adp_window *w, *next;
	LIST_HEAD(sent);
	int err;
	u32 i;

	lockdep_assert_held(&ws->lock);

	while (!list_empty(gone)) {
		adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
		list_for_each_entry_safe(w, next, gone, link) {
			if (adp_channel_add_unmap(ch, w->id, w->size) < 0)
				break;
			list_move_tail(&w->link, &sent);
		}

		err = adp_channel_sync(ch);
		i = 0;
		list_for_each_entry_safe(w, next, &sent, link) {
			list_del_init(&w->link);
			if (err || adp_channel_unmap_result(ch, i++, w->id, w->size))
				adp_window_quarantine(ws, w);
			else
				adp_window_free(ws, w);
		}
	}
}

/**
 * __adp_window_find() - the window that a DMA address is in
 * @ws: windows
 * @dma: address
 *
 * Context: any; the caller holds the lock.
 * Return: a window that is in use, or NULL.
 */
struct adp_window *__adp_window_find(struct adp_windows *ws, u64 dma)
{
	struct rb_node *node = ws->by_dma.rb_node;

	lockdep_assert_held(&ws->lock);

	while (node) {
		struct adp_window *w = rb_entry(node, struct adp_window, dma_node);

		if (dma < w->dma)
			node = node->rb_left;
		else if (dma >= w->dma + w->size)
			node = node->rb_right;
		else
			return w->refs ? w : NULL;
	}
	return NULL;
}

/**
 * adp_window_map() - a reference to a mapped window that holds a piece of memory
 * @ws: windows
 * @start: start of a host page
 * @end: end of a host page
 *
 * Context: any.
 * Return: the window, or ERR_PTR() with an error of __adp_window_get() or
 * __adp_windows_commit().
 */
struct adp_window *adp_window_map(struct adp_windows *ws, u64 start, u64 end)
{
	struct adp_window *w;
	unsigned long flags;
	struct adp_txn txn;
	LIST_HEAD(gone);
	int err;

	adp_txn_init(&txn);
	spin_lock_irqsave(&ws->lock, flags);
	w = __adp_window_get(ws, &txn, start, end);
	if (IS_ERR(w))
		goto out;
	err = __adp_windows_commit(ws, &txn);
	if (err) {
		__adp_window_put(ws, &gone, w);
		__adp_windows_release(ws, &gone);
		w = ERR_PTR(err);
	}
out:
	spin_unlock_irqrestore(&ws->lock, flags);
	return w;
}

/**
 * adp_window_unmap() - give a reference back, and unmap if it was the last
 * @ws: windows
 * @w: window; not to be used afterwards
 *
 * Context: any.
 * Return: false if the host did not unmap it: the device may still reach it.
 */
bool adp_window_unmap(struct adp_windows *ws, struct adp_window *w)
{
	unsigned long flags;
	LIST_HEAD(gone);
	u64 before;
	bool done;

	spin_lock_irqsave(&ws->lock, flags);
	before = ws->stats->quarantined;
	__adp_window_put(ws, &gone, w);
	__adp_windows_release(ws, &gone);
	done = ws->stats->quarantined == before;
	spin_unlock_irqrestore(&ws->lock, flags);
	return done;
}

/**
 * adp_windows_purge() - unmap everything, whoever uses it
 * @ws: windows
 *
 * For when the managed function can do no DMA any more.
 *
 * Return: how many windows were still in use.
 */
unsigned int adp_windows_purge(struct adp_windows *ws)
{
	unsigned int left = 0;
	struct rb_node *node;
	unsigned long flags;
	LIST_HEAD(gone);

	spin_lock_irqsave(&ws->lock, flags);
	for (node = rb_first(&ws->by_gpa); node; node = rb_next(node)) {
		struct adp_window *w = rb_entry(node, struct adp_window, gpa_node);

		if (w->state == ADP_WINDOW_QUARANTINED)
			continue;
		left++;
		w->refs = 0;
		list_add_tail(&w->link, &gone);
	}
	__adp_windows_release(ws, &gone);
	spin_unlock_irqrestore(&ws->lock, flags);
	return left;
}

static struct rb_node *adp_windows_revoke_batch(struct adp_windows *ws,
						struct rb_node *node)
{
	struct rb_node *first = node;
	struct adp_window *w;
	u32 i = 0;

	adp_channel_begin(ws->ch, APPLE_DMA_PCI_CMD_UNMAP);
	for (; node; node = rb_next(node)) {
		w = rb_entry(node, struct adp_window, dma_node);
		if (adp_channel_add_unmap(ws->ch, w->id, w->size) < 0)
			break;
	}
	if (adp_channel_sync(ws->ch))
		return NULL;
	for (; first != node; first = rb_next(first)) {
		w = rb_entry(first, struct adp_window, dma_node);
		adp_channel_unmap_result(ws->ch, i++, w->id, w->size);
	}
	return node;
}

/**
 * adp_windows_revoke() - unmap everything for good, and keep the books
 * @ws: windows
 *
 * For the end of this kernel: the managed function's driver is still there, and
 * may give back what it holds, but nothing is sent to the host any more.
 */
void adp_windows_revoke(struct adp_windows *ws)
{
	struct rb_node *node;
	unsigned long flags;

	spin_lock_irqsave(&ws->lock, flags);
	node = rb_first(&ws->by_dma);
	while (node)
		node = adp_windows_revoke_batch(ws, node);
	ws->ch->up = false;
	adp_channel_break(ws->ch, "the machine is shut down");
	spin_unlock_irqrestore(&ws->lock, flags);
}

/**
 * adp_windows_destroy() - free the books; the host is not asked anything
 * @ws: windows, purged
 */
void adp_windows_destroy(struct adp_windows *ws)
{
	struct adp_window *w, *next;

	rbtree_postorder_for_each_entry_safe(w, next, &ws->by_gpa, gpa_node)
		kmem_cache_free(adp_window_cache, w);
	ws->by_gpa = RB_ROOT;
	ws->by_dma = RB_ROOT;
}
