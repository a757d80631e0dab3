/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ADP_TEST_H
#define _ADP_TEST_H

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>

/* The host maps whole pages of this size, whatever the guest's page size. */
#define ADP_HOST_PAGE		SZ_16K

#define ADP_EDU_BUF		0x40000
#define ADP_EDU_BUF_SIZE	4096
#define ADP_TAG_SIZE		8
#define ADP_TAGS		(ADP_EDU_BUF_SIZE / ADP_TAG_SIZE)

#define ADP_RESULT_SIZE		8192
#define ADP_ARGS_SIZE		256

struct adp_doze;
struct adp_list;
struct adp_plug;
struct adp_set;

/**
 * enum adp_ctx - where an operation of the DMA API is called from
 * @ADP_PROCESS: a process that may sleep
 * @ADP_BH: a process with bottom halves off
 * @ADP_IRQOFF: a process with interrupts off, under a spinlock
 * @ADP_SOFTIRQ: a tasklet
 * @ADP_HARDIRQ: an interrupt handler
 * @ADP_REMOTE: another CPU's interrupt handler, in the midst of what that does
 * @ADP_RECLAIM: a process that frees memory, and may sleep, but not for more memory;
 *	only lockdep sees a difference
 * @ADP_NR_CTX: how many there are
 */
enum adp_ctx {
	ADP_PROCESS,
	ADP_BH,
	ADP_IRQOFF,
	ADP_SOFTIRQ,
	ADP_HARDIRQ,
	ADP_REMOTE,
	ADP_RECLAIM,
	ADP_NR_CTX,
};

/**
 * enum adp_kind - which call made a buffer or a mapping
 * @ADP_SINGLE: dma_map_single()
 * @ADP_PAGE: dma_map_page()
 * @ADP_COHERENT: dma_alloc_coherent()
 * @ADP_WC: dma_alloc_wc()
 * @ADP_PAGES: dma_alloc_pages()
 * @ADP_NONCONTIG: dma_alloc_noncontiguous()
 * @ADP_NR_KIND: how many there are
 */
enum adp_kind {
	ADP_SINGLE,
	ADP_PAGE,
	ADP_COHERENT,
	ADP_WC,
	ADP_PAGES,
	ADP_NONCONTIG,
	ADP_NR_KIND,
};

/**
 * struct adp_map - a streaming mapping and what is in its memory
 * @kind: ADP_SINGLE or ADP_PAGE
 * @cpu: the memory's address
 * @len: bytes
 * @dir: direction it was or will be mapped for
 * @dma: the address the device uses
 * @seed: the stream that the memory holds, see adp_fill()
 * @live: @dma is mapped
 */
struct adp_map {
	enum adp_kind kind;
	void *cpu;
	size_t len;
	enum dma_data_direction dir;
	dma_addr_t dma;
	u64 seed;
	bool live;
};

/**
 * struct adp_buf - memory that came from the DMA API
 * @kind: the call that made it
 * @size: bytes
 * @cpu: the CPU's address of it
 * @dma: the device's
 * @page: first page (ADP_PAGES)
 * @sgt: segments (ADP_NONCONTIG)
 */
struct adp_buf {
	enum adp_kind kind;
	size_t size;
	void *cpu;
	dma_addr_t dma;
	struct page *page;
	struct sg_table *sgt;
};

/**
 * struct adp_dev - an edu device
 * @pdev: the function
 * @dev: its struct device
 * @bar: its registers
 * @engine: serialises the DMA engine and @staging
 * @staging: a buffer that the device may always read and write
 * @staging_dma: its address
 * @irqs: interrupts seen, by bit of the status register
 * @irq_done: completed by each interrupt
 * @run: serialises the cases
 * @result: what the last case said
 * @list: scatterlist kept between cases
 * @set: set of mappings kept between cases
 * @doze: what is tried while the companion sleeps
 * @plug: mappings of plugged memory kept between cases
 * @buf: buffer kept between cases, for mmap()
 * @misc: /dev/adp_test-<bdf>
 * @dir: debugfs directory
 */
struct adp_dev {
	struct pci_dev *pdev;
	struct device *dev;
	void __iomem *bar;
	/* serialises the DMA engine and the staging buffer */
	struct mutex engine;
	void *staging;
	dma_addr_t staging_dma;
	atomic_t irqs[2];
	struct completion irq_done;
	/* serialises the cases and what they keep */
	struct mutex run;
	char *result;
	struct adp_list *list;
	struct adp_set *set;
	struct adp_doze *doze;
	struct adp_plug *plug;
	struct adp_buf buf;
	struct miscdevice misc;
	struct dentry *dir;
};

/**
 * struct adp_run - one run of one case
 * @adp: the device
 * @name: the case
 * @args: "key=value" words
 * @rnd: random numbers; the same seed= gives the same run
 * @seed: where @rnd began
 * @len: bytes of the result used
 * @failures: how many checks failed
 * @skipped: it cannot run here
 */
struct adp_run {
	struct adp_dev *adp;
	const char *name;
	const char *args;
	struct rnd_state rnd;
	u64 seed;
	size_t len;
	unsigned int failures;
	bool skipped;
};

/**
 * struct adp_case - something that can be written to the file "run"
 * @name: its name
 * @fn: its code
 */
struct adp_case {
	const char *name;
	void (*fn)(struct adp_run *run);
};

extern const struct adp_case adp_misc_cases[];
extern const struct adp_case adp_stream_cases[];
extern const struct adp_case adp_copy_cases[];
extern const struct adp_case adp_sg_cases[];
extern const struct adp_case adp_alloc_cases[];
extern const struct adp_case adp_soak_cases[];
extern const struct adp_case adp_power_cases[];
extern const struct adp_case adp_plug_cases[];

/* main.c */
__printf(2, 3) void adp_say(struct adp_run *run, const char *fmt, ...);
__printf(2, 3) void adp_fail(struct adp_run *run, const char *fmt, ...);
__printf(2, 3) void adp_skip(struct adp_run *run, const char *fmt, ...);
void adp_fact(struct adp_run *run, const char *name, u64 value);
u64 adp_arg(struct adp_run *run, const char *key, u64 def);
bool adp_word(struct adp_run *run, const char *key, char *buf, size_t size);
enum adp_ctx adp_arg_ctx(struct adp_run *run);
enum dma_data_direction adp_arg_dir(struct adp_run *run,
				    enum dma_data_direction def);
u32 adp_below(struct adp_run *run, u32 limit);
u64 adp_rnd64(struct adp_run *run);

#define adp_expect(run, cond, fmt, ...)					\
({									\
	bool __ok = (cond);						\
									\
	if (!__ok)							\
		adp_fail(run, fmt, ##__VA_ARGS__);			\
	__ok;								\
})

/* ctx.c */
const char *adp_ctx_name(enum adp_ctx ctx);
gfp_t adp_ctx_gfp(enum adp_ctx ctx);
bool adp_ctx_is(enum adp_ctx ctx);
void adp_call(enum adp_ctx ctx, void (*fn)(void *arg), void *arg);

/* edu.c */
int adp_edu_init(struct adp_dev *adp);
void adp_edu_exit(struct adp_dev *adp);
int adp_edu_dma(struct adp_dev *adp, dma_addr_t dma, u32 pos, u32 len,
		bool to_host, bool irq);
int adp_dev_read(struct adp_dev *adp, dma_addr_t dma, void *buf, u32 len);
int adp_dev_write(struct adp_dev *adp, dma_addr_t dma, const void *buf,
		  u32 len);
int adp_dev_gather(struct adp_dev *adp, const dma_addr_t *dma, const u8 *len,
		   u64 *tags, unsigned int n);
int adp_dev_scatter(struct adp_dev *adp, const dma_addr_t *dma, const u8 *len,
		    const u64 *tags, unsigned int n);
void adp_fill(void *buf, size_t len, u64 seed, u64 pos);
bool adp_same(const void *buf, size_t len, u64 seed, u64 pos, size_t *where);
bool adp_dev_holds(struct adp_run *run, dma_addr_t dma, size_t len, u64 seed,
		   u64 pos);
bool adp_dev_fill(struct adp_run *run, dma_addr_t dma, size_t len, u64 seed,
		  u64 pos);

/* stream.c */
int adp_map(struct adp_dev *adp, struct adp_map *map, enum adp_ctx ctx);
void adp_unmap(struct adp_dev *adp, struct adp_map *map, enum adp_ctx ctx);
void adp_sync(struct adp_dev *adp, struct adp_map *map, size_t off, size_t len,
	      bool for_cpu, enum adp_ctx ctx);
bool adp_prove(struct adp_run *run, struct adp_map *map, enum adp_ctx ctx);
bool adp_prove_unmapped(struct adp_run *run, struct adp_map *map);
void adp_set_drop(struct adp_dev *adp);

/**
 * struct adp_shape - what a scatterlist looks like
 * @n: entries
 * @min: fewest bytes of an entry
 * @max: most bytes of an entry
 * @gap: most bytes between two entries in memory
 * @stride: distance of the entries in memory, or 0: a random @gap
 * @shuffle: the list's order is not that of memory
 * @dir: direction to map it for
 */
struct adp_shape {
	u32 n;
	u32 min;
	u32 max;
	u32 gap;
	u32 stride;
	bool shuffle;
	enum dma_data_direction dir;
};

/* sg.c */
struct adp_list *adp_list_make(struct adp_run *run,
			       const struct adp_shape *shape);
void adp_list_free(struct adp_list *list);
int adp_list_map(struct adp_run *run, struct adp_list *list, enum adp_ctx ctx);
void adp_list_unmap(struct adp_run *run, struct adp_list *list,
		    enum adp_ctx ctx);
bool adp_list_prove(struct adp_run *run, struct adp_list *list, bool write);
void adp_list_wrote(struct adp_run *run, struct adp_list *list);
void adp_list_drop(struct adp_dev *adp);

/* alloc.c */
int adp_buf_alloc(struct adp_dev *adp, struct adp_buf *buf, enum adp_ctx ctx);
void adp_buf_free(struct adp_dev *adp, struct adp_buf *buf, enum adp_ctx ctx);
int adp_buf_mmap(struct adp_dev *adp, struct adp_buf *buf,
		 struct vm_area_struct *vma);
void adp_buf_prove(struct adp_run *run, struct adp_buf *buf);

/* power.c */
int adp_doze_init(void);
void adp_doze_exit(void);
void adp_doze_drop(struct adp_dev *adp);

/* plug.c */
void adp_plug_drop(struct adp_dev *adp);

#endif /* _ADP_TEST_H */
