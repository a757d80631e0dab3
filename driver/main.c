// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI driver of apple-dma-pci companions.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>

#include "adp.h"

#define ADP_IDLE_MS_MIN		10
#define ADP_IDLE_MS_MAX		3600000

static bool rebind;
module_param(rebind, bool, 0444);
MODULE_PARM_DESC(rebind, "unbind and bind again a managed function's driver that was bound before this module was loaded (default: leave it alone)");

static char *mode = "lazy";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "strict: unmap before the driver's unmap returns; lazy (default): keep what is idle mapped for a while; for one managed function: 0000:00:04.0=strict; with commas between several");

static char *copy = "auto";
module_param(copy, charp, 0444);
MODULE_PARM_DESC(copy, "copy small buffers instead of mapping them: auto (default): as class and mode have it; never; cold: as for storage and network, whatever the class; always; for one managed function: 0000:00:04.0=never; with commas between several");

static unsigned int idle_ms = 10000;
module_param(idle_ms, uint, 0444);
MODULE_PARM_DESC(idle_ms, "lazy mode: how long idle memory stays mapped, 10 to 3600000 milliseconds (default: 10000)");

static char *hook = "auto";
module_param(hook, charp, 0444);
MODULE_PARM_DESC(hook, "how the kernel's DMA calls for a managed function get here: dma_ops, where the kernel has them for each device; ftrace; auto (default): the first that it has");

static bool search_all;
module_param(search_all, bool, 0444);
MODULE_PARM_DESC(search_all, "when the module is loaded, look for all mappings that an earlier kernel may have left, not only if there is a sign of it (default: 0)");

/* What a refusal comes to, once for each companion. */
static void adp_refuse(struct pci_dev *pdev, int devfn, const char *found,
		       const char *remedy)
{
	struct pci_dev *managed = NULL;

	if (devfn >= 0)
		managed = adp_claim_close(pdev, devfn);
	pci_err(pdev, "%s; %s%s%s\n", found, managed ? pci_name(managed) : "",
		managed ? " gets no DMA and its driver is not started; " : "",
		remedy);
	pci_dev_put(managed);
}

/* Is this a companion at all? Its PCI ID is not reserved for it. */
static int adp_check_function(struct pci_dev *pdev)
{
	char found[96];

	if (pdev->class >> 8 != APPLE_DMA_PCI_CLASS)
		snprintf(found, sizeof(found), "class %#06x, expected %#06x",
			 pdev->class >> 8, APPLE_DMA_PCI_CLASS);
	else if (!(pci_resource_flags(pdev, APPLE_DMA_PCI_BAR) & IORESOURCE_MEM))
		snprintf(found, sizeof(found), "BAR0 is not memory");
	else if (pci_resource_len(pdev, APPLE_DMA_PCI_BAR) != APPLE_DMA_PCI_BAR_SIZE)
		snprintf(found, sizeof(found), "BAR0 of %llu bytes, expected %u",
			 (u64)pci_resource_len(pdev, APPLE_DMA_PCI_BAR),
			 APPLE_DMA_PCI_BAR_SIZE);
	else
		return 0;

	adp_refuse(pdev, -1, found,
		   "this is another device with the same PCI ID, and is left alone");
	return -ENODEV;
}

/* Does it speak what we speak? @devfn gets the function that it maps for. */
static int adp_check_registers(struct pci_dev *pdev, void __iomem *regs,
			       unsigned int *devfn, u32 *max_entries)
{
	u32 version = readl(regs + APPLE_DMA_PCI_REG_VERSION);
	u32 bdf = readl(regs + APPLE_DMA_PCI_REG_MANAGED_BDF);
	char found[96];

	*max_entries = readl(regs + APPLE_DMA_PCI_REG_MAX_ENTRIES);
	*devfn = bdf & 0xff;

	if (version == U32_MAX) {
		adp_refuse(pdev, -1, "the companion does not answer (all ones)",
			   "replug it or restart the VM");
		return -ENODEV;
	}
	if (version != APPLE_DMA_PCI_VERSION) {
		snprintf(found, sizeof(found), "protocol version %u, expected %u",
			 version, APPLE_DMA_PCI_VERSION);
		adp_refuse(pdev, *devfn, found,
			   "use a QEMU and a module that go together");
		return -ENODEV;
	}
	if (!*max_entries || *max_entries == U32_MAX) {
		snprintf(found, sizeof(found), "MAX_ENTRIES is %#x", *max_entries);
		adp_refuse(pdev, *devfn, found, "use another version of QEMU");
		return -ENODEV;
	}
	if (bdf >> 8 != pdev->bus->number)
		pci_info(pdev, "the host says bus %02x; the managed function is looked for on this one\n",
			 bdf >> 8);
	return 0;
}

/**
 * adp_companion_look() - which function does a companion map for now
 * @c: companion whose managed function is absent
 *
 * A host may know only when the function is plugged. What the parameters say of
 * that function then counts.
 *
 * Context: may sleep.
 * Return: device and function on the companion's own bus.
 */
unsigned int adp_companion_look(struct adp_companion *c)
{
	unsigned int domain = pci_domain_nr(c->pdev->bus);
	unsigned int bus = c->pdev->bus->number;
	u32 bdf = readl(c->regs + APPLE_DMA_PCI_REG_MANAGED_BDF);

	if (bdf == U32_MAX || (bdf & 0xff) == c->devfn)
		return c->devfn;
	c->devfn = bdf & 0xff;
	c->choice = adp_param_for(copy, adp_copy_names, domain, bus, c->devfn);
	adp_windows_set_lazy(&c->windows,
			     adp_param_for(mode, adp_mode_names, domain, bus,
					   c->devfn) == ADP_MODE_LAZY);
	return c->devfn;
}

/*
 * What an earlier kernel has left is unmapped before anything is mapped, so that
 * nothing is refused for it. While the function has a driver that waits.
 */
static int adp_learn(struct adp_companion *c)
{
	bool quiet = adp_claim_quiet(c->pdev, c->devfn);
	int err;

	if (quiet)
		adp_left_look(&c->left);
	err = adp_channel_learn(&c->ch);
	if (err || !quiet || !c->ch.full)
		return err;
	adp_left_search(&c->left);
	return adp_channel_learn(&c->ch);
}

static int adp_setup(struct adp_companion *c, u32 max_entries)
{
	struct pci_dev *pdev = c->pdev;
	unsigned int domain = pci_domain_nr(pdev->bus);
	unsigned int bus = pdev->bus->number;
	int err = -ENOMEM;

	c->choice = adp_param_for(copy, adp_copy_names, domain, bus, c->devfn);
	c->op_stats = alloc_percpu(struct adp_op_stats);
	if (!c->op_stats || adp_ram_read(&c->ram, NULL, NULL)) {
		adp_refuse(pdev, c->devfn, "no memory", "give the VM more");
		goto fail;
	}

	err = adp_channel_init(&c->ch, &pdev->dev, c->regs, max_entries,
			       &c->stats);
	if (err) {
		adp_refuse(pdev, c->devfn, c->ch.why, "give the VM more");
		goto fail;
	}
	err = adp_left_init(&c->left, &c->ch, &c->ram, search_all);
	if (err) {
		adp_refuse(pdev, c->devfn, "no memory", "give the VM more");
		goto destroy_channel;
	}
	err = adp_learn(c);
	if (err) {
		adp_refuse(pdev, c->devfn, c->ch.why,
			   "use another version of QEMU, or restart the VM");
		goto destroy_left;
	}
	err = adp_windows_init(&c->windows, &c->ch, &c->ram, &c->stats,
			       adp_param_for(mode, adp_mode_names, domain, bus,
					     c->devfn) == ADP_MODE_LAZY,
			       idle_ms);
	if (err) {
		adp_refuse(pdev, c->devfn, "no memory", "give the VM more");
		goto destroy_left;
	}
	err = adp_copy_init(&c->copies, &c->windows);
	if (err) {
		adp_refuse(pdev, c->devfn, "no memory", "give the VM more");
		goto destroy_windows;
	}
	adp_pool_init(&c->pool, &c->windows);
	adp_bounce_init(&c->bounce, &c->pool);
	adp_left_serve(&c->left, &c->windows);
	return 0;

destroy_windows:
	adp_windows_destroy(&c->windows);
destroy_left:
	adp_left_destroy(&c->left);
destroy_channel:
	adp_channel_destroy(&c->ch);
fail:
	adp_ram_free(&c->ram);
	free_percpu(c->op_stats);
	return err;
}

static void adp_teardown(struct adp_companion *c)
{
	adp_left_stop(&c->left);
	adp_bounce_drain(&c->bounce);
	adp_copy_drain(&c->copies);
	adp_pool_drain(&c->pool);
	adp_windows_purge(&c->windows);
	adp_stats_totals(c);
	adp_channel_destroy(&c->ch);
	adp_left_destroy(&c->left);
	adp_windows_destroy(&c->windows);
	adp_copy_destroy(&c->copies);
	adp_ram_free(&c->ram);
	free_percpu(c->op_stats);
}

static int adp_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct adp_companion *c;
	const char *why, *remedy;
	u32 max_entries;
	char whom[80];
	int err;

	err = adp_check_function(pdev);
	if (err)
		return err;

	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	c->pdev = pdev;

	err = pci_enable_device_mem(pdev);
	if (err) {
		adp_refuse(pdev, -1, "BAR0 has no address",
			   "give the VM fewer devices, or more room for them");
		goto free;
	}
	err = pci_request_region(pdev, APPLE_DMA_PCI_BAR, "apple_dma_pci");
	if (err) {
		adp_refuse(pdev, -1, "BAR0 is in use", "stop whoever uses it");
		goto disable;
	}
	c->regs = pci_iomap(pdev, APPLE_DMA_PCI_BAR, 0);
	if (!c->regs) {
		adp_refuse(pdev, -1, "no memory", "give the VM more");
		err = -ENOMEM;
		goto release;
	}
	/* The companion reads and writes guest memory itself. */
	pci_set_master(pdev);

	err = adp_check_registers(pdev, c->regs, &c->devfn, &max_entries);
	if (err)
		goto unmap;
	why = adp_hook_get(&remedy);
	if (why) {
		adp_refuse(pdev, c->devfn, why, remedy);
		err = -EOPNOTSUPP;
		goto unmap;
	}
	err = adp_setup(c, max_entries);
	if (err)
		goto unhook;
	err = adp_claim(c, rebind);
	if (err)
		goto teardown;

	pci_set_drvdata(pdev, c);
	adp_stats_add(c);
	adp_claim_describe(c, whom, sizeof(whom));
	pci_info(pdev, "%s layout, batches of %u, %s, hooked by %s, managed function: %s\n",
		 c->ch.layout == ADP_LAYOUT_WIDE ? "wide" : "narrow",
		 c->ch.batch,
		 adp_mode_names[c->windows.lazy ? ADP_MODE_LAZY : ADP_MODE_STRICT],
		 adp_hook_name(), whom);
	return 0;

teardown:
	adp_teardown(c);
unhook:
	adp_hook_put();
unmap:
	pci_clear_master(pdev);
	pci_iounmap(pdev, c->regs);
release:
	pci_release_region(pdev, APPLE_DMA_PCI_BAR);
disable:
	pci_disable_device(pdev);
free:
	kfree(c);
	return err;
}

static void adp_remove(struct pci_dev *pdev)
{
	struct adp_companion *c = pci_get_drvdata(pdev);

	adp_stats_remove(c);
	adp_unclaim(c);
	adp_hook_put();
	adp_teardown(c);
	pci_clear_master(pdev);
	pci_iounmap(pdev, c->regs);
	pci_release_region(pdev, APPLE_DMA_PCI_BAR);
	pci_disable_device(pdev);
	kfree(c);
}

static void adp_shutdown(struct pci_dev *pdev)
{
	struct adp_companion *c = pci_get_drvdata(pdev);

	adp_claim_shutdown(c);
	adp_stats_totals(c);
}

static int adp_freeze(struct device *dev)
{
	return adp_system_freeze(dev_get_drvdata(dev));
}

/* The managed function sleeps already, and wakes up after its companion. */
static int adp_suspend_noirq(struct device *dev)
{
	struct adp_companion *c = dev_get_drvdata(dev);

	adp_windows_sleep(&c->windows);
	return 0;
}

static int adp_resume_noirq(struct device *dev)
{
	struct adp_companion *c = dev_get_drvdata(dev);

	adp_channel_resume(&c->ch);
	adp_windows_wake(&c->windows);
	return 0;
}

static const struct dev_pm_ops adp_pm_ops = {
	.freeze = pm_sleep_ptr(adp_freeze),
	NOIRQ_SYSTEM_SLEEP_PM_OPS(adp_suspend_noirq, adp_resume_noirq)
};

static const struct pci_device_id adp_ids[] = {
	{ PCI_DEVICE(APPLE_DMA_PCI_VENDOR_ID, APPLE_DMA_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, adp_ids);

static struct pci_driver adp_driver = {
	.name = "apple_dma_pci",
	.id_table = adp_ids,
	.probe = adp_probe,
	.remove = adp_remove,
	.shutdown = adp_shutdown,
	.driver.pm = pm_sleep_ptr(&adp_pm_ops),
	.dev_groups = adp_groups,
};

static int __init adp_init(void)
{
	int err;

	if (adp_param_check("mode", mode, adp_mode_names) ||
	    adp_param_check("copy", copy, adp_copy_names))
		return -EINVAL;
	if (idle_ms < ADP_IDLE_MS_MIN || idle_ms > ADP_IDLE_MS_MAX) {
		pr_err("apple_dma_pci: idle_ms=%u is out of range; it is %u to %u\n",
		       idle_ms, ADP_IDLE_MS_MIN, ADP_IDLE_MS_MAX);
		return -EINVAL;
	}

	err = adp_hook_init(hook);
	if (err)
		return err;
	err = adp_claim_init();
	if (err)
		return err;
	err = adp_system_init();
	if (err)
		goto exit_claim;
	adp_stats_init();
	err = pci_register_driver(&adp_driver);
	if (err)
		goto exit;
	return 0;

exit:
	adp_stats_exit();
	adp_system_exit();
exit_claim:
	adp_claim_exit();
	return err;
}

static void __exit adp_exit(void)
{
	pci_unregister_driver(&adp_driver);
	adp_stats_exit();
	adp_system_exit();
	adp_claim_exit();
}

module_init(adp_init);
module_exit(adp_exit);

MODULE_DESCRIPTION("DMA mappings for functions passed through on Apple Silicon");
MODULE_VERSION(ADP_VERSION);
MODULE_LICENSE("GPL");
