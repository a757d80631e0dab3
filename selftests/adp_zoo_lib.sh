# SPDX-License-Identifier: GPL-2.0-only
#
# What the tests of other people's drivers share. Sourced, not run.
# shellcheck shell=sh
#
# There is a managed function, $MANAGED of $COMPANION, and a twin of the same model, $TWIN, that
# nobody manages. Both do the same at the same time, in each mode. ADP_ZOO is the driver of both.
# What they hold is lost, so without it nothing is done.
#
# ADP_COHERENT: 1 for a driver that maps nothing, and has only coherent memory.
# ADP_KEEPS: 1 for a driver that maps when it is bound, and keeps that.
# ADP_LEAVES: 1 for a driver that is known to leave some of its mappings when it goes; our module
# takes them away and says so. ADP_MODES: the modes, one after the other. ADP_BRIEF: only this one.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"

adp_zoo_start() {
	adp_start
	[ -n "$ADP_ZOO" ] || adp_skip "ADP_ZOO names no driver whose devices may be overwritten"
	adp_need_module
	COMPANION=$(adp_companions | head -n 1)
	MANAGED=$(adp_about "$COMPANION" managed)
	TWIN=
	for adp_bdf in $(adp_functions "$(adp_id "$MANAGED")"); do
		# A PC has some devices of its own, behind those that were added.
		[ "$adp_bdf" = "$MANAGED" ] || TWIN=${TWIN:-$adp_bdf}
	done
	[ -n "$TWIN" ] || adp_skip "$MANAGED has no twin"
	for adp_bdf in $MANAGED $TWIN; do
		adp_until adp_driver_is "$adp_bdf" "$ADP_ZOO" ||
			adp_skip "$adp_bdf does not get the driver $ADP_ZOO"
	done
}

# Which interrupts function $1 has: intx, or 2*msix.
adp_zoo_irq() {
	adp_irqs=0
	for adp_dir in "$ADP_PCI/$1"/msi_irqs/*; do
		[ -e "$adp_dir" ] || continue
		adp_irqs=$((adp_irqs + 1))
		adp_kind=$(cat "$adp_dir")
	done
	if [ $adp_irqs -eq 0 ]; then
		echo intx
	else
		echo "$adp_irqs*$adp_kind"
	fi
}

adp_zoo_counts() {
	for adp_name in doorbells map_entries unmap_entries copied map_ops sg_lists; do
		adp_stat "$COMPANION" $adp_name
	done | tr '\n' ' '
}

# Takes the function from its driver, which has to give back all that it has mapped.
adp_zoo_stop() {
	adp_log_mark
	echo "$MANAGED" >"$ADP_PCI/$MANAGED/driver/unbind"
	adp_is "$1: the driver leaves nothing mapped" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
	adp_is "$1: and nothing behind" "$(adp_log | grep -c "left .* mappings behind")" -le "${ADP_LEAVES:-0}"
}

# Has the driver start in mode $1.
adp_zoo_restart() {
	echo "$1" >"$ADP_PCI/$COMPANION/apple_dma_pci/mode"
	echo "$MANAGED" >"/sys/bus/pci/drivers/$ADP_ZOO/bind"
	ktap_test_result "$1: the driver is back" adp_until adp_driver_is "$MANAGED" "$ADP_ZOO"
}

# adp_zoo WORK BYTES: in each mode the function WORK does, with its name as argument; BYTES
# prints how much the managed function has moved.
adp_zoo() {
	adp_runs=1
	for mode in ${ADP_BRIEF:-${ADP_MODES:-lazy strict}}; do
		if [ $adp_runs -eq 1 ] && [ "$(adp_setting "$COMPANION" mode)" != "$mode" ]; then
			adp_zoo_stop "before $mode"
			adp_runs=0
		fi
		[ $adp_runs -eq 1 ] || adp_zoo_restart "$mode"
		adp_runs=0
		adp_is "$mode: so it is" "$(adp_setting "$COMPANION" mode)" = "$mode"
		# shellcheck disable=SC2046
		set -- "$1" "$2" $(adp_zoo_counts)
		"$1" "$mode"
		adp_bytes=$("$2")
		# shellcheck disable=SC2046
		set -- "$@" $(adp_zoo_counts)
		if [ -n "$ADP_COHERENT" ]; then
			adp_is "$mode: its memory is ours" "$(adp_stat "$COMPANION" coherent_bytes)" -gt 0
		elif [ -n "$ADP_KEEPS" ]; then
			adp_is "$mode: its mappings are ours" "$(adp_stat "$COMPANION" live_mappings)" -gt 0
		else
			adp_is "$mode: its mappings were ours" $((${13} + ${14})) -gt $((${7} + ${8}))
		fi
		ktap_print_msg "zoo: driver=$ADP_ZOO mode=$mode irq=$(adp_zoo_irq "$MANAGED") bytes=$adp_bytes" \
			"doorbells=$((${9} - $3)) maps=$((${10} - $4)) unmaps=$((${11} - $5)) copied=$((${12} - $6))" \
			"mappings=$((${13} - $7)) lists=$((${14} - $8))"
		set -- "$1" "$2"
		adp_zoo_stop "$mode"
	done
	adp_zoo_restart "$mode"
	adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
	adp_is "no mapping failed" "$(adp_stat "$COMPANION" map_failures)" -eq 0
	adp_is "the driver gave back only what it had" "$(adp_stat "$COMPANION" bad_unmaps)" -eq 0
	ktap_finished
}

# adp_zoo_below DIRECTORY FUNCTION: the names in a directory of sysfs that are devices of a function.
adp_zoo_below() {
	for adp_dir in "$1"/*; do
		case $(readlink -f "$adp_dir") in
		*/"$2"/*) echo "${adp_dir##*/}" ;;
		esac
	done
}
