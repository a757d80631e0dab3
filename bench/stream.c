// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads that come and go: pair-4k, sg-256, ring, churn.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "adp_bench.h"

/* Operations between two looks at whether others want to run. */
#define ADP_BENCH_STRIDE	256

#define ADP_BENCH_THREADS	8

/* Random pages that are in more host pages than any platform has mappings. */
#define ADP_BENCH_WARM		131072

/* pair-4k: map and unmap one small mapping, in random order. */

struct adp_pair_thread {
	struct device *dev;
	struct page **page;
	unsigned long nr;
	unsigned long ops;
	unsigned long failures;
	u64 begun;
	u64 ended;
	int err;
	struct completion *start;
	struct completion done;
};

struct adp_pair {
	struct adp_bench_set set;
	unsigned long ops;
	unsigned int threads;
	struct adp_pair_thread thread[ADP_BENCH_THREADS];
};

static int adp_pair_loop(struct adp_pair_thread *t, unsigned long ops)
{
	unsigned long i = 0, next = 0;
	int err;

	while (i < ops) {
		unsigned long end = min(i + ADP_BENCH_STRIDE, ops);

		for (; i < end; i++) {
			dma_addr_t dma;

			dma = dma_map_page(t->dev, t->page[next], 0,
					   ADP_BENCH_SMALL, DMA_BIDIRECTIONAL);
			if (++next == t->nr)
				next = 0;
			if (unlikely(dma_mapping_error(t->dev, dma))) {
				t->failures++;
				continue;
			}
			dma_unmap_page(t->dev, dma, ADP_BENCH_SMALL,
				       DMA_BIDIRECTIONAL);
		}
		err = adp_bench_rest();
		if (err)
			return err;
	}
	return 0;
}

static int adp_pair_setup(struct adp_bench *b)
{
	struct adp_pair *p = kzalloc(sizeof(*p), GFP_KERNEL);
	unsigned int i;
	u64 bytes;
	int err;

	if (!p)
		return -ENOMEM;
	bytes = adp_bench_arg(b, "set", SZ_64M, SZ_64K, SZ_2G);
	p->ops = adp_bench_arg(b, "ops", 100000, 1, ULONG_MAX);
	p->threads = adp_bench_arg(b, "threads", 0, 0,
				   min(num_online_cpus(), ADP_BENCH_THREADS));
	err = adp_bench_set_alloc(&p->set, bytes);
	if (err)
		goto free;
	adp_bench_set_shuffle(b, &p->set);

	for (i = 0; i < max(p->threads, 1U); i++) {
		struct adp_pair_thread *t = &p->thread[i];

		t->dev = b->dev;
		t->nr = p->set.nr / max(p->threads, 1U);
		t->page = p->set.page + i * t->nr;
		t->ops = p->ops / max(p->threads, 1U);
		err = adp_pair_loop(t, t->nr);
		if (err)
			goto free_set;
		t->failures = 0;
	}
	b->data = p;
	return 0;

free_set:
	adp_bench_set_free(&p->set);
free:
	kfree(p);
	return err;
}

static int adp_pair_thread(void *data)
{
	struct adp_pair_thread *t = data;

	wait_for_completion(t->start);
	t->begun = ktime_get_ns();
	t->err = adp_pair_loop(t, t->ops);
	t->ended = ktime_get_ns();
	complete(&t->done);
	return 0;
}

/* One thread for each CPU, all at once. */
static int adp_pair_threads(struct adp_pair *p)
{
	DECLARE_COMPLETION_ONSTACK(start);
	unsigned int i, cpu = 0, running;
	int err = 0;

	for (i = 0; i < p->threads; i++, cpu++) {
		struct adp_pair_thread *t = &p->thread[i];
		struct task_struct *task;

		t->start = &start;
		init_completion(&t->done);
		cpu = cpumask_next((int)cpu - 1, cpu_online_mask);
		task = kthread_create(adp_pair_thread, t, "adp_bench/%u", cpu);
		if (IS_ERR(task)) {
			err = PTR_ERR(task);
			break;
		}
		kthread_bind(task, cpu);
		wake_up_process(task);
	}
	running = i;
	complete_all(&start);
	for (i = 0; i < running; i++) {
		wait_for_completion(&p->thread[i].done);
		err = err ?: p->thread[i].err;
	}
	return err;
}

static int adp_pair_go(struct adp_bench *b)
{
	struct adp_pair *p = b->data;
	u64 begun = U64_MAX, ended = 0;
	unsigned long ops = 0, failures = 0;
	unsigned int i;
	int err;

	for (i = 0; i < max(p->threads, 1U); i++)
		p->thread[i].failures = 0;
	if (p->threads) {
		err = adp_pair_threads(p);
	} else {
		p->thread[0].begun = ktime_get_ns();
		err = adp_pair_loop(&p->thread[0], p->ops);
		p->thread[0].ended = ktime_get_ns();
	}
	if (err)
		return err;

	for (i = 0; i < max(p->threads, 1U); i++) {
		begun = min(begun, p->thread[i].begun);
		ended = max(ended, p->thread[i].ended);
		failures += p->thread[i].failures;
		ops += p->thread[i].ops;
	}
	adp_bench_fact(b, "ops", ops);
	adp_bench_fact(b, "ns", ended - begun);
	adp_bench_fact(b, "failures", failures);
	return 0;
}

static void adp_pair_drop(struct adp_bench *b)
{
	struct adp_pair *p = b->data;

	adp_bench_set_free(&p->set);
	kfree(p);
}

/* sg-256: map and unmap lists of scattered pages. */

struct adp_sglist {
	struct adp_bench_set set;
	struct sg_table *table;
	unsigned int lists;
	unsigned int nents;
	unsigned long ops;
	bool irqs_off;
};

static int adp_sg_loop(struct adp_bench *b, struct adp_sglist *s,
		       unsigned long ops, u64 *worst, unsigned long *failures)
{
	unsigned long i, flags;
	unsigned int next = 0;
	int err;

	for (i = 0; i < ops; i++) {
		struct sg_table *table = &s->table[next];
		u64 t[4] = {};
		int n;

		if (++next == s->lists)
			next = 0;
		if (s->irqs_off) {
			local_irq_save(flags);
			t[0] = ktime_get_ns();
		}
		n = dma_map_sg(b->dev, table->sgl, s->nents, DMA_TO_DEVICE);
		if (s->irqs_off) {
			t[1] = ktime_get_ns();
			local_irq_restore(flags);
		}
		if (!n) {
			++*failures;
		} else {
			if (s->irqs_off) {
				local_irq_save(flags);
				t[2] = ktime_get_ns();
			}
			dma_unmap_sg(b->dev, table->sgl, s->nents,
				     DMA_TO_DEVICE);
			if (s->irqs_off) {
				t[3] = ktime_get_ns();
				local_irq_restore(flags);
			}
		}
		*worst = max3(*worst, t[1] - t[0], t[3] - t[2]);
		err = adp_bench_rest();
		if (err)
			return err;
	}
	return 0;
}

static void adp_sg_free(struct adp_sglist *s)
{
	while (s->lists)
		sg_free_table(&s->table[--s->lists]);
	kfree(s->table);
	adp_bench_set_free(&s->set);
	kfree(s);
}

static int adp_sg_setup(struct adp_bench *b)
{
	struct adp_sglist *s = kzalloc(sizeof(*s), GFP_KERNEL);
	unsigned long failures = 0, page = 0;
	unsigned int lists, warm, i;
	struct scatterlist *sg;
	u64 bytes, worst = 0;
	int err;

	if (!s)
		return -ENOMEM;
	bytes = adp_bench_arg(b, "set", SZ_64M, SZ_64K, SZ_16G);
	lists = adp_bench_arg(b, "lists", 8, 1, 4096);
	s->nents = adp_bench_arg(b, "nents", 256, 1, 65536);
	s->ops = adp_bench_arg(b, "ops", 400, 1, ULONG_MAX);
	s->irqs_off = adp_bench_arg(b, "irqsoff", 0, 0, 1);
	warm = adp_bench_arg(b, "warm", 1, 0, 1);
	err = adp_bench_set_alloc(&s->set, bytes);
	if (err) {
		kfree(s);
		return err;
	}
	adp_bench_set_shuffle(b, &s->set);

	err = -ENOMEM;
	s->table = kcalloc(lists, sizeof(*s->table), GFP_KERNEL);
	if (!s->table)
		goto free;
	while (s->lists < lists) {
		struct sg_table *table = &s->table[s->lists];

		err = sg_alloc_table(table, s->nents, GFP_KERNEL);
		if (err)
			goto free;
		s->lists++;
		for_each_sg(table->sgl, sg, s->nents, i) {
			sg_set_page(sg, s->set.page[page], ADP_BENCH_SMALL, 0);
			page = (page + 1) % s->set.nr;
		}
	}
	err = warm ? adp_sg_loop(b, s, s->lists, &worst, &failures) : 0;
	if (err)
		goto free;
	b->data = s;
	return 0;

free:
	adp_sg_free(s);
	return err;
}

static int adp_sg_go(struct adp_bench *b)
{
	struct adp_sglist *s = b->data;
	unsigned long failures = 0;
	u64 begun, worst = 0;
	int err;

	begun = ktime_get_ns();
	err = adp_sg_loop(b, s, s->ops, &worst, &failures);
	if (err)
		return err;
	adp_bench_fact(b, "ns", ktime_get_ns() - begun);
	adp_bench_fact(b, "ops", s->ops);
	adp_bench_fact(b, "failures", failures);
	adp_bench_fact(b, "worst_ns", worst);
	return 0;
}

static void adp_sg_drop(struct adp_bench *b)
{
	adp_sg_free(b->data);
}

/*
 * ring: a fixed number of buffers live, the oldest unmapped, another mapped;
 * churn is the same with memory far beyond any budget. With bare=BYTES all memory
 * beyond those is copied as well, with nothing around it: what it would cost, at the
 * least, to have those mapped for good, and copies of all else.
 */

struct adp_slot {
	dma_addr_t dma;
	u32 len;
	enum dma_data_direction dir;
	/* What is copied to the slot's page, or NULL. */
	struct page *original;
};

struct adp_ring {
	struct adp_bench_set set;
	/* For bare: a page for each slot. */
	struct adp_bench_set copy;
	struct adp_slot *slot;
	/* How many pages are not copied. */
	unsigned long fits;
	unsigned int live;
	unsigned long ops;
	unsigned long next;
	unsigned long failures;
	bool random;
	bool irqs_off;
	u64 worst;
};

static void *adp_ring_copy(struct adp_ring *r, struct adp_slot *slot)
{
	return page_address(r->copy.page[slot - r->slot]);
}

static void adp_ring_unmap(struct adp_bench *b, struct adp_ring *r,
			   struct adp_slot *slot)
{
	if (slot->len)
		dma_unmap_page(b->dev, slot->dma, slot->len, slot->dir);
	slot->len = 0;
	if (slot->original && slot->dir != DMA_TO_DEVICE)
		copy_page(page_address(slot->original), adp_ring_copy(r, slot));
	slot->original = NULL;
}

static void adp_ring_map(struct adp_bench *b, struct adp_ring *r,
			 struct adp_slot *slot)
{
	u32 len = ADP_BENCH_SMALL;
	struct page *page;

	if (r->random) {
		unsigned long n = adp_bench_below(b, r->set.nr);

		page = r->set.page[n];
		if (n >= r->fits)
			slot->original = page;
		slot->dir = prandom_u32_state(&b->rnd) & 1 ? DMA_TO_DEVICE :
			    DMA_FROM_DEVICE;
	} else {
		page = r->set.page[r->next];
		if (r->next & 1)
			len /= 2;
		if (++r->next == r->set.nr)
			r->next = 0;
		slot->dir = DMA_FROM_DEVICE;
	}
	slot->dma = dma_map_page(b->dev, page, 0, len, slot->dir);
	if (unlikely(dma_mapping_error(b->dev, slot->dma)))
		r->failures++;
	else
		slot->len = len;
	if (slot->original)
		copy_page(adp_ring_copy(r, slot), page_address(slot->original));
}

/* The same, each call with interrupts off. */
static void adp_ring_timed(struct adp_bench *b, struct adp_ring *r,
			   struct adp_slot *slot)
{
	unsigned long flags;
	u64 t[4];

	local_irq_save(flags);
	t[0] = ktime_get_ns();
	adp_ring_unmap(b, r, slot);
	t[1] = ktime_get_ns();
	local_irq_restore(flags);
	local_irq_save(flags);
	t[2] = ktime_get_ns();
	adp_ring_map(b, r, slot);
	t[3] = ktime_get_ns();
	local_irq_restore(flags);
	r->worst = max3(r->worst, t[1] - t[0], t[3] - t[2]);
}

static int adp_ring_loop(struct adp_bench *b, struct adp_ring *r,
			 unsigned long ops)
{
	unsigned long i = 0;
	unsigned int at = 0;
	int err;

	while (i < ops) {
		unsigned long end = min(i + ADP_BENCH_STRIDE, ops);

		for (; i < end; i++) {
			struct adp_slot *slot = &r->slot[at];

			if (++at == r->live)
				at = 0;
			if (r->irqs_off) {
				adp_ring_timed(b, r, slot);
			} else {
				adp_ring_unmap(b, r, slot);
				adp_ring_map(b, r, slot);
			}
		}
		err = adp_bench_rest();
		if (err)
			return err;
	}
	return 0;
}

static void adp_ring_free(struct adp_bench *b, struct adp_ring *r)
{
	unsigned int i;

	for (i = 0; r->slot && i < r->live; i++)
		adp_ring_unmap(b, r, &r->slot[i]);
	kvfree(r->slot);
	adp_bench_set_free(&r->copy);
	adp_bench_set_free(&r->set);
	kfree(r);
}

/*
 * What is copied is touched, and the host finds memory for what is touched first:
 * that is none of what is measured.
 */
static void adp_ring_touch(struct adp_ring *r)
{
	unsigned long i;

	for (i = 0; i < r->set.nr; i++) {
		WRITE_ONCE(*(u8 *)page_address(r->set.page[i]), 0);
		if (!(i % ADP_BENCH_STRIDE))
			cond_resched();
	}
}

static int adp_ring_make(struct adp_bench *b, bool random, u64 bytes, u64 live,
			 u64 ops)
{
	struct adp_ring *r = kzalloc(sizeof(*r), GFP_KERNEL);
	unsigned long warm;
	u64 bare;
	int err;

	if (!r)
		return -ENOMEM;
	r->random = random;
	bytes = adp_bench_arg(b, "set", bytes, SZ_64K, SZ_16G);
	r->live = adp_bench_arg(b, "live", live, 1, 65536);
	r->ops = adp_bench_arg(b, "ops", ops, 1, ULONG_MAX);
	r->irqs_off = adp_bench_arg(b, "irqsoff", 0, 0, 1);
	bare = adp_bench_arg(b, "bare", SZ_16G, 0, SZ_16G);
	r->fits = bare >> PAGE_SHIFT;
	/* All of the pool, or enough of it to fill any budget. */
	warm = adp_bench_arg(b, "warm",
			     min_t(u64, bytes >> PAGE_SHIFT, ADP_BENCH_WARM),
			     0, ULONG_MAX);

	err = adp_bench_set_alloc(&r->set, bytes);
	if (err) {
		kfree(r);
		return err;
	}
	if (random)
		adp_ring_touch(r);
	else
		adp_bench_set_shuffle(b, &r->set);
	if (random && r->fits < r->set.nr) {
		err = adp_bench_set_alloc(&r->copy, (u64)r->live << PAGE_SHIFT);
		if (err)
			goto free;
	}
	err = -ENOMEM;
	r->slot = kvcalloc(r->live, sizeof(*r->slot), GFP_KERNEL);
	if (!r->slot)
		goto free;
	err = adp_ring_loop(b, r, max_t(unsigned long, warm, r->live));
	if (err)
		goto free;
	b->data = r;
	return 0;

free:
	adp_ring_free(b, r);
	return err;
}

static int adp_ring_setup(struct adp_bench *b)
{
	return adp_ring_make(b, false, 2048 * PAGE_SIZE, 512, 100000);
}

static int adp_churn_setup(struct adp_bench *b)
{
	return adp_ring_make(b, true, SZ_4G, 64, 100000);
}

static int adp_ring_go(struct adp_bench *b)
{
	struct adp_ring *r = b->data;
	u64 begun;
	int err;

	r->failures = 0;
	r->worst = 0;
	begun = ktime_get_ns();
	err = adp_ring_loop(b, r, r->ops);
	if (err)
		return err;
	adp_bench_fact(b, "ns", ktime_get_ns() - begun);
	adp_bench_fact(b, "ops", r->ops);
	adp_bench_fact(b, "failures", r->failures);
	adp_bench_fact(b, "worst_ns", r->worst);
	return 0;
}

static void adp_ring_drop(struct adp_bench *b)
{
	adp_ring_free(b, b->data);
}

const struct adp_bench_work adp_bench_stream[] = {
	{ "pair-4k", adp_pair_setup, adp_pair_go, adp_pair_drop },
	{ "sg-256", adp_sg_setup, adp_sg_go, adp_sg_drop },
	{ "ring", adp_ring_setup, adp_ring_go, adp_ring_drop },
	{ "churn", adp_churn_setup, adp_ring_go, adp_ring_drop },
	{ }
};
