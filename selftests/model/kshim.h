/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of the kernel as driver/window.c, leftover.c and ram.c use, for a
 * program in user space with one thread. Sources find this under each kernel header's
 * name.
 */
#ifndef ADP_KSHIM_H
#define ADP_KSHIM_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef u64 phys_addr_t;
typedef u64 dma_addr_t;
typedef u64 resource_size_t;
#define gfp_t unsigned int
typedef u32 __le32;
typedef u64 __le64;
enum dma_data_direction { DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE };

#define U8_MAX UINT8_MAX
#define U16_MAX UINT16_MAX
#define U32_MAX UINT32_MAX
#define U64_MAX UINT64_MAX
#define GFP_KERNEL 0
#define GFP_ATOMIC 0
#define __GFP_ZERO 0
#define __GFP_NOWARN 0
#define __GFP_NORETRY 0
#define __iomem
#define __percpu
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define likely(x) (x)
#define unlikely(x) (x)
#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, v) ((x) = (v))
static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

#define lockdep_assert_held(l) ((void)(l))
#define cond_resched() do { } while (0)
/* With one thread there is nothing to order. */
#define smp_store_release(p, v) (*(p) = (v))
/* The same. */
#define smp_mb__before_atomic() do { } while (0)
/* One reader, who is never in the way. */
#define __rcu
#define rcu_read_lock() do { } while (0)
#define rcu_read_unlock() do { } while (0)
#define rcu_dereference(p) (p)
#define rcu_dereference_protected(p, c) ((void)(c), (p))
#define synchronize_rcu() do { } while (0)
static inline void *kshim_replace(void **at, void *value)
{
	void *old = *at;

	*at = value;
	return old;
}

#define rcu_replace_pointer(ptr, value, c) ((void)(c), kshim_replace((void **)&(ptr), value))
#define BIT(n) (1UL << (n))
#define PAGE_SHIFT 12
#define PHYS_PFN(x) ((x) >> PAGE_SHIFT)
/* Memory comes and goes by 16 MiB. */
#define PAGES_PER_SECTION 4096UL
bool pfn_to_online_page(u64 pfn);
#define PAGE_SIZE 4096UL
#define BITS_TO_LONGS(n) (((n) + 63) / 64)
#define BITS_TO_BYTES(n) (((n) + 7) / 8)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP DIV_ROUND_UP_ULL
#define DIV_ROUND_UP_ULL(a, b) ({ \
	u64 b_ = (b); \
	((a) + b_ - 1) / b_; \
})
#define round_down(x, y) ((x) & ~((__typeof__(x))(y) - 1))
#define round_up(x, y) ({ \
	__typeof__(x) mask_ = (y) - 1; \
	(((x) - 1) | mask_) + 1; \
})
#define min(a, b) ({ \
	__typeof__(a) a_ = (a); \
	__typeof__(b) b_ = (b); \
	a_ < b_ ? a_ : b_; \
})
#define max(a, b) ({ \
	__typeof__(a) a_ = (a); \
	__typeof__(b) b_ = (b); \
	a_ > b_ ? a_ : b_; \
})
/* Nothing here is below 0. */
#define min_t(t, a, b) ((t)min((u64)(a), (u64)(b)))
#define max_t(t, a, b) ((t)max((u64)(a), (u64)(b)))
#define clamp(v, lo, hi) min(max(v, lo), hi)
#define div64_u64(a, b) ((a) / (b))
#define ilog2(v) (31 - __builtin_clz(v))
#define fls64(v) ((v) ? 64 - __builtin_clzll(v) : 0)
#define __ffs64(v) ((unsigned int)__builtin_ctzll(v))
#define container_of(p, type, ...) \
	((type *)((char *)(p) - offsetof(type, __VA_ARGS__)))
/* More than enough: no element here is larger. */
#define struct_size(p, m, n) shim_struct_size(sizeof(*(p)), #m, n)
static inline size_t shim_struct_size(size_t head, const char *member, size_t n)
{
	return head + 64 * n;
}

#define MAX_ERRNO 4095
#define ERR_PTR(e) ((void *)(long)(e))
#define PTR_ERR(p) ((long)(p))
#define IS_ERR(p) ((unsigned long)(p) >= (unsigned long)-MAX_ERRNO)

static inline int PTR_ERR_OR_ZERO(const void *p)
{
	return IS_ERR(p) ? (int)PTR_ERR(p) : 0;
}

struct shim_atomic { int counter; };
#define atomic_t struct shim_atomic

static inline int atomic_read(const atomic_t *a)
{
	return a->counter;
}

static inline void atomic_set(atomic_t *a, int v)
{
	a->counter = v;
}

static inline void atomic_add(int n, atomic_t *a)
{
	a->counter += n;
}

static inline int atomic_fetch_add(int n, atomic_t *a)
{
	a->counter += n;
	return a->counter - n;
}

static inline bool atomic_add_negative(int n, atomic_t *a)
{
	return atomic_fetch_add(n, a) + n < 0;
}

static inline int atomic_xchg(atomic_t *a, int v)
{
	int old = a->counter;

	a->counter = v;
	return old;
}

static inline int atomic_cmpxchg(atomic_t *a, int old, int v)
{
	int was = a->counter;

	if (was == old)
		a->counter = v;
	return was;
}

static inline bool atomic_try_cmpxchg(atomic_t *a, int *old, int v)
{
	int was = atomic_cmpxchg(a, *old, v);
	bool done = was == *old;

	*old = was;
	return done;
}

#define atomic_try_cmpxchg_release(a, old, v) atomic_try_cmpxchg(a, old, v)
#define atomic_sub(n, a) atomic_add(-(int)(n), a)
#define atomic_inc(a) atomic_add(1, a)
#define atomic_dec(a) atomic_add(-1, a)
#define atomic_fetch_inc_acquire(a) atomic_fetch_add(1, a)
#define atomic_fetch_sub_release(n, a) atomic_fetch_add(-(int)(n), a)

struct shim_lock { int held; };
#define spinlock_t struct shim_lock
#define spin_lock_init(l) ((l)->held = 0)
#define spin_lock_irqsave(l, f) do { \
	if ((l)->held++) \
		abort(); \
	(f) = 0; \
} while (0)
#define spin_unlock_irqrestore(l, f) do { \
	(void)(f); \
	if (--(l)->held) \
		abort(); \
} while (0)

struct list_head { struct list_head *next, *prev; };
struct rb_node { struct rb_node *rb_left; };
struct rb_root { struct rb_node *rb_node; };
struct pci_dev;
struct dentry;
struct scatterlist;
struct device { int unused; };
struct ratelimit_state { int unused; };
#define DEFAULT_RATELIMIT_INTERVAL 0
#define __ratelimit(r) ((void)(r), 0)

static inline void ratelimit_state_init(struct ratelimit_state *rs,
					int interval, int burst)
{
}

#define dev_warn(d, ...) ((void)(d), (void)fprintf(stderr, __VA_ARGS__))
#define dev_err dev_warn

struct work_struct { void (*func)(struct work_struct *work); };
struct delayed_work { struct work_struct work; bool queued; };
#define INIT_DELAYED_WORK(w, f) ((w)->work.func = (f))
#define to_delayed_work(w) container_of(w, struct delayed_work, work)
#define system_freezable_wq NULL

static inline void queue_delayed_work(void *wq, struct delayed_work *work,
				      unsigned long delay)
{
	work->queued = true;
}

#define cancel_delayed_work_sync(w) ((w)->queued = false)
#define msecs_to_jiffies(ms) ((unsigned long)(ms))
/* The clock stands still. */
#define jiffies 1UL
#define time_before(a, b) ((long)((a) - (b)) < 0)

#define GOLDEN_RATIO_32 0x61C88647
#define hash_32(v, bits) ((u32)((u32)(v) * GOLDEN_RATIO_32) >> (32 - (bits)))

/* A sparse array of pointers is a plain one here; indices are small. */
#define SHIM_XA 65536
struct xarray { void **slot; unsigned long cursor; };
void xa_init(struct xarray *xa);
void *xa_load(struct xarray *xa, unsigned long index);
void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp);
int xa_err(void *entry);
void xa_destroy(struct xarray *xa);
void *shim_xa_next(struct xarray *xa, unsigned long *index);
#define xa_for_each(xa, index, entry) \
	for (; ((entry) = shim_xa_next(xa, &(index)));)

/* Fails now and then if told to: see model.c. */
void *shim_alloc(size_t size);

#define kmalloc kzalloc
static inline void *kzalloc(size_t size, gfp_t gfp)
{
	return shim_alloc(size);
}

static inline void *kmemdup(const void *p, size_t size, gfp_t gfp)
{
	return memcpy(malloc(size), p, size);
}

/* Where memory is in the guest: see model.c. */
u64 virt_to_phys(const void *p);

#define is_kdump_kernel() false
#define MEMREMAP_WB 0

/* There is nothing that is not the guest's own memory. */
static inline void *memremap(u64 start, size_t size, int flags)
{
	return NULL;
}

static inline void memunmap(void *p)
{
}

#define jhash(p, n, init) ((u32)(n) + (init) + *(const u8 *)(p))

/* Pages with something to keep for who owns them. */
void *alloc_pages_exact(size_t size, gfp_t gfp);
void free_pages_exact(void *p, size_t size);
struct page { unsigned long private; };
struct page *virt_to_page(const void *p);
#define page_private(page) ((page)->private)
#define set_page_private(page, v) ((page)->private = (v))

static inline bool shim_bit(const unsigned long *map, unsigned long n)
{
	return map[n / 64] >> n % 64 & 1;
}

static inline unsigned long shim_next(const unsigned long *map,
				      unsigned long size, unsigned long n,
				      bool bit)
{
	while (n < size && shim_bit(map, n) != bit)
		n++;
	return n < size ? n : size;
}

#define find_next_bit(m, s, n) shim_next(m, s, n, true)
#define find_next_zero_bit(m, s, n) shim_next(m, s, n, false)

static inline unsigned long find_last_bit(const unsigned long *map,
					  unsigned long size)
{
	unsigned long n = size;

	while (n--)
		if (shim_bit(map, n))
			return n;
	return size;
}

static inline void bitmap_set(unsigned long *map, unsigned int n,
			      unsigned int len)
{
	for (; len--; n++)
		map[n / 64] |= BIT(n % 64);
}

static inline void bitmap_clear(unsigned long *map, unsigned int n,
				unsigned int len)
{
	for (; len--; n++)
		map[n / 64] &= ~BIT(n % 64);
}

#define kvzalloc kzalloc
static inline void *kvcalloc(size_t n, size_t size, gfp_t gfp)
{
	return calloc(n, size);
}

static inline void kfree(const void *p)
{
	free((void *)p);
}

static inline void kvfree(const void *p)
{
	free((void *)p);
}

struct resource { resource_size_t start, end; };
#define IORES_DESC_NONE 0
#define IORESOURCE_SYSTEM_RAM 0
#define IORESOURCE_BUSY 0
int walk_iomem_res_desc(unsigned long desc, unsigned long flags, u64 start,
			u64 end, void *arg,
			int (*func)(struct resource *res, void *arg));

#endif /* ADP_KSHIM_H */
