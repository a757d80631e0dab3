#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Memory is plugged, goes online and offline, and is unplugged. What is new can be
# mapped at once, what goes is unmapped before. ADP_PLUG says where it comes from:
# "dimm" asks the host, "ADDRESS SIZE" is memory that mem= has withheld.

# Functions here are arguments of others.
# shellcheck disable=SC2317
# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_PLUG" ] || adp_skip "ADP_PLUG names no memory"
adp_need_edu
MEMORY=/sys/devices/system/memory
[ -e $MEMORY/auto_online_blocks ] || adp_skip "this kernel has no memory hot-plug"
echo offline >$MEMORY/auto_online_blocks
block=$((0x$(cat $MEMORY/block_size_bytes)))

blocks() {
	for dir in "$MEMORY"/memory[0-9]*; do
		echo "${dir##*/memory}"
	done | sort -n
}

plug() {
	before=$(blocks)
	if [ "$ADP_PLUG" = dimm ]; then
		qmp object-add '{"qom-type": "memory-backend-ram", "id": "mem1", "size": 268435456}' >/dev/null &&
			qmp device_add '{"driver": "pc-dimm", "id": "dimm1", "memdev": "mem1"}' >/dev/null || return 1
		until [ "$(blocks | wc -l)" -ge $(($(echo "$before" | wc -l) + 268435456 / block)) ]; do sleep 0.2; done
	else
		adp_run plug "start=${ADP_PLUG% *}" "size=${ADP_PLUG#* }" || return 1
	fi
	new=$(for n in $(blocks); do
		echo "$before" | grep -qx "$n" || echo "$n"
	done)
	start=$(($(echo "$new" | head -n 1) * block))
	size=$(($(echo "$new" | wc -l) * block))
	ktap_print_msg "plugged: $(printf '%#x, %#x bytes' "$start" "$size")"
}

unplug() {
	if [ "$ADP_PLUG" = dimm ]; then
		qmp device_del '{"id": "dimm1"}' >/dev/null &&
			qmp wait DEVICE_DELETED >/dev/null &&
			qmp object-del '{"id": "mem1"}' >/dev/null
	else
		adp_run unplug "start=$start" "size=$size"
	fi
}

# turn STATE: all of the new memory that is in another one.
turn() {
	for n in $new; do
		now=$(cat "$MEMORY/memory$n/state")
		[ "${1#"$now"}" != "$1" ] || echo "$1" >"$MEMORY/memory$n/state" || return 1
	done
}

for round in 1 2; do
	ktap_test_result "memory is plugged ($round)" plug
	maps=$(adp_stat "$COMPANION" map_entries)
	ktap_test_result "it goes online ($round)" turn online_movable
	adp_case "it can be mapped at once ($round)" plugged "start=$start" "size=$size" n=32
	adp_is "by windows ($round)" "$(adp_stat "$COMPANION" map_entries)" -gt "$maps"
	adp_is "it is not copied ($round)" "$(adp_stat "$COMPANION" bounced)" -eq 0
	adp_case "a random history beside it ($round)" soak ops=200
	# The kernel goes on trying until it is told not to.
	for n in $new; do
		timeout 3 sh -c "echo offline >$MEMORY/memory$n/state" 2>/dev/null
	done
	adp_is "it cannot go while it is in use ($round)" \
		"$(for n in $new; do cat "$MEMORY/memory$n/state"; done | grep -c online)" -gt 0
	ktap_test_result "what had gone comes back ($round)" turn online_movable
	adp_case "what is mapped goes ($round)" plugged_free
	maps=$(adp_stat "$COMPANION" map_entries)
	unmaps=$(adp_stat "$COMPANION" unmap_entries)
	ktap_test_result "it goes offline ($round)" turn offline
	[ "$(adp_setting "$COMPANION" mode)" = strict ] ||
		adp_is "what was mapped of it was unmapped ($round)" "$(adp_stat "$COMPANION" unmap_entries)" -gt "$unmaps"
	adp_is "nothing of it was mapped ($round)" "$(adp_stat "$COMPANION" map_entries)" -eq "$maps"
	adp_case "a random history without it ($round)" soak ops=200
	ktap_test_result "it is unplugged ($round)" unplug
	adp_case "a random history after it ($round)" soak ops=200
done
adp_is "the host refused nothing" "$(adp_stat "$COMPANION" refused_maps) $(adp_stat "$COMPANION" refused_unmaps)" = "0 0"
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
ktap_finished
