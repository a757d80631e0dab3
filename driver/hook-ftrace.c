// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hooks on the kernel's DMA calls, for kernels whose devices have no dma_ops of
 * their own.
 *
 * One stub is the direct call of ftrace for all of these functions. Its tax on the
 * DMA of other devices is a load and a compare: the limit of a gate tells a function
 * of ours. For such a one it goes to our counterpart of the function that was
 * called, which returns to the caller; the kernel's own is not run. The gate stays
 * below, so a call that escapes fails.
 */
#include <linux/dma-map-ops.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "adp.h"
#include "compat.h"
#include "hook.h"

#ifdef ADP_HAVE_FTRACE_DIRECT

#include <asm/linkage.h>
#ifdef CONFIG_X86
#include <asm/ibt.h>
#endif

/*
 * All of these functions are in one object file of the kernel, of less than 32 KiB;
 * the rest is for kernels to come.
 */
#define ADP_TEXT_MAX		SZ_256K

/* The entry of a function, up to where a direct call returns to, is within 16 bytes. */
#define ADP_ENTRY_BYTES		16
#define ADP_ENTRY_SHIFT		2

static char *hook_omit = "";
module_param(hook_omit, charp, 0444);
MODULE_PARM_DESC(hook_omit, "for tests of hook=ftrace: a DMA function that gets no hook");

static bool hook_try = true;
module_param(hook_try, bool, 0444);
MODULE_PARM_DESC(hook_try, "for tests of hook=ftrace: see that each hook works before a function is served (default: 1)");

/* What serves a device that a hook was called with, never NULL. */
static const struct dma_map_ops *adp_hook_enter(struct device *dev,
						unsigned int hook)
{
	struct adp_gate *gate = adp_gate_of(dev);

	if (!dev->dma_range_map || gate->magic != ADP_GATE_MAGIC)
		return &adp_refuse_ops;
	if (unlikely(gate->seen))
		set_bit(hook, gate->seen);
	return gate->ops;
}

/*
 * Every function of the DMA API that takes a device and gives out an address, takes
 * one back, or tells what to expect of them; the others end in one of these.
 */
enum adp_hook_id {
	ADP_HOOK_MAP_PAGE,
	ADP_HOOK_UNMAP_PAGE,
#ifdef ADP_HAVE_DMA_MAP_PHYS
	ADP_HOOK_MAP_PHYS,
	ADP_HOOK_UNMAP_PHYS,
#endif
	ADP_HOOK_MAP_SG,
	ADP_HOOK_MAP_SGTABLE,
	ADP_HOOK_UNMAP_SG,
	ADP_HOOK_MAP_RESOURCE,
	ADP_HOOK_UNMAP_RESOURCE,
	ADP_HOOK_ALLOC,
	ADP_HOOK_FREE,
	ADP_HOOK_ALLOC_PAGES,
	ADP_HOOK_FREE_PAGES,
	ADP_HOOK_ALLOC_NONCONTIGUOUS,
	ADP_HOOK_FREE_NONCONTIGUOUS,
	ADP_HOOK_MMAP,
	ADP_HOOK_GET_SGTABLE,
	ADP_HOOK_CAN_MMAP,
	ADP_HOOK_SYNC_SINGLE_FOR_CPU,
	ADP_HOOK_SYNC_SINGLE_FOR_DEVICE,
	ADP_HOOK_SYNC_SG_FOR_CPU,
	ADP_HOOK_SYNC_SG_FOR_DEVICE,
	ADP_HOOK_NEED_SYNC,
#ifdef ADP_HAVE_DMA_NEED_UNMAP
	ADP_HOOK_NEED_UNMAP,
#endif
	ADP_HOOK_SET_MASK,
	ADP_HOOK_SET_COHERENT_MASK,
	ADP_HOOK_GET_REQUIRED_MASK,
#ifdef ADP_HAVE_DMA_ADDRESSING_LIMITED
	ADP_HOOK_ADDRESSING_LIMITED,
#endif
	ADP_HOOK_MAX_MAPPING_SIZE,
	ADP_HOOK_OPT_MAPPING_SIZE,
	ADP_HOOK_GET_MERGE_BOUNDARY,
	ADP_HOOK_P2PDMA_SUPPORTED,
	ADP_HOOK_COUNT
};

/* Where their names are taken by inlines, the functions are behind those. */
#ifdef ADP_HAVE_UNDERSCORED_SYNC
#define ADP_SYNC(name)		__dma_##name
#define ADP_SYNC_HOOKED(name)	adp_hooked___dma_##name
#define ADP_SYNC_ENTRY(name)	ADP_HOOK_ENTRY(__dma_##name)
#else
#define ADP_SYNC(name)		dma_##name
#define ADP_SYNC_HOOKED(name)	adp_hooked_dma_##name
#define ADP_SYNC_ENTRY(name)	ADP_HOOK_ENTRY(dma_##name)
#endif

/* The counterparts have the arguments and the results of the kernel's own. */
static typeof(dma_map_page_attrs) adp_hooked_dma_map_page_attrs;
static typeof(dma_unmap_page_attrs) adp_hooked_dma_unmap_page_attrs;
#ifdef ADP_HAVE_DMA_MAP_PHYS
static typeof(dma_map_phys) adp_hooked_dma_map_phys;
static typeof(dma_unmap_phys) adp_hooked_dma_unmap_phys;
#endif
static typeof(dma_map_sg_attrs) adp_hooked_dma_map_sg_attrs;
static typeof(dma_map_sgtable) adp_hooked_dma_map_sgtable;
static typeof(dma_unmap_sg_attrs) adp_hooked_dma_unmap_sg_attrs;
static typeof(dma_map_resource) adp_hooked_dma_map_resource;
static typeof(dma_unmap_resource) adp_hooked_dma_unmap_resource;
static typeof(dma_alloc_attrs) adp_hooked_dma_alloc_attrs;
static typeof(dma_free_attrs) adp_hooked_dma_free_attrs;
static typeof(dma_alloc_pages) adp_hooked_dma_alloc_pages;
static typeof(dma_free_pages) adp_hooked_dma_free_pages;
static typeof(dma_alloc_noncontiguous) adp_hooked_dma_alloc_noncontiguous;
static typeof(dma_free_noncontiguous) adp_hooked_dma_free_noncontiguous;
static typeof(dma_mmap_attrs) adp_hooked_dma_mmap_attrs;
static typeof(dma_get_sgtable_attrs) adp_hooked_dma_get_sgtable_attrs;
static typeof(dma_can_mmap) adp_hooked_dma_can_mmap;
static typeof(ADP_SYNC(sync_single_for_cpu)) ADP_SYNC_HOOKED(sync_single_for_cpu);
static typeof(ADP_SYNC(sync_single_for_device)) ADP_SYNC_HOOKED(sync_single_for_device);
static typeof(ADP_SYNC(sync_sg_for_cpu)) ADP_SYNC_HOOKED(sync_sg_for_cpu);
static typeof(ADP_SYNC(sync_sg_for_device)) ADP_SYNC_HOOKED(sync_sg_for_device);
static typeof(ADP_SYNC(need_sync)) ADP_SYNC_HOOKED(need_sync);
#ifdef ADP_HAVE_DMA_NEED_UNMAP
static typeof(dma_need_unmap) adp_hooked_dma_need_unmap;
#endif
static typeof(dma_set_mask) adp_hooked_dma_set_mask;
static typeof(dma_set_coherent_mask) adp_hooked_dma_set_coherent_mask;
static typeof(dma_get_required_mask) adp_hooked_dma_get_required_mask;
#ifdef ADP_HAVE_DMA_ADDRESSING_LIMITED
static typeof(dma_addressing_limited) adp_hooked_dma_addressing_limited;
#endif
static typeof(dma_max_mapping_size) adp_hooked_dma_max_mapping_size;
static typeof(dma_opt_mapping_size) adp_hooked_dma_opt_mapping_size;
static typeof(dma_get_merge_boundary) adp_hooked_dma_get_merge_boundary;
static typeof(dma_pci_p2pdma_supported) adp_hooked_dma_pci_p2pdma_supported;

static dma_addr_t adp_do_map(struct device *dev, const struct dma_map_ops *ops,
			     struct page *page, unsigned long offset,
			     size_t size, enum dma_data_direction dir,
			     unsigned long attrs)
{
#ifdef ADP_HAVE_OPS_MAP_PHYS
	return ops->map_phys(dev, page_to_phys(page) + offset, size, dir, attrs);
#else
	return ops->map_page(dev, page, offset, size, dir, attrs);
#endif
}

static dma_addr_t adp_hooked_dma_map_page_attrs(struct device *dev,
						struct page *page,
						size_t offset, size_t size,
						enum dma_data_direction dir,
						unsigned long attrs)
{
	return adp_do_map(dev, adp_hook_enter(dev, ADP_HOOK_MAP_PAGE),
			  page, offset, size, dir, attrs);
}

static void adp_hooked_dma_unmap_page_attrs(struct device *dev, dma_addr_t dma,
					    size_t size,
					    enum dma_data_direction dir,
					    unsigned long attrs)
{
	adp_hook_enter(dev, ADP_HOOK_UNMAP_PAGE)->
		ADP_COMPAT_UNMAP(dev, dma, size, dir, attrs);
}

#ifdef ADP_HAVE_DMA_MAP_PHYS
static dma_addr_t adp_hooked_dma_map_phys(struct device *dev, phys_addr_t phys,
					  size_t size,
					  enum dma_data_direction dir,
					  unsigned long attrs)
{
	const struct dma_map_ops *ops = adp_hook_enter(dev, ADP_HOOK_MAP_PHYS);

#ifdef ADP_HAVE_OPS_MAP_PHYS
	return ops->map_phys(dev, phys, size, dir, attrs);
#else
	/* Memory of other devices has no page, and no address. */
	if (attrs & DMA_ATTR_MMIO)
		return DMA_MAPPING_ERROR;
	return ops->map_page(dev, pfn_to_page(PHYS_PFN(phys)),
			     offset_in_page(phys), size, dir, attrs);
#endif
}

static void adp_hooked_dma_unmap_phys(struct device *dev, dma_addr_t dma,
				      size_t size, enum dma_data_direction dir,
				      unsigned long attrs)
{
	adp_hook_enter(dev, ADP_HOOK_UNMAP_PHYS)->
		ADP_COMPAT_UNMAP(dev, dma, size, dir, attrs);
}
#endif

static unsigned int adp_hooked_dma_map_sg_attrs(struct device *dev,
						struct scatterlist *sgl,
						int nents,
						enum dma_data_direction dir,
						unsigned long attrs)
{
	int n = adp_hook_enter(dev, ADP_HOOK_MAP_SG)->
		map_sg(dev, sgl, nents, dir, attrs);

	return n > 0 ? n : 0;
}

static int adp_hooked_dma_map_sgtable(struct device *dev, struct sg_table *sgt,
				      enum dma_data_direction dir,
				      unsigned long attrs)
{
	int n = adp_hook_enter(dev, ADP_HOOK_MAP_SGTABLE)->
		map_sg(dev, sgt->sgl, sgt->orig_nents, dir, attrs);

	if (n < 0)
		return n;
	sgt->nents = n;
	return 0;
}

static void adp_hooked_dma_unmap_sg_attrs(struct device *dev,
					  struct scatterlist *sgl, int nents,
					  enum dma_data_direction dir,
					  unsigned long attrs)
{
	adp_hook_enter(dev, ADP_HOOK_UNMAP_SG)->
		unmap_sg(dev, sgl, nents, dir, attrs);
}

static dma_addr_t adp_hooked_dma_map_resource(struct device *dev,
					      phys_addr_t phys, size_t size,
					      enum dma_data_direction dir,
					      unsigned long attrs)
{
	const struct dma_map_ops *ops = adp_hook_enter(dev, ADP_HOOK_MAP_RESOURCE);

	/* A mapping of no bytes fails as one of MMIO does, and is counted and said. */
	if (ops == &adp_refuse_ops)
		return DMA_MAPPING_ERROR;
#ifdef ADP_HAVE_OPS_MAP_RESOURCE
	return ops->map_resource(dev, phys, size, dir, attrs);
#else
	return ops->map_phys(dev, phys, size, dir, attrs | DMA_ATTR_MMIO);
#endif
}

static void adp_hooked_dma_unmap_resource(struct device *dev, dma_addr_t dma,
					  size_t size,
					  enum dma_data_direction dir,
					  unsigned long attrs)
{
	adp_hook_enter(dev, ADP_HOOK_UNMAP_RESOURCE);
}

static void *adp_hooked_dma_alloc_attrs(struct device *dev, size_t size,
					dma_addr_t *dma, gfp_t gfp,
					unsigned long attrs)
{
	/* The caller has no say in where memory comes from, as with dma_ops. */
	gfp &= ~(__GFP_DMA | __GFP_DMA32 | __GFP_HIGHMEM);
	return adp_hook_enter(dev, ADP_HOOK_ALLOC)->
		alloc(dev, size, dma, gfp, attrs);
}

static void adp_hooked_dma_free_attrs(struct device *dev, size_t size,
				      void *cpu, dma_addr_t dma,
				      unsigned long attrs)
{
	const struct dma_map_ops *ops = adp_hook_enter(dev, ADP_HOOK_FREE);

	if (cpu && ops->free)
		ops->free(dev, size, cpu, dma, attrs);
}

static struct page *adp_do_alloc_pages(struct device *dev,
				       const struct dma_map_ops *ops,
				       size_t size, dma_addr_t *dma,
				       enum dma_data_direction dir, gfp_t gfp)
{
	if (!ops->ADP_COMPAT_ALLOC_PAGES)
		return NULL;
	return ops->ADP_COMPAT_ALLOC_PAGES(dev, PAGE_ALIGN(size), dma, dir, gfp);
}

static void adp_do_free_pages(struct device *dev, const struct dma_map_ops *ops,
			      size_t size, struct page *page, dma_addr_t dma,
			      enum dma_data_direction dir)
{
	if (ops->free_pages)
		ops->free_pages(dev, PAGE_ALIGN(size), page, dma, dir);
}

static struct page *adp_hooked_dma_alloc_pages(struct device *dev, size_t size,
					       dma_addr_t *dma,
					       enum dma_data_direction dir,
					       gfp_t gfp)
{
	return adp_do_alloc_pages(dev, adp_hook_enter(dev, ADP_HOOK_ALLOC_PAGES),
				  size, dma, dir, gfp);
}

static void adp_hooked_dma_free_pages(struct device *dev, size_t size,
				      struct page *page, dma_addr_t dma,
				      enum dma_data_direction dir)
{
	adp_do_free_pages(dev, adp_hook_enter(dev, ADP_HOOK_FREE_PAGES), size,
			  page, dma, dir);
}

/* Memory that need not be contiguous is so, as the kernel has it without an IOMMU. */
static struct sg_table *adp_hooked_dma_alloc_noncontiguous(struct device *dev, size_t size,
							   enum dma_data_direction dir, gfp_t gfp,
							   unsigned long attrs)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_ALLOC_NONCONTIGUOUS);
	struct sg_table *sgt;
	struct page *page;

	sgt = kmalloc(sizeof(*sgt), gfp);
	if (!sgt)
		return NULL;
	if (sg_alloc_table(sgt, 1, gfp))
		goto free;
	page = adp_do_alloc_pages(dev, ops, size, &sgt->sgl->dma_address, dir, gfp);
	if (!page)
		goto free_table;
	sg_set_page(sgt->sgl, page, PAGE_ALIGN(size), 0);
	sg_dma_len(sgt->sgl) = sgt->sgl->length;
	sgt->nents = 1;
	return sgt;

free_table:
	sg_free_table(sgt);
free:
	kfree(sgt);
	return NULL;
}

static void adp_hooked_dma_free_noncontiguous(struct device *dev, size_t size,
					      struct sg_table *sgt,
					      enum dma_data_direction dir)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_FREE_NONCONTIGUOUS);

	if (!sgt)
		return;
	adp_do_free_pages(dev, ops, size, sg_page(sgt->sgl),
			  sg_dma_address(sgt->sgl), dir);
	sg_free_table(sgt);
	kfree(sgt);
}

static int adp_hooked_dma_mmap_attrs(struct device *dev,
				     struct vm_area_struct *vma, void *cpu,
				     dma_addr_t dma, size_t size,
				     unsigned long attrs)
{
	const struct dma_map_ops *ops = adp_hook_enter(dev, ADP_HOOK_MMAP);

	return ops->mmap ? ops->mmap(dev, vma, cpu, dma, size, attrs) : -ENXIO;
}

static int adp_hooked_dma_get_sgtable_attrs(struct device *dev,
					    struct sg_table *sgt, void *cpu,
					    dma_addr_t dma, size_t size,
					    unsigned long attrs)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_GET_SGTABLE);

	return ops->get_sgtable ?
	       ops->get_sgtable(dev, sgt, cpu, dma, size, attrs) : -ENXIO;
}

static bool adp_hooked_dma_can_mmap(struct device *dev)
{
	return adp_hook_enter(dev, ADP_HOOK_CAN_MMAP)->mmap;
}

static void ADP_SYNC_HOOKED(sync_single_for_cpu)(struct device *dev,
						 dma_addr_t dma, size_t size,
						 enum dma_data_direction dir)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_SYNC_SINGLE_FOR_CPU);

	if (ops->sync_single_for_cpu)
		ops->sync_single_for_cpu(dev, dma, size, dir);
}

static void ADP_SYNC_HOOKED(sync_single_for_device)(struct device *dev, dma_addr_t dma,
						    size_t size, enum dma_data_direction dir)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_SYNC_SINGLE_FOR_DEVICE);

	if (ops->sync_single_for_device)
		ops->sync_single_for_device(dev, dma, size, dir);
}

static void ADP_SYNC_HOOKED(sync_sg_for_cpu)(struct device *dev,
					     struct scatterlist *sgl, int nents,
					     enum dma_data_direction dir)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_SYNC_SG_FOR_CPU);

	if (ops->sync_sg_for_cpu)
		ops->sync_sg_for_cpu(dev, sgl, nents, dir);
}

static void ADP_SYNC_HOOKED(sync_sg_for_device)(struct device *dev,
						struct scatterlist *sgl,
						int nents,
						enum dma_data_direction dir)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_SYNC_SG_FOR_DEVICE);

	if (ops->sync_sg_for_device)
		ops->sync_sg_for_device(dev, sgl, nents, dir);
}

/* Some mappings are copies. */
static bool ADP_SYNC_HOOKED(need_sync)(struct device *dev, dma_addr_t dma)
{
	adp_hook_enter(dev, ADP_HOOK_NEED_SYNC);
	return true;
}

#ifdef ADP_HAVE_DMA_NEED_UNMAP
static bool adp_hooked_dma_need_unmap(struct device *dev)
{
	adp_hook_enter(dev, ADP_HOOK_NEED_UNMAP);
	return true;
}
#endif

static int adp_hooked_dma_set_mask(struct device *dev, u64 mask)
{
	const struct dma_map_ops *ops = adp_hook_enter(dev, ADP_HOOK_SET_MASK);

	if (!dev->dma_mask || !ops->dma_supported(dev, mask))
		return -EIO;
	/* Else the kernel may know, from before, that nothing needs a sync. */
	adp_compat_need_sync(dev);
	*dev->dma_mask = mask;
	return 0;
}

static int adp_hooked_dma_set_coherent_mask(struct device *dev, u64 mask)
{
	if (!adp_hook_enter(dev, ADP_HOOK_SET_COHERENT_MASK)->
			dma_supported(dev, mask))
		return -EIO;
	dev->coherent_dma_mask = mask;
	return 0;
}

static u64 adp_hooked_dma_get_required_mask(struct device *dev)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_GET_REQUIRED_MASK);

	return ops->get_required_mask ? ops->get_required_mask(dev) :
	       DMA_BIT_MASK(32);
}

#ifdef ADP_HAVE_DMA_ADDRESSING_LIMITED
static bool adp_hooked_dma_addressing_limited(struct device *dev)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_ADDRESSING_LIMITED);
	u64 mask = ops->get_required_mask ? ops->get_required_mask(dev) : 0;

	return dma_get_mask(dev) < mask;
}
#endif

static size_t adp_hooked_dma_max_mapping_size(struct device *dev)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_MAX_MAPPING_SIZE);

	return ops->max_mapping_size ? ops->max_mapping_size(dev) : SIZE_MAX;
}

static size_t adp_hooked_dma_opt_mapping_size(struct device *dev)
{
	const struct dma_map_ops *ops =
		adp_hook_enter(dev, ADP_HOOK_OPT_MAPPING_SIZE);

	return ops->opt_mapping_size ? ops->opt_mapping_size() : SIZE_MAX;
}

static unsigned long adp_hooked_dma_get_merge_boundary(struct device *dev)
{
	adp_hook_enter(dev, ADP_HOOK_GET_MERGE_BOUNDARY);
	return 0;
}

static bool adp_hooked_dma_pci_p2pdma_supported(struct device *dev)
{
	adp_hook_enter(dev, ADP_HOOK_P2PDMA_SUPPORTED);
	return false;
}

/* The stub goes by it, and names what it goes by, so they cannot be static. */
#define ADP_HOOK_ENTRY(fn)	{ #fn, (unsigned long)fn, (unsigned long)adp_hooked_##fn }
const struct adp_hook adp_stub_hooks[ADP_HOOK_COUNT] = {
	[ADP_HOOK_MAP_PAGE] = ADP_HOOK_ENTRY(dma_map_page_attrs),
	[ADP_HOOK_UNMAP_PAGE] = ADP_HOOK_ENTRY(dma_unmap_page_attrs),
#ifdef ADP_HAVE_DMA_MAP_PHYS
	[ADP_HOOK_MAP_PHYS] = ADP_HOOK_ENTRY(dma_map_phys),
	[ADP_HOOK_UNMAP_PHYS] = ADP_HOOK_ENTRY(dma_unmap_phys),
#endif
	[ADP_HOOK_MAP_SG] = ADP_HOOK_ENTRY(dma_map_sg_attrs),
	[ADP_HOOK_MAP_SGTABLE] = ADP_HOOK_ENTRY(dma_map_sgtable),
	[ADP_HOOK_UNMAP_SG] = ADP_HOOK_ENTRY(dma_unmap_sg_attrs),
	[ADP_HOOK_MAP_RESOURCE] = ADP_HOOK_ENTRY(dma_map_resource),
	[ADP_HOOK_UNMAP_RESOURCE] = ADP_HOOK_ENTRY(dma_unmap_resource),
	[ADP_HOOK_ALLOC] = ADP_HOOK_ENTRY(dma_alloc_attrs),
	[ADP_HOOK_FREE] = ADP_HOOK_ENTRY(dma_free_attrs),
	[ADP_HOOK_ALLOC_PAGES] = ADP_HOOK_ENTRY(dma_alloc_pages),
	[ADP_HOOK_FREE_PAGES] = ADP_HOOK_ENTRY(dma_free_pages),
	[ADP_HOOK_ALLOC_NONCONTIGUOUS] = ADP_HOOK_ENTRY(dma_alloc_noncontiguous),
	[ADP_HOOK_FREE_NONCONTIGUOUS] = ADP_HOOK_ENTRY(dma_free_noncontiguous),
	[ADP_HOOK_MMAP] = ADP_HOOK_ENTRY(dma_mmap_attrs),
	[ADP_HOOK_GET_SGTABLE] = ADP_HOOK_ENTRY(dma_get_sgtable_attrs),
	[ADP_HOOK_CAN_MMAP] = ADP_HOOK_ENTRY(dma_can_mmap),
	[ADP_HOOK_SYNC_SINGLE_FOR_CPU] = ADP_SYNC_ENTRY(sync_single_for_cpu),
	[ADP_HOOK_SYNC_SINGLE_FOR_DEVICE] = ADP_SYNC_ENTRY(sync_single_for_device),
	[ADP_HOOK_SYNC_SG_FOR_CPU] = ADP_SYNC_ENTRY(sync_sg_for_cpu),
	[ADP_HOOK_SYNC_SG_FOR_DEVICE] = ADP_SYNC_ENTRY(sync_sg_for_device),
	[ADP_HOOK_NEED_SYNC] = ADP_SYNC_ENTRY(need_sync),
#ifdef ADP_HAVE_DMA_NEED_UNMAP
	[ADP_HOOK_NEED_UNMAP] = ADP_HOOK_ENTRY(dma_need_unmap),
#endif
	[ADP_HOOK_SET_MASK] = ADP_HOOK_ENTRY(dma_set_mask),
	[ADP_HOOK_SET_COHERENT_MASK] = ADP_HOOK_ENTRY(dma_set_coherent_mask),
	[ADP_HOOK_GET_REQUIRED_MASK] = ADP_HOOK_ENTRY(dma_get_required_mask),
#ifdef ADP_HAVE_DMA_ADDRESSING_LIMITED
	[ADP_HOOK_ADDRESSING_LIMITED] = ADP_HOOK_ENTRY(dma_addressing_limited),
#endif
	[ADP_HOOK_MAX_MAPPING_SIZE] = ADP_HOOK_ENTRY(dma_max_mapping_size),
	[ADP_HOOK_OPT_MAPPING_SIZE] = ADP_HOOK_ENTRY(dma_opt_mapping_size),
	[ADP_HOOK_GET_MERGE_BOUNDARY] = ADP_HOOK_ENTRY(dma_get_merge_boundary),
	[ADP_HOOK_P2PDMA_SUPPORTED] = ADP_HOOK_ENTRY(dma_pci_p2pdma_supported),
};

/* Where the first of the functions begins, and which one is where, by 4 bytes. */
unsigned long adp_stub_base;
u8 *adp_stub_map;

/*
 * The stub. It is called from the entry of a function of the DMA API, before that
 * has done anything, so it changes no register that has an argument. Never called
 * as C: this gives the assembler what only the compiler knows.
 */
static noinline void __used adp_stub_source(void)
{
#ifdef CONFIG_X86
	/* The address that the function goes on at is on the stack, below its caller's. */
	asm volatile("	.pushsection	.text.adp_stub, \"ax\", @progbits\n"
		     "	.type		adp_stub, @function\n"
		     "	.globl		adp_stub\n"
		     "	.balign		16\n"
		     "adp_stub:\n"
		     ASM_ENDBR
		     "	cmpq	%1, %c0(%%rdi)\n"
		     "	je	1f\n"
		     ASM_RET
		     "1:	movq	(%%rsp), %%rax\n"
		     "	subq	adp_stub_base(%%rip), %%rax\n"
		     "	shrq	%2, %%rax\n"
		     "	movq	adp_stub_map(%%rip), %%r10\n"
		     "	movzbl	(%%r10,%%rax), %%eax\n"
		     "	leaq	(%%rax,%%rax,2), %%rax\n"
		     "	leaq	adp_stub_hooks+%c3(%%rip), %%r10\n"
		     "	movq	(%%r10,%%rax,8), %%rax\n"
		     "	movq	%%rax, (%%rsp)\n"
		     ASM_RET
		     "	.size		adp_stub, .-adp_stub\n"
		     "	.popsection\n"
		     :: "i" (offsetof(struct device, bus_dma_limit)),
			"i" (ADP_GATE_LIMIT), "i" (ADP_ENTRY_SHIFT),
			"i" (offsetof(struct adp_hook, to)));
	static_assert(sizeof(struct adp_hook) == 3 * 8);
#else
	/* It is in x30, and its caller's in x9. */
	asm volatile("	.pushsection	.text.adp_stub, \"ax\", @progbits\n"
		     "	.type		adp_stub, @function\n"
		     "	.globl		adp_stub\n"
		     "	.balign		16\n"
		     "adp_stub:\n"
		     "	hint	34\n"
		     "	ldr	x16, [x0, %0]\n"
		     "	mov	x10, x30\n"
		     "	mov	x30, x9\n"
		     "	cmp	x16, %1\n"
		     "	b.eq	1f\n"
		     "	ret	x10\n"
		     "1:	adrp	x16, adp_stub_base\n"
		     "	ldr	x16, [x16, :lo12:adp_stub_base]\n"
		     "	sub	x10, x10, x16\n"
		     "	lsr	x10, x10, %2\n"
		     "	adrp	x16, adp_stub_map\n"
		     "	ldr	x16, [x16, :lo12:adp_stub_map]\n"
		     "	ldrb	w10, [x16, x10]\n"
		     "	add	x10, x10, x10, lsl 1\n"
		     "	adrp	x16, adp_stub_hooks\n"
		     "	add	x16, x16, :lo12:adp_stub_hooks\n"
		     "	add	x16, x16, x10, lsl 3\n"
		     "	ldr	x16, [x16, %3]\n"
		     "	br	x16\n"
		     "	.size		adp_stub, .-adp_stub\n"
		     "	.popsection\n"
		     :: "i" (offsetof(struct device, bus_dma_limit)),
			"i" (ADP_GATE_LIMIT), "i" (ADP_ENTRY_SHIFT),
			"i" (offsetof(struct adp_hook, to)));
	static_assert(sizeof(struct adp_hook) == 3 * 8);
#endif
}

/* It is never called: a permanent user of ftrace keeps that from being switched off. */
static void adp_anchor_called(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
}

static noinline void adp_anchor(void)
{
	barrier();
}

/**
 * struct adp_ftrace - what ftrace knows of us
 * @direct: the hooks
 * @anchor: the permanent user
 *
 * Anew for each start: older kernels do not take one whose filter has been freed.
 */
struct adp_ftrace {
	struct ftrace_ops direct;
	struct ftrace_ops anchor;
};

static struct adp_ftrace *adp_ftrace;

/* Room for the longest of the reasons, for one who starts at a time. */
static char adp_hook_why[160];

static const char *adp_hook_because(const char *name, const char *what)
{
	snprintf(adp_hook_why, sizeof(adp_hook_why), "ftrace: %s %s", name, what);
	return adp_hook_why;
}

/* Which function is it that ftrace does not know, or that somebody else has. */
static const char *adp_hook_culprit(int err, const char **remedy)
{
	static const char taken[] =
		"is taken by somebody else, a livepatch or a BPF program";
	struct ftrace_ops *ops;
	const char *why = NULL;
	unsigned int i;

	for (i = 0; i < ADP_HOOK_COUNT && !why; i++) {
		ops = kzalloc(sizeof(*ops), GFP_KERNEL);
		if (!ops)
			break;
		err = ftrace_set_filter_ip(ops, adp_stub_hooks[i].at, 0, 1);
		if (err) {
			why = adp_hook_because(adp_stub_hooks[i].name, "cannot be traced");
		} else {
			err = adp_compat_register_direct(ops, (unsigned long)adp_stub);
			if (!err)
				adp_compat_unregister_direct(ops, (unsigned long)adp_stub);
			else if (err == -EBUSY)
				why = adp_hook_because(adp_stub_hooks[i].name, taken);
		}
		ftrace_free_filter(ops);
		kfree(ops);
	}
	if (why && err == -EBUSY)
		*remedy = "unload that first, and then this module and load it again";
	if (why)
		return why;
	snprintf(adp_hook_why, sizeof(adp_hook_why),
		 "ftrace: direct calls cannot be registered (%d)", err);
	return adp_hook_why;
}

/* Which function of ours belongs to which address. Return: NULL or why not. */
static const char *adp_hook_index(void)
{
	unsigned long first = ULONG_MAX, last = 0, at;
	unsigned int i;

	for (i = 0; i < ADP_HOOK_COUNT; i++) {
		first = min(first, adp_stub_hooks[i].at);
		last = max(last, adp_stub_hooks[i].at);
	}
	if (last - first > ADP_TEXT_MAX)
		return "ftrace: the kernel's DMA functions are far from one another";
	adp_stub_map = kmalloc((last - first + 2 * ADP_ENTRY_BYTES) >> ADP_ENTRY_SHIFT,
			       GFP_KERNEL);
	if (!adp_stub_map)
		return "no memory";
	memset(adp_stub_map, U8_MAX,
	       (last - first + 2 * ADP_ENTRY_BYTES) >> ADP_ENTRY_SHIFT);
	adp_stub_base = first;
	for (i = 0; i < ADP_HOOK_COUNT; i++) {
		for (at = 0; at < ADP_ENTRY_BYTES; at += BIT(ADP_ENTRY_SHIFT)) {
			u8 *which = &adp_stub_map[(adp_stub_hooks[i].at + at - first) >>
						  ADP_ENTRY_SHIFT];

			if (*which != U8_MAX)
				return adp_hook_because(adp_stub_hooks[i].name,
							"is too close to another one");
			*which = i;
		}
	}
	return NULL;
}

/* The first function that has not come to its hook. */
static const char *adp_hook_lost(const unsigned long *seen)
{
	unsigned int i = find_first_zero_bit(seen, ADP_HOOK_COUNT);

	return i == ADP_HOOK_COUNT ? NULL :
	       adp_hook_because(adp_stub_hooks[i].name, "does not come to its hook");
}

/* Functions that do no harm even if they are the kernel's own. */
static void adp_hook_ask(struct device *dev, u64 mask)
{
	dma_addr_t dma;

	dma_set_mask(dev, mask);
	dma_set_coherent_mask(dev, mask);
	dma_get_required_mask(dev);
	dma_max_mapping_size(dev);
	dma_opt_mapping_size(dev);
	dma_get_merge_boundary(dev);
	dma_pci_p2pdma_supported(dev);
	dma_can_mmap(dev);
#ifdef ADP_HAVE_DMA_NEED_UNMAP
	dma_need_unmap(dev);
#endif
#ifdef ADP_HAVE_DMA_ADDRESSING_LIMITED
	dma_addressing_limited(dev);
#endif
	/* All of memory is out of the device's reach. */
	dma_alloc_attrs(dev, PAGE_SIZE, &dma, GFP_KERNEL, 0);
	dma_alloc_pages(dev, PAGE_SIZE, &dma, DMA_TO_DEVICE, GFP_KERNEL);
	dma_alloc_noncontiguous(dev, PAGE_SIZE, DMA_TO_DEVICE, GFP_KERNEL, 0);
}

/* The others, for nothing: they are called only if those are hooked. */
static void adp_hook_tell(struct device *dev, struct page *page)
{
	struct scatterlist sg;
	struct sg_table sgt = { .sgl = &sg, .nents = 1, .orig_nents = 1 };

	sg_init_one(&sg, page_address(page), PAGE_SIZE);
	dma_map_page_attrs(dev, page, 0, PAGE_SIZE, DMA_TO_DEVICE, 0);
	dma_unmap_page_attrs(dev, 0, PAGE_SIZE, DMA_TO_DEVICE, 0);
#ifdef ADP_HAVE_DMA_MAP_PHYS
	dma_map_phys(dev, page_to_phys(page), PAGE_SIZE, DMA_TO_DEVICE, 0);
	dma_unmap_phys(dev, 0, PAGE_SIZE, DMA_TO_DEVICE, 0);
#endif
	dma_map_sg_attrs(dev, &sg, 1, DMA_TO_DEVICE, 0);
	dma_map_sgtable(dev, &sgt, DMA_TO_DEVICE, 0);
	dma_unmap_sg_attrs(dev, &sg, 1, DMA_TO_DEVICE, 0);
	dma_map_resource(dev, 0, PAGE_SIZE, DMA_TO_DEVICE, 0);
	dma_unmap_resource(dev, 0, PAGE_SIZE, DMA_TO_DEVICE, 0);
	dma_free_attrs(dev, PAGE_SIZE, NULL, 0, 0);
	dma_free_pages(dev, PAGE_SIZE, NULL, 0, DMA_TO_DEVICE);
	dma_free_noncontiguous(dev, PAGE_SIZE, NULL, DMA_TO_DEVICE);
	dma_mmap_attrs(dev, NULL, NULL, 0, 0, 0);
	dma_get_sgtable_attrs(dev, &sgt, NULL, 0, 0, 0);
	ADP_SYNC(sync_single_for_cpu)(dev, 0, 1, DMA_TO_DEVICE);
	ADP_SYNC(sync_single_for_device)(dev, 0, 1, DMA_TO_DEVICE);
	ADP_SYNC(sync_sg_for_cpu)(dev, &sg, 0, DMA_TO_DEVICE);
	ADP_SYNC(sync_sg_for_device)(dev, &sg, 0, DMA_TO_DEVICE);
	ADP_SYNC(need_sync)(dev, 0);
}

/*
 * Call every function for a device that there is not, and see that the hook has
 * been there. What is never to come to the kernel's own function is tried last.
 */
static const char *adp_hook_try(void)
{
	static const enum adp_hook_id asked[] = {
		ADP_HOOK_SET_MASK, ADP_HOOK_SET_COHERENT_MASK,
		ADP_HOOK_GET_REQUIRED_MASK, ADP_HOOK_MAX_MAPPING_SIZE,
		ADP_HOOK_OPT_MAPPING_SIZE, ADP_HOOK_GET_MERGE_BOUNDARY,
		ADP_HOOK_P2PDMA_SUPPORTED, ADP_HOOK_CAN_MMAP,
		ADP_HOOK_ALLOC, ADP_HOOK_ALLOC_PAGES,
		ADP_HOOK_ALLOC_NONCONTIGUOUS,
	};
	DECLARE_BITMAP(seen, ADP_HOOK_COUNT);
	u64 mask = DMA_BIT_MASK(64);
	const char *why = "no memory";
	struct adp_gate *gate;
	struct device *dev;
	struct page *page;
	unsigned int i;

	page = alloc_page(GFP_KERNEL);
	gate = kzalloc(sizeof(*gate), GFP_KERNEL);
	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!page || !gate || !dev)
		goto free;
	gate->magic = ADP_GATE_MAGIC;
	gate->ops = &adp_refuse_ops;
	gate->seen = seen;
	dev->dma_range_map = &gate->none;
	dev->bus_dma_limit = ADP_GATE_LIMIT;
	dev->dma_mask = &mask;
	dev->coherent_dma_mask = mask;

	bitmap_fill(seen, ADP_HOOK_COUNT);
	for (i = 0; i < ARRAY_SIZE(asked); i++)
		__clear_bit(asked[i], seen);
	adp_hook_ask(dev, mask);
	why = adp_hook_lost(seen);
	if (why)
		goto free;
	bitmap_zero(seen, ADP_HOOK_COUNT);
	adp_hook_ask(dev, mask);
	adp_hook_tell(dev, page);
	why = adp_hook_lost(seen);
free:
	kfree(dev);
	kfree(gate);
	if (page)
		__free_page(page);
	return why;
}

/**
 * adp_hook_ftrace_start() - hook the kernel's DMA calls
 * @remedy: gets what to do, if that is not to use another kernel
 *
 * All of them, or none.
 *
 * Context: may sleep; the caller serializes.
 * Return: NULL, or why not.
 */
const char *adp_hook_ftrace_start(const char **remedy)
{
	unsigned long at[ADP_HOOK_COUNT];
	unsigned int i, n = 0;
	struct adp_ftrace *ft;
	const char *why;
	int err;

	why = adp_hook_index();
	if (why)
		goto free_map;
	why = "no memory";
	ft = kzalloc(sizeof(*ft), GFP_KERNEL);
	if (!ft)
		goto free_map;
	ft->anchor.func = adp_anchor_called;
	ft->anchor.flags = FTRACE_OPS_FL_PERMANENT;

	err = ftrace_set_filter_ip(&ft->anchor, (unsigned long)adp_anchor, 0, 1);
	if (!err)
		err = register_ftrace_function(&ft->anchor);
	if (err) {
		snprintf(adp_hook_why, sizeof(adp_hook_why),
			 "ftrace cannot be kept on (%d)", err);
		why = adp_hook_why;
		*remedy = "set kernel.ftrace_enabled=1, and unload this module and load it again";
		goto free;
	}

	for (i = 0; i < ADP_HOOK_COUNT; i++)
		if (strcmp(adp_stub_hooks[i].name, hook_omit))
			at[n++] = adp_stub_hooks[i].at;
	err = ftrace_set_filter_ips(&ft->direct, at, n, 0, 1);
	if (!err)
		err = adp_compat_register_direct(&ft->direct, (unsigned long)adp_stub);
	if (err) {
		why = adp_hook_culprit(err, remedy);
		goto drop_anchor;
	}
	adp_ftrace = ft;
	why = hook_try ? adp_hook_try() : NULL;
	if (why)
		adp_hook_ftrace_stop();
	return why;

drop_anchor:
	unregister_ftrace_function(&ft->anchor);
free:
	ftrace_free_filter(&ft->direct);
	ftrace_free_filter(&ft->anchor);
	kfree(ft);
free_map:
	kfree(adp_stub_map);
	adp_stub_map = NULL;
	return why;
}

/**
 * adp_hook_ftrace_stop() - undo adp_hook_ftrace_start()
 *
 * No function is served, so nobody is in one of the counterparts for longer than it
 * takes to refuse, and ftrace waits until nobody is in the stub.
 *
 * Context: may sleep; the caller serializes.
 */
void adp_hook_ftrace_stop(void)
{
	struct adp_ftrace *ft = adp_ftrace;
	bool said = false;

	/* It fails if ftrace has found a mistake of its own; then the stub has to stay. */
	while (adp_compat_unregister_direct(&ft->direct, (unsigned long)adp_stub)) {
		if (!said)
			pr_err("apple_dma_pci: ftrace has failed and does not let the hooks go, so this module stays; reboot\n");
		said = true;
		schedule_timeout_idle(HZ);
	}
	unregister_ftrace_function(&ft->anchor);
	ftrace_free_filter(&ft->direct);
	ftrace_free_filter(&ft->anchor);
	/* Whoever was in the stub, or is on its way out of a counterpart, has left. */
	synchronize_rcu_tasks();
	kfree(ft);
	kfree(adp_stub_map);
	adp_stub_map = NULL;
}

#else /* ADP_HAVE_FTRACE_DIRECT */

const char *adp_hook_ftrace_start(const char **remedy)
{
#ifdef ADP_HAVE_DEV_DMA_OPS
	*remedy = "load without hook=";
#endif
	return "this kernel has no direct calls (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)";
}

void adp_hook_ftrace_stop(void)
{
}

#endif /* ADP_HAVE_FTRACE_DIRECT */
