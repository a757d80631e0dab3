#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The companions are accepted, their layout is learned, each has found its
# function, and that function depends on it.
# ADP_LAYOUT: the layout that it must be. ADP_COUNT: how many companions.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_module

count=0
functions=
for companion in $(adp_companions); do
	count=$((count + 1))
	adp_is "$companion is ready" "$(adp_about "$companion" state)" = ready
	layout=$(adp_about "$companion" layout)
	case $layout in
	narrow | wide) ktap_test_pass "$companion speaks a layout" ;;
	*) ktap_test_fail "$companion speaks a layout, '$layout'" ;;
	esac
	[ -z "$ADP_LAYOUT" ] ||
		adp_is "$companion speaks the $ADP_LAYOUT layout" "$layout" = "$ADP_LAYOUT"

	managed=$(adp_about "$companion" managed)
	ktap_test_result "$companion has a function, $managed" test -d "$ADP_PCI/$managed"
	adp_is "$managed is on the same bus" "${managed%:*}" = "${companion%:*}"
	ktap_test_result "$managed depends on $companion" test -e "$ADP_PCI/$managed/supplier:pci:$companion"
	ktap_test_result "$companion serves $managed" test -e "$ADP_PCI/$companion/consumer:pci:$managed"
	case " $functions " in
	*" $managed "*) ktap_test_fail "$managed has one companion" ;;
	*) ktap_test_pass "$managed has one companion" ;;
	esac
	functions="$functions $managed"

	missing=
	for name in doorbells map_entries unmap_entries refused_maps refused_unmaps \
		    live_mappings live_bytes peak_mappings peak_bytes; do
		case $(adp_stat "$companion" "$name") in
		"" | *[!0-9]*) missing="$missing $name" ;;
		esac
	done
	adp_is "$companion has all counters" "$missing" = ""
	adp_is "$companion was asked for its layout" "$(adp_stat "$companion" doorbells)" -ge 1
	adp_is "peaks of $companion are no less than what lives" \
		"$(adp_stat "$companion" peak_mappings)" -ge "$(adp_stat "$companion" live_mappings)"
done
adp_is "companions" "$count" -eq "${ADP_COUNT:-$count}"
ktap_finished
