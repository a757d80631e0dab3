#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Many companions, each with an edu device: all at work at once, each with its own
# books. ADP_COUNT: how many there are. More than ADP_MOST cannot be served: they are
# refused, and their functions have no DMA.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

ready=0
refused=0
for companion in $(adp_companions); do
	if [ "$(adp_about "$companion" state)" = ready ]; then
		ready=$((ready + 1))
		edu=$(adp_about "$companion" managed)
		adp_stat "$companion" live_mappings >"/tmp/live.$edu"
		adp_stat "$companion" doorbells >"/tmp/rung.$edu"
		echo "soak ops=${ADP_OPS:-40} seed=$ready" >"$ADP_DEBUGFS/adp_test/$edu/run" &
	else
		refused=$((refused + 1))
	fi
done
wait
most=${ADP_MOST:-${ADP_COUNT:-$ready}}
adp_is "$most companions serve" $ready -eq "$most"
adp_is "the others are refused" $refused -eq $((${ADP_COUNT:-$ready} - most))
if [ $refused -gt 0 ]; then
	adp_is "which is said, and what to do" \
		"$(dmesg | grep -c "apple_dma_pci .*: too many companions; .* gets no DMA.*; give the VM")" -eq $refused
	idle=0
	for edu in $(adp_functions $ADP_EDU_ID); do
		[ -n "$(adp_driver "$edu")" ] || idle=$((idle + 1))
	done
	adp_is "their functions have no driver" $idle -eq $refused
fi

for companion in $(adp_companions); do
	[ "$(adp_about "$companion" state)" = ready ] || continue
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
	[ "$(adp_about "$companion" state)" = ready ] || continue
	EDU=$(adp_about "$companion" managed)
	adp_is "$EDU has not" "$(adp_driver "$EDU")" = adp_test
	[ $ready -gt 8 ] || adp_case "it works" map n=2
done
adp_sysfs /sys/bus/pci/drivers/apple_dma_pci/bind "$COMPANION"
EDU=$(adp_about "$COMPANION" managed)
ktap_test_result "$EDU has its driver again" adp_until adp_driver_is "$EDU" adp_test
adp_case "it works again" map n=2
ktap_finished
