#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Whoever comes first, a managed function's driver has no DMA before the companion's
# driver is there, and starts by itself when it is. Unloads and loads our module,
# and removes the function and its companion.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
adp_need_unload

adp_log_mark
ktap_test_result "our module goes" rmmod apple_dma_pci
adp_is "the function has lost its driver" "$(adp_driver "$EDU")" = ""
adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
adp_is "it cannot be bound by hand" "$(adp_driver "$EDU")" = ""
rmmod adp_test
adp_load adp_test
adp_is "nor by loading its driver, which comes first" "$(adp_driver "$EDU")" = ""
adp_is "its driver was not even asked" "$(adp_log | grep -c "adp_test.*failed")" -eq 0
ktap_test_result "our module comes" adp_load apple_dma_pci
ktap_test_result "the driver starts by itself" adp_until adp_edu_started
adp_case "and works" map n=4

adp_sysfs /sys/bus/pci/drivers/apple_dma_pci/unbind "$COMPANION"
adp_is "without the companion's driver there is none" "$(adp_driver "$EDU")" = ""
adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
adp_is "it cannot be bound by hand either" "$(adp_driver "$EDU")" = ""
# A function that goes after no more than that leaves Linux's reason for it behind.
adp_sysfs /sys/bus/pci/drivers_probe "$EDU"
adp_is "nor by any driver" "$(adp_driver "$EDU")" = ""
echo 1 >"$ADP_PCI/$EDU/remove"
echo 1 >/sys/bus/pci/rescan
adp_is "a function that appears waits for its companion" "$(adp_driver "$EDU")" = ""
adp_is "which is said" "$(adp_log | grep -c "$EDU: gets no DMA.*$COMPANION")" -eq 1
adp_sysfs /sys/bus/pci/drivers/apple_dma_pci/bind "$COMPANION"
ktap_test_result "with it the driver starts" adp_until adp_edu_started
adp_case "and works again" map n=4

# Both appear at once, and the function is enumerated first.
first=$(printf '%s\n' "$EDU" "$COMPANION" | sort | head -n 1)
for round in 1 2 3; do
	echo 1 >"$ADP_PCI/$COMPANION/remove"
	echo 1 >"$ADP_PCI/$EDU/remove"
	adp_log_mark
	echo 1 >/sys/bus/pci/rescan
	[ "$first" != "$EDU" ] ||
		adp_is "the driver was too early ($round)" "$(adp_log | grep -c "$EDU: gets no DMA.*$COMPANION")" -ge 1
	ktap_test_result "it starts all the same ($round)" adp_until adp_edu_started
	adp_is "the function is served ($round)" "$(adp_about "$COMPANION" managed)" = "$EDU"
	adp_case "and works ($round)" map n=4
	ktap_test_result "it depends on its companion ($round)" test -e "$ADP_PCI/$EDU/supplier:pci:$COMPANION"
done
ktap_finished
