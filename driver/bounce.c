// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies, for the memory that no window can serve: the part of RAM in a host
 * page that is not RAM throughout, and a start that is taken where no lower
 * one is free. Both are rare; neither may fail the driver above. What fits a
 * slot is copied there (copy.c), the rest here.
 */
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/slab.h>

#include "adp.h"

/**
 * struct adp_bounce_slot - one copy
 * @node: in adp_bounce.slots, keyed by @dma
 * @original: what it stands for
 * @copy: the copy
 * @dma: its address
 * @size: bytes of both
 * @base: DMA address of the allocation that holds the copy
 */
struct adp_bounce_slot {
	struct rb_node node;
	void *original;
	void *copy;
	u64 dma;
	size_t size;
	dma_addr_t base;
};

/**
 * adp_bounce_init() - no copies yet
 * @bounce: to set up
 * @pool: where copies are made
 */
void adp_bounce_init(struct adp_bounce *bounce, struct adp_pool *pool)
{
	spin_lock_init(&bounce->lock);
	bounce->pool = pool;
	bounce->slots = RB_ROOT;
	bounce->live = 0;
}

static bool adp_bounce_less(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct adp_bounce_slot, node)->dma <
	       rb_entry(b, struct adp_bounce_slot, node)->dma;
}

/**
 * adp_bounce_map() - make a copy
 * @bounce: where
 * @phys: original, in RAM
 * @size: bytes
 * @limit: highest DMA address that the function can use
 *
 * The copy is filled whatever the direction is: a device that writes less
 * than it was given room for must not show what was there before.
 *
 * Context: any.
 * Return: DMA address of the copy, or DMA_MAPPING_ERROR.
 */
dma_addr_t adp_bounce_map(struct adp_bounce *bounce, phys_addr_t phys,
			  size_t size, u64 limit)
{
	struct adp_windows *ws = bounce->pool->ws;
	size_t offset = phys & (ADP_COPY_PAGE - 1);
	struct adp_bounce_slot *slot;
	struct adp_window *w;
	unsigned long flags;
	void *cpu;

	slot = kmalloc(sizeof(*slot), GFP_ATOMIC | __GFP_NOWARN);
	if (!slot)
		return DMA_MAPPING_ERROR;

	cpu = adp_pool_alloc(bounce->pool, offset + size, limit,
			     GFP_ATOMIC | __GFP_NOWARN, &slot->base);
	if (!cpu) {
		kfree(slot);
		return DMA_MAPPING_ERROR;
	}
	/* Without a tag an unmap does not look for copies. */
	w = adp_window_find(ws, slot->base);
	if (!w) {
		adp_pool_free(bounce->pool, offset + size, slot->base);
		kfree(slot);
		return DMA_MAPPING_ERROR;
	}
	adp_window_set_tag(ws, w, ADP_TAG_BOUNCE);
	slot->original = phys_to_virt(phys);
	slot->copy = cpu + offset;
	slot->dma = slot->base + offset;
	slot->size = size;
	memcpy(slot->copy, slot->original, size);

	spin_lock_irqsave(&bounce->lock, flags);
	rb_add(&slot->node, &bounce->slots, adp_bounce_less);
	WRITE_ONCE(bounce->live, bounce->live + 1);
	spin_unlock_irqrestore(&bounce->lock, flags);
	return slot->dma;
}

/* The copy that an address is in; the lock is held. */
static struct adp_bounce_slot *__adp_bounce_find(struct adp_bounce *bounce,
						 u64 dma)
{
	struct rb_node *node = bounce->slots.rb_node;

	while (node) {
		struct adp_bounce_slot *slot;

		slot = rb_entry(node, struct adp_bounce_slot, node);
		if (dma < slot->dma)
			node = node->rb_left;
		else if (dma - slot->dma >= slot->size)
			node = node->rb_right;
		else
			return slot;
	}
	return NULL;
}

static void adp_bounce_free(struct adp_bounce *bounce,
			    struct adp_bounce_slot *slot)
{
	size_t offset = slot->dma - slot->base;

	adp_pool_free(bounce->pool, offset + slot->size, slot->base);
	kfree(slot);
}

/**
 * adp_bounce_unmap() - end a copy
 * @bounce: where
 * @dma: address that adp_bounce_map() returned
 * @dir: direction of the mapping
 * @skip_sync: the original is not to be written
 *
 * Context: any.
 * Return: false if there is no copy at that address.
 */
bool adp_bounce_unmap(struct adp_bounce *bounce, dma_addr_t dma,
		      enum dma_data_direction dir, bool skip_sync)
{
	struct adp_bounce_slot *slot;
	unsigned long flags;

	if (!READ_ONCE(bounce->live))
		return false;

	spin_lock_irqsave(&bounce->lock, flags);
	slot = __adp_bounce_find(bounce, dma);
	if (slot) {
		rb_erase(&slot->node, &bounce->slots);
		WRITE_ONCE(bounce->live, bounce->live - 1);
	}
	spin_unlock_irqrestore(&bounce->lock, flags);
	if (!slot)
		return false;

	if (!skip_sync && dir != DMA_TO_DEVICE)
		memcpy(slot->original, slot->copy, slot->size);
	adp_bounce_free(bounce, slot);
	return true;
}

/**
 * adp_bounce_sync() - bring original and copy in step
 * @bounce: where
 * @dma: first byte, in a mapping that is live
 * @size: bytes
 * @dir: direction of the mapping
 * @for_cpu: to the original, else to the copy
 *
 * Does nothing for what is not a copy.
 *
 * Context: any.
 */
void adp_bounce_sync(struct adp_bounce *bounce, dma_addr_t dma, size_t size,
		     enum dma_data_direction dir, bool for_cpu)
{
	struct adp_bounce_slot *slot;
	unsigned long flags;
	size_t offset;

	if (!READ_ONCE(bounce->live))
		return;

	spin_lock_irqsave(&bounce->lock, flags);
	slot = __adp_bounce_find(bounce, dma);
	spin_unlock_irqrestore(&bounce->lock, flags);
	if (!slot)
		return;

	offset = dma - slot->dma;
	size = min(size, slot->size - offset);
	if (for_cpu && dir != DMA_TO_DEVICE)
		memcpy(slot->original + offset, slot->copy + offset, size);
	else if (!for_cpu && dir != DMA_FROM_DEVICE)
		memcpy(slot->copy + offset, slot->original + offset, size);
}

/**
 * adp_bounce_drain() - end all copies without writing to the originals
 * @bounce: where
 *
 * For when the managed function's driver has gone.
 *
 * Return: how many there were.
 */
unsigned int adp_bounce_drain(struct adp_bounce *bounce)
{
	struct adp_bounce_slot *slot, *next;
	unsigned int left = 0;

	rbtree_postorder_for_each_entry_safe(slot, next, &bounce->slots, node) {
		adp_bounce_free(bounce, slot);
		left++;
	}
	bounce->slots = RB_ROOT;
	bounce->live = 0;
	return left;
}
