// SPDX-License-Identifier: GPL-2.0-only
/*
 * What people look at: debugfs, the totals in the log, the tracepoints.
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
	seq_printf(m, "reclaimed %llu\n", st.reclaimed);
	seq_printf(m, "aged %llu\n", st.aged);
	seq_printf(m, "retries %llu\n", st.retries);
	seq_printf(m, "quarantined %llu\n", st.quarantined);
	seq_printf(m, "coherent_bytes %llu\n", st.coherent_bytes);
	seq_printf(m, "map_ops %llu\n", op.map_ops);
	seq_printf(m, "sg_lists %llu\n", op.sg_lists);
	seq_printf(m, "sg_entries %llu\n", op.sg_entries);
	seq_printf(m, "bounced %llu\n", op.bounced);
	seq_printf(m, "congruent %llu\n", op.congruent);
	seq_printf(m, "incongruent %llu\n", op.incongruent);
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

static int adp_mode_show(struct seq_file *m, void *unused)
{
	struct adp_companion *c = m->private;

	seq_puts(m, READ_ONCE(c->windows.lazy) ? "lazy\n" : "strict\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(adp_mode);

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
		 "totals: doorbells=%llu map_entries=%llu unmap_entries=%llu refused_maps=%llu refused_unmaps=%llu live_mappings=%llu live_bytes=%llu peak_mappings=%llu peak_bytes=%llu\n",
		 st.doorbells, st.map_entries, st.unmap_entries,
		 st.refused_maps, st.refused_unmaps, st.live_mappings,
		 st.live_bytes, st.peak_mappings, st.peak_bytes);
}
