// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parameters of the module that each device can have its own value of: a list
 * of items with commas between them. VALUE is for all devices, and
 * [DOMAIN:]BUS:DEVICE.FUNCTION=VALUE for one managed function. Of several items
 * for one device the last counts.
 */
#include <linux/kernel.h>
#include <linux/pci.h>
#include <linux/string.h>

#include "adp.h"

#define ADP_ITEM_MAX		64

/* Words for the values, in the order of the enums. */
const char * const adp_mode_names[] = { "lazy", "strict", NULL };
const char * const adp_copy_names[] = { "auto", "never", "cold", "always", NULL };

/**
 * struct adp_item - one item of a list
 * @text: the item as it was written
 * @all: it is for all devices
 * @domain: the device's domain
 * @bus: bus
 * @devfn: device and function
 * @value: the value, as an index of the names
 */
struct adp_item {
	char text[ADP_ITEM_MAX];
	bool all;
	unsigned int domain;
	unsigned int bus;
	unsigned int devfn;
	unsigned int value;
};

static bool adp_item_address(struct adp_item *item, const char *text)
{
	unsigned int dev, fn;
	int end = -1;

	item->domain = 0;
	if (sscanf(text, "%8x:%2x:%2x.%1u%n", &item->domain, &item->bus, &dev,
		   &fn, &end) != 4 || text[end]) {
		item->domain = 0;
		end = -1;
		if (sscanf(text, "%2x:%2x.%1u%n", &item->bus, &dev, &fn,
			   &end) != 3 || text[end])
			return false;
	}
	if (dev > 0x1f || fn > 7)
		return false;
	item->devfn = PCI_DEVFN(dev, fn);
	return true;
}

/*
 * Take the next item off a list. Return: NULL; or what is wrong with it, and
 * @list is where it was.
 */
static const char *adp_item_next(const char **list, const char * const *names,
				 struct adp_item *item)
{
	size_t len = strchrnul(*list, ',') - *list;
	char *value;
	int i;

	strscpy(item->text, *list, min(len + 1, sizeof(item->text)));
	if (len >= sizeof(item->text))
		return "is too long";

	item->all = true;
	value = strchr(item->text, '=');
	if (value) {
		*value = '\0';
		item->all = false;
		i = adp_item_address(item, item->text);
		*value++ = '=';
		if (!i)
			return "has an address that is none";
	}
	for (i = 0; names[i] && strcmp(names[i], value ?: item->text); i++)
		;
	if (!names[i])
		return "is unknown";
	item->value = i;

	*list += len;
	*list = **list ? *list + 1 : NULL;
	return NULL;
}

/**
 * adp_param_check() - is a list right
 * @param: name of the parameter, for the message
 * @list: its value
 * @names: the words that are allowed, NULL is the last
 *
 * Return: 0, or -EINVAL after a message.
 */
int adp_param_check(const char *param, const char *list,
		    const char * const *names)
{
	struct adp_item item;
	char allowed[64];
	const char *why;
	size_t len = 0;
	int i;

	for (why = NULL; list && !why;)
		why = adp_item_next(&list, names, &item);
	if (!why)
		return 0;

	for (i = 0; names[i]; i++)
		len += scnprintf(allowed + len, sizeof(allowed) - len, "%s%s",
				 !i ? "" : names[i + 1] ? ", " : " or ",
				 names[i]);
	pr_err("apple_dma_pci: %s: '%s' %s; it is %s, or with the address of a managed function 0000:00:04.0=%s; commas are between items\n",
	       param, item.text, why, allowed, names[1]);
	return -EINVAL;
}

/**
 * adp_param_for() - what a list says about a device
 * @list: value of the parameter, checked
 * @names: the words that are allowed
 * @domain: the device's domain
 * @bus: bus
 * @devfn: device and function
 *
 * Return: an index of @names; 0 if the list does not say.
 */
unsigned int adp_param_for(const char *list, const char * const *names,
			   unsigned int domain, unsigned int bus,
			   unsigned int devfn)
{
	unsigned int all = 0, own = 0;
	struct adp_item item;
	bool found = false;

	while (list && !adp_item_next(&list, names, &item)) {
		if (item.all) {
			all = item.value;
		} else if (item.domain == domain && item.bus == bus &&
			   item.devfn == devfn) {
			own = item.value;
			found = true;
		}
	}
	return found ? own : all;
}
