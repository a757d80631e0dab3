#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A vIOMMU is in front of the managed function, an edu device: its addresses are not
# the platform's, so the function gets none, of whatever sort. Loads and unloads
# our module. ADP_VIOMMU: a module that drives the vIOMMU. ADP_PASSTHROUGH=1: the
# kernel was told not to use it, and the function is served.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_unload
[ -z "$ADP_VIOMMU" ] || modprobe "$ADP_VIOMMU"
! adp_loaded apple_dma_pci || rmmod apple_dma_pci
adp_load apple_dma_pci || adp_skip "apple_dma_pci cannot be loaded"
adp_log_mark
adp_load adp_test
companion=$(adp_companions | head -n 1)
function=$(adp_functions $ADP_EDU_ID | head -n 1)
[ -n "$function" ] || adp_skip "no edu device"
group=$ADP_PCI/$function/iommu_group
[ -e "$group" ] || adp_skip "$function has no IOMMU in front of it"
type=$(cat "$group/type")
ktap_print_msg "$function is in an IOMMU domain of type $type"

if [ -n "$ADP_PASSTHROUGH" ]; then
	adp_is "the domain changes no address" "$type" = identity
	adp_is "the function is served" "$(adp_about "$companion" managed)" = "$function"
	adp_is "without a word of an IOMMU" "$(adp_log | grep -c "vIOMMU")" -eq 0
	adp_need_edu
	adp_case "it reads and writes what it should" sg n=64
else
	case $type in
	DMA*) ktap_test_pass "the kernel gives out addresses of the IOMMU" ;;
	*) ktap_test_fail "the kernel gives out addresses of the IOMMU" ;;
	esac
	adp_is "the log says why, and what to do" \
		"$(adp_log | grep -c "$function: cannot be served .*a vIOMMU is in front of it; boot with iommu.passthrough=1")" -eq 1
	adp_is "its driver does not start" "$(adp_driver "$function")" = ""
	adp_is "nothing is mapped" "$(adp_stat "$companion" live_mappings)" -eq 0
fi
rmmod adp_test
ktap_test_result "the module goes" rmmod apple_dma_pci
ktap_finished
