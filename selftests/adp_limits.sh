#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A platform that has no more to give: refusals are clean, named, and pass. It
# needs one with small limits. ADP_FIT: mappings of one host page each, far from each
# other, that must fit at least. ADP_SET, ADP_STRIDE: how many are tried,
# how far apart.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
set=${ADP_SET:-160}
stride=${ADP_STRIDE:-0x40000}

adp_log_mark
adp_case "memory for $set mappings" set_new "n=$set" len=4096 "stride=$stride"
adp_case "mapping all that will" set_map
fit=$(adp_fact mapped)
[ "$(adp_fact refused)" != 0 ] || {
	adp_run set_free
	ktap_test_skip "the limits are too far away"
	ktap_finished
}
ktap_print_msg "$fit fit, $(adp_fact refused) do not"
adp_is "what must fit does" "$fit" -ge "${ADP_FIT:-1}"
said=$(adp_log | grep -c "apple_dma_pci.*live.*peak")
adp_is "the log names the limit" "$said" -ge 1
adp_is "the log is not flooded" "$said" -le 20
adp_case "those that fit are right" set_check

live=$(adp_stat "$COMPANION" live_mappings)
adp_case "a list for which there is no room" sg_new n=150 len=4096 "stride=$stride"
adp_case "it is refused as a whole" sg_map want=refused
adp_is "it leaves nothing behind" "$(adp_stat "$COMPANION" live_mappings)" -le "$live"
adp_case "it goes" sg_free
adp_case "no room in any context" sg_new n=150 len=4096 "stride=$stride"
for ctx in irqoff softirq hardirq; do
	adp_case "refused, $ctx" sg_map want=refused "ctx=$ctx"
done
adp_case "it goes" sg_free
adp_case "the others are still right" set_check

for round in 1 2 3; do
	adp_case "half of them go ($round)" set_unmap pct=50
	adp_case "as many come ($round)" set_map
	adp_is "no room was lost ($round)" "$(adp_fact live)" -ge "$fit"
	adp_case "all are right ($round)" set_check
done
adp_case "all go" set_unmap
adp_is "all are gone" "$(adp_fact live)" -eq 0
adp_case "all come" set_map
adp_is "as many as at first" "$(adp_fact live)" -ge "$fit"
adp_case "the set goes" set_free
adp_case "a random history at the limit" soak ops=800 live=200 mem=0x1000000 limits=1
ktap_print_msg "$(adp_fact refused) of $(adp_fact ops) were refused"
adp_case "all CPUs at the limit" smp ms=500 mem=0x1000000 limits=1
adp_case "small requests work as before" map n=12 len=8192
ktap_finished
