#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Network cards behind other people's drivers: a managed one and its twin, at the two ends of a
# wire. The twin is in a namespace of its own, so that what is for it goes there by wire.
#
# ADP_ZOO: the PCI driver. ADP_QUEUES: it has so many receive queues at least. ADP_MIB: what is
# sent each way. ADP_MTU: another one. ADP_RUNTS=1: the driver drops packets of less than 60 bytes, as
# QEMU hands them from card to card without the padding that a wire has; so nobody asks for addresses.
# ADP_APART=1: its interrupts and its polls are kept on two CPUs.

# Most functions are called by name, and conditions evaluated later.
# shellcheck disable=SC2016,SC2317
# shellcheck source=adp_zoo_lib.sh
. "$(dirname "$0")/adp_zoo_lib.sh"
adp_zoo_start
command -v iperf3 >/dev/null || adp_skip "no iperf3"
mib=${ADP_MIB:-8}

adp_card() {
	adp_zoo_below /sys/class/net "$1" | head -n 1
}

adp_has_card() {
	[ -n "$(adp_card "$1")" ]
}

# Over there, where the twin is.
there() {
	nsenter -t "$there" -n "$@"
}

adp_carrier() {
	[ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]
}

# 8139cp has a race of its own. An interrupt for what was sent, between the end of a poll and the line that
# lets interrupts for what has come through again, has the next poll scheduled; from that line on the level
# of INTx calls the handler without end, and the poll that would lower it never gets to run on the same CPU.
adp_polled_apart() {
	adp_sysfs "/sys/class/net/$1/threaded" 1
	for adp_dir in /proc/[0-9]*; do
		case $(cat "$adp_dir/comm" 2>/dev/null) in
		"napi/$1-"*) taskset -p 1 "${adp_dir##*/}" >/dev/null && return ;;
		esac
	done
	return 1
}

# Once the card of function $1 is up.
adp_interrupted_apart() {
	adp_sysfs "/proc/irq/$(cat "$ADP_PCI/$1/irq")/smp_affinity" 2
}

adp_up() {
	[ -z "$ADP_MTU" ] || ip link set "$card" mtu "$ADP_MTU"
	ip addr add 10.77.0.1/24 dev "$card"
	[ -z "$ADP_APART" ] || adp_polled_apart "$card" || return 1
	ip link set "$card" up
	[ -z "$ADP_APART" ] || adp_interrupted_apart "$MANAGED" || return 1
	[ -z "$ADP_RUNTS" ] || arp -s 10.77.0.2 "$twin_address"
}

# What both ends have said.
iperf_said() {
	sed 's/^/# /' /tmp/zoo.said
	tail -n 20 /tmp/zoo.server | sed 's/^/# the other end: /'
}

# iperf ARGUMENT...: $received grows by what has come. Of what it sends it waits for no more than TCP to
# take it, and what is in the sockets at the end is dropped.
iperf() {
	iperf3 -J -c 10.77.0.2 -n "${mib}M" "$@" >/tmp/zoo.said 2>&1 || { iperf_said; return 1; }
	came=$(awk '/"sum_received"/ { sum = 1 } sum && /"bytes":/ { gsub(/[^0-9]/, ""); print; exit }' /tmp/zoo.said)
	[ "${came:-0}" -gt 0 ] || { iperf_said; return 1; }
	received=$((received + came))
}

# Both ways at once.
adp_files() {
	there wget -q -O /tmp/there/copy http://10.77.0.1/file &
	wget -q -O /tmp/here/copy http://10.77.0.2/file
	wait $!
}

# busybox's cmp takes three times as long.
adp_same() {
	[ "$(md5sum </tmp/there/copy)" = "$sum_here" ] && [ "$(md5sum </tmp/here/copy)" = "$sum_there" ]
}

# Bytes that IP has seen on this side. The cards' own counters may lose some: Intel's are in two registers,
# and access to the second one clears both.
adp_octets() {
	awk '$1 != "IpExt:" { next }
		!names { for (i = 2; i <= NF; i++) name[i] = $i; names = 1; next }
		{ for (i = 2; i <= NF; i++) if (name[i] ~ /^(In|Out)Octets$/) n += $i }
		END { printf "%.0f\n", n }' /proc/net/netstat
}

adp_bytes_moved() {
	echo $(($(adp_octets) - octets))
}

adp_work() {
	adp_until adp_has_card "$MANAGED"
	card=$(adp_card "$MANAGED")
	octets=$(adp_octets)
	received=0
	ktap_print_msg "$card of $MANAGED, $twin of $TWIN"
	adp_is "$1: queues" "$(find "/sys/class/net/$card/queues" -name 'rx-*' | wc -l)" -ge "${ADP_QUEUES:-1}"
	ktap_test_result "$1: link" adp_up
	ktap_test_result "$1: carrier" adp_until adp_carrier "$card"
	ktap_test_result "$1: there is somebody" adp_until adp_quiet ping -q -c 1 -W 1 10.77.0.2
	ktap_test_result "$1: packets in pieces" adp_quiet ping -q -A -s 20000 -c 20 -W 5 10.77.0.2
	httpd -p 10.77.0.1:80 -h /tmp/here
	ktap_test_result "$1: sending" iperf -P 2
	ktap_test_result "$1: receiving" iperf -P 2 -R
	rm -f /tmp/here/copy /tmp/there/copy
	ktap_test_result "$1: files both ways" adp_files
	ktap_test_result "$1: they are the same" adp_same
	killall httpd
	there httpd -p 10.77.0.2:80 -h /tmp/there
	adp_is "$1: what was asked for has come" "$received" -ge $((mib << 20))
	adp_is "$1: the card has moved that, and the files" "$(adp_bytes_moved)" -ge $((received + ((mib * 2) << 20)))
}

adp_until adp_has_card "$TWIN"
twin=$(adp_card "$TWIN")
twin_address=$(cat "/sys/class/net/$twin/address")
mkdir -p /tmp/here /tmp/there
dd if=/dev/urandom of=/tmp/here/file bs=64k count=$((mib * 16)) 2>/dev/null
dd if=/dev/urandom of=/tmp/there/file bs=64k count=$((mib * 16)) 2>/dev/null
sum_here=$(md5sum </tmp/here/file)
sum_there=$(md5sum </tmp/there/file)
[ -z "$ADP_APART" ] || adp_polled_apart "$twin" || ktap_exit_fail_msg "the twin's polls cannot be kept apart"
ip link set lo up
unshare -n sleep 10000 &
there=$!
adp_until eval '[ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
ip link set "$twin" netns $there
[ -z "$ADP_MTU" ] || there ip link set "$twin" mtu "$ADP_MTU"
there ip addr add 10.77.0.2/24 dev "$twin"
there ip link set "$twin" up
[ -z "$ADP_APART" ] || adp_interrupted_apart "$TWIN" || ktap_exit_fail_msg "the twin's interrupts cannot be kept apart"
[ -z "$ADP_RUNTS" ] || there arp -s 10.77.0.1 "$(cat "/sys/class/net/$(adp_card "$MANAGED")/address")"
there httpd -p 10.77.0.2:80 -h /tmp/there
# For two minutes without data it gives up, and counts from the test before.
there iperf3 -s --forceflush --rcv-timeout 3600000 >/tmp/zoo.server 2>&1 &

adp_zoo adp_work adp_bytes_moved
