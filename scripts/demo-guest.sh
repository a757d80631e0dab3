# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# What the guest of `make demo` does: verify the files of both drives, write a
# copy back. Lines "demo NAME VALUE" are for the host.

fail() {
	echo "demo why $*"
	exit 1
}

say() {
	echo "demo $*"
}

# find_drive SERIAL: wait for the drive and print its block device's name.
find_drive() {
	local tries=0 c
	while [ $tries -lt 300 ]; do
		for c in /sys/class/nvme/nvme*; do
			if grep -q "^$1" "$c/serial" 2>/dev/null && [ -e "$c/${c##*/}n1" ]; then
				echo "${c##*/}n1"
				return
			fi
		done
		tries=$((tries + 1))
		sleep 0.1
	done
	return 1
}

# use_drive ROLE: verify every file, write a copy of the tree, sync, unmount.
use_drive() {
	local role=$1 drive stat
	drive=$(find_drive "$role") || fail "the $role drive did not appear"
	while [ ! -b "/dev/$drive" ]; do sleep 0.1; done
	say "$role-model $(cat /sys/block/"$drive"/device/model)"
	say "$role-address $(basename "$(readlink -f /sys/block/"$drive"/device/device)")"
	mkdir -p /mnt/"$role"
	mount -t ext4 /dev/"$drive" /mnt/"$role" || fail "the $role drive's filesystem cannot be mounted"
	cd /mnt/"$role"/tree || fail "the $role drive has no tree"
	sha256sum -c /etc/sums >/tmp/verified || fail "files of the $role drive differ: $(grep -v ': OK$' /tmp/verified | head -n 1)"
	say "$role-files $(wc -l </tmp/verified)"
	cp -a /mnt/"$role"/tree /mnt/"$role"/copy || fail "no copy could be written to the $role drive"
	cd /
	sync
	umount /mnt/"$role" || fail "the $role drive cannot be unmounted"
	read -r stat </sys/block/"$drive"/stat
	# shellcheck disable=SC2086 # its fields
	set -- $stat
	say "$role-sectors-read $3"
	say "$role-sectors-written $7"
}

say "kernel $(uname -r)"
say "page-size $(awk '/^KernelPageSize/ { print $2 * 1024; exit }' /proc/self/smaps)"
use_drive managed
use_drive twin
for d in /sys/kernel/debug/apple_dma_pci/*/; do
	[ -e "$d/stats" ] || fail "the module has no companion"
	say "state $(cat "$d/state")"
	say "managed $(cat "$d/managed")"
	say "layout $(cat "$d/layout")"
	sed 's/^/demo stat-/' "$d/stats"
done
