#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Many companions, each with an edu device: all at work at once, each with its own
# books. ADP_COUNT: how many there are.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

ready=0
for companion in $(adp_companions); do
	[ "$(adp_about "$companion" state)" = ready ] || continue
	ready=$((ready + 1))
	edu=$(adp_about "$companion" managed)
	adp_stat "$companion" live_mappings >"/tmp/live.$edu"
	adp_stat "$companion" doorbells >"/tmp/rung.$edu"
	echo "soak ops=${ADP_OPS:-40} seed=$ready" >"$ADP_DEBUGFS/adp_test/$edu/run" &
done
wait
adp_is "all of them serve" $ready -eq "${ADP_COUNT:-$(adp_companions | wc -l)}"

for companion in $(adp_companions); do
	edu=$(adp_about "$companion" managed)
	adp_is "$edu of $companion works" "$(tail -n 1 "$ADP_DEBUGFS/adp_test/$edu/result")" = "ok soak"
	adp_is "$companion did it" "$(adp_stat "$companion" doorbells)" -gt "$(cat "/tmp/rung.$edu")"
	adp_stat "$companion" doorbells >"/tmp/rung.$edu"
done

# One is taken away, and the others do not notice.
EDU=$(adp_about "$COMPANION" managed)
adp_sysfs /sys/bus/pci/drivers/apple_dma_pci/unbind "$COMPANION"
adp_is "$EDU has lost its driver" "$(adp_driver "$EDU")" = ""
for companion in $(adp_companions); do
	[ "$companion" != "$COMPANION" ] || continue
	EDU=$(adp_about "$companion" managed)
	adp_is "$EDU has not" "$(adp_driver "$EDU")" = adp_test
	[ $ready -gt 8 ] || adp_case "it works" map n=2
done
adp_sysfs /sys/bus/pci/drivers/apple_dma_pci/bind "$COMPANION"
EDU=$(adp_about "$COMPANION" managed)
ktap_test_result "$EDU has its driver again" adp_until adp_edu_started
adp_case "it works again" map n=2
ktap_finished
