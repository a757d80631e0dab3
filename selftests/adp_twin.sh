#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A device of the same model that is not managed works as it always did, and
# nothing of it reaches the companion.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
managed=$EDU
twin=
for function in $(adp_functions $ADP_EDU_ID); do
	case " $(cat $ADP_STATE/*/managed) " in
	*"$function"*) ;;
	*) twin=$function ;;
	esac
done
[ -n "$twin" ] || adp_skip "no edu device that is not managed"

EDU=$twin
before=$(cat "$ADP_STATE/$COMPANION/stats")
for case in "map n=24" "share rounds=2" "sync" "sg n=1000" "alloc n=9 max=0x100000" "alloc kind=pages max=0x10000" \
	    "sgtable" "pool" "mask bits=64" "soak ops=500" "smp ms=300"; do
	# shellcheck disable=SC2086
	adp_case "not managed: $case" $case
done
adp_is "the companion has not noticed" "$(cat "$ADP_STATE/$COMPANION/stats")" = "$before"

EDU=$managed
adp_case "the managed one works beside it" map n=12
adp_is "by its companion" "$(cat "$ADP_STATE/$COMPANION/stats")" != "$before"
ktap_finished
