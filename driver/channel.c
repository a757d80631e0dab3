// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wire: registers, command page, batches and the doorbell.
 *
 * A batch is built with adp_channel_begin() and adp_channel_add_*(), sent with
 * adp_channel_sync(), and its answers are read one by one. What the host says
 * is not trusted: every answer is copied once and checked before it is used.
 */
#include <linux/gfp.h>
#include <linux/io.h>

#include "adp.h"
#include "compat.h"
#include "trace.h"

/* In no status that a host may write; tells what it did not write. */
#define ADP_POISON_BYTE		0xa5
#define ADP_POISON		0xa5a5a5a5U

/* Room for one entry of either layout. */
#define ADP_REQ_ROOM		32
#define ADP_RESP_ROOM		32

static_assert(sizeof(struct apple_dma_pci_cmd) == 32);
static_assert(sizeof(struct apple_dma_pci_map_req_narrow) == 16);
static_assert(sizeof(struct apple_dma_pci_map_resp_narrow) == 24);
static_assert(sizeof(struct apple_dma_pci_map_req_wide) == 20);
static_assert(sizeof(struct apple_dma_pci_map_resp_wide) == 28);
static_assert(sizeof(struct apple_dma_pci_unmap_req) == 16);
static_assert(sizeof(struct apple_dma_pci_unmap_resp) == 16);
static_assert(sizeof(struct apple_dma_pci_map_resp_wide) <= ADP_RESP_ROOM);

/* The last word of a map response is its status in both layouts. */
#define ADP_NARROW_STATUS	offsetof(struct apple_dma_pci_map_resp_narrow, status)
#define ADP_WIDE_STATUS		offsetof(struct apple_dma_pci_map_resp_wide, status)

/**
 * adp_channel_break() - give the host up
 * @ch: channel
 * @fmt: what it did
 *
 * From here on nothing is sent. Says so once; later calls change nothing. While
 * the channel is being set up the caller says it, with what follows from it.
 */
void adp_channel_break(struct adp_channel *ch, const char *fmt, ...)
{
	va_list args;

	if (ch->broken)
		return;

	va_start(args, fmt);
	vsnprintf(ch->why, sizeof(ch->why), fmt, args);
	va_end(args);
	WRITE_ONCE(ch->broken, true);
	if (!ch->up)
		return;
	dev_err(ch->dev,
		"%s; every mapping fails from now on, reboot the VM or replug the device\n",
		ch->why);
}

/* The status of the last doorbell, or a negative error if there was none. */
static int adp_channel_ring(struct adp_channel *ch, u32 type, u32 count)
{
	struct apple_dma_pci_cmd *cmd = ch->cmd;
	u32 status;

	cmd->type = cpu_to_le32(type);
	cmd->count = cpu_to_le32(count);
	cmd->status = cpu_to_le32(ADP_POISON);
	cmd->reserved = 0;
	cmd->req_gpa = cpu_to_le64(virt_to_phys(ch->req));
	cmd->resp_gpa = cpu_to_le64(virt_to_phys(ch->resp));

	ch->stats->doorbells++;
	writel(1, ch->regs + APPLE_DMA_PCI_REG_DOORBELL);
	/* The store is the whole exchange: what follows reads its result. */
	mb();

	status = le32_to_cpu(READ_ONCE(cmd->status));
	if (status == ADP_POISON)
		status = readl(ch->regs + APPLE_DMA_PCI_REG_STATUS);
	trace_adp_doorbell(ch->dev, type, count, status);

	switch (status) {
	case APPLE_DMA_PCI_S_OK:
	case APPLE_DMA_PCI_S_IOERR:
		return 0;
	case APPLE_DMA_PCI_S_INVAL:
		adp_channel_break(ch, "the host rejected a batch of %u as invalid",
				  count);
		return -EIO;
	case U32_MAX:
		adp_channel_break(ch, "the companion does not answer (all ones)");
		return -ENODEV;
	default:
		adp_channel_break(ch, "the host answered a batch with status %#x",
				  status);
		return -EIO;
	}
}

/**
 * adp_channel_begin() - start a batch
 * @ch: channel
 * @type: APPLE_DMA_PCI_CMD_MAP or APPLE_DMA_PCI_CMD_UNMAP
 */
void adp_channel_begin(struct adp_channel *ch, u32 type)
{
	ch->type = type;
	ch->count = 0;
}

/**
 * adp_channel_add_map() - add a MAP entry to the batch
 * @ch: channel
 * @gpa: start, a multiple of the host page
 * @len: bytes, a multiple of the host page
 *
 * Return: index of the entry, -ENOSPC if the batch is full, -EMSGSIZE if the
 * layout cannot say such a length.
 */
int adp_channel_add_map(struct adp_channel *ch, u64 gpa, u64 len)
{
	u32 i = ch->count;

	if (i == ch->batch)
		return -ENOSPC;

	if (ch->layout == ADP_LAYOUT_WIDE) {
		struct apple_dma_pci_map_req_wide *req = ch->req;

		req[i].gpa = cpu_to_le64(gpa);
		req[i].len = cpu_to_le64(len);
		req[i].flags = 0;
	} else {
		struct apple_dma_pci_map_req_narrow *req = ch->req;

		if (len > U32_MAX)
			return -EMSGSIZE;
		req[i].gpa = cpu_to_le64(gpa);
		req[i].len = cpu_to_le32(len);
		req[i].flags = 0;
	}
	ch->count++;
	return i;
}

/**
 * adp_channel_add_unmap() - add an UNMAP entry to the batch
 * @ch: channel
 * @id: handle from the map response
 * @size: bytes mapped
 *
 * Return: index of the entry, -ENOSPC if the batch is full.
 */
int adp_channel_add_unmap(struct adp_channel *ch, u64 id, u64 size)
{
	struct apple_dma_pci_unmap_req *req = ch->req;
	u32 i = ch->count;

	if (i == ch->batch)
		return -ENOSPC;

	req[i].id = cpu_to_le64(id);
	req[i].size = cpu_to_le64(size);
	ch->count++;
	return i;
}

static size_t adp_channel_resp_size(const struct adp_channel *ch)
{
	if (ch->type == APPLE_DMA_PCI_CMD_UNMAP)
		return sizeof(struct apple_dma_pci_unmap_resp);
	if (ch->layout == ADP_LAYOUT_WIDE)
		return sizeof(struct apple_dma_pci_map_resp_wide);
	return sizeof(struct apple_dma_pci_map_resp_narrow);
}

/**
 * adp_channel_sync() - send the batch: one doorbell
 * @ch: channel
 *
 * Return: 0 if the host processed it, and then each entry's result is to be
 * read; a negative error if the channel is or has become broken, and then
 * there are no results.
 */
int adp_channel_sync(struct adp_channel *ch)
{
	if (ch->broken)
		return -EIO;

	memset(ch->resp, ADP_POISON_BYTE, ch->count * adp_channel_resp_size(ch));
	if (ch->type == APPLE_DMA_PCI_CMD_MAP)
		ch->stats->map_entries += ch->count;
	else
		ch->stats->unmap_entries += ch->count;
	return adp_channel_ring(ch, ch->type, ch->count);
}

/* Copy the answer once: the host may go on writing to it. */
static u32 adp_channel_read_map(struct adp_channel *ch, u32 index,
				struct adp_map_result *res)
{
	struct apple_dma_pci_map_resp_narrow narrow;
	struct apple_dma_pci_map_resp_wide wide;

	if (ch->layout == ADP_LAYOUT_WIDE) {
		memcpy(&wide, ch->resp + index * sizeof(wide), sizeof(wide));
		barrier();
		res->id = le64_to_cpu(wide.id);
		res->dma_addr = le64_to_cpu(wide.dma_addr);
		res->dma_len = le64_to_cpu(wide.dma_len);
		return le32_to_cpu(wide.status);
	}

	memcpy(&narrow, ch->resp + index * sizeof(narrow), sizeof(narrow));
	barrier();
	res->id = le64_to_cpu(narrow.id);
	res->dma_addr = le64_to_cpu(narrow.dma_addr);
	res->dma_len = le32_to_cpu(narrow.dma_len);
	return le32_to_cpu(narrow.status);
}

static void adp_channel_account(struct adp_channel *ch, u64 bytes)
{
	struct adp_stats *st = ch->stats;

	st->live_mappings++;
	st->live_bytes += bytes;
	st->peak_mappings = max(st->peak_mappings, st->live_mappings);
	st->peak_bytes = max(st->peak_bytes, st->live_bytes);
}

/**
 * adp_channel_map_result() - what became of a MAP entry
 * @ch: channel
 * @index: entry of the batch that was sent last
 * @gpa: start that was asked for
 * @len: bytes that were asked for
 * @res: the answer; valid if 0 or -EMSGSIZE is returned
 *
 * Return: 0 if it is mapped; -ENOSPC if the host refused it; -EMSGSIZE if the
 * host mapped less, and then the caller must unmap it; -EIO if the answer
 * makes no sense, and then the channel is broken.
 */
int adp_channel_map_result(struct adp_channel *ch, u32 index, u64 gpa, u64 len,
			   struct adp_map_result *res)
{
	u32 status = adp_channel_read_map(ch, index, res);

	trace_adp_map_entry(ch->dev, gpa, len, res->dma_addr, res->dma_len,
			    status);
	switch (status) {
	case APPLE_DMA_PCI_S_OK:
		break;
	case APPLE_DMA_PCI_S_IOERR:
	case APPLE_DMA_PCI_S_INVAL:
		ch->stats->refused_maps++;
		return -ENOSPC;
	case ADP_POISON:
		adp_channel_break(ch, "the host did not answer map entry %u",
				  index);
		return -EIO;
	default:
		adp_channel_break(ch, "the host answered a map with status %#x",
				  status);
		return -EIO;
	}

	adp_channel_account(ch, min(res->dma_len, len));
	if (res->id != gpa)
		ch->odd_ids = true;

	if (res->dma_len < len)
		return -EMSGSIZE;
	if (res->dma_len > len) {
		adp_channel_break(ch, "the host mapped %#llx bytes of %#llx",
				  res->dma_len, len);
		return -EIO;
	}
	if (!res->dma_addr || !IS_ALIGNED(res->dma_addr, ADP_HOST_PAGE) ||
	    res->dma_addr > U64_MAX - len) {
		adp_channel_break(ch, "the host assigned the impossible address %#llx",
				  res->dma_addr);
		return -EIO;
	}

	/* Before anybody can have the window: see adp_sg_narrow(). */
	WRITE_ONCE(ch->dma_min, min(ch->dma_min, res->dma_addr));
	WRITE_ONCE(ch->dma_max, max(ch->dma_max, res->dma_addr + len - 1));
	return 0;
}

/**
 * adp_channel_unmap_result() - what became of an UNMAP entry
 * @ch: channel
 * @index: entry of the batch that was sent last
 * @id: handle that was sent
 * @size: bytes that were mapped
 *
 * Return: 0 if it is unmapped, -EIO if it may still be mapped.
 */
int adp_channel_unmap_result(struct adp_channel *ch, u32 index, u64 id,
			     u64 size)
{
	struct apple_dma_pci_unmap_resp *resp = ch->resp;
	u32 status = le32_to_cpu(READ_ONCE(resp[index].status));

	trace_adp_unmap_entry(ch->dev, id, size, status);
	switch (status) {
	case APPLE_DMA_PCI_S_OK:
		ch->stats->live_mappings--;
		ch->stats->live_bytes -= size;
		return 0;
	case APPLE_DMA_PCI_S_IOERR:
	case APPLE_DMA_PCI_S_INVAL:
		ch->stats->refused_unmaps++;
		return -EIO;
	case ADP_POISON:
		adp_channel_break(ch, "the host did not answer unmap entry %u",
				  index);
		return -EIO;
	default:
		adp_channel_break(ch, "the host answered an unmap with status %#x",
				  status);
		return -EIO;
	}
}

/**
 * adp_channel_search_result() - was there a mapping that is not in our books
 * @ch: channel
 * @index: UNMAP entry of the batch that was sent last, whose handle is a start
 *	at which nothing of ours is mapped
 *
 * Return: whether an earlier kernel had left one, which is unmapped now. If the
 * answer makes no sense there was none, and the channel is broken.
 */
bool adp_channel_search_result(struct adp_channel *ch, u32 index)
{
	struct apple_dma_pci_unmap_resp *resp = ch->resp;
	struct apple_dma_pci_unmap_req *req = ch->req;
	u32 status = le32_to_cpu(READ_ONCE(resp[index].status));

	ch->stats->searched++;
	trace_adp_unmap_entry(ch->dev, le64_to_cpu(req[index].id),
			      le64_to_cpu(req[index].size), status);
	switch (status) {
	case APPLE_DMA_PCI_S_OK:
		ch->stats->recovered++;
		return true;
	case APPLE_DMA_PCI_S_IOERR:
	case APPLE_DMA_PCI_S_INVAL:
		return false;
	case ADP_POISON:
		adp_channel_break(ch, "the host did not answer unmap entry %u",
				  index);
		return false;
	default:
		adp_channel_break(ch, "the host answered an unmap with status %#x",
				  status);
		return false;
	}
}

/* Which layout wrote this answer? Both write at least the status. */
static enum adp_layout adp_channel_recognize(const void *resp)
{
	u32 narrow = get_unaligned_le32(resp + ADP_NARROW_STATUS);
	u32 wide = get_unaligned_le32(resp + ADP_WIDE_STATUS);

	if (wide == APPLE_DMA_PCI_S_OK || wide == APPLE_DMA_PCI_S_IOERR ||
	    wide == APPLE_DMA_PCI_S_INVAL)
		return ADP_LAYOUT_WIDE;
	if (wide != ADP_POISON)
		return ADP_LAYOUT_UNKNOWN;
	if (narrow == APPLE_DMA_PCI_S_OK || narrow == APPLE_DMA_PCI_S_IOERR ||
	    narrow == APPLE_DMA_PCI_S_INVAL)
		return ADP_LAYOUT_NARROW;
	return ADP_LAYOUT_UNKNOWN;
}

/**
 * adp_channel_learn() - find out which layout the host speaks
 * @ch: channel that has been set up
 *
 * Both layouts call themselves version 2. Map one page of our own: the request
 * is valid in both, and the answer shows which words the host writes. A
 * refusal shows it too, and @ch->full is set.
 *
 * Context: may sleep.
 * Return: 0; -ENOMEM; -EPROTO if the layout is neither of the known ones;
 * another negative error if the host does not work. The reason is in @ch->why.
 */
int adp_channel_learn(struct adp_channel *ch)
{
	struct apple_dma_pci_map_req_narrow *req = ch->req;
	struct adp_map_result res;
	void *scratch;
	int err;

	if (ch->broken)
		return -EIO;
	scratch = alloc_pages_exact(ADP_HOST_PAGE, GFP_KERNEL | __GFP_ZERO);
	if (!scratch) {
		snprintf(ch->why, sizeof(ch->why), "no memory for a test");
		return -ENOMEM;
	}

	memset(ch->req, 0, ADP_REQ_ROOM);
	memset(ch->resp, ADP_POISON_BYTE, ADP_RESP_ROOM);
	req->gpa = cpu_to_le64(virt_to_phys(scratch));
	req->len = cpu_to_le32(ADP_HOST_PAGE);
	ch->stats->map_entries++;
	err = adp_channel_ring(ch, APPLE_DMA_PCI_CMD_MAP, 1);
	if (err)
		goto out;

	ch->layout = adp_channel_recognize(ch->resp);
	if (ch->layout == ADP_LAYOUT_UNKNOWN) {
		adp_channel_break(ch, "the host's answer has neither known layout: %28ph",
				  ch->resp);
		err = -EPROTO;
		goto leak;
	}

	err = adp_channel_map_result(ch, 0, virt_to_phys(scratch),
				     ADP_HOST_PAGE, &res);
	ch->full = err == -ENOSPC;
	if (ch->full) {
		err = 0;
		goto out;
	}
	if (err && err != -EMSGSIZE)
		goto leak;

	adp_channel_begin(ch, APPLE_DMA_PCI_CMD_UNMAP);
	adp_channel_add_unmap(ch, res.id, res.dma_len);
	err = adp_channel_sync(ch);
	if (err)
		goto leak;
	if (adp_channel_unmap_result(ch, 0, res.id, res.dma_len)) {
		/* To refuse is a host's right, to answer nonsense is not. */
		err = ch->broken ? -EPROTO : 0;
		goto leak;
	}
out:
	ch->up = !err;
	free_pages_exact(scratch, ADP_HOST_PAGE);
	return err;
leak:
	/* The device may still reach it. */
	ch->up = !err;
	ch->stats->quarantined++;
	return err;
}

/**
 * adp_channel_forget() - take the command page away from the host
 * @ch: channel
 *
 * A host that guards the managed function takes this as the end of our care.
 */
void adp_channel_forget(struct adp_channel *ch)
{
	writel(0, ch->regs + APPLE_DMA_PCI_REG_CMD_GPA_LO);
	writel(0, ch->regs + APPLE_DMA_PCI_REG_CMD_GPA_HI);
}

/**
 * adp_channel_resume() - tell the companion again where the command page is
 * @ch: channel
 *
 * A reset of the companion forgets it.
 */
void adp_channel_resume(struct adp_channel *ch)
{
	phys_addr_t gpa = virt_to_phys(ch->cmd);

	writel(lower_32_bits(gpa), ch->regs + APPLE_DMA_PCI_REG_CMD_GPA_LO);
	writel(upper_32_bits(gpa), ch->regs + APPLE_DMA_PCI_REG_CMD_GPA_HI);
}

/**
 * adp_channel_init() - set the channel up
 * @ch: channel, zeroed
 * @dev: the companion
 * @regs: BAR0
 * @max_entries: what the MAX_ENTRIES register says, not 0
 * @stats: counters
 *
 * From here on it can unmap: UNMAP entries are the same in both layouts.
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM. The reason is in @ch->why.
 */
int adp_channel_init(struct adp_channel *ch, struct device *dev,
		     void __iomem *regs, u32 max_entries,
		     struct adp_stats *stats)
{
	ch->dev = dev;
	ch->regs = regs;
	ch->stats = stats;
	ch->max_entries = max_entries;
	ch->batch = min_t(u32, max_entries, ADP_BATCH_MAX);
	ch->dma_min = U64_MAX;

	ch->req_bytes = max_t(size_t, ADP_REQ_ROOM, ch->batch *
			      sizeof(struct apple_dma_pci_map_req_wide));
	ch->resp_bytes = max_t(size_t, ADP_RESP_ROOM, ch->batch *
			       sizeof(struct apple_dma_pci_map_resp_wide));
	ch->cmd = alloc_pages_exact(sizeof(*ch->cmd), GFP_KERNEL | __GFP_ZERO);
	ch->req = alloc_pages_exact(ch->req_bytes, GFP_KERNEL | __GFP_ZERO);
	ch->resp = alloc_pages_exact(ch->resp_bytes, GFP_KERNEL | __GFP_ZERO);
	if (!ch->cmd || !ch->req || !ch->resp) {
		snprintf(ch->why, sizeof(ch->why), "no memory for the command page");
		adp_channel_destroy(ch);
		return -ENOMEM;
	}

	adp_channel_resume(ch);
	return 0;
}

/**
 * adp_channel_destroy() - undo adp_channel_init()
 * @ch: channel
 */
void adp_channel_destroy(struct adp_channel *ch)
{
	adp_channel_forget(ch);
	if (ch->resp)
		free_pages_exact(ch->resp, ch->resp_bytes);
	if (ch->req)
		free_pages_exact(ch->req, ch->req_bytes);
	if (ch->cmd)
		free_pages_exact(ch->cmd, sizeof(*ch->cmd));
	ch->cmd = NULL;
	ch->req = NULL;
	ch->resp = NULL;
}
