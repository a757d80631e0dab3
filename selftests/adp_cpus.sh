#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# CPUs go and come back while there is I/O, and nothing of what they knew is lost.
# ADP_NVME is as for adp_nvme.sh.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_NVME" ] || adp_skip "ADP_NVME names no drive that may be overwritten"
adp_need_module
adp_need_drive
[ -e /sys/devices/system/cpu/cpu1/online ] || adp_skip "no CPU can be taken away"

# All CPUs but the first: 0 or 1.
cpus() {
	for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
		echo "$1" >"$cpu" || return 1
	done
}

io() {
	"$adp_here/adp_io" -j 4 -n "${ADP_OPS:-100}" -m 16 -s "$1" "/dev/$DRIVE"
}

adp_program "patterns with all CPUs" io 1
for round in 1 2 3; do
	io $((round + 1)) >/tmp/adp_cpus 2>&1 &
	io=$!
	mapped=$(($(adp_stat "$COMPANION" map_ops) + $(adp_stat "$COMPANION" sg_lists)))
	copied=$(adp_stat "$COMPANION" copied)
	ktap_test_result "the others go ($round)" cpus 0
	adp_is "what they have done still counts ($round)" \
		"$(($(adp_stat "$COMPANION" map_ops) + $(adp_stat "$COMPANION" sg_lists)))" -ge "$mapped"
	adp_is "and what they have copied ($round)" "$(adp_stat "$COMPANION" copied)" -ge "$copied"
	sleep 1
	ktap_test_result "they come back ($round)" cpus 1
	ktap_test_result "every byte comes back ($round)" wait $io
done
rm -f /tmp/adp_cpus
[ -z "$ADP_COPIED" ] ||
	adp_is "$ADP_COPIED and more were copied" "$(adp_stat "$COMPANION" copied)" -ge "$ADP_COPIED"

cpus 0
adp_log_mark
echo "$MANAGED" >/sys/bus/pci/drivers/nvme/unbind
adp_is "with one CPU left the driver goes" "$(adp_driver "$MANAGED")" = ""
adp_is "it has left nothing behind" "$(adp_log | grep -c 'mappings behind')" -eq 0
adp_is "and nothing is mapped" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
cpus 1
echo "$MANAGED" >/sys/bus/pci/drivers/nvme/bind
until [ -b "/dev/$DRIVE" ]; do sleep 0.2; done
adp_program "patterns at the end" io 9
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
ktap_finished
