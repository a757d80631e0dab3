#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A host that misbehaves once. ADP_FAULT says how, as its x-fault property does:
#   refuse, short, garbage   a map entry is refused, shortened, answered with garbage
#   unmap                    an unmap entry is refused
# ADP_LEN: bytes of each mapping.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_FAULT" ] || adp_skip "ADP_FAULT says no fault, so the host is a good one"
adp_need_edu

adp_log_mark
adp_case "memory for mappings" set_new n=64 "len=${ADP_LEN:-4096}" stride=0x10000

# The function is taken from its driver, and what the case had to say goes with it.
if [ "$ADP_FAULT" = garbage ]; then
	adp_quiet adp_run set_map
	adp_is "one message says why" "$(adp_log | grep -c "apple_dma_pci.*every mapping fails from now on")" -eq 1
	adp_is "the companion is called broken" "$(adp_about "$COMPANION" state | cut -c 1-8)" = "broken: "
	adp_is "all mappings but those before it failed" "$(adp_stat "$COMPANION" map_failures)" -ge 50
	adp_is "those are in the books" "$(adp_stat "$COMPANION" live_mappings)" -le 10
	ktap_test_result "the function is taken from its driver" adp_until adp_driver_is "$EDU" ""
	adp_is "which had time to clean up" "$(adp_log | grep -c "left .* mappings behind")" -eq 0
	adp_is "what the host may still have mapped is kept apart" "$(adp_stat "$COMPANION" quarantined)" -ge 1
	ktap_test_result "the function is no master" eval "! adp_is_master $EDU"
	adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
	adp_is "its driver does not start" "$(adp_driver "$EDU")" = ""
	ktap_finished
fi

adp_case "mapping" set_map
mapped=$(adp_fact mapped)
refused=$(adp_fact refused)
ktap_print_msg "$mapped mapped, $refused refused, state: $(adp_about "$COMPANION" state)"
adp_case "what is mapped is right" set_check

case $ADP_FAULT in
refuse | short)
	adp_is "one at most is lost" "$refused" -le 1
	adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
	adp_case "trying again maps the rest" set_map
	adp_is "all are mapped" "$(adp_fact live)" -eq 64
	adp_case "all are right" set_check
	;;
esac

live=$(adp_stat "$COMPANION" live_mappings)
adp_case "a list while we are here" sg_new n=40 len=4096 stride=0x10000
adp_case "mapping the list" sg_map want=any
if [ "$(adp_fact mapped)" -eq 1 ]; then
	adp_case "the list is right" sg_check
	adp_case "the list is unmapped" sg_unmap
else
	adp_is "a refused list leaves nothing" "$(adp_stat "$COMPANION" live_mappings)" -eq "$live"
	adp_case "the list is mapped when it is tried again" sg_map
fi
adp_case "the list goes" sg_free
[ "$ADP_FAULT" != refuse ] ||
	adp_is "the refusal was counted" "$(adp_stat "$COMPANION" refused_maps)" -ge 1
adp_case "all go" set_unmap
adp_is "all are gone" "$(adp_fact live)" -eq 0

if [ "$ADP_FAULT" = unmap ]; then
	adp_is "the refusal was counted" "$(adp_stat "$COMPANION" refused_unmaps)" -ge 1
	adp_is "what could not be unmapped is kept apart" "$(adp_stat "$COMPANION" quarantined)" -ge 1
	adp_case "mapping again" set_map
	adp_is "all are mapped" "$(adp_fact live)" -eq 64
	adp_case "all are right" set_check
	adp_case "all go" set_unmap
fi
adp_case "the set goes" set_free
ktap_finished
