#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A companion that was refused, and a function that appears later: that is closed, too,
# its driver does not start, and stays so without our module. ADP_REFUSED is a regular
# expression for what was found.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_REFUSED" ] || adp_skip "ADP_REFUSED says nothing, so nothing is to be refused"
EDU=$(adp_functions $ADP_EDU_ID | head -n 1)
COMPANION=$(adp_companions | head -n 1)
[ -n "$EDU" ] || adp_skip "no edu device, whose driver the test uses"

echo 1 >"$ADP_PCI/$EDU/remove"
adp_log_mark
ktap_test_result "the module loads" adp_load apple_dma_pci
adp_load adp_test
adp_is "the companion is refused" "$(adp_log | grep "apple_dma_pci $COMPANION" | grep -cE "$ADP_REFUSED")" -eq 1
for round in 1 2; do
	adp_log_mark
	echo 1 >/sys/bus/pci/rescan
	adp_is "the function that appears is told of ($round)" "$(adp_log | grep -c "$EDU: gets no DMA.*$COMPANION")" -eq 1
	adp_is "it has no driver ($round)" "$(adp_driver "$EDU")" = ""
	adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
	adp_is "nor by hand ($round)" "$(adp_driver "$EDU")" = ""
	ktap_test_result "it waits for its companion ($round)" test -e "$ADP_PCI/$EDU/supplier:pci:$COMPANION"
	[ $round -eq 2 ] || echo 1 >"$ADP_PCI/$EDU/remove"
done

# The link goes with the companion; what was closed stays closed.
modprobe pci-stub
echo pci-stub >"$ADP_PCI/$COMPANION/driver_override"
adp_sysfs /sys/bus/pci/drivers/pci-stub/bind "$COMPANION"
adp_is "another driver takes the companion" "$(adp_driver "$COMPANION")" = pci-stub
adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
adp_is "the function's driver does not start" "$(adp_driver "$EDU")" = ""
ktap_test_result "the module goes" rmmod apple_dma_pci
adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
adp_is "the function's driver does not start without it" "$(adp_driver "$EDU")" = ""
ktap_finished
