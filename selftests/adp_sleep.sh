#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The machine sleeps and wakes up, ADP_SLEEP says how: "test" goes as far as the
# kernel can be told to go by itself, "idle" waits for the clock, "ram" for the host.
# What was mapped stays mapped where it was, and nothing is sent meanwhile.
# ADP_NVME is as for adp_nvme.sh.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_SLEEP" ] || adp_skip "ADP_SLEEP does not say that this machine may sleep"
adp_need_edu
grep -q freeze /sys/power/state || adp_skip "this kernel cannot sleep"
case $ADP_SLEEP in
*idle*) [ -e /sys/class/rtc/rtc0/wakealarm ] || adp_skip "no clock would wake this machine up" ;;
esac

# shellcheck disable=SC2317
sleep_once() {
	case $1 in
	test)
		echo 1 >/sys/module/suspend/parameters/pm_test_delay
		echo platform >/sys/power/pm_test
		echo freeze >/sys/power/state
		sleep_status=$?
		echo none >/sys/power/pm_test
		return "$sleep_status"
		;;
	idle)
		echo 0 >/sys/class/rtc/rtc0/wakealarm
		echo +10 >/sys/class/rtc/rtc0/wakealarm
		echo freeze >/sys/power/state
		;;
	ram)
		qmp after SUSPEND system_wakeup >/dev/null
		echo deep >/sys/power/mem_sleep
		echo mem >/sys/power/state
		;;
	esac
}

adp_log_mark
adp_case "getting ready for the night" doze_new "companion=$COMPANION"
adp_case "mappings that stay" set_new n=16 len=8192
adp_case "they are mapped" set_map
nights=0
for how in $ADP_SLEEP; do
	live=$(adp_stat "$COMPANION" live_mappings)
	maps=$(adp_stat "$COMPANION" map_entries)
	ktap_test_result "the machine sleeps ($how)" sleep_once "$how"
	nights=$((nights + 1))
	adp_case "the device finds what it found ($how)" set_check
	adp_is "nothing was mapped for that ($how)" "$(adp_stat "$COMPANION" map_entries)" -eq "$maps"
	adp_is "what was unmapped in the night is gone ($how)" "$(adp_stat "$COMPANION" live_mappings)" -lt "$live"
	adp_case "what was refused in the night is mapped now ($how)" doze_check nights=$nights
done
adp_case "the last of them are unmapped" set_unmap
adp_case "and freed" set_free
adp_case "a random history" soak ops=200
adp_case "no more nights" doze_free
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready

if [ -n "$ADP_NVME" ]; then
	adp_need_drive
	for how in $ADP_SLEEP; do
		live=$(adp_stat "$COMPANION" live_mappings)
		unmaps=$(adp_stat "$COMPANION" unmap_entries)
		ktap_test_result "the machine sleeps above a quiet drive ($how)" sleep_once "$how"
		# Its driver needs a buffer or two to start it again.
		adp_is "nothing of the drive was unmapped ($how)" "$(adp_stat "$COMPANION" unmap_entries)" -eq "$unmaps"
		adp_is "and hardly anything mapped ($how)" "$(adp_stat "$COMPANION" live_mappings)" -le $((live + 4))

		"$adp_here/adp_io" -j 2 -n "${ADP_OPS:-150}" -m 16 -s "$nights" "/dev/$DRIVE" >/tmp/adp_sleep 2>&1 &
		io=$!
		ktap_test_result "the machine sleeps above a busy drive ($how)" sleep_once "$how"
		ktap_test_result "every byte comes back ($how)" wait $io
		adp_is "the companion is well ($how)" "$(adp_about "$COMPANION" state)" = ready
	done
	rm -f /tmp/adp_sleep
fi
adp_is "no driver has failed to wake up" "$(adp_log | grep -c 'failed to resume\|PM: failed')" -eq 0
ktap_finished
