// SPDX-License-Identifier: GPL-2.0-only
/*
 * driver/window.c and leftover.c under random traces, against a model: which mappings the
 * driver above holds, and what the host must hold for them.
 *
 *   model OPERATIONS SEED
 *
 * prints TAP, a line for each host that is imitated. The same seed is the same
 * trace.
 */
#include "adp.h"
#include "lookup.h"
#include "host.h"

#define HOST 16384ULL
#define HELD 4096
#define LIST 96

struct held {
	u64 phys;
	u64 len;
	u64 dma;
};

static const struct {
	const char *name;
	struct host_config host;
	bool lazy;
	bool roomy;
	u32 no_memory; /* one allocation in so many fails */
	bool marked; /* the earlier kernel has left a marker */
} cases[] = {
	{ "lazy, lowest fit", { 64 << 20, 4096, 4096, PLACE_LOWEST, 8192 }, true, true },
	{ "lazy, random", { 64 << 20, 4096, 4096, PLACE_RANDOM, 30000 }, true, false },
	{ "lazy, unaligned", { 64 << 20, 4096, 4096, PLACE_UNALIGNED, 16384 }, true, false },
	{ "lazy, 64 mappings", { 64 << 20, 64, 4096, PLACE_LOWEST, 8192 }, true, false },
	{ "lazy, 4 MiB", { 4 << 20, 4096, 4096, PLACE_LOWEST, 8192 }, true, true },
	{ "lazy, batches of 3", { 16 << 20, 512, 3, PLACE_RANDOM, 8192 }, true, false },
	{ "lazy, refusals", { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .refuse = 20 }, true, true },
	{ "lazy, partial mappings",
	  { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .shorten = 20 }, true },
	{ "lazy, stuck mappings",
	  { 64 << 20, 4096, 64, PLACE_RANDOM, 30000, .keep = 2000 }, true },
	{ "lazy, many stuck mappings",
	  { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .keep = 200 }, true },
	{ "lazy, odd names",
	  { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .shorten = 50, .odd_ids = true }, true },
	{ "lazy, no memory", { 64 << 20, 4096, 64, PLACE_LOWEST, 8192 }, true, true, 50 },
	{ "strict, lowest fit", { 64 << 20, 4096, 4096, PLACE_LOWEST, 8192 } },
	{ "strict, random", { 64 << 20, 4096, 4096, PLACE_RANDOM, 30000 } },
	{ "strict, 64 mappings", { 64 << 20, 64, 4096, PLACE_UNALIGNED, 8192 } },
	{ "strict, 4 MiB", { 4 << 20, 4096, 3, PLACE_LOWEST, 8192 } },
	{ "strict, everything fails", { 8 << 20, 512, 64, PLACE_LOWEST, 8192, 30, 30, 5000 },
	  .no_memory = 100 },
	{ "lazy, leftovers", { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .leave = 3000 },
	  true, true },
	{ "lazy, leftovers and a marker",
	  { 64 << 20, 4096, 4096, PLACE_RANDOM, 30000, .leave = 3000 }, true, .marked = true },
	{ "lazy, nothing but leftovers",
	  { 16 << 20, 256, 3, PLACE_UNALIGNED, 8192, .leave = 3000 }, true, true },
	{ "lazy, leftovers with odd names",
	  { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .odd_ids = true, .leave = 1000 }, true },
	{ "strict, leftovers", { 64 << 20, 4096, 64, PLACE_LOWEST, 8192, .leave = 3000 } },
	{ "strict, leftovers, a marker, everything fails",
	  { 8 << 20, 512, 64, PLACE_LOWEST, 8192, 30, 30, 5000, .leave = 3000 },
	  .no_memory = 100, .marked = true },
};

/* Where the marker of this kernel is, and that of the earlier one. */
#define MARKER 0x7800000
#define OLD_MARKER 0x1c00000

static const struct {
	const char *name;
	enum placement place;
	bool strict;
	bool all; /* nearly all of them come out aligned */
	bool stale; /* the budget is full of small windows that nobody uses */
} aligned_cases[] = {
	{ "aligned, lowest fit", PLACE_LOWEST, false, true },
	{ "aligned, lowest fit, budget full of idle windows", PLACE_LOWEST, false, true, true },
	{ "aligned, unaligned", PLACE_UNALIGNED, false, true },
	{ "aligned, random", PLACE_RANDOM, false, false },
	{ "aligned, lowest fit, strict", PLACE_LOWEST, true, false },
};

static const struct resource ram[] = {
	{ 0x1000, 0x9fbff },
	{ 0x100000, 0x7fdafff },
	{ 0x7fdb000, 0x7fe7fff }, /* another RAM block that touches the one before */
	{ 0x40000000, 0x43ffffff },
};

/* The sections of the last one come and go. */
#define SECTION ((u64)PAGES_PER_SECTION << PAGE_SHIFT)
#define PLUGGED 0x40000000ULL
static bool offline[4];

static struct adp_stats stats;
static struct adp_channel channel;
static struct adp_windows ws;
static struct adp_leftovers left;
static struct adp_ram guest_ram;
static struct device dev;

static struct held held[HELD];
static unsigned int nr_held;
static unsigned long step;
static const char *doing, *name;
static unsigned int current;
static u32 no_memory;

enum { MAPS, HITS, LISTS, FULL, NO_START, NO_MEMORY, UNMAPS, NOT_RAM, GONE, PINS, TALLIES };
static u64 tally[TALLIES];

void fail(const char *fmt, ...)
{
	va_list args;

	printf("not ok %u %s\n# step %lu, %s: ", current + 1, name, step, doing);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(1);
}

void *shim_alloc(size_t size)
{
	if (no_memory && !(host_random() % no_memory))
		return NULL;
	return calloc(1, size);
}

/* What alloc_pages_exact() gave, and the pages of each. */
static struct pages {
	char *start;
	size_t size;
	struct page page[8];
} pages[256];

/* The marker, of a block that is larger. */
static u64 marker[2048];

u64 virt_to_phys(const void *mem)
{
	return mem == marker ? MARKER : 0;
}

void *alloc_pages_exact(size_t size, gfp_t gfp)
{
	struct pages *p = pages;
	void *mem;

	if (size > 1 << 20)
		return marker;
	mem = shim_alloc(size);
	if (!mem)
		return NULL;
	while (p->start)
		p++;
	p->start = mem;
	p->size = size;
	return mem;
}

static struct pages *pages_of(const void *mem)
{
	struct pages *p = pages;

	while ((char *)mem < p->start || (char *)mem >= p->start + p->size)
		p++;
	return p;
}

void free_pages_exact(void *mem, size_t size)
{
	if (mem == marker || mem == marker + ARRAY_SIZE(marker))
		return;
	pages_of(mem)->start = NULL;
	free(mem);
}

struct page *virt_to_page(const void *mem)
{
	struct pages *p = pages_of(mem);

	return &p->page[((char *)mem - p->start) / PAGE_SIZE];
}

void xa_init(struct xarray *xa)
{
	xa->slot = calloc(SHIM_XA, sizeof(*xa->slot));
	xa->cursor = 0;
}

void *xa_load(struct xarray *xa, unsigned long index)
{
	return index < SHIM_XA ? xa->slot[index] : NULL;
}

void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp)
{
	if (index >= SHIM_XA || (no_memory && !(host_random() % no_memory)))
		return ERR_PTR(-ENOMEM);
	xa->slot[index] = entry;
	return NULL;
}

void *shim_xa_next(struct xarray *xa, unsigned long *index)
{
	while (xa->cursor < SHIM_XA) {
		*index = xa->cursor++;
		if (xa->slot[*index])
			return xa->slot[*index];
	}
	xa->cursor = 0;
	return NULL;
}

int xa_err(void *entry)
{
	return PTR_ERR_OR_ZERO(entry);
}

void xa_destroy(struct xarray *xa)
{
	free(xa->slot);
}

int walk_iomem_res_desc(unsigned long desc, unsigned long flags, u64 start,
			u64 end, void *arg,
			int (*func)(struct resource *res, void *arg))
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ram); i++) {
		struct resource res = ram[i];

		func(&res, arg);
	}
	return 0;
}

bool pfn_to_online_page(u64 pfn)
{
	u64 addr = pfn << PAGE_SHIFT;

	return addr < PLUGGED || !offline[(addr - PLUGGED) / SECTION];
}

static u64 below(u64 n)
{
	return host_random() % n;
}

static bool section_overlaps(unsigned int n, u64 start, u64 end)
{
	return start < PLUGGED + (n + 1) * SECTION && end > PLUGGED + n * SECTION;
}

/* Is all of it RAM that is online: not by way of ram.c. */
static bool in_ram(u64 start, u64 end)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(offline); i++)
		if (offline[i] && section_overlaps(i, start, end))
			return false;
	for (i = 0; i < ARRAY_SIZE(ram); i++)
		if (start >= ram[i].start && end <= ram[i].end + 1)
			return true;
	return false;
}

/* A host that is asked for what is offline ends the test. */
bool host_may_map(u64 start, u64 end)
{
	return current >= ARRAY_SIZE(cases) || in_ram(start, end);
}

static unsigned int users(const struct adp_window *w)
{
	unsigned int i, n = w == ws.marker;

	for (i = 0; i < nr_held; i++)
		n += adp_window_holds(w, held[i].dma);
	return n;
}

static void check_held(const struct held *h)
{
	const struct host_mapping *m = host_translate(h->dma);

	if (!m || m != host_translate(h->dma + h->len - 1))
		fail("%#llx+%#llx at %#llx is not mapped", (long long)h->phys,
		     (long long)h->len, (long long)h->dma);
	if (m->gpa + (h->dma - m->dma) != h->phys)
		fail("%#llx at %#llx leads to %#llx", (long long)h->phys,
		     (long long)h->dma, (long long)(m->gpa + (h->dma - m->dma)));
	if (m->stuck)
		fail("%#llx is in a mapping that is stuck", (long long)h->phys);
}

/* How many windows nobody uses; those that begin at @start only, if not 0. */
static unsigned int idle(u64 start)
{
	unsigned int n, found = 0;

	for (n = 1; n < ws.used; n++) {
		const struct adp_window *w;

		w = &ws.chunk[n / ADP_WINDOW_CHUNK][n % ADP_WINDOW_CHUNK];
		found += w->state == ADP_WINDOW_LIVE && !atomic_read(&w->refs) &&
			 (!start || w->gpa == start / HOST);
	}
	return found;
}

/* Everything that must hold between two calls. */
static void check_all(void)
{
	u64 live = 0, extra = 0;
	unsigned int n, i;

	for (i = 0; i < nr_held; i++)
		check_held(&held[i]);
	for (n = 1; n < ws.used; n++) {
		const struct adp_window *w;

		w = &ws.chunk[n / ADP_WINDOW_CHUNK][n % ADP_WINDOW_CHUNK];
		switch (w->state) {
		case ADP_WINDOW_FREE:
			break;
		case ADP_WINDOW_LIVE:
			if (atomic_read(&w->refs) != users(w))
				fail("window %#llx has %d users instead of %u",
				     (long long)w->gpa * HOST,
				     atomic_read(&w->refs), users(w));
			if (!ws.lazy && !atomic_read(&w->refs))
				fail("window %#llx is idle in strict mode",
				     (long long)w->gpa * HOST);
			live++;
			extra += w->extra;
			break;
		case ADP_WINDOW_QUARANTINED:
			live++;
			break;
		default:
			fail("window %#llx was left in state %u",
			     (long long)w->gpa * HOST, w->state);
		}
	}
	if (live != host_live - host_old || live != stats.live_mappings)
		fail("%llu windows, %llu counted, the host has %llu",
		     (long long)live, (long long)stats.live_mappings,
		     (long long)(host_live - host_old));
	if (stats.live_bytes != host_live_bytes - host_old_bytes)
		fail("%llu bytes counted, the host has %llu",
		     (long long)stats.live_bytes,
		     (long long)(host_live_bytes - host_old_bytes));
	if (stats.quarantined != host_stuck)
		fail("%llu in quarantine, %llu stuck",
		     (long long)stats.quarantined, (long long)host_stuck);
	if (extra != ws.extra_pages)
		fail("%llu extra pages instead of %llu",
		     (long long)ws.extra_pages, (long long)extra);
	if (ws.lock.held)
		fail("the lock is held");
}

static bool taken[0x44000000 / HOST];

static void find_taken(void)
{
	unsigned int i;

	memset(taken, 0, sizeof(taken));
	for (i = 0; i < HOST_MAPPINGS; i++)
		if (host_map[i].used)
			taken[host_map[i].gpa / HOST] = true;
}

/* Is every start in use that could serve a request which begins at @start? */
static void check_no_start(u64 start, u64 end)
{
	unsigned int tries;

	find_taken();
	for (tries = 0; tries <= 1024 && in_ram(start, end); tries++) {
		if (!taken[start / HOST])
			fail("start %#llx is free", (long long)start);
		if (idle(start))
			fail("the window that begins at %#llx is idle",
			     (long long)start);
		start -= HOST;
	}
}

/* May there be no start for it once @n others have one? */
static bool crowded(u64 start, u64 end, unsigned int n)
{
	unsigned int tries;

	for (tries = 0; tries <= 1024 && in_ram(start, end); tries++) {
		if (!taken[start / HOST] && !n--)
			return false;
		start -= HOST;
	}
	return true;
}

static void check_error(int err, u64 start, u64 end, bool list)
{
	const struct host_config *h = &cases[current].host;

	switch (err) {
	case -EFAULT:
		if (in_ram(start, end))
			fail("%#llx to %#llx is RAM", (long long)start,
			     (long long)end);
		tally[NOT_RAM]++;
		break;
	case -ENOSPC:
		if (!list && !h->refuse && !h->shorten && idle(0))
			fail("full, and %u windows are idle", idle(0));
		tally[FULL]++;
		break;
	case -EEXIST:
		if (!list)
			check_no_start(start, end);
		tally[NO_START]++;
		break;
	case -EAGAIN:
		if (!ws.asleep)
			fail("nothing sleeps");
		break;
	case -ENOMEM:
		if (!no_memory)
			fail("out of memory");
		tally[NO_MEMORY]++;
		break;
	default:
		fail("error %d", err);
	}
}

/* Mostly a small working set, at times anything, ends of RAM included. */
static void pick(u64 *phys, u64 *len)
{
	const struct resource *r = &ram[below(ARRAY_SIZE(ram))];
	u64 size = r->end + 1 - r->start;

	switch (below(8)) {
	case 0:
		*phys = r->start + below(size);
		*len = 1 + below(1 << 20);
		break;
	case 1:
		*len = 1 + below(3 * HOST);
		*phys = r->end + 1 - below(4 * HOST);
		break;
	case 2:
		*len = 1 + below(8 * HOST);
		*phys = r->start + below(4 * HOST);
		break;
	case 3:
		*phys = 0x2000000 + below(4 << 20);
		*len = HOST << below(5);
		break;
	default:
		*phys = 0x2000000 + 4096 * below(1024);
		*len = 1 + below(8192);
	}
}

static void hold(struct adp_window *w, u64 phys, u64 len)
{
	struct held *h = &held[nr_held++];

	h->phys = phys;
	h->len = len;
	h->dma = adp_window_dma(w, phys);
	check_held(h);
}

static void do_map(void)
{
	u64 phys, len, start, end, before = host_doorbells;
	struct adp_window *w;

	pick(&phys, &len);
	start = round_down(phys, HOST);
	end = round_up(phys + len, HOST);
	if (nr_held == HELD)
		return;
	doing = "map";
	w = adp_window_map(&ws, start, end, adp_align_order(phys, len), !below(4));
	if (IS_ERR(w)) {
		check_error(PTR_ERR(w), start, end, false);
		return;
	}
	if (!in_ram(start, end))
		fail("%#llx to %#llx is not RAM", (long long)start, (long long)end);
	tally[MAPS]++;
	tally[HITS] += host_doorbells == before;
	hold(w, phys, len);
}

static void do_list(void)
{
	unsigned int n = 1 + below(LIST), i, tries = 0;
	struct adp_list gone = {};
	struct adp_window *w[LIST];
	u64 phys[LIST], len[LIST];
	struct adp_txn txn;
	unsigned long flags;
	bool plain = true;
	u64 bells, most = DIV_ROUND_UP_ULL(n, cases[current].host.batch);
	int err;

	if (nr_held + n > HELD)
		return;
	doing = "list";
	find_taken();
	for (i = 0; i < n; i++) {
		do {
			pick(&phys[i], &len[i]);
		} while (!in_ram(round_down(phys[i], HOST),
				 round_up(phys[i] + len[i], HOST)));
		plain &= !adp_align_order(phys[i], len[i]);
		/* One more takes an idle window from the start of another entry. */
		most += crowded(round_down(phys[i], HOST),
				round_up(phys[i] + len[i], HOST), i);
	}

	adp_txn_init(&ws, &txn, false);
	do {
		err = 0;
		bells = host_doorbells;
		spin_lock_irqsave(&ws.lock, flags);
		for (i = 0; i < n && !err; i++) {
			w[i] = __adp_window_get(&ws, &txn, round_down(phys[i], HOST),
						round_up(phys[i] + len[i], HOST),
						adp_align_order(phys[i], len[i]));
			err = PTR_ERR_OR_ZERO(w[i]);
		}
		if (err) {
			i--;
			__adp_windows_abort(&ws, &txn);
		} else {
			err = __adp_windows_commit(&ws, &txn);
		}
		if (!err && plain && !tries && !stats.reclaimed && !host_old &&
		    host_doorbells - bells > most)
			fail("%llu doorbells for a list of %u",
			     (long long)(host_doorbells - bells), n);
		if (err) {
			while (i--)
				__adp_window_put(&ws, &gone, w[i], 1);
			__adp_windows_release(&ws, &gone);
		}
		spin_unlock_irqrestore(&ws.lock, flags);
		tries++;
	} while (err == -ENOSPC && adp_windows_make_room(&ws, &txn));
	if (err) {
		check_error(err, 0, 0, true);
		return;
	}
	tally[LISTS]++;
	for (i = 0; i < n; i++)
		hold(w[i], phys[i], len[i]);
}

static void drop(struct held *h)
{
	struct adp_window *w;

	w = adp_window_find(&ws, h->dma + below(h->len));
	if (!w)
		fail("%#llx is not found", (long long)h->dma);
	if (!adp_window_drop(&ws, w, 1))
		fail("%#llx is not in use", (long long)h->dma);
	*h = held[--nr_held];
	tally[UNMAPS]++;
}

static void do_unmap(void)
{
	if (!nr_held)
		return;
	doing = "unmap";
	drop(&held[below(nr_held)]);
}

/* A driver that unmaps what is not mapped does not get at what is pinned. */
static void do_pin(void)
{
	unsigned int i, wrong, rest;
	u64 phys, len, start, end;
	struct adp_window *w;

	pick(&phys, &len);
	start = round_down(phys, HOST);
	end = round_up(phys + len, HOST);
	doing = "pin";
	w = adp_window_map(&ws, start, end, 0, true);
	if (IS_ERR(w)) {
		check_error(PTR_ERR(w), start, end, false);
		return;
	}
	adp_window_pin(w);
	wrong = below(users(w) + 8);
	for (i = 0; i < wrong; i++)
		if (!adp_window_drop(&ws, w, 1))
			fail("no reference is left of a pin");
	for (i = 0; i < 6; i++)
		ws.aging.work.func(&ws.aging.work);
	if (w->state != ADP_WINDOW_LIVE || !host_translate(adp_window_dma(w, start)))
		fail("what is pinned has gone after %u unmaps too many", wrong);
	adp_window_unpin(&ws, w);
	rest = wrong > users(w) ? 1 : users(w) + 1 - wrong;
	if (atomic_read(&w->refs) != rest)
		fail("%d references are left instead of %u", atomic_read(&w->refs), rest);
	/* The others get theirs back. */
	atomic_add(users(w) + 1 - rest, &w->refs);
	adp_window_unmap(&ws, w);
	tally[PINS]++;
}

static void do_age(void)
{
	unsigned int i;

	doing = "age";
	for (i = 0; i < 6; i++)
		ws.aging.work.func(&ws.aging.work);
	if (idle(0))
		fail("%u idle windows are older than they may be", idle(0));
}

/* Another mode; what is in use stays. */
static void do_switch(void)
{
	doing = "switch";
	adp_windows_set_lazy(&ws, !ws.lazy);
	if (!ws.lazy && idle(0))
		fail("%u idle windows in strict mode", idle(0));
}

/* What is mapped of a section. */
static unsigned int section_mappings(unsigned int n, bool used, bool across)
{
	u64 start = PLUGGED + n * SECTION, end = start + SECTION;
	unsigned int i, j, found = 0;

	for (i = 0; i < HOST_MAPPINGS; i++) {
		const struct host_mapping *m = &host_map[i];
		bool held_now = m->stuck;

		if (!m->used || m->old ||
		    !section_overlaps(n, m->gpa, m->gpa + m->len))
			continue;
		for (j = 0; j < nr_held && !held_now; j++)
			held_now = host_translate(held[j].dma) == m;
		if (used && !held_now)
			continue;
		found += !across || m->stuck || m->gpa < start ||
			 m->gpa + m->len > end;
	}
	return found;
}

/*
 * Memory goes offline, or comes back. What the driver above has mapped of it is
 * unmapped first, as pages are not in use when they go.
 */
static void do_memory(void)
{
	unsigned int n = below(ARRAY_SIZE(offline)), left, i;
	struct adp_ram_range r = {
		PLUGGED + n * SECTION, PLUGGED + (n + 1) * SECTION,
	};
	u32 keep = no_memory;

	no_memory = 0;
	if (offline[n]) {
		doing = "online";
		if (adp_ram_read(&guest_ram, &r, NULL))
			fail("no memory");
		offline[n] = false;
		goto out;
	}

	doing = "offline";
	left = adp_windows_evict(&ws, r.start, r.end, true);
	if (left != section_mappings(n, true, true))
		fail("%u mappings are shared, said to be %u",
		     section_mappings(n, true, true), left);
	for (i = 0; i < nr_held;) {
		if (section_overlaps(n, held[i].phys, held[i].phys + held[i].len))
			drop(&held[i]);
		else
			i++;
	}
	left = adp_windows_evict(&ws, r.start, r.end, true);
	if (left != section_mappings(n, true, true))
		fail("%u mappings are shared still, said to be %u",
		     section_mappings(n, true, true), left);
	if (left)
		goto out;
	if (adp_ram_read(&guest_ram, NULL, &r))
		fail("no memory");
	offline[n] = true;
	if (adp_windows_evict(&ws, r.start, r.end, false) ||
	    section_mappings(n, false, false))
		fail("%u mappings of it are left", section_mappings(n, false, false));
	tally[GONE]++;
out:
	adp_windows_measure(&ws);
	no_memory = keep;
}

/* The companion sleeps: nothing is sent, what is mapped goes on being so. */
static void do_sleep(void)
{
	u64 bells = host_doorbells;
	unsigned int i, n = 1 + below(40);

	adp_windows_sleep(&ws);
	for (i = 0; i < n; i++) {
		if (below(2))
			do_map();
		else
			do_unmap();
	}
	doing = "sleep";
	if (host_doorbells != bells)
		fail("%llu doorbells", (long long)(host_doorbells - bells));
	adp_windows_wake(&ws);
	check_all();
}

/* The driver above is gone, and may have left things behind. */
static void do_purge(void)
{
	unsigned int n, used = 0, found;

	doing = "purge";
	while (nr_held && below(8))
		do_unmap();
	for (n = 1; n < ws.used; n++)
		used += atomic_read(&ws.chunk[n / ADP_WINDOW_CHUNK]
				    [n % ADP_WINDOW_CHUNK].refs) > 0;
	used -= !!ws.marker;
	found = adp_windows_purge(&ws);
	if (found != used)
		fail("%u windows were left, said to be %u", used, found);
	nr_held = 0;
	if (host_live - host_old != host_stuck)
		fail("%llu mappings are left", (long long)(host_live - host_old));
}

/* The search for what an earlier kernel has left goes on. */
static void do_search(void)
{
	doing = "search";
	left.work.work.func(&left.work.work);
	if (left.complete && host_old && !cases[current].host.odd_ids)
		fail("%llu leftovers were not found", (long long)host_old);
}

/* What an earlier kernel leaves has the shapes that windows have. */
static void leave(void)
{
	const struct resource *r;
	u64 start, pages;
	u32 i;

	if (cases[current].marked)
		host_leave(OLD_MARKER, 1);
	for (i = 0; i < cases[current].host.leave; i++) {
		pages = below(4) ? 1 + below(4) : 16;
		r = &ram[below(ARRAY_SIZE(ram))];
		start = round_up(r->start, HOST) +
			below((r->end + 1 - r->start) / HOST) * HOST;
		if (!below(4))
			start = 0x2000000 + below(256) * HOST;
		if (pages == 16)
			start = round_down(start, 16 * HOST);
		/* Only a marker is where markers are. */
		if (start % (4 << 20) && in_ram(start, start + pages * HOST))
			host_leave(start, pages);
	}
}

/* As a probe does it. */
static void serve(void)
{
	bool some;

	doing = "probe";
	step = 0;
	memset(&left, 0, sizeof(left));
	if (adp_left_init(&left, &channel, &guest_ram, false))
		fail("no memory");
	leave();
	some = host_old;
	adp_left_look(&left);
	if (left.wanted && !cases[current].marked)
		fail("a marker was found");
	if (cases[current].marked && !left.wanted)
		fail("the marker was not found");
	adp_left_serve(&left, &ws);
	if (cases[current].marked && (!some || host_old))
		fail("%llu leftovers were not found", (long long)host_old);
	adp_left_mark(&left);
}

/* Another driver. */
static void do_renew(void)
{
	do_purge();
	adp_left_mark(&left);
}

static void run(unsigned long ops, u64 seed)
{
	u32 grow = 60;

	memset(&stats, 0, sizeof(stats));
	memset(&ws, 0, sizeof(ws));
	memset(&channel, 0, sizeof(channel));
	memset(tally, 0, sizeof(tally));
	nr_held = 0;
	channel.dev = &dev;
	channel.stats = &stats;
	channel.dma_min = host_base();
	channel.batch = cases[current].host.batch;
	host_init(&cases[current].host, seed);
	no_memory = 0;
	memset(offline, 0, sizeof(offline));
	if (adp_ram_read(&guest_ram, NULL, NULL) ||
	    adp_windows_init(&ws, &channel, &guest_ram, &stats,
			     cases[current].lazy, 10000))
		fail("no memory");
	name = cases[current].name;
	serve();
	ws.roomy = cases[current].roomy;
	no_memory = cases[current].no_memory;

	for (step = 0; step < ops; step++) {
		u64 what = below(1000);

		if (!(step % 4096))
			grow = 20 + below(60);
		if (what < 2)
			do_age();
		else if (what < 3 && !below(16))
			do_renew();
		else if (what < 4 && !below(16) && cases[current].lazy)
			do_switch();
		else if (what < 5)
			do_sleep();
		else if (what < 6 && !below(4))
			do_memory();
		else if (what < 7)
			do_search();
		else if (what < 8)
			do_pin();
		else if (what < 20)
			do_list();
		else if (what % 100 < grow)
			do_map();
		else
			do_unmap();
		if (!(step % 512))
			check_all();
	}
	do_purge();
	check_all();
	while (!left.complete)
		do_search();
	adp_left_destroy(&left);
	adp_windows_destroy(&ws);
	adp_ram_free(&guest_ram);
	if (!tally[GONE] && ops >= 100000)
		fail("no memory has gone");
	if (!tally[PINS] && ops >= 100000)
		fail("nothing was pinned");
	printf("ok %u %s\n", current + 1, cases[current].name);
	printf("# %llu mapped, %llu without a doorbell, %llu lists, %llu unmapped\n",
	       (long long)tally[MAPS], (long long)tally[HITS],
	       (long long)tally[LISTS], (long long)tally[UNMAPS]);
	printf("# refused: %llu full, %llu start taken, %llu no memory, %llu not RAM\n",
	       (long long)tally[FULL], (long long)tally[NO_START],
	       (long long)tally[NO_MEMORY], (long long)tally[NOT_RAM]);
	printf("# %llu doorbells, %llu stuck, memory gone %llu times\n",
	       (long long)host_doorbells, (long long)host_stuck,
	       (long long)tally[GONE]);
}

/* Memory of small lengths comes and goes, until what is idle is @budget. */
static void fill(u64 budget)
{
	u64 phys, len, bytes;

	for (bytes = 0; bytes < budget; bytes += len) {
		struct adp_window *w;

		len = (1 + below(7)) * HOST;
		phys = 0x40000000 + below(((1ULL << 32) - len) / HOST) * HOST;
		w = adp_window_map(&ws, phys, phys + len, 0, true);
		if (IS_ERR(w))
			fail("error %ld", PTR_ERR(w));
		hold(w, phys, len);
		do_unmap();
	}
}

/* Windows for a host and 16 GiB of memory. */
static void start(const struct host_config *host, const char *of, unsigned int number,
		  bool lazy, u64 seed)
{
	memset(&stats, 0, sizeof(stats));
	memset(&ws, 0, sizeof(ws));
	memset(&channel, 0, sizeof(channel));
	nr_held = 0;
	channel.dev = &dev;
	channel.stats = &stats;
	channel.dma_min = host_base();
	host_init(host, seed);
	no_memory = 0;
	name = of;
	current = number;
	guest_ram.map = calloc(1, sizeof(*guest_ram.map) + sizeof(struct adp_ram_range));
	guest_ram.map->nr = 1;
	guest_ram.map->range[0].start = 0x40000000;
	guest_ram.map->range[0].end = 0x440000000;
	if (adp_windows_init(&ws, &channel, &guest_ram, &stats, lazy, 10000))
		fail("no memory");
	ws.max_bytes = host->max_bytes;
}

static void end(void)
{
	while (nr_held)
		do_unmap();
	adp_windows_purge(&ws);
	adp_windows_destroy(&ws);
	adp_ram_free(&guest_ram);
}

/*
 * Blocks of 64 KiB to 4 MiB, aligned in memory and mixed with single pages, come
 * and go: which of them have an address that is aligned as they are.
 */
static void run_aligned(unsigned int which, unsigned long ops, u64 seed)
{
	struct host_config host = {
		(aligned_cases[which].stale ? 256 : 1536) << 20, 8000, 4096,
		aligned_cases[which].place, 1 << 17,
	};
	u64 good = 0, tried = 0, entries = 0, share;

	doing = "aligned";
	start(&host, aligned_cases[which].name, ARRAY_SIZE(cases) + which,
	      !aligned_cases[which].strict, seed);
	for (step = 0; step < ops; step++) {
		u64 len, phys, kind = below(64), before = host_entries;
		bool large = kind < 1 && !aligned_cases[which].stale;
		unsigned int order;
		struct adp_window *w;

		if (aligned_cases[which].stale && !(step % 512))
			fill(host.max_bytes / (step ? 4 : 1));
		if (nr_held && below(aligned_cases[which].stale ? 1600 : 600) < nr_held) {
			do_unmap();
			continue;
		}
		len = large ? 4 << 20 : kind < 4 ? 2 << 20 : kind < 40 ? 64 << 10 : 4096;
		phys = 0x40000000 + below((1ULL << 32) / len) * len;
		/* Coherent memory of 4 MiB wants all of its alignment. */
		order = adp_align_order(phys, len) + large;
		w = adp_window_map(&ws, round_down(phys, HOST),
				   round_up(phys + len, HOST), order, false);
		if (IS_ERR(w))
			fail("error %ld", PTR_ERR(w));
		hold(w, phys, len);
		if (!order)
			continue;
		tried++;
		entries += host_entries - before;
		good += !((held[nr_held - 1].dma ^ phys) & (len - 1));
	}
	if (stats.refused_maps)
		fail("%llu entries were refused, of which idle windows could have made room",
		     (long long)stats.refused_maps);
	share = aligned_cases[which].stale ? 400 : 100;
	if (aligned_cases[which].all && (tried - good) * share > tried)
		fail("%llu of %llu are aligned", (long long)good, (long long)tried);
	end();
	printf("ok %zu %s\n", ARRAY_SIZE(cases) + which + 1,
	       aligned_cases[which].name);
	printf("# %llu of %llu aligned, %llu entries for 100\n", (long long)good,
	       (long long)tried, (long long)(tried ? entries * 100 / tried : 0));
}

#define SLOT (10ULL << 20)
#define SLOTS 1600

/* Where large blocks are. */
static bool block[SLOTS];

/* Can this be mapped beside what is held. */
static bool is_free(u64 slot, u64 phys, u64 len)
{
	unsigned int i;

	if (len > 4096)
		return !block[slot];
	for (i = 0; i < nr_held; i++)
		if (held[i].phys == phys)
			return false;
	return true;
}

static u64 drop_any(void)
{
	struct held *h = &held[below(nr_held)];
	u64 len = h->len;

	if (len > 4096)
		block[(h->phys - 0x40000000) / SLOT] = false;
	drop(h);
	return len;
}

/*
 * Blocks that are aligned in memory, and clusters of pages between them, until the
 * budget is full. Then half of them go, and so on. What nobody uses must not grow.
 */
static void run_full(unsigned long ops, u64 seed)
{
	struct host_config host = { 1536 << 20, 65536, 4096, PLACE_LOWEST, 1 << 17 };
	u64 bytes = 0, least = host.max_bytes;
	unsigned int rounds = 0;

	start(&host, "lazy, full of large windows", ARRAY_SIZE(cases) + ARRAY_SIZE(aligned_cases),
	      true, seed);
	doing = "fill";
	memset(block, 0, sizeof(block));
	for (step = 0; step < ops; step++) {
		/* Before the first one nothing can begin. */
		u64 slot = 1 + below(SLOTS - 1), len = 4096, phys = 0x40000000 + slot * SLOT;
		struct adp_window *w;

		if (nr_held && (!below(4) || nr_held == HELD)) {
			bytes -= drop_any();
			continue;
		}
		if (below(2)) {
			len = (64 << 10) << below(7);
			len += below(len / 4096) * 4096;
		} else {
			phys += SLOT - (1 + below(256)) * len;
		}
		if (!is_free(slot, phys, len))
			continue;
		w = adp_window_map(&ws, round_down(phys, HOST), round_up(phys + len, HOST),
				   adp_align_order(phys, len), false);
		if (!IS_ERR(w)) {
			hold(w, phys, len);
			bytes += len;
			if (len > 4096)
				block[slot] = true;
			continue;
		}
		if (bytes < host.max_bytes / 100 * 92)
			fail("error %ld, with %llu MiB in use", PTR_ERR(w), (long long)bytes >> 20);
		least = min(least, bytes);
		for (rounds++; bytes > host.max_bytes / 2;)
			bytes -= drop_any();
	}
	if (!rounds && ops >= 10000)
		fail("it was never full");
	end();
	printf("ok %u %s\n", current + 1, name);
	printf("# full %u times, with %llu MiB at least\n", rounds, (long long)least >> 20);
}

/*
 * The host refuses for lack of room, until all that was mapped has gone. The clock
 * runs until the budget is what it was, and then it stands still.
 */
static void run_calm(bool lazy, u64 seed)
{
	struct host_config host = { 16 << 20, 256, 64, PLACE_LOWEST, 8192 };
	unsigned int number = ARRAY_SIZE(cases) + ARRAY_SIZE(aligned_cases) + 1 + !lazy;
	u64 bytes, mappings, ticks = 0, phys = 0x40000000;
	struct adp_window *w = NULL;

	start(&host, lazy ? "lazy, calm after refusals" : "strict, calm after refusals",
	      number, lazy, seed);
	doing = "calm";
	guest_ram.map->range[0].end = 0x50000000;
	adp_windows_refresh(&ws);
	bytes = ws.max_bytes;
	mappings = ws.max_mappings;
	if (!ws.roomy)
		fail("large windows are a waste at the start");
	while (!IS_ERR(w)) {
		w = adp_window_map(&ws, phys, phys + HOST, 0, true);
		if (!IS_ERR(w))
			hold(w, phys, HOST);
		phys += 2 * HOST;
	}
	if (ws.roomy || ws.max_bytes == bytes || ws.max_mappings == mappings)
		fail("after %llu refusals the host is believed to have all",
		     (long long)stats.refused_maps);
	while (nr_held)
		do_unmap();
	for (; ws.aging.queued && ticks < 200; ticks++) {
		ws.aging.queued = false;
		ws.aging.work.func(&ws.aging.work);
	}
	if (ws.max_bytes != bytes || ws.max_mappings != mappings)
		fail("after %llu ticks the budget is %llu bytes and %llu mappings",
		     (long long)ticks, (long long)ws.max_bytes, (long long)ws.max_mappings);
	if (!ws.roomy)
		fail("large windows are a waste still");
	if (ws.aging.queued)
		fail("the clock goes on for nothing");
	end();
	printf("ok %u %s\n", number + 1, name);
	printf("# the budget was whole after %llu ticks\n", (long long)ticks);
}

int main(int argc, char **argv)
{
	unsigned long ops;
	unsigned int i;
	char *end;

	ops = argc == 3 ? strtoul(argv[1], &end, 0) : 0;
	if (!ops || *end) {
		fprintf(stderr, "usage: model OPERATIONS SEED\n");
		return 1;
	}
	printf("TAP version 13\n1..%zu\n",
	       ARRAY_SIZE(cases) + ARRAY_SIZE(aligned_cases) + 3);
	for (current = 0; current < ARRAY_SIZE(cases); current++)
		run(ops, strtoull(argv[2], NULL, 0) + current);
	for (i = 0; i < ARRAY_SIZE(aligned_cases); i++)
		run_aligned(i, ops / 4, strtoull(argv[2], NULL, 0) + i);
	run_full(ops / 4, strtoull(argv[2], NULL, 0));
	run_calm(true, strtoull(argv[2], NULL, 0));
	run_calm(false, strtoull(argv[2], NULL, 0));
	return 0;
}
