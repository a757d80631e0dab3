#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Makes the device use an address that it was not given, to see that the
# emulated platform notices. On a real platform this may end the host, so it runs
# only when ADP_STRAY says what to do: an address, "unmapped" for one whose
# mapping has ended, or "idle" for one whose mapping ended idle_ms and more ago.
# ADP_DIR: "from" for a write of the device, "to" for a read.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_STRAY" ] || adp_skip "ADP_STRAY does not ask for it"
adp_need_edu

adp_run map n=4 || ktap_exit_fail_msg "not even a good access works"
case $ADP_STRAY in
unmapped) adp_run stray "dir=${ADP_DIR:-to}" ;;
idle)
	idle=$(cat /sys/module/apple_dma_pci/parameters/idle_ms)
	adp_run stray "dir=${ADP_DIR:-to}" "wait=$((idle * 2 + 500))"
	;;
*) adp_run stray "dir=${ADP_DIR:-to}" "addr=$ADP_STRAY" ;;
esac
ktap_test_fail "the machine goes on after a stray access"
ktap_finished
