// SPDX-License-Identifier: GPL-2.0-only
/*
 * struct dma_map_ops: the kernel's calls, translated into the verbs of
 * window.c, pool.c, copy.c and bounce.c. All of them may be called with interrupts
 * off.
 */
#include <linux/dma-mapping.h>
#include <linux/hash.h>
#include <linux/mm.h>

#include "adp.h"
#include "compat.h"
#include "hook.h"
#include "lookup.h"
#include "trace.h"

/*
 * Of the small mappings that have no window, how many to one that gets one; powers
 * of two. The second is for when that takes another one's place.
 */
#define ADP_MAP_EVERY		8
#define ADP_MAP_EVERY_TIGHT	1024

/* The device's own data belongs to its driver; the gate under our ops is ours. */
static __always_inline struct adp_companion *adp_of(struct device *dev)
{
	return adp_gate_of(dev)->c;
}

/* What the bus of a function can reach; 0 if that is everything. */
static u64 adp_bus_limit(struct device *dev)
{
	return dev->bus_dma_limit == ADP_GATE_LIMIT ? 0 : dev->bus_dma_limit;
}

/* The highest address that a driver said its device can use. */
static u64 adp_limit(struct device *dev, u64 mask)
{
	return min_not_zero(mask, adp_bus_limit(dev));
}

static void adp_fail(struct adp_companion *c, size_t size, const char *why)
{
	unsigned long flags;

	this_cpu_inc(c->op_stats->map_failures);
	if (READ_ONCE(c->ch.broken))
		schedule_work(&c->lose);
	spin_lock_irqsave(&c->windows.lock, flags);
	adp_windows_complain(&c->windows, size, why);
	spin_unlock_irqrestore(&c->windows.lock, flags);
}

static const char *adp_why(int err)
{
	switch (err) {
	case -EFAULT:
		return "not (only) RAM; MMIO and peer-to-peer memory cannot be mapped";
	case -EEXIST:
		return "every start that could serve is taken";
	case -ENOSPC:
		return "the host refused";
	case -EXDEV:
		return "the platform's addresses cross a boundary that the function cannot";
	case -ERANGE:
		return "the platform's address is beyond the function's DMA mask";
	case -EIO:
	case -ENODEV:
		return "the channel is broken";
	case -EAGAIN:
		return "the companion sleeps";
	default:
		return "out of memory";
	}
}

static void adp_bad_unmap(struct adp_companion *c, struct device *dev, u64 dma)
{
	this_cpu_inc(c->op_stats->bad_unmaps);
	dev_err_ratelimited(dev, "driver bug: it unmapped or freed %#llx, which is not mapped so\n",
			    dma);
}

/*
 * Can a copy stand in for a mapping that failed with @err? Only where no
 * window can exist; a host that is full is not helped by a copy.
 */
static bool adp_can_bounce(struct adp_companion *c, phys_addr_t phys,
			   size_t size, int err)
{
	if (!c->may_bounce || size > ADP_COHERENT_ALIGN_MAX - PAGE_SIZE)
		return false;
	return err == -EEXIST || err == -EXDEV ||
	       (err == -EFAULT &&
		adp_ram_find(&c->ram, phys, (u64)phys + size, NULL));
}

/*
 * Where memory is scarce a window for what is mapped once costs more than the
 * copy, a copy of what is mapped over and over more than the window. What comes
 * again soon, and so is still known here, gets a window; of the rest one in so
 * many, so that what comes again late gets one at last.
 */
static bool adp_copy_pays(struct adp_companion *c, phys_addr_t phys)
{
	unsigned int every = adp_windows_tight(&c->windows) ?
			     ADP_MAP_EVERY_TIGHT : ADP_MAP_EVERY;
	u32 page = phys >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;
	unsigned int i = hash_32(page, ADP_COPY_RECENT_BITS);

	if (this_cpu_read(c->copies.cpu->recent[i]) == page)
		return false;
	this_cpu_write(c->copies.cpu->recent[i], page);
	return this_cpu_inc_return(c->copies.cpu->cold) & (every - 1);
}

/* May a mapping be copied, if that is of use? */
static bool adp_may_copy(struct adp_companion *c, phys_addr_t phys, size_t size,
			 enum dma_data_direction dir)
{
	enum adp_copy_when when = READ_ONCE(c->copy);

	if (when == ADP_COPY_NONE || !adp_copy_fits(phys, size))
		return false;
	/* Memory of user space that is registered to stay goes both ways. */
	return when == ADP_COPY_ALL || dir != DMA_BIDIRECTIONAL;
}

/* Is a copy of use? */
static bool adp_likes_copy(struct adp_companion *c, phys_addr_t phys,
			   size_t size, enum dma_data_direction dir,
			   unsigned long attrs)
{
	if (!adp_may_copy(c, phys, size, dir))
		return false;
	if (READ_ONCE(c->copy) != ADP_COPY_COLD)
		return true;
	/* A driver that skips the sync keeps the mapping and syncs parts. */
	return !READ_ONCE(c->windows.roomy) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC);
}

/*
 * Is a mapping to be copied? In lazy mode the caller asks only about those for
 * which there is no window.
 */
static bool adp_wants_copy(struct adp_companion *c, phys_addr_t phys,
			   size_t size, enum dma_data_direction dir,
			   unsigned long attrs)
{
	return adp_likes_copy(c, phys, size, dir, attrs) &&
	       (READ_ONCE(c->copy) != ADP_COPY_COLD || adp_copy_pays(c, phys));
}

/* A copy in a slot, for a mapping that fits one. */
static dma_addr_t adp_copy(struct adp_companion *c, phys_addr_t phys,
			   size_t size, enum dma_data_direction dir,
			   unsigned long attrs, u64 limit)
{
	bool fill = dir != DMA_TO_DEVICE || !(attrs & DMA_ATTR_SKIP_CPU_SYNC);
	dma_addr_t dma = adp_copy_map(&c->copies, phys, size, limit, fill);

	if (dma != DMA_MAPPING_ERROR)
		this_cpu_inc(c->op_stats->copied);
	return dma;
}

static dma_addr_t adp_bounce(struct adp_companion *c, phys_addr_t phys,
			     size_t size, u64 limit)
{
	dma_addr_t dma = DMA_MAPPING_ERROR;

	if (adp_copy_fits(phys, size))
		dma = adp_copy_map(&c->copies, phys, size, limit, true);
	if (dma == DMA_MAPPING_ERROR)
		dma = adp_bounce_map(&c->bounce, phys, size, limit);
	if (dma != DMA_MAPPING_ERROR)
		this_cpu_inc(c->op_stats->bounced);
	return dma;
}

/*
 * End the copy at an address in a window that has a tag. Return: 0; -ENOENT if
 * it is no copy, but memory that the window maps; -EINVAL if nothing is there.
 */
static int adp_end_copy(struct adp_companion *c, u16 tag, dma_addr_t dma,
			enum dma_data_direction dir, unsigned long attrs)
{
	bool skip_sync = attrs & DMA_ATTR_SKIP_CPU_SYNC;
	int err = adp_copy_unmap(&c->copies, tag, dma, dir, skip_sync);

	if (err == -ENOENT &&
	    adp_bounce_unmap(&c->bounce, dma, dir, skip_sync))
		return 0;
	return err;
}

static bool adp_in_reach(u64 dma, size_t size, u64 limit)
{
	return dma <= limit && size - 1 <= limit - dma;
}

/* Is what was wished for what has been had. */
static void adp_count_align(struct adp_companion *c, const struct adp_window *w,
			    unsigned int order)
{
	if (likely(!order))
		return;
	if (adp_align_fits(w, order))
		this_cpu_inc(c->op_stats->congruent);
	else
		this_cpu_inc(c->op_stats->incongruent);
}

/* Map memory, or say why it cannot be. */
static dma_addr_t adp_map_phys(struct device *dev, struct adp_companion *c,
			       phys_addr_t phys, size_t size,
			       enum dma_data_direction dir, unsigned long attrs)
{
	unsigned int order = adp_align_order(phys, size);
	u64 limit = adp_limit(dev, dma_get_mask(dev));
	u64 start = ADP_HOST_PAGE_DOWN(phys), end = ADP_HOST_PAGE_UP(phys + size);
	struct adp_window *w = NULL;
	int err = -EFAULT;
	dma_addr_t dma;

	if (!size || size > ADP_MAPPING_MAX || (attrs & DMA_ATTR_MMIO))
		goto fail;

	if (READ_ONCE(c->copy) <= ADP_COPY_COLD)
		w = adp_window_hit(&c->windows, start, end, order);
	if (!w) {
		if (adp_wants_copy(c, phys, size, dir, attrs)) {
			dma = adp_copy(c, phys, size, dir, attrs, limit);
			if (dma != DMA_MAPPING_ERROR)
				return dma;
		}
		w = adp_window_map(&c->windows, start, end, order, false);
	}
	if (!IS_ERR(w)) {
		dma = adp_window_dma(w, phys);
		adp_count_align(c, w, order);
		if (adp_in_reach(dma, size, limit))
			return dma;
		adp_window_drop(&c->windows, w, 1);
		err = -ERANGE;
		goto fail;
	}

	err = PTR_ERR(w);
	if (err == -ENOSPC && adp_may_copy(c, phys, size, dir)) {
		dma = adp_copy(c, phys, size, dir, attrs, limit);
		if (dma != DMA_MAPPING_ERROR)
			return dma;
	}
	if (adp_can_bounce(c, phys, size, err)) {
		dma = adp_bounce(c, phys, size, limit);
		if (dma != DMA_MAPPING_ERROR)
			return dma;
		err = -ENOMEM;
	}
fail:
	adp_fail(c, size, adp_why(err));
	return DMA_MAPPING_ERROR;
}

/*
 * What adp_map_warm() does not do. @w is a reference that it has taken, if any.
 * Where map_page passes the other arguments they are here, so that nothing has to
 * be moved before it is known that this is called.
 */
static noinline dma_addr_t adp_map_slow(struct device *dev, phys_addr_t phys,
					struct adp_window *w, size_t size,
					enum dma_data_direction dir,
					unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);
	dma_addr_t dma;

	if (w)
		adp_window_drop(&c->windows, w, 1);
	this_cpu_inc(c->op_stats->map_ops);
	dma = adp_map_phys(dev, c, phys, size, dir, attrs);
	trace_adp_map(dev, phys, size, dma, dir);
	return dma;
}

/*
 * Map memory that a live window has. All calls are at the end, so that this needs
 * no frame: it is done for each buffer of each I/O.
 */
static __always_inline dma_addr_t adp_map_warm(struct device *dev,
					       phys_addr_t phys, size_t size,
					       enum dma_data_direction dir,
					       unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);
	struct adp_window *w = NULL;
	dma_addr_t dma;

	if (unlikely(size - 1 >= BIT(ADP_ALIGN_SHIFT) - 1 ||
		     (attrs & DMA_ATTR_MMIO) || trace_adp_map_enabled()))
		goto slow;
	if (unlikely(!adp_window_try(&c->windows, phys, phys + size, 0, &w)))
		goto slow;
	dma = adp_window_dma(w, phys);
	/* Addresses have far fewer than 64 bits, so the sum is one of them. */
	if (unlikely(dma + size - 1 > *dev->dma_mask))
		goto slow;
	this_cpu_inc(c->op_stats->map_ops);
	return dma;
slow:
	return adp_map_slow(dev, phys, w, size, dir, attrs);
}

static dma_addr_t adp_map(struct device *dev, ADP_COMPAT_MAP_ARGS, size_t size,
			  enum dma_data_direction dir, unsigned long attrs)
{
	return adp_map_warm(dev, ADP_COMPAT_MAP_PHYS, size, dir, attrs);
}

/* What adp_unmap() does not do. */
static noinline void adp_unmap_slow(struct device *dev, dma_addr_t dma,
				    size_t size, enum dma_data_direction dir,
				    unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);
	struct adp_window *w;
	int err = -ENOENT;

	trace_adp_unmap(dev, dma, size, dir);
	w = adp_window_find(&c->windows, dma);
	if (w && unlikely(adp_window_tag(w)))
		err = adp_end_copy(c, adp_window_tag(w), dma, dir, attrs);
	if (err == -ENOENT && w && adp_window_drop(&c->windows, w, 1))
		return;
	if (unlikely(err))
		adp_bad_unmap(c, dev, dma);
}

static void adp_unmap(struct device *dev, dma_addr_t dma, size_t size,
		      enum dma_data_direction dir, unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);

	if (unlikely(trace_adp_unmap_enabled() ||
		     !adp_window_drop_lazy(&c->windows, dma)))
		return adp_unmap_slow(dev, dma, size, dir, attrs);
}

/*
 * Between its look-up and its answer an entry has its window where its address
 * will be. One that is copied has the copy's address there, with a bit that the
 * address of no window has. 0 stands for what has neither yet, or needs a copy
 * because there can be no window.
 */
static struct adp_window *adp_sg_window(struct scatterlist *sg)
{
	return sg->dma_address & 1 ? NULL :
	       (struct adp_window *)(uintptr_t)sg->dma_address;
}

static void adp_sg_set_copy(struct scatterlist *sg, dma_addr_t dma)
{
	sg->dma_address = dma << 1 | 1;
}

/* The copy of an entry, or DMA_MAPPING_ERROR. */
static dma_addr_t adp_sg_copy(struct scatterlist *sg)
{
	return sg->dma_address & 1 ? sg->dma_address >> 1 : DMA_MAPPING_ERROR;
}

/*
 * Look for windows that are live. @anew: entries have nothing yet. Return:
 * whether all have been found.
 */
static bool adp_sg_hit(struct adp_windows *ws, struct scatterlist *sgl,
		       int nents, bool anew)
{
	struct adp_window *last = NULL;
	struct scatterlist *sg;
	bool all = true;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		u64 start = sg_phys(sg), end = start + sg->length;
		unsigned int order = adp_align_order(start, sg->length);
		struct adp_window *w = last;

		if (!anew && adp_sg_copy(sg) != DMA_MAPPING_ERROR)
			continue;
		if (w && adp_window_covers(w, start, end) && !order)
			atomic_inc(&w->refs);
		else
			w = adp_window_hit(ws, start, end, order);
		sg->dma_address = (uintptr_t)w;
		last = w;
		all &= !!w;
	}
	return all;
}

/*
 * How many entries from @sg on lie next to each other in memory and have no
 * window; @end gets the end of their host pages, @order the largest alignment
 * that one of them wishes for.
 */
static int adp_sg_run(struct scatterlist *sg, int left, u64 start, u64 *end,
		      unsigned int *order)
{
	int n;

	*order = adp_align_order(sg_phys(sg), sg->length);
	*end = ADP_HOST_PAGE_UP(sg_phys(sg) + sg->length);
	for (n = 1; n < left; n++) {
		u64 phys, next;

		sg = sg_next(sg);
		phys = sg_phys(sg);
		next = max(*end, ADP_HOST_PAGE_UP(phys + sg->length));
		if (sg->dma_address || phys < start || phys > *end ||
		    next - start > ADP_MAPPING_MAX)
			break;
		*end = next;
		*order = max(*order, adp_align_order(phys, sg->length));
	}
	return n;
}

/*
 * Slots for the entries that have nothing yet and may have use for one. Return:
 * whether that took a doorbell.
 */
static bool adp_sg_reserve(struct adp_companion *c, struct scatterlist *sg,
			   int nents, enum dma_data_direction dir,
			   unsigned long attrs)
{
	unsigned int wanted = 0, order;
	u64 end;
	int n;

	for (; nents; nents -= n) {
		u64 phys = sg_phys(sg);

		n = 1;
		if (!sg->dma_address)
			n = adp_sg_run(sg, nents, ADP_HOST_PAGE_DOWN(phys),
				       &end, &order);
		wanted += n == 1 && !sg->dma_address &&
			  adp_likes_copy(c, phys, sg->length, dir, attrs);
		for (int i = 0; i < n; i++)
			sg = sg_next(sg);
	}
	return adp_copy_reserve(&c->copies, wanted);
}

/*
 * Copy the small entries that have nothing yet, but those with which a single
 * window would serve their neighbours too. @all: whoever may be copied is. Return:
 * whether none is left.
 */
static bool adp_sg_copy_small(struct adp_companion *c, struct scatterlist *sg,
			      int nents, enum dma_data_direction dir,
			      unsigned long attrs, u64 limit, bool all)
{
	/* The doorbell for slots is not worth another one for windows. */
	bool grown = adp_sg_reserve(c, sg, nents, dir, attrs);
	unsigned int order;
	bool left = false;
	u64 end;
	int n;

	for (; nents; nents -= n) {
		u64 phys = sg_phys(sg);
		dma_addr_t dma = DMA_MAPPING_ERROR;

		n = 1;
		if (sg->dma_address)
			goto next;
		if (!all)
			n = adp_sg_run(sg, nents, ADP_HOST_PAGE_DOWN(phys),
				       &end, &order);
		if (n == 1 &&
		    (all ? adp_may_copy(c, phys, sg->length, dir) :
		     grown ? adp_likes_copy(c, phys, sg->length, dir, attrs) :
		     adp_wants_copy(c, phys, sg->length, dir, attrs)))
			dma = adp_copy(c, phys, sg->length, dir, attrs, limit);
		if (dma != DMA_MAPPING_ERROR)
			adp_sg_set_copy(sg, dma);
		else
			left = true;
next:
		for (int i = 0; i < n; i++)
			sg = sg_next(sg);
	}
	return !left;
}

/* Give back the windows that the entries from @first to @end have; the lock is held. */
static void __adp_sg_put(struct adp_windows *ws, struct scatterlist *sgl,
			 int first, int end)
{
	struct adp_list gone = {};
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, end, i)
		if (i >= first && adp_sg_window(sg))
			__adp_window_put(ws, &gone, adp_sg_window(sg), 1);
	__adp_windows_release(ws, &gone);
}

/* One batch for all that has no window yet. */
static int adp_sg_miss(struct adp_companion *c, struct adp_txn *txn,
		       struct scatterlist *sgl, int nents)
{
	struct adp_windows *ws = &c->windows;
	struct scatterlist *sg = sgl;
	unsigned long flags;
	int i = 0, err = 0;

	spin_lock_irqsave(&ws->lock, flags);
	while (i < nents) {
		u64 start = ADP_HOST_PAGE_DOWN(sg_phys(sg)), end;
		struct adp_window *w;
		unsigned int order;
		int n;

		if (sg->dma_address) {
			i++;
			sg = sg_next(sg);
			continue;
		}
		n = adp_sg_run(sg, nents - i, start, &end, &order);
		w = __adp_window_get(ws, txn, start, end, order);
		if (IS_ERR(w) && n > 1) {
			n = 1;
			end = ADP_HOST_PAGE_UP(sg_phys(sg) + sg->length);
			w = __adp_window_get(ws, txn, start, end, order);
		}
		if (IS_ERR(w)) {
			err = PTR_ERR(w);
			if (!adp_can_bounce(c, sg_phys(sg), sg->length, err))
				break;
			err = 0;
			w = NULL;
		} else {
			__adp_window_ref(w, n - 1);
		}
		for (; n; n--, i++, sg = sg_next(sg))
			sg->dma_address = (uintptr_t)w;
	}

	if (err)
		__adp_windows_abort(ws, txn);
	else
		err = __adp_windows_commit(ws, txn);
	if (err)
		__adp_sg_put(ws, sgl, 0, nents);
	spin_unlock_irqrestore(&ws->lock, flags);
	return err;
}

/* A window or a copy for each entry. After an error, copies are left. */
static int adp_sg_get(struct adp_companion *c, struct scatterlist *sgl,
		      int nents, enum dma_data_direction dir,
		      unsigned long attrs, u64 limit)
{
	enum adp_copy_when when = READ_ONCE(c->copy);
	struct adp_windows *ws = &c->windows;
	bool last = when == ADP_COPY_NONE;
	struct scatterlist *sg;
	struct adp_txn txn;
	int i, err;

	adp_txn_init(ws, &txn, false);
	if (when <= ADP_COPY_COLD) {
		if (adp_sg_hit(ws, sgl, nents, true))
			return 0;
	} else {
		for_each_sg(sgl, sg, nents, i)
			sg->dma_address = 0;
	}
	if (when != ADP_COPY_NONE &&
	    adp_sg_copy_small(c, sgl, nents, dir, attrs, limit,
			      when == ADP_COPY_ALL))
		return 0;

	for (;;) {
		err = adp_sg_miss(c, &txn, sgl, nents);
		if (err != -ENOSPC)
			return err;
		if (!adp_windows_make_room(ws, &txn)) {
			/* There are slots where there are no windows. */
			if (last)
				return err;
			last = true;
		}
		if (adp_sg_hit(ws, sgl, nents, false))
			return 0;
		if (last && when != ADP_COPY_NONE &&
		    adp_sg_copy_small(c, sgl, nents, dir, attrs, limit, true))
			return 0;
	}
}

/* Most functions cannot cross a multiple of 4 GiB within an entry, some not one of 64 KiB. */
static bool adp_crosses(struct device *dev, u64 at, size_t size)
{
	return (at ^ (at + size - 1)) & ~(u64)dma_get_seg_boundary(dev);
}

/*
 * An entry that crosses a boundary which its memory does not: a copy does not
 * either, it is aligned to its size. The window stays if there can be none.
 */
static dma_addr_t adp_sg_within(struct device *dev, struct adp_companion *c,
				struct adp_window *w, phys_addr_t phys,
				size_t size, u64 limit)
{
	dma_addr_t dma = DMA_MAPPING_ERROR;

	if (adp_can_bounce(c, phys, size, -EXDEV))
		dma = adp_bounce(c, phys, size, limit);
	if (dma != DMA_MAPPING_ERROR)
		adp_window_drop(&c->windows, w, 1);
	return dma;
}

static u64 adp_unmap_sg_lazy(struct adp_companion *c, struct scatterlist *sgl,
			     int nents, enum dma_data_direction dir,
			     unsigned long attrs);

/* Are the addresses of all windows between two boundaries. */
static bool adp_sg_narrow(struct device *dev, struct adp_companion *c)
{
	u64 lowest = READ_ONCE(c->ch.dma_min), highest = READ_ONCE(c->ch.dma_max);

	return !((lowest ^ highest) & ~(u64)dma_get_seg_boundary(dev));
}

/*
 * Map a list of small pieces that are all in live windows. In strict mode giving
 * back what was taken may cost a doorbell, so there it is not tried.
 */
static bool adp_sg_warm(struct device *dev, struct adp_companion *c,
			struct scatterlist *sgl, int nents, u64 limit)
{
	struct adp_windows *ws = &c->windows;
	struct adp_window *w;
	struct scatterlist *sg;
	int i;

	if (!READ_ONCE(ws->lazy) || !adp_sg_narrow(dev, c))
		return false;
	for_each_sg(sgl, sg, nents, i) {
		u64 phys = sg_phys(sg), dma;
		size_t size = sg->length;

		if (unlikely(size - 1 >= BIT(ADP_ALIGN_SHIFT) - 1))
			goto undo;
		w = NULL;
		if (unlikely(!adp_window_try(ws, phys, phys + size, 0, &w)))
			goto drop;
		dma = adp_window_dma(w, phys);
		if (unlikely(dma + size - 1 > limit))
			goto drop;
		sg->dma_address = dma;
		sg_dma_len(sg) = size;
	}
	/* A window that is there since may be elsewhere. */
	if (likely(adp_sg_narrow(dev, c)))
		return true;
	goto undo;

drop:
	if (w)
		adp_window_drop(ws, w, 1);
undo:
	adp_unmap_sg_lazy(c, sgl, i, DMA_NONE, 0);
	return false;
}

static void adp_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents,
			 enum dma_data_direction dir, unsigned long attrs);

/* End the copies that the entries from @first to @end have. */
static void adp_sg_drop_copies(struct adp_companion *c, struct scatterlist *sgl,
			       int first, int end)
{
	struct scatterlist *sg;
	struct adp_window *w;
	dma_addr_t dma;
	int i;

	for_each_sg(sgl, sg, end, i) {
		dma = i < first ? DMA_MAPPING_ERROR : adp_sg_copy(sg);
		if (dma == DMA_MAPPING_ERROR)
			continue;
		w = adp_window_find(&c->windows, dma);
		if (w)
			adp_copy_unmap(&c->copies, adp_window_tag(w), dma,
				       DMA_TO_DEVICE, true);
		sg->dma_address = 0;
	}
}

static int adp_map_sg(struct device *dev, struct scatterlist *sgl, int nents,
		      enum dma_data_direction dir, unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);
	u64 limit = adp_limit(dev, dma_get_mask(dev));
	struct scatterlist *sg;
	unsigned long flags;
	int i, err = -EFAULT;
	u64 bytes = 0;

	this_cpu_inc(c->op_stats->sg_lists);
	this_cpu_add(c->op_stats->sg_entries, nents);
	if (!trace_adp_map_sg_enabled() && !(attrs & DMA_ATTR_MMIO) &&
	    adp_sg_warm(dev, c, sgl, nents, limit))
		return nents;

	for_each_sg(sgl, sg, nents, i) {
		bytes += sg->length;
		if (!sg->length || sg->length > ADP_MAPPING_MAX)
			goto fail;
	}
	if (attrs & DMA_ATTR_MMIO)
		goto fail;

	err = adp_sg_get(c, sgl, nents, dir, attrs, limit);
	if (err) {
		adp_sg_drop_copies(c, sgl, 0, nents);
		goto fail;
	}

	for_each_sg(sgl, sg, nents, i) {
		struct adp_window *w = adp_sg_window(sg);
		dma_addr_t dma = adp_sg_copy(sg);

		if (w) {
			dma = adp_window_dma(w, sg_phys(sg));
			adp_count_align(c, w, adp_align_order(sg_phys(sg),
							      sg->length));
			if (!adp_in_reach(dma, sg->length, limit)) {
				err = -ERANGE;
				goto undo;
			}
			if (adp_crosses(dev, dma, sg->length) &&
			    !adp_crosses(dev, sg_phys(sg), sg->length)) {
				dma = adp_sg_within(dev, c, w, sg_phys(sg),
						    sg->length, limit);
				err = -EXDEV;
				if (dma == DMA_MAPPING_ERROR)
					goto undo;
			}
		} else if (dma == DMA_MAPPING_ERROR) {
			dma = adp_bounce(c, sg_phys(sg), sg->length, limit);
			if (dma == DMA_MAPPING_ERROR) {
				err = -ENOMEM;
				goto undo;
			}
		}
		sg->dma_address = dma;
		sg_dma_len(sg) = sg->length;
	}
	trace_adp_map_sg(dev, nents, bytes, dir);
	return nents;

undo:
	/* Entries before this one have addresses, the others windows or copies. */
	adp_sg_drop_copies(c, sgl, i, nents);
	spin_lock_irqsave(&c->windows.lock, flags);
	__adp_sg_put(&c->windows, sgl, i, nents);
	spin_unlock_irqrestore(&c->windows.lock, flags);
	if (i)
		adp_unmap_sg(dev, sgl, i, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC);
fail:
	adp_fail(c, bytes, adp_why(err));
	return err == -ENOMEM ? -ENOMEM : -EIO;
}

/* In strict mode all that a list was the last to use is one batch. */
static u64 adp_unmap_sg_strict(struct adp_companion *c, struct scatterlist *sgl,
			       int nents, enum dma_data_direction dir,
			       unsigned long attrs)
{
	struct adp_windows *ws = &c->windows;
	struct adp_list gone = {};
	struct scatterlist *sg;
	unsigned long flags;
	u64 bad = 0;
	int i;

	spin_lock_irqsave(&ws->lock, flags);
	for_each_sg(sgl, sg, nents, i) {
		u64 dma = sg_dma_address(sg);
		struct adp_window *w;
		int err = -ENOENT;

		w = __adp_window_find(ws, dma);
		if (w && adp_window_tag(w)) {
			/* Ending a copy may mean to free it, and takes time. */
			spin_unlock_irqrestore(&ws->lock, flags);
			err = adp_end_copy(c, adp_window_tag(w), dma, dir, attrs);
			spin_lock_irqsave(&ws->lock, flags);
		}
		if (err == -ENOENT && w)
			__adp_window_put(ws, &gone, w, 1);
		else if (err)
			bad = dma;
	}
	__adp_windows_release(ws, &gone);
	spin_unlock_irqrestore(&ws->lock, flags);
	return bad;
}

/* Entries that follow each other in a window are given back together. */
static u64 adp_unmap_sg_lazy(struct adp_companion *c, struct scatterlist *sgl,
			     int nents, enum dma_data_direction dir,
			     unsigned long attrs)
{
	struct adp_windows *ws = &c->windows;
	struct adp_window *w = NULL;
	struct scatterlist *sg;
	unsigned int n = 0;
	u64 bad = 0;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		u64 dma = sg_dma_address(sg);
		int err = -ENOENT;

		if (n && adp_window_holds(w, dma)) {
			n++;
			continue;
		}
		if (n && !adp_window_drop(ws, w, n))
			bad = dma;
		n = 0;
		w = adp_window_find(ws, dma);
		if (w && unlikely(adp_window_tag(w))) {
			err = adp_end_copy(c, adp_window_tag(w), dma, dir, attrs);
			if (err == -ENOENT && adp_window_drop(ws, w, 1))
				continue;
		} else if (w) {
			n = 1;
			continue;
		}
		if (err)
			bad = dma;
	}
	if (n && !adp_window_drop(ws, w, n))
		bad = sg_dma_address(sgl);
	return bad;
}

static void adp_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents,
			 enum dma_data_direction dir, unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);
	u64 bad;

	trace_adp_unmap_sg(dev, nents, dir);
	if (READ_ONCE(c->windows.lazy))
		bad = adp_unmap_sg_lazy(c, sgl, nents, dir, attrs);
	else
		bad = adp_unmap_sg_strict(c, sgl, nents, dir, attrs);
	if (bad)
		adp_bad_unmap(c, dev, bad);
}

/* Memory of another device is no RAM of ours: the platform has no address for it. */
#ifdef ADP_HAVE_OPS_MAP_RESOURCE
static dma_addr_t adp_map_resource(struct device *dev, phys_addr_t phys,
				   size_t size, enum dma_data_direction dir,
				   unsigned long attrs)
{
	adp_fail(adp_of(dev), size, adp_why(-EFAULT));
	return DMA_MAPPING_ERROR;
}
#endif

static void adp_sync(struct device *dev, dma_addr_t dma, size_t size,
		     enum dma_data_direction dir, bool for_cpu)
{
	struct adp_companion *c = adp_of(dev);
	struct adp_window *w;

	/* Most functions have no copies, ever. */
	if (!READ_ONCE(c->copies.nr) && !READ_ONCE(c->bounce.live))
		return;
	w = adp_window_find(&c->windows, dma);
	if (w && adp_window_tag(w) &&
	    !adp_copy_sync(&c->copies, adp_window_tag(w), dma, size, dir, for_cpu))
		adp_bounce_sync(&c->bounce, dma, size, dir, for_cpu);
}

static void adp_sync_single_for_cpu(struct device *dev, dma_addr_t dma,
				    size_t size, enum dma_data_direction dir)
{
	adp_sync(dev, dma, size, dir, true);
}

static void adp_sync_single_for_device(struct device *dev, dma_addr_t dma,
				       size_t size, enum dma_data_direction dir)
{
	adp_sync(dev, dma, size, dir, false);
}

static void adp_sync_sg_for_cpu(struct device *dev, struct scatterlist *sgl,
				int nents, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		adp_sync_single_for_cpu(dev, sg_dma_address(sg), sg->length, dir);
}

static void adp_sync_sg_for_device(struct device *dev, struct scatterlist *sgl,
				   int nents, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		adp_sync_single_for_device(dev, sg_dma_address(sg), sg->length,
					   dir);
}

static void *adp_alloc(struct device *dev, size_t size, dma_addr_t *dma,
		       gfp_t gfp, unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);
	void *cpu;

	cpu = adp_pool_alloc(&c->pool, size,
			     adp_limit(dev, dev->coherent_dma_mask), gfp, dma);
	if (!cpu && (READ_ONCE(c->ch.broken) ||
		     (!(gfp & __GFP_NOWARN) && !(attrs & DMA_ATTR_NO_WARN))))
		adp_fail(c, size, "no coherent memory");
	trace_adp_alloc(dev, size, cpu ? *dma : DMA_MAPPING_ERROR);
	return cpu;
}

static void adp_free(struct device *dev, size_t size, void *cpu, dma_addr_t dma,
		     unsigned long attrs)
{
	struct adp_companion *c = adp_of(dev);

	trace_adp_free(dev, size, dma);
	if (!adp_pool_free(&c->pool, size, dma))
		adp_bad_unmap(c, dev, dma);
}

static struct page *adp_alloc_pages(struct device *dev, size_t size,
				    dma_addr_t *dma,
				    enum dma_data_direction dir, gfp_t gfp)
{
	void *cpu = adp_alloc(dev, size, dma, gfp, 0);

	if (!cpu)
		return NULL;
	/*
	 * With pages larger than the host's an aligned DMA address may lie
	 * within a page of ours, and then there is no struct page for it.
	 */
	if (offset_in_page(cpu)) {
		adp_free(dev, size, cpu, *dma, 0);
		return NULL;
	}
	return virt_to_page(cpu);
}

static void adp_free_pages(struct device *dev, size_t size, struct page *page,
			   dma_addr_t dma, enum dma_data_direction dir)
{
	adp_free(dev, size, page_address(page), dma, 0);
}

/* The platform is coherent: user space sees the memory as the kernel does. */
static int adp_mmap(struct device *dev, struct vm_area_struct *vma, void *cpu,
		    dma_addr_t dma, size_t size, unsigned long attrs)
{
	unsigned long count = PAGE_ALIGN(size) >> PAGE_SHIFT;
	unsigned long want = vma_pages(vma);

	if (offset_in_page(cpu) || vma->vm_pgoff >= count ||
	    want > count - vma->vm_pgoff)
		return -ENXIO;
	return remap_pfn_range(vma, vma->vm_start,
			       page_to_pfn(virt_to_page(cpu)) + vma->vm_pgoff,
			       want << PAGE_SHIFT, vma->vm_page_prot);
}

static int adp_get_sgtable(struct device *dev, struct sg_table *sgt, void *cpu,
			   dma_addr_t dma, size_t size, unsigned long attrs)
{
	int err = sg_alloc_table(sgt, 1, GFP_KERNEL);

	if (!err)
		sg_set_page(sgt->sgl, virt_to_page(cpu), PAGE_ALIGN(size),
			    offset_in_page(cpu));
	return err;
}

/*
 * The platform picks the addresses, so which masks will do is known only from
 * those it has picked. One that reaches none of them is refused here rather
 * than at the first mapping.
 */
static int adp_dma_supported(struct device *dev, u64 mask)
{
	struct adp_companion *c = adp_of(dev);
	u64 lowest = READ_ONCE(c->ch.dma_min);

	if (lowest == U64_MAX || lowest + ADP_HOST_PAGE - 1 <= mask)
		return 1;
	dev_err(dev, "a DMA mask of %#llx reaches none of the platform's addresses, which start at %#llx; this function cannot be used here\n",
		mask, lowest);
	return 0;
}

/* The truth as far as it is known: what the platform has picked up to now. */
static u64 adp_get_required_mask(struct device *dev)
{
	u64 highest = READ_ONCE(adp_of(dev)->ch.dma_max);

	return DMA_BIT_MASK(max(fls64(highest), 32));
}

static size_t adp_max_mapping_size(struct device *dev)
{
	return ADP_MAPPING_MAX;
}

/* A mapping costs one entry whatever its size: there is no best size but large. */
static size_t adp_opt_mapping_size(void)
{
	return ADP_MAPPING_MAX;
}

/* Two mappings come out next to each other only by chance: never merge. */
static unsigned long adp_get_merge_boundary(struct device *dev)
{
	return 0;
}

static const struct dma_map_ops adp_ops = {
	.alloc = adp_alloc,
	.free = adp_free,
	.ADP_COMPAT_ALLOC_PAGES = adp_alloc_pages,
	.free_pages = adp_free_pages,
	.mmap = adp_mmap,
	.get_sgtable = adp_get_sgtable,
	.ADP_COMPAT_MAP = adp_map,
	.ADP_COMPAT_UNMAP = adp_unmap,
	.map_sg = adp_map_sg,
	.unmap_sg = adp_unmap_sg,
#ifdef ADP_HAVE_OPS_MAP_RESOURCE
	.map_resource = adp_map_resource,
#endif
	.sync_single_for_cpu = adp_sync_single_for_cpu,
	.sync_single_for_device = adp_sync_single_for_device,
	.sync_sg_for_cpu = adp_sync_sg_for_cpu,
	.sync_sg_for_device = adp_sync_sg_for_device,
	.dma_supported = adp_dma_supported,
	.get_required_mask = adp_get_required_mask,
	.max_mapping_size = adp_max_mapping_size,
	.opt_mapping_size = adp_opt_mapping_size,
	.get_merge_boundary = adp_get_merge_boundary,
};

/*
 * A function that cannot be served must not get an address either. Refusing
 * every mask makes its driver stop before it tries.
 */
static void *adp_refuse_alloc(struct device *dev, size_t size, dma_addr_t *dma,
			      gfp_t gfp, unsigned long attrs)
{
	return NULL;
}

static dma_addr_t adp_refuse_map(struct device *dev, ADP_COMPAT_MAP_ARGS,
				 size_t size, enum dma_data_direction dir,
				 unsigned long attrs)
{
	return DMA_MAPPING_ERROR;
}

static void adp_refuse_unmap(struct device *dev, dma_addr_t dma, size_t size,
			     enum dma_data_direction dir, unsigned long attrs)
{
}

static int adp_refuse_map_sg(struct device *dev, struct scatterlist *sgl,
			     int nents, enum dma_data_direction dir,
			     unsigned long attrs)
{
	return -EIO;
}

static void adp_refuse_unmap_sg(struct device *dev, struct scatterlist *sgl,
				int nents, enum dma_data_direction dir,
				unsigned long attrs)
{
}

static int adp_refuse_mask(struct device *dev, u64 mask)
{
	return 0;
}

const struct dma_map_ops adp_refuse_ops = {
	.alloc = adp_refuse_alloc,
	.ADP_COMPAT_MAP = adp_refuse_map,
	.ADP_COMPAT_UNMAP = adp_refuse_unmap,
	.map_sg = adp_refuse_map_sg,
	.unmap_sg = adp_refuse_unmap_sg,
	.dma_supported = adp_refuse_mask,
};

/**
 * adp_ops_install() - serve a function
 * @c: its companion
 * @dev: function whose driver is about to be probed
 */
void adp_ops_install(struct adp_companion *c, struct device *dev)
{
	/*
	 * Where memory is warm neither a limit of the bus is looked at, nor whether
	 * a copy is to be preferred to a window.
	 */
	adp_windows_open(&c->windows, !adp_bus_limit(dev) &&
			 c->copy <= ADP_COPY_COLD);
	adp_gate_of(dev)->c = c;
	adp_hook_install(dev, &adp_ops);
}

/**
 * adp_ops_refuse() - let no driver of a function have an address
 * @dev: function whose driver is about to be probed
 */
void adp_ops_refuse(struct device *dev)
{
	adp_hook_install(dev, &adp_refuse_ops);
}

/**
 * adp_ops_refusing() - has a function ops that refuse
 * @dev: function
 */
bool adp_ops_refusing(struct device *dev)
{
	return adp_hook_refuses(dev);
}

/**
 * adp_ops_remove() - take our ops away
 * @dev: function without a driver
 */
void adp_ops_remove(struct device *dev)
{
	adp_hook_remove(dev);
}
