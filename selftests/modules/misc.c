// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device is told about its DMA: masks, limits, the ends of memory, and
 * the requests that must be refused.
 */
#include <linux/delay.h>
#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "adp_test.h"

static void adp_ctx_check(void *arg)
{
	enum adp_ctx *ctx = arg;

	if (adp_ctx_is(*ctx))
		*ctx = ADP_NR_CTX;
}

/* Each context is the one that it claims to be. */
static void adp_case_ctx(struct adp_run *run)
{
	enum adp_ctx ctx;

	for (ctx = 0; ctx < ADP_NR_CTX; ctx++) {
		enum adp_ctx seen = ctx;

		adp_call(ctx, adp_ctx_check, &seen);
		adp_expect(run, seen == ADP_NR_CTX, "%s is something else",
			   adp_ctx_name(ctx));
	}
}

/* A message-signalled interrupt is a write too, and must arrive. */
static void adp_case_irq(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	unsigned int i, n = adp_arg(run, "n", 3);
	int before = atomic_read(&adp->irqs[1]);

	for (i = 0; i < n; i++) {
		int ret;

		reinit_completion(&adp->irq_done);
		mutex_lock(&adp->engine);
		ret = adp_edu_dma(adp, adp->staging_dma, 0, 64, false, true);
		mutex_unlock(&adp->engine);
		adp_expect(run, !ret, "transfer: %d", ret);
		if (!wait_for_completion_timeout(&adp->irq_done, 2 * HZ)) {
			adp_fail(run, "no interrupt for transfer %u", i);
			return;
		}
	}
	adp_expect(run, atomic_read(&adp->irqs[1]) == before + (int)n,
		   "%d interrupts for %u transfers",
		   atomic_read(&adp->irqs[1]) - before, n);
}

static void adp_mask_alloc(struct adp_run *run, u64 mask, u64 *got, u64 *none)
{
	size_t size;

	for (size = PAGE_SIZE; size <= SZ_256K; size *= 2) {
		struct adp_buf buf = { .kind = ADP_COHERENT, .size = size };

		if (adp_buf_alloc(run->adp, &buf, ADP_PROCESS)) {
			(*none)++;
			continue;
		}
		(*got)++;
		adp_expect(run, buf.dma + size - 1 <= mask,
			   "coherent %pad of %zu bytes is beyond 0x%llx",
			   &buf.dma, size, mask);
		adp_buf_free(run->adp, &buf, ADP_PROCESS);
	}
}

/*
 * With a mask of bits= set, no address is beyond it. want=ok: everything can be
 * mapped all the same. want=refused: the platform's addresses are all beyond.
 * want=some: the mask is taken, but some of them are.
 */
static void adp_case_mask(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	unsigned int bits = adp_arg(run, "bits", 32);
	unsigned int i, n = adp_arg(run, "n", 32);
	u64 mask = DMA_BIT_MASK(bits);
	u64 got = 0, none = 0;
	struct adp_map *maps;
	char want[16] = "ok";
	int ret;

	adp_word(run, "want", want, sizeof(want));
	maps = kcalloc(n, sizeof(*maps), GFP_KERNEL);
	if (!maps) {
		adp_fail(run, "no memory");
		return;
	}

	ret = dma_set_mask_and_coherent(adp->dev, mask);
	adp_fact(run, "set", !ret);
	if (ret)
		goto verdict;

	for (i = 0; i < n; i++) {
		struct adp_map *map = &maps[i];

		map->cpu = (void *)__get_free_page(GFP_KERNEL);
		if (!map->cpu) {
			adp_fail(run, "no memory");
			break;
		}
		map->kind = i & 1 ? ADP_SINGLE : ADP_PAGE;
		map->len = PAGE_SIZE;
		map->dir = DMA_BIDIRECTIONAL;
		map->seed = adp_rnd64(run);
		adp_fill(map->cpu, map->len, map->seed, 0);
		if (adp_map(adp, map, ADP_PROCESS)) {
			none++;
			continue;
		}
		got++;
		adp_expect(run, map->dma + map->len - 1 <= mask,
			   "%pad is beyond 0x%llx", &map->dma, mask);
		adp_prove(run, map, ADP_PROCESS);
	}
	for (i = 0; i < n; i++) {
		if (maps[i].live) {
			adp_unmap(adp, &maps[i], ADP_PROCESS);
			adp_prove_unmapped(run, &maps[i]);
		}
		free_page((unsigned long)maps[i].cpu);
	}
	adp_mask_alloc(run, mask, &got, &none);
verdict:
	adp_fact(run, "mapped", got);
	adp_fact(run, "refused", none);
	if (!strcmp(want, "ok"))
		adp_expect(run, !ret && got && !none,
			   "%u bits: set %d, %llu refused", bits, ret, none);
	else if (!strcmp(want, "refused"))
		adp_expect(run, ret || !got, "%u bits: %llu mapped", bits, got);
	else if (!strcmp(want, "some"))
		adp_expect(run, !ret && none, "%u bits: set %d, %llu refused",
			   bits, ret, none);
	else
		adp_fail(run, "want=%s is unknown", want);

	ret = dma_set_mask_and_coherent(adp->dev, DMA_BIT_MASK(64));
	adp_expect(run, !ret, "64 bits again: %d", ret);
	kfree(maps);
}

/* The answers about sizes are possible ones and agree with each other. */
static void adp_case_sizes(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	size_t max = dma_max_mapping_size(adp->dev);
	size_t opt = dma_opt_mapping_size(adp->dev);
	u64 mask = dma_get_required_mask(adp->dev);
	unsigned long merge = dma_get_merge_boundary(adp->dev);

	adp_fact(run, "max", max);
	adp_fact(run, "opt", opt);
	adp_fact(run, "required_mask", mask);
	adp_fact(run, "merge", merge);
	adp_expect(run, max >= SZ_4M, "max %zu is less than 4 MiB", max);
	adp_expect(run, opt >= PAGE_SIZE && opt <= max, "opt %zu, max %zu", opt,
		   max);
	adp_expect(run, mask && !(mask & (mask + 1)), "mask 0x%llx has holes",
		   mask);
	adp_expect(run, adp->staging_dma + ADP_EDU_BUF_SIZE - 1 <= mask,
		   "%pad is beyond the required mask 0x%llx", &adp->staging_dma,
		   mask);
	adp_expect(run, !(merge & (merge + 1)), "merge boundary 0x%lx", merge);
	adp_expect(run, !merge || merge + 1 <= max, "merge boundary 0x%lx",
		   merge);
}

/* A function's registers are not memory. */
static void adp_case_resource(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	dma_addr_t dma;

	dma = dma_map_resource(adp->dev, pci_resource_start(adp->pdev, 0),
			       SZ_16K, DMA_BIDIRECTIONAL, 0);
	if (dma_mapping_error(adp->dev, dma))
		return;
	adp_fail(run, "registers are mapped at %pad", &dma);
	dma_unmap_resource(adp->dev, dma, SZ_16K, DMA_BIDIRECTIONAL, 0);
}

struct adp_ram {
	struct resource res[64];
	unsigned int n;
};

static int adp_ram_add(struct resource *res, void *arg)
{
	struct adp_ram *ram = arg;

	if (ram->n == ARRAY_SIZE(ram->res))
		return -ENOSPC;
	ram->res[ram->n++] = *res;
	return 0;
}

static struct adp_ram *adp_ram_ranges(struct adp_run *run)
{
	struct adp_ram *ram = kzalloc(sizeof(*ram), GFP_KERNEL);
	int ret;

	if (!ram) {
		adp_fail(run, "no memory");
		return NULL;
	}
	ret = walk_iomem_res_desc(IORES_DESC_NONE,
				  IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY, 0,
				  -1, ram, adp_ram_add);
	if (ret < 0 || !ram->n) {
		adp_fail(run, "System RAM: %d, %u ranges", ret, ram->n);
		kfree(ram);
		return NULL;
	}
	return ram;
}

/* Are all bytes from @start to @end RAM? Neighbouring ranges count as one. */
static bool adp_ram_holds(const struct adp_ram *ram, u64 start, u64 end)
{
	bool moved = true;
	unsigned int i;

	while (moved) {
		moved = false;
		for (i = 0; i < ram->n; i++) {
			if (start < ram->res[i].start ||
			    start > ram->res[i].end)
				continue;
			if (end <= ram->res[i].end)
				return true;
			start = ram->res[i].end + 1;
			moved = true;
		}
	}
	return false;
}

/*
 * Does the device read at @dma what is in @page, which belongs to somebody
 * else, or to nobody: then KASAN minds who reads it where it is, and
 * DEBUG_PAGEALLOC has unmapped it there, so it is mapped once more. The owner
 * may change it meanwhile: what the device read must be what the CPU sees
 * before or after, for some try.
 */
static void adp_ram_reads(struct adp_run *run, struct page *page,
			  dma_addr_t dma)
{
	void *memory = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	u64 cpu = 0, seen = 0;
	unsigned int try;
	int ret;

	if (!memory) {
		adp_expect(run, false, "0x%llx cannot be read: out of memory",
			   (u64)page_to_phys(page));
		return;
	}

	for (try = 0; try < 100; try++) {
		unsigned int off = try * 8 % PAGE_SIZE;
		const u64 *p = memory + off;

		cpu = READ_ONCE(*p);
		ret = adp_dev_read(run->adp, dma + off, &seen, sizeof(seen));
		if (ret || (seen != cpu && seen != READ_ONCE(*p)))
			continue;
		break;
	}
	adp_expect(run, try < 100, "0x%llx: the device reads 0x%llx, not 0x%llx",
		   (u64)page_to_phys(page), seen, cpu);
	vunmap(memory);
}

/* Maps the page at @phys for reading and compares, if it can be mapped. */
static void adp_ram_page(struct adp_run *run, const struct adp_ram *ram,
			 u64 phys, u64 *mapped, u64 *refused)
{
	struct adp_dev *adp = run->adp;
	struct page *page = pfn_to_page(PHYS_PFN(phys));
	u64 first = ALIGN_DOWN(phys, ADP_HOST_PAGE);
	u64 last = ALIGN(phys + PAGE_SIZE, ADP_HOST_PAGE) - 1;
	bool whole = adp_ram_holds(ram, first, last);
	dma_addr_t dma;

	dma = dma_map_page(adp->dev, page, 0, PAGE_SIZE, DMA_TO_DEVICE);
	if (dma_mapping_error(adp->dev, dma)) {
		(*refused)++;
		adp_expect(run, !whole, "RAM at 0x%llx is refused", phys);
		return;
	}
	(*mapped)++;
	adp_ram_reads(run, page, dma);
	dma_unmap_page(adp->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
}

/* The first and the last page of every range of RAM, and what is beyond. */
static void adp_case_ram(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	struct adp_ram *ram = adp_ram_ranges(run);
	u64 mapped = 0, refused = 0, crossings = 0;
	unsigned int i;

	if (!ram)
		return;

	for (i = 0; i < ram->n; i++) {
		u64 first = ALIGN(ram->res[i].start, PAGE_SIZE);
		u64 end = ALIGN_DOWN(ram->res[i].end + 1, PAGE_SIZE);
		u64 pages[] = {
			first, first + PAGE_SIZE, first + ADP_HOST_PAGE,
			end - PAGE_SIZE, end - 2 * PAGE_SIZE,
			end - ADP_HOST_PAGE, end - ADP_HOST_PAGE - PAGE_SIZE,
		};
		unsigned int j;
		dma_addr_t dma;

		if (end <= first)
			continue;
		adp_say(run, "RAM %pR", &ram->res[i]);
		for (j = 0; j < ARRAY_SIZE(pages); j++) {
			if (pages[j] < first || pages[j] + PAGE_SIZE > end ||
			    !pfn_valid(PHYS_PFN(pages[j])))
				continue;
			adp_ram_page(run, ram, pages[j], &mapped, &refused);
		}

		if (adp_ram_holds(ram, end, end + ADP_HOST_PAGE - 1) ||
		    !pfn_valid(PHYS_PFN(end - PAGE_SIZE)))
			continue;
		crossings++;
		dma = dma_map_page(adp->dev,
				   pfn_to_page(PHYS_PFN(end - PAGE_SIZE)), 0,
				   PAGE_SIZE + ADP_HOST_PAGE, DMA_TO_DEVICE);
		if (dma_mapping_error(adp->dev, dma))
			continue;
		adp_fail(run, "a mapping across the end 0x%llx got %pad", end,
			 &dma);
		dma_unmap_page(adp->dev, dma, PAGE_SIZE + ADP_HOST_PAGE,
			       DMA_TO_DEVICE);
	}
	adp_fact(run, "ranges", ram->n);
	adp_fact(run, "mapped", mapped);
	adp_fact(run, "refused", refused);
	adp_fact(run, "crossings", crossings);
	adp_expect(run, mapped && crossings, "%llu mapped, %llu crossings",
		   mapped, crossings);
	kfree(ram);
}

/*
 * Take all free pages, and keep those whose host page is not RAM throughout.
 * Each CPU has a store of free pages, which the others do not get; and the last
 * pages are had by insisting only.
 */
static unsigned int adp_odd_pages(struct adp_ram *ram, unsigned int want,
				  struct list_head *found)
{
	static const gfp_t how[] = {
		/* Of movable pages the kernel hands the odd ones out first. */
		GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN,
		GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN,
	};
	unsigned int n = 0, try;
	struct page *page, *next;
	LIST_HEAD(others);

	for (try = 0; try < 16 && n < want; try++) {
		set_cpus_allowed_ptr(current, cpumask_of(try % num_online_cpus()));
		while (n < want) {
			u64 phys;

			page = alloc_page(how[try / 4 % ARRAY_SIZE(how)]);
			if (!page)
				break;
			phys = page_to_phys(page);
			if (adp_ram_holds(ram, ALIGN_DOWN(phys, ADP_HOST_PAGE),
					  ALIGN(phys + 1, ADP_HOST_PAGE) - 1)) {
				list_add(&page->lru, &others);
			} else {
				list_add(&page->lru, found);
				n++;
			}
		}
		list_for_each_entry_safe(page, next, &others, lru) {
			list_del(&page->lru);
			__free_page(page);
		}
	}
	set_cpus_allowed_ptr(current, cpu_online_mask);
	return n;
}

static void adp_edge_page(struct adp_run *run, struct page *page,
			  enum adp_ctx ctx)
{
	struct adp_dev *adp = run->adp;
	struct adp_map map = {
		.kind = ADP_PAGE, .cpu = page_address(page),
		.len = PAGE_SIZE, .dir = DMA_BIDIRECTIONAL,
		.seed = adp_rnd64(run),
	};

	adp_fill(map.cpu, map.len, map.seed, 0);
	if (adp_map(adp, &map, ctx)) {
		adp_fail(run, "0x%llx is not mapped, %s",
			 (u64)page_to_phys(page), adp_ctx_name(ctx));
	} else {
		adp_prove(run, &map, ctx);
		adp_unmap(adp, &map, ctx);
		adp_prove_unmapped(run, &map);
	}

	map.dir = DMA_FROM_DEVICE;
	if (!adp_map(adp, &map, ctx)) {
		adp_prove(run, &map, ctx);
		adp_unmap(adp, &map, ctx);
		adp_prove_unmapped(run, &map);
	}
}

/*
 * Pages of our own that share a host page with something that is no RAM: the
 * host must not be asked for it, and the mapping works all the same. Memory is
 * taken until there are some; without such places there is nothing to find.
 * What was found serves all contexts: given back, the kernel would be first to
 * take it, and may keep it.
 */
static void adp_case_edge(struct adp_run *run)
{
	static const enum adp_ctx contexts[] = {
		ADP_PROCESS, ADP_IRQOFF, ADP_HARDIRQ,
	};
	struct adp_ram *ram = adp_ram_ranges(run);
	unsigned int want = adp_arg(run, "n", 2);
	struct page *page, *next;
	LIST_HEAD(found);
	unsigned int i, n;

	if (!ram)
		return;
	n = adp_odd_pages(ram, want, &found);

	list_for_each_entry_safe(page, next, &found, lru) {
		adp_say(run, "a page at 0x%llx", (u64)page_to_phys(page));
		for (i = 0; i < ARRAY_SIZE(contexts); i++)
			adp_edge_page(run, page, contexts[i]);
		__free_page(page);
	}
	kfree(ram);
	adp_fact(run, "found", n);
	if (!n)
		adp_skip(run, "no free page at an end of RAM");
}

/*
 * Where memory of @len bytes begins that has a page inside, or 0. Not at the
 * first host page of a range, which is the only start that could serve there:
 * it may be taken by a mapping that is shorter, and a copy has an end.
 */
static u64 adp_big_start(struct adp_ram *ram, u64 phys, u64 len)
{
	unsigned int i;

	for (i = 0; i < ram->n; i++) {
		u64 first = ALIGN(ram->res[i].start, ADP_HOST_PAGE) +
			    ADP_HOST_PAGE;
		u64 end = ALIGN_DOWN(ram->res[i].end + 1, ADP_HOST_PAGE);
		u64 start;

		if (phys < first || phys >= end)
			continue;
		if (end < first + len)
			return 0;
		start = min(max(first, phys & ~(u64)(SZ_1M - 1)), end - len);
		return max(start + len, phys + PAGE_SIZE) - len;
	}
	return 0;
}

/*
 * One mapping of len= bytes (0: as many as dma_max_mapping_size() says), of
 * memory around a page of ours. want=refused: it is too long.
 */
static void adp_case_big(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	size_t max = dma_max_mapping_size(adp->dev);
	u64 len = adp_arg(run, "len", 0);
	struct adp_ram *ram = NULL;
	char want[16] = "ok";
	struct page *page, *other, *next;
	LIST_HEAD(others);
	u64 phys, start = 0;
	dma_addr_t dma;

	adp_word(run, "want", want, sizeof(want));
	page = alloc_page(GFP_KERNEL);
	if (!page) {
		adp_fail(run, "no memory");
		return;
	}
	ram = adp_ram_ranges(run);
	if (!ram)
		goto out;
	if (!len)
		len = max;
	len = ALIGN_DOWN(len, PAGE_SIZE);

	/* The first page may be in a range that is too short: another, then. */
	while (page) {
		phys = page_to_phys(page);
		start = adp_big_start(ram, phys, len);
		if (start)
			break;
		list_add(&page->lru, &others);
		page = alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	}
	list_for_each_entry_safe(other, next, &others, lru)
		__free_page(other);
	if (!start) {
		adp_skip(run, "no range of %llu bytes of RAM", len);
		goto out;
	}

	dma = dma_map_page(adp->dev, pfn_to_page(PHYS_PFN(start)), 0, len,
			   DMA_BIDIRECTIONAL);
	if (dma_mapping_error(adp->dev, dma)) {
		adp_expect(run, !strcmp(want, "refused"),
			   "%llu bytes at 0x%llx are refused, max is %zu", len,
			   start, max);
		goto out;
	}
	adp_expect(run, !strcmp(want, "ok"),
		   "%llu bytes are mapped, max is %zu", len, max);
	dma_sync_single_range_for_cpu(adp->dev, dma, phys - start, PAGE_SIZE,
				      DMA_BIDIRECTIONAL);
	adp_fill(page_address(page), PAGE_SIZE, run->seed, 0);
	dma_sync_single_range_for_device(adp->dev, dma, phys - start, PAGE_SIZE,
					 DMA_BIDIRECTIONAL);
	adp_dev_holds(run, dma + (phys - start), PAGE_SIZE, run->seed, 0);
	adp_dev_fill(run, dma + (phys - start), PAGE_SIZE, run->seed + 1, 0);
	dma_unmap_page(adp->dev, dma, len, DMA_BIDIRECTIONAL);
	adp_expect(run,
		   adp_same(page_address(page), PAGE_SIZE, run->seed + 1, 0,
			    NULL),
		   "what the device wrote is not in the page");
out:
	kfree(ram);
	__free_page(page);
}

/*
 * Longer and longer mappings that begin at the second host page of a range of
 * RAM. There are two starts for them, and what is idle may keep neither from the
 * last one, which is too long for a copy.
 */
static void adp_case_starts(struct adp_run *run)
{
	static const u64 lens[] = { SZ_1M, SZ_4M, SZ_16M };
	struct adp_ram *ram = adp_ram_ranges(run);
	struct adp_dev *adp = run->adp;
	struct page *page;
	dma_addr_t dma;
	u64 start = 0;
	unsigned int i;

	if (!ram)
		return;
	for (i = 0; i < ram->n && !start; i++) {
		u64 first = ALIGN(ram->res[i].start, ADP_HOST_PAGE);

		if (adp_ram_holds(ram, first, first + ADP_HOST_PAGE + SZ_16M - 1))
			start = first + ADP_HOST_PAGE;
	}
	kfree(ram);
	if (!start) {
		adp_skip(run, "no range of %u bytes of RAM", SZ_16M);
		return;
	}

	page = pfn_to_page(PHYS_PFN(start));
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		dma = dma_map_page(adp->dev, page, 0, lens[i], DMA_TO_DEVICE);
		if (dma_mapping_error(adp->dev, dma)) {
			adp_fail(run, "%llu bytes at 0x%llx are refused",
				 lens[i], start);
			return;
		}
		adp_ram_reads(run, page, dma);
		dma_unmap_page(adp->dev, dma, lens[i], DMA_TO_DEVICE);
	}
}

/* Unmapping what is not mapped, or not any more, breaks nothing else. */
static void adp_case_unknown(struct adp_run *run)
{
	struct adp_map other = {
		.kind = ADP_SINGLE, .len = PAGE_SIZE,
		.dir = DMA_BIDIRECTIONAL, .seed = run->seed,
	};
	struct adp_map map = other, again = other;
	struct adp_dev *adp = run->adp;

	other.cpu = (void *)__get_free_page(GFP_KERNEL);
	again.cpu = other.cpu;
	map.cpu = (void *)__get_free_pages(GFP_KERNEL, get_order(SZ_64K));
	if (!other.cpu || !map.cpu) {
		adp_fail(run, "no memory");
		goto out;
	}
	adp_fill(other.cpu, other.len, other.seed, 0);
	adp_fill(map.cpu, map.len, map.seed, 0);
	if (adp_map(adp, &other, ADP_PROCESS)) {
		adp_fail(run, "not mapped");
		goto out;
	}
	/* Where they share a window, the last of the unmaps takes what keeps this. */
	if (adp_map(adp, &again, ADP_PROCESS)) {
		adp_fail(run, "not mapped twice");
		adp_unmap(adp, &other, ADP_PROCESS);
		goto out;
	}

	dma_unmap_single(adp->dev, adp_arg(run, "addr", 0x4000), PAGE_SIZE,
			 DMA_BIDIRECTIONAL);
	dma_unmap_single(adp->dev, ~0x3fffULL, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (adp_map(adp, &map, ADP_PROCESS)) {
		adp_fail(run, "not mapped");
	} else {
		dma_addr_t dma = map.dma;

		adp_prove(run, &map, ADP_PROCESS);
		adp_unmap(adp, &map, ADP_PROCESS);
		dma_unmap_single(adp->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	}

	/* The bystander and its successors are well. */
	adp_prove(run, &other, ADP_PROCESS);
	adp_unmap(adp, &again, ADP_PROCESS);
	adp_unmap(adp, &other, ADP_PROCESS);
	adp_prove_unmapped(run, &other);
	if (adp_map(adp, &map, ADP_PROCESS)) {
		adp_fail(run, "not mapped again");
	} else {
		adp_prove(run, &map, ADP_PROCESS);
		adp_unmap(adp, &map, ADP_PROCESS);
		adp_prove_unmapped(run, &map);
	}
out:
	free_page((unsigned long)other.cpu);
	free_pages((unsigned long)map.cpu, get_order(SZ_64K));
}

/*
 * Makes the device use an address that it was not given: addr=, or, without
 * it, one whose mapping has ended wait= milliseconds ago. With the emulated
 * platform told to end the machine, nothing comes after this.
 */
static void adp_case_stray(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	bool write = adp_arg_dir(run, DMA_TO_DEVICE) != DMA_TO_DEVICE;
	dma_addr_t dma = adp_arg(run, "addr", 0);
	u8 buf[64] = { };

	if (!dma) {
		struct adp_map map = {
			.kind = ADP_SINGLE, .len = PAGE_SIZE,
			.dir = DMA_BIDIRECTIONAL, .seed = run->seed,
		};

		map.cpu = (void *)__get_free_page(GFP_KERNEL);
		if (!map.cpu) {
			adp_fail(run, "no memory");
			return;
		}
		adp_fill(map.cpu, map.len, map.seed, 0);
		if (adp_map(adp, &map, ADP_PROCESS)) {
			adp_fail(run, "not mapped");
			free_page((unsigned long)map.cpu);
			return;
		}
		adp_prove(run, &map, ADP_PROCESS);
		dma = map.dma;
		adp_unmap(adp, &map, ADP_PROCESS);
		free_page((unsigned long)map.cpu);
		if (run->failures)
			return;
		msleep(adp_arg(run, "wait", 0));
	}

	dev_notice(adp->dev, "%s at %pad, which is not mapped\n",
		   write ? "write" : "read", &dma);
	if (write)
		adp_dev_write(adp, dma, buf, sizeof(buf));
	else
		adp_dev_read(adp, dma, buf, sizeof(buf));
}

#ifdef CONFIG_PCI_P2PDMA
/*
 * Memory of another device is not the guest's: it is refused, whichever way it is
 * mapped, and the kernel's own peer-to-peer code knows.
 */
static void adp_case_p2p(struct adp_run *run)
{
	struct adp_dev *adp = run->adp;
	struct pci_dev *peer = NULL;
	struct sg_table sgt;
	dma_addr_t dma;
	void *buf = NULL;
	int ret;

	for_each_pci_dev(peer) {
		buf = pci_alloc_p2pmem(peer, PAGE_SIZE);
		if (buf)
			break;
	}
	if (!buf) {
		adp_skip(run, "no device offers memory to others");
		goto out;
	}
	adp_say(run, "memory of %s", pci_name(peer));
	ret = pci_p2pdma_distance(peer, adp->dev, false);
	adp_expect(run, ret < 0, "the kernel calls it reachable: %d", ret);

	dma = dma_map_page(adp->dev, virt_to_page(buf), 0, PAGE_SIZE,
			   DMA_BIDIRECTIONAL);
	adp_expect(run, dma_mapping_error(adp->dev, dma), "mapped at %pad",
		   &dma);

	ret = sg_alloc_table(&sgt, 1, GFP_KERNEL);
	if (ret) {
		adp_fail(run, "no memory");
	} else {
		sg_set_page(sgt.sgl, virt_to_page(buf), PAGE_SIZE, 0);
		ret = dma_map_sgtable(adp->dev, &sgt, DMA_BIDIRECTIONAL, 0);
		adp_expect(run, ret, "a list of it is mapped at %pad",
			   &sg_dma_address(sgt.sgl));
		sg_free_table(&sgt);
	}
	pci_free_p2pmem(peer, buf, PAGE_SIZE);
out:
	pci_dev_put(peer);
}
#else
static void adp_case_p2p(struct adp_run *run)
{
	adp_skip(run, "the kernel has no CONFIG_PCI_P2PDMA");
}
#endif

const struct adp_case adp_misc_cases[] = {
	{ "ctx", adp_case_ctx },
	{ "irq", adp_case_irq },
	{ "mask", adp_case_mask },
	{ "sizes", adp_case_sizes },
	{ "resource", adp_case_resource },
	{ "ram", adp_case_ram },
	{ "edge", adp_case_edge },
	{ "big", adp_case_big },
	{ "starts", adp_case_starts },
	{ "unknown", adp_case_unknown },
	{ "p2p", adp_case_p2p },
	{ "stray", adp_case_stray },
	{ }
};
