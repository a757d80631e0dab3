#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What scripts/check-early runs in a Debian whose root is on a managed drive, when
# systemd is up. The kernel's command line says what to do:
#
#   adp.boots=N     look whether all is well, write to the drive, reboot; the Nth time do what follows
#   adp.install=P   install the package P with apt
#   adp.verify=P    compare every file of every package with its checksum; P is there
#   adp.late        only look what the log says
#
# Results go to the second serial port, as lines of "ok" and "not ok".

# shellcheck source=guest-lib.sh
. /adp-lib

here=/var/lib/adp-early
mkdir -p $here

is_well() {
	root_is_managed
	[ ! -e $here/sums ] || need "files of earlier boots have changed:" sha256sum --quiet -c $here/sums
}

# What the next boot finds, or does not.
leave_files() {
	dd if=/dev/urandom of="$here/data$1" bs=64K count=48 2>/dev/null
	cp -r /etc "$here/etc$1"
	find "$here/data$1" "$here/etc$1" -type f -exec sha256sum {} + >>$here/sums
}

# The network is a managed function too, whose driver no soft dependency names.
network() {
	systemctl start systemd-networkd
	tries=600
	until grep -q '^[a-z0-9]*[[:space:]]00000000' /proc/net/route; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.5
	done
}

apt_install() {
	apt-get -q -y --no-install-recommends install "$@"
}

# What apt knows of the archive was new when this Debian was made.
download() {
	apt_install --download-only "$1" || { apt-get -q update --error-on=any && apt_install --download-only "$1"; }
}

install_package() {
	before=$(sha256sum <"/boot/initrd.img-$release")
	if ! network || ! download "$1" >/tmp/download 2>&1; then
		echo "# the archive is out of reach, so the packages that were brought along are taken:"
		[ ! -e /tmp/download ] || tail -n 3 /tmp/download | sed 's/^/#   /'
		cp /var/cache/later/*.deb /var/cache/apt/archives/
	fi
	need "apt-get failed:" apt_install "$1" >"$why"
	cp /tmp/said $here/apt.log
	result "apt-get installs $1 on the managed drive"
	[ "$(sha256sum <"/boot/initrd.img-$release")" != "$before" ] || echo "the initramfs was not made again" >"$why"
	lsinitramfs "/boot/initrd.img-$release" >/tmp/listing
	for file in apple_dma_pci.ko modprobe.d/apple_dma_pci.conf rules.d/79-apple_dma_pci.rules bin/btrfs; do
		grep -q "$file" /tmp/listing || echo "the initramfs lacks $file" >>"$why"
	done
	result "the initramfs that this made has the module and what loads it early"
}

verify() {
	cd / || return
	cat /var/lib/dpkg/info/*.md5sums | grep -vE ' usr/share/(doc|man|info|locale)/' >/tmp/md5sums
	need "files of packages have changed:" md5sum --quiet -c /tmp/md5sums
	[ -z "$(dpkg --audit)" ] || echo "dpkg --audit complains"
	need "$1 is not there" dpkg-query -W "$1"
}

# What is to be loaded before what, by the configuration alone.
order() {
	known=0
	while read -r _ driver _ module; do
		before=$(modprobe -D "$driver" 2>/dev/null | sed -n 's/^insmod //p' | tr - _)
		case $before in
		"") ;;
		*/"$module".ko*/"$driver".ko*) known=$((known + 1)) ;;
		*) echo "modprobe loads $driver like this: $before" ;;
		esac
	done <<-CONF
	$(grep ^softdep /usr/lib/modprobe.d/apple_dma_pci.conf)
	CONF
	# This kernel has not got all of them, but nvme, ahci, xhci_pci and the drivers of network cards.
	[ $known -ge 7 ] || echo "modprobe loads apple_dma_pci before $known drivers only"
	for dir in /sys/bus/pci/devices/*; do
		first=$(udevadm test "$dir" 2>&1 | sed -n 's/.*kmod load *//p' | head -n 1)
		case $first in
		apple_dma_pci*) ;;
		*) echo "udev loads '$first' first for ${dir##*/}" ;;
		esac
	done
}

case $(cat /proc/cmdline) in
*adp.late*)
	udevadm settle --timeout=3600
	dmesg | sed -n '/apple_dma_pci/s/^[^]]*] */# /p'
	[ -d /sys/module/apple_dma_pci ] || echo "apple_dma_pci is not loaded" >"$why"
	result "the root is on a drive that is not managed"
	# At QEMU's end its vmxnet3 reads memory that it was never told of, unless it may not.
	for dev in /sys/bus/pci/drivers/vmxnet3/0*; do
		echo "${dev##*/}" >/sys/bus/pci/drivers/vmxnet3/unbind
	done
	end
	;;
esac

n=$(($(cat $here/boots 2>/dev/null || echo 0) + 1))
echo $n >$here/boots
boots=$(option adp.boots)
# Nothing else waits for the drivers of what is not needed to boot.
udevadm settle --timeout=3600
is_well >"$why"
leave_files $n
result "boot $n: systemd is up, with its root on the managed drive (after $(cut -d. -f1 /proc/uptime) s)"
if [ $n -lt "${boots:-0}" ]; then
	sync
	systemctl --no-block reboot 2>/dev/null
	exit
fi
package=$(option adp.install)
[ -z "$package" ] || install_package "$package"
package=$(option adp.verify)
if [ -n "$package" ]; then
	verify "$package" >"$why"
	result "every file of every package has its checksum"
	order >"$why"
	result "the soft dependencies and udev's rule have apple_dma_pci loaded first"
fi
end
