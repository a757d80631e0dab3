#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# All CPUs map and unmap the same few windows, of which the platform has room for
# next to none, so that what one CPU maps takes the place of what another has just
# let go. It needs two CPUs, and a platform with 64 mappings and 4 MiB or so.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
[ "$(grep -c ^processor /proc/cpuinfo)" -ge 2 ] || adp_skip "one CPU is no crowd"
seed=${ADP_SEED:-$(awk '{ srand(); print int(rand() * 1000000) }' /proc/uptime)}
ms=${ADP_MS:-2000}

before=$(($(adp_stat "$COMPANION" unmap_entries)))
adp_case "in one page" smp "ms=$((ms / 2))" mem=1 "seed=$seed"
adp_case "in as much as fits" smp "ms=$ms" mem=0x80000 limits=1 "seed=$((seed + 1))"
adp_is "by two CPUs and more" "$(adp_fact cpus)" -ge 2
adp_case "in more than fits" smp "ms=$ms" mem=0x2000000 limits=1 "seed=$((seed + 2))"
[ "$(adp_stat "$COMPANION" peak_mappings)" -le 64 ] || {
	ktap_test_skip "the limits are too far away"
	ktap_finished
}
ktap_print_msg "operations: $(adp_fact ops), refused: $(adp_fact refused)"
adp_is "room was made many times" $(($(adp_stat "$COMPANION" unmap_entries) - before)) -ge 256
if [ "$(adp_setting "$COMPANION" mode)" = lazy ]; then
	adp_is "idle windows were reclaimed" "$(adp_stat "$COMPANION" reclaimed)" -ge 64
fi
adp_case "a random history" soak ops=1500 live=48 mem=0x100000 limits=1 "seed=$((seed + 3))"
adp_case "and all works" map n=8
ktap_finished
