/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ADP_BENCH_H
#define _ADP_BENCH_H

#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/prandom.h>

#define ADP_BENCH_ARGS		12
#define ADP_BENCH_LINE		256
#define ADP_BENCH_RESULT	2048

/* What nearly every streaming mapping of a driver is, whatever a page is. */
#define ADP_BENCH_SMALL		4096

struct adp_bench;

/**
 * struct adp_bench_work - a workload
 * @name: what a user calls it
 * @setup: allocates all memory and warms up; leaves nothing behind if it fails
 * @go: the timed part; may be called again and again
 * @drop: unmaps and frees all
 */
struct adp_bench_work {
	const char *name;
	int (*setup)(struct adp_bench *b);
	int (*go)(struct adp_bench *b);
	void (*drop)(struct adp_bench *b);
};

extern const struct adp_bench_work adp_bench_stream[];
extern const struct adp_bench_work adp_bench_budget[];
extern const struct adp_bench_work adp_bench_layout[];

/**
 * struct adp_bench_arg - a "key=value" of the command
 * @key: key
 * @value: value
 * @used: the workload knows it
 */
struct adp_bench_arg {
	const char *key;
	const char *value;
	bool used;
};

/**
 * struct adp_bench - a device under test
 * @pdev: the function
 * @dev: whose DMA API is measured
 * @dir: in debugfs
 * @lock: serializes commands
 * @work: the workload that is set up, or NULL
 * @data: what it keeps
 * @line: the command, cut into @arg
 * @arg: arguments of @work
 * @args: how many
 * @bad: an argument made no sense
 * @rnd: random numbers, by seed=
 * @result: "key=value" lines
 * @len: bytes of @result
 */
struct adp_bench {
	struct pci_dev *pdev;
	struct device *dev;
	struct dentry *dir;
	struct mutex lock; /* see above */
	const struct adp_bench_work *work;
	void *data;
	char line[ADP_BENCH_LINE];
	struct adp_bench_arg arg[ADP_BENCH_ARGS];
	unsigned int args;
	bool bad;
	struct rnd_state rnd;
	char result[ADP_BENCH_RESULT];
	size_t len;
};

u64 adp_bench_arg(struct adp_bench *b, const char *key, u64 def, u64 min,
		  u64 max);
void adp_bench_fact(struct adp_bench *b, const char *name, u64 value);
u32 adp_bench_below(struct adp_bench *b, u32 limit);
int adp_bench_rest(void);

/**
 * struct adp_bench_block - what the page allocator gave
 * @page: first page
 * @order: how much
 */
struct adp_bench_block {
	struct page *page;
	unsigned int order;
};

/**
 * struct adp_bench_set - pages that a workload maps
 * @page: pages, in any order
 * @nr: how many
 * @block: what they came in
 * @blocks: how many
 */
struct adp_bench_set {
	struct page **page;
	unsigned long nr;
	struct adp_bench_block *block;
	unsigned long blocks;
};

int adp_bench_set_alloc(struct adp_bench_set *set, u64 bytes);
void adp_bench_set_shuffle(struct adp_bench *b, struct adp_bench_set *set);
void adp_bench_set_free(struct adp_bench_set *set);

#endif /* _ADP_BENCH_H */
