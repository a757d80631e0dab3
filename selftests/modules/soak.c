// SPDX-License-Identifier: GPL-2.0-only
/*
 * Long random histories against a model of what must lie behind each address.
 */
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "adp_test.h"

#define ADP_POOL_ORDER	get_order(SZ_256K)
#define ADP_POOL_BLOCK	(PAGE_SIZE << ADP_POOL_ORDER)

/**
 * struct adp_pool - memory that streaming mappings are made of
 * @n: blocks
 * @blocks: the blocks
 */
struct adp_pool {
	unsigned int n;
	u8 **blocks;
};

static void adp_pool_exit(struct adp_pool *pool)
{
	unsigned int i;

	for (i = 0; pool->blocks && i < pool->n; i++)
		free_pages((unsigned long)pool->blocks[i], ADP_POOL_ORDER);
	kvfree(pool->blocks);
}

static int adp_pool_init(struct adp_pool *pool, size_t size, u64 seed)
{
	unsigned int i;

	pool->n = DIV_ROUND_UP(size, ADP_POOL_BLOCK);
	pool->blocks = kvcalloc(pool->n, sizeof(*pool->blocks), GFP_KERNEL);
	if (!pool->blocks)
		return -ENOMEM;
	for (i = 0; i < pool->n; i++) {
		pool->blocks[i] = (u8 *)__get_free_pages(GFP_KERNEL,
							 ADP_POOL_ORDER);
		if (!pool->blocks[i])
			return -ENOMEM;
		adp_fill(pool->blocks[i], ADP_POOL_BLOCK, seed + i, 0);
	}
	return 0;
}

enum adp_slot_kind {
	ADP_SLOT_FREE,
	ADP_SLOT_MAP,
	ADP_SLOT_LIST,
	ADP_SLOT_BUF,
};

struct adp_slot {
	enum adp_slot_kind kind;
	struct adp_map map;
	struct adp_list *list;
	struct adp_buf buf;
};

struct adp_soak {
	struct adp_pool pool;
	struct adp_slot *slots;
	unsigned int n;
	bool limits;
	bool apart;
	u64 refused;
};

/* A length up to @max, where short ones are as likely as long ones. */
static size_t adp_soak_len(struct adp_run *run, size_t max)
{
	return 1 + adp_below(run, max >> adp_below(run, ilog2(max)));
}

/* Where two mappings share addresses, they must share the bytes behind. */
static void adp_soak_overlap(struct adp_run *run, struct adp_soak *soak,
			     struct adp_slot *slot)
{
	dma_addr_t dma = slot->kind == ADP_SLOT_MAP ? slot->map.dma :
						      slot->buf.dma;
	size_t len = slot->kind == ADP_SLOT_MAP ? slot->map.len :
						  slot->buf.size;
	unsigned int i;

	for (i = 0; i < soak->n; i++) {
		struct adp_slot *other = &soak->slots[i];
		dma_addr_t start;
		size_t size;

		if (other == slot || (other->kind != ADP_SLOT_MAP &&
				      other->kind != ADP_SLOT_BUF))
			continue;
		start = other->kind == ADP_SLOT_MAP ? other->map.dma :
						      other->buf.dma;
		size = other->kind == ADP_SLOT_MAP ? other->map.len :
						     other->buf.size;
		if (start >= dma + len || dma >= start + size)
			continue;
		if (slot->kind == ADP_SLOT_MAP && other->kind == ADP_SLOT_MAP &&
		    virt_to_phys(slot->map.cpu) - dma ==
		    virt_to_phys(other->map.cpu) - start)
			continue;
		adp_fail(run, "%pad+0x%zx overlaps %pad+0x%zx", &dma, len,
			 &start, size);
	}
}

/* Does another mapping have some of this memory? Copies do not share it. */
static bool adp_soak_shares(struct adp_soak *soak, const struct adp_slot *slot)
{
	const struct adp_map *map = &slot->map;
	unsigned int i;

	for (i = 0; i < soak->n; i++) {
		const struct adp_map *other = &soak->slots[i].map;

		if (&soak->slots[i] != slot &&
		    soak->slots[i].kind == ADP_SLOT_MAP &&
		    other->cpu < map->cpu + map->len &&
		    map->cpu < other->cpu + other->len)
			return true;
	}
	return false;
}

static void adp_soak_refused(struct adp_run *run, struct adp_soak *soak,
			     const char *what, size_t size)
{
	soak->refused++;
	adp_expect(run, soak->limits, "%s, %zu: refused", what, size);
}

static void adp_soak_fill(struct adp_run *run, struct adp_soak *soak,
			  struct adp_slot *slot, enum adp_ctx ctx)
{
	u32 dice = adp_below(run, 100);

	if (dice < 70) {
		struct adp_map *map = &slot->map;
		u8 *block = soak->pool.blocks[adp_below(run, soak->pool.n)];

		map->kind = adp_below(run, 2) ? ADP_PAGE : ADP_SINGLE;
		map->dir = DMA_BIDIRECTIONAL;
		map->len = adp_soak_len(run, ADP_POOL_BLOCK);
		map->cpu = block + adp_below(run, ADP_POOL_BLOCK - map->len + 1);
		if (soak->apart && adp_soak_shares(soak, slot))
			return;
		if (adp_map(run->adp, map, ctx)) {
			adp_soak_refused(run, soak, "bytes", map->len);
			return;
		}
		slot->kind = ADP_SLOT_MAP;
		adp_soak_overlap(run, soak, slot);
	} else if (dice < 85) {
		const struct adp_shape shape = {
			.n = adp_soak_len(run, 64), .min = 1, .max = PAGE_SIZE,
			.gap = SZ_16K, .shuffle = true,
			.dir = DMA_BIDIRECTIONAL,
		};

		slot->list = adp_list_make(run, &shape);
		if (!slot->list)
			return;
		if (adp_list_map(run, slot->list, ctx)) {
			adp_soak_refused(run, soak, "entries", shape.n);
			adp_list_free(slot->list);
			return;
		}
		slot->kind = ADP_SLOT_LIST;
	} else {
		struct adp_buf *buf = &slot->buf;

		buf->kind = adp_below(run, 3) ? ADP_COHERENT : ADP_PAGES;
		buf->size = adp_soak_len(run, SZ_64K);
		if (adp_buf_alloc(run->adp, buf, ctx)) {
			adp_soak_refused(run, soak, "coherent bytes", buf->size);
			return;
		}
		slot->kind = ADP_SLOT_BUF;
		adp_expect(run, PAGE_ALIGNED(buf->cpu) && PAGE_ALIGNED(buf->dma),
			   "%zu coherent bytes at %p, %pad", buf->size,
			   buf->cpu, &buf->dma);
		adp_soak_overlap(run, soak, slot);
	}
}

/* A random piece of a mapping, read or written by the device. */
static void adp_soak_touch(struct adp_run *run, struct adp_slot *slot,
			   enum adp_ctx ctx)
{
	struct adp_dev *adp = run->adp;
	struct adp_map *map = &slot->map;
	size_t len, off;
	u8 buf[256];

	if (slot->kind == ADP_SLOT_LIST) {
		adp_list_prove(run, slot->list, false);
		return;
	}
	if (slot->kind == ADP_SLOT_BUF) {
		adp_buf_prove(run, &slot->buf);
		return;
	}

	len = 1 + adp_below(run, min_t(size_t, map->len, sizeof(buf)));
	off = adp_below(run, map->len - len + 1);
	if (adp_below(run, 2)) {
		adp_expect(run,
			   !adp_dev_read(adp, map->dma + off, buf, len) &&
			   !memcmp(buf, map->cpu + off, len),
			   "device reads something else at byte %zu of %zu behind %pad",
			   off, map->len, &map->dma);
	} else {
		adp_fill(buf, len, adp_rnd64(run), 0);
		adp_expect(run, !adp_dev_write(adp, map->dma + off, buf, len),
			   "device write at %pad", &map->dma);
		adp_sync(adp, map, off, len, true, ctx);
		adp_expect(run, !memcmp(buf, map->cpu + off, len),
			   "device wrote elsewhere than byte %zu of %zu behind %pad",
			   off, map->len, &map->dma);
		adp_sync(adp, map, off, len, false, ctx);
	}
}

static void adp_soak_empty(struct adp_run *run, struct adp_slot *slot,
			   enum adp_ctx ctx)
{
	switch (slot->kind) {
	case ADP_SLOT_MAP:
		adp_unmap(run->adp, &slot->map, ctx);
		break;
	case ADP_SLOT_LIST:
		adp_list_unmap(run, slot->list, ctx);
		adp_list_free(slot->list);
		break;
	case ADP_SLOT_BUF:
		/* Coherent memory is never freed with interrupts off. */
		adp_buf_free(run->adp, &slot->buf, ctx == ADP_BH ||
			     ctx == ADP_SOFTIRQ ? ctx : ADP_PROCESS);
		break;
	default:
		break;
	}
	slot->kind = ADP_SLOT_FREE;
}

/*
 * ops= random operations over live= slots and mem= bytes of memory, from every
 * context. limits=1: being refused is no failure, being wrong still is. apart=1: no
 * memory is in two mappings.
 */
static void adp_case_soak(struct adp_run *run)
{
	unsigned int ops = adp_arg(run, "ops", 1000);
	struct adp_soak soak = {
		.n = adp_arg(run, "live", 64),
		.limits = adp_arg(run, "limits", 0),
		.apart = adp_arg(run, "apart", 0),
	};
	unsigned int i;

	soak.slots = kvcalloc(soak.n, sizeof(*soak.slots), GFP_KERNEL);
	if (!soak.slots ||
	    adp_pool_init(&soak.pool, adp_arg(run, "mem", SZ_8M), run->seed)) {
		adp_fail(run, "no memory");
		goto out;
	}

	for (i = 0; i < ops && !run->failures; i++) {
		struct adp_slot *slot = &soak.slots[adp_below(run, soak.n)];
		enum adp_ctx ctx = adp_below(run, ADP_NR_CTX);

		if (slot->kind == ADP_SLOT_FREE)
			adp_soak_fill(run, &soak, slot, ctx);
		else if (adp_below(run, 2))
			adp_soak_touch(run, slot, ctx);
		else
			adp_soak_empty(run, slot, ctx);
		cond_resched();
	}
	adp_fact(run, "ops", i);
	adp_fact(run, "refused", soak.refused);

	for (i = 0; i < soak.n; i++) {
		struct adp_slot *slot = &soak.slots[i];

		if (slot->kind != ADP_SLOT_FREE && !run->failures)
			adp_soak_touch(run, slot, ADP_PROCESS);
		adp_soak_empty(run, slot, ADP_PROCESS);
	}
out:
	adp_pool_exit(&soak.pool);
	kvfree(soak.slots);
}

#define ADP_WORKER_SLOTS	24

struct adp_worker {
	struct adp_run *run;
	struct adp_pool *pool;
	struct task_struct *task;
	struct completion done;
	struct rnd_state rnd;
	unsigned long until;
	struct adp_map maps[ADP_WORKER_SLOTS];
	unsigned int block[ADP_WORKER_SLOTS];
	u64 ops;
	u64 proofs;
	u64 refused;
	u64 wrong;
};

static u32 adp_worker_below(struct adp_worker *worker, u32 limit)
{
	return (u64)prandom_u32_state(&worker->rnd) * limit >> 32;
}

static int adp_worker_fn(void *arg)
{
	struct adp_worker *worker = arg;
	struct adp_dev *adp = worker->run->adp;
	u64 seed = worker->run->seed;
	unsigned int i;
	u8 buf[64];

	while (time_before(jiffies, worker->until)) {
		unsigned int slot = adp_worker_below(worker, ADP_WORKER_SLOTS);
		enum adp_ctx ctx = adp_worker_below(worker, ADP_NR_CTX);
		struct adp_map *map = &worker->maps[slot];
		unsigned int block = worker->block[slot];
		size_t off;

		worker->ops++;
		if (!map->live) {
			block = adp_worker_below(worker, worker->pool->n);
			worker->block[slot] = block;
			map->kind = ADP_SINGLE;
			map->dir = DMA_TO_DEVICE;
			map->len = sizeof(buf) +
				   adp_worker_below(worker, SZ_32K);
			map->cpu = worker->pool->blocks[block] +
				   adp_worker_below(worker, ADP_POOL_BLOCK -
						    map->len + 1);
			worker->refused += !!adp_map(adp, map, ctx);
		} else if (adp_worker_below(worker, 8)) {
			adp_unmap(adp, map, ctx);
		} else {
			off = adp_worker_below(worker,
					       map->len - sizeof(buf) + 1);
			worker->proofs++;
			if (adp_dev_read(adp, map->dma + off, buf,
					 sizeof(buf)) ||
			    !adp_same(buf, sizeof(buf), seed + block,
				      (u8 *)map->cpu + off -
				      worker->pool->blocks[block], NULL))
				worker->wrong++;
		}
		cond_resched();
	}
	for (i = 0; i < ADP_WORKER_SLOTS; i++)
		if (worker->maps[i].live)
			adp_unmap(adp, &worker->maps[i], ADP_PROCESS);
	/* Nothing of the module runs after this. */
	kthread_complete_and_exit(&worker->done, 0);
}

/*
 * Every CPU maps and unmaps pieces of the same few pages for ms= milliseconds,
 * from every context, and lets the device look at some.
 */
static void adp_case_smp(struct adp_run *run)
{
	unsigned int ms = adp_arg(run, "ms", 1000);
	bool limits = adp_arg(run, "limits", 0);
	u64 ops = 0, proofs = 0, refused = 0, wrong = 0;
	unsigned int cpu, n = 0;
	struct adp_worker **workers;
	struct adp_pool pool = { };

	workers = kcalloc(nr_cpu_ids, sizeof(*workers), GFP_KERNEL);
	if (!workers ||
	    adp_pool_init(&pool, adp_arg(run, "mem", SZ_512K), run->seed)) {
		adp_fail(run, "no memory");
		goto out;
	}

	for_each_online_cpu(cpu) {
		struct adp_worker *worker = kzalloc(sizeof(*worker), GFP_KERNEL);

		if (!worker) {
			adp_fail(run, "no memory");
			break;
		}
		worker->run = run;
		worker->pool = &pool;
		worker->until = jiffies + msecs_to_jiffies(ms);
		prandom_seed_state(&worker->rnd, run->seed + cpu);
		init_completion(&worker->done);
		worker->task = kthread_create(adp_worker_fn, worker,
					      "adp_test/%u", cpu);
		if (IS_ERR(worker->task)) {
			adp_fail(run, "no thread");
			kfree(worker);
			break;
		}
		kthread_bind(worker->task, cpu);
		workers[n++] = worker;
		wake_up_process(worker->task);
	}
	for (cpu = 0; cpu < n; cpu++) {
		struct adp_worker *worker = workers[cpu];

		wait_for_completion(&worker->done);
		ops += worker->ops;
		proofs += worker->proofs;
		refused += worker->refused;
		wrong += worker->wrong;
		kfree(worker);
	}
	adp_fact(run, "cpus", n);
	adp_fact(run, "ops", ops);
	adp_fact(run, "proofs", proofs);
	adp_fact(run, "refused", refused);
	adp_expect(run, proofs, "nothing was proven");
	adp_expect(run, !wrong, "%llu of %llu proofs are wrong", wrong, proofs);
	adp_expect(run, limits || !refused, "%llu refused", refused);
out:
	adp_pool_exit(&pool);
	kfree(workers);
}

const struct adp_case adp_soak_cases[] = {
	{ "soak", adp_case_soak },
	{ "smp", adp_case_smp },
	{ }
};
