/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the module know of one another. Data flows one way:
 * ops -> copy, bounce, pool -> window, leftover -> channel -> doorbell. Nothing
 * calls upwards.
 */
#ifndef ADP_H
#define ADP_H

#include <linux/apple_dma_pci.h>
#include <linux/atomic.h>
#include <linux/dma-direction.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/ratelimit.h>
#include <linux/rbtree.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define ADP_HOST_PAGE		((u64)APPLE_DMA_PCI_HOST_PAGE_SIZE)
#define ADP_HOST_PAGE_DOWN(x)	round_down((u64)(x), ADP_HOST_PAGE)
#define ADP_HOST_PAGE_UP(x)	round_up((u64)(x), ADP_HOST_PAGE)

/*
 * Entries in one batch of ours. Hosts seen accept 4096; a host that accepts
 * more gets no more, which keeps the arrays within a buddy block.
 */
#define ADP_BATCH_MAX		4096

/* The largest natural alignment of coherent memory that we promise, in bytes. */
#define ADP_COHERENT_ALIGN_MAX	0x400000UL

/*
 * The largest mapping that always has a way to succeed within the budget:
 * the most that the platform accepts as one region (1536 MiB), less than which
 * other live mappings leave.
 */
#define ADP_MAPPING_MAX		0x60000000UL

/**
 * struct adp_stats - what has happened on one companion since it was probed
 * @doorbells: doorbells rung, one VM exit each
 * @map_entries: MAP entries sent
 * @unmap_entries: UNMAP entries sent
 * @refused_maps: MAP entries that the host refused
 * @refused_unmaps: UNMAP entries that the host refused
 * @live_mappings: mappings that the host holds
 * @live_bytes: bytes in them
 * @peak_mappings: the most @live_mappings has been
 * @peak_bytes: the most @live_bytes has been
 * @reclaimed: idle windows unmapped because the budget was needed, or the
 *	mode has become strict
 * @aged: idle windows unmapped because they were old
 * @retries: batches sent again after a refusal
 * @quarantined: windows whose unmap the host refused, or could not be asked for
 * @coherent_bytes: bytes in the coherent pool
 * @searched: UNMAP entries sent for starts that nothing of ours is mapped at
 * @recovered: those at which an earlier kernel had left a mapping
 *
 * The first nine agree exactly with the counters of the emulated device, which
 * counts what @searched has not found as refused, and what an earlier kernel has
 * left as live.
 * Protected by the lock of struct adp_windows.
 */
struct adp_stats {
	u64 doorbells;
	u64 map_entries;
	u64 unmap_entries;
	u64 refused_maps;
	u64 refused_unmaps;
	u64 live_mappings;
	u64 live_bytes;
	u64 peak_mappings;
	u64 peak_bytes;
	u64 reclaimed;
	u64 aged;
	u64 retries;
	u64 quarantined;
	u64 coherent_bytes;
	u64 searched;
	u64 recovered;
};

/**
 * struct adp_op_stats - what the driver above has asked for, one per CPU
 * @map_ops: single mappings
 * @sg_lists: scatterlists mapped
 * @sg_entries: entries in them
 * @bounced: mappings that were copied, since no window could serve them
 * @copied: mappings that were copied, since that is cheaper
 * @congruent: mappings of aligned memory of 64 KiB and more whose address is
 *	aligned as the memory is
 * @incongruent: those whose address is not
 * @map_failures: mappings and allocations that failed
 * @bad_unmaps: unmaps and frees of what is not mapped
 */
struct adp_op_stats {
	u64 map_ops;
	u64 sg_lists;
	u64 sg_entries;
	u64 bounced;
	u64 copied;
	u64 congruent;
	u64 incongruent;
	u64 map_failures;
	u64 bad_unmaps;
};

/* ram.c: which guest physical addresses may be sent. */

/**
 * struct adp_ram_range - one range of System RAM
 * @start: first byte
 * @end: one past the last byte
 */
struct adp_ram_range {
	u64 start;
	u64 end;
};

/**
 * struct adp_ram_map - ranges of System RAM, ascending
 * @nr: ranges
 * @range: the ranges; neighbours that touch are not merged, since they may be
 *	different RAM blocks of the host
 */
struct adp_ram_map {
	unsigned int nr;
	struct adp_ram_range range[];
};

/**
 * struct adp_ram - the guest's System RAM as it is now
 * @map: the ranges that are online; replaced as a whole when memory comes or goes
 */
struct adp_ram {
	struct adp_ram_map __rcu *map;
};

int adp_ram_read(struct adp_ram *ram, const struct adp_ram_range *come,
		 const struct adp_ram_range *gone);
struct adp_ram_map *adp_ram_copy(const struct adp_ram *ram);
void adp_ram_free(struct adp_ram *ram);
bool adp_ram_find(const struct adp_ram *ram, u64 start, u64 end,
		  struct adp_ram_range *found);
u64 adp_ram_size(const struct adp_ram *ram, u64 *top);

/* channel.c: the wire. */

/**
 * enum adp_layout - which of the two entry layouts the host speaks
 * @ADP_LAYOUT_UNKNOWN: not learned yet
 * @ADP_LAYOUT_NARROW: 32-bit lengths
 * @ADP_LAYOUT_WIDE: 64-bit lengths
 */
enum adp_layout {
	ADP_LAYOUT_UNKNOWN,
	ADP_LAYOUT_NARROW,
	ADP_LAYOUT_WIDE,
};

/**
 * struct adp_channel - the command page, the arrays and the doorbell
 * @dev: the companion, for messages
 * @regs: BAR0
 * @stats: counters of the companion
 * @layout: layout of the map entries
 * @max_entries: most entries that the host takes in a batch
 * @batch: most entries that we send in a batch
 * @type: APPLE_DMA_PCI_CMD_* of the batch being built
 * @count: entries in it
 * @up: set up; before that adp_channel_break() leaves the message to the caller
 * @full: the host has refused to map a single page for adp_channel_learn()
 * @odd_ids: the host does not name its mappings by their start
 * @broken: the host misbehaved or is gone; nothing is sent any more
 * @why: what broke it
 * @cmd: command page
 * @req: request array
 * @resp: response array
 * @req_bytes: size of @req
 * @resp_bytes: size of @resp
 * @dma_min: lowest address that the platform has assigned, U64_MAX if none
 * @dma_max: last byte of the highest range that it has assigned
 *
 * The owner serializes all calls; no function here sleeps but adp_channel_init()
 * and adp_channel_learn().
 */
struct adp_channel {
	struct device *dev;
	void __iomem *regs;
	struct adp_stats *stats;
	enum adp_layout layout;
	u32 max_entries;
	u32 batch;
	u32 type;
	u32 count;
	bool up;
	bool full;
	bool odd_ids;
	bool broken;
	char why[96];
	struct apple_dma_pci_cmd *cmd;
	void *req;
	void *resp;
	size_t req_bytes;
	size_t resp_bytes;
	u64 dma_min;
	u64 dma_max;
};

/**
 * struct adp_map_result - the host's answer to one MAP entry
 * @id: handle for unmap
 * @dma_addr: address that the platform chose
 * @dma_len: bytes mapped
 */
struct adp_map_result {
	u64 id;
	u64 dma_addr;
	u64 dma_len;
};

int adp_channel_init(struct adp_channel *ch, struct device *dev,
		     void __iomem *regs, u32 max_entries,
		     struct adp_stats *stats);
int adp_channel_learn(struct adp_channel *ch);
void adp_channel_destroy(struct adp_channel *ch);
void adp_channel_forget(struct adp_channel *ch);
void adp_channel_resume(struct adp_channel *ch);
void adp_channel_begin(struct adp_channel *ch, u32 type);
int adp_channel_add_map(struct adp_channel *ch, u64 gpa, u64 len);
int adp_channel_add_unmap(struct adp_channel *ch, u64 id, u64 size);
int adp_channel_sync(struct adp_channel *ch);
int adp_channel_map_result(struct adp_channel *ch, u32 index, u64 gpa, u64 len,
			   struct adp_map_result *res);
int adp_channel_unmap_result(struct adp_channel *ch, u32 index, u64 id,
			     u64 size);
bool adp_channel_search_result(struct adp_channel *ch, u32 index);
__printf(2, 3) void adp_channel_break(struct adp_channel *ch, const char *fmt, ...);

/* window.c: which guest memory is mapped, where, for whom. */

/*
 * Windows that a companion can have. Their numbers have 16 bits and 0 is none,
 * which leaves one less than the platform's 65,536 mappings.
 */
#define ADP_WINDOW_IDS		65536

/* Windows whose books are allocated together: five pages of any size. */
#define ADP_WINDOW_CHUNK	(PAGE_SIZE / 4)

/* Host pages that one entry of a table speaks for: 256 KiB. */
#define ADP_BLOCK_SHIFT		4
#define ADP_BLOCK_PAGES		BIT(ADP_BLOCK_SHIFT)

/* Blocks in one leaf of those that are searched for: 64 MiB. */
#define ADP_LEAF_SHIFT		8
#define ADP_LEAF_BLOCKS		BIT(ADP_LEAF_SHIFT)

/* Blocks of DMA addresses that are found without a search: 4 GiB. */
#define ADP_NEAR_BLOCKS		BIT(14)

/*
 * Blocks that are told apart by the page. Each holds parts of two windows at
 * least, and there are two tables.
 */
#define ADP_FINE_IDS		(2 * ADP_WINDOW_IDS)
#define ADP_FINE_CHUNK		128

/* Host pages of DMA addresses whose use is known by the bit: 4 GiB. */
#define ADP_SPACE_PAGES		BIT(18)

/* Sizes of gaps that are told apart: from one page on, each twice the last. */
#define ADP_SPACE_CLASSES	8

/**
 * enum adp_window_state - the life of a window
 * @ADP_WINDOW_FREE: not in use
 * @ADP_WINDOW_PENDING: to be sent with the batch that is being put together
 * @ADP_WINDOW_LIVE: mapped
 * @ADP_WINDOW_PARTIAL: the host has mapped less than was asked for
 * @ADP_WINDOW_FAILED: not mapped; goes when its last user does
 * @ADP_WINDOW_DYING: has no user; to be unmapped with a batch
 * @ADP_WINDOW_QUARANTINED: mapped for all we know, but never used again
 *
 * Without the lock only a window that is ADP_WINDOW_LIVE can be had.
 */
enum adp_window_state {
	ADP_WINDOW_FREE,
	ADP_WINDOW_PENDING,
	ADP_WINDOW_LIVE,
	ADP_WINDOW_PARTIAL,
	ADP_WINDOW_FAILED,
	ADP_WINDOW_DYING,
	ADP_WINDOW_QUARANTINED,
};

/**
 * struct adp_window - one mapping of the host, shared by reference
 * @refs: mappings that use it, and a lot for each pin; far below 0 while it is not
 *	ADP_WINDOW_LIVE
 * @gpa: start in guest memory, in host pages; the host's key
 * @dma: address that the platform assigned, in host pages
 * @wanted: users of one that is ADP_WINDOW_PENDING or ADP_WINDOW_FAILED; a filler
 *	has none, see adp_align_filler()
 * @partial: bytes that the host has mapped of one that is ADP_WINDOW_PARTIAL
 * @state: enum adp_window_state
 * @tagged: @extra is a tag, see adp_window_set_tag(); while it is
 *	ADP_WINDOW_PENDING, @note is not worth a doorbell
 * @note: how its address is to be aligned, see adp_align_order(), while it is
 *	ADP_WINDOW_PENDING; then the ticks that have found it idle
 * @extra: host pages beyond those that were asked for
 * @pages: host pages
 * @above: @state and @tagged
 * @left: users of one that is ADP_WINDOW_PARTIAL
 * @next: next window in the chain of its start, or in that of free numbers
 * @link: next window in a struct adp_list, while it is not ADP_WINDOW_LIVE
 * @stamp: tick in which it was mapped last, while it is
 *
 * There may be 65,535 of them, so they are small. Their memory stays while the
 * companion does: who holds a number that has become stale takes a reference,
 * looks again, and gives it back. Of a window that is live all is constant but
 * @refs, @note and @stamp.
 */
struct adp_window {
	atomic_t refs;
	u32 gpa;
	union {
		u32 dma;
		u32 wanted;
		u32 partial;
	};
	union {
		struct {
			u32 state:3;
			u32 tagged:1;
			u32 note:3;
			u32 extra:8;
			u32 pages:17;
		};
		struct {
			u32 above:4;
			u32 left:28;
		};
	};
	u16 next;
	union {
		u16 link;
		u16 stamp;
	};
};

#define ADP_FINE		BIT(31)

/**
 * struct adp_fine - which windows the pages of a block are in
 * @id: number of the window by page, 0 if there is none
 * @next: adp_fine_entry() of the next one that is not in use
 */
struct adp_fine {
	union {
		u16 id[ADP_BLOCK_PAGES];
		u32 next;
	};
};

/**
 * struct adp_leaf - entries of blocks that are far from the others
 * @block: as @entry in struct adp_near
 */
struct adp_leaf {
	u32 block[ADP_LEAF_BLOCKS];
};

/**
 * struct adp_near - entries of blocks that are close to each other
 * @nr: blocks
 * @entry: by block, adp_entry() of a window that has all or some of the block's
 *	pages, where no other has any; adp_fine_entry(), which has ADP_FINE; or 0
 */
struct adp_near {
	u32 nr;
	u32 entry[];
};

/**
 * struct adp_table - from a page to the window that has it
 * @base: number of the first block in @near
 * @near: most blocks
 * @open: those that may be found without the lock: @near or, when nothing may,
 *	one without blocks
 * @far: struct adp_leaf, for blocks that are elsewhere
 */
struct adp_table {
	u32 base;
	struct adp_near *near;
	const struct adp_near *open;
	struct xarray far;
};

/**
 * struct adp_list - windows, by number
 * @first: 0 if there is none; the others follow by adp_window.link
 * @last: the other end
 */
struct adp_list {
	u16 first;
	u16 last;
};

/**
 * struct adp_piece - memory that is to be mapped together with others
 * @start: a host page
 * @window: gets the window that holds it
 */
struct adp_piece {
	u64 start;
	struct adp_window *window;
};

/*
 * Beside the time in adp_windows.tick, so that no window's stamp equals it: little
 * is left of the budget, see adp_window_wastes().
 */
#define ADP_TICK_THRIFTY	BIT(16)

/**
 * struct adp_windows - all windows of one companion
 * @chunk: the windows, ADP_WINDOW_CHUNK at a time; first, as that is the least to
 *	compute for each look-up
 * @ch: the channel
 * @ram: what may be sent
 * @lazy: windows without users stay mapped
 * @asleep: the companion sleeps; nothing is sent
 * @tick: coarse time, 16 bits of it, see adp_windows_age(); and ADP_TICK_THRIFTY
 * @luck: whether addresses can be had aligned; not above 0 if not
 * @by_gpa: by guest address; some window that a page is in, if any
 * @by_dma: by DMA address; no two windows are at one address
 * @fine: for both tables, ADP_FINE_CHUNK at a time
 * @lock: protects what follows, the channel, the statistics and all writing
 *	but to adp_window.refs and adp_window.stamp
 * @stats: counters of the companion
 * @ids: the host's handles by window, XOR the address that it starts at;
 *	a host that names its mappings by their start needs none of these
 * @starts: first window of the chain of a start, by hash
 * @owed: windows that are to be unmapped when the companion wakes up
 * @free: first free number
 * @used: numbers that have been in use, 0 included
 * @hand: where the search for idle windows goes on
 * @free_fine: adp_fine_entry() of the first that is not in use, or 0
 * @used_fine: those that have been in use, 0 included
 * @roomy: all RAM fits the budget, so large windows waste nothing
 * @extra_pages: host pages in windows beyond those that were asked for
 * @audit: where the count of those that are in use goes on
 * @audit_pages: what has been counted in this round
 * @held_pages: what was counted in the last round
 * @fresh_pages: those that were mapped after it began
 * @space: DMA pages in use, from @space_base on
 * @space_base: first DMA page in @space
 * @lowest: no gap of so many pages and more, by class, begins below this
 * @skew: how far beyond the lowest gap the platform has placed a window of
 *	late, in host pages, where that begins at an even page, at an odd one,
 *	and at the first of all
 * @raw: lowest gap for the window at the head of the batch, or U32_MAX
 * @filled: there are fillers in the batch
 * @spare_pages: host pages of the budget that the transaction leaves for fillers
 *	and for windows that begin lower
 * @spare_mappings: mappings of the budget that it leaves for fillers
 * @unlucky: requests until alignment is tried again
 * @max_bytes: the budget as it is known, in bytes
 * @max_mappings: the budget as it is known, in mappings
 * @memory: bytes allocated for all of this
 * @marker: mapped before all others and unmapped after them, or NULL
 * @left: what an earlier kernel may have left mapped, or NULL
 * @period: jiffies in a tick
 * @aging: the clock
 * @ratelimit: for messages about failures
 */
struct adp_windows {
	struct adp_window *chunk[ADP_WINDOW_IDS / ADP_WINDOW_CHUNK];
	struct adp_channel *ch;
	const struct adp_ram *ram;
	bool lazy;
	bool asleep;
	u32 tick;
	int luck;
	struct adp_table by_gpa;
	struct adp_table by_dma;
	struct adp_fine *fine[ADP_FINE_IDS / ADP_FINE_CHUNK];

	spinlock_t lock; /* see above */
	struct adp_stats *stats;
	u64 *ids[ADP_WINDOW_IDS / ADP_WINDOW_CHUNK];
	u16 *starts;
	struct adp_list owed;
	u16 free;
	unsigned int used;
	unsigned int hand;
	u32 free_fine;
	u32 used_fine;
	bool roomy;
	u64 extra_pages;
	unsigned int audit;
	u64 audit_pages;
	u64 held_pages;
	u64 fresh_pages;
	unsigned long *space;
	u32 space_base;
	u32 lowest[ADP_SPACE_CLASSES];
	u8 skew[3];
	u32 raw;
	bool filled;
	u32 spare_pages;
	u32 spare_mappings;
	unsigned int unlucky;
	u64 max_bytes;
	u64 max_mappings;
	size_t memory;
	struct adp_window *marker;
	struct adp_leftovers *left;
	unsigned long period;
	struct delayed_work aging;
	struct ratelimit_state ratelimit;
};

/**
 * struct adp_txn - windows that one request lacks
 * @misses: in the order they were asked for
 * @exact: only what was asked for is mapped
 * @tries: how often the host has refused it
 */
struct adp_txn {
	struct adp_list misses;
	bool exact;
	u8 tries;
};

int adp_windows_init(struct adp_windows *ws, struct adp_channel *ch,
		     const struct adp_ram *ram, struct adp_stats *stats,
		     bool lazy, unsigned int idle_ms);
void adp_windows_open(struct adp_windows *ws, bool open);
unsigned int adp_windows_purge(struct adp_windows *ws);
void adp_windows_revoke(struct adp_windows *ws);
void adp_windows_destroy(struct adp_windows *ws);
void adp_txn_init(struct adp_windows *ws, struct adp_txn *txn, bool exact);
bool adp_windows_make_room(struct adp_windows *ws, struct adp_txn *txn);
struct adp_window *__adp_window_get(struct adp_windows *ws, struct adp_txn *txn,
				    u64 start, u64 end, unsigned int order);
int __adp_windows_commit(struct adp_windows *ws, struct adp_txn *txn);
void __adp_windows_abort(struct adp_windows *ws, struct adp_txn *txn);
void __adp_window_put(struct adp_windows *ws, struct adp_list *gone,
		      struct adp_window *w, unsigned int n);
void __adp_windows_release(struct adp_windows *ws, struct adp_list *gone);
struct adp_window *adp_window_find(struct adp_windows *ws, u64 dma);
struct adp_window *__adp_window_find(struct adp_windows *ws, u64 dma);
bool adp_window_drop_strict(struct adp_windows *ws, struct adp_window *w,
			    unsigned int n);
struct adp_window *adp_window_map(struct adp_windows *ws, u64 start, u64 end,
				  unsigned int order, bool exact);
int adp_windows_map(struct adp_windows *ws, struct adp_piece *piece,
		    unsigned int nr, u64 bytes);
bool adp_window_unmap(struct adp_windows *ws, struct adp_window *w);
void adp_window_pin(struct adp_window *w);
void adp_window_unpin(struct adp_windows *ws, struct adp_window *w);
void adp_windows_complain(struct adp_windows *ws, u64 bytes, const char *why);
void adp_window_set_tag(struct adp_windows *ws, struct adp_window *w, u8 tag);
void adp_windows_set_lazy(struct adp_windows *ws, bool lazy);
void adp_windows_sleep(struct adp_windows *ws);
void adp_windows_wake(struct adp_windows *ws);
unsigned int adp_windows_evict(struct adp_windows *ws, u64 start, u64 end,
			       bool across);
void adp_windows_measure(struct adp_windows *ws);
void adp_windows_insist(struct adp_windows *ws);
bool adp_windows_tight(struct adp_windows *ws);
bool adp_windows_mark(struct adp_windows *ws, u64 start, u64 end);
bool __adp_windows_started(struct adp_windows *ws, u64 start);
void adp_windows_refresh(struct adp_windows *ws);

/* The tag of a window that may hold copies, but is no area's. */
#define ADP_TAG_BOUNCE		U8_MAX

/**
 * adp_window_tag() - may a window hold copies
 * @w: window that is in use
 *
 * Return: 0 if not; else one more than the number of an area of the pool of
 * copies that may be in it, or ADP_TAG_BOUNCE.
 */
static inline u8 adp_window_tag(const struct adp_window *w)
{
	return w->tagged ? w->extra : 0;
}

/* The smallest mapping whose address is aligned as its memory is: 64 KiB. */
#define ADP_ALIGN_SHIFT		16

/* The largest that is looked for: 2 MiB. Coherent memory has one more, adp_chunk_order(). */
#define ADP_ALIGN_ORDERS	6

/**
 * adp_align_order() - the alignment that a mapping's address is to have
 * @phys: start
 * @size: bytes
 *
 * A driver that maps naturally aligned memory of 64 KiB and more may program
 * pages of that size into its device, which then ignores the low bits of the
 * address. The platform takes no wishes, but see adp_windows_arrange().
 *
 * Return: 0 for none, n for 32 KiB << n.
 */
static inline unsigned int adp_align_order(u64 phys, u64 size)
{
	unsigned int shift;

	if (likely(size < BIT(ADP_ALIGN_SHIFT) ||
		   phys % BIT(ADP_ALIGN_SHIFT)))
		return 0;
	shift = min_t(unsigned int, fls64(size) - 1,
		      phys ? __ffs64(phys) : 63);
	return min(shift - ADP_ALIGN_SHIFT + 1, (unsigned int)ADP_ALIGN_ORDERS);
}

/**
 * adp_align_fits() - is a window's address aligned as its memory is
 * @w: mapped window that the caller has a reference to
 * @order: alignment
 */
static inline bool adp_align_fits(const struct adp_window *w, unsigned int order)
{
	return !order || !((w->dma - w->gpa) & ((2U << order) - 1));
}

/**
 * __adp_window_ref() - more references to a window
 * @w: window that the caller has got and not committed yet
 * @n: how many
 *
 * Context: any; the caller holds the lock.
 */
static inline void __adp_window_ref(struct adp_window *w, unsigned int n)
{
	if (w->state == ADP_WINDOW_LIVE)
		atomic_add(n, &w->refs);
	else
		w->wanted += n;
}

/**
 * adp_window_dma() - the DMA address of memory that a window holds
 * @w: mapped window that the caller has a reference to
 * @phys: guest address
 */
static inline u64 adp_window_dma(const struct adp_window *w, u64 phys)
{
	return phys + (((u64)w->dma - w->gpa) << APPLE_DMA_PCI_HOST_PAGE_SHIFT);
}

/**
 * adp_window_holds() - does a window have a DMA address
 * @w: mapped window that the caller has a reference to
 * @dma: address
 */
static inline bool adp_window_holds(const struct adp_window *w, u64 dma)
{
	return (dma >> APPLE_DMA_PCI_HOST_PAGE_SHIFT) - w->dma < w->pages;
}

/* leftover.c: what an earlier kernel has left mapped. */

/**
 * struct adp_leftovers - the search for mappings of an earlier kernel
 * @ch: channel
 * @ram: where this kernel maps, a copy
 * @before: where the earlier one did, if that is elsewhere, or NULL
 * @ws: windows, once there can be any; the search goes around them
 * @marker: memory that is mapped while this kernel serves, so that the next one
 *	knows, or NULL
 * @looked: the sign of an earlier kernel has been looked for
 * @wanted: what it has left is to be looked for before anything is served
 * @complete: all starts have been asked for, or cannot be
 * @pass: 0 for the starts that most windows have in lazy mode, 1 for the others
 * @range: range of @ram, then of @before, that is being searched
 * @at: next start in it, or 0
 * @found: mappings that were found since the last message
 * @work: goes on with the search
 * @alone: the lock while there is no @ws
 * @lock: protects the rest: that of @ws, or @alone
 */
struct adp_leftovers {
	struct adp_channel *ch;
	struct adp_ram_map *ram;
	struct adp_ram_map *before;
	struct adp_windows *ws;
	void *marker;
	bool looked;
	bool wanted;
	bool complete;
	unsigned int pass;
	unsigned int range;
	u64 at;
	u64 found;
	struct delayed_work work;
	spinlock_t alone; /* see above */
	spinlock_t *lock; /* see above */
};

int adp_left_init(struct adp_leftovers *l, struct adp_channel *ch,
		  const struct adp_ram *ram, bool all);
void adp_left_destroy(struct adp_leftovers *l);
void adp_left_look(struct adp_leftovers *l);
void adp_left_search(struct adp_leftovers *l);
void adp_left_serve(struct adp_leftovers *l, struct adp_windows *ws);
void adp_left_stop(struct adp_leftovers *l);
void adp_left_mark(struct adp_leftovers *l);
void __adp_left_suspect(struct adp_leftovers *l);

/**
 * __adp_left_possible() - may a start be one of an earlier kernel's mappings
 * @l: the search, or NULL
 *
 * Context: any; the caller holds the lock of the windows.
 */
static inline bool __adp_left_possible(const struct adp_leftovers *l)
{
	return l && !l->complete && !l->ch->odd_ids;
}

/* pool.c: coherent memory. */

/**
 * struct adp_pool - coherent memory, carved by DMA address from mapped chunks
 * @lock: protects @chunks and what is carved from them
 * @ws: where chunks are mapped
 * @chunks: struct adp_chunk, the shared ones
 * @allocs: struct adp_alloc by DMA address >> PAGE_SHIFT
 * @trim: frees chunks that have become empty
 */
struct adp_pool {
	spinlock_t lock; /* see above */
	struct adp_windows *ws;
	struct list_head chunks;
	struct xarray allocs;
	struct work_struct trim;
};

void adp_pool_init(struct adp_pool *pool, struct adp_windows *ws);
void *adp_pool_alloc(struct adp_pool *pool, size_t size, u64 limit, gfp_t gfp,
		     dma_addr_t *dma);
bool adp_pool_free(struct adp_pool *pool, size_t size, dma_addr_t dma);
unsigned int adp_pool_drain(struct adp_pool *pool);

/* copy.c: copies, where copying is cheaper than mapping. */

/*
 * Size of a slot. A copy keeps the offset of the original in its page of this
 * size, which is what drivers rely on that cut a buffer at the boundaries of
 * device pages.
 */
#define ADP_COPY_PAGE		4096UL

/* How many host pages each CPU knows to have been copied: 256. */
#define ADP_COPY_RECENT_BITS	8

/* Areas of slots that there can be, of 256 KiB each. */
#define ADP_COPY_AREAS		64U

/**
 * enum adp_copy_when - which small mappings of a function are copied
 * @ADP_COPY_NONE: none
 * @ADP_COPY_COLD: most of those for which no window is there, where memory is
 *	scarce
 * @ADP_COPY_SMALL: all that go in one direction
 * @ADP_COPY_ALL: all
 */
enum adp_copy_when {
	ADP_COPY_NONE,
	ADP_COPY_COLD,
	ADP_COPY_SMALL,
	ADP_COPY_ALL,
};

struct adp_copy_area;

/**
 * struct adp_copy_cpu - what each CPU knows of the pool
 * @cold: mappings that it has found no window for, see ADP_COPY_COLD
 * @recent: host pages of some of those that were copied last, by hash
 * @next: slot that it looks at first
 */
struct adp_copy_cpu {
	unsigned int cold;
	u32 recent[1U << ADP_COPY_RECENT_BITS];
	unsigned int next;
};

/**
 * struct adp_copies - the pool of copies
 * @ws: where it is mapped
 * @cpu: for each CPU
 * @nr: areas
 * @area: the areas; they stay until adp_copy_drain()
 * @retry: when growing may be tried again, in jiffies
 * @lock: for adding an area
 */
struct adp_copies {
	struct adp_windows *ws;
	struct adp_copy_cpu __percpu *cpu;
	unsigned int nr;
	struct adp_copy_area *area[ADP_COPY_AREAS];
	unsigned long retry;
	spinlock_t lock; /* see above */
};

int adp_copy_init(struct adp_copies *copies, struct adp_windows *ws);
void adp_copy_destroy(struct adp_copies *copies);
bool adp_copy_reserve(struct adp_copies *copies, unsigned int slots);
dma_addr_t adp_copy_map(struct adp_copies *copies, phys_addr_t phys,
			size_t size, u64 limit, bool fill);
int adp_copy_unmap(struct adp_copies *copies, u16 tag, dma_addr_t dma,
		   enum dma_data_direction dir, bool skip_sync);
bool adp_copy_sync(struct adp_copies *copies, u16 tag, dma_addr_t dma,
		   size_t size, enum dma_data_direction dir, bool for_cpu);
u64 adp_copy_bytes(const struct adp_copies *copies);
unsigned int adp_copy_drain(struct adp_copies *copies);

/**
 * adp_copy_fits() - could a slot hold a copy
 * @phys: start
 * @size: bytes, not 0
 */
static inline bool adp_copy_fits(u64 phys, u64 size)
{
	return (phys & (ADP_COPY_PAGE - 1)) + size <= ADP_COPY_PAGE;
}

/* bounce.c: copies, for the memory that no window can serve and no slot holds. */

/**
 * struct adp_bounce - copies that are live
 * @lock: protects the rest
 * @pool: where the copies are
 * @slots: struct adp_bounce_slot by DMA address
 * @live: number of them; while it is 0 a look-up takes no lock
 */
struct adp_bounce {
	spinlock_t lock; /* see above */
	struct adp_pool *pool;
	struct rb_root slots;
	unsigned int live;
};

void adp_bounce_init(struct adp_bounce *bounce, struct adp_pool *pool);
dma_addr_t adp_bounce_map(struct adp_bounce *bounce, phys_addr_t phys,
			  size_t size, u64 limit);
bool adp_bounce_unmap(struct adp_bounce *bounce, dma_addr_t dma,
		      enum dma_data_direction dir, bool skip_sync);
void adp_bounce_sync(struct adp_bounce *bounce, dma_addr_t dma, size_t size,
		     enum dma_data_direction dir, bool for_cpu);
unsigned int adp_bounce_drain(struct adp_bounce *bounce);

/* param.c: parameters of the module that devices can have of their own. */

/**
 * enum adp_mode - what an unmap means, in the order of adp_mode_names
 * @ADP_MODE_LAZY: what is idle stays mapped for a while
 * @ADP_MODE_STRICT: it is unmapped before the driver's unmap returns
 */
enum adp_mode {
	ADP_MODE_LAZY,
	ADP_MODE_STRICT,
};

/**
 * enum adp_copy_choice - who is copied, in the order of adp_copy_names
 * @ADP_COPY_AUTO: as the class of the function and the mode have it
 * @ADP_COPY_NEVER: nothing
 * @ADP_COPY_COLD_ANY: as for a storage or network function, whatever the class
 * @ADP_COPY_ALWAYS: all that fits a slot
 */
enum adp_copy_choice {
	ADP_COPY_AUTO,
	ADP_COPY_NEVER,
	ADP_COPY_COLD_ANY,
	ADP_COPY_ALWAYS,
};

extern const char * const adp_mode_names[];
extern const char * const adp_copy_names[];

int adp_param_check(const char *param, const char *list,
		    const char * const *names);
unsigned int adp_param_for(const char *list, const char * const *names,
			   unsigned int domain, unsigned int bus,
			   unsigned int devfn);

/* main.c and claim.c: companions and the functions they serve. */

/**
 * struct adp_companion - one companion and the function that it maps for
 * @node: in the list of companions
 * @pdev: the companion
 * @managed: the managed function, or NULL while it is absent
 * @devfn: where it is on the companion's own bus
 * @linked: the device link is there
 * @hooked: the managed function has our ops
 * @refused: and these refuse
 * @early: its driver was probed before there was a companion to serve it
 * @settle: lets go of the managed function after a probe that failed
 * @lose: takes the managed function from its driver when the channel is broken
 * @may_bounce: its driver uses the streaming API as it is meant
 * @may_copy: and its small mappings are worth copying
 * @choice: who is copied, as the parameter or whoever wrote to sysfs has it
 * @copy: what comes of it
 * @regs: BAR0
 * @ram: guest RAM
 * @stats: what the channel has done
 * @op_stats: what the driver above has asked for
 * @ch: channel
 * @left: what an earlier kernel has left mapped
 * @windows: windows
 * @pool: coherent memory
 * @copies: copies that are cheaper than windows
 * @bounce: copies where there can be no window
 * @debugfs: directory
 */
struct adp_companion {
	struct list_head node;
	struct pci_dev *pdev;
	struct pci_dev *managed;
	unsigned int devfn;
	bool linked;
	bool hooked;
	bool refused;
	bool early;
	bool may_bounce;
	bool may_copy;
	enum adp_copy_choice choice;
	enum adp_copy_when copy;
	struct work_struct settle;
	struct work_struct lose;
	void __iomem *regs;
	struct adp_ram ram;
	struct adp_stats stats;
	struct adp_op_stats __percpu *op_stats;
	struct adp_channel ch;
	struct adp_leftovers left;
	struct adp_windows windows;
	struct adp_pool pool;
	struct adp_copies copies;
	struct adp_bounce bounce;
	struct dentry *debugfs;
};

unsigned int adp_companion_look(struct adp_companion *c);
int adp_claim_init(void);
void adp_claim_exit(void);
struct pci_dev *adp_claim_close(struct pci_dev *companion, unsigned int devfn);
bool adp_claim_quiet(struct pci_dev *companion, unsigned int devfn);
int adp_claim(struct adp_companion *c, bool rebind);
void adp_unclaim(struct adp_companion *c);
void adp_claim_shutdown(struct adp_companion *c);
void adp_claim_describe(struct adp_companion *c, char *buf, size_t size);
int adp_claim_each(int (*fn)(struct adp_companion *c, void *arg), void *arg);
int adp_claim_set_mode(struct adp_companion *c, enum adp_mode mode);
int adp_claim_set_copy(struct adp_companion *c, enum adp_copy_choice choice);

/* system.c: what becomes of the machine as a whole. */

int adp_system_init(void);
void adp_system_exit(void);
int adp_system_freeze(struct adp_companion *c);

/* ops.c: the kernel's calls, translated. */

void adp_ops_install(struct adp_companion *c, struct device *dev);
void adp_ops_refuse(struct device *dev);
bool adp_ops_refusing(struct device *dev);
void adp_ops_remove(struct device *dev);

/* hook.c: how the kernel's calls get here; hook.h has the rest. */

int adp_hook_init(const char *choice);
const char *adp_hook_name(void);
const char *adp_hook_get(const char **remedy);
void adp_hook_put(void);

/* stats.c: what people look at. */

extern const struct attribute_group *adp_groups[];

void adp_stats_init(void);
void adp_stats_exit(void);
void adp_stats_add(struct adp_companion *c);
void adp_stats_remove(struct adp_companion *c);
void adp_stats_totals(struct adp_companion *c);

#endif /* ADP_H */
