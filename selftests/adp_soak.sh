#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Long random histories against a model, and all CPUs at once.
# ADP_OPS: operations of each history. ADP_SEED: the first one's seed.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
ops=${ADP_OPS:-1500}
seed=${ADP_SEED:-$(awk '{ srand(); print int(rand() * 1000000) }' /proc/uptime)}

# Two copies of the same bytes do not know of each other.
apart=0
[ "$(adp_setting "$COMPANION" copy)" != always ] || apart=1

adp_case "in little memory, where all share" soak "ops=$ops" mem=0x80000 live=48 "apart=$apart" "seed=$seed"
adp_case "in much memory" soak "ops=$ops" mem=0x2000000 live=200 "apart=$apart" "seed=$((seed + 1))"
adp_case "every CPU" smp ms=1500 "seed=$((seed + 2))"
ktap_print_msg "CPUs: $(adp_fact cpus), operations: $(adp_fact ops)"
adp_case "every CPU in one page" smp ms=700 mem=1 "seed=$((seed + 3))"
adp_case "unmapping what is not mapped" unknown
adp_case "coherent memory that is unmapped too often" pinned
adp_case "and some that shares its page" pinned size=4096
ktap_finished
