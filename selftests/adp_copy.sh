#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Mappings that are copied: right in every byte, and none but their own are seen.
# It needs a function for which copy is always.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
[ "$(adp_setting "$COMPANION" copy)" = always ] || adp_skip "copy is not always"
wiped=0
[ "$(adp_setting "$COMPANION" mode)" != strict ] || wiped=1

# copied DESCRIPTION HOW_MANY CASE...: as adp_case; so many are copied at least.
copied() {
	what=$1
	least=$2
	shift 2
	count=$(adp_stat "$COMPANION" copied)
	adp_case "$what" "$@"
	count=$(($(adp_stat "$COMPANION" copied) - count))
	adp_is "$what: copied" "$count" -ge "$least"
}

for dir in to from both; do
	copied "every offset and length, $dir" 1600 copy_every dir=$dir step=7
	copied "unmapped on another CPU, $dir" 120 copy_every dir=$dir step=97 across=1
done
for ctx in process bh irqoff softirq hardirq remote; do
	copied "pieces of a page, $ctx" 120 copy_every step=97 ctx=$ctx
	copied "sync of parts, $ctx" 1 copy_sync ctx=$ctx
	copied "nothing around them is seen, $ctx" 64 copy_exposed ctx=$ctx wiped=$wiped
	# Lengths up to two pages: some entries are copied, others are not.
	copied "scatterlist of both kinds, $ctx" 20 sg n=200 len=8192 ctx=$ctx
done
copied "sync of parts, unmapped on another CPU" 1 copy_sync across=1
copied "syncs that are skipped" 2 copy_skip
copied "scatterlist as an array" 10 sg n=100 len=8192 table=0

bad=$(adp_stat "$COMPANION" bad_unmaps)
adp_log_mark
copied "unmaps that are wrong" 2 copy_bad
adp_is "they are counted" $(($(adp_stat "$COMPANION" bad_unmaps) - bad)) -eq 3
adp_is "and named" "$(adp_log | grep -c "driver bug: it unmapped")" -ge 1

# No doorbell rings for what is copied when there are slots.
adp_case "memory for mappings" set_new n=40 len=1000 stride=0x40000
adp_case "mapping, for slots to be there" set_map
adp_case "unmapping" set_unmap
# Windows of what came before grow old at any time, and take one: then again.
for round in 1 2 3; do
	aged=$(adp_stat "$COMPANION" aged)
	rung=$(adp_stat "$COMPANION" doorbells)
	copied "mapping ($round)" 40 set_map
	adp_case "they are right ($round)" set_check
	adp_case "unmapping ($round)" set_unmap
	rung=$(($(adp_stat "$COMPANION" doorbells) - rung))
	[ "$(adp_stat "$COMPANION" aged)" -ne "$aged" ] || break
done
adp_is "no doorbell" "$rung" -eq 0
adp_case "they go" set_free

# The pool is no larger than it must be, wherever its free slots are.
before=$(adp_stat "$COMPANION" copy_bytes)
adp_case "memory for 500 mappings" set_new n=500 len=100 stride=4096
adp_case "mapping" set_map
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	adp_run set_unmap pct=1
	adp_run set_map
done
adp_case "they are right" set_check
adp_is "the pool has room for few more" "$(adp_stat "$COMPANION" copy_bytes)" -le $((before + 0x300000))
adp_case "they go" set_free

# More than there are slots: the rest is mapped.
adp_case "memory for more mappings than slots" set_new n=4600 len=2048 stride=4096
for round in 1 2; do
	count=$(adp_stat "$COMPANION" copied)
	adp_case "mapping ($round)" set_map
	adp_is "all are mapped ($round)" "$(adp_fact live)" -eq 4600
	count=$(($(adp_stat "$COMPANION" copied) - count))
	ktap_print_msg "$count copied, $(adp_stat "$COMPANION" copy_bytes) bytes in the pool"
	adp_is "many were copied ($round)" $count -ge 3500
	adp_is "not all were ($round)" $count -lt 4600
	adp_is "the pool has a limit ($round)" "$(adp_stat "$COMPANION" copy_bytes)" -le 16777216
	adp_case "all are right ($round)" set_check
	adp_case "unmapping ($round)" set_unmap
done
adp_case "they go" set_free
copied "a random history" 100 soak ops=1500 live=200 mem=0x1000000 apart=1
copied "all CPUs" 10 smp ms=700

# Nothing of the pool outlives the driver.
echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
adp_is "the pool has gone with the driver" "$(adp_stat "$COMPANION" copy_bytes)" -eq 0
adp_is "nothing is mapped" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
copied "it is there again" 1 copy_sync

# It does not grow bit by bit for a long list.
adp_case "a list of 2000 pages" sg_new n=2000 len=4096 stride=16384
rung=$(adp_stat "$COMPANION" doorbells)
copied "mapping the list" 2000 sg_map
adp_is "one doorbell" "$(adp_stat "$COMPANION" doorbells)" -eq $((rung + 1))
adp_case "the list is right" sg_check
adp_case "unmapping the list" sg_unmap
adp_case "it goes" sg_free
ktap_finished
