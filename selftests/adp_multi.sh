#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Two companions in one machine: each has its own function and its own books.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
ADP_PICK=1
adp_need_edu
edu1=$EDU
companion1=$COMPANION
ADP_PICK=2
adp_need_edu
edu2=$EDU
companion2=$COMPANION
adp_is "they are two" "$companion1" != "$companion2"

# What a companion has done, but for what becomes of idle mappings in time.
books() {
	grep -Ev '^(doorbells|unmap_entries|live_mappings|live_bytes|aged|memory_bytes) ' "$ADP_STATE/$1/stats"
}

for pair in "$edu1 $companion1 $companion2" "$edu2 $companion2 $companion1"; do
	# shellcheck disable=SC2086
	set -- $pair
	EDU=$1
	other=$(books "$3")
	own=$(books "$2")
	adp_case "mappings of $1" map n=16
	adp_case "scatterlists of $1" sg n=200
	adp_case "coherent memory of $1" alloc n=11
	adp_case "a random history of $1" soak ops=300
	adp_is "$2 did it" "$(books "$2")" != "$own"
	adp_is "$3 did not" "$(books "$3")" = "$other"
done

# Both at once, one of them in the background.
EDU=$edu1
echo "soak ops=600" >"$ADP_DEBUGFS/adp_test/$edu2/run" &
adp_case "both at once, $edu1" soak ops=600
wait
adp_is "both at once, $edu2" "$(tail -n 1 "$ADP_DEBUGFS/adp_test/$edu2/result")" = "ok soak"
ktap_finished
