/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of the kernel as driver/copy.c uses, for a program in user space with
 * several threads. Each is a CPU.
 */
#ifndef ADP_SLOTS_H
#define ADP_SLOTS_H

#include "kshim.h"

/* kshim.h has one thread in mind. */
#undef READ_ONCE
#undef WRITE_ONCE
#undef smp_store_release
#undef spin_lock_init
#undef spin_lock_irqsave
#undef spin_unlock_irqrestore
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELAXED)
/* What the callers pair it with is theirs to say. */
#define smp_load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
/* The same. */
#define smp_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* There is but one lock. */
void slots_lock(void);
void slots_unlock(void);
#define spin_lock_init(l) ((void)(l))
#define spin_lock_irqsave(l, f) ((void)(l), (f) = 0, slots_lock())
#define spin_unlock_irqrestore(l, f) ((void)(l), (void)(f), slots_unlock())

struct slots_atomic { s64 counter; };
#define atomic64_t struct slots_atomic

static inline s64 atomic64_read(atomic64_t *a)
{
	return __atomic_load_n(&a->counter, __ATOMIC_RELAXED);
}

static inline void atomic64_set_release(atomic64_t *a, s64 v)
{
	__atomic_store_n(&a->counter, v, __ATOMIC_RELEASE);
}

static inline s64 atomic64_cmpxchg(atomic64_t *a, s64 old, s64 v)
{
	__atomic_compare_exchange_n(&a->counter, &old, v, false,
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	return old;
}

#define atomic64_cmpxchg_acquire atomic64_cmpxchg

/* Of what a CPU has, all numbers are 32 bits long. */
#define SLOTS_CPUS 4
#define SLOTS_PERCPU 1032
unsigned int slots_cpu(void);

static inline u32 *slots_this(u32 *first)
{
	return first + slots_cpu() * SLOTS_PERCPU / sizeof(*first);
}

#define alloc_percpu(type) calloc(SLOTS_CPUS, sizeof(type))
#define free_percpu(p) free(p)
#define this_cpu_read(v) (*slots_this(&(v)))
#define this_cpu_write(v, n) (*slots_this(&(v)) = (n))

#define PAGE_SIZE 4096UL
#define HZ 100
#define BIT_ULL(n) (1ULL << (n))
#define GENMASK_ULL(h, l) ((~0ULL >> (63 - (h))) & (~0ULL << (l)))
#define DMA_MAPPING_ERROR (~(dma_addr_t)0)
#define phys_to_virt(p) ((void *)(uintptr_t)(p))
#define virt_to_phys(p) ((phys_addr_t)(uintptr_t)(p))
#define copy_page(to, from) memcpy(to, from, PAGE_SIZE)

#endif /* ADP_SLOTS_H */
