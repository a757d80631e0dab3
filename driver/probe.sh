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
#
# All probes are one run of the compiler, as most of its time goes into reading
# the headers: each is a file of its own by its line marker, and has failed if
# an error names it.

set -u

out=$1
shift
snippets=

die()
{
	echo "apple_dma_pci: $*" >&2
	rm -f "$out" "$out.log"
	exit 1
}

# probe NAME SNIPPET: is it valid in a module for this kernel? Errors must be of its own
# text, not of a macro in a header.
probe()
{
	snippets="$snippets
#line 1 \"probe-$1\"
$2"
}

# member STRUCT MEMBER: does the struct have the member?
member()
{
	probe "member-$1-$2" "typeof(((struct $1 *)0)->$2) probe_$1_$2;"
}

# flag FLAG: has a device this bit-field? Those have no typeof.
flag()
{
	probe "flag-$1" "void probe_$1(struct device *d) { d->$1 = false; }"
}

# declared NAME: is there such a function (calling what is not declared would only be a
# warning), and could it be an inline of the headers?
declared()
{
	probe "declared-$1" "typeof($1) *probe_$1;"
	probe "static-$1" "static typeof($1) $1;"
}

# found KIND-NAME: it compiled.
found()
{
	! grep -q "^probe-$1:.*error:" "$out.log"
}

# external FUNCTION: one of the kernel's, and no inline
external()
{
	found "declared-$1" && ! found "static-$1"
}

have()
{
	echo "#define ADP_HAVE_$1 1" >>"$out"
}

: >"$out" || die "cannot write $out"

probe unaligned-header '#if !__has_include(<linux/unaligned.h>)
#error
#endif'
probe iommu-dma '#ifndef CONFIG_IOMMU_DMA
#error
#endif'
flag dma_iommu
flag dma_skip_sync
member device dma_ops
member dma_map_ops map_phys
member dma_map_ops map_page
member dma_map_ops map_resource
member dma_map_ops alloc_pages_op
member dma_map_ops alloc_pages
declared dev_clear_dma_iommu
declared use_dma_iommu
declared dev_clear_dma_skip_sync
declared dma_map_phys
declared dma_need_unmap
declared dma_addressing_limited
declared __dma_sync_single_for_cpu
declared dma_sync_single_for_cpu
probe direct-calls '#ifndef CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS
#error
#endif'
declared register_ftrace_direct_multi
probe register_ftrace_direct '_Static_assert(__builtin_types_compatible_p(typeof(register_ftrace_direct),
	int (struct ftrace_ops *, unsigned long)), "");'
# The last one tells that the compiler came so far, and can be told from one that takes anything.
member device no_such_member

printf '%s\n' '#include <linux/module.h>' '#include <linux/device.h>' \
	'#include <linux/dma-map-ops.h>' '#include <linux/dma-mapping.h>' '#include <linux/ftrace.h>' \
	'#if __has_include(<linux/iommu-dma.h>)' '#include <linux/iommu-dma.h>' '#endif' "$snippets" |
	LC_ALL=C "$@" -w -fsyntax-only -x c - 2>"$out.log"

if grep 'error:' "$out.log" | grep -v '^probe-' >&2; then
	die "the kernel headers do not compile (above); install those of the kernel you build for"
fi
if found member-device-no_such_member; then
	tail -n 5 "$out.log" >&2
	die "the compiler ($1) did not reach the end of the probes, or accepts anything; the kernel cannot be probed"
fi

if found unaligned-header; then
	have LINUX_UNALIGNED_H
fi

if found flag-dma_iommu; then
	have DEV_DMA_IOMMU
elif found declared-dev_clear_dma_iommu; then
	have DEV_CLEAR_DMA_IOMMU
elif found iommu-dma && found declared-use_dma_iommu; then
	die "a device has a flag for the kernel's own IOMMU layer, and no known way to clear it: unknown kernel"
fi

if found member-device-dma_ops; then
	have DEV_DMA_OPS
fi

if found member-dma_map_ops-map_phys; then
	have OPS_MAP_PHYS
elif found member-dma_map_ops-map_page; then
	have OPS_MAP_PAGE
else
	die "struct dma_map_ops has neither map_phys nor map_page: unknown kernel"
fi

if found member-dma_map_ops-map_resource; then
	have OPS_MAP_RESOURCE
fi

if found member-dma_map_ops-alloc_pages_op; then
	have OPS_ALLOC_PAGES_OP
elif found member-dma_map_ops-alloc_pages; then
	have OPS_ALLOC_PAGES
else
	die "struct dma_map_ops has neither alloc_pages_op nor alloc_pages: unknown kernel"
fi

if external dma_map_phys; then
	have DMA_MAP_PHYS
fi

if external dma_need_unmap; then
	have DMA_NEED_UNMAP
fi

if external dma_addressing_limited; then
	have DMA_ADDRESSING_LIMITED
fi

if external __dma_sync_single_for_cpu; then
	have UNDERSCORED_SYNC
elif external dma_sync_single_for_cpu; then
	have PLAIN_SYNC
fi

if found flag-dma_skip_sync; then
	have DEV_DMA_SKIP_SYNC
elif found declared-dev_clear_dma_skip_sync; then
	have DEV_CLEAR_DMA_SKIP_SYNC
fi

# Direct calls for a set of functions: by a name of their own, or by the name that was
# for one function before.
if found direct-calls; then
	if found declared-register_ftrace_direct_multi; then
		have FTRACE_DIRECT
		have FTRACE_DIRECT_MULTI
	elif found register_ftrace_direct; then
		have FTRACE_DIRECT
	else
		die "direct calls of ftrace cannot be registered as known: unknown kernel"
	fi
fi

rm -f "$out.log"
