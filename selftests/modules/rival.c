// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a function of the kernel as a livepatch would, and changes nothing: who
 * wants it too is refused.
 */
#include <linux/ftrace.h>
#include <linux/module.h>

static char *function = "dma_map_sg_attrs";
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "the function that is taken");

static void notrace adp_rival_called(unsigned long ip, unsigned long parent_ip,
				     struct ftrace_ops *ops,
				     struct ftrace_regs *fregs)
{
}

static struct ftrace_ops adp_rival_ops = {
	.func = adp_rival_called,
	.flags = FTRACE_OPS_FL_IPMODIFY,
};

static int __init adp_rival_init(void)
{
	int err = ftrace_set_filter(&adp_rival_ops, function, strlen(function), 1);

	if (!err)
		err = register_ftrace_function(&adp_rival_ops);
	if (err)
		ftrace_free_filter(&adp_rival_ops);
	return err;
}

static void __exit adp_rival_exit(void)
{
	unregister_ftrace_function(&adp_rival_ops);
	ftrace_free_filter(&adp_rival_ops);
}

module_init(adp_rival_init);
module_exit(adp_rival_exit);

MODULE_DESCRIPTION("Tests of apple_dma_pci: somebody else's hook");
MODULE_LICENSE("GPL");
