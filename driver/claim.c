// SPDX-License-Identifier: GPL-2.0-only
/*
 * The managed function: finding it, closing it, serving it, letting it go.
 *
 * It is never open by itself. A gate makes every mapping fail that does not
 * come through our ops, a device link keeps its driver from being probed while
 * the companion has none, and our ops are there only while its driver is.
 */
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "adp.h"
#include "compat.h"

/*
 * No memory is that low, so nothing that goes around our ops is in reach: not
 * on the kernel's direct path, and not after this module has gone.
 */
#define ADP_GATE_LIMIT		1

/* Base class 12h, processing accelerators; the kernel has no name for it. */
#define ADP_CLASS_ACCELERATOR	0x12

/* Network controllers for InfiniBand. Not all kernels have a name for them. */
#define ADP_CLASS_INFINIBAND	0x0207

static LIST_HEAD(adp_companions);

/* Protects the list, and whom each companion serves. */
static DEFINE_MUTEX(adp_lock);

static struct adp_companion *adp_companion_of(struct pci_dev *managed)
{
	struct adp_companion *c;

	lockdep_assert_held(&adp_lock);
	list_for_each_entry(c, &adp_companions, node)
		if (c->managed == managed)
			return c;
	return NULL;
}

/*
 * While a function has a driver the driver core owns its range map, which is
 * freed when the driver leaves: an empty one makes every address unreachable
 * for the kernel's own path. The limit stays.
 */
static void adp_gate_close(struct device *dev, bool bound)
{
	dev->bus_dma_limit = ADP_GATE_LIMIT;
	if (!bound)
		return;
	kfree(dev->dma_range_map);
	dev->dma_range_map = kzalloc(sizeof(*dev->dma_range_map), GFP_KERNEL);
}

/* Our ops come before the kernel's own path: let masks and limits be real. */
static void adp_gate_open(struct device *dev)
{
	if (dev->bus_dma_limit == ADP_GATE_LIMIT)
		dev->bus_dma_limit = 0;
}

/*
 * With the link the kernel probes the function's driver after the companion's,
 * removes it before, and orders suspend, resume and shutdown. It outlives this
 * module: without it a function is probed only to be refused, with it, it waits.
 */
static bool adp_link(struct pci_dev *companion, struct pci_dev *managed)
{
	return device_link_add(&managed->dev, &companion->dev,
			       DL_FLAG_AUTOPROBE_CONSUMER);
}

/* Nothing that a function has left mapped outlives its driver. */
static void adp_sweep(struct adp_companion *c)
{
	unsigned int left;

	left = adp_bounce_drain(&c->bounce);
	left += adp_copy_drain(&c->copies);
	left += adp_pool_drain(&c->pool);
	left += adp_windows_purge(&c->windows);
	if (left)
		pci_warn(c->managed,
			 "its driver left %u mappings behind; they are unmapped now\n",
			 left);
}

/* The driver of the managed function is about to be probed. */
static void adp_hook(struct adp_companion *c)
{
	struct device *dev = &c->managed->dev;
	const char *why = NULL;

	if (READ_ONCE(c->ch.broken))
		why = "its companion's host does not work; reboot the VM";
	else if (adp_compat_uses_dma_iommu(dev))
		why = "a vIOMMU is in front of it; boot with iommu.passthrough=1";
	else if (!dev_is_dma_coherent(dev))
		why = "firmware says it is not coherent; add dma-coherent to it";

	adp_gate_close(dev, true);
	if (why) {
		adp_compat_leave_dma_iommu(dev);
		adp_ops_refuse(dev);
		pci_err(c->managed, "cannot be served and gets no DMA: %s\n", why);
		return;
	}
	adp_gate_open(dev);
	adp_ops_install(c, dev);
	c->hooked = true;
}

/* The managed function has no driver any more. */
static void adp_unhook(struct adp_companion *c)
{
	struct device *dev = &c->managed->dev;

	/* A driver that was there before us kept its own books. */
	if (c->hooked) {
		pci_clear_master(c->managed);
		adp_sweep(c);
		c->hooked = false;
	}
	adp_ops_remove(dev);
	adp_gate_close(dev, false);
}

/*
 * The probe of the managed function's driver has failed. Its devres is freed
 * only after the kernel has said so, and needs our ops.
 */
static void adp_settle(struct work_struct *work)
{
	struct adp_companion *c = container_of(work, struct adp_companion, settle);
	struct pci_dev *managed;

	mutex_lock(&adp_lock);
	managed = pci_dev_get(c->managed);
	mutex_unlock(&adp_lock);
	if (!managed)
		return;

	/* The lock is the prober's until the probe is over. */
	device_lock(&managed->dev);
	mutex_lock(&adp_lock);
	if (c->managed == managed && !managed->dev.driver)
		adp_unhook(c);
	mutex_unlock(&adp_lock);
	device_unlock(&managed->dev);
	pci_dev_put(managed);
}

/* Drivers that map and forget do not call the sync functions a copy needs. */
static bool adp_class_may_bounce(struct pci_dev *managed)
{
	switch (managed->class >> 16) {
	case PCI_BASE_CLASS_DISPLAY:
	case ADP_CLASS_ACCELERATOR:
		return false;
	default:
		return true;
	}
}

/*
 * Storage and network drivers map small buffers for a short time, and sync. What
 * RDMA registers is kept, though, and user space has it mapped.
 */
static bool adp_class_may_copy(struct pci_dev *managed)
{
	switch (managed->class >> 16) {
	case PCI_BASE_CLASS_STORAGE:
		return true;
	case PCI_BASE_CLASS_NETWORK:
		return managed->class >> 8 != ADP_CLASS_INFINIBAND;
	default:
		return false;
	}
}

/* What the choice comes to for this function in this mode. */
static void adp_decide_copy(struct adp_companion *c)
{
	if (c->choice == ADP_COPY_ALWAYS)
		c->copy = ADP_COPY_ALL;
	else if (c->choice == ADP_COPY_NEVER ||
		 (c->choice == ADP_COPY_AUTO && !c->may_copy))
		c->copy = ADP_COPY_NONE;
	else
		c->copy = c->windows.lazy ? ADP_COPY_COLD : ADP_COPY_SMALL;
}

/* Take a function up; it has no driver, or one that is left alone. */
static void adp_take(struct adp_companion *c, struct pci_dev *managed)
{
	c->managed = pci_dev_get(managed);
	c->may_bounce = adp_class_may_bounce(managed);
	c->may_copy = adp_class_may_copy(managed);
	adp_decide_copy(c);
	if (managed->dev.driver)
		return;
	pci_clear_master(managed);
	adp_gate_close(&managed->dev, false);
	c->linked = adp_link(c->pdev, managed);
	if (!c->linked)
		pci_err(managed,
			"the kernel refuses a device link to %s; load apple_dma_pci before its driver by hand\n",
			pci_name(c->pdev));
}

static void adp_drop(struct adp_companion *c)
{
	pci_dev_put(c->managed);
	c->managed = NULL;
	c->linked = false;
}

static int adp_bus_notify(struct notifier_block *nb, unsigned long action,
			  void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);
	struct adp_companion *c;

	mutex_lock(&adp_lock);
	c = adp_companion_of(pdev);
	switch (action) {
	case BUS_NOTIFY_ADD_DEVICE:
		list_for_each_entry(c, &adp_companions, node) {
			if (!c->managed && c->pdev != pdev &&
			    c->pdev->bus == pdev->bus &&
			    c->devfn == pdev->devfn) {
				adp_take(c, pdev);
				pci_info(c->pdev, "serves %s, which has appeared\n",
					 pci_name(pdev));
			}
		}
		break;
	case BUS_NOTIFY_BIND_DRIVER:
		if (c)
			adp_hook(c);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
		if (c)
			schedule_work(&c->settle);
		break;
	case BUS_NOTIFY_UNBOUND_DRIVER:
		if (c) {
			adp_unhook(c);
			if (!c->linked)
				c->linked = adp_link(c->pdev, pdev);
		}
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		if (c)
			adp_drop(c);
		break;
	}
	mutex_unlock(&adp_lock);
	return NOTIFY_DONE;
}

static struct notifier_block adp_bus_nb = {
	.notifier_call = adp_bus_notify,
};

/**
 * adp_claim_init() - watch what becomes of PCI functions
 *
 * Before the first companion is probed.
 *
 * Return: 0 or a negative error.
 */
int adp_claim_init(void)
{
	return bus_register_notifier(&pci_bus_type, &adp_bus_nb);
}

/**
 * adp_claim_exit() - undo adp_claim_init()
 */
void adp_claim_exit(void)
{
	bus_unregister_notifier(&pci_bus_type, &adp_bus_nb);
}

/**
 * adp_claim_close() - close a function whose companion cannot work
 * @companion: companion
 * @devfn: function on the companion's own bus
 *
 * Its driver is not probed, and would have no DMA if it were. A driver that is
 * already there is left alone: it has addresses that are not ours to judge.
 *
 * Return: the function, for messages, to be put; or NULL if there is none.
 */
struct pci_dev *adp_claim_close(struct pci_dev *companion, unsigned int devfn)
{
	struct pci_dev *managed;

	managed = pci_get_domain_bus_and_slot(pci_domain_nr(companion->bus),
					      companion->bus->number, devfn);
	if (!managed || managed == companion) {
		pci_dev_put(managed);
		return NULL;
	}
	if (!managed->dev.driver) {
		pci_clear_master(managed);
		adp_gate_close(&managed->dev, false);
		adp_link(companion, managed);
	}
	return managed;
}

/**
 * adp_claim() - find the function that a companion maps for, and take it up
 * @c: companion, ready to serve
 * @rebind: a driver that is there already is to start anew
 *
 * The companion's own bus and domain say where the function is: the bus number
 * in the register may be stale, and there is no domain in it.
 *
 * Context: may sleep; the companion is being probed.
 * Return: 0, also if the function is absent or has a driver that is left
 * alone; -ENOSPC if there are too many companions.
 */
int adp_claim(struct adp_companion *c, bool rebind)
{
	struct pci_bus *bus = c->pdev->bus;
	struct device_driver *late = NULL;
	struct pci_dev *managed;
	int err;

	managed = pci_get_domain_bus_and_slot(pci_domain_nr(bus), bus->number,
					      c->devfn);
	if (managed == c->pdev) {
		pci_dev_put(managed);
		managed = NULL;
	}
	if (managed && rebind && managed->dev.driver) {
		pci_info(managed, "rebind=1: driver %s starts anew\n",
			 managed->dev.driver->name);
		device_release_driver(&managed->dev);
	}

	INIT_WORK(&c->settle, adp_settle);
	mutex_lock(&adp_lock);
	err = adp_ops_attach(c);
	if (err)
		goto out;
	list_add_tail(&c->node, &adp_companions);
	if (managed) {
		adp_take(c, managed);
		late = managed->dev.driver;
	}
out:
	mutex_unlock(&adp_lock);

	if (err)
		pci_err(c->pdev, "more than %u companions; this one serves nobody\n",
			ADP_MAX_COMPANIONS);
	else if (!managed)
		pci_warn(c->pdev,
			 "no function at %04x:%02x:%02x.%d, which it maps for; it serves that when it appears\n",
			 pci_domain_nr(bus), bus->number, PCI_SLOT(c->devfn),
			 PCI_FUNC(c->devfn));
	else if (late)
		pci_err(managed,
			"driver %s was bound before apple_dma_pci was loaded and has addresses that are not the platform's; it is left alone. Load the module first (initramfs), or with rebind=1\n",
			late->name);
	pci_dev_put(managed);
	return err;
}

/**
 * adp_unclaim() - let the function go; it stays closed
 * @c: companion
 *
 * Context: may sleep; the companion is being removed.
 */
void adp_unclaim(struct adp_companion *c)
{
	struct pci_dev *managed;

	mutex_lock(&adp_lock);
	managed = c->hooked ? pci_dev_get(c->managed) : NULL;
	mutex_unlock(&adp_lock);

	/* The link has seen to this, where the kernel gave us one. */
	if (managed)
		device_release_driver(&managed->dev);
	pci_dev_put(managed);

	mutex_lock(&adp_lock);
	list_del(&c->node);
	if (c->managed) {
		if (!c->managed->dev.driver)
			adp_unhook(c);
		adp_drop(c);
	}
	mutex_unlock(&adp_lock);

	cancel_work_sync(&c->settle);
	mutex_lock(&adp_lock);
	adp_ops_detach(c);
	mutex_unlock(&adp_lock);
}

/**
 * adp_claim_shutdown() - nothing stays mapped when this kernel ends
 * @c: companion
 *
 * Mappings outlive the guest. The function's driver has been shut down before
 * its companion, the link sees to it.
 */
void adp_claim_shutdown(struct adp_companion *c)
{
	mutex_lock(&adp_lock);
	if (c->managed && c->hooked)
		pci_clear_master(c->managed);
	adp_windows_revoke(&c->windows);
	mutex_unlock(&adp_lock);
}

/**
 * adp_claim_set_mode() - change what an unmap means
 * @c: companion
 * @mode: from now on
 *
 * Context: may sleep.
 * Return: 0, or -EBUSY if the managed function has a driver that is served.
 */
int adp_claim_set_mode(struct adp_companion *c, enum adp_mode mode)
{
	int err = -EBUSY;

	mutex_lock(&adp_lock);
	if (!c->hooked) {
		adp_windows_set_lazy(&c->windows, mode == ADP_MODE_LAZY);
		adp_decide_copy(c);
		err = 0;
	}
	mutex_unlock(&adp_lock);
	return err;
}

/**
 * adp_claim_set_copy() - change who is copied
 * @c: companion
 * @choice: from now on
 *
 * Context: may sleep.
 * Return: 0, or -EBUSY if the managed function has a driver that is served.
 */
int adp_claim_set_copy(struct adp_companion *c, enum adp_copy_choice choice)
{
	int err = -EBUSY;

	mutex_lock(&adp_lock);
	if (!c->hooked) {
		c->choice = choice;
		adp_decide_copy(c);
		err = 0;
	}
	mutex_unlock(&adp_lock);
	return err;
}

/**
 * adp_claim_describe() - whom a companion serves, in words
 * @c: companion
 * @buf: gets the words
 * @size: its size
 */
void adp_claim_describe(struct adp_companion *c, char *buf, size_t size)
{
	mutex_lock(&adp_lock);
	if (!c->managed)
		snprintf(buf, size, "none: no function at %02x.%d of its bus",
			 PCI_SLOT(c->devfn), PCI_FUNC(c->devfn));
	else if (c->managed->dev.driver && !c->hooked)
		snprintf(buf, size, "none: %s has a driver that is not served",
			 pci_name(c->managed));
	else
		snprintf(buf, size, "%s", pci_name(c->managed));
	mutex_unlock(&adp_lock);
}
