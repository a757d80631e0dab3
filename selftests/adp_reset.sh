#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The managed function is reset, quiet and at work. What is mapped stays mapped, and
# nothing is mapped twice. ADP_NVME is as for adp_nvme.sh.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_NVME" ] || adp_skip "ADP_NVME names no drive that may be overwritten"
adp_need_module
adp_need_drive
grep -q flr "$ADP_PCI/$MANAGED/reset_method" || adp_skip "$MANAGED has no function-level reset"

# shellcheck disable=SC2317
reset() {
	echo flr >"$ADP_PCI/$MANAGED/reset_method" && echo 1 >"$ADP_PCI/$MANAGED/reset"
}

io() {
	"$adp_here/adp_io" -j 2 -n "${ADP_OPS:-150}" -m 16 -s "$1" "/dev/$DRIVE"
}

adp_program "patterns before it" io 1
live=$(adp_stat "$COMPANION" live_mappings)
ktap_test_result "a reset" reset
adp_is "what was mapped is mapped" "$(adp_stat "$COMPANION" live_mappings)" -ge "$live"
# Its driver needs a buffer or two to start it again.
adp_is "and hardly anything else" "$(adp_stat "$COMPANION" live_mappings)" -le $((live + 4))
adp_program "patterns after it" io 2

for round in 1 2 3; do
	io $((round + 2)) >/tmp/adp_reset 2>&1 &
	io=$!
	sleep 1
	ktap_test_result "a reset at work ($round)" reset
	ktap_test_result "every byte comes back ($round)" wait $io
done
rm -f /tmp/adp_reset
adp_is "the host refused nothing" "$(adp_stat "$COMPANION" refused_maps) $(adp_stat "$COMPANION" refused_unmaps)" = "0 0"
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
ktap_finished
