#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Bad module parameters are refused, with a message.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$(adp_companions)" ] || adp_skip "no apple-dma-pci function"
adp_need_unload
! adp_loaded apple_dma_pci || rmmod apple_dma_pci

for param in ${ADP_BAD_PARAMS:-no_such_parameter=1}; do
	adp_log_mark
	if adp_load apple_dma_pci "$param" 2>/dev/null; then
		case $param in
		# The kernel itself takes unknown parameters, and says so.
		no_such_parameter=*) ;;
		*) ktap_test_fail "$param is refused" ;;
		esac
		rmmod apple_dma_pci
	else
		ktap_test_pass "$param is refused"
	fi
	adp_is "$param is named in the log" "$(adp_log | grep -c "apple_dma_pci.*${param%%=*}")" -ge 1
	adp_log | grep "${param%%=*}" | sed 's/^/# /'
done
ktap_test_result "the module loads without" adp_load apple_dma_pci
ktap_finished
