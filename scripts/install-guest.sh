#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What scripts/check-guests runs in a Debian that the module is installed in, when systemd is up. The
# kernel's command line says what to do:
#
#   adp.do=install  what /adp-commands has, as a user who has sudo; no device is passed through
#   adp.do=upgrade  the root is on a managed drive: apt brings a new kernel, and one to be passed over
#   adp.do=remove   the new kernel runs: the old one is removed; adp.next=V is a version to upgrade to
#   adp.do=rid      what /adp-commands has, after which nothing of ours may be left
#
# adp.old, adp.new and adp.excluded are the kernels' releases, adp.version the module's version. Results
# go to the second serial port, as lines of "ok" and "not ok".

# shellcheck source=guest-lib.sh
. /adp-lib

readonly name=apple_dma_pci home=/home/me
old=$(option adp.old) new=$(option adp.new) excluded=$(option adp.excluded)
version=$(option adp.version) next=$(option adp.next)

progress() {
	echo "# $(cut -d. -f1 /proc/uptime) s: $*"
}

# What a user does, line by line as the documentation has it. apple-dma-status ends with 3 on a
# machine that no device is passed through to.
commands() {
	while read -r command; do
		progress "$command"
		runuser -l me -c "cd $(cat /adp-where) && $command" >/tmp/said 2>&1
		status=$?
		case $status:$command in
		0:*|3:*apple-dma-status) ;;
		*) { echo "it ends with $status:"; sed 's/^/  /' /tmp/said; } >"$why" ;;
		esac
		result "$command"
	done </adp-commands
}

built() {
	find "/lib/modules/$1/" -name "$name.ko*" 2>/dev/null
}

# is_built RELEASE VERSION: DKMS has the module for it, and it is what it says.
is_built() {
	ko=$(built "$1")
	case $ko in
	*/updates/dkms/$name.ko*) ;;
	*) echo "for $1 there is: ${ko:-nothing}"; find "/var/lib/dkms/$name" -name make.log -exec tail -n 20 {} +; return ;;
	esac
	[ "$(modinfo -F vermagic "$ko" | cut -d' ' -f1)" = "$1" ] || echo "$ko is for $(modinfo -F vermagic "$ko")"
	[ "$(modinfo -F version "$ko")" = "$2" ] || echo "$ko is $(modinfo -F version "$ko"), not $2"
	dkms status | grep -q "^$name/$2, $1, .*: installed" || { echo "dkms says:"; dkms status; }
}

# in_initramfs RELEASE VERSION: the module of that version, and what loads it early.
in_initramfs() {
	rm -rf /tmp/initramfs
	need "the initramfs of $1 cannot be unpacked" unmkinitramfs "/boot/initrd.img-$1" /tmp/initramfs
	for file in "$name.ko*" "79-$name.rules" "$name.conf"; do
		find /tmp/initramfs -name "$file" | grep -q . || echo "the initramfs of $1 lacks $file"
	done
	ko=$(find /tmp/initramfs -name "$name.ko*")
	[ -z "$ko" ] || [ "$(modinfo -F version "$ko")" = "$2" ] || echo "the initramfs of $1 has version $(modinfo -F version "$ko")"
	rm -rf /tmp/initramfs
}

is_well() {
	root_is_managed
	[ "$release" = "$1" ] || echo "the kernel is $release, not $1"
	[ "$(cat "/sys/module/$name/version")" = "$version" ] || echo "the module is $(cat "/sys/module/$name/version"), not $version"
}

# What is ours, but what has been brought along.
ours() {
	find / -xdev -iname '*apple[_-]dma*' ! -path "$home/*" ! -path '/adp-*' ! -path '/tmp/*'
	grep -rl --exclude=adp-install.service "$name" /etc /usr/lib/modprobe.d /usr/lib/udev /usr/share/initramfs-tools /var/lib/dkms /lib/modules/*/modules.* 2>/dev/null
	for image in /boot/initrd.img-*; do
		! lsinitramfs "$image" | grep "$name" || echo "in $image"
	done
	! dpkg-query -W 2>/dev/null | grep -i apple-dma || echo "in dpkg's list"
}

install() {
	ours >"$why"
	result "before that nothing of ours is there"
	useradd -m -s /bin/bash me
	echo 'me ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/me
	if [ -e /adp-release.tar.gz ]; then
		runuser -u me -- tar -x -f /adp-release.tar.gz -C "$home"
		echo "$home/$name-$version" >/adp-where
	else
		for deb in /adp-package-*.deb; do
			cp "$deb" "$home/${deb#/adp-package-}"
		done
		echo "$home" >/adp-where
	fi
	apt-get -q update >/tmp/said 2>&1
	commands
	progress "apt-get install the headers of kernels to come"
	need "apt-get failed:" apt-get -q install "linux-headers-$(dpkg --print-architecture)" >"$why"
	is_built "$old" "$version" >>"$why"
	result "DKMS has built the module"
	in_initramfs "$old" "$version" >>"$why"
	result "the initramfs has it and what loads it early"
}

upgrade() {
	is_well "$old" >"$why"
	result "the root is on the managed drive, with Linux $old"
	need "apple-dma-status says:" apple-dma-status >"$why"
	result "apple-dma-status says that all is well"
	echo 'deb [trusted=yes] file:/var/local/archive/new ./' >/etc/apt/sources.list.d/new.list
	need "apt-get update:" apt-get -q update >"$why"
	progress apt-get full-upgrade
	need "apt-get failed:" apt-get -q full-upgrade >>"$why"
	[ -e "/boot/vmlinuz-$new" ] || echo "there is no /boot/vmlinuz-$new" >>"$why"
	result "apt upgrades the kernel to $new on the managed drive"
	is_built "$new" "$version" >"$why"
	is_built "$old" "$version" >>"$why"
	result "DKMS has built the module for it, and kept the other"
	in_initramfs "$new" "$version" >"$why"
	result "its initramfs has it and what loads it early"
}

# A kernel that the module cannot serve.
excluded() {
	progress apt-get install "$excluded"
	need "apt-get failed:" apt-get -q install "linux-image-$excluded" "linux-headers-$excluded" >"$why"
	cp /tmp/said /tmp/excluded
	[ -z "$(dpkg --audit)" ] || dpkg --audit >>"$why"
	[ -s "/boot/initrd.img-$excluded" ] || echo "there is no initramfs for it" >>"$why"
	result "a kernel without what the module needs is installed without an error"
	built "$excluded" >"$why"
	! dkms status | grep "$excluded" >>"$why"
	# Else it was not asked, and nothing tested.
	grep -q "BUILD_EXCLUSIVE" /tmp/excluded ||
		{ echo "DKMS says nothing of it:"; cat /tmp/excluded; } >>"$why"
	result "DKMS has passed over it"
	need "apt-get failed:" apt-get -q purge "linux-image-$excluded" "linux-headers-$excluded" >"$why"
	result "and it is removed without an error"
}

remove() {
	is_well "$new" >"$why"
	result "the root is on the managed drive, with Linux $new"
	need "apple-dma-status says:" apple-dma-status >"$why"
	result "apple-dma-status says that all is well"
	progress apt-get purge "$old"
	need "apt-get failed:" apt-get -q purge "linux-image-$old" "linux-headers-$old" >"$why"
	[ -z "$(built "$old")" ] || built "$old" >>"$why"
	[ ! -e "/boot/initrd.img-$old" ] || echo "its initramfs is left" >>"$why"
	! dkms status | grep "$old" >>"$why"
	is_built "$new" "$version" >>"$why"
	result "the old kernel is removed, and its module with it"
	[ -n "$next" ] || return
	progress apt-get install "$next"
	need "apt-get failed:" apt-get -q install /adp-package-*_"$next"-*.deb >"$why"
	result "the package is upgraded to $next"
	is_built "$new" "$next" >"$why"
	! dkms status | grep "$name/$version," >>"$why"
	[ ! -e "/usr/src/$name-$version" ] || echo "/usr/src/$name-$version is left" >>"$why"
	result "DKMS has built the next version, and the other one is gone"
	in_initramfs "$new" "$next" >"$why"
	result "the initramfs has the next version"
}

rid() {
	[ "$release" = "$new" ] || echo "the kernel is $release" >"$why"
	result "the machine boots without the device"
	commands
	ours >"$why"
	result "nothing of ours is left"
}

# Some of it takes long, and somebody may be waiting.
while sleep 180; do
	progress "... $(tail -n 1 /tmp/said | cut -c1-100)"
done &
case $(option adp.do) in
install) install ;;
upgrade) upgrade; excluded ;;
remove) remove ;;
rid) rid ;;
esac
end
