// SPDX-License-Identifier: GPL-2.0-only
/*
 * What people look at: debugfs, sysfs, the totals in the log, the tracepoints.
 */
#include <linux/debugfs.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>

#include "adp.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static struct dentry *adp_debugfs;

/**
 * adp_stats_init() - make the module's directory in debugfs
 */
void adp_stats_init(void)
{
	adp_debugfs = debugfs_create_dir("apple_dma_pci", NULL);
}

/**
 * adp_stats_exit() - undo adp_stats_init()
 */
void adp_stats_exit(void)
{
	debugfs_remove(adp_debugfs);
}

static struct adp_stats adp_stats_read(struct adp_companion *c)
{
	struct adp_stats st;
	unsigned long flags;

	spin_lock_irqsave(&c->windows.lock, flags);
	st = c->stats;
	spin_unlock_irqrestore(&c->windows.lock, flags);
	return st;
}

static struct adp_op_stats adp_op_stats_read(struct adp_companion *c)
{
	struct adp_op_stats sum = {};
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct adp_op_stats *st = per_cpu_ptr(c->op_stats, cpu);

		sum.map_ops += st->map_ops;
		sum.sg_lists += st->sg_lists;
		sum.sg_entries += st->sg_entries;
		sum.bounced += st->bounced;
		sum.congruent += st->congruent;
		sum.incongruent += st->incongruent;
		sum.copied += st->copied;
		sum.map_failures += st->map_failures;
		sum.bad_unmaps += st->bad_unmaps;
	}
	return sum;
}

/* What it takes to serve the function, apart from the memory it is served with. */
static size_t adp_memory(struct adp_companion *c)
{
	return sizeof(*c) + num_possible_cpus() * sizeof(*c->op_stats) +
	       sizeof(*c->ch.cmd) + c->ch.req_bytes + c->ch.resp_bytes +
	       (c->left.marker ? PAGE_ALIGN(ADP_HOST_PAGE) : 0) +
	       READ_ONCE(c->windows.memory);
}

static int adp_stats_show(struct seq_file *m, void *unused)
{
	struct adp_companion *c = m->private;
	struct adp_stats st = adp_stats_read(c);
	struct adp_op_stats op = adp_op_stats_read(c);

	seq_printf(m, "doorbells %llu\n", st.doorbells);
	seq_printf(m, "map_entries %llu\n", st.map_entries);
	seq_printf(m, "unmap_entries %llu\n", st.unmap_entries);
	seq_printf(m, "refused_maps %llu\n", st.refused_maps);
	seq_printf(m, "refused_unmaps %llu\n", st.refused_unmaps);
	seq_printf(m, "live_mappings %llu\n", st.live_mappings);
	seq_printf(m, "live_bytes %llu\n", st.live_bytes);
	seq_printf(m, "peak_mappings %llu\n", st.peak_mappings);
	seq_printf(m, "peak_bytes %llu\n", st.peak_bytes);
	seq_printf(m, "budget_mappings %llu\n",
		   READ_ONCE(c->windows.max_mappings));
	seq_printf(m, "budget_bytes %llu\n", READ_ONCE(c->windows.max_bytes));
	seq_printf(m, "reclaimed %llu\n", st.reclaimed);
	seq_printf(m, "aged %llu\n", st.aged);
	seq_printf(m, "retries %llu\n", st.retries);
	seq_printf(m, "quarantined %llu\n", st.quarantined);
	seq_printf(m, "coherent_bytes %llu\n", st.coherent_bytes);
	seq_printf(m, "searched %llu\n", st.searched);
	seq_printf(m, "recovered %llu\n", st.recovered);
	seq_printf(m, "map_ops %llu\n", op.map_ops);
	seq_printf(m, "sg_lists %llu\n", op.sg_lists);
	seq_printf(m, "sg_entries %llu\n", op.sg_entries);
	seq_printf(m, "bounced %llu\n", op.bounced);
	seq_printf(m, "congruent %llu\n", op.congruent);
	seq_printf(m, "incongruent %llu\n", op.incongruent);
	seq_printf(m, "copied %llu\n", op.copied);
	seq_printf(m, "copy_bytes %llu\n", adp_copy_bytes(&c->copies));
	seq_printf(m, "map_failures %llu\n", op.map_failures);
	seq_printf(m, "bad_unmaps %llu\n", op.bad_unmaps);
	seq_printf(m, "memory_bytes %zu\n", adp_memory(c));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(adp_stats);

static int adp_state_show(struct seq_file *m, void *unused)
{
	struct adp_companion *c = m->private;

	if (READ_ONCE(c->ch.broken))
		seq_printf(m, "broken: %s\n", c->ch.why);
	else
		seq_puts(m, "ready\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(adp_state);

static int adp_managed_show(struct seq_file *m, void *unused)
{
	char words[80];

	adp_claim_describe(m->private, words, sizeof(words));
	seq_printf(m, "%s\n", words);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(adp_managed);

static int adp_layout_show(struct seq_file *m, void *unused)
{
	struct adp_companion *c = m->private;

	seq_puts(m, c->ch.layout == ADP_LAYOUT_WIDE ? "wide\n" : "narrow\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(adp_layout);

static const char *adp_mode_name(struct adp_companion *c)
{
	return adp_mode_names[READ_ONCE(c->windows.lazy) ? ADP_MODE_LAZY :
			      ADP_MODE_STRICT];
}

static int adp_mode_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%s\n", adp_mode_name(m->private));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(adp_mode);

static ssize_t mode_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n", adp_mode_name(dev_get_drvdata(dev)));
}

/* What a write to sysfs says in the log and to the writer. */
static ssize_t adp_stored(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count, int err)
{
	if (err == -EBUSY)
		dev_err(dev, "%s cannot change while the managed function has a driver; unbind it first\n",
			attr->attr.name);
	else if (err)
		dev_err(dev, "%s: '%.*s' is unknown; the value stays as it is\n",
			attr->attr.name, (int)min_t(size_t, strcspn(buf, "\n"), 32),
			buf);
	return err ?: count;
}

static ssize_t mode_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	int err = __sysfs_match_string(adp_mode_names, -1, buf);

	if (err >= 0)
		err = adp_claim_set_mode(dev_get_drvdata(dev), err);
	return adp_stored(dev, attr, buf, count, err);
}
static DEVICE_ATTR_RW(mode);

static ssize_t copy_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	struct adp_companion *c = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%s\n", adp_copy_names[READ_ONCE(c->choice)]);
}

static ssize_t copy_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	int err = __sysfs_match_string(adp_copy_names, -1, buf);

	if (err >= 0)
		err = adp_claim_set_copy(dev_get_drvdata(dev), err);
	return adp_stored(dev, attr, buf, count, err);
}
static DEVICE_ATTR_RW(copy);

static struct attribute *adp_attrs[] = {
	&dev_attr_mode.attr,
	&dev_attr_copy.attr,
	NULL
};

static const struct attribute_group adp_group = {
	.name = "apple_dma_pci",
	.attrs = adp_attrs,
};

/* In sysfs, in the directory of a companion. */
const struct attribute_group *adp_groups[] = {
	&adp_group,
	NULL
};

/**
 * adp_stats_add() - show a companion in debugfs
 * @c: companion, set up
 */
void adp_stats_add(struct adp_companion *c)
{
	c->debugfs = debugfs_create_dir(pci_name(c->pdev), adp_debugfs);
	debugfs_create_file("stats", 0444, c->debugfs, c, &adp_stats_fops);
	debugfs_create_file("state", 0444, c->debugfs, c, &adp_state_fops);
	debugfs_create_file("managed", 0444, c->debugfs, c, &adp_managed_fops);
	debugfs_create_file("mode", 0444, c->debugfs, c, &adp_mode_fops);
	debugfs_create_file("layout", 0444, c->debugfs, c, &adp_layout_fops);
}

/**
 * adp_stats_remove() - undo adp_stats_add()
 * @c: companion
 */
void adp_stats_remove(struct adp_companion *c)
{
	debugfs_remove_recursive(c->debugfs);
}

/**
 * adp_stats_totals() - log what the channel has done
 * @c: companion that is being let go
 */
void adp_stats_totals(struct adp_companion *c)
{
	struct adp_stats st = adp_stats_read(c);

	pci_info(c->pdev,
		 "totals: doorbells=%llu map_entries=%llu unmap_entries=%llu refused_maps=%llu refused_unmaps=%llu live_mappings=%llu live_bytes=%llu peak_mappings=%llu peak_bytes=%llu searched=%llu recovered=%llu\n",
		 st.doorbells, st.map_entries, st.unmap_entries,
		 st.refused_maps, st.refused_unmaps, st.live_mappings,
		 st.live_bytes, st.peak_mappings, st.peak_bytes, st.searched,
		 st.recovered);
}
