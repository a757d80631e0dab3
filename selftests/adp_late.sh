#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The function's driver was bound before our module was loaded: this is found out
# and said, and the driver is left alone; with rebind=1 it starts anew. Needs a
# guest in which our module is not loaded yet.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$(adp_companions)" ] || adp_skip "no apple-dma-pci function"
! adp_loaded apple_dma_pci || adp_skip "apple_dma_pci is loaded already"
EDU=$(adp_functions $ADP_EDU_ID | head -n 1)
COMPANION=$(adp_companions | head -n 1)
[ -n "$EDU" ] || adp_skip "no edu device, whose driver the test uses"

adp_load adp_test
adp_is "the driver is there first" "$(adp_driver "$EDU")" = adp_test
adp_case "it has memory" set_new n=16 len=4096
adp_case "and mappings" set_map

adp_log_mark
ktap_test_result "our module is loaded" adp_load apple_dma_pci
adp_is "one message says what is wrong" "$(adp_log | grep -c "$EDU: driver adp_test was bound before")" -eq 1
adp_is "and what to do" "$(adp_log | grep "was bound before" | grep -c "initramfs.*rebind=1")" -eq 1
adp_is "the driver is still there" "$(adp_driver "$EDU")" = adp_test
case $(adp_about "$COMPANION" managed) in
"none: $EDU"*) ktap_test_pass "it is not served" ;;
*) ktap_test_fail "it is not served" ;;
esac
before=$(cat "$ADP_STATE/$COMPANION/stats")
adp_case "it gives back what it had" set_unmap
adp_case "it maps as it did" set_map
adp_case "and unmaps" set_unmap
adp_case "all is given back" set_free
adp_is "the companion knows nothing of it" "$(cat "$ADP_STATE/$COMPANION/stats")" = "$before"
ktap_test_result "our module goes" rmmod apple_dma_pci
adp_is "which leaves the driver alone, too" "$(adp_driver "$EDU")" = adp_test

ktap_test_result "our module is loaded again" adp_load apple_dma_pci
echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
ktap_test_result "unbound, the function is no master" eval "! adp_is_master $EDU"
ktap_test_result "it depends on its companion now" test -e "$ADP_PCI/$EDU/supplier:pci:$COMPANION"
echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
adp_is "bound again, it is served" "$(adp_about "$COMPANION" managed)" = "$EDU"
adp_case "and works" map n=4
ktap_test_result "our module goes, and the driver with it" rmmod apple_dma_pci

# A function that has never been served, and a driver that is bound to it.
rmmod adp_test
echo 1 >"$ADP_PCI/$EDU/remove"
echo 1 >/sys/bus/pci/rescan
adp_load adp_test
adp_is "the driver is there first again" "$(adp_driver "$EDU")" = adp_test
adp_case "with mappings" set_new n=16 len=4096
adp_case "as before" set_map
adp_log_mark
ktap_test_result "our module comes with rebind=1" adp_load apple_dma_pci rebind=1
adp_is "it says so" "$(adp_log | grep -c "$EDU: rebind=1: driver adp_test starts anew")" -eq 1
adp_is "and nothing of a driver that is left alone" "$(adp_log | grep -c "was bound before")" -eq 0
ktap_test_result "the driver starts anew" adp_until adp_edu_started
adp_is "and is served" "$(adp_about "$COMPANION" managed)" = "$EDU"
adp_case "it works" map n=16
adp_case "whatever it does" soak ops=200
ktap_finished
