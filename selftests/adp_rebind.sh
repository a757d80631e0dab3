#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The function's driver comes and goes, others take its place, and after each
# nothing is mapped. ADP_ROUNDS: how often.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

# The counter live_mappings, without a process of its own.
adp_live() {
	while read -r adp_name adp_value; do
		[ "$adp_name" != live_mappings ] || adp_counted=$adp_value
	done <"$ADP_STATE/$COMPANION/stats"
}

adp_left=
adp_unbound() {
	echo "$EDU" >"/sys/bus/pci/drivers/$1/unbind"
	[ ! -e "$ADP_PCI/$EDU/driver" ] || adp_left="$adp_left bound"
	adp_live
	[ "$adp_counted" -eq 0 ] || adp_left="$adp_left $adp_counted"
}

round=0
failed=0
while [ $round -lt "${ADP_ROUNDS:-100}" ]; do
	round=$((round + 1))
	[ $((round % 10)) -ne 0 ] || adp_quiet adp_run map n=2 len=4096 || failed=$((failed + 1))
	adp_live
	[ "$adp_counted" -gt 0 ] || failed=$((failed + 1))
	adp_unbound adp_test
	[ $((round % 10)) -ne 0 ] || ! adp_is_master "$EDU" || adp_left="$adp_left master"
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
	[ -e "$ADP_PCI/$EDU/driver" ] || failed=$((failed + 1))
done
adp_is "$round times nothing was left" "$adp_left" = ""
adp_is "$round times it worked" $failed -eq 0

# Drivers that do not map anything, or let others do it.
for other in pci-stub uio_pci_generic vfio-pci; do
	modprobe "$other" 2>/dev/null
	if [ ! -d "/sys/bus/pci/drivers/$other" ]; then
		ktap_test_skip "$other takes the function"
		continue
	fi
	adp_case "a mapping before $other ($(adp_driver "$EDU"))" map n=4
	adp_left=
	adp_unbound adp_test
	adp_log_mark
	maps=$(adp_stat "$COMPANION" map_ops)
	echo "$other" >"$ADP_PCI/$EDU/driver_override"
	adp_sysfs "/sys/bus/pci/drivers/$other/bind" "$EDU"
	case $other in
	# Without an IOMMU there is no group, and the kernel refuses.
	vfio-pci) adp_is "$other does not take the function" "$(adp_driver "$EDU")" = "" ;;
	*) adp_is "$other takes the function" "$(adp_driver "$EDU")" = "$other" ;;
	esac
	# A driver that could map has the marker mapped before it.
	marker=1
	if [ $other != uio_pci_generic ]; then
		marker=0
		adp_is "it is said that $other gets no DMA" "$(adp_log | grep -c "$EDU: cannot be served and gets no DMA")" -eq 1
	fi
	adp_is "$other gets nothing" "$(adp_stat "$COMPANION" map_ops)" -eq "$maps"
	adp_is "nothing is mapped for it" "$(adp_stat "$COMPANION" live_mappings)" -le $marker
	ktap_test_result "the function is no master" eval "! adp_is_master $EDU"
	[ -z "$(adp_driver "$EDU")" ] || adp_unbound "$other"
	echo >"$ADP_PCI/$EDU/driver_override"
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
	adp_is "nothing was left after $other" "$adp_left" = ""
	adp_is "the function has its own driver again" "$(adp_driver "$EDU")" = adp_test
	adp_case "which works after $other" map n=4
done
ktap_finished
