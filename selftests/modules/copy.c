// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings that are copied: what the device sees is a copy of the bytes that
 * were mapped and nothing else, and keeps their place in the page. They need a
 * function whose small mappings are copied, whatever their direction is.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp_test.h"

#define ADP_COPY_PAGE	4096

/**
 * struct adp_copy_mem - a page that pieces are mapped of, and what must be in it
 * @page: the memory
 * @model: what must be in it
 * @seen: room for what the device found
 */
struct adp_copy_mem {
	u8 *page;
	u8 *model;
	u8 *seen;
};

static bool adp_copy_mem_init(struct adp_run *run, struct adp_copy_mem *mem)
{
	mem->page = (u8 *)__get_free_page(GFP_KERNEL);
	mem->model = kmalloc(2 * ADP_COPY_PAGE, GFP_KERNEL);
	mem->seen = mem->model ? mem->model + ADP_COPY_PAGE : NULL;
	if (mem->page && mem->model)
		return true;
	adp_fail(run, "no memory");
	return false;
}

static void adp_copy_mem_exit(struct adp_copy_mem *mem)
{
	free_page((unsigned long)mem->page);
	kfree(mem->model);
}

/* New bytes in all of the page, so that nothing old is taken for them. */
static void adp_copy_mem_renew(struct adp_run *run, struct adp_copy_mem *mem)
{
	adp_fill(mem->page, ADP_COPY_PAGE, adp_rnd64(run), 0);
	memcpy(mem->model, mem->page, ADP_COPY_PAGE);
}

static bool adp_copy_mem_ok(struct adp_run *run, struct adp_copy_mem *mem,
			    const struct adp_map *map, const char *when)
{
	unsigned int i;

	for (i = 0; i < ADP_COPY_PAGE; i++)
		if (mem->page[i] != mem->model[i])
			break;
	return adp_expect(run, i == ADP_COPY_PAGE,
			  "%zu bytes at %zu: byte %u is wrong %s", map->len,
			  offset_in_page(map->cpu) % ADP_COPY_PAGE, i, when);
}

static bool adp_copy_map(struct adp_run *run, struct adp_copy_mem *mem,
			 struct adp_map *map, size_t off, size_t len,
			 enum dma_data_direction dir, enum adp_ctx ctx)
{
	*map = (struct adp_map){
		.kind = off & 1 ? ADP_PAGE : ADP_SINGLE,
		.cpu = mem->page + off, .len = len, .dir = dir,
	};
	if (!adp_expect(run, !adp_map(run->adp, map, ctx),
			"%zu bytes at %zu are not mapped", len, off))
		return false;
	return adp_expect(run, (map->dma & (ADP_COPY_PAGE - 1)) == off,
			  "%zu became %pad, elsewhere in the page", off,
			  &map->dma);
}

static enum adp_ctx adp_arg_unmap_ctx(struct adp_run *run)
{
	return adp_arg(run, "across", 0) ? ADP_REMOTE : adp_arg_ctx(run);
}

/* Map a piece, let the device do all that it may, and look at every byte. */
static bool adp_copy_piece(struct adp_run *run, struct adp_copy_mem *mem,
			   size_t off, size_t len, enum dma_data_direction dir)
{
	enum adp_ctx ctx = adp_arg_ctx(run);
	struct adp_dev *adp = run->adp;
	struct adp_map map;
	u64 seed;

	adp_copy_mem_renew(run, mem);
	if (!adp_copy_map(run, mem, &map, off, len, dir, ctx))
		return false;

	adp_expect(run, !adp_dev_read(adp, map.dma, mem->seen, len) &&
		   !memcmp(mem->seen, mem->page + off, len),
		   "%zu bytes at %zu: the device reads others", len, off);
	if (dir != DMA_TO_DEVICE) {
		/* The last byte it leaves alone. */
		seed = adp_rnd64(run);
		adp_fill(mem->model + off, len - 1, seed, 0);
		if (len > 1)
			adp_dev_fill(run, map.dma, len - 1, seed, 0);
	}
	adp_unmap(adp, &map, adp_arg_unmap_ctx(run));
	return adp_copy_mem_ok(run, mem, &map, "after unmap");
}

/*
 * Every offset and every length there is in a page, step= apart, in direction
 * dir=; with across=1 another CPU unmaps.
 */
static void adp_case_copy_every(struct adp_run *run)
{
	enum dma_data_direction dir = adp_arg_dir(run, DMA_BIDIRECTIONAL);
	unsigned int step = max_t(u64, adp_arg(run, "step", 1), 1);
	struct adp_copy_mem mem = {};
	u64 pieces = 0;
	size_t i;

	if (!adp_copy_mem_init(run, &mem))
		goto out;
	for (i = 0; i < ADP_COPY_PAGE && !run->failures; i += step, pieces += 3) {
		size_t room = ADP_COPY_PAGE - i;

		adp_copy_piece(run, &mem, i, 1 + adp_below(run, room), dir);
		adp_copy_piece(run, &mem, i, room, dir);
		/* All lengths. */
		adp_copy_piece(run, &mem, adp_below(run, room), i + 1, dir);
	}
	adp_fact(run, "pieces", pieces);
out:
	adp_copy_mem_exit(&mem);
}

/*
 * The device reads and writes all of the page around what is mapped. It finds
 * nothing of the memory there, and changes nothing. With wiped=1 nothing of a
 * mapping is left for it after the unmap, either.
 */
static void adp_case_copy_exposed(struct adp_run *run)
{
	static const enum dma_data_direction dirs[] = {
		DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE,
	};
	unsigned int i, j, n = adp_arg(run, "n", 64);
	bool wiped = adp_arg(run, "wiped", 0);
	enum adp_ctx ctx = adp_arg_ctx(run);
	struct adp_dev *adp = run->adp;
	struct adp_copy_mem mem = {};
	struct adp_map map;
	u64 seed;

	if (!adp_copy_mem_init(run, &mem))
		goto out;
	for (i = 0; i < n && !run->failures; i++) {
		enum dma_data_direction dir = dirs[i % ARRAY_SIZE(dirs)];
		size_t off = adp_below(run, ADP_COPY_PAGE - 64);
		size_t len = 1 + adp_below(run, min_t(size_t, 1024,
						      ADP_COPY_PAGE - off));
		unsigned int same = 0, around = ADP_COPY_PAGE - len;
		dma_addr_t start;

		adp_copy_mem_renew(run, &mem);
		if (!adp_copy_map(run, &mem, &map, off, len, dir, ctx))
			break;
		start = map.dma - off;
		adp_expect(run, !adp_dev_read(adp, start, mem.seen, ADP_COPY_PAGE),
			   "the device cannot read");
		adp_expect(run, !memcmp(mem.seen + off, mem.page + off, len),
			   "%zu bytes at %zu: the device reads others", len, off);
		for (j = 0; j < ADP_COPY_PAGE; j++)
			if (j < off || j >= off + len)
				same += mem.seen[j] == mem.page[j];
		/* Of random bytes one in 256 is right. */
		adp_expect(run, same <= around / 64 + 16,
			   "%zu bytes at %zu: the device sees %u of %u around them",
			   len, off, same, around);

		seed = adp_rnd64(run);
		adp_dev_fill(run, start, ADP_COPY_PAGE, seed, 0);
		adp_copy_mem_ok(run, &mem, &map, "before unmap");
		if (dir != DMA_TO_DEVICE) {
			adp_fill(mem.seen, ADP_COPY_PAGE, seed, 0);
			memcpy(mem.model + off, mem.seen + off, len);
		}
		adp_unmap(adp, &map, ctx);
		adp_copy_mem_ok(run, &mem, &map, "after unmap");
		if (!wiped)
			continue;
		/* The slot stays mapped. */
		adp_expect(run, !adp_dev_read(adp, map.dma, mem.seen, len) &&
			   !memchr_inv(mem.seen, 0, len),
			   "%zu bytes at %zu are left after unmap", len, off);
	}
out:
	adp_copy_mem_exit(&mem);
}

/* Parts of a copy change hands, and only those parts. */
static void adp_case_copy_sync(struct adp_run *run)
{
	unsigned int rounds = adp_arg(run, "rounds", 40);
	enum adp_ctx ctx = adp_arg_ctx(run);
	struct adp_dev *adp = run->adp;
	struct adp_copy_mem mem = {};
	struct adp_map map;
	u8 *copy = NULL;

	if (!adp_copy_mem_init(run, &mem))
		goto out;
	/* What the device sees; the model is what the CPU sees. */
	copy = kmalloc(ADP_COPY_PAGE, GFP_KERNEL);
	if (!copy) {
		adp_fail(run, "no memory");
		goto out;
	}
	adp_copy_mem_renew(run, &mem);
	memcpy(copy, mem.page, ADP_COPY_PAGE);
	if (!adp_copy_map(run, &mem, &map, 40, 3000, DMA_BIDIRECTIONAL, ctx))
		goto out;

	while (rounds-- && !run->failures) {
		size_t at = adp_below(run, map.len);
		size_t len = 1 + adp_below(run, map.len - at);
		size_t pos = 40 + at;
		u64 seed = adp_rnd64(run);

		switch (rounds % 4) {
		case 0:
			adp_fill(copy + pos, len, seed, 0);
			adp_dev_fill(run, map.dma + at, len, seed, 0);
			break;
		case 1:
			adp_fill(mem.page + pos, len, seed, 0);
			memcpy(mem.model + pos, mem.page + pos, len);
			break;
		case 2:
			memcpy(mem.model + pos, copy + pos, len);
			adp_sync(adp, &map, at, len, true, ctx);
			break;
		case 3:
			memcpy(copy + pos, mem.model + pos, len);
			adp_sync(adp, &map, at, len, false, ctx);
			break;
		}
		adp_copy_mem_ok(run, &mem, &map, "for the CPU");
		adp_expect(run,
			   !adp_dev_read(adp, map.dma, mem.seen, map.len) &&
			   !memcmp(mem.seen, copy + 40, map.len),
			   "a byte is wrong for the device");
	}
	memcpy(mem.model + 40, copy + 40, map.len);
	adp_unmap(adp, &map, adp_arg_unmap_ctx(run));
	adp_copy_mem_ok(run, &mem, &map, "after unmap");
out:
	kfree(copy);
	adp_copy_mem_exit(&mem);
}

/* DMA_ATTR_SKIP_CPU_SYNC: nothing moves but by syncs. */
static void adp_case_copy_skip(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	struct adp_copy_mem mem = {};
	dma_addr_t dma;

	if (!adp_copy_mem_init(run, &mem))
		goto out;
	adp_copy_mem_renew(run, &mem);
	dma = dma_map_single_attrs(adp->dev, mem.page + 100, 200, DMA_TO_DEVICE,
				   DMA_ATTR_SKIP_CPU_SYNC);
	if (!adp_expect(run, !dma_mapping_error(adp->dev, dma), "not mapped"))
		goto out;
	dma_sync_single_range_for_device(adp->dev, dma, 50, 100, DMA_TO_DEVICE);
	adp_expect(run, !adp_dev_read(adp, dma, mem.seen, 200) &&
		   !memcmp(mem.seen + 50, mem.page + 150, 100),
		   "what was synced is not there");
	adp_expect(run, memcmp(mem.seen, mem.page + 100, 50),
		   "what was not synced is there");
	dma_unmap_single_attrs(adp->dev, dma, 200, DMA_TO_DEVICE,
			       DMA_ATTR_SKIP_CPU_SYNC);

	/* What the device leaves alone must not become what was in the slot. */
	dma = dma_map_single_attrs(adp->dev, mem.page + 100, 200,
				   DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	if (!adp_expect(run, !dma_mapping_error(adp->dev, dma), "not mapped"))
		goto out;
	adp_dev_fill(run, dma + 60, 40, run->seed, 0);
	dma_sync_single_for_cpu(adp->dev, dma, 200, DMA_FROM_DEVICE);
	adp_fill(mem.model + 160, 40, run->seed, 0);
	adp_expect(run, !memcmp(mem.page, mem.model, ADP_COPY_PAGE),
		   "the CPU sees something else after a sync");
	adp_dev_fill(run, dma, 200, run->seed + 1, 0);
	dma_unmap_single_attrs(adp->dev, dma, 200, DMA_FROM_DEVICE,
			       DMA_ATTR_SKIP_CPU_SYNC);
	adp_expect(run, !memcmp(mem.page, mem.model, ADP_COPY_PAGE),
		   "unmap wrote although it was told not to");
out:
	adp_copy_mem_exit(&mem);
}

/* Unmaps that are wrong: twice, and of what is beside the copy in its slot. */
static void adp_case_copy_bad(struct adp_run *run)
{
	struct adp_copy_mem mem = {}, other = {};
	struct adp_map map, bystander;
	struct adp_dev *adp = run->adp;

	if (!adp_copy_mem_init(run, &mem) || !adp_copy_mem_init(run, &other))
		goto out;
	adp_copy_mem_renew(run, &mem);
	adp_copy_mem_renew(run, &other);
	if (!adp_copy_map(run, &other, &bystander, 0, ADP_COPY_PAGE,
			  DMA_BIDIRECTIONAL, ADP_PROCESS))
		goto out;
	if (!adp_copy_map(run, &mem, &map, 512, 256, DMA_BIDIRECTIONAL,
			  ADP_PROCESS))
		goto out;
	dma_unmap_single(adp->dev, map.dma - 4, 256, DMA_BIDIRECTIONAL);
	dma_unmap_single(adp->dev, map.dma + 256, 256, DMA_BIDIRECTIONAL);
	/* It is still mapped, and goes once. */
	adp_dev_fill(run, map.dma, map.len, run->seed, 0);
	adp_fill(mem.model + 512, map.len, run->seed, 0);
	adp_unmap(adp, &map, ADP_PROCESS);
	adp_copy_mem_ok(run, &mem, &map, "after the right unmap");
	dma_unmap_single(adp->dev, map.dma, 256, DMA_BIDIRECTIONAL);
	adp_copy_mem_ok(run, &mem, &map, "after a second unmap");

	adp_dev_fill(run, bystander.dma, ADP_COPY_PAGE, run->seed + 1, 0);
	adp_fill(other.model, ADP_COPY_PAGE, run->seed + 1, 0);
	adp_unmap(adp, &bystander, ADP_PROCESS);
	adp_copy_mem_ok(run, &other, &bystander, "in another mapping");
	adp_fact(run, "bad", 3);
out:
	adp_copy_mem_exit(&other);
	adp_copy_mem_exit(&mem);
}

const struct adp_case adp_copy_cases[] = {
	{ "copy_every", adp_case_copy_every },
	{ "copy_exposed", adp_case_copy_exposed },
	{ "copy_sync", adp_case_copy_sync },
	{ "copy_skip", adp_case_copy_skip },
	{ "copy_bad", adp_case_copy_bad },
	{ }
};
