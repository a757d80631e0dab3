// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an earlier kernel has left mapped.
 *
 * Mappings outlive the guest: a kernel that was reset, or has crashed, leaves
 * all of its own behind. They take from the budget, the host refuses a mapping
 * that starts where one of them does, and the device reaches them.
 *
 * There is no way to ask the host what is mapped. But it names a mapping by its
 * start, an UNMAP of what is not mapped is refused and does nothing else, and no
 * two kernels serve one function at a time. So every start at which nothing of
 * ours is mapped may be tried. In a large guest these are millions. Whether it is
 * worth it is told by a *marker*, memory of ours that is mapped before all else
 * and unmapped after all else, at one of the few starts that are multiples of
 * ADP_LEFT_GRID. A kernel that finds the marker of another one looks for all that
 * this has left. Mappings that have no marker are found when one of their starts
 * is wanted, or when the host has less than it should.
 */
#include <linux/bitmap.h>
#include <linux/crash_dump.h>
#include <linux/io.h>
#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp.h"

/* The largest block that all kernels can allocate, which is aligned to its size. */
#define ADP_LEFT_GRID		0x400000UL

/* Whole pages of the kernel, of which the first host page is mapped. */
#define ADP_LEFT_MARKER		max_t(unsigned long, PAGE_SIZE, ADP_HOST_PAGE)

/* Where most windows begin in lazy mode, and all shared chunks of coherent memory. */
#define ADP_LEFT_COARSE		0x40000UL

/* Entries in one batch. The host is busy with the vCPU held for as long. */
#define ADP_LEFT_BATCH		512

/* How long a probe waits for the search; what is left to do is done while serving. */
#define ADP_LEFT_WAIT_MS	10000

/* Between batches in the background, which take a fifth of the time or so. */
#define ADP_LEFT_PAUSE_MS	20

/*
 * A kernel that runs in memory set aside by one that has crashed is not told
 * where the rest of the memory is. It looks for the marker up to this address.
 */
#define ADP_LEFT_TOP		0x4000000000ULL

/* What a marker says is not believed if it is more than this. */
#define ADP_LEFT_BELIEVED	0x10000000000ULL

#define ADP_LEFT_MAGIC		0x6461706c65667431ULL

/**
 * struct adp_left_record - what is in the marker
 * @magic: ADP_LEFT_MAGIC
 * @nr: ranges
 * @sum: checksum of them
 * @range: where its kernel maps, as in struct adp_ram_map
 *
 * In the byte order of the kernel, as the next one has the same.
 */
struct adp_left_record {
	u64 magic;
	u32 nr;
	u32 sum;
	struct adp_ram_range range[];
};

#define ADP_LEFT_RANGES \
	((ADP_HOST_PAGE - sizeof(struct adp_left_record)) / \
	 sizeof(struct adp_ram_range))

static u32 adp_left_sum(const struct adp_left_record *r)
{
	return jhash(r->range, r->nr * sizeof(r->range[0]), r->nr);
}

/* Memory on the grid, of a block whose rest goes back. */
static void *adp_left_marker(const struct adp_ram_map *ram)
{
	struct adp_left_record *r;

	r = alloc_pages_exact(ADP_LEFT_GRID,
			      GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!r)
		return NULL;
	free_pages_exact((void *)r + ADP_LEFT_MARKER,
			 ADP_LEFT_GRID - ADP_LEFT_MARKER);
	memset(r, 0, ADP_LEFT_MARKER);
	r->magic = ADP_LEFT_MAGIC;
	r->nr = min_t(u64, ram->nr, ADP_LEFT_RANGES);
	memcpy(r->range, ram->range, r->nr * sizeof(r->range[0]));
	r->sum = adp_left_sum(r);
	return r;
}

/*
 * Where the earlier kernel mapped, as its marker has it. The device may have
 * written to that, so it is checked, and costs nothing but time if it is wrong.
 */
static struct adp_ram_map *adp_left_read(const struct adp_left_record *r)
{
	struct adp_ram_map *ram;
	u64 total = 0;
	u32 nr = r->nr, i;

	if (r->magic != ADP_LEFT_MAGIC || nr > ADP_LEFT_RANGES ||
	    r->sum != adp_left_sum(r))
		return NULL;
	ram = kzalloc(struct_size(ram, range, nr), GFP_KERNEL);
	if (!ram)
		return NULL;
	for (i = 0; i < nr; i++) {
		struct adp_ram_range *range = &ram->range[ram->nr];

		*range = r->range[i];
		if (range->start >= range->end ||
		    range->end - range->start > ADP_LEFT_BELIEVED - total)
			break;
		total += range->end - range->start;
		ram->nr++;
	}
	return ram;
}

/* A kernel that runs in other memory than the earlier one learns where that was. */
static void adp_left_remember(struct adp_leftovers *l, u64 start)
{
	unsigned int i;
	void *record;

	if (l->before)
		return;
	for (i = 0; i < l->ram->nr; i++)
		if (start < l->ram->range[i].end &&
		    start + ADP_HOST_PAGE > l->ram->range[i].start)
			return;
	/* It was mapped, so it is memory. */
	record = memremap(start, ADP_HOST_PAGE, MEMREMAP_WB);
	if (!record)
		return;
	l->before = adp_left_read(record);
	memunmap(record);
}

/* The next start to be tried; false if there is none. */
static bool adp_left_next(struct adp_leftovers *l, u64 *start)
{
	const struct adp_ram_range *r;
	unsigned int n;
	u64 at;

	for (; l->pass < 2; l->pass++, l->range = 0) {
		for (;; l->range++, l->at = 0) {
			n = l->range;
			if (n < l->ram->nr)
				r = &l->ram->range[n];
			else if (l->before && n - l->ram->nr < l->before->nr)
				r = &l->before->range[n - l->ram->nr];
			else
				break;

			at = max(l->at, ADP_HOST_PAGE_UP(r->start));
			if (!l->pass)
				at = round_up(at, ADP_LEFT_COARSE);
			else if (!(at % ADP_LEFT_COARSE))
				at += ADP_HOST_PAGE;
			if (at >= r->end || r->end - at < ADP_HOST_PAGE)
				continue;
			l->at = at + (l->pass ? ADP_HOST_PAGE : ADP_LEFT_COARSE);
			*start = at;
			return true;
		}
	}
	return false;
}

/* Is there room for another entry in the batch. */
static bool adp_left_room(const struct adp_channel *ch)
{
	return ch->count < min_t(u32, ch->batch, ADP_LEFT_BATCH);
}

/* Send the batch. */
static void __adp_left_send(struct adp_leftovers *l)
{
	u32 i;

	if (!l->ch->count || adp_channel_sync(l->ch))
		return;
	for (i = 0; i < l->ch->count; i++)
		l->found += adp_channel_search_result(l->ch, i);
}

/* A batch of the search. Return: whether there is more to do. */
static bool adp_left_step(struct adp_leftovers *l)
{
	unsigned long flags;
	bool more = true;
	u64 start;

	spin_lock_irqsave(l->lock, flags);
	if (!__adp_left_possible(l) || l->ch->broken) {
		l->complete = true;
	} else {
		adp_channel_begin(l->ch, APPLE_DMA_PCI_CMD_UNMAP);
		while (adp_left_room(l->ch) && (more = adp_left_next(l, &start)))
			if (!l->ws || !__adp_windows_started(l->ws, start))
				adp_channel_add_unmap(l->ch, start, ADP_HOST_PAGE);
		__adp_left_send(l);
		l->complete = !more;
	}
	spin_unlock_irqrestore(l->lock, flags);
	return !l->complete;
}

static void adp_left_report(struct adp_leftovers *l)
{
	if (l->ws && l->complete && l->ch->stats->recovered)
		adp_windows_refresh(l->ws);
	if (!l->found)
		return;
	dev_warn(l->ch->dev,
		 "an earlier kernel had not unmapped what it had mapped; %llu mappings are unmapped now%s\n",
		 l->found, l->complete ? "" : ", and the search for more goes on");
	l->found = 0;
}

static void adp_left_queue(struct adp_leftovers *l, unsigned int ms)
{
	queue_delayed_work(system_freezable_wq, &l->work, msecs_to_jiffies(ms));
}

static void adp_left_continue(struct work_struct *work)
{
	struct adp_leftovers *l = container_of(to_delayed_work(work),
					       struct adp_leftovers, work);

	if (adp_left_step(l))
		adp_left_queue(l, ADP_LEFT_PAUSE_MS);
	else
		adp_left_report(l);
}

/**
 * adp_left_search() - unmap what an earlier kernel has left
 * @l: the search
 *
 * The managed function can do no DMA. What is not done after some time is left
 * to the background, if there is one already.
 *
 * Context: may sleep.
 */
void adp_left_search(struct adp_leftovers *l)
{
	unsigned long end = jiffies + msecs_to_jiffies(ADP_LEFT_WAIT_MS);

	l->wanted = true;
	while (adp_left_step(l) && time_before(jiffies, end))
		cond_resched();
	adp_left_report(l);
	if (l->ws && !l->complete)
		adp_left_queue(l, 0);
}

/* Unmap the markers from @from to @to, and learn from them. */
static void adp_left_find(struct adp_leftovers *l, u64 from, u64 to)
{
	u64 start = round_up(from, ADP_LEFT_GRID), at;
	unsigned long flags;
	u32 i;

	while (start < to && to - start >= ADP_HOST_PAGE && !l->ch->broken) {
		unsigned long hits[BITS_TO_LONGS(ADP_LEFT_BATCH)] = {};

		spin_lock_irqsave(l->lock, flags);
		adp_channel_begin(l->ch, APPLE_DMA_PCI_CMD_UNMAP);
		for (at = start; adp_left_room(l->ch) && at < to &&
		     to - at >= ADP_HOST_PAGE; at += ADP_LEFT_GRID)
			adp_channel_add_unmap(l->ch, at, ADP_HOST_PAGE);
		if (!adp_channel_sync(l->ch))
			for (i = 0; i < l->ch->count; i++)
				if (adp_channel_search_result(l->ch, i)) {
					bitmap_set(hits, i, 1);
					l->found++;
				}
		spin_unlock_irqrestore(l->lock, flags);
		/* Windows begin there too: which is the marker its content tells. */
		for (i = find_next_bit(hits, ADP_LEFT_BATCH, 0); i < ADP_LEFT_BATCH;
		     i = find_next_bit(hits, ADP_LEFT_BATCH, i + 1)) {
			l->wanted = true;
			adp_left_remember(l, start + i * ADP_LEFT_GRID);
		}
		start = at;
		cond_resched();
	}
}

/**
 * adp_left_look() - has an earlier kernel left anything
 * @l: the search
 *
 * Nothing is mapped yet, and the managed function can do no DMA.
 *
 * Context: may sleep.
 */
void adp_left_look(struct adp_leftovers *l)
{
	unsigned int i;

	l->looked = true;
	for (i = 0; i < l->ram->nr; i++)
		adp_left_find(l, l->ram->range[i].start, l->ram->range[i].end);
	if (is_kdump_kernel())
		adp_left_find(l, 0, ADP_LEFT_TOP);
}

/**
 * adp_left_serve() - from here on there are windows
 * @l: the search
 * @ws: windows, none yet
 *
 * Context: may sleep.
 */
void adp_left_serve(struct adp_leftovers *l, struct adp_windows *ws)
{
	l->ws = ws;
	l->lock = &ws->lock;
	ws->left = l;
	if (!l->looked || !l->wanted || l->complete)
		return;
	/* Should this kernel end now, the next one is to know. */
	adp_left_mark(l);
	adp_left_search(l);
	if (l->complete)
		adp_windows_purge(ws);
}

/**
 * adp_left_mark() - leave a sign for the next kernel
 * @l: the search
 *
 * The managed function is going to be served, and does no DMA yet. The sign is
 * taken away by adp_windows_purge() or adp_windows_revoke(). If there can be
 * none, the next kernel finds out later what this one has left.
 *
 * Context: may sleep.
 */
void adp_left_mark(struct adp_leftovers *l)
{
	u64 start;

	if (!l->looked) {
		adp_left_look(l);
		if (l->wanted)
			adp_left_search(l);
	}
	if (!l->marker || l->ws->marker)
		return;
	start = virt_to_phys(l->marker);
	if (adp_windows_mark(l->ws, start, start + ADP_HOST_PAGE))
		return;
	/* The host has no room, and nothing is mapped. */
	if (!l->complete)
		adp_left_search(l);
	adp_windows_mark(l->ws, start, start + ADP_HOST_PAGE);
}

/**
 * __adp_left_suspect() - the host may hold mappings of an earlier kernel
 * @l: the search
 *
 * It goes on in the background.
 *
 * Context: any; the caller holds the lock of the windows.
 */
void __adp_left_suspect(struct adp_leftovers *l)
{
	if (!l->complete)
		adp_left_queue(l, 0);
}

/**
 * adp_left_stop() - end the search
 * @l: the search
 *
 * Context: may sleep.
 */
void adp_left_stop(struct adp_leftovers *l)
{
	cancel_delayed_work_sync(&l->work);
}

/**
 * adp_left_init() - nothing is known about an earlier kernel
 * @l: the search
 * @ch: channel that has been set up
 * @ram: what may be sent
 * @all: look for all that it may have left, whether there is a sign of it or not
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int adp_left_init(struct adp_leftovers *l, struct adp_channel *ch,
		  const struct adp_ram *ram, bool all)
{
	l->ram = adp_ram_copy(ram);
	if (!l->ram)
		return -ENOMEM;
	spin_lock_init(&l->alone);
	l->lock = &l->alone;
	l->ch = ch;
	l->wanted = all;
	l->marker = adp_left_marker(l->ram);
	INIT_DELAYED_WORK(&l->work, adp_left_continue);
	return 0;
}

/**
 * adp_left_destroy() - undo adp_left_init()
 * @l: the search, which has been stopped
 */
void adp_left_destroy(struct adp_leftovers *l)
{
	if (l->marker)
		free_pages_exact(l->marker, ADP_LEFT_MARKER);
	kfree(l->before);
	kfree(l->ram);
}
