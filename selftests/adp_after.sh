#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Our module is gone, and so is its companion: the function can do no DMA, and
# its driver does not start. ADP_FUNCTION: another function than an edu device, and
# ADP_DRIVER: its driver, which is not in use. Removes the companion.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
# Called by adp_until. Not all messages name the function.
# shellcheck disable=SC2317
adp_after_says() {
	adp_log | grep -qE "probe of $FUNCTION|$FUNCTION.*(probe with driver|no staging|failed)|$DRIVER .*probe failure"
}

adp_start
adp_need_module
COMPANION=$(adp_companions | head -n 1)
FUNCTION=$(adp_about "$COMPANION" managed)
DRIVER=$(adp_driver "$FUNCTION")
[ -n "$DRIVER" ] || {
	adp_need_edu
	FUNCTION=$EDU
	DRIVER=adp_test
}
[ "$DRIVER" = adp_test ] || [ "$ADP_DRIVER" = "$DRIVER" ] ||
	adp_skip "ADP_DRIVER does not say that $DRIVER may be taken away"

adp_log_mark
ktap_test_result "our module goes although $DRIVER is bound" rmmod apple_dma_pci
adp_is "the function has lost $DRIVER" "$(adp_driver "$FUNCTION")" = ""
adp_is "nothing was mapped at the end" "$(adp_log | grep -c "totals:.*live_mappings=0 live_bytes=0")" -eq 1
adp_is "nothing was left behind" "$(adp_log | grep -c "left .* mappings behind")" -eq 0
ktap_test_result "the function is no master" eval "! adp_is_master $FUNCTION"
adp_sysfs "/sys/bus/pci/drivers/$DRIVER/bind" "$FUNCTION"
adp_is "$DRIVER waits for the companion" "$(adp_driver "$FUNCTION")" = ""

# Without the companion there is nothing to wait for.
echo 1 >"$ADP_PCI/$COMPANION/remove"
ktap_test_result "nothing depends any more" eval "! ls $ADP_PCI/$FUNCTION/supplier* >/dev/null 2>&1"
adp_log_mark
adp_sysfs "/sys/bus/pci/drivers/$DRIVER/bind" "$FUNCTION"
# nvme gives up in the background, before 6.4.
ktap_test_result "$DRIVER is probed and gets no DMA" adp_until adp_driver_is "$FUNCTION" ""
ktap_test_result "which it says" adp_until adp_after_says

echo 1 >/sys/bus/pci/rescan
ktap_test_result "the module comes again" adp_load apple_dma_pci
ktap_test_result "the driver starts again" adp_until adp_driver_is "$FUNCTION" "$DRIVER"
adp_is "and is served" "$(adp_about "$COMPANION" managed)" = "$FUNCTION"
ktap_test_result "and maps" test "$(adp_stat "$COMPANION" live_mappings)" -gt 0
ktap_finished
