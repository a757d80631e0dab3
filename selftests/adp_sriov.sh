#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Virtual functions of a managed function: the platform does not map for them, so
# they get no DMA, and the physical function goes on. ADP_SRIOV names its driver;
# the driver of the virtual functions is ADP_VIRTUAL.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_SRIOV" ] || adp_skip "ADP_SRIOV names no driver"
adp_need_module
COMPANION=$(adp_companions | head -n 1)
FUNCTION=$(adp_about "$COMPANION" managed)
[ -e "$ADP_PCI/$FUNCTION/sriov_numvfs" ] || adp_skip "$FUNCTION has no virtual functions"
adp_until adp_driver_is "$FUNCTION" "$ADP_SRIOV"

adp_vfs() {
	adp_count=0
	for adp_dir in "$ADP_PCI/$FUNCTION"/virtfn*; do
		[ ! -e "$adp_dir" ] || adp_count=$((adp_count + 1))
	done
	echo $adp_count
}

for round in 1 2; do
	adp_log_mark
	echo 2 >"$ADP_PCI/$FUNCTION/sriov_numvfs"
	adp_is "there are two ($round)" "$(adp_vfs)" -eq 2
	adp_is "each is told of, and what to do ($round)" \
		"$(adp_log | grep -c "a virtual function of $FUNCTION.* gets no DMA, use the physical")" -eq 2
	modprobe "$ADP_VIRTUAL"
	for vf in "$ADP_PCI/$FUNCTION"/virtfn*; do
		vf=$(basename "$(readlink -f "$vf")")
		adp_until eval "adp_log | grep -q '$vf.*[pP]robe.*failed'"
		adp_is "$vf has no driver ($round)" "$(adp_driver "$vf")" = ""
		adp_sysfs "/sys/bus/pci/drivers/$ADP_VIRTUAL/bind" "$vf"
		adp_is "nor by hand ($round)" "$(adp_driver "$vf")" = ""
	done
	adp_is "the physical function has its driver ($round)" "$(adp_driver "$FUNCTION")" = "$ADP_SRIOV"
	adp_is "and its companion ($round)" "$(adp_about "$COMPANION" managed)" = "$FUNCTION"
	if [ $round -eq 1 ]; then
		echo 0 >"$ADP_PCI/$FUNCTION/sriov_numvfs"
		adp_is "they go" "$(adp_vfs)" -eq 0
	fi
done

# What has been closed stays so, and is nobody's when our module has gone.
ktap_test_result "our module goes while they are there" rmmod apple_dma_pci
adp_is "the physical function has lost its driver" "$(adp_driver "$FUNCTION")" = ""
for vf in "$ADP_PCI/$FUNCTION"/virtfn*; do
	[ -e "$vf" ] || continue
	vf=$(basename "$(readlink -f "$vf")")
	adp_sysfs "/sys/bus/pci/drivers/$ADP_VIRTUAL/bind" "$vf"
	adp_is "$vf has no driver without our module" "$(adp_driver "$vf")" = ""
done
ktap_test_result "our module comes" adp_load apple_dma_pci
ktap_test_result "the physical function is served again" adp_until adp_driver_is "$FUNCTION" "$ADP_SRIOV"
ktap_finished
