// SPDX-License-Identifier: GPL-2.0-only
/*
 * driver/copy.c in user space, with threads: no slot is had twice, no byte of a
 * copy is lost or seen by another, unmaps of one address succeed once, and all
 * slots can be had again.
 */
#include <assert.h>
#include <pthread.h>

#include "slots.h"
#include "../../driver/copy.c"

static_assert(sizeof(struct adp_copy_cpu) == SLOTS_PERCPU, "slots.h");

#define HELD		700

static struct adp_copies copies;
static struct adp_windows ws;
static struct adp_channel channel;
static struct adp_stats stats;
/* Calls of adp_windows_map() by this thread. */
static __thread unsigned int batches;
static unsigned long ops;
static pthread_mutex_t grow = PTHREAD_MUTEX_INITIALIZER;

/* Mappings that any thread may end. */
static struct {
	pthread_mutex_t lock;
	unsigned int nr;
	struct shared {
		u8 *page;
		u8 *mem;
		u64 dma;
		size_t len;
		u8 fill;
		unsigned int dir;
	} map[HELD];
} handed = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread unsigned int this_thread;
static __thread u64 rnd;

unsigned int slots_cpu(void)
{
	return this_thread;
}

static u32 below(u32 n)
{
	rnd = rnd * 6364136223846793005ULL + 1442695040888963407ULL;
	return (rnd >> 33) % n;
}

static void die(const char *what)
{
	printf("not ok 1 %s\n", what);
	exit(1);
}

/* What the pool needs of the rest of the module. */

void *shim_alloc(size_t size)
{
	return calloc(1, size);
}

void *alloc_pages_exact(size_t size, gfp_t gfp)
{
	void *p = aligned_alloc(size, size);

	return p ? memset(p, 0, size) : NULL;
}

void free_pages_exact(void *p, size_t size)
{
	free(p);
}

bool adp_ram_find(const struct adp_ram *ram, u64 start, u64 end,
		  struct adp_ram_range *found)
{
	return true;
}

int adp_windows_map(struct adp_windows *w, struct adp_piece *piece,
		    unsigned int nr, u64 bytes)
{
	unsigned int i;

	batches++;
	for (i = 0; i < nr; i++) {
		struct adp_window *window = calloc(1, sizeof(*window));

		if (piece[i].start % ADP_AREA_BYTES || bytes != ADP_AREA_BYTES)
			die("an area is not what it should be");
		window->gpa = piece[i].start >> APPLE_DMA_PCI_HOST_PAGE_SHIFT;
		window->dma = window->gpa + 4096;
		piece[i].window = window;
	}
	return 0;
}

void adp_window_pin(struct adp_window *window)
{
	if (window->refs.counter++)
		die("an area is pinned twice");
}

void adp_window_unpin(struct adp_windows *w, struct adp_window *window)
{
	if (window->refs.counter-- != 1)
		die("an area was not pinned");
}

bool adp_window_unmap(struct adp_windows *w, struct adp_window *window)
{
	if (window->refs.counter)
		die("an area is pinned when it goes");
	free(window);
	return true;
}

void adp_window_set_tag(struct adp_windows *w, struct adp_window *window, u8 tag)
{
}

void slots_lock(void)
{
	pthread_mutex_lock(&grow);
}

void slots_unlock(void)
{
	pthread_mutex_unlock(&grow);
}

/* The device's view of an address. */
static u8 *device(u64 dma)
{
	return (u8 *)(uintptr_t)(dma - ((u64)4096 << APPLE_DMA_PCI_HOST_PAGE_SHIFT));
}

static bool is(const u8 *p, size_t len, u8 fill)
{
	while (len--)
		if (*p++ != fill)
			return false;
	return true;
}

static void end(struct shared *m)
{
	u8 reply = m->fill + 1;
	u8 want = m->fill;

	if (!is(device(m->dma), m->len, m->fill))
		die("a copy was changed by somebody else");
	memset(device(m->dma), reply, m->len);
	if (m->dir != DMA_TO_DEVICE)
		want = reply;
	if (adp_copy_unmap(&copies, below(3), m->dma, m->dir, false))
		die("a copy is not found");
	if (!is(m->mem, m->len, want))
		die("a copy did not come back");
	free(m->page);
}

static void *thread(void *arg)
{
	unsigned long i;

	this_thread = (uintptr_t)arg;
	rnd = this_thread + 99;
	for (i = 0; i < ops; i++) {
		struct shared m;
		bool got = false;

		if (below(100) < 52) {
			size_t off = below(4096);

			m.len = 1 + below(4096 - off);
			m.dir = below(3);
			m.fill = below(256);
			m.page = aligned_alloc(4096, 4096);
			m.mem = m.page + off;
			memset(m.mem, m.fill, m.len);
			m.dma = adp_copy_map(&copies, (uintptr_t)m.mem, m.len,
					     U64_MAX, true);
			if (m.dma == DMA_MAPPING_ERROR)
				die("there is no slot");
			if (m.dma % 4096 != off)
				die("a copy is elsewhere in its page");
			pthread_mutex_lock(&handed.lock);
			if (handed.nr < HELD) {
				handed.map[handed.nr++] = m;
				got = true;
			}
			pthread_mutex_unlock(&handed.lock);
			if (!got)
				end(&m);
			continue;
		}
		pthread_mutex_lock(&handed.lock);
		if (handed.nr) {
			unsigned int n = below(handed.nr);

			m = handed.map[n];
			handed.map[n] = handed.map[--handed.nr];
			got = true;
		}
		pthread_mutex_unlock(&handed.lock);
		if (got)
			end(&m);
	}
	return NULL;
}

/* What a long list wants comes at once, and is not asked for again. */
static void reserve(void)
{
	static u64 dma[10 * ADP_AREA_SLOTS + 1];
	u8 *page = aligned_alloc(4096, 4096);
	unsigned int n, want;

	batches = 0;
	if (adp_copy_reserve(&copies, ADP_AREA_SLOTS) || copies.nr)
		die("a short list has slots reserved");
	for (want = ADP_AREA_SLOTS + 1; want <= ARRAY_SIZE(dma); want += 9 * ADP_AREA_SLOTS) {
		if (!adp_copy_reserve(&copies, want))
			die("nothing was reserved");
		if (copies.nr != DIV_ROUND_UP(want, ADP_AREA_SLOTS))
			die("too little or too much was reserved");
	}
	if (adp_copy_reserve(&copies, ARRAY_SIZE(dma)))
		die("what is there was reserved again");
	for (n = 0; n < ARRAY_SIZE(dma); n++)
		dma[n] = adp_copy_map(&copies, (uintptr_t)page, 4096, U64_MAX, false);
	if (batches != 2)
		die("the pool grew bit by bit");
	if (!adp_copy_reserve(&copies, ADP_COPY_AREAS * ADP_AREA_SLOTS) ||
	    copies.nr != ADP_COPY_AREAS)
		die("a list that is too long does not get what there can be");
	while (n--)
		adp_copy_unmap(&copies, 0, dma[n], DMA_TO_DEVICE, false);
	free(page);
}

/* All slots there can be, in one thread, and none twice. */
static void fill_up(void)
{
	static u64 dma[ADP_COPY_AREAS * ADP_AREA_SLOTS];
	u8 *page = aligned_alloc(4096, 4096);
	unsigned int n, round;

	for (round = 0; round < 2; round++) {
		for (n = 0; n < ARRAY_SIZE(dma); n++) {
			dma[n] = adp_copy_map(&copies, (uintptr_t)page, 4096,
					      U64_MAX, false);
			if (dma[n] == DMA_MAPPING_ERROR)
				die("not all slots can be had");
		}
		if (adp_copy_map(&copies, (uintptr_t)page, 1, U64_MAX, true) !=
		    DMA_MAPPING_ERROR)
			die("there are more slots than there can be");
		while (n--) {
			if (adp_copy_unmap(&copies, 0, dma[n], DMA_TO_DEVICE, false))
				die("a slot was had twice");
			if (adp_copy_unmap(&copies, 0, dma[n], DMA_TO_DEVICE,
					   false) != -EINVAL)
				die("a slot was given back twice");
		}
	}
	free(page);
}

int main(int argc, char **argv)
{
	pthread_t threads[SLOTS_CPUS];
	uintptr_t i;
	char *end_of;

	ops = argc == 2 ? strtoul(argv[1], &end_of, 0) : 0;
	if (!ops || *end_of) {
		fprintf(stderr, "usage: slots OPERATIONS\n");
		return 1;
	}
	ws.ch = &channel;
	ws.stats = &stats;
	ws.lazy = true;
	ws.max_bytes = 1536ULL << 20;
	if (adp_copy_init(&copies, &ws))
		return 1;
	printf("TAP version 13\n1..3\n");
	reserve();
	if (adp_copy_drain(&copies))
		die("a slot is in use that nobody has");
	printf("ok 1 slots that a list has reserved\n");
	for (i = 0; i < SLOTS_CPUS; i++)
		if (pthread_create(&threads[i], NULL, thread, (void *)i))
			return 1;
	for (i = 0; i < SLOTS_CPUS; i++)
		pthread_join(threads[i], NULL);
	while (handed.nr)
		end(&handed.map[--handed.nr]);
	printf("# %u areas for %u copies\n", copies.nr, HELD + SLOTS_CPUS);
	if (copies.nr > 2 * DIV_ROUND_UP_ULL(HELD + SLOTS_CPUS, ADP_AREA_SLOTS))
		die("the pool is larger than it must be");
	printf("ok 2 slots, %u threads\n", SLOTS_CPUS);
	fill_up();
	if (adp_copy_drain(&copies))
		die("something is left");
	adp_copy_destroy(&copies);
	printf("ok 3 slots, all of them\n");
	return 0;
}
