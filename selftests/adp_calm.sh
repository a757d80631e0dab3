#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# One entry that the host refuses costs only for a time: after it the budget is taken for smaller,
# and with it the pool of copies; later both are what they were, and so are the doorbells that
# the same work takes. It needs a function for which copy is always, a short idle_ms, and a host that qmp can ask.

# Most functions are called by name.
# shellcheck disable=SC2317
# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
[ "$(adp_setting "$COMPANION" copy)" = always ] || adp_skip "copy is not always"
[ "$(cat /sys/module/apple_dma_pci/parameters/idle_ms)" -le 1000 ] || adp_skip "idle_ms is more than 1000"
command -v qmp >/dev/null || adp_skip "no host to ask for refusals"

calm_budget() {
	echo "$(adp_stat "$COMPANION" budget_bytes) $(adp_stat "$COMPANION" budget_mappings)"
}

calm_is_back() {
	[ "$(calm_budget)" = "$whole" ]
}

# calm_work WHEN: $rung doorbells for it.
calm_work() {
	adp_case "memory for 600 mappings $1" set_new n=600 len=1000 stride=4096
	rung=$(adp_stat "$COMPANION" doorbells)
	copied=$(adp_stat "$COMPANION" copied)
	adp_case "mapping them $1" set_map
	rung=$(($(adp_stat "$COMPANION" doorbells) - rung))
	copied=$(($(adp_stat "$COMPANION" copied) - copied))
	adp_case "they are right $1" set_check
	adp_case "unmapping them $1" set_unmap
	adp_case "they go $1" set_free
	ktap_print_msg "$copied of them copied, $rung doorbells"
}

# Nothing of an earlier round is left.
calm_anew() {
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
	adp_is "no pool of copies $1" "$(adp_stat "$COMPANION" copy_bytes)" -eq 0
}

whole=$(calm_budget)
adp_is "the budget is the platform's at first" "$whole" = "1610612736 65536"
calm_anew "before"
calm_work "before"
before=$rung
adp_is "all are copied before" "$copied" -eq 600
calm_anew "when an entry is refused"
qmp qom-set "{\"path\": \"companion0\", \"property\": \"x-fault-map-refuse\", \"value\": 1}" >/dev/null
refused=$(adp_stat "$COMPANION" refused_maps)
adp_case "memory for a mapping" set_new n=1 len=0x20000 stride=0x20000
adp_case "mapping it" set_map
adp_is "an entry was refused" "$(adp_stat "$COMPANION" refused_maps)" -gt "$refused"
adp_is "the budget is smaller for it" "$(calm_budget)" != "$whole"
adp_case "it goes" set_free
ktap_test_result "it grows back" adp_until calm_is_back
calm_work "after"
adp_is "all are copied after" "$copied" -eq 600
adp_is "for as few doorbells" "$rung" -le "$before"

# A new driver starts anew.
qmp qom-set "{\"path\": \"companion0\", \"property\": \"x-fault-map-refuse\", \"value\": 1}" >/dev/null
adp_case "memory for another" set_new n=1 len=0x20000 stride=0x20000
adp_case "mapping it too" set_map
adp_case "it goes too" set_free
calm_anew "for a new driver"
adp_is "a new driver has all of the budget" "$(calm_budget)" = "$whole"
ktap_finished
