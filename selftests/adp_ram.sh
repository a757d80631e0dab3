#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The ends of RAM and its holes, and mappings of many MiB.
# ADP_ODD=1: RAM has ends within a host page, and free pages there.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

adp_case "first and last pages of every range of RAM, and not beyond" ram
echo "$RESULT" | grep 'RAM \['
if [ -n "$ADP_ODD" ]; then
	# Some of them hold files; those move.
	for _ in 1 2 3 4 5 6 7 8; do
		adp_run edge n=8
		adp_status=$?
		[ "$(adp_fact found)" = 0 ] || break
		echo 1 2>/dev/null >/proc/sys/vm/compact_memory
	done
	adp_verdict "$adp_status" "pages that share a host page with a hole"
	echo "$RESULT" | grep 'a page at'
fi
adp_case "one mapping of 1 MiB" big len=0x100000
adp_case "one mapping of 4 MiB" big len=0x400000
adp_case "one mapping of 64 MiB" big len=0x4000000
adp_case "the start of a range, which idle windows take" starts
adp_case "the ends once more" ram
ktap_finished
