// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test cases for the DMA API, run against QEMU's educational device, whose DMA
 * engine proves where every address leads.
 *
 * In debugfs, adp_test/<bdf>/run takes "case key=value ..." and runs the case;
 * adp_test/<bdf>/result then has "# message" and "name=value" lines, and
 * "ok case", "not ok case" or "skip case" as its last.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "adp_test.h"

#define ADP_VENDOR_ID	0x1234
#define ADP_DEVICE_ID	0x11e8

static struct dentry *adp_root;

static __printf(3, 0) void adp_vsay(struct adp_run *run, const char *prefix,
				    const char *fmt, va_list args)
{
	char *result = run->adp->result;
	size_t room = ADP_RESULT_SIZE;

	/* One line too long loses its end, the others are lost as a whole. */
	if (run->len + 320 > room)
		return;

	run->len += scnprintf(result + run->len, room - run->len, "%s", prefix);
	run->len += vscnprintf(result + run->len, 240, fmt, args);
	run->len += scnprintf(result + run->len, room - run->len, "\n");
}

/* Puts a line for people into the result. */
void adp_say(struct adp_run *run, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	adp_vsay(run, "# ", fmt, args);
	va_end(args);
}

/* A function that was taken from its driver reads and writes nothing any more. */
static bool adp_taken_away(struct adp_dev *adp)
{
	u16 command = 0;

	pci_read_config_word(adp->pdev, PCI_COMMAND, &command);
	return !(command & PCI_COMMAND_MASTER) ||
	       pci_channel_offline(adp->pdev);
}

/* Fails the case, which goes on. */
void adp_fail(struct adp_run *run, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	if (adp_taken_away(run->adp)) {
		adp_skip(run, "the function has been taken away");
		return;
	}
	va_start(args, fmt);
	adp_vsay(run, "# FAIL: ", fmt, args);
	va_end(args);
	/* The device, and with it the result, may go before anybody reads that. */
	if (run->failures++)
		return;
	va_start(args, fmt);
	vaf.va = &args;
	dev_notice(run->adp->dev, "%s: %pV\n", run->name, &vaf);
	va_end(args);
}

/* Says why the case cannot run here. */
void adp_skip(struct adp_run *run, const char *fmt, ...)
{
	va_list args;

	run->skipped = true;
	va_start(args, fmt);
	adp_vsay(run, "# SKIP: ", fmt, args);
	va_end(args);
}

/* Puts a "name=value" line into the result, for the script that asked. */
void adp_fact(struct adp_run *run, const char *name, u64 value)
{
	if (run->len + 320 > ADP_RESULT_SIZE)
		return;

	run->len += scnprintf(run->adp->result + run->len,
			      ADP_RESULT_SIZE - run->len, "%s=%llu\n", name,
			      value);
}

/* The word behind "key=". */
bool adp_word(struct adp_run *run, const char *key, char *buf, size_t size)
{
	size_t n = strlen(key);
	const char *p = run->args;

	while (*p) {
		const char *end = strchrnul(p, ' ');

		if (!strncmp(p, key, n) && p[n] == '=') {
			size_t len = min_t(size_t, end - p - n - 1, size - 1);

			memcpy(buf, p + n + 1, len);
			buf[len] = '\0';
			return true;
		}
		p = *end ? end + 1 : end;
	}
	return false;
}

/* The number behind "key=", or @def; a word that is no number is a failure. */
u64 adp_arg(struct adp_run *run, const char *key, u64 def)
{
	char word[32];
	u64 value;

	if (!adp_word(run, key, word, sizeof(word)))
		return def;
	if (kstrtou64(word, 0, &value)) {
		adp_fail(run, "%s=%s is not a number", key, word);
		return def;
	}
	return value;
}

enum adp_ctx adp_arg_ctx(struct adp_run *run)
{
	char word[16];
	enum adp_ctx ctx;

	if (!adp_word(run, "ctx", word, sizeof(word)))
		return ADP_PROCESS;
	for (ctx = 0; ctx < ADP_NR_CTX; ctx++)
		if (!strcmp(word, adp_ctx_name(ctx)))
			return ctx;
	adp_fail(run, "ctx=%s is unknown", word);
	return ADP_PROCESS;
}

enum dma_data_direction adp_arg_dir(struct adp_run *run,
				    enum dma_data_direction def)
{
	char word[16];

	if (!adp_word(run, "dir", word, sizeof(word)))
		return def;
	if (!strcmp(word, "to"))
		return DMA_TO_DEVICE;
	if (!strcmp(word, "from"))
		return DMA_FROM_DEVICE;
	if (!strcmp(word, "both"))
		return DMA_BIDIRECTIONAL;
	adp_fail(run, "dir=%s is unknown", word);
	return def;
}

/* A random number below @limit. */
u32 adp_below(struct adp_run *run, u32 limit)
{
	return limit ? (u64)prandom_u32_state(&run->rnd) * limit >> 32 : 0;
}

u64 adp_rnd64(struct adp_run *run)
{
	return (u64)prandom_u32_state(&run->rnd) << 32 |
	       prandom_u32_state(&run->rnd);
}

static const struct adp_case *adp_find(const char *name)
{
	static const struct adp_case * const all[] = {
		adp_misc_cases, adp_stream_cases, adp_copy_cases,
		adp_sg_cases, adp_alloc_cases, adp_soak_cases,
		adp_power_cases, adp_plug_cases,
	};
	const struct adp_case *c;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++)
		for (c = all[i]; c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	return NULL;
}

static int adp_execute(struct adp_dev *adp, char *line)
{
	struct adp_run run = { .adp = adp };
	const struct adp_case *c;
	const char *verdict;
	char *name;

	strim(line);
	name = strsep(&line, " ");
	c = adp_find(name);
	if (!c)
		return -ENOENT;

	run.name = c->name;
	run.args = line ? line : "";
	run.seed = adp_arg(&run, "seed", get_random_u32());
	prandom_seed_state(&run.rnd, run.seed);
	adp_say(&run, "%s %s seed=%llu", run.name, run.args, run.seed);

	c->fn(&run);

	/* adp_vsay() and adp_fact() leave room for the verdict. */
	verdict = run.failures ? "not ok" : run.skipped ? "skip" : "ok";
	scnprintf(adp->result + run.len, ADP_RESULT_SIZE - run.len, "%s %s\n",
		  verdict, c->name);
	if (run.failures)
		dev_notice(adp->dev, "case failed: %s %s seed=%llu\n", run.name,
			   run.args, run.seed);
	return 0;
}

static ssize_t adp_run_write(struct file *file, const char __user *user,
			     size_t count, loff_t *pos)
{
	struct adp_dev *adp = file->private_data;
	char line[ADP_ARGS_SIZE];
	int ret;

	if (count >= sizeof(line))
		return -E2BIG;
	if (copy_from_user(line, user, count))
		return -EFAULT;
	line[count] = '\0';

	ret = mutex_lock_interruptible(&adp->run);
	if (ret)
		return ret;
	adp->result[0] = '\0';
	ret = adp_execute(adp, line);
	mutex_unlock(&adp->run);
	return ret ? ret : count;
}

static const struct file_operations adp_run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = adp_run_write,
	.llseek = default_llseek,
};

static ssize_t adp_result_read(struct file *file, char __user *user,
			       size_t count, loff_t *pos)
{
	struct adp_dev *adp = file->private_data;
	char *said;
	ssize_t ret;

	ret = mutex_lock_interruptible(&adp->run);
	if (ret)
		return ret;
	said = kstrdup(adp->result, GFP_KERNEL);
	mutex_unlock(&adp->run);
	if (!said)
		return -ENOMEM;
	/* A fault takes locks inside of which mmap() takes the one above. */
	ret = simple_read_from_buffer(user, count, pos, said, strlen(said));
	kfree(said);
	return ret;
}

static const struct file_operations adp_result_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = adp_result_read,
	.llseek = default_llseek,
};

static int adp_misc_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct adp_dev *adp = container_of(file->private_data, struct adp_dev,
					   misc);
	int ret;

	ret = mutex_lock_interruptible(&adp->run);
	if (ret)
		return ret;
	ret = adp->buf.cpu ? adp_buf_mmap(adp, &adp->buf, vma) : -ENXIO;
	mutex_unlock(&adp->run);
	return ret;
}

static const struct file_operations adp_misc_fops = {
	.owner = THIS_MODULE,
	.mmap = adp_misc_mmap,
};

static int adp_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct adp_dev *adp;
	int ret;

	adp = devm_kzalloc(dev, sizeof(*adp), GFP_KERNEL);
	if (!adp)
		return -ENOMEM;
	adp->result = devm_kzalloc(dev, ADP_RESULT_SIZE, GFP_KERNEL);
	if (!adp->result)
		return -ENOMEM;

	adp->pdev = pdev;
	adp->dev = dev;
	mutex_init(&adp->engine);
	mutex_init(&adp->run);
	pci_set_drvdata(pdev, adp);

	ret = pci_enable_device(pdev);
	if (ret)
		return ret;
	ret = pci_request_regions(pdev, "adp_test");
	if (ret)
		goto err_disable;
	adp->bar = pci_iomap(pdev, 0, 0);
	if (!adp->bar) {
		ret = -ENOMEM;
		goto err_regions;
	}
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		goto err_unmap;
	dma_set_max_seg_size(dev, UINT_MAX);
	pci_set_master(pdev);

	ret = adp_edu_init(adp);
	if (ret)
		goto err_master;

	adp->misc.minor = MISC_DYNAMIC_MINOR;
	adp->misc.fops = &adp_misc_fops;
	adp->misc.parent = dev;
	adp->misc.name = devm_kasprintf(dev, GFP_KERNEL, "adp_test-%s",
					pci_name(pdev));
	if (!adp->misc.name) {
		ret = -ENOMEM;
		goto err_edu;
	}
	ret = misc_register(&adp->misc);
	if (ret)
		goto err_edu;

	adp->dir = debugfs_create_dir(pci_name(pdev), adp_root);
	debugfs_create_file("run", 0200, adp->dir, adp, &adp_run_fops);
	debugfs_create_file("result", 0400, adp->dir, adp, &adp_result_fops);
	return 0;

err_edu:
	adp_edu_exit(adp);
err_master:
	pci_clear_master(pdev);
err_unmap:
	pci_iounmap(pdev, adp->bar);
err_regions:
	pci_release_regions(pdev);
err_disable:
	pci_disable_device(pdev);
	return ret;
}

static void adp_remove(struct pci_dev *pdev)
{
	struct adp_dev *adp = pci_get_drvdata(pdev);

	debugfs_remove_recursive(adp->dir);
	misc_deregister(&adp->misc);
	adp_doze_drop(adp);
	adp_plug_drop(adp);
	adp_list_drop(adp);
	adp_set_drop(adp);
	adp_buf_free(adp, &adp->buf, ADP_PROCESS);
	adp_edu_exit(adp);
	pci_clear_master(pdev);
	pci_iounmap(pdev, adp->bar);
	pci_release_regions(pdev);
	pci_disable_device(pdev);
}

/* A device that is shut down with the machine leaves nothing mapped either. */
static void adp_shutdown(struct pci_dev *pdev)
{
	if (pci_get_drvdata(pdev))
		adp_remove(pdev);
}

static const struct pci_device_id adp_ids[] = {
	{ PCI_DEVICE(ADP_VENDOR_ID, ADP_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, adp_ids);

static struct pci_driver adp_driver = {
	.name = "adp_test",
	.id_table = adp_ids,
	.probe = adp_probe,
	.remove = adp_remove,
	.shutdown = adp_shutdown,
};

static int __init adp_init(void)
{
	int ret;

	ret = adp_doze_init();
	if (ret)
		return ret;
	adp_root = debugfs_create_dir("adp_test", NULL);
	ret = pci_register_driver(&adp_driver);
	if (ret) {
		debugfs_remove_recursive(adp_root);
		adp_doze_exit();
	}
	return ret;
}
module_init(adp_init);

static void __exit adp_exit(void)
{
	pci_unregister_driver(&adp_driver);
	debugfs_remove_recursive(adp_root);
	adp_doze_exit();
}
module_exit(adp_exit);

MODULE_DESCRIPTION("DMA API test cases for QEMU's educational device");
MODULE_LICENSE("GPL");
