#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Every operation of the DMA API, from every context that drivers use it in.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

adp_case "the contexts are what they claim to be" ctx
adp_case "message-signalled interrupts arrive" irq
adp_case "sizes and masks that the device is told agree" sizes
adp_case "a merge boundary is kept" merge len=65536 n=16
adp_case "registers of a device are not mapped" resource

for ctx in process bh irqoff softirq hardirq remote reclaim; do
	adp_case "pages and buffers, $ctx" map n=24 "ctx=$ctx"
	adp_case "buffers that begin in one host page, $ctx" share rounds=2 "ctx=$ctx"
	adp_case "sync of parts, $ctx" sync "ctx=$ctx"
	adp_case "scatterlist, $ctx" sg n=100 "ctx=$ctx"
	adp_case "scatterlist as an array, $ctx" sg n=33 table=0 "ctx=$ctx"
	adp_case "coherent memory, $ctx" alloc max=0x10000 n=8 "ctx=$ctx"
	adp_case "pages, $ctx" alloc kind=pages max=0x10000 n=8 "ctx=$ctx"
done
for dir in to from both; do
	adp_case "one direction, $dir" map n=8 "dir=$dir"
	adp_case "scatterlist in one direction, $dir" sg n=20 "dir=$dir"
done
adp_case "segments that do not cross 64 KiB" sg n=20 len=65536 min=65536 stride=65536 boundary=0xffff
adp_case "segments that do not cross 16 KiB" sg n=20 len=16384 min=9000 stride=16384 boundary=0x3fff
adp_case "buffers of one byte" map n=6 len=1 exact=1
adp_case "buffers of 4 MiB" map n=2 len=0x400000 exact=1 dir=both
adp_case "memory that need not be contiguous" alloc kind=noncontig max=0x40000 n=8
adp_case "write-combined memory" alloc kind=wc max=0x40000 n=8
adp_case "scatterlist of coherent memory" sgtable
adp_case "pools of small blocks" pool
ktap_finished
