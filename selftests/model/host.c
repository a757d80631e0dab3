// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host in the place of driver/channel.c: stricter than a real one, since it
 * ends the test where the module must not have sent something.
 */
#include "adp.h"
#include "host.h"

#define HOST_PAGE 16384ULL
#define HOST_BASE 0x1000ULL /* host pages: the lowest address is 64 MiB */

struct host_mapping host_map[HOST_MAPPINGS];
u64 host_live_bytes, host_live, host_doorbells, host_stuck, host_entries;
u64 host_old, host_old_bytes;

static struct host_config cfg;
static u64 rng;
static u16 *space; /* number + 1 of the mapping at each page of the address space */

static struct entry {
	u64 gpa, len, id, size, mapped;
	bool old;
	int err;
	struct adp_map_result res;
} batch[ADP_BATCH_MAX];

u64 host_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

u64 host_base(void)
{
	return HOST_BASE * HOST_PAGE;
}

static bool one_in(u32 n)
{
	return n && !(host_random() % n);
}

void host_init(const struct host_config *config, u64 seed)
{
	cfg = *config;
	rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	free(space);
	space = calloc(cfg.space, sizeof(*space));
	memset(host_map, 0, sizeof(host_map));
	host_live_bytes = 0;
	host_live = 0;
	host_doorbells = 0;
	host_stuck = 0;
	host_entries = 0;
	host_old = 0;
	host_old_bytes = 0;
}

const struct host_mapping *host_translate(u64 dma)
{
	u64 page = dma / HOST_PAGE - HOST_BASE;

	const struct host_mapping *m;

	if (dma / HOST_PAGE < HOST_BASE || page >= cfg.space || !space[page])
		return NULL;
	m = &host_map[space[page] - 1];
	return dma - m->dma < m->len ? m : NULL;
}

static bool free_at(u32 at, u32 pages)
{
	u32 i;

	if (at + pages > cfg.space)
		return false;
	for (i = 0; i < pages; i++)
		if (space[at + i])
			return false;
	return true;
}

/*
 * With no aligned address to give, the host takes ranges of an even number of
 * pages from an even page on, and maps at their second page.
 */
static u32 taken(u32 pages)
{
	return cfg.place == PLACE_UNALIGNED ? round_up(pages + 1, 2U) : pages;
}

static bool place(u32 pages, u32 *at)
{
	u32 try, step = cfg.place == PLACE_UNALIGNED ? 2 : 1;

	if (cfg.place == PLACE_RANDOM)
		for (try = 0; try < 64; try++) {
			*at = host_random() % cfg.space;
			if (free_at(*at, pages))
				return true;
		}
	for (*at = 0; *at + taken(pages) <= cfg.space; *at += step)
		if (free_at(*at, taken(pages)))
			return true;
	return false;
}

static void host_enter(struct host_mapping *m, u64 gpa, u32 pages, u32 at)
{
	u32 i;

	m->used = true;
	m->stuck = false;
	m->old = false;
	m->gpa = gpa;
	m->len = pages * HOST_PAGE;
	m->dma = (HOST_BASE + at + taken(0) / 2) * HOST_PAGE;
	for (i = 0; i < taken(pages); i++)
		space[at + i] = m - host_map + 1;
	host_live++;
	host_live_bytes += m->len;
	m->id = cfg.odd_ids ? host_random() : m->gpa;
}

/* What an earlier kernel has left mapped, unless there is no room for it. */
void host_leave(u64 gpa, u32 pages)
{
	struct host_mapping *m = NULL;
	u32 at, i;

	for (i = 0; i < HOST_MAPPINGS; i++) {
		if (!host_map[i].used)
			m = m ?: &host_map[i];
		else if (host_map[i].gpa == gpa)
			return;
	}
	if (!m || host_live == cfg.max_mappings ||
	    host_live_bytes + pages * HOST_PAGE > cfg.max_bytes ||
	    !place(pages, &at))
		return;
	host_enter(m, gpa, pages, at);
	m->old = true;
	host_old++;
	host_old_bytes += m->len;
}

static void host_do_map(struct entry *e)
{
	const struct host_mapping *same = NULL;
	struct host_mapping *m = NULL;
	u32 pages, at, i;

	if (!e->len || e->gpa % HOST_PAGE || e->len % HOST_PAGE)
		fail("misaligned MAP of %#llx at %#llx", (long long)e->len,
		     (long long)e->gpa);
	if (!host_may_map(e->gpa, e->gpa + e->len))
		fail("MAP of %#llx at %#llx, which is not RAM that is online",
		     (long long)e->len, (long long)e->gpa);
	for (i = 0; i < HOST_MAPPINGS; i++) {
		if (!host_map[i].used)
			m = m ?: &host_map[i];
		else if (host_map[i].gpa == e->gpa)
			same = &host_map[i];
	}
	if (same && !same->old)
		fail("second MAP with start %#llx%s", (long long)e->gpa,
		     same->stuck ? ", which is stuck" : "");

	host_entries++;
	e->err = -ENOSPC;
	if (!m || same || one_in(cfg.refuse) || host_live == cfg.max_mappings)
		return;
	pages = e->len / HOST_PAGE;
	if (pages > 1 && one_in(cfg.shorten)) {
		pages = 1 + host_random() % (pages - 1);
		e->err = -EMSGSIZE;
	} else {
		e->err = 0;
	}
	if (host_live_bytes + pages * HOST_PAGE > cfg.max_bytes ||
	    !place(pages, &at)) {
		e->err = -ENOSPC;
		return;
	}

	host_enter(m, e->gpa, pages, at);
	e->res.id = m->id;
	e->res.dma_addr = m->dma;
	e->res.dma_len = m->len;
}

static void host_do_unmap(struct entry *e)
{
	struct host_mapping *m;
	u32 i, at;

	for (i = 0; i < HOST_MAPPINGS; i++)
		if (host_map[i].used && host_map[i].id == e->id)
			break;
	e->err = -EIO;
	e->mapped = 0;
	if (i == HOST_MAPPINGS)
		return;
	m = &host_map[i];
	if (m->stuck)
		fail("UNMAP of %#llx again after it was refused", (long long)e->id);
	e->mapped = m->len;
	e->old = m->old;
	if (!m->old && one_in(cfg.keep)) {
		m->stuck = true;
		host_stuck++;
		return;
	}
	e->err = 0;
	if (m->old) {
		host_old--;
		host_old_bytes -= m->len;
	}
	at = m->dma / HOST_PAGE - HOST_BASE - taken(0) / 2;
	for (i = 0; i < taken(m->len / HOST_PAGE); i++)
		space[at + i] = 0;
	m->used = false;
	host_live--;
	host_live_bytes -= m->len;
}

/* What driver/channel.c has, as window.c uses it. */

void adp_channel_begin(struct adp_channel *ch, u32 type)
{
	ch->type = type;
	ch->count = 0;
}

int adp_channel_add_map(struct adp_channel *ch, u64 gpa, u64 len)
{
	if (ch->count == cfg.batch)
		return -ENOSPC;
	batch[ch->count].gpa = gpa;
	batch[ch->count].len = len;
	return ch->count++;
}

int adp_channel_add_unmap(struct adp_channel *ch, u64 id, u64 size)
{
	if (ch->count == cfg.batch)
		return -ENOSPC;
	batch[ch->count].id = id;
	batch[ch->count].size = size;
	return ch->count++;
}

int adp_channel_sync(struct adp_channel *ch)
{
	u32 i;

	if (ch->broken)
		return -EIO;
	if (!ch->count)
		fail("a doorbell for nothing");
	host_doorbells++;
	for (i = 0; i < ch->count; i++) {
		if (ch->type == APPLE_DMA_PCI_CMD_MAP)
			host_do_map(&batch[i]);
		else
			host_do_unmap(&batch[i]);
	}
	return 0;
}

int adp_channel_map_result(struct adp_channel *ch, u32 index, u64 gpa, u64 len,
			   struct adp_map_result *res)
{
	struct entry *e = &batch[index];

	if (index >= ch->count || e->gpa != gpa || e->len != len)
		fail("entry %u of the batch is another", index);
	if (e->err == -ENOSPC)
		return e->err;
	*res = e->res;
	ch->odd_ids |= res->id != gpa;
	ch->stats->live_mappings++;
	ch->stats->live_bytes += e->res.dma_len;
	return e->err;
}

int adp_channel_unmap_result(struct adp_channel *ch, u32 index, u64 id,
			     u64 size)
{
	struct entry *e = &batch[index];

	if (index >= ch->count || e->id != id)
		fail("entry %u of the batch is another", index);
	if (!e->mapped || e->old)
		fail("UNMAP of %#llx, which is not ours", (long long)e->id);
	if (e->mapped != size || e->size != size)
		fail("UNMAP of %#llx with size %#llx, mapped %#llx",
		     (long long)e->id, (long long)size, (long long)e->mapped);
	if (!e->err) {
		ch->stats->live_mappings--;
		ch->stats->live_bytes -= size;
	}
	return e->err;
}

bool adp_channel_search_result(struct adp_channel *ch, u32 index)
{
	struct entry *e = &batch[index];

	if (index >= ch->count)
		fail("the batch has no entry %u", index);
	if (e->mapped && !e->old)
		fail("%#llx was looked for, and is ours", (long long)e->id);
	return !e->err;
}

void adp_channel_break(struct adp_channel *ch, const char *fmt, ...)
{
	fail("the channel was broken: %s", fmt);
}
