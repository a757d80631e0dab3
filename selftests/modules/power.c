// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be mapped and unmapped while the companion sleeps. Whoever does it then
 * must sleep later and wake up earlier: a device that the companion is made to
 * depend on.
 */
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "adp_test.h"

#define ADP_DOZER	"adp_dozer"

/**
 * struct adp_doze - what is tried while the companion sleeps
 * @adp: the device that it maps for
 * @dozer: the device that sleeps longer
 * @link: makes it do so
 * @warm: mapped all the time
 * @held: mapped until the companion sleeps
 * @again: mapped while it does, of the memory of @warm
 * @cold: could be mapped before it sleeps, and after it
 * @nights: how often it has slept
 * @again_failed: @again could not be mapped
 * @again_moved: @again has another address than @warm
 * @cold_mapped: @cold, or @held after its unmap, could be mapped
 */
struct adp_doze {
	struct adp_dev *adp;
	struct platform_device *dozer;
	struct device_link *link;
	struct adp_map warm;
	struct adp_map held;
	struct adp_map again;
	struct adp_map cold;
	unsigned int nights;
	unsigned int again_failed;
	unsigned int again_moved;
	unsigned int cold_mapped;
};

static void adp_doze_refused(struct adp_doze *doze, struct adp_map *map)
{
	if (adp_map(doze->adp, map, ADP_PROCESS))
		return;
	doze->cold_mapped++;
	adp_unmap(doze->adp, map, ADP_PROCESS);
}

static void adp_doze_again(struct adp_doze *doze)
{
	if (adp_map(doze->adp, &doze->again, ADP_PROCESS)) {
		doze->again_failed++;
		return;
	}
	doze->again_moved += doze->again.dma != doze->warm.dma;
	adp_unmap(doze->adp, &doze->again, ADP_PROCESS);
}

/* The companion sleeps already. */
static int adp_doze_suspend(struct device *dev)
{
	struct adp_doze *doze = dev_get_drvdata(dev);

	adp_doze_again(doze);
	adp_doze_refused(doze, &doze->cold);
	if (doze->held.live)
		adp_unmap(doze->adp, &doze->held, ADP_PROCESS);
	adp_doze_refused(doze, &doze->held);
	return 0;
}

/* It sleeps still. */
static int adp_doze_resume(struct device *dev)
{
	struct adp_doze *doze = dev_get_drvdata(dev);

	doze->nights++;
	adp_doze_again(doze);
	adp_doze_refused(doze, &doze->cold);
	adp_doze_refused(doze, &doze->held);
	return 0;
}

static const struct dev_pm_ops adp_doze_pm_ops = {
	NOIRQ_SYSTEM_SLEEP_PM_OPS(adp_doze_suspend, adp_doze_resume)
};

static struct platform_driver adp_doze_driver = {
	.driver = {
		.name = ADP_DOZER,
		.pm = pm_sleep_ptr(&adp_doze_pm_ops),
	},
};

static int adp_doze_buffer(struct adp_map *map, u64 seed)
{
	map->len = ADP_HOST_PAGE;
	map->dir = DMA_TO_DEVICE;
	map->seed = seed;
	map->cpu = alloc_pages_exact(map->len, GFP_KERNEL);
	if (!map->cpu)
		return -ENOMEM;
	adp_fill(map->cpu, map->len, seed, 0);
	return 0;
}

static void adp_doze_free(struct adp_doze *doze, struct adp_map *map)
{
	if (map->live)
		adp_unmap(doze->adp, map, ADP_PROCESS);
	if (map->cpu)
		free_pages_exact(map->cpu, map->len);
}

/* Ends what doze_new began. */
void adp_doze_drop(struct adp_dev *adp)
{
	struct adp_doze *doze = adp->doze;

	if (!doze)
		return;
	if (doze->link)
		device_link_del(doze->link);
	if (doze->dozer)
		platform_device_unregister(doze->dozer);
	adp_doze_free(doze, &doze->warm);
	adp_doze_free(doze, &doze->held);
	adp_doze_free(doze, &doze->cold);
	kfree(doze);
	adp->doze = NULL;
}

/* Makes the companion a consumer of a device that we have. */
static int adp_doze_depend(struct adp_run *run, struct adp_doze *doze)
{
	unsigned int domain, bus, slot, func;
	struct pci_dev *companion;
	char bdf[16] = "";

	adp_word(run, "companion", bdf, sizeof(bdf));
	if (sscanf(bdf, "%x:%x:%x.%u", &domain, &bus, &slot, &func) != 4)
		return -EINVAL;
	companion = pci_get_domain_bus_and_slot(domain, bus,
						PCI_DEVFN(slot, func));
	if (!companion)
		return -ENODEV;

	doze->dozer = platform_device_alloc(ADP_DOZER, PLATFORM_DEVID_AUTO);
	if (doze->dozer) {
		platform_set_drvdata(doze->dozer, doze);
		if (platform_device_add(doze->dozer)) {
			platform_device_put(doze->dozer);
			doze->dozer = NULL;
		}
	}
	if (doze->dozer)
		doze->link = device_link_add(&companion->dev, &doze->dozer->dev,
					     DL_FLAG_STATELESS);
	pci_dev_put(companion);
	return doze->link ? 0 : -ENOMEM;
}

/* doze_new companion=BDF: gets ready for its sleep. */
static void adp_case_doze_new(struct adp_run *run)
{
	struct adp_doze *doze;
	int ret;

	adp_doze_drop(run->adp);
	doze = kzalloc(sizeof(*doze), GFP_KERNEL);
	if (!doze) {
		adp_fail(run, "no memory");
		return;
	}
	doze->adp = run->adp;
	run->adp->doze = doze;
	if (adp_doze_buffer(&doze->warm, run->seed) ||
	    adp_doze_buffer(&doze->held, run->seed + 1) ||
	    adp_doze_buffer(&doze->cold, run->seed + 2)) {
		adp_fail(run, "no memory");
		return;
	}
	doze->again = doze->warm;

	if (!adp_expect(run, !adp_map(run->adp, &doze->cold, ADP_PROCESS),
			"the memory that is to stay out cannot be mapped at all"))
		return;
	adp_unmap(run->adp, &doze->cold, ADP_PROCESS);
	if (!adp_expect(run, !adp_map(run->adp, &doze->warm, ADP_PROCESS) &&
			!adp_map(run->adp, &doze->held, ADP_PROCESS),
			"the memory that is to stay in cannot be mapped"))
		return;
	ret = adp_doze_depend(run, doze);
	adp_expect(run, !ret, "the companion cannot be made a consumer: %d", ret);
}

/* doze_check nights=N: what was seen. */
static void adp_case_doze_check(struct adp_run *run)
{
	struct adp_doze *doze = run->adp->doze;
	u64 nights = adp_arg(run, "nights", 1);

	if (!adp_expect(run, doze, "doze_new comes first"))
		return;
	adp_expect(run, doze->nights == nights,
		   "it has slept %u times instead of %llu", doze->nights, nights);
	adp_expect(run, !doze->again_failed,
		   "what was mapped could not be mapped again %u times",
		   doze->again_failed);
	adp_expect(run, !doze->again_moved,
		   "what was mapped was elsewhere %u times", doze->again_moved);
	adp_expect(run, !doze->cold_mapped,
		   "what was not mapped was mapped %u times in its sleep",
		   doze->cold_mapped);
	adp_dev_holds(run, doze->warm.dma, doze->warm.len, doze->warm.seed, 0);
	if (!adp_expect(run, !adp_map(run->adp, &doze->cold, ADP_PROCESS),
			"it cannot be mapped after its sleep either"))
		return;
	adp_dev_holds(run, doze->cold.dma, doze->cold.len, doze->cold.seed, 0);
	adp_unmap(run->adp, &doze->cold, ADP_PROCESS);
	if (!doze->held.live)
		adp_expect(run, !adp_map(run->adp, &doze->held, ADP_PROCESS),
			   "what was unmapped in its sleep cannot be mapped again");
}

static void adp_case_doze_free(struct adp_run *run)
{
	adp_doze_drop(run->adp);
}

/* Drivers of devices of our own. */
int adp_doze_init(void)
{
	return platform_driver_register(&adp_doze_driver);
}

void adp_doze_exit(void)
{
	platform_driver_unregister(&adp_doze_driver);
}

const struct adp_case adp_power_cases[] = {
	{ "doze_new", adp_case_doze_new },
	{ "doze_check", adp_case_doze_check },
	{ "doze_free", adp_case_doze_free },
	{ }
};
