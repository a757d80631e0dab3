// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streaming mappings of single buffers and pages.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "adp_test.h"

struct adp_op {
	struct adp_dev *adp;
	struct adp_map *map;
	size_t off;
	size_t len;
	bool for_cpu;
	int ret;
};

static void __adp_map(void *arg)
{
	struct adp_op *op = arg;
	struct adp_map *map = op->map;
	struct device *dev = op->adp->dev;

	if (map->kind == ADP_PAGE)
		map->dma = dma_map_page(dev, virt_to_page(map->cpu),
					offset_in_page(map->cpu), map->len,
					map->dir);
	else
		map->dma = dma_map_single(dev, map->cpu, map->len, map->dir);
	op->ret = dma_mapping_error(dev, map->dma);
	map->live = !op->ret;
}

int adp_map(struct adp_dev *adp, struct adp_map *map, enum adp_ctx ctx)
{
	struct adp_op op = { .adp = adp, .map = map };

	adp_call(ctx, __adp_map, &op);
	return op.ret;
}

static void __adp_unmap(void *arg)
{
	struct adp_op *op = arg;
	struct adp_map *map = op->map;
	struct device *dev = op->adp->dev;

	if (map->kind == ADP_PAGE)
		dma_unmap_page(dev, map->dma, map->len, map->dir);
	else
		dma_unmap_single(dev, map->dma, map->len, map->dir);
	map->live = false;
}

void adp_unmap(struct adp_dev *adp, struct adp_map *map, enum adp_ctx ctx)
{
	struct adp_op op = { .adp = adp, .map = map };

	adp_call(ctx, __adp_unmap, &op);
}

static void __adp_sync(void *arg)
{
	struct adp_op *op = arg;
	struct adp_map *map = op->map;
	struct device *dev = op->adp->dev;
	bool whole = !op->off && op->len == map->len;

	if (op->for_cpu && whole)
		dma_sync_single_for_cpu(dev, map->dma, map->len, map->dir);
	else if (op->for_cpu)
		dma_sync_single_range_for_cpu(dev, map->dma, op->off, op->len,
					      map->dir);
	else if (whole)
		dma_sync_single_for_device(dev, map->dma, map->len, map->dir);
	else
		dma_sync_single_range_for_device(dev, map->dma, op->off,
						 op->len, map->dir);
}

void adp_sync(struct adp_dev *adp, struct adp_map *map, size_t off, size_t len,
	      bool for_cpu, enum adp_ctx ctx)
{
	struct adp_op op = {
		.adp = adp, .map = map, .off = off, .len = len,
		.for_cpu = for_cpu,
	};

	adp_call(ctx, __adp_sync, &op);
}

/*
 * Proves a live mapping in the directions it is for: every byte that the device
 * reads is the one in memory, and every byte that it writes gets there. The
 * latter is seen now if the mapping is bidirectional, or else after unmap, by
 * adp_prove_unmapped().
 */
bool adp_prove(struct adp_run *run, struct adp_map *map, enum adp_ctx ctx)
{
	size_t where;

	if (map->dir != DMA_FROM_DEVICE &&
	    !adp_dev_holds(run, map->dma, map->len, map->seed, 0))
		return false;
	if (map->dir == DMA_TO_DEVICE)
		return true;

	map->seed = adp_rnd64(run);
	if (!adp_dev_fill(run, map->dma, map->len, map->seed, 0))
		return false;
	if (map->dir == DMA_FROM_DEVICE)
		return true;

	adp_sync(run->adp, map, 0, map->len, true, ctx);
	if (!adp_same(map->cpu, map->len, map->seed, 0, &where)) {
		adp_fail(run, "byte %zu of %zu did not come from %pad", where,
			 map->len, &map->dma);
		return false;
	}
	map->seed = adp_rnd64(run);
	adp_fill(map->cpu, map->len, map->seed, 0);
	adp_sync(run->adp, map, 0, map->len, false, ctx);
	return adp_dev_holds(run, map->dma, map->len, map->seed, 0);
}

/* After unmap, the memory has what was written last. */
bool adp_prove_unmapped(struct adp_run *run, struct adp_map *map)
{
	size_t where;

	if (adp_same(map->cpu, map->len, map->seed, 0, &where))
		return true;
	adp_fail(run, "byte %zu of %zu is wrong after unmap of %pad", where,
		 map->len, &map->dma);
	return false;
}

/*
 * Maps, proves and unmaps n= buffers of up to len= bytes at random offsets, by
 * turns as a page and as a buffer.
 */
static void adp_case_map(struct adp_run *run)
{
	static const enum dma_data_direction dirs[] = {
		DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE,
	};
	struct adp_dev *adp = run->adp;
	enum adp_ctx ctx = adp_arg_ctx(run);
	enum dma_data_direction dir = adp_arg_dir(run, DMA_NONE);
	size_t len = adp_arg(run, "len", SZ_64K);
	bool exact = adp_arg(run, "exact", 0);
	unsigned int order = get_order(len);
	unsigned int i, n = adp_arg(run, "n", 12);
	size_t size = PAGE_SIZE << order;
	u64 bytes = 0;
	u8 *mem;

	mem = (u8 *)__get_free_pages(GFP_KERNEL, order);
	if (!mem) {
		adp_fail(run, "no memory");
		return;
	}

	for (i = 0; i < n; i++) {
		struct adp_map map = {
			.kind = i & 1 ? ADP_PAGE : ADP_SINGLE,
			.dir = dir == DMA_NONE ? dirs[i % 3] : dir,
			.seed = adp_rnd64(run),
		};

		/* Short ones are as likely as long ones. */
		map.len = exact ? len :
			  1 + adp_below(run, len >> adp_below(run, ilog2(len)));
		map.len = min(map.len, len);
		map.cpu = mem + adp_below(run, size - map.len + 1);
		adp_fill(map.cpu, map.len, map.seed, 0);
		if (adp_map(adp, &map, ctx)) {
			adp_fail(run, "%zu bytes at offset 0x%zx: not mapped",
				 map.len, (size_t)((u8 *)map.cpu - mem));
			break;
		}
		adp_prove(run, &map, ctx);
		adp_unmap(adp, &map, ctx);
		adp_prove_unmapped(run, &map);
		bytes += map.len;
	}
	adp_fact(run, "bytes", bytes);
	free_pages((unsigned long)mem, order);
}

#define ADP_SHARE_SIZE	SZ_128K

/*
 * n= mappings that begin in one host page, in any order, with any lengths, live
 * at once: the host would refuse a second start, so they must share.
 */
static void adp_case_share(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	enum adp_ctx ctx = adp_arg_ctx(run);
	unsigned int rounds = adp_arg(run, "rounds", 3);
	unsigned int i, n = adp_arg(run, "n", 16);
	unsigned int order = get_order(ADP_SHARE_SIZE);
	struct adp_map *maps = kcalloc(n, sizeof(*maps), GFP_KERNEL);
	u8 *mem = (u8 *)__get_free_pages(GFP_KERNEL, order);
	u64 seed = adp_rnd64(run);

	if (!maps || !mem) {
		adp_fail(run, "no memory");
		goto out;
	}

	while (rounds--) {
		u8 *base = mem + ADP_HOST_PAGE *
			   adp_below(run, ADP_SHARE_SIZE / ADP_HOST_PAGE / 2);
		size_t room = mem + ADP_SHARE_SIZE - base;
		unsigned int left = n;

		adp_fill(mem, ADP_SHARE_SIZE, seed, 0);
		for (i = 0; i < n; i++) {
			struct adp_map *map = &maps[i];
			size_t off = adp_below(run, ADP_HOST_PAGE);

			/* Some have the very same start. */
			if (i && !adp_below(run, 4))
				off = (u8 *)maps[0].cpu - base;
			else if (!adp_below(run, 4))
				off = 0;
			map->kind = adp_below(run, 2) ? ADP_PAGE : ADP_SINGLE;
			map->dir = DMA_BIDIRECTIONAL;
			map->cpu = base + off;
			map->len = 1 + adp_below(run, adp_below(run, 2) ?
						 room - off :
						 ADP_HOST_PAGE - off);
			if (adp_map(adp, map, ctx)) {
				adp_fail(run,
					 "mapping %u, 0x%zx+0x%zx, is refused",
					 i, off, map->len);
				n = i;
				left = i;
				break;
			}
		}
		/* The later ones moved nothing under the earlier ones. */
		for (i = 0; i < n; i++)
			adp_dev_holds(run, maps[i].dma, maps[i].len, seed,
				      (u8 *)maps[i].cpu - mem);

		while (left) {
			struct adp_map *map = &maps[adp_below(run, n)];
			size_t off = (u8 *)map->cpu - mem;

			if (!map->live)
				continue;
			/* It still works although others have gone. */
			adp_dev_holds(run, map->dma, map->len, seed, off);
			memset(map->cpu, 0, map->len);
			adp_sync(adp, map, 0, map->len, false, ctx);
			adp_dev_fill(run, map->dma, map->len, seed, off);
			adp_unmap(adp, map, ctx);
			adp_expect(run,
				   adp_same(mem, ADP_SHARE_SIZE, seed, 0, NULL),
				   "a write through %pad went elsewhere",
				   &map->dma);
			left--;
		}
	}
out:
	free_pages((unsigned long)mem, order);
	kfree(maps);
}

/*
 * A mapping that lives long: parts of it change hands, and each sees what the
 * other wrote there, and only there.
 */
static void adp_case_sync(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	enum adp_ctx ctx = adp_arg_ctx(run);
	unsigned int rounds = adp_arg(run, "rounds", 12);
	struct adp_map map = {
		.kind = ADP_SINGLE, .len = SZ_32K, .dir = DMA_BIDIRECTIONAL,
		.seed = adp_rnd64(run),
	};
	unsigned int order = get_order(map.len);
	u8 *model = kmalloc(map.len, GFP_KERNEL);
	u8 *seen = kmalloc(ADP_EDU_BUF_SIZE, GFP_KERNEL);

	map.cpu = (void *)__get_free_pages(GFP_KERNEL, order);
	if (!model || !seen || !map.cpu) {
		adp_fail(run, "no memory");
		goto out;
	}
	adp_fill(map.cpu, map.len, map.seed, 0);
	memcpy(model, map.cpu, map.len);
	if (adp_map(adp, &map, ctx)) {
		adp_fail(run, "not mapped");
		goto out;
	}

	while (rounds--) {
		size_t len = 1 + adp_below(run, ADP_EDU_BUF_SIZE);
		size_t off = adp_below(run, map.len - len + 1);
		u64 seed = adp_rnd64(run);

		if (rounds & 1) {
			adp_fill(model + off, len, seed, 0);
			adp_dev_fill(run, map.dma + off, len, seed, 0);
			adp_sync(adp, &map, off, len, true, ctx);
			adp_expect(run, !memcmp(map.cpu + off, model + off, len),
				   "the CPU misses what the device wrote");
			adp_sync(adp, &map, off, len, false, ctx);
		} else {
			adp_sync(adp, &map, off, len, true, ctx);
			adp_fill(map.cpu + off, len, seed, 0);
			memcpy(model + off, map.cpu + off, len);
			adp_sync(adp, &map, off, len, false, ctx);
			adp_expect(run,
				   !adp_dev_read(adp, map.dma + off, seen, len) &&
				   !memcmp(seen, model + off, len),
				   "the device misses what the CPU wrote");
		}
	}
	adp_unmap(adp, &map, ctx);
	adp_expect(run, !memcmp(map.cpu, model, map.len),
		   "other bytes changed too");
out:
	free_pages((unsigned long)map.cpu, order);
	kfree(seen);
	kfree(model);
}

/**
 * struct adp_set - mappings that stay between cases
 * @n: how many
 * @stride: from the start of one's memory to the next's
 * @order: of each block of memory
 * @per_block: mappings in a block
 * @blocks: the blocks
 * @maps: the mappings
 */
struct adp_set {
	unsigned int n;
	size_t stride;
	unsigned int order;
	unsigned int per_block;
	void **blocks;
	struct adp_map *maps;
};

static unsigned int adp_set_blocks(struct adp_set *set)
{
	return DIV_ROUND_UP(set->n, set->per_block);
}

void adp_set_drop(struct adp_dev *adp)
{
	struct adp_set *set = adp->set;
	unsigned int i;

	if (!set)
		return;
	for (i = 0; set->maps && i < set->n; i++)
		if (set->maps[i].live)
			adp_unmap(adp, &set->maps[i], ADP_PROCESS);
	for (i = 0; set->blocks && i < adp_set_blocks(set); i++)
		free_pages((unsigned long)set->blocks[i], set->order);
	kvfree(set->maps);
	kvfree(set->blocks);
	kfree(set);
	adp->set = NULL;
}

static void adp_set_count(struct adp_run *run)
{
	struct adp_set *set = run->adp->set;
	unsigned int i, live = 0;

	for (i = 0; i < set->n; i++)
		live += set->maps[i].live;
	adp_fact(run, "live", live);
}

static struct adp_set *adp_set_get(struct adp_run *run)
{
	if (!run->adp->set)
		adp_fail(run, "there is no set");
	return run->adp->set;
}

/* Memory for n= mappings of len= bytes, stride= bytes apart. */
static void adp_case_set_new(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	size_t len = adp_arg(run, "len", PAGE_SIZE);
	size_t off = adp_arg(run, "off", 0);
	struct adp_set *set;
	unsigned int i;

	adp_set_drop(adp);
	set = kzalloc(sizeof(*set), GFP_KERNEL);
	if (!set)
		goto err;
	adp->set = set;
	set->n = max_t(u64, adp_arg(run, "n", 64), 1);
	set->stride = max_t(size_t, adp_arg(run, "stride", ADP_HOST_PAGE),
			    off + len);
	set->order = max(get_order(set->stride), get_order(SZ_256K));
	set->per_block = (PAGE_SIZE << set->order) / set->stride;
	set->blocks = kvcalloc(adp_set_blocks(set), sizeof(*set->blocks),
			       GFP_KERNEL);
	set->maps = kvcalloc(set->n, sizeof(*set->maps), GFP_KERNEL);
	if (!set->blocks || !set->maps)
		goto err;
	for (i = 0; i < adp_set_blocks(set); i++) {
		set->blocks[i] = (void *)__get_free_pages(GFP_KERNEL,
							  set->order);
		if (!set->blocks[i])
			goto err;
	}
	for (i = 0; i < set->n; i++) {
		struct adp_map *map = &set->maps[i];

		map->kind = i & 1 ? ADP_PAGE : ADP_SINGLE;
		map->cpu = set->blocks[i / set->per_block] +
			   i % set->per_block * set->stride + off;
		map->len = len;
		map->dir = adp_arg_dir(run, DMA_BIDIRECTIONAL);
		map->seed = adp_rnd64(run);
		adp_fill(map->cpu, map->len, map->seed, 0);
	}
	return;
err:
	adp_fail(run, "no memory");
	adp_set_drop(adp);
}

/* Maps those of the set that are not mapped; some may be refused. */
static void adp_case_set_map(struct adp_run *run)
{
	struct adp_set *set = adp_set_get(run);
	enum adp_ctx ctx = adp_arg_ctx(run);
	u64 mapped = 0, refused = 0, aligned = 0;
	unsigned int i;

	if (!set)
		return;
	for (i = 0; i < set->n; i++) {
		struct adp_map *map = &set->maps[i];
		u64 mask = rounddown_pow_of_two(map->len) - 1;

		if (map->live)
			continue;
		if (adp_map(run->adp, map, ctx)) {
			refused++;
		} else {
			mapped++;
			aligned += !((map->dma ^ virt_to_phys(map->cpu)) & mask);
		}
	}
	adp_fact(run, "mapped", mapped);
	adp_fact(run, "aligned", aligned);
	adp_fact(run, "refused", refused);
	adp_set_count(run);
}

/* Proves every mapping of the set that is live, by its first and last bytes. */
static void adp_case_set_check(struct adp_run *run)
{
	struct adp_set *set = adp_set_get(run);
	unsigned int i, j, k, n, checked = 0;
	dma_addr_t *dma;
	u64 *tags;
	u8 *len;
	int ret;

	if (!set)
		return;
	dma = kcalloc(ADP_TAGS, sizeof(*dma) + sizeof(*tags) + sizeof(*len),
		      GFP_KERNEL);
	if (!dma) {
		adp_fail(run, "no memory");
		return;
	}
	tags = (u64 *)(dma + ADP_TAGS);
	len = (u8 *)(tags + ADP_TAGS);

	for (i = 0; i < set->n;) {
		/* Two pieces each: how it begins and how it ends. */
		for (j = i, n = 0; j < set->n && n < ADP_TAGS; j++) {
			struct adp_map *map = &set->maps[j];

			if (!map->live)
				continue;
			len[n] = min_t(size_t, map->len, ADP_TAG_SIZE);
			len[n + 1] = len[n];
			dma[n] = map->dma;
			dma[n + 1] = map->dma + map->len - len[n];
			n += 2;
		}
		if (!n)
			break;
		ret = adp_dev_gather(run->adp, dma, len, tags, n);
		adp_expect(run, !ret, "device read: %d", ret);
		for (k = 0; i < j; i++) {
			struct adp_map *map = &set->maps[i];

			if (!map->live)
				continue;
			adp_expect(run,
				   adp_same(&tags[k], len[k], map->seed, 0, NULL),
				   "mapping %u begins elsewhere", i);
			k++;
			adp_expect(run,
				   adp_same(&tags[k], len[k], map->seed,
					    map->len - len[k], NULL),
				   "mapping %u ends elsewhere", i);
			k++;
			checked++;
		}
	}
	adp_fact(run, "checked", checked);
	kfree(dma);
}

/* Unmaps about pct= percent of what is live, chosen at random. */
static void adp_case_set_unmap(struct adp_run *run)
{
	struct adp_set *set = adp_set_get(run);
	enum adp_ctx ctx = adp_arg_ctx(run);
	unsigned int pct = adp_arg(run, "pct", 100);
	unsigned int i;

	if (!set)
		return;
	for (i = 0; i < set->n; i++) {
		struct adp_map *map = &set->maps[i];

		if (!map->live || adp_below(run, 100) >= pct)
			continue;
		adp_unmap(run->adp, map, ctx);
		adp_prove_unmapped(run, map);
	}
	adp_set_count(run);
}

static void adp_case_set_free(struct adp_run *run)
{
	adp_set_drop(run->adp);
}

const struct adp_case adp_stream_cases[] = {
	{ "map", adp_case_map },
	{ "share", adp_case_share },
	{ "sync", adp_case_sync },
	{ "set_new", adp_case_set_new },
	{ "set_map", adp_case_set_map },
	{ "set_check", adp_case_set_check },
	{ "set_unmap", adp_case_set_unmap },
	{ "set_free", adp_case_set_free },
	{ }
};
