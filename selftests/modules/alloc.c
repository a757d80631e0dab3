// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that comes from the DMA API.
 */
#include <linux/delay.h>
#include <linux/dmapool.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "adp_test.h"

struct adp_alloc_op {
	struct adp_dev *adp;
	struct adp_buf *buf;
	gfp_t gfp;
	int ret;
};

static void __adp_buf_alloc(void *arg)
{
	struct adp_alloc_op *op = arg;
	struct device *dev = op->adp->dev;
	struct adp_buf *buf = op->buf;

	switch (buf->kind) {
	case ADP_PAGES:
		buf->page = dma_alloc_pages(dev, buf->size, &buf->dma,
					    DMA_BIDIRECTIONAL, op->gfp);
		buf->cpu = buf->page ? page_address(buf->page) : NULL;
		break;
	case ADP_NONCONTIG:
		buf->sgt = dma_alloc_noncontiguous(dev, buf->size,
						   DMA_BIDIRECTIONAL, op->gfp,
						   0);
		if (!buf->sgt)
			break;
		buf->dma = sg_dma_address(buf->sgt->sgl);
		buf->cpu = dma_vmap_noncontiguous(dev, buf->size, buf->sgt);
		if (!buf->cpu) {
			dma_free_noncontiguous(dev, buf->size, buf->sgt,
					       DMA_BIDIRECTIONAL);
			buf->sgt = NULL;
		}
		break;
	case ADP_WC:
		buf->cpu = dma_alloc_wc(dev, buf->size, &buf->dma, op->gfp);
		break;
	default:
		buf->cpu = dma_alloc_coherent(dev, buf->size, &buf->dma,
					      op->gfp);
	}
	op->ret = buf->cpu ? 0 : -ENOMEM;
}

int adp_buf_alloc(struct adp_dev *adp, struct adp_buf *buf, enum adp_ctx ctx)
{
	struct adp_alloc_op op = {
		.adp = adp, .buf = buf,
		.gfp = adp_ctx_gfp(ctx) | __GFP_NOWARN,
	};

	adp_call(ctx, __adp_buf_alloc, &op);
	return op.ret;
}

static void __adp_buf_free(void *arg)
{
	struct adp_alloc_op *op = arg;
	struct device *dev = op->adp->dev;
	struct adp_buf *buf = op->buf;

	switch (buf->kind) {
	case ADP_PAGES:
		dma_free_pages(dev, buf->size, buf->page, buf->dma,
			       DMA_BIDIRECTIONAL);
		break;
	case ADP_NONCONTIG:
		dma_vunmap_noncontiguous(dev, buf->cpu);
		dma_free_noncontiguous(dev, buf->size, buf->sgt,
				       DMA_BIDIRECTIONAL);
		break;
	case ADP_WC:
		dma_free_wc(dev, buf->size, buf->cpu, buf->dma);
		break;
	default:
		dma_free_coherent(dev, buf->size, buf->cpu, buf->dma);
	}
	buf->cpu = NULL;
}

void adp_buf_free(struct adp_dev *adp, struct adp_buf *buf, enum adp_ctx ctx)
{
	struct adp_alloc_op op = { .adp = adp, .buf = buf };

	if (buf->cpu)
		adp_call(ctx, __adp_buf_free, &op);
}

/* Only memory that is not coherent is handed over and back. */
static void adp_buf_sync(struct adp_dev *adp, struct adp_buf *buf, bool for_cpu)
{
	struct device *dev = adp->dev;

	if (buf->kind == ADP_PAGES && for_cpu)
		dma_sync_single_for_cpu(dev, buf->dma, buf->size,
					DMA_BIDIRECTIONAL);
	else if (buf->kind == ADP_PAGES)
		dma_sync_single_for_device(dev, buf->dma, buf->size,
					   DMA_BIDIRECTIONAL);
	else if (buf->kind == ADP_NONCONTIG && for_cpu)
		dma_sync_sgtable_for_cpu(dev, buf->sgt, DMA_BIDIRECTIONAL);
	else if (buf->kind == ADP_NONCONTIG)
		dma_sync_sgtable_for_device(dev, buf->sgt, DMA_BIDIRECTIONAL);
}

int adp_buf_mmap(struct adp_dev *adp, struct adp_buf *buf,
		 struct vm_area_struct *vma)
{
	switch (buf->kind) {
	case ADP_PAGES:
		return dma_mmap_pages(adp->dev, vma, buf->size, buf->page);
	case ADP_NONCONTIG:
		return dma_mmap_noncontiguous(adp->dev, vma, buf->size,
					      buf->sgt);
	case ADP_WC:
		return dma_mmap_wc(adp->dev, vma, buf->cpu, buf->dma,
				   buf->size);
	default:
		return dma_mmap_coherent(adp->dev, vma, buf->cpu, buf->dma,
					 buf->size);
	}
}

static enum adp_kind adp_arg_kind(struct adp_run *run)
{
	static const char * const names[ADP_NR_KIND] = {
		[ADP_COHERENT] = "coherent",
		[ADP_WC] = "wc",
		[ADP_PAGES] = "pages",
		[ADP_NONCONTIG] = "noncontig",
	};
	enum adp_kind kind;
	char word[16];

	if (!adp_word(run, "kind", word, sizeof(word)))
		return ADP_COHERENT;
	for (kind = ADP_COHERENT; kind < ADP_NR_KIND; kind++)
		if (!strcmp(word, names[kind]))
			return kind;
	adp_fail(run, "kind=%s is unknown", word);
	return ADP_COHERENT;
}

/*
 * The device reads and writes @len bytes at @off, a piece of every segment
 * that is there.
 */
static bool adp_buf_piece(struct adp_run *run, struct adp_buf *buf, size_t off,
			  size_t len)
{
	u64 seed = adp_rnd64(run);
	dma_addr_t dma = buf->dma + off;
	size_t where;

	if (buf->kind == ADP_NONCONTIG) {
		struct scatterlist *sg;
		size_t base = 0;
		unsigned int i;

		for_each_sgtable_dma_sg(buf->sgt, sg, i) {
			if (off < base + sg_dma_len(sg))
				break;
			base += sg_dma_len(sg);
		}
		if (!adp_expect(run, sg && off >= base,
				"no segment has byte %zu", off))
			return false;
		dma = sg_dma_address(sg) + (off - base);
		len = min_t(size_t, len, base + sg_dma_len(sg) - off);
	}

	adp_fill(buf->cpu + off, len, seed, off);
	dma_wmb();
	adp_buf_sync(run->adp, buf, false);
	if (!adp_dev_holds(run, dma, len, seed, off) ||
	    !adp_dev_fill(run, dma, len, seed + 1, off))
		return false;
	adp_buf_sync(run->adp, buf, true);
	dma_rmb();
	return adp_expect(run,
			  adp_same(buf->cpu + off, len, seed + 1, off, &where),
			  "byte %zu of %zu did not come from %pad", where, len,
			  &dma);
}

/* The device reads and writes the ends and two places between. */
void adp_buf_prove(struct adp_run *run, struct adp_buf *buf)
{
	size_t n = min_t(size_t, buf->size, ADP_EDU_BUF_SIZE);
	unsigned int i;

	if (!adp_buf_piece(run, buf, 0, n) ||
	    !adp_buf_piece(run, buf, buf->size - n, n))
		return;
	for (i = 0; i < 2; i++)
		if (!adp_buf_piece(run, buf,
				   adp_below(run, buf->size - n + 1), n))
			return;
}

#define ADP_APART_ORDER		get_order(SZ_4M)

/* Blocks of 4 MiB that are held; each begins with the address of the next one. */
struct adp_apart {
	void *first;
};

static void adp_apart_end(struct adp_apart *apart)
{
	while (apart->first) {
		void *block = apart->first;

		apart->first = *(void **)block;
		free_pages((unsigned long)block, ADP_APART_ORDER);
	}
}

/*
 * See to it that no two free blocks of 4 MiB are next to each other: take them all, and
 * give each second one back. Return: how many are free.
 */
static unsigned int adp_apart_begin(struct adp_apart *apart)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;
	struct adp_apart back = {};
	unsigned int nr = 0;
	void *block, **link;

	while ((block = (void *)__get_free_pages(gfp, ADP_APART_ORDER))) {
		*(void **)block = apart->first;
		apart->first = block;
	}
	for (link = &apart->first; (block = *link);) {
		if (virt_to_phys(block) & SZ_4M) {
			link = block;
			continue;
		}
		*link = *(void **)block;
		*(void **)block = back.first;
		back.first = block;
		nr++;
	}
	adp_apart_end(&back);
	return nr;
}

/*
 * rounds= times n= buffers of kind=, min= to max= bytes: every one begins where
 * its size says, is zero, and works both ways; all live at once, freed in random
 * order. apart=1: while there is no memory in one piece of more than 4 MiB; and
 * blocks= pieces of that are free, as it begins.
 */
static void adp_case_alloc(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	enum adp_ctx ctx = adp_arg_ctx(run);
	enum adp_kind kind = adp_arg_kind(run);
	unsigned int rounds = adp_arg(run, "rounds", 1);
	unsigned int i, left, n = adp_arg(run, "n", 16);
	size_t min = adp_arg(run, "min", PAGE_SIZE);
	size_t max = adp_arg(run, "max", SZ_4M);
	bool odd = adp_arg(run, "odd", 0);
	struct adp_buf *bufs = kcalloc(n, sizeof(*bufs), GFP_KERNEL);
	struct adp_apart apart = {};
	u64 bytes = 0;

	if (!bufs || min > max || !min) {
		adp_fail(run, "no memory, or impossible sizes");
		kfree(bufs);
		return;
	}

	if (adp_arg(run, "apart", 0))
		adp_fact(run, "blocks", adp_apart_begin(&apart));
	while (rounds-- && !run->failures) {
		for (i = 0, left = 0; i < n; i++) {
			struct adp_buf *buf = &bufs[i];
			u64 align;

			buf->kind = kind;
			/* Every size in turn, then by chance. */
			if (min << i <= max)
				buf->size = min << i;
			else
				buf->size = min << adp_below(run,
							     ilog2(max / min) + 1);
			if (odd && buf->size > 1)
				buf->size -= adp_below(run, buf->size / 2);
			if (adp_buf_alloc(adp, buf, ctx)) {
				adp_fail(run, "%zu bytes: nothing", buf->size);
				break;
			}
			left++;
			bytes += buf->size;

			align = PAGE_SIZE << get_order(buf->size);
			if (kind == ADP_COHERENT || kind == ADP_WC)
				adp_expect(run,
					   IS_ALIGNED(buf->dma, align) &&
					   PAGE_ALIGNED(buf->cpu),
					   "%zu bytes at %p, %pad", buf->size,
					   buf->cpu, &buf->dma);
			if (kind == ADP_COHERENT || kind == ADP_WC)
				adp_expect(run,
					   !memchr_inv(buf->cpu, 0, buf->size),
					   "%zu bytes are not zero", buf->size);
			adp_buf_prove(run, buf);
		}
		/* The earlier ones still lead where they did. */
		for (i = 0; i < left; i++)
			adp_buf_prove(run, &bufs[i]);
		while (left) {
			struct adp_buf *buf = &bufs[adp_below(run, n)];

			if (!buf->cpu)
				continue;
			/* Coherent memory is never freed with interrupts off. */
			adp_buf_free(adp, buf, ctx == ADP_BH ||
				     ctx == ADP_SOFTIRQ ? ctx : ADP_PROCESS);
			left--;
		}
	}
	adp_apart_end(&apart);
	adp_fact(run, "bytes", bytes);
	kfree(bufs);
}

/*
 * A driver's own bug does not take its queues from under the device: coherent memory
 * of size= bytes, mapped once as if it were any other and unmapped times= more than
 * that, is as it was wait= milliseconds later.
 */
static void adp_case_pinned(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	struct adp_buf buf = {
		.kind = ADP_COHERENT, .size = adp_arg(run, "size", SZ_64K),
	};
	unsigned int times = adp_arg(run, "times", 3);
	dma_addr_t dma;

	if (adp_buf_alloc(adp, &buf, ADP_PROCESS)) {
		adp_fail(run, "no memory");
		return;
	}
	dma = dma_map_single(adp->dev, buf.cpu, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (adp_expect(run, !dma_mapping_error(adp->dev, dma), "not mapped")) {
		for (; times + 1; times--)
			dma_unmap_single(adp->dev, dma, PAGE_SIZE,
					 DMA_BIDIRECTIONAL);
		msleep(adp_arg(run, "wait", 0));
		adp_buf_prove(run, &buf);
	}
	adp_buf_free(adp, &buf, ADP_PROCESS);
}

/* A scatterlist of coherent memory has the pages that the CPU sees. */
static void adp_case_sgtable(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	struct adp_buf buf = {
		.kind = ADP_COHERENT, .size = adp_arg(run, "size", SZ_128K),
	};
	struct sg_mapping_iter iter;
	struct sg_table sgt;
	size_t off = 0;
	int ret;

	if (adp_buf_alloc(adp, &buf, ADP_PROCESS)) {
		adp_fail(run, "no memory");
		return;
	}
	adp_fill(buf.cpu, buf.size, run->seed, 0);
	ret = dma_get_sgtable(adp->dev, &sgt, buf.cpu, buf.dma, buf.size);
	if (ret) {
		adp_fail(run, "dma_get_sgtable: %d", ret);
		goto out;
	}
	sg_miter_start(&iter, sgt.sgl, sgt.orig_nents, SG_MITER_FROM_SG);
	while (sg_miter_next(&iter) && off < buf.size) {
		size_t n = min_t(size_t, iter.length, buf.size - off);

		adp_expect(run, adp_same(iter.addr, n, run->seed, off, NULL),
			   "byte %zu of the list is not the buffer's", off);
		off += n;
	}
	sg_miter_stop(&iter);
	adp_expect(run, off == buf.size, "the list has %zu of %zu bytes", off,
		   buf.size);
	sg_free_table(&sgt);
out:
	adp_buf_free(adp, &buf, ADP_PROCESS);
}

/* Small coherent blocks, as drivers keep their descriptors in. */
static void adp_case_pool(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	unsigned int i, n = adp_arg(run, "n", 40);
	size_t size = adp_arg(run, "size", 256);
	struct adp_buf *bufs = kcalloc(n, sizeof(*bufs), GFP_KERNEL);
	struct dma_pool *pool;

	pool = dma_pool_create("adp_test", adp->dev, size, size, 0);
	if (!bufs || !pool) {
		adp_fail(run, "no pool");
		goto out;
	}
	for (i = 0; i < n; i++) {
		bufs[i].size = size;
		bufs[i].cpu = dma_pool_alloc(pool, GFP_ATOMIC, &bufs[i].dma);
		if (!bufs[i].cpu) {
			adp_fail(run, "block %u: nothing", i);
			break;
		}
		adp_expect(run, IS_ALIGNED(bufs[i].dma, size), "block at %pad",
			   &bufs[i].dma);
	}
	for (i = 0; i < n && bufs[i].cpu; i++)
		adp_buf_piece(run, &bufs[i], 0, size);
	for (i = 0; i < n && bufs[i].cpu; i++)
		dma_pool_free(pool, bufs[i].cpu, bufs[i].dma);
out:
	dma_pool_destroy(pool);
	kfree(bufs);
}

/* A buffer of kind= and size= that stays, for mmap(). */
static void adp_case_buf_new(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;

	adp_buf_free(adp, &adp->buf, ADP_PROCESS);
	adp->buf.kind = adp_arg_kind(run);
	adp->buf.size = adp_arg(run, "size", SZ_64K);
	adp_expect(run, !adp_buf_alloc(adp, &adp->buf, ADP_PROCESS),
		   "no memory");
}

/* The device writes stream seed= into the buffer. */
static void adp_case_buf_fill(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;

	if (!adp->buf.cpu) {
		adp_fail(run, "there is no buffer");
		return;
	}
	adp_dev_fill(run, adp->buf.dma, adp->buf.size, run->seed, 0);
	adp_buf_sync(adp, &adp->buf, true);
}

/* The device finds stream seed= in the buffer. */
static void adp_case_buf_check(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;

	if (!adp->buf.cpu) {
		adp_fail(run, "there is no buffer");
		return;
	}
	adp_buf_sync(adp, &adp->buf, false);
	adp_dev_holds(run, adp->buf.dma, adp->buf.size, run->seed, 0);
}

static void adp_case_buf_free(struct adp_run *run)
{
	adp_buf_free(run->adp, &run->adp->buf, ADP_PROCESS);
}

const struct adp_case adp_alloc_cases[] = {
	{ "alloc", adp_case_alloc },
	{ "pinned", adp_case_pinned },
	{ "sgtable", adp_case_sgtable },
	{ "pool", adp_case_pool },
	{ "buf_new", adp_case_buf_new },
	{ "buf_fill", adp_case_buf_fill },
	{ "buf_check", adp_case_buf_check },
	{ "buf_free", adp_case_buf_free },
	{ }
};
