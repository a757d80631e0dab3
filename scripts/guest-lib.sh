# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Shared by what runs in a Debian in a guest, when systemd is up (early-guest.sh, install-guest.sh):
# results, which go to the second serial port, and how the drive is doing that has the root.

case $(uname -m) in
aarch64) tty=ttyAMA1 ;;
*) tty=ttyS1 ;;
esac
stty -F /dev/$tty raw -echo
exec >/dev/$tty 2>&1 </dev/null

export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin
# shellcheck disable=SC2034 # for those
release=$(uname -r)
why=$(mktemp)

# The value of $1 on the kernel's command line, or nothing.
option() {
	sed -n "s/.*\<$1=\([^ ]*\).*/\1/p" /proc/cmdline
}

# A command that should succeed: $1 is what it means if it does not.
need() {
	what=$1
	shift
	"$@" >/tmp/said 2>&1 && return
	echo "$what"
	sed 's/^/  /' /tmp/said
}

# result NAME: "ok" if nobody had anything to say since the last one.
result() {
	if [ -s "$why" ]; then
		echo "not ok - $1"
		sed 's/^/# /' "$why"
	else
		echo "ok - $1"
	fi
	: >"$why"
}

end() {
	sync
	# The line by which the harness knows that nothing is missing.
	printf '\nadp-vm: exit 0\n'
	systemctl --no-block poweroff 2>/dev/null # without logind
	exit
}

# line PATTERN: where the kernel's log has it first, or 0.
line() {
	dmesg | awk -v pattern="$1" '$0 ~ pattern { print NR; exit }' | grep . || echo 0
}

# The driver of a managed function came after apple_dma_pci.
came_first() {
	ours=$(line "apple_dma_pci .*managed function: $1")
	its=$(line "$2 $1: |$2 .* $1")
	[ "$ours" -gt 0 ] || echo "apple_dma_pci does not say that it serves $1"
	[ "$its" -gt 0 ] || echo "$2 says nothing of $1"
	[ "$ours" -lt "$its" ] || echo "$2 came before apple_dma_pci to $1 (lines $its and $ours of the log)"
}

# What it says is wrong with it.
root_is_managed() {
	root=$(findmnt -n -o SOURCE /)
	drive=$(basename "$(readlink -f "/sys/class/block/${root#/dev/}/device/device")")
	managed=
	for dir in /sys/kernel/debug/apple_dma_pci/*; do
		function=$(cat "$dir"/managed)
		managed="$managed $function"
		[ "$(cat "$dir"/state)" = ready ] || echo "the companion of $function is $(cat "$dir"/state)"
		driver=$(readlink "/sys/bus/pci/devices/$function/driver") || echo "$function has no driver"
		[ -z "$driver" ] || came_first "$function" "${driver##*/}"
		[ "$function" != "$drive" ] || rung=$(awk '$1 == "doorbells" { print $2 }' "$dir"/stats)
	done
	[ "${rung:-0}" -gt 2 ] || echo "the root is on $root, $drive; managed are:$managed"
	failed=$(systemctl --failed --no-legend --plain)
	[ -z "$failed" ] || echo "units that failed: $failed"
}
