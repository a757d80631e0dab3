#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Drives behind other people's drivers, a managed one and its twin: fio writes and verifies
# requests of 512 bytes to 4 MiB, then small ones on all CPUs, then files.
#
# ADP_ZOO: the PCI driver. ADP_QUEUES: the drive has so many queues at least. ADP_POLL: poll it,
# too. ADP_DISCARD: it must be able to discard. ADP_MIB: the size of what is written. ADP_SMALL: the
# same for small requests.

# Most functions are called by name.
# shellcheck disable=SC2317
# shellcheck source=adp_zoo_lib.sh
. "$(dirname "$0")/adp_zoo_lib.sh"
adp_zoo_start
command -v fio >/dev/null || adp_skip "no fio"
for module in $ADP_LOAD; do
	modprobe -q "$module"
done
mib=${ADP_MIB:-16}

adp_disk() {
	adp_zoo_below /sys/block "$1" | grep -v boot | head -n 1
}

adp_has_disk() {
	[ -b "/dev/$(adp_disk "$1")" ]
}

# fio_phase NAME OPTIONS: the same on both, after all that was before.
fio_phase() {
	for disk in "m $managed" "t $twin"; do
		echo "[$1-${disk% *}]"
		[ "$1" = files ] || echo "filename=/dev/${disk#* }"
		[ "$1" != files ] || echo "filename=/tmp/${disk% *}/file"
		[ "${disk% *}" = t ] || echo stonewall
		echo "$2" | tr ' ' '\n'
	done
}

# The file systems are in the first half of the drives, so what is below is in the second.
fio_jobs() {
	printf '%s\n' '[global]' ioengine=libaio direct=1 verify=crc32c verify_fatal=1 thread allow_mounted_write=1
	fio_phase large "rw=write iodepth=4 offset=${half}m size=${mib}m bssplit=$sector/15:4k/20:60k/20:512k/20:4m/25"
	fio_phase small "rw=randwrite iodepth=16 offset=${half}m bs=$sector size=${ADP_SMALL:-128k} numjobs=2 offset_increment=1m"
	[ -z "$ADP_POLL" ] || fio_phase poll "rw=randwrite ioengine=pvsync2 hipri=1 offset=${half}m bs=4k size=1m"
	fio_phase files "rw=randwrite iodepth=8 bs=16k size=$((mib * 256))k fallocate=none"
}

fio_work() {
	fio_jobs >/tmp/zoo.fio
	fio /tmp/zoo.fio >/tmp/zoo.said 2>&1
	status=$?
	grep -E '^ *(READ|WRITE|TRIM):|err=|^fio: [^m]' /tmp/zoo.said | sed 's/^/# /'
	return "$status"
}

# The number in column $2 of what the block layer counts for disk $1.
adp_disk_stat() {
	awk -v column="$2" '{ print $column }' "/sys/block/$1/stat"
}

adp_bytes_moved() {
	echo $((($(adp_disk_stat "$managed" 3) + $(adp_disk_stat "$managed" 7)) * 512))
}

adp_discards() {
	for disk in $managed $twin; do
		[ "$(cat "/sys/block/$disk/queue/discard_max_bytes")" -gt 0 ] || return 1
		before=$(adp_disk_stat "$disk" 12)
		blkdiscard -o $((half << 20)) -l 4194304 "/dev/$disk" || return 1
		[ "$(adp_disk_stat "$disk" 12)" -gt "$before" ] || return 1
	done
}

adp_mounted() {
	mount -t ext4 "/dev/$managed" /tmp/m && mount -t ext4 "/dev/$twin" /tmp/t
}

adp_unmounted() {
	umount /tmp/m && umount /tmp/t
}

adp_made() {
	mke2fs -b 4096 "/dev/$managed" $((half << 10)) >/dev/null 2>&1 && mke2fs -b 4096 "/dev/$twin" $((half << 10)) >/dev/null 2>&1
}

# Through the page cache.
adp_copied() {
	cp /tmp/random /tmp/m/copy && cp /tmp/random /tmp/t/copy
}

# busybox's cmp takes three times as long.
adp_same() {
	[ "$(md5sum </tmp/m/copy)" = "$sum" ] && [ "$(md5sum </tmp/t/copy)" = "$sum" ]
}

adp_work() {
	adp_until adp_has_disk "$MANAGED" || ktap_exit_fail_msg "there is no managed drive"
	adp_until adp_has_disk "$TWIN" || ktap_exit_fail_msg "the twin is no drive"
	managed=$(adp_disk "$MANAGED")
	twin=$(adp_disk "$TWIN")
	for disk in $managed $twin; do
		queue=/sys/block/$disk/queue
		cat "$queue/max_hw_sectors_kb" >"$queue/max_sectors_kb"
	done
	sector=$(cat "/sys/block/$managed/queue/logical_block_size")
	ktap_print_msg "$managed of $MANAGED, $twin of $TWIN, up to $(cat "/sys/block/$managed/queue/max_sectors_kb") KiB"
	adp_is "$1: queues" "$(find "/sys/block/$managed/mq" -mindepth 1 -maxdepth 1 | wc -l)" -ge "${ADP_QUEUES:-1}"

	half=$(($(cat "/sys/block/$managed/size") / 4096))
	ktap_test_result "$1: making file systems" adp_made
	ktap_test_result "$1: mounting them" adp_mounted
	ktap_test_result "$1: copying files" adp_copied
	ktap_test_result "$1: fio, $sector bytes to 4 MiB" fio_work
	[ -z "$ADP_POLL" ] || adp_is "$1: it can be polled" "$(cat "/sys/block/$managed/queue/io_poll")" -eq 1
	ktap_test_result "$1: unmounting" adp_unmounted
	echo 3 >/proc/sys/vm/drop_caches
	ktap_test_result "$1: mounting again" adp_mounted
	ktap_test_result "$1: the files are the same" adp_same
	ktap_test_result "$1: unmounting at the end" adp_unmounted
	adp_is "$1: all that was asked for has been moved" "$(adp_bytes_moved)" -ge $(((mib * 4 + mib / 2) << 20))
	[ -z "$ADP_DISCARD" ] || ktap_test_result "$1: discarding" adp_discards
}

mkdir -p /tmp/m /tmp/t
dd if=/dev/urandom of=/tmp/random bs=64k count=$((mib * 16)) 2>/dev/null
sum=$(md5sum </tmp/random)
adp_zoo adp_work adp_bytes_moved
