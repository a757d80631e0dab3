#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel's own nvme driver on a managed drive: every byte comes back, around
# the page cache and through ext4. All data of the drive is lost, so it runs
# only if ADP_NVME names the drive (nvme0n1), or says "any".

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_NVME" ] || adp_skip "ADP_NVME names no drive that may be overwritten"
adp_need_module
[ -d /sys/bus/pci/drivers/nvme ] || modprobe nvme 2>/dev/null

drive=
for COMPANION in $(adp_companions); do
	managed=$(adp_about "$COMPANION" managed)
	for dir in "$ADP_PCI/$managed"/nvme/nvme*/nvme*n1; do
		[ -d "$dir" ] || continue
		[ "$ADP_NVME" != any ] && [ "$ADP_NVME" != "${dir##*/}" ] || drive=${dir##*/}
	done
	[ -z "$drive" ] || break
done
[ -n "$drive" ] || adp_skip "no managed NVMe drive is $ADP_NVME"
ktap_print_msg "$drive of $managed, $COMPANION"

adp_program "patterns around the page cache" \
	"$adp_here/adp_io" -j "${ADP_JOBS:-2}" -n "${ADP_OPS:-150}" -m "${ADP_MIB:-16}" -s "${ADP_SEED:-1}" "/dev/$drive"
rung=$(adp_stat "$COMPANION" doorbells)
adp_is "through the companion" "$rung" -gt 2

mkdir -p /tmp/adp_nvme
# mke2fs of busybox makes ext2, which the ext4 driver serves too.
if mkfs.ext4 -q "/dev/$drive" 2>/dev/null || mke2fs "/dev/$drive" >/dev/null; then
	ktap_test_result "mounting as ext4" mount -t ext4 "/dev/$drive" /tmp/adp_nvme
	for i in 1 2 3 4 5 6; do
		dd if=/dev/urandom of=/tmp/adp_nvme/file$i bs=$((i * 7919)) count=$((i * 20)) 2>/dev/null
	done
	sums=$(cd /tmp/adp_nvme && sha256sum file*)
	cp /tmp/adp_nvme/file6 /tmp/adp_nvme/copy
	ktap_test_result "unmounting" umount /tmp/adp_nvme
	echo 3 >/proc/sys/vm/drop_caches
	ktap_test_result "mounting again" mount -t ext4 "/dev/$drive" /tmp/adp_nvme
	adp_is "every file is the same" "$(cd /tmp/adp_nvme && sha256sum file*)" = "$sums"
	ktap_test_result "and its copy" cmp /tmp/adp_nvme/file6 /tmp/adp_nvme/copy
	adp_program "patterns in a file" \
		"$adp_here/adp_io" -j 2 -n 60 -m 4 -s "${ADP_SEED:-1}" /tmp/adp_nvme/patterns
	ktap_test_result "unmounting at the end" umount /tmp/adp_nvme
else
	ktap_test_fail "making a file system"
fi
rmdir /tmp/adp_nvme
[ -z "$ADP_COPIED" ] ||
	adp_is "$ADP_COPIED and more were copied" "$(adp_stat "$COMPANION" copied)" -ge "$ADP_COPIED"
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
ktap_finished
