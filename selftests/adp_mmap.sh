#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Memory of the DMA API in a process.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
[ -c "/dev/adp_test-$EDU" ] || adp_skip "no /dev/adp_test-$EDU"
adp_program "mmap() of every kind of memory" \
	"$adp_here/adp_mmap" "$ADP_DEBUGFS/adp_test/$EDU" "/dev/adp_test-$EDU"
ktap_finished
