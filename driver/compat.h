/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels we build for. What a kernel has is
 * found out by probe.sh, which writes compat-probed.h; nothing here or
 * elsewhere looks at a version number.
 */
#ifndef ADP_COMPAT_H
#define ADP_COMPAT_H

#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/mm.h>

#include "compat-probed.h"

#ifdef ADP_HAVE_LINUX_UNALIGNED_H
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/*
 * Without one of them nothing can be mapped: the module keeps the managed function from
 * DMA, so that it cannot do harm, which is not what one builds it for. Without the field
 * set_dma_ops() is an empty inline; on arm64 CONFIG_XEN selects it.
 */
#if !defined(ADP_HAVE_DEV_DMA_OPS) && !defined(ADP_HAVE_FTRACE_DIRECT) && \
	!defined(ADP_GATE_ONLY)
#error "apple_dma_pci needs CONFIG_ARCH_HAS_DMA_OPS=y (before 6.12: CONFIG_DMA_OPS=y)"
#error "or CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y"
#error "with ADP_GATE_ONLY=y the module only keeps the managed function from DMA"
#endif

#ifndef DMA_ATTR_MMIO
#define DMA_ATTR_MMIO 0UL
#endif

/*
 * Does the kernel's own IOMMU layer serve this device's DMA? Kernels from 6.12
 * on have a flag in the device, which comes before its ops; dma_configure()
 * sets it anew before each probe. Older ones install ops of theirs.
 */
static inline bool adp_compat_uses_dma_iommu(struct device *dev)
{
#if defined(ADP_HAVE_DEV_DMA_IOMMU)
	return dev->dma_iommu;
#elif defined(ADP_HAVE_DEV_CLEAR_DMA_IOMMU)
	return dev_dma_iommu(dev);
#elif defined(CONFIG_IOMMU_API)
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain && (domain->type & __IOMMU_DOMAIN_DMA_API);
#else
	return false;
#endif
}

/* Make a device's ops count again; for one that is about to be refused. */
static inline void adp_compat_leave_dma_iommu(struct device *dev)
{
#if defined(ADP_HAVE_DEV_DMA_IOMMU)
	dev->dma_iommu = false;
#elif defined(ADP_HAVE_DEV_CLEAR_DMA_IOMMU)
	dev_clear_dma_iommu(dev);
#endif
}

/*
 * The members of struct dma_map_ops that map and unmap, how the first is told
 * what to map, and the address of that.
 */
#ifdef ADP_HAVE_OPS_MAP_PHYS
#define ADP_COMPAT_MAP		map_phys
#define ADP_COMPAT_UNMAP	unmap_phys
#define ADP_COMPAT_MAP_ARGS	phys_addr_t phys
#define ADP_COMPAT_MAP_PHYS	phys
#else
#define ADP_COMPAT_MAP		map_page
#define ADP_COMPAT_UNMAP	unmap_page
#define ADP_COMPAT_MAP_ARGS	struct page *page, unsigned long offset
#define ADP_COMPAT_MAP_PHYS	(page_to_phys(page) + offset)
#endif

#ifdef ADP_HAVE_OPS_ALLOC_PAGES_OP
#define ADP_COMPAT_ALLOC_PAGES	alloc_pages_op
#else
#define ADP_COMPAT_ALLOC_PAGES	alloc_pages
#endif

/* The kernel must not think that mappings of this device need no sync. */
static inline void adp_compat_need_sync(struct device *dev)
{
#if defined(ADP_HAVE_DEV_DMA_SKIP_SYNC)
	dev->dma_skip_sync = false;
#elif defined(ADP_HAVE_DEV_CLEAR_DMA_SKIP_SYNC)
	dev_clear_dma_skip_sync(dev);
#endif
}

#ifdef ADP_HAVE_FTRACE_DIRECT
#include <linux/ftrace.h>

static inline int adp_compat_register_direct(struct ftrace_ops *ops,
					     unsigned long addr)
{
#ifdef ADP_HAVE_FTRACE_DIRECT_MULTI
	return register_ftrace_direct_multi(ops, addr);
#else
	return register_ftrace_direct(ops, addr);
#endif
}

static inline int adp_compat_unregister_direct(struct ftrace_ops *ops,
					       unsigned long addr)
{
#ifdef ADP_HAVE_FTRACE_DIRECT_MULTI
	return unregister_ftrace_direct_multi(ops, addr);
#else
	return unregister_ftrace_direct(ops, addr, false);
#endif
}
#endif

#endif /* ADP_COMPAT_H */
