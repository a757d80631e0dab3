#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A companion that maps for a function which is not there: it says so once, and
# nobody else is touched. ADP_NO_FUNCTION=1 says that this is such a machine.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_NO_FUNCTION" ] || adp_skip "ADP_NO_FUNCTION does not say so"
adp_need_module
companion=$(adp_companions | head -n 1)

case $(adp_about "$companion" managed) in
"none: "*) ktap_test_pass "it serves nobody" ;;
*) ktap_test_fail "it serves nobody" ;;
esac
adp_is "one message says so" "$(dmesg | grep -c "apple_dma_pci $companion: no function at")" -eq 1
adp_is "and what comes next" "$(dmesg | grep "apple_dma_pci $companion: no function at" | grep -c "; ")" -eq 1
adp_is "nothing is mapped" "$(adp_stat "$companion" live_mappings)" -eq 0
consumers=0
for link in "$ADP_PCI/$companion"/consumer:*; do
	[ ! -e "$link" ] || consumers=$((consumers + 1))
done
adp_is "nobody depends on it" $consumers -eq 0
ktap_finished
