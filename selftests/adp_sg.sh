#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Scatterlists of 1 to 10,000 entries, and the doorbells that they cost.
# ADP_MAX_ENTRIES: what the companion takes in one batch.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
max=${ADP_MAX_ENTRIES:-4096}
mode=$(cat /sys/module/apple_dma_pci/parameters/mode)

# doorbells DESCRIPTION ENTRIES CASE...: a case rings as few as there must be.
doorbells() {
	what=$1
	kind=$2
	shift 2
	rung=$(adp_stat "$COMPANION" doorbells)
	entries=$(adp_stat "$COMPANION" "$kind")
	adp_case "$what" "$@"
	rung=$(($(adp_stat "$COMPANION" doorbells) - rung))
	entries=$(($(adp_stat "$COMPANION" "$kind") - entries))
	ktap_print_msg "$what: $entries $kind, $rung doorbells"
	adp_is "$what: one doorbell for up to $max entries" \
		"$rung" -eq $(((entries + max - 1) / max))
}

for n in 1 2 3 17 128 1000 10000; do
	adp_case "$n entries of random lengths" sg "n=$n" len=8192
done
adp_case "10,000 entries with interrupts off" sg n=10000 ctx=irqoff len=2000
adp_case "entries of up to 128 KiB" sg n=40 len=131072
adp_case "entries side by side in one page" sg n=300 len=64 gap=0
adp_case "entries in the order of memory" sg n=500 shuffle=0

for n in 1 64 2000 10000; do
	# One entry in each 64 KiB is a host page of its own.
	stride=65536
	[ $n -lt 10000 ] || stride=16384
	adp_case "a cold list of $n entries" sg_new "n=$n" len=4096 "stride=$stride"
	doorbells "mapping $n entries" map_entries sg_map
	# In lazy mode the memory may be mapped from before.
	[ $n -lt 64 ] || [ "$mode" != strict ] ||
		adp_is "$n entries were cold" "$entries" -ge $((n / 32))
	adp_case "$n entries lead where they should" sg_check
	doorbells "unmapping $n entries" unmap_entries sg_unmap
	adp_case "the list of $n entries goes" sg_free
done
ktap_finished
