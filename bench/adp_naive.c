// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simplest client of apple-dma-pci that works, as a contender of the
 * benchmark: a MAP and a doorbell for each mapping, an UNMAP and a doorbell for
 * each unmap, scatterlists entry by entry, nothing kept. Mappings that begin in
 * the same host page share one, or the longer one begins before it, only because the
 * host refuses a second one.
 *
 * It speaks the narrow layout, and takes no part in what makes a driver safe:
 * leave it to the benchmark.
 */
#include <linux/debugfs.h>
#include <linux/dma-map-ops.h>
#include <linux/hashtable.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include <linux/apple_dma_pci.h>

#include "compat-probed.h"

#define NAIVE_PAGE	((u64)APPLE_DMA_PCI_HOST_PAGE_SIZE)

/* A page of commands, requests and responses, each with room to spare. */
#define NAIVE_REQ	256
#define NAIVE_RESP	512

/*
 * How many host pages before it a mapping may begin, where a shorter one has its start: two
 * pieces of one request can begin in one host page, and the request would be tried for ever.
 * Four pages of 4 KiB can; the pages before may have starts of their own.
 */
#define NAIVE_BACK	15

struct naive_map {
	struct hlist_node by_gpa;
	struct hlist_node by_dma;
	u64 gpa;
	u64 len;
	u64 dma;
	u64 id;
	unsigned int refs;
};

struct naive {
	spinlock_t lock; /* for all of it: there is one command page */
	struct pci_dev *pdev;
	struct device *managed;
	void __iomem *regs;
	void *page;
	DECLARE_HASHTABLE(by_gpa, 14);
	DECLARE_HASHTABLE(by_dma, 14);
	u64 map_entries;
	u64 unmap_entries;
	u64 refused_maps;
	u64 refused_unmaps;
	u64 live_mappings;
	u64 live_bytes;
	u64 peak_mappings;
	u64 peak_bytes;
	struct dentry *dir;
};

/* There is one: the benchmark has one managed function. */
static struct naive *naive;

static bool naive_ring(struct naive *n, u32 type)
{
	struct apple_dma_pci_cmd *cmd = n->page;
	u64 gpa = virt_to_phys(n->page);

	cmd->type = cpu_to_le32(type);
	cmd->count = cpu_to_le32(1);
	cmd->status = cpu_to_le32(APPLE_DMA_PCI_S_IOERR);
	cmd->req_gpa = cpu_to_le64(gpa + NAIVE_REQ);
	cmd->resp_gpa = cpu_to_le64(gpa + NAIVE_RESP);
	writel(lower_32_bits(gpa), n->regs + APPLE_DMA_PCI_REG_CMD_GPA_LO);
	writel(upper_32_bits(gpa), n->regs + APPLE_DMA_PCI_REG_CMD_GPA_HI);
	writel(1, n->regs + APPLE_DMA_PCI_REG_DOORBELL);
	return READ_ONCE(cmd->status) == cpu_to_le32(APPLE_DMA_PCI_S_OK);
}

static struct naive_map *naive_new(struct naive *n, u64 gpa, u64 len)
{
	struct apple_dma_pci_map_req_narrow *req = n->page + NAIVE_REQ;
	struct apple_dma_pci_map_resp_narrow *resp = n->page + NAIVE_RESP;
	struct naive_map *m = kmalloc(sizeof(*m), GFP_ATOMIC);

	if (!m)
		return NULL;
	req->gpa = cpu_to_le64(gpa);
	req->len = cpu_to_le32(len);
	req->flags = 0;
	n->map_entries++;
	if (!naive_ring(n, APPLE_DMA_PCI_CMD_MAP)) {
		n->refused_maps++;
		kfree(m);
		return NULL;
	}
	m->gpa = gpa;
	m->len = len;
	m->dma = le64_to_cpu(resp->dma_addr);
	m->id = le64_to_cpu(resp->id);
	m->refs = 1;
	hash_add(n->by_gpa, &m->by_gpa, gpa / NAIVE_PAGE);
	hash_add(n->by_dma, &m->by_dma, m->dma / NAIVE_PAGE);
	n->live_mappings++;
	n->live_bytes += len;
	n->peak_mappings = max(n->peak_mappings, n->live_mappings);
	n->peak_bytes = max(n->peak_bytes, n->live_bytes);
	return m;
}

static dma_addr_t naive_map(phys_addr_t phys, size_t size)
{
	u64 gpa = round_down(phys, NAIVE_PAGE);
	u64 len = round_up(phys + size, NAIVE_PAGE) - gpa;
	dma_addr_t dma = DMA_MAPPING_ERROR;
	struct naive *n = naive;
	struct naive_map *m;
	unsigned long flags;
	unsigned int back;

	if (len > U32_MAX - NAIVE_BACK * NAIVE_PAGE)
		return dma;
	spin_lock_irqsave(&n->lock, flags);
	for (back = 0; back <= NAIVE_BACK; back++) {
		hash_for_each_possible(n->by_gpa, m, by_gpa, gpa / NAIVE_PAGE)
			if (m->gpa == gpa)
				break;
		if (!m || m->len >= len)
			break;
		gpa -= NAIVE_PAGE;
		len += NAIVE_PAGE;
	}
	if (back > NAIVE_BACK)
		m = NULL;
	else if (!m)
		m = naive_new(n, gpa, len);
	else
		m->refs++;
	if (m)
		dma = m->dma + (phys - gpa);
	spin_unlock_irqrestore(&n->lock, flags);
	return dma;
}

static struct naive_map *naive_find(struct naive *n, dma_addr_t dma)
{
	u64 start = round_down(dma, NAIVE_PAGE);
	struct naive_map *m;
	unsigned int back;

	/* Mappings do not overlap, so there is one that holds it. */
	for (back = 0; back <= NAIVE_BACK; back++, start -= NAIVE_PAGE)
		hash_for_each_possible(n->by_dma, m, by_dma, start / NAIVE_PAGE)
			if (m->dma == start && dma - start < m->len)
				return m;
	return NULL;
}

static void naive_unmap(dma_addr_t dma)
{
	struct apple_dma_pci_unmap_req *req;
	struct naive *n = naive;
	struct naive_map *m;
	unsigned long flags;

	spin_lock_irqsave(&n->lock, flags);
	m = naive_find(n, dma);
	if (WARN_ON(!m) || --m->refs)
		goto out;

	req = n->page + NAIVE_REQ;
	req->id = cpu_to_le64(m->id);
	req->size = cpu_to_le64(m->len);
	n->unmap_entries++;
	if (!naive_ring(n, APPLE_DMA_PCI_CMD_UNMAP))
		n->refused_unmaps++;
	n->live_mappings--;
	n->live_bytes -= m->len;
	hash_del(&m->by_gpa);
	hash_del(&m->by_dma);
	kfree(m);
out:
	spin_unlock_irqrestore(&n->lock, flags);
}

#ifdef ADP_HAVE_OPS_MAP_PHYS
static dma_addr_t naive_map_phys(struct device *dev, phys_addr_t phys,
				 size_t size, enum dma_data_direction dir,
				 unsigned long attrs)
{
	return naive_map(phys, size);
}
#else
static dma_addr_t naive_map_page(struct device *dev, struct page *page,
				 unsigned long offset, size_t size,
				 enum dma_data_direction dir,
				 unsigned long attrs)
{
	return naive_map(page_to_phys(page) + offset, size);
}
#endif

static void naive_unmap_one(struct device *dev, dma_addr_t dma, size_t size,
			    enum dma_data_direction dir, unsigned long attrs)
{
	naive_unmap(dma);
}

static void naive_unmap_sg(struct device *dev, struct scatterlist *sgl,
			   int nents, enum dma_data_direction dir,
			   unsigned long attrs)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		naive_unmap(sg_dma_address(sg));
}

static int naive_map_sg(struct device *dev, struct scatterlist *sgl, int nents,
			enum dma_data_direction dir, unsigned long attrs)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		sg->dma_address = naive_map(sg_phys(sg), sg->length);
		if (sg->dma_address == DMA_MAPPING_ERROR) {
			naive_unmap_sg(dev, sgl, i, dir, attrs);
			return -EIO;
		}
		sg_dma_len(sg) = sg->length;
	}
	return nents;
}

static void *naive_alloc(struct device *dev, size_t size, dma_addr_t *dma,
			 gfp_t gfp, unsigned long attrs)
{
	void *cpu;

	size = round_up(size, NAIVE_PAGE);
	cpu = alloc_pages_exact(size, gfp | __GFP_ZERO);
	if (!cpu)
		return NULL;
	*dma = naive_map(virt_to_phys(cpu), size);
	if (*dma == DMA_MAPPING_ERROR) {
		free_pages_exact(cpu, size);
		return NULL;
	}
	return cpu;
}

static void naive_free(struct device *dev, size_t size, void *cpu,
		       dma_addr_t dma, unsigned long attrs)
{
	naive_unmap(dma);
	free_pages_exact(cpu, round_up(size, NAIVE_PAGE));
}

static const struct dma_map_ops naive_ops = {
	.alloc = naive_alloc,
	.free = naive_free,
#ifdef ADP_HAVE_OPS_MAP_PHYS
	.map_phys = naive_map_phys,
	.unmap_phys = naive_unmap_one,
#else
	.map_page = naive_map_page,
	.unmap_page = naive_unmap_one,
#endif
	.map_sg = naive_map_sg,
	.unmap_sg = naive_unmap_sg,
};

static int naive_notify(struct notifier_block *nb, unsigned long event,
			void *data)
{
	if (event == BUS_NOTIFY_BIND_DRIVER && naive && data == naive->managed)
		set_dma_ops(naive->managed, &naive_ops);
	return NOTIFY_DONE;
}

static struct notifier_block naive_nb = { .notifier_call = naive_notify };

static int naive_stats_show(struct seq_file *s, void *unused)
{
	struct naive *n = s->private;

	seq_printf(s, "doorbells %llu\n", n->map_entries + n->unmap_entries);
	seq_printf(s, "unmap_doorbells %llu\n", n->unmap_entries);
	seq_printf(s, "map_entries %llu\n", n->map_entries);
	seq_printf(s, "unmap_entries %llu\n", n->unmap_entries);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(naive_stats);

static void naive_totals(struct naive *n)
{
	pci_info(n->pdev,
		 "totals: doorbells=%llu map_entries=%llu unmap_entries=%llu refused_maps=%llu refused_unmaps=%llu live_mappings=%llu live_bytes=%llu peak_mappings=%llu peak_bytes=%llu\n",
		 n->map_entries + n->unmap_entries, n->map_entries,
		 n->unmap_entries, n->refused_maps, n->refused_unmaps,
		 n->live_mappings, n->live_bytes, n->peak_mappings,
		 n->peak_bytes);
}

static int naive_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct pci_dev *managed;
	struct naive *n;
	int err = -ENOMEM;

	if (naive)
		return -EBUSY;
	err = pci_enable_device_mem(pdev);
	if (err)
		return err;
	err = -ENOMEM;
	n = kvzalloc(sizeof(*n), GFP_KERNEL);
	if (!n)
		goto disable;
	n->pdev = pdev;
	spin_lock_init(&n->lock);
	hash_init(n->by_gpa);
	hash_init(n->by_dma);
	n->page = (void *)get_zeroed_page(GFP_KERNEL);
	n->regs = pci_iomap(pdev, APPLE_DMA_PCI_BAR, 0);
	if (!n->page || !n->regs)
		goto free;

	err = -ENODEV;
	if (readl(n->regs + APPLE_DMA_PCI_REG_VERSION) != APPLE_DMA_PCI_VERSION)
		goto free;
	managed = pci_get_slot(pdev->bus,
			       readl(n->regs + APPLE_DMA_PCI_REG_MANAGED_BDF) & 0xff);
	if (!managed)
		goto free;
	n->managed = &managed->dev;
	pci_set_master(pdev);
	pci_set_drvdata(pdev, n);
	naive = n;
	n->dir = debugfs_create_dir("adp_naive", NULL);
	debugfs_create_file("stats", 0444,
			    debugfs_create_dir(pci_name(pdev), n->dir), n,
			    &naive_stats_fops);
	return 0;

free:
	if (n->regs)
		pci_iounmap(pdev, n->regs);
	free_page((unsigned long)n->page);
	kvfree(n);
disable:
	pci_disable_device(pdev);
	return err;
}

/* The managed function has lost its driver already, or this would be too late. */
static void naive_remove(struct pci_dev *pdev)
{
	struct naive *n = pci_get_drvdata(pdev);

	naive_totals(n);
	debugfs_remove_recursive(n->dir);
	set_dma_ops(n->managed, NULL);
	naive = NULL;
	put_device(n->managed);
	pci_clear_master(pdev);
	pci_iounmap(pdev, n->regs);
	free_page((unsigned long)n->page);
	kvfree(n);
	pci_disable_device(pdev);
}

static const struct pci_device_id naive_ids[] = {
	{ PCI_DEVICE(APPLE_DMA_PCI_VENDOR_ID, APPLE_DMA_PCI_DEVICE_ID) },
	{ }
};

static struct pci_driver naive_driver = {
	.name = "adp_naive",
	.id_table = naive_ids,
	.probe = naive_probe,
	.remove = naive_remove,
};

static int __init naive_init(void)
{
	int err = bus_register_notifier(&pci_bus_type, &naive_nb);

	if (err)
		return err;
	err = pci_register_driver(&naive_driver);
	if (err)
		bus_unregister_notifier(&pci_bus_type, &naive_nb);
	return err;
}
module_init(naive_init);

static void __exit naive_exit(void)
{
	pci_unregister_driver(&naive_driver);
	bus_unregister_notifier(&pci_bus_type, &naive_nb);
}
module_exit(naive_exit);

MODULE_DESCRIPTION("The simplest client of apple-dma-pci, for comparison");
MODULE_LICENSE("GPL");
