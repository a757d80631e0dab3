#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Naturally aligned memory of 64 KiB and more gets an address that is aligned like
# it, although the platform promises none.
# ADP_ALIGNED: how many of a hundred must, 99 if not said.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
[ "$(cat "$ADP_STATE/$COMPANION/mode")" = lazy ] || adp_skip "the mode is not lazy"
want=${ADP_ALIGNED:-99}

# blocks WHAT N LEN: map N blocks of LEN bytes, give some back, map them again.
blocks() {
	entries=$(adp_stat "$COMPANION" map_entries)
	congruent=$(adp_stat "$COMPANION" congruent)
	adp_case "$1: memory" set_new "n=$2" "len=$3" "stride=$3"
	adp_case "$1: mapping" set_map
	adp_is "$1: all are mapped" "$(adp_fact mapped)" -eq "$2"
	adp_is "$1: they are aligned" "$(adp_fact aligned)" -ge $(($2 * want / 100))
	first=$(adp_fact aligned)
	adp_case "$1: they are right" set_check
	adp_case "$1: some go" set_unmap pct=40
	adp_case "$1: and come back" set_map
	again=$(adp_fact mapped)
	adp_is "$1: aligned again" "$(adp_fact aligned)" -ge $((again * want / 100))
	adp_is "$1: the module counts as many" \
		$(($(adp_stat "$COMPANION" congruent) - congruent)) \
		-eq $((first + $(adp_fact aligned)))
	adp_case "$1: they are right as well" set_check
	entries=$(($(adp_stat "$COMPANION" map_entries) - entries))
	ktap_print_msg "$1: $entries entries for $(($2 + again)) mappings"
	adp_case "$1: all go" set_unmap
}

# Single pages first, so that there are holes of all sizes.
adp_case "small ones: memory" set_new n=64 len=4096 stride=0x40000
adp_case "small ones: mapping" set_map
adp_case "small ones: some go" set_unmap pct=50
adp_case "small ones: they are right" set_check
adp_case "small ones: all go" set_unmap

blocks "64 KiB" 150 65536
blocks "256 KiB" 40 262144
blocks "2 MiB" 12 2097152
blocks "64 KiB again" 150 65536
ktap_finished
