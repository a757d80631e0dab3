#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A machine with a managed function that has a driver does not hibernate, and says
# why; without one it does. ADP_SWAP names a device for the image, whose contents are
# lost; the kernel is told to read it back at once. ADP_STAGE: how far it goes instead,
# of /sys/power/pm_test: before 6.4 a kernel finds the device busy that it has just
# written to.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -b "$ADP_SWAP" ] || adp_skip "ADP_SWAP names no device that may be overwritten"
adp_need_edu
grep -q disk /sys/power/state || adp_skip "this kernel cannot hibernate"
grep -q test_resume /sys/power/disk || adp_skip "this kernel cannot test hibernation"

mkswap "$ADP_SWAP" >/dev/null
swapon "$ADP_SWAP" || adp_skip "no swap on $ADP_SWAP"
echo test_resume >/sys/power/disk

hibernate() {
	echo disk >/sys/power/state
}

adp_case "mappings that are live" set_new n=4
adp_case "they are mapped" set_map
for round in 1 2; do
	adp_log_mark
	if hibernate 2>/dev/null; then
		ktap_test_fail "it is refused ($round)"
	else
		ktap_test_pass "it is refused ($round)"
	fi
	adp_is "the log says why ($round)" "$(adp_log | grep -c "$EDU: this machine cannot hibernate: .*unbind")" -eq 1
	adp_case "nothing has changed for the function ($round)" set_check
done
adp_case "the mappings go" set_unmap
adp_case "and their memory" set_free

echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
[ -z "$ADP_STAGE" ] || adp_sysfs /sys/power/pm_test "$ADP_STAGE"
adp_is "nothing is mapped without the driver" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
for round in 1 2; do
	ktap_test_result "without the driver it is not refused ($round)" hibernate
	adp_log_mark
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
	adp_is "the driver starts again ($round)" "$(adp_driver "$EDU")" = adp_test
	adp_case "the function works ($round)" map n=8
	[ $round -eq 2 ] || echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
done
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
swapoff "$ADP_SWAP"
ktap_finished
