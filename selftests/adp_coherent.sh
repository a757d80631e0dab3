#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Coherent memory of 4 KiB to 4 MiB has the alignment that the DMA API promises,
# whatever addresses the platform gives. ADP_FIT: so many of 4 MiB fit the budget. ADP_APART:
# so many times with the memory of the machine in pieces, too.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

before=$(adp_stat "$COMPANION" live_mappings)
adp_case "every size, live at once, freed in random order" alloc min=4096 max=0x400000 n=11
adp_case "the same again" alloc min=4096 max=0x400000 n=11
adp_case "sizes that are no power of two" alloc min=4096 max=0x100000 n=12 odd=1
adp_case "many small ones, several rounds" alloc min=4096 max=0x4000 n=48 rounds=3
adp_case "less than a page" alloc min=64 max=2048 n=24
adp_case "without sleeping" alloc min=4096 max=0x20000 n=12 ctx=softirq
if [ -n "${ADP_APART:-}" ]; then
	for seed in $(seq "$ADP_APART"); do
		adp_case "in pieces, $seed" alloc min=0x10000 max=0x400000 n=32 rounds=3 odd=1 apart=1 seed="$seed"
	done
fi
if [ -n "${ADP_FIT:-}" ]; then
	adp_case "$ADP_FIT of 4 MiB at once" alloc min=0x400000 max=0x400000 n="$ADP_FIT"
fi
# What is warm may be kept, in strict mode not ever more of it.
adp_case "and again" alloc min=4096 max=0x400000 n=11
warm=$(adp_stat "$COMPANION" live_mappings)
adp_case "and again" alloc min=4096 max=0x400000 n=11
[ "$(cat /sys/module/apple_dma_pci/parameters/mode 2>/dev/null)" = lazy ] ||
	adp_is "nothing is leaked" "$(adp_stat "$COMPANION" live_mappings)" -le "$warm"
ktap_print_msg "mappings: $before before, $warm warm"
ktap_finished
