// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scatterlists.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp_test.h"

#define ADP_BLOCK_ORDER		get_order(SZ_256K)
#define ADP_BLOCK_SIZE		(PAGE_SIZE << ADP_BLOCK_ORDER)

/**
 * struct adp_piece - an entry of the list
 * @cpu: its memory
 * @len: bytes
 * @seed: what the memory holds
 */
struct adp_piece {
	u8 *cpu;
	u32 len;
	u64 seed;
};

/**
 * struct adp_list - a scatterlist, what it is of and what is in it
 * @sgt: the list
 * @live: it is mapped
 * @dir: direction it is mapped for
 * @n: entries
 * @pieces: the entries' memory, in the order of the list
 * @nr_blocks: blocks of memory
 * @blocks: the blocks
 */
struct adp_list {
	struct sg_table sgt;
	bool live;
	enum dma_data_direction dir;
	unsigned int n;
	struct adp_piece *pieces;
	unsigned int nr_blocks;
	void **blocks;
};

struct adp_sg_op {
	struct adp_dev *adp;
	struct adp_list *list;
	bool table;
	int ret;
};

static void __adp_sg_map(void *arg)
{
	struct adp_sg_op *op = arg;
	struct adp_list *list = op->list;
	struct device *dev = op->adp->dev;

	if (op->table) {
		op->ret = dma_map_sgtable(dev, &list->sgt, list->dir, 0);
	} else {
		unsigned int n = dma_map_sg(dev, list->sgt.sgl,
					    list->sgt.orig_nents, list->dir);

		list->sgt.nents = n;
		op->ret = n ? 0 : -EIO;
	}
	list->live = !op->ret;
}

static void __adp_sg_unmap(void *arg)
{
	struct adp_sg_op *op = arg;
	struct adp_list *list = op->list;
	struct device *dev = op->adp->dev;

	if (op->table)
		dma_unmap_sgtable(dev, &list->sgt, list->dir, 0);
	else
		dma_unmap_sg(dev, list->sgt.sgl, list->sgt.orig_nents,
			     list->dir);
	list->live = false;
}

static void __adp_sg_sync_cpu(void *arg)
{
	struct adp_sg_op *op = arg;
	struct adp_list *list = op->list;

	if (op->table)
		dma_sync_sgtable_for_cpu(op->adp->dev, &list->sgt, list->dir);
	else
		dma_sync_sg_for_cpu(op->adp->dev, list->sgt.sgl,
				    list->sgt.orig_nents, list->dir);
}

static void __adp_sg_sync_device(void *arg)
{
	struct adp_sg_op *op = arg;
	struct adp_list *list = op->list;

	if (op->table)
		dma_sync_sgtable_for_device(op->adp->dev, &list->sgt,
					    list->dir);
	else
		dma_sync_sg_for_device(op->adp->dev, list->sgt.sgl,
				       list->sgt.orig_nents, list->dir);
}

static int adp_sg_call(struct adp_run *run, struct adp_list *list,
		       void (*fn)(void *arg))
{
	struct adp_sg_op op = {
		.adp = run->adp, .list = list, .table = adp_arg(run, "table", 1),
	};

	adp_call(adp_arg_ctx(run), fn, &op);
	return op.ret;
}

int adp_list_map(struct adp_run *run, struct adp_list *list, enum adp_ctx ctx)
{
	struct adp_sg_op op = { .adp = run->adp, .list = list, .table = true };

	adp_call(ctx, __adp_sg_map, &op);
	return op.ret;
}

void adp_list_unmap(struct adp_run *run, struct adp_list *list,
		    enum adp_ctx ctx)
{
	struct adp_sg_op op = { .adp = run->adp, .list = list, .table = true };

	adp_call(ctx, __adp_sg_unmap, &op);
}

void adp_list_free(struct adp_list *list)
{
	unsigned int i;

	if (!list)
		return;
	for (i = 0; list->blocks && i < list->nr_blocks; i++)
		free_pages((unsigned long)list->blocks[i], ADP_BLOCK_ORDER);
	sg_free_table(&list->sgt);
	kvfree(list->blocks);
	kvfree(list->pieces);
	kfree(list);
}

void adp_list_drop(struct adp_dev *adp)
{
	struct adp_list *list = adp->list;

	if (list && list->live)
		dma_unmap_sgtable(adp->dev, &list->sgt, list->dir, 0);
	adp_list_free(list);
	adp->list = NULL;
}

/* A list as @shape says, not mapped. */
struct adp_list *adp_list_make(struct adp_run *run,
			       const struct adp_shape *shape)
{
	u32 max = shape->max, stride = shape->stride;
	struct scatterlist *sg;
	struct adp_list *list;
	size_t per_block, pos;
	unsigned int i;

	if (!shape->n || !max || max > ADP_BLOCK_SIZE / 2 ||
	    shape->gap > ADP_BLOCK_SIZE / 2 || shape->min > max ||
	    (stride && (stride < max || stride > ADP_BLOCK_SIZE))) {
		adp_fail(run, "an impossible list");
		return NULL;
	}

	list = kzalloc(sizeof(*list), GFP_KERNEL);
	if (!list)
		goto err;
	list->n = shape->n;
	list->dir = shape->dir;
	per_block = ADP_BLOCK_SIZE / (stride ? stride : max + shape->gap);
	list->nr_blocks = DIV_ROUND_UP(list->n, per_block);
	list->pieces = kvcalloc(list->n, sizeof(*list->pieces), GFP_KERNEL);
	list->blocks = kvcalloc(list->nr_blocks, sizeof(*list->blocks),
				GFP_KERNEL);
	if (!list->pieces || !list->blocks)
		goto err;
	for (i = 0; i < list->nr_blocks; i++) {
		list->blocks[i] = (void *)__get_free_pages(GFP_KERNEL,
							   ADP_BLOCK_ORDER);
		if (!list->blocks[i])
			goto err;
	}

	for (i = 0, pos = 0; i < list->n; i++) {
		struct adp_piece *piece = &list->pieces[i];

		if (i % per_block == 0)
			pos = 0;
		piece->len = shape->min + adp_below(run, max - shape->min + 1);
		if (stride)
			pos = i % per_block * stride;
		else
			pos += adp_below(run, shape->gap + 1);
		piece->cpu = list->blocks[i / per_block] + pos;
		piece->seed = adp_rnd64(run);
		pos += piece->len;
	}
	for (i = list->n - 1; shape->shuffle && i; i--) {
		unsigned int other = adp_below(run, i + 1);

		swap(list->pieces[i], list->pieces[other]);
	}

	if (sg_alloc_table(&list->sgt, list->n, GFP_KERNEL))
		goto err;
	for_each_sgtable_sg(&list->sgt, sg, i) {
		struct adp_piece *piece = &list->pieces[i];

		adp_fill(piece->cpu, piece->len, piece->seed, 0);
		sg_set_page(sg, virt_to_page(piece->cpu), piece->len,
			    offset_in_page(piece->cpu));
	}
	return list;
err:
	adp_fail(run, "no memory");
	adp_list_free(list);
	return NULL;
}

static struct adp_list *adp_list_new(struct adp_run *run)
{
	const struct adp_shape shape = {
		.n = adp_arg(run, "n", 16),
		.min = adp_arg(run, "min", 1),
		.max = adp_arg(run, "len", PAGE_SIZE),
		.gap = adp_arg(run, "gap", PAGE_SIZE / 2),
		.stride = adp_arg(run, "stride", 0),
		.shuffle = adp_arg(run, "shuffle", 1),
		.dir = adp_arg_dir(run, DMA_BIDIRECTIONAL),
	};

	return adp_list_make(run, &shape);
}

/*
 * The device sees the list's bytes one after the other through the DMA
 * segments, which need not be the entries. Walks both side by side.
 */
struct adp_cursor {
	struct scatterlist *sg;
	unsigned int left;
	u64 base;
};

static void adp_cursor_init(struct adp_cursor *cursor, struct adp_list *list)
{
	cursor->sg = list->sgt.sgl;
	cursor->left = list->sgt.nents;
	cursor->base = 0;
}

/* The address of byte @pos, if @len bytes there lie in one segment. */
static bool adp_cursor_at(struct adp_cursor *cursor, u64 pos, u32 len,
			  dma_addr_t *dma)
{
	while (cursor->left && pos >= cursor->base + sg_dma_len(cursor->sg)) {
		cursor->base += sg_dma_len(cursor->sg);
		cursor->sg = sg_next(cursor->sg);
		cursor->left--;
	}
	if (!cursor->left || !cursor->sg ||
	    pos + len > cursor->base + sg_dma_len(cursor->sg))
		return false;
	*dma = sg_dma_address(cursor->sg) + (pos - cursor->base);
	return true;
}

static bool adp_list_total(struct adp_run *run, struct adp_list *list)
{
	u64 cpu = 0, dev = 0;
	struct scatterlist *sg;
	unsigned int i;

	for (i = 0; i < list->n; i++)
		cpu += list->pieces[i].len;
	for_each_sgtable_dma_sg(&list->sgt, sg, i) {
		dev += sg_dma_len(sg);
		adp_expect(run, sg_dma_len(sg), "segment %u is empty", i);
	}
	adp_expect(run, list->sgt.nents <= list->sgt.orig_nents,
		   "%u segments of %u entries", list->sgt.nents,
		   list->sgt.orig_nents);
	return adp_expect(run, cpu == dev, "%llu bytes became %llu", cpu, dev);
}

/*
 * Proves both ends of every entry. For the other direction the device writes
 * new bytes there, and the entries' memory must have them afterwards.
 */
bool adp_list_prove(struct adp_run *run, struct adp_list *list, bool write)
{
	struct adp_cursor cursor;
	dma_addr_t *dma = NULL;
	u64 *tags, pos = 0;
	u64 seed = adp_rnd64(run);
	unsigned int i, j, k, n;
	bool ok = false;
	u8 *len;
	int ret;

	dma = kcalloc(ADP_TAGS, sizeof(*dma) + sizeof(*tags) + sizeof(*len),
		      GFP_KERNEL);
	if (!dma) {
		adp_fail(run, "no memory");
		return false;
	}
	tags = (u64 *)(dma + ADP_TAGS);
	len = (u8 *)(tags + ADP_TAGS);
	if (!adp_list_total(run, list))
		goto out;

	adp_cursor_init(&cursor, list);
	for (i = 0; i < list->n; i = j) {
		for (j = i, n = 0; j < list->n && n < ADP_TAGS; j++, n += 2) {
			struct adp_piece *piece = &list->pieces[j];

			if (write)
				piece->seed = seed + j;
			len[n] = min_t(u32, piece->len, ADP_TAG_SIZE);
			len[n + 1] = len[n];
			if (!adp_cursor_at(&cursor, pos, len[n], &dma[n]) ||
			    !adp_cursor_at(&cursor, pos + piece->len - len[n],
					   len[n], &dma[n + 1])) {
				adp_fail(run, "entry %u is cut in pieces", j);
				goto out;
			}
			adp_fill(&tags[n], len[n], piece->seed, 0);
			adp_fill(&tags[n + 1], len[n], piece->seed,
				 piece->len - len[n]);
			pos += piece->len;
		}
		if (write)
			ret = adp_dev_scatter(run->adp, dma, len, tags, n);
		else
			ret = adp_dev_gather(run->adp, dma, len, tags, n);
		if (ret) {
			adp_fail(run, "device: %d", ret);
			goto out;
		}
		for (k = 0; !write && k < n; k += 2) {
			struct adp_piece *piece = &list->pieces[i + k / 2];

			if (!adp_same(&tags[k], len[k], piece->seed, 0, NULL) ||
			    !adp_same(&tags[k + 1], len[k], piece->seed,
				      piece->len - len[k], NULL)) {
				adp_fail(run, "entry %u (%u bytes at %pad) is elsewhere",
					 i + k / 2, piece->len, &dma[k]);
				goto out;
			}
		}
	}
	ok = true;
out:
	kfree(dma);
	return ok;
}

/* The CPU finds at both ends of every entry what the device wrote there. */
void adp_list_wrote(struct adp_run *run, struct adp_list *list)
{
	unsigned int i, wrong = 0;

	for (i = 0; i < list->n; i++) {
		struct adp_piece *piece = &list->pieces[i];
		u32 len = min_t(u32, piece->len, ADP_TAG_SIZE);

		if (!adp_same(piece->cpu, len, piece->seed, 0, NULL) ||
		    !adp_same(piece->cpu + piece->len - len, len, piece->seed,
			      piece->len - len, NULL))
			wrong++;
	}
	adp_expect(run, !wrong, "the device's bytes are not in %u of %u entries",
		   wrong, list->n);
}

/* No segment crosses what its device cannot. */
static void adp_list_within(struct adp_run *run, struct adp_list *list)
{
	u64 boundary = dma_get_seg_boundary(run->adp->dev);
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(&list->sgt, sg, i) {
		u64 start = sg_dma_address(sg), last = start + sg_dma_len(sg) - 1;

		if (!adp_expect(run, !((start ^ last) & ~boundary),
				"segment %u, 0x%llx to 0x%llx, crosses 0x%llx", i,
				start, last, boundary))
			return;
	}
}

static void adp_list_facts(struct adp_run *run, struct adp_list *list)
{
	struct scatterlist *sg;
	u64 bytes = 0;
	unsigned int i;

	for_each_sgtable_dma_sg(&list->sgt, sg, i)
		bytes += sg_dma_len(sg);
	adp_fact(run, "entries", list->n);
	adp_fact(run, "segments", list->sgt.nents);
	adp_fact(run, "bytes", bytes);
}

/*
 * Maps a list, proves it both ways, unmaps it. boundary= is what the device cannot
 * cross; the list has to heed it.
 */
static void adp_case_sg(struct adp_run *run)
{
	struct adp_list *list = adp_list_new(run);
	unsigned long boundary = dma_get_seg_boundary(run->adp->dev);

	if (!list)
		return;
	dma_set_seg_boundary(run->adp->dev, adp_arg(run, "boundary", boundary));
	if (adp_sg_call(run, list, __adp_sg_map)) {
		adp_fail(run, "%u entries: not mapped", list->n);
		goto out;
	}
	adp_list_facts(run, list);
	adp_list_within(run, list);
	if (list->dir != DMA_FROM_DEVICE)
		adp_list_prove(run, list, false);
	if (list->dir != DMA_TO_DEVICE)
		adp_list_prove(run, list, true);
	if (list->dir == DMA_BIDIRECTIONAL) {
		unsigned int i;

		adp_sg_call(run, list, __adp_sg_sync_cpu);
		adp_list_wrote(run, list);
		for (i = 0; i < list->n; i++) {
			struct adp_piece *piece = &list->pieces[i];

			piece->seed = adp_rnd64(run);
			adp_fill(piece->cpu, piece->len, piece->seed, 0);
		}
		adp_sg_call(run, list, __adp_sg_sync_device);
		adp_list_prove(run, list, false);
		adp_list_prove(run, list, true);
	}
	adp_sg_call(run, list, __adp_sg_unmap);
	if (list->dir != DMA_TO_DEVICE)
		adp_list_wrote(run, list);
out:
	dma_set_seg_boundary(run->adp->dev, boundary);
	adp_list_free(list);
}

/* Makes a list and keeps it, not mapped yet. */
static void adp_case_sg_new(struct adp_run *run)
{
	adp_list_drop(run->adp);
	run->adp->list = adp_list_new(run);
}

/* Maps the kept list. want=refused: it must not be possible. */
static void adp_case_sg_map(struct adp_run *run)
{
	struct adp_list *list = run->adp->list;
	char want[16] = "ok";
	int ret;

	adp_word(run, "want", want, sizeof(want));
	if (!list || list->live) {
		adp_fail(run, "there is no list to map");
		return;
	}
	ret = adp_sg_call(run, list, __adp_sg_map);
	adp_fact(run, "mapped", !ret);
	if (!ret)
		adp_list_facts(run, list);
	if (!strcmp(want, "any"))
		return;
	adp_expect(run, !ret == !strcmp(want, "ok"), "%u entries: %d", list->n,
		   ret);
}

static void adp_case_sg_check(struct adp_run *run)
{
	struct adp_list *list = run->adp->list;

	if (!list || !list->live) {
		adp_fail(run, "there is no list that is mapped");
		return;
	}
	adp_list_prove(run, list, false);
}

static void adp_case_sg_unmap(struct adp_run *run)
{
	struct adp_list *list = run->adp->list;

	if (!list || !list->live) {
		adp_fail(run, "there is no list that is mapped");
		return;
	}
	adp_sg_call(run, list, __adp_sg_unmap);
}

static void adp_case_sg_free(struct adp_run *run)
{
	adp_list_drop(run->adp);
}

/*
 * A merge boundary promises that entries which begin and end on it come out as
 * one segment. Without a promise there is nothing to keep.
 */
static void adp_case_merge(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	unsigned long boundary = dma_get_merge_boundary(adp->dev);
	struct adp_list *list;
	struct scatterlist *sg;
	unsigned int i;

	adp_fact(run, "boundary", boundary);
	if (!boundary)
		return;
	if (boundary >= ADP_BLOCK_SIZE / 2) {
		adp_fail(run, "boundary 0x%lx", boundary);
		return;
	}

	list = adp_list_new(run);
	if (!list)
		return;
	for_each_sgtable_sg(&list->sgt, sg, i) {
		struct adp_piece *piece = &list->pieces[i];

		/* Every other aligned place of a block, backwards. */
		piece->cpu = list->blocks[0] +
			     (list->n - 1 - i) * 2 * (boundary + 1) %
			     ADP_BLOCK_SIZE;
		piece->len = boundary + 1;
		piece->seed = run->seed;
		adp_fill(piece->cpu, piece->len, piece->seed, 0);
		sg_set_page(sg, virt_to_page(piece->cpu), piece->len, 0);
	}
	if (adp_sg_call(run, list, __adp_sg_map)) {
		adp_fail(run, "not mapped");
	} else {
		adp_expect(run, list->sgt.nents == 1,
			   "%u segments with boundary 0x%lx", list->sgt.nents,
			   boundary);
		adp_list_prove(run, list, false);
		adp_sg_call(run, list, __adp_sg_unmap);
	}
	adp_list_free(list);
}

const struct adp_case adp_sg_cases[] = {
	{ "sg", adp_case_sg },
	{ "sg_new", adp_case_sg_new },
	{ "sg_map", adp_case_sg_map },
	{ "sg_check", adp_case_sg_check },
	{ "sg_unmap", adp_case_sg_unmap },
	{ "sg_free", adp_case_sg_free },
	{ "merge", adp_case_merge },
	{ }
};
