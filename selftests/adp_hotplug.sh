#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Companions and functions that are plugged and unplugged. Only in a guest that can
# ask its host for that, and ADP_PLUG says what there is: "slot" for a root port rp0,
# where both come and go at once, "bridge" for a bridge br0, where each does alone.

# Most functions are called by adp_until and adp_quiet.
# shellcheck disable=SC2317,SC2086
# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_PLUG" ] || adp_skip "ADP_PLUG does not say what can be plugged"
adp_load adp_test

adp_edu() {
	EDU=$(adp_functions $ADP_EDU_ID | head -n 1)
	[ -n "$EDU" ]
}

adp_companion() {
	COMPANION=$(adp_companions | head -n 1)
	[ -n "$COMPANION" ] && [ "$(adp_about "$COMPANION" state)" = ready ]
}

adp_works() {
	adp_edu && adp_edu_started && adp_companion &&
		[ "$(adp_about "$COMPANION" managed)" = "$EDU" ]
}

# Has the host do something; what it refuses is shown.
adp_host() {
	adp_answer=$("$@" 2>&1) || ktap_print_msg "$*: $adp_answer"
}

# adp_plug_edu OPTIONS
adp_plug_edu() {
	qmp device_add "{\"driver\": \"edu\", \"id\": \"e0\", \"dma_mask\": 18446744073709551615, \"dma_delay_ms\": 0, $1}"
}

adp_plug_companion() {
	qmp device_add "{\"driver\": \"apple-dma-pci\", \"id\": \"c0\", \"managed\": \"e0\", $1}"
}

adp_unplug() {
	qmp device_del "{\"id\": \"$1\"}" && adp_until eval "qmp wait DEVICE_DELETED | grep -q '\"device\": \"$1\"'"
}

adp_totals() {
	adp_is "nothing was mapped when it went ($1)" "$(adp_log | grep "totals:" | grep -vc "live_mappings=0 live_bytes=0")" -eq 0
	adp_is "and nothing left behind ($1)" "$(adp_log | grep -c "left .* mappings behind")" -eq 0
}

# Where nothing is plugged a port is suspended by newer kernels, and would have to
# send a PME when something is, which QEMU's do not.
for port in /sys/bus/pci/drivers/pcieport/*:*/power/control; do
	adp_sysfs "$port" on
done

adp_log_mark
if [ "$ADP_PLUG" = slot ]; then
	for round in 1 2; do
		adp_host adp_plug_companion '"bus": "rp0", "addr": "0.1"'
		adp_host adp_plug_edu '"bus": "rp0", "addr": "0.0", "multifunction": true'
		ktap_test_result "plugged together, the function is served ($round)" adp_until adp_works
		adp_case "and works ($round)" map n=16
		ktap_test_result "both are unplugged ($round)" adp_quiet adp_unplug e0
		ktap_test_result "and gone ($round)" adp_until eval '! adp_edu'
		adp_totals "$round"
	done
	ktap_finished
fi

# What is there has made room on the bridge.
for id in s0 s1 s2; do
	adp_host qmp device_del "{\"id\": \"$id\"}"
done
adp_until eval '! adp_edu'

# The companion comes first, and does not know where its function will be.
adp_host adp_plug_companion '"bus": "br0", "addr": "2"'
ktap_test_result "a companion without a function is ready" adp_until adp_companion
adp_is "which is said" "$(adp_log | grep -c "apple_dma_pci $COMPANION: no function at")" -eq 1
adp_host adp_plug_edu '"bus": "br0", "addr": "4"'
ktap_test_result "the function is taken up when it is plugged" adp_until adp_works
adp_case "and works" map n=16
ktap_test_result "the function is unplugged" adp_quiet adp_unplug e0
ktap_test_result "and gone" adp_until eval '! adp_edu'
adp_is "nothing is mapped" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
adp_totals "function"

adp_host adp_plug_edu '"bus": "br0", "addr": "1"'
ktap_test_result "it is taken up elsewhere" adp_until adp_works
adp_case "and works there" map n=16

# The function is in use, and its companion goes.
adp_log_mark
ktap_test_result "the companion is unplugged" adp_quiet adp_unplug c0
adp_is "the function has lost its driver" "$(adp_driver "$EDU")" = ""
adp_totals "companion"
adp_sysfs /sys/bus/pci/drivers/adp_test/bind "$EDU"
adp_is "it cannot be bound" "$(adp_driver "$EDU")" = ""
adp_host adp_plug_companion '"bus": "br0", "addr": "3", "layout": "wide"'
ktap_test_result "with another companion it is served" adp_until adp_works
adp_case "and works again" soak ops=100
ktap_finished
