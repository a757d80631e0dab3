#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Lazy mode: what is warm costs no doorbell, what is idle goes after a while,
# many at a time, and what is in use stays. It sleeps for as long as memory may be
# idle, so idle_ms of the module should be short.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
[ "$(cat /sys/module/apple_dma_pci/parameters/mode)" = lazy ] || adp_skip "the mode is not lazy"
idle=$(cat /sys/module/apple_dma_pci/parameters/idle_ms)
[ "$idle" -le 5000 ] || adp_skip "idle_ms=$idle takes too long to wait for"

rest() {
	# Up to a quarter longer, and some more for a slow machine.
	usleep $((idle * 1600 + 500000))
}

rest
base=$(adp_stat "$COMPANION" live_mappings)
adp_case "memory for mappings" set_new n=200 len=4096 stride=0x8000
adp_case "mapping, cold" set_map
adp_is "all are mapped" "$(adp_fact mapped)" -eq 200
adp_case "they are right" set_check
adp_case "unmapping" set_unmap
rung=$(adp_stat "$COMPANION" doorbells)
for _ in 1 2 3 4 5; do
	if ! adp_run set_map || ! adp_run set_check || ! adp_run set_unmap; then
		ktap_test_fail "mapping, warm"
	fi
done
adp_is "1000 warm pairs cost no more than one doorbell" \
	$(($(adp_stat "$COMPANION" doorbells) - rung)) -le 1

adp_case "some stay in use" set_map
adp_case "most go" set_unmap pct=70
kept=$(adp_fact live)
before=$(adp_stat "$COMPANION" live_mappings)
rest
adp_is "what is in use is mapped ($kept)" "$(adp_fact live)" -gt 0
adp_case "and right, when the rest has aged" set_check
adp_is "nothing came" "$(adp_stat "$COMPANION" live_mappings)" -le "$before"

# Host pages far apart, so that there are many windows.
adp_case "many windows" sg_new n=400 len=4096 stride=0x40000
adp_case "mapping them" sg_map
rung=$(adp_stat "$COMPANION" doorbells)
adp_case "unmapping them" sg_unmap
adp_is "unmapping rings no doorbell" $(($(adp_stat "$COMPANION" doorbells) - rung)) -le 1
adp_case "the set is unmapped" set_unmap
rung=$(adp_stat "$COMPANION" doorbells)
entries=$(adp_stat "$COMPANION" unmap_entries)
rest
rest
rung=$(($(adp_stat "$COMPANION" doorbells) - rung))
entries=$(($(adp_stat "$COMPANION" unmap_entries) - entries))
ktap_print_msg "$entries were unmapped for being idle, with $rung doorbells"
adp_is "all that was idle has gone" "$(adp_stat "$COMPANION" live_mappings)" -le "$base"
adp_is "many at a time" $((rung * 8)) -le $((entries + 24))
adp_case "the set goes" set_free
adp_case "the list goes" sg_free
adp_case "what a driver unmaps too often takes no queue from it" pinned "wait=$((idle * 8 / 5 + 500))"
adp_case "nor what queues share" pinned size=4096 "wait=$((idle * 8 / 5 + 500))"
adp_case "it all works again" soak ops=400
ktap_finished
