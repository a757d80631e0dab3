#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Finds out what the kernel headers offer by compiling, not by their version:
# distributions backport, and version numbers then lie.
#
#   probe.sh OUTPUT CC [FLAG...]
#
# Writes one ADP_HAVE_* macro per feature found. A difference that exists in
# two forms is probed in both; if neither compiles the probe cannot tell, and
# the build stops here instead of in the middle of a source file.

set -u

out=$1
shift

die()
{
	echo "apple_dma_pci: $*" >&2
	rm -f "$out" "$out.log"
	exit 1
}

# compiles SNIPPET CC [FLAG...]: is it valid in a module for this kernel?
compiles()
{
	snippet=$1
	shift
	printf '%s\n' '#include <linux/module.h>' '#include <linux/device.h>' \
		'#include <linux/dma-map-ops.h>' "$snippet" |
		"$@" -w -fsyntax-only -x c - 2>"$out.log"
}

# external FUNCTION CC [FLAG...]: is there such a function of the DMA API, and no inline?
external()
{
	name=$1
	shift
	compiles "#include <linux/dma-mapping.h>
typeof($name) *probe_function;" "$@" &&
		! compiles "#include <linux/dma-mapping.h>
static typeof($name) $name;" "$@"
}

# declared HEADER FUNCTION CC [FLAG...]: calling what is not would only be a warning.
declared()
{
	declared=$2
	header=$1
	shift 2
	compiles "#include <linux/$header>
typeof($declared) *probe_function;" "$@"
}

# member STRUCT MEMBER: the snippet that is valid if the struct has the member
member()
{
	echo "typeof(((struct $1 *)0)->$2) probe_member;"
}

: >"$out" || die "cannot write $out"

compiles 'int probe_control;' "$@" || {
	cat "$out.log" >&2
	die "the kernel headers do not compile (above); install those of the kernel you build for"
}
if compiles "$(member device no_such_member)" "$@"; then
	die "the compiler accepts anything ($1); the kernel cannot be probed"
fi

if compiles '#include <linux/unaligned.h>' "$@"; then
	echo '#define ADP_HAVE_LINUX_UNALIGNED_H 1' >>"$out"
fi

# bit-fields have no typeof
if compiles 'void probe_flag(struct device *d) { d->dma_iommu = false; }' "$@"; then
	echo '#define ADP_HAVE_DEV_DMA_IOMMU 1' >>"$out"
elif declared device.h dev_clear_dma_iommu "$@"; then
	echo '#define ADP_HAVE_DEV_CLEAR_DMA_IOMMU 1' >>"$out"
elif declared iommu-dma.h use_dma_iommu "$@"; then
	die "a device has a flag for the kernel's own IOMMU layer, and no known way to clear it: unknown kernel"
fi

if compiles "$(member device dma_ops)" "$@"; then
	echo '#define ADP_HAVE_DEV_DMA_OPS 1' >>"$out"
fi

if compiles "$(member dma_map_ops map_phys)" "$@"; then
	echo '#define ADP_HAVE_OPS_MAP_PHYS 1' >>"$out"
elif compiles "$(member dma_map_ops map_page)" "$@"; then
	echo '#define ADP_HAVE_OPS_MAP_PAGE 1' >>"$out"
else
	die "struct dma_map_ops has neither map_phys nor map_page: unknown kernel"
fi

if compiles "$(member dma_map_ops map_resource)" "$@"; then
	echo '#define ADP_HAVE_OPS_MAP_RESOURCE 1' >>"$out"
fi

if compiles "$(member dma_map_ops alloc_pages_op)" "$@"; then
	echo '#define ADP_HAVE_OPS_ALLOC_PAGES_OP 1' >>"$out"
elif compiles "$(member dma_map_ops alloc_pages)" "$@"; then
	echo '#define ADP_HAVE_OPS_ALLOC_PAGES 1' >>"$out"
else
	die "struct dma_map_ops has neither alloc_pages_op nor alloc_pages: unknown kernel"
fi

if external dma_map_phys "$@"; then
	echo '#define ADP_HAVE_DMA_MAP_PHYS 1' >>"$out"
fi

if external dma_need_unmap "$@"; then
	echo '#define ADP_HAVE_DMA_NEED_UNMAP 1' >>"$out"
fi

if external dma_addressing_limited "$@"; then
	echo '#define ADP_HAVE_DMA_ADDRESSING_LIMITED 1' >>"$out"
fi

if external __dma_sync_single_for_cpu "$@"; then
	echo '#define ADP_HAVE_UNDERSCORED_SYNC 1' >>"$out"
elif external dma_sync_single_for_cpu "$@"; then
	echo '#define ADP_HAVE_PLAIN_SYNC 1' >>"$out"
fi

if compiles 'void probe_flag(struct device *d) { d->dma_skip_sync = false; }' "$@"; then
	echo '#define ADP_HAVE_DEV_DMA_SKIP_SYNC 1' >>"$out"
elif declared device.h dev_clear_dma_skip_sync "$@"; then
	echo '#define ADP_HAVE_DEV_CLEAR_DMA_SKIP_SYNC 1' >>"$out"
fi

# Direct calls for a set of functions: by a name of their own, or by the name that was
# for one function before.
if compiles '#include <linux/ftrace.h>
#ifndef CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS
#error
#endif' "$@"; then
	if declared ftrace.h register_ftrace_direct_multi "$@"; then
		echo '#define ADP_HAVE_FTRACE_DIRECT 1' >>"$out"
		echo '#define ADP_HAVE_FTRACE_DIRECT_MULTI 1' >>"$out"
	elif compiles '#include <linux/ftrace.h>
static_assert(__same_type(register_ftrace_direct, int (struct ftrace_ops *, unsigned long)));' "$@"; then
		echo '#define ADP_HAVE_FTRACE_DIRECT 1' >>"$out"
	else
		die "direct calls of ftrace cannot be registered as known: unknown kernel"
	fi
fi

rm -f "$out.log"
