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
#include "hook.h"

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
 * for the kernel's own path. The limit stays. Return: false if there is no memory
 * for the map; the limit alone keeps all of RAM out of reach, too.
 */
static bool adp_gate_close(struct device *dev, bool bound)
{
	struct adp_gate *gate;

	dev->bus_dma_limit = ADP_GATE_LIMIT;
	if (!bound)
		return true;
	kfree(dev->dma_range_map);
	dev->dma_range_map = NULL;
	gate = kzalloc(sizeof(*gate), GFP_KERNEL);
	if (!gate)
		return false;
	gate->magic = ADP_GATE_MAGIC;
	gate->ops = &adp_refuse_ops;
	dev->dma_range_map = &gate->none;
	return true;
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

/* Is it a companion, by what tells one without asking it? */
static bool adp_is_companion(struct pci_dev *pdev)
{
	return pdev->vendor == APPLE_DMA_PCI_VENDOR_ID &&
	       pdev->device == APPLE_DMA_PCI_DEVICE_ID &&
	       pdev->class >> 8 == APPLE_DMA_PCI_CLASS &&
	       pci_resource_len(pdev, APPLE_DMA_PCI_BAR) == APPLE_DMA_PCI_BAR_SIZE;
}

/* The function on its bus that a companion without our driver maps for, or -1. */
static int adp_ask(struct pci_dev *companion)
{
	void __iomem *regs;
	u16 command;
	u32 bdf;

	/* On a bus that is still being scanned it has no address yet. */
	if (!companion->resource[APPLE_DMA_PCI_BAR].parent)
		return -1;
	pci_read_config_word(companion, PCI_COMMAND, &command);
	if (!(command & PCI_COMMAND_MEMORY))
		pci_write_config_word(companion, PCI_COMMAND,
				      command | PCI_COMMAND_MEMORY);
	regs = pci_iomap(companion, APPLE_DMA_PCI_BAR, 0);
	if (!regs)
		return -1;
	bdf = readl(regs + APPLE_DMA_PCI_REG_MANAGED_BDF);
	pci_iounmap(companion, regs);
	return bdf == U32_MAX ? -1 : (int)(bdf & 0xff);
}

/*
 * A companion that maps for a function and that we do not drive: it was refused,
 * or unbound, or comes after its function on a bus that has just been scanned.
 * Return: NULL, or to be put.
 */
static struct pci_dev *adp_idle_companion(struct pci_dev *pdev)
{
	struct adp_companion *c;
	struct pci_dev *idle = NULL;

	lockdep_assert_held(&adp_lock);
	if (adp_is_companion(pdev))
		return NULL;
	while ((idle = pci_get_device(APPLE_DMA_PCI_VENDOR_ID,
				      APPLE_DMA_PCI_DEVICE_ID, idle))) {
		bool ours = false;

		list_for_each_entry(c, &adp_companions, node)
			ours |= c->pdev == idle;
		if (!ours && idle->bus == pdev->bus && adp_is_companion(idle) &&
		    adp_ask(idle) == pdev->devfn)
			break;
	}
	return idle;
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

/*
 * A driver is about to be probed for a function that must not do DMA. With a link
 * it would not get so far.
 */
static void adp_forbid(struct device *dev)
{
	adp_gate_close(dev, true);
	adp_compat_leave_dma_iommu(dev);
	adp_ops_refuse(dev);
}

/* No DMA from here on, and none under way. */
static void adp_quiet(struct pci_dev *managed)
{
	pci_clear_master(managed);
	pci_wait_for_pending_transaction(managed);
}

/* The driver of the managed function is about to be probed. */
static void adp_hook(struct adp_companion *c)
{
	struct device *dev = &c->managed->dev;
	bool closed = adp_gate_close(dev, true);
	const char *why = NULL;

	if (READ_ONCE(c->ch.broken))
		why = "its companion's host does not work; reboot the VM";
	else if (adp_compat_uses_dma_iommu(dev))
		why = "a vIOMMU is in front of it; boot with iommu.passthrough=1";
	else if (!dev_is_dma_coherent(dev))
		why = "firmware says it is not coherent; add dma-coherent to it";
	else if (to_pci_driver(dev->driver)->driver_managed_dma)
		why = "this driver hands it on to others; use its own driver";
	else if (!closed)
		why = "no memory; give the VM more";

	c->hooked = true;
	c->refused = why;
	c->early = false;
	if (why) {
		adp_forbid(dev);
		pci_err(c->managed, "cannot be served and gets no DMA: %s\n", why);
		return;
	}
	adp_quiet(c->managed);
	adp_left_mark(&c->left);
	adp_ops_install(c, dev);
}

/* The managed function has no driver any more. */
static void adp_unhook(struct adp_companion *c)
{
	struct device *dev = &c->managed->dev;

	/* A driver that was there before us kept its own books. */
	if (c->hooked) {
		adp_quiet(c->managed);
		adp_sweep(c);
		c->hooked = false;
		c->refused = false;
	}
	adp_ops_remove(dev);
	adp_gate_close(dev, false);
}

/*
 * The managed function's driver came before the companion did, and goes on
 * although it was refused all DMA. Without that it is of no use. One that hands
 * the function on to others would be refused again, and may wait for those.
 */
static bool adp_makes_do(struct adp_companion *c, struct pci_dev *managed)
{
	struct device_driver *driver = NULL;

	/* The lock is the prober's until the probe is over. */
	device_lock(&managed->dev);
	mutex_lock(&adp_lock);
	if (c->managed == managed && c->early)
		driver = managed->dev.driver;
	if (driver && to_pci_driver(driver)->driver_managed_dma)
		driver = NULL;
	if (driver)
		pci_info(managed, "driver %s came before the companion's and got no DMA; it starts anew\n",
			 driver->name);
	mutex_unlock(&adp_lock);
	device_unlock(&managed->dev);
	return driver;
}

/*
 * The probe of the managed function's driver has failed, or has had no DMA. Its
 * devres is freed only after the kernel has said so, and needs our ops.
 */
static void adp_settle(struct work_struct *work)
{
	struct adp_companion *c = container_of(work, struct adp_companion, settle);
	struct pci_dev *managed;
	bool again = false;
	int err = 0;

	mutex_lock(&adp_lock);
	managed = pci_dev_get(c->managed);
	mutex_unlock(&adp_lock);
	if (!managed)
		return;

	if (adp_makes_do(c, managed))
		device_release_driver(&managed->dev);

	device_lock(&managed->dev);
	mutex_lock(&adp_lock);
	if (c->managed == managed && !managed->dev.driver) {
		adp_unhook(c);
		if (!c->linked)
			c->linked = adp_link(c->pdev, managed);
		swap(again, c->early);
	}
	mutex_unlock(&adp_lock);
	device_unlock(&managed->dev);
	/* It was too early for that driver, and now it is not. */
	if (again)
		err = device_attach(&managed->dev);
	if (err < 0 && err != -EPROBE_DEFER)
		pci_err(managed, "its driver does not start (%d); bind it by hand\n",
			err);
	pci_dev_put(managed);
}

/*
 * Take a function from a driver that must not use it any more, as a surprise
 * removal does: the driver is told that the device does not answer, so it ends
 * what was asked of it with errors and waits for nothing. The reset makes the
 * function forget the addresses that it was given.
 */
static void adp_evict(struct pci_dev *managed)
{
	bool gone = pci_dev_is_disconnected(managed);

	pci_clear_master(managed);
	WRITE_ONCE(managed->error_state, pci_channel_io_perm_failure);
	device_release_driver(&managed->dev);
	if (gone)
		return;
	WRITE_ONCE(managed->error_state, pci_channel_io_normal);
	/* Not all functions can be reset. */
	pci_reset_function(managed);
}

/*
 * The channel is broken, so all that the function's driver maps from now on fails.
 * Some drivers, those of block devices for one, would try again for ever.
 */
static void adp_lose(struct work_struct *work)
{
	struct adp_companion *c = container_of(work, struct adp_companion, lose);
	struct pci_dev *managed;

	mutex_lock(&adp_lock);
	managed = c->hooked && !c->refused ? pci_dev_get(c->managed) : NULL;
	mutex_unlock(&adp_lock);
	if (!managed)
		return;

	pci_err(managed, "its companion is lost, and so is this function: it is taken from its driver\n");
	adp_evict(managed);
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

/* A function that nobody serves: closed, and its driver waits for the companion. */
static void adp_shut(struct pci_dev *companion, struct pci_dev *pdev)
{
	pci_clear_master(pdev);
	adp_gate_close(&pdev->dev, false);
	adp_link(companion, pdev);
}

/* Take a function up; it has no driver, or one that is left alone. */
static void adp_take(struct adp_companion *c, struct pci_dev *managed)
{
	c->managed = pci_dev_get(managed);
	c->may_bounce = adp_class_may_bounce(managed);
	c->may_copy = adp_class_may_copy(managed);
	adp_decide_copy(c);
	if (adp_ops_refusing(&managed->dev)) {
		/* Its driver was refused, since we were not there yet. */
		c->hooked = true;
		c->refused = true;
		c->early = true;
		schedule_work(&c->settle);
		return;
	}
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
	c->early = false;
}

/*
 * Virtual functions are functions of their own: the platform maps for the one that
 * the companion names, and for no other.
 */
static bool adp_is_stranger(struct pci_dev *pdev)
{
	return pdev->is_virtfn && adp_companion_of(pci_physfn(pdev));
}

/* A function has appeared; drivers see it later. */
static void adp_appear(struct pci_dev *pdev)
{
	struct adp_companion *c;
	struct pci_dev *idle;

	if (adp_is_stranger(pdev)) {
		pci_clear_master(pdev);
		adp_gate_close(&pdev->dev, false);
		pci_warn(pdev,
			 "a virtual function of %s, for which alone the platform maps; it gets no DMA, use the physical function\n",
			 pci_name(pci_physfn(pdev)));
		return;
	}
	if (pdev->is_virtfn || adp_is_companion(pdev))
		return;
	list_for_each_entry(c, &adp_companions, node) {
		if (c->managed || c->pdev->bus != pdev->bus ||
		    adp_companion_look(c) != pdev->devfn)
			continue;
		adp_take(c, pdev);
		pci_info(c->pdev, "serves %s, which has appeared\n",
			 pci_name(pdev));
		return;
	}
	idle = adp_idle_companion(pdev);
	if (idle) {
		adp_shut(idle, pdev);
		pci_warn(pdev, "gets no DMA, and its driver waits: apple_dma_pci does not drive its companion %s\n",
			 pci_name(idle));
	}
	pci_dev_put(idle);
}

/* The driver of a function is about to be probed, and nobody serves that. */
static void adp_unserved(struct pci_dev *pdev)
{
	struct pci_dev *idle;

	if (adp_is_stranger(pdev)) {
		adp_forbid(&pdev->dev);
		return;
	}
	idle = adp_idle_companion(pdev);
	if (idle) {
		adp_forbid(&pdev->dev);
		pci_warn(pdev, "gets no DMA: apple_dma_pci does not drive its companion %s (yet)\n",
			 pci_name(idle));
	}
	pci_dev_put(idle);
}

/*
 * A function that nobody serves has no driver any more. From now on it waits for
 * its companion. If that is being probed it sees to the function itself, and the
 * kernel does not take a link for both at once.
 */
static void adp_unserved_left(struct pci_dev *pdev)
{
	struct pci_dev *idle;

	if (!adp_ops_refusing(&pdev->dev))
		return;
	idle = adp_idle_companion(pdev);
	if (idle && device_trylock(&idle->dev)) {
		adp_shut(idle, pdev);
		device_unlock(&idle->dev);
	}
	pci_dev_put(idle);
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
		adp_appear(pdev);
		break;
	case BUS_NOTIFY_BIND_DRIVER:
		if (c)
			adp_hook(c);
		else
			adp_unserved(pdev);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
		if (c)
			schedule_work(&c->settle);
		else
			adp_unserved_left(pdev);
		break;
	case BUS_NOTIFY_UNBOUND_DRIVER:
		if (c) {
			adp_unhook(c);
			if (!c->linked)
				c->linked = adp_link(c->pdev, pdev);
		} else {
			adp_unserved_left(pdev);
			if (adp_ops_refusing(&pdev->dev))
				adp_ops_remove(&pdev->dev);
		}
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		if (c) {
			/* A probe that failed has not been settled. */
			if (c->hooked)
				adp_unhook(c);
			adp_drop(c);
		} else if (adp_ops_refusing(&pdev->dev)) {
			adp_ops_remove(&pdev->dev);
		}
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

/* Take the ops that refuse away from all functions, and the drivers that have met them. */
static void adp_forget_refused(void)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		if (!adp_ops_refusing(&pdev->dev))
			continue;
		device_release_driver(&pdev->dev);
		adp_ops_remove(&pdev->dev);
	}
}

/**
 * adp_claim_exit() - undo adp_claim_init()
 *
 * After the last companion has gone. What is closed stays closed, but not by code
 * of ours.
 */
void adp_claim_exit(void)
{
	adp_forget_refused();
	bus_unregister_notifier(&pci_bus_type, &adp_bus_nb);
	/* A driver may have come while the notifier was still there. */
	adp_forget_refused();
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
	if (!managed->dev.driver)
		adp_shut(companion, managed);
	return managed;
}

/* Why a companion cannot have the function that it names; NULL if it can. */
static const char *adp_claim_conflict(struct adp_companion *c,
				      struct pci_dev *managed)
{
	if (!managed)
		return NULL;
	if (adp_is_companion(managed))
		return "is a companion itself";
	if (adp_companion_of(managed))
		return "has another companion already";
	return NULL;
}

/**
 * adp_claim_quiet() - end the DMA of a function that no driver has
 * @companion: companion
 * @devfn: function on the companion's own bus
 *
 * It may still do what an earlier kernel told it to.
 *
 * Return: false if it has a driver, or is no function to map for.
 */
bool adp_claim_quiet(struct pci_dev *companion, unsigned int devfn)
{
	struct pci_dev *managed;
	bool quiet = true;

	managed = pci_get_domain_bus_and_slot(pci_domain_nr(companion->bus),
					      companion->bus->number, devfn);
	if (managed == companion || (managed && managed->dev.driver))
		quiet = false;
	else if (managed)
		adp_quiet(managed);
	pci_dev_put(managed);
	return quiet;
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
 * alone; -EBUSY if the function is another's, which has been said.
 */
int adp_claim(struct adp_companion *c, bool rebind)
{
	struct pci_bus *bus = c->pdev->bus;
	struct device_driver *late = NULL;
	const char *conflict;
	struct pci_dev *managed;

	managed = pci_get_domain_bus_and_slot(pci_domain_nr(bus), bus->number,
					      c->devfn);
	INIT_WORK(&c->settle, adp_settle);
	INIT_WORK(&c->lose, adp_lose);

	mutex_lock(&adp_lock);
	conflict = adp_claim_conflict(c, managed);
	if (!conflict) {
		list_add_tail(&c->node, &adp_companions);
		/* What has come or gone since it was read is not told again. */
		adp_ram_read(&c->ram, NULL, NULL);
		if (managed)
			adp_take(c, managed);
		late = managed && !c->hooked ? managed->dev.driver : NULL;
	}
	mutex_unlock(&adp_lock);

	if (conflict)
		pci_err(c->pdev, "%s, for which it maps, %s; it serves nobody, give it a function of its own\n",
			pci_name(managed), conflict);
	else if (!managed)
		pci_warn(c->pdev,
			 "no function at %04x:%02x:%02x.%d, which it maps for; it serves that when it appears\n",
			 pci_domain_nr(bus), bus->number, PCI_SLOT(c->devfn),
			 PCI_FUNC(c->devfn));
	else if (late && rebind) {
		pci_info(managed, "rebind=1: driver %s starts anew\n",
			 late->name);
		adp_evict(managed);
	} else if (late) {
		pci_err(managed,
			"driver %s was bound before apple_dma_pci was loaded and has addresses that are not the platform's; it is left alone. Load the module first (initramfs), or with rebind=1\n",
			late->name);
	}
	pci_dev_put(managed);
	return conflict ? -EBUSY : 0;
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

	/* The link has seen to this, where the kernel gave us one; else drivers may come again. */
	mutex_lock(&adp_lock);
	while (c->hooked && c->managed->dev.driver) {
		managed = pci_dev_get(c->managed);
		mutex_unlock(&adp_lock);
		device_release_driver(&managed->dev);
		pci_dev_put(managed);
		mutex_lock(&adp_lock);
	}
	list_del(&c->node);
	if (c->managed) {
		if (!c->managed->dev.driver)
			adp_unhook(c);
		adp_drop(c);
	}
	mutex_unlock(&adp_lock);

	cancel_work_sync(&c->settle);
	cancel_work_sync(&c->lose);
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
	adp_left_stop(&c->left);
	mutex_lock(&adp_lock);
	if (c->managed && c->hooked)
		adp_quiet(c->managed);
	adp_windows_revoke(&c->windows);
	adp_channel_forget(&c->ch);
	mutex_unlock(&adp_lock);
}

/**
 * adp_claim_each() - do something for each companion
 * @fn: what; not 0 ends it
 * @arg: for @fn
 *
 * Context: may sleep. While @fn runs no function is taken up or let go.
 * Return: what @fn has returned last.
 */
int adp_claim_each(int (*fn)(struct adp_companion *c, void *arg), void *arg)
{
	struct adp_companion *c;
	int ret = 0;

	mutex_lock(&adp_lock);
	list_for_each_entry(c, &adp_companions, node) {
		ret = fn(c, arg);
		if (ret)
			break;
	}
	mutex_unlock(&adp_lock);
	return ret;
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
	else if (c->refused || (c->managed->dev.driver && !c->hooked))
		snprintf(buf, size, "none: %s has a driver that is not served",
			 pci_name(c->managed));
	else
		snprintf(buf, size, "%s", pci_name(c->managed));
	mutex_unlock(&adp_lock);
}
