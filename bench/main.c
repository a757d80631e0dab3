// SPDX-License-Identifier: GPL-2.0-only
/*
 * A benchmark of the DMA API, for any PCI function: it has no IDs of its own
 * and is bound by driver_override. The device itself is never told to do DMA.
 *
 * In debugfs, adp_bench/<bdf>/run takes
 *
 *	WORKLOAD [key=value]...		run it: the following three
 *	setup WORKLOAD [key=value]...	allocate, warm up
 *	go				the timed part, as often as one likes
 *	drop				unmap, free
 *
 * and adp_bench/<bdf>/result has "key=value" lines about the last one. Between
 * the parts the caller can read the counters of whatever maps.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "adp_bench.h"

static struct dentry *adp_bench_root;

/**
 * adp_bench_arg() - the number behind "key=", which may end in K, M or G
 * @b: device under test
 * @key: key
 * @def: what it is if it was not given
 * @min: the least that makes sense
 * @max: the most
 *
 * Return: the number; what makes no sense is logged, and fails the command.
 */
u64 adp_bench_arg(struct adp_bench *b, const char *key, u64 def, u64 min,
		  u64 max)
{
	unsigned int i;

	for (i = 0; i < b->args; i++) {
		struct adp_bench_arg *arg = &b->arg[i];
		char *end;
		u64 value;

		if (strcmp(arg->key, key))
			continue;
		arg->used = true;
		value = memparse(arg->value, &end);
		if (end == arg->value || *end || value < min || value > max) {
			dev_err(b->dev, "adp_bench: %s=%s: give a number from %llu to %llu\n",
				key, arg->value, min, max);
			b->bad = true;
			return def;
		}
		return value;
	}
	return def;
}

/**
 * adp_bench_fact() - put a line into the result
 * @b: device under test
 * @name: key
 * @value: value
 */
void adp_bench_fact(struct adp_bench *b, const char *name, u64 value)
{
	b->len += scnprintf(b->result + b->len, sizeof(b->result) - b->len,
			    "%s=%llu\n", name, value);
}

/**
 * adp_bench_below() - a random number
 * @b: device under test
 * @limit: more than that
 *
 * Return: a number from 0 to @limit - 1.
 */
u32 adp_bench_below(struct adp_bench *b, u32 limit)
{
	return (u64)prandom_u32_state(&b->rnd) * limit >> 32;
}

/**
 * adp_bench_rest() - let others run
 *
 * Return: -EINTR if the user has had enough, else 0.
 */
int adp_bench_rest(void)
{
	cond_resched();
	return signal_pending(current) ? -EINTR : 0;
}

static const struct adp_bench_work *adp_bench_find(const char *name)
{
	static const struct adp_bench_work * const all[] = {
		adp_bench_stream, adp_bench_budget, adp_bench_layout,
	};
	const struct adp_bench_work *work;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++)
		for (work = all[i]; work->name; work++)
			if (!strcmp(work->name, name))
				return work;
	return NULL;
}

static void adp_bench_drop(struct adp_bench *b)
{
	if (!b->work)
		return;
	b->work->drop(b);
	b->work = NULL;
	b->data = NULL;
}

/* Cut the line into arguments. */
static int adp_bench_parse(struct adp_bench *b, char *line)
{
	char *word;

	b->args = 0;
	b->bad = false;
	while ((word = strsep(&line, " \t"))) {
		char *value = strchr(word, '=');

		if (!*word)
			continue;
		if (!value || b->args == ADP_BENCH_ARGS) {
			dev_err(b->dev, "adp_bench: '%s': give at most %u arguments, key=value each\n",
				word, ADP_BENCH_ARGS);
			return -EINVAL;
		}
		*value++ = '\0';
		b->arg[b->args].key = word;
		b->arg[b->args].value = value;
		b->arg[b->args++].used = false;
	}
	return 0;
}

static int adp_bench_setup(struct adp_bench *b, char *line)
{
	const struct adp_bench_work *work;
	char *name = strsep(&line, " \t");
	unsigned int i;
	int err;

	work = adp_bench_find(name);
	if (!work) {
		dev_err(b->dev, "adp_bench: there is no workload '%s'\n", name);
		return -ENOENT;
	}
	err = adp_bench_parse(b, line);
	if (err)
		return err;

	prandom_seed_state(&b->rnd, adp_bench_arg(b, "seed", 1, 0, U64_MAX));
	err = work->setup(b);
	if (err) {
		if (err == -ENOMEM)
			dev_err(b->dev, "adp_bench: no memory for %s: give the VM more, or the workload less\n",
				name);
		return err;
	}
	b->work = work;

	for (i = 0; i < b->args; i++) {
		if (b->arg[i].used)
			continue;
		dev_err(b->dev, "adp_bench: %s has no argument '%s'\n", name,
			b->arg[i].key);
		b->bad = true;
	}
	if (b->bad) {
		adp_bench_drop(b);
		return -EINVAL;
	}
	return 0;
}

static int adp_bench_command(struct adp_bench *b)
{
	char *line = strim(b->line);
	int err;

	if (!strcmp(line, "drop")) {
		adp_bench_drop(b);
		return 0;
	}
	if (!strcmp(line, "go"))
		return b->work ? b->work->go(b) : -ENXIO;

	adp_bench_drop(b);
	if (!strncmp(line, "setup ", 6))
		return adp_bench_setup(b, skip_spaces(line + 6));
	err = adp_bench_setup(b, line);
	if (!err)
		err = b->work->go(b);
	adp_bench_drop(b);
	return err;
}

static ssize_t adp_bench_run_write(struct file *file, const char __user *user,
				   size_t count, loff_t *pos)
{
	struct adp_bench *b = file->private_data;
	int err;

	if (count >= sizeof(b->line))
		return -E2BIG;
	err = mutex_lock_interruptible(&b->lock);
	if (err)
		return err;
	if (copy_from_user(b->line, user, count)) {
		err = -EFAULT;
		goto out;
	}
	b->line[count] = '\0';
	b->len = 0;
	b->result[0] = '\0';
	err = adp_bench_command(b);
out:
	mutex_unlock(&b->lock);
	return err ? err : count;
}

static const struct file_operations adp_bench_run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = adp_bench_run_write,
	.llseek = default_llseek,
};

static ssize_t adp_bench_result_read(struct file *file, char __user *user,
				     size_t count, loff_t *pos)
{
	struct adp_bench *b = file->private_data;
	ssize_t ret;

	ret = mutex_lock_interruptible(&b->lock);
	if (ret)
		return ret;
	ret = simple_read_from_buffer(user, count, pos, b->result, b->len);
	mutex_unlock(&b->lock);
	return ret;
}

static const struct file_operations adp_bench_result_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = adp_bench_result_read,
	.llseek = default_llseek,
};

static int adp_bench_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct adp_bench *b;
	int err;

	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);

	b = kvzalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return -ENOMEM;
	b->pdev = pdev;
	b->dev = &pdev->dev;
	mutex_init(&b->lock);
	pci_set_drvdata(pdev, b);

	b->dir = debugfs_create_dir(pci_name(pdev), adp_bench_root);
	debugfs_create_file("run", 0200, b->dir, b, &adp_bench_run_fops);
	debugfs_create_file("result", 0400, b->dir, b, &adp_bench_result_fops);
	return 0;
}

static void adp_bench_remove(struct pci_dev *pdev)
{
	struct adp_bench *b = pci_get_drvdata(pdev);

	debugfs_remove_recursive(b->dir);
	adp_bench_drop(b);
	mutex_destroy(&b->lock);
	kvfree(b);
}

static const struct pci_device_id adp_bench_ids[] = {
	{ }
};

static struct pci_driver adp_bench_driver = {
	.name = "adp_bench",
	.id_table = adp_bench_ids,
	.probe = adp_bench_probe,
	.remove = adp_bench_remove,
};

static int __init adp_bench_init(void)
{
	int err;

	adp_bench_root = debugfs_create_dir("adp_bench", NULL);
	err = pci_register_driver(&adp_bench_driver);
	if (err)
		debugfs_remove_recursive(adp_bench_root);
	return err;
}
module_init(adp_bench_init);

static void __exit adp_bench_exit(void)
{
	pci_unregister_driver(&adp_bench_driver);
	debugfs_remove_recursive(adp_bench_root);
}
module_exit(adp_bench_exit);

MODULE_DESCRIPTION("Benchmark of the DMA API");
MODULE_LICENSE("GPL");
