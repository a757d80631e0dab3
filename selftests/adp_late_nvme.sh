#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A drive that was in use before it had a companion, and our module with rebind=1:
# whoever uses the drive gets errors, and what is on it is whole. Only in a guest that
# can ask its host to plug the companion; the drive is n0 on the bridge br0, and
# all on it is lost. ADP_LATE_NVME=1 says that it is such a guest.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_LATE_NVME" ] || adp_skip "ADP_LATE_NVME does not say so"
modprobe nvme

adp_drive() {
	for adp_dir in /sys/bus/pci/drivers/nvme/*/nvme/nvme*/nvme*n*; do
		[ -b "/dev/${adp_dir##*/}" ] && echo "/dev/${adp_dir##*/}" && return 0
	done
	return 1
}

# shellcheck disable=SC2317
adp_plugged() {
	COMPANION=$(adp_companions)
	[ -n "$COMPANION" ]
}

adp_until adp_quiet adp_drive
drive=$(adp_drive)
FUNCTION=$(basename /sys/bus/pci/drivers/nvme/0*)
mkdir -p /tmp/adp_late
mke2fs "$drive" >/dev/null && mount -t ext4 "$drive" /tmp/adp_late
dd if=/dev/urandom of=/tmp/adp_late/file bs=64k count=100 2>/dev/null
sum=$(sha256sum </tmp/adp_late/file)
umount /tmp/adp_late
ktap_test_result "a file system is mounted" mount -o ro -t ext4 "$drive" /tmp/adp_late

# From here on every access of the drive is stray.
adp_quiet qmp device_add '{"driver": "apple-dma-pci", "id": "c0", "managed": "n0", "bus": "br0", "addr": "2"}'
ktap_test_result "the companion is plugged" adp_until adp_plugged
adp_log_mark
ktap_test_result "our module is loaded" adp_load apple_dma_pci
adp_is "it says that the drive is left alone" "$(adp_log | grep -c "$FUNCTION: driver nvme was bound before")" -eq 1
adp_is "as it does" "$(adp_driver "$FUNCTION")" = nvme
adp_is "nothing is mapped" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
rmmod apple_dma_pci
ktap_test_result "it is loaded with rebind=1" adp_load apple_dma_pci rebind=1
ktap_test_result "the drive is served" adp_until adp_quiet adp_drive
adp_is "by its companion" "$(adp_about "$COMPANION" managed)" = "$FUNCTION"
echo 3 >/proc/sys/vm/drop_caches
ktap_test_result "what was mounted has lost its drive" eval '! cat /tmp/adp_late/file >/dev/null 2>&1'
ktap_test_result "and can be unmounted" umount /tmp/adp_late
ktap_test_result "mounted again" mount -o ro -t ext4 "$(adp_drive)" /tmp/adp_late
adp_is "the file is whole" "$(sha256sum </tmp/adp_late/file)" = "$sum"
umount /tmp/adp_late
adp_program "patterns are kept" "$adp_here/adp_io" -j 1 -n 60 -m 8 -s 5 "$(adp_drive)"
ktap_finished
