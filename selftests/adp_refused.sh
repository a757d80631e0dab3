#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A companion, or its function, that cannot be served. ADP_REFUSED is a regular
# expression for what the message must say was found; ADP_FUNCTION the function
# that stays without a driver, if there is one. ADP_ALONE=1: the companion is
# another device with the same ID, so no function is touched. ADP_PICK: the
# companion is the ADP_PICKth, and the function that edu device. Loads and
# unloads our module.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_REFUSED" ] || adp_skip "ADP_REFUSED says nothing, so nothing is to be refused"
[ -n "$(adp_companions)" ] || adp_skip "no apple-dma-pci function"
adp_need_unload
! adp_loaded apple_dma_pci || rmmod apple_dma_pci
companion=$(adp_companions | sed -n "${ADP_PICK:-1}p")
managed=${ADP_FUNCTION:-$(adp_functions $ADP_EDU_ID | sed -n "${ADP_PICK:-1}p")}

adp_log_mark
ktap_test_result "the module loads all the same" adp_load apple_dma_pci
log=$(adp_log | grep "apple_dma_pci $companion:" | grep -v "totals:")
echo "$log" | sed 's/^/# /'
adp_is "one message" "$(adp_log | grep "apple_dma_pci $companion:" | grep -cE "$ADP_REFUSED")" -eq 1
adp_is "it says what to do" "$(echo "$log" | grep -E "$ADP_REFUSED" | grep -c "; ")" -eq 1
adp_is "it is an error" "$(dmesg -r | grep "apple_dma_pci $companion:" | grep -E "$ADP_REFUSED" | grep -c '^<3>')" -ge 1
case $(adp_about "$companion" state) in
ready) ktap_test_fail "the companion is not called ready" ;;
*) ktap_test_pass "the companion is not called ready" ;;
esac

if [ -n "$managed" ] && [ -z "$ADP_ALONE" ]; then
	adp_log_mark
	adp_load adp_test
	adp_is "the driver of $managed does not start" "$(adp_driver "$managed")" = ""
	echo "$managed" 2>/dev/null >/sys/bus/pci/drivers/adp_test/bind
	adp_is "nor by hand" "$(adp_driver "$managed")" = ""
	# The message was said when the module was loaded, or is said now.
	adp_is "nothing is said over and over" "$(adp_log | grep "apple_dma_pci" | grep -cE "$companion|$managed")" -le 4
	rmmod adp_test
fi
if [ -e "$ADP_STATE/$companion/stats" ]; then
	adp_is "nothing is mapped" "$(adp_stat "$companion" live_mappings)" -eq 0
fi
ktap_test_result "the module goes" rmmod apple_dma_pci
ktap_finished
