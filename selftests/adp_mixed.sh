#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Storage, network and USB at the same time, through three managed functions, for ADP_SECONDS.
# Each has a worker that does round after round: at random its driver is taken away and comes back in
# another mode, and an entry of what it maps is refused while the others go on. Nothing may be lost,
# nothing may leak, and the end has to be like the beginning.
#
# What that is, is measured by yardsticks: rounds with the same work in the same modes, each
# time from a start without any mapping, at the beginning, at the end, and once a minute. What was refused
# before is to make no difference.
#
# ADP_MIXED=1: what the drives hold may be lost. ADP_SEED: of all that is chosen at random; how often
# it is chosen depends on how fast the machine is. It takes a host that qmp can ask.

# Most functions are called by name, and conditions evaluated later; what comes after || is for either.
# shellcheck disable=SC2015,SC2016,SC2317
# shellcheck source=adp_zoo_lib.sh
. "$(dirname "$0")/adp_zoo_lib.sh"
adp_start
[ -n "$ADP_MIXED" ] || adp_skip "ADP_MIXED does not say that drives may be overwritten"
command -v fio >/dev/null || adp_skip "no fio"
command -v qmp >/dev/null || adp_skip "no host to ask for refusals"
adp_need_module

seconds=${ADP_SECONDS:-40}
seed=${ADP_SEED:-1}
kinds="nvme net usb"
state=/tmp/mixed
# What is written and verified in a round, so that each takes about as long as the others. A network card sends
# and receives that much. In bytes below.
nvme_mib=8
net_mib=2
usb_mib=1
kept_kib=256

rm -rf "$state"
mkdir -p "$state/here" "$state/there"
: >"$state/failed"
: >"$state/events"
: >"$state/rounds"
: >"$state/yards"
: >"$state/quiet"

# Centiseconds.
mixed_now() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}"
}

# mixed_fail KIND ASPECT WHAT...: the others end their rounds, and that is it.
mixed_fail() {
	echo "$*" >>"$state/failed"
	: >"$state/stop"
	return 1
}

# mixed_pick NUMBER: $picked is below it.
mixed_pick() {
	seed=$(((seed * 1103515245 + 12345) & 0x7fffffff))
	picked=$(((seed >> 12) % $1))
}

# Sets what there is of a kind.
mixed_take() {
	kind=$1
	read -r COMPANION MANAGED DRIVER QOM <"$state/$kind.who"
	sysfs=$ADP_PCI/$COMPANION/apple_dma_pci
}

# One at a time can ask.
mixed_qmp() {
	until mkdir "$state/asking" 2>/dev/null; do
		usleep 20000
	done
	qmp "$@"
	set -- $?
	rmdir "$state/asking"
	return "$1"
}

# mixed_get PROPERTY, mixed_set PROPERTY NUMBER: of the companion, as its host sees it.
mixed_get() {
	mixed_qmp qom-get "{\"path\": \"$QOM\", \"property\": \"$1\"}"
}

mixed_set() {
	mixed_qmp qom-set "{\"path\": \"$QOM\", \"property\": \"$1\", \"value\": $2}" >/dev/null
}

mixed_disk() {
	adp_zoo_below /sys/block "$MANAGED" | head -n 1
}

mixed_card() {
	adp_zoo_below /sys/class/net "$MANAGED" | head -n 1
}

# Over there, where the twin of the network card is.
there() {
	nsenter -t "$there" -n "$@"
}

# The end of a drive is written once, and is to stay as it is.
mixed_keep() {
	dd if="$state/kept" of="/dev/$disk" bs=64k seek=$((kept_at / 65536)) conv=notrunc,fsync 2>/dev/null
}

mixed_kept() {
	dd if="/dev/$disk" bs=64k skip=$((kept_at / 65536)) count=$((kept_kib / 64)) 2>/dev/null | cmp - "$state/kept"
}

# What a driver needs beyond a device to be of use. It is there when it is bound, or soon.
mixed_there() {
	if [ "$kind" = net ]; then
		adp_until eval '[ -n "$(mixed_card)" ]' || return 1
		card=$(mixed_card)
		ip addr add 10.77.0.1/24 dev "$card" && ip link set "$card" up &&
			adp_until eval '[ "$(cat "/sys/class/net/$card/carrier" 2>/dev/null)" = 1 ]' &&
			adp_until adp_quiet ping -q -c 1 -W 1 10.77.0.2
	else
		adp_until eval '[ -b "/dev/$(mixed_disk)" ]' || return 1
		disk=$(mixed_disk)
		# A drive is there before its size is.
		adp_until eval '[ "$(cat "/sys/block/$disk/size")" -gt 0 ]' || return 1
		kept_at=$(($(cat "/sys/block/$disk/size") * 512 - (1 << 20)))
	fi
}

# Takes the driver away, and looks at what it leaves.
mixed_unbind() {
	[ -n "$(adp_driver "$MANAGED")" ] || return 0
	echo "$MANAGED" >"$ADP_PCI/$MANAGED/driver/unbind"
	echo "unbind $kind" >>"$state/events"
	for left in live_mappings live_bytes coherent_bytes copy_bytes; do
		[ "$(adp_stat "$COMPANION" "$left")" -eq 0 ] ||
			mixed_fail "$kind" mapped "$left is $(adp_stat "$COMPANION" "$left") without a driver" || return
	done
}

# mixed_bind MODE COPY: without a driver either can change.
mixed_bind() {
	[ "$(adp_setting "$COMPANION" mode)" = "$1" ] || echo "mode $kind" >>"$state/events"
	echo "$1" >"$sysfs/mode" && echo "$2" >"$sysfs/copy" &&
		[ "$(adp_setting "$COMPANION" mode) $(adp_setting "$COMPANION" copy)" = "$1 $2" ] ||
		mixed_fail "$kind" driver "mode and copy cannot be $1 and $2" || return
	adp_sysfs "/sys/bus/pci/drivers/$DRIVER/bind" "$MANAGED"
	adp_driver_is "$MANAGED" "$DRIVER" ||
		mixed_fail "$kind" driver "$DRIVER does not come back with mode=$1 copy=$2" || return
	mixed_there || mixed_fail "$kind" driver "its device does not come back with mode=$1 copy=$2" || return
	[ "$kind" = net ] || mixed_kept >"$state/$kind.said" 2>&1 ||
		mixed_fail "$kind" kept "what was written at first has changed: $(cat "$state/$kind.said")"
}

# mixed_fio MIB SEED: requests from 4 KiB to 1 MiB, and small ones on both CPUs.
mixed_fio() {
	cat >"$state/$kind.fio" <<-JOBS
	[global]
	filename=/dev/$disk
	ioengine=libaio
	direct=1
	verify=crc32c
	verify_fatal=1
	thread
	randseed=$2
	[large]
	rw=write
	iodepth=4
	offset=1m
	size=$(($1 * 512))k
	bssplit=4k/10:20k/20:60k/30:256k/20:1m/20
	[small]
	rw=randwrite
	iodepth=16
	offset=$((1024 + $1 * 512))k
	bs=4k
	size=$(($1 * 256))k
	numjobs=2
	cpus_allowed=0-1
	cpus_allowed_policy=split
	offset_increment=$(($1 * 256))k
	JOBS
	fio "$state/$kind.fio" >"$state/$kind.said" 2>&1
}

mixed_read() {
	awk '{ print $3 * 512 }' "/sys/block/$disk/stat"
}

# mixed_drive MIB SEED
mixed_drive() {
	bytes=$(($1 << 20))
	before=$(mixed_read)
	mixed_fio "$1" "$2" ||
		mixed_fail "$kind" data "fio: $(grep -E 'verify|err=|^fio:' "$state/$kind.said" | head -n 4)" || return
	[ $(($(mixed_read) - before)) -ge "$bytes" ] ||
		mixed_fail "$kind" data "$(($(mixed_read) - before)) of $bytes bytes were read back"
}

# Other files each time, so that what came before cannot be taken for them; both ways at once.
mixed_files() {
	bytes=$((net_mib << 21))
	rm -f "$state/here/copy" "$state/there/copy"
	there wget -q -T 60 -O "$state/there/copy" http://10.77.0.1/file &
	wget -q -T 60 -O "$state/here/copy" http://10.77.0.2/file && wait $! ||
		mixed_fail net data "wget fails" || return
	cmp "$state/here/file" "$state/there/copy" >"$state/net.said" 2>&1 &&
		cmp "$state/there/file" "$state/here/copy" >>"$state/net.said" 2>&1 ||
		mixed_fail net data "what comes is not what was sent: $(cat "$state/net.said")"
}

# mixed_traffic SEED: verified; $bytes of them.
mixed_traffic() {
	case $kind in
	nvme) mixed_drive "$nvme_mib" "$1" ;;
	usb) mixed_drive "$usb_mib" "$1" ;;
	net) mixed_files ;;
	esac
}

# mixed_round FILE WORDS SEED: traffic, and a line about it in FILE.
mixed_round() {
	if [ "$kind" = net ]; then
		dd if=/dev/urandom of="$state/here/file" bs=64k count=$((net_mib * 16)) 2>/dev/null
		dd if=/dev/urandom of="$state/there/file" bs=64k count=$((net_mib * 16)) 2>/dev/null
	fi
	doorbells=$(adp_stat "$COMPANION" doorbells)
	since=$(mixed_now)
	mixed_traffic "$3" || return
	echo "$2 $kind $bytes $(($(mixed_now) - since)) $(($(adp_stat "$COMPANION" doorbells) - doorbells))" >>"$1"
	[ "$(adp_about "$COMPANION" state)" = ready ] ||
		mixed_fail "$kind" companion "it is $(adp_about "$COMPANION" state)" || return
	[ "$(adp_stat "$COMPANION" bad_unmaps)" -eq 0 ] ||
		mixed_fail "$kind" driver "it gave back what it had not"
}

# What has been refused until now: by the host, as our module has seen it, and what that has failed.
mixed_refusals() {
	injected=$(mixed_get refused-injected) || mixed_fail "$kind" refusals "the host does not answer" || return
	seen=$(adp_stat "$COMPANION" refused_maps)
	failures=$(adp_stat "$COMPANION" map_failures)
}

# mixed_worker END SEED: a round, and more until END, with what is random, which for each kind is something else.
mixed_worker() {
	seed=$(($2 * 4 + number))
	first=1
	while [ "$first" -eq 1 ] || { [ ! -e "$state/stop" ] && [ "$(mixed_now)" -lt "$1" ]; }; do
		mixed_pick 3
		if [ "$first" -eq 1 ] || [ "$picked" -eq 0 ]; then
			mixed_unbind || return
			mixed_pick 2
			[ "$picked" -eq 0 ] && mode=lazy || mode=strict
			mixed_pick 3
			[ "$picked" -eq 0 ] && copy=auto || { [ "$picked" -eq 1 ] && copy=always || copy=never; }
			mixed_bind "$mode" "$copy" || return
		fi
		# Where all is mapped there is nothing to refuse, so the first time it is the first entry.
		mixed_pick 24
		nth=$((picked < 16 ? picked + 1 : 0))
		[ "$first" -eq 0 ] || nth=1
		first=0
		mixed_refusals && set -- "$1" "$2" "$injected" "$seen" "$failures" || return
		mixed_set x-fault-map-refuse "$nth"
		mixed_pick 1000000
		mixed_round "$state/rounds" round "$picked" || return
		armed=$(mixed_get x-fault-map-refuse)
		mixed_set x-fault-map-refuse 0
		mixed_refusals || return
		fired=$((injected - $3))
		# What is left is read before it is taken back, and a late packet may come between.
		[ "$fired" -ge $((nth > 0 && armed == 0)) ] && [ "$fired" -le $((nth > 0)) ] &&
			[ "$injected" -eq "$seen" ] && [ $((seen - $4)) -eq "$fired" ] ||
			mixed_fail "$kind" refusals "armed for $nth, $armed left: $fired refused, $((seen - $4)) seen" || return
		[ $((failures - $5)) -le "$fired" ] ||
			mixed_fail "$kind" refusals "$((failures - $5)) mappings failed after $fired refusals" || return
		[ "$fired" -eq 0 ] || echo "refusal $kind" >>"$state/events"
		[ $((failures - $5)) -eq 0 ] || echo "failure $kind" >>"$state/events"
	done
}

# mixed_all FUNCTION ARGUMENT...: for each kind at the same time.
mixed_all() {
	number=0
	for kind in $kinds; do
		number=$((number + 1))
		{
			mixed_take "$kind"
			"$@"
		} &
		eval "worker_$kind=$!"
	done
	for kind in $kinds; do
		eval "wait \$worker_$kind"
	done
}

mixed_restart() {
	mixed_unbind && mixed_bind "$1" auto
}

# The process that has bound it is gone, with what it knew.
mixed_measured() {
	disk=$(mixed_disk)
	mixed_round "$state/yards" "$1" 1
}

# What each CPU keeps of free pages grows and shrinks by many MiB with what it has to do, unless it is
# bounded, and is neither used nor counted as free.
mixed_percpu() {
	echo "$1" >/proc/sys/vm/percpu_pagelist_high_fraction
}

# What of its memory the kernel has left, and what it has of that which cannot be had back, in kB.
mixed_memory() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	awk '{ kb[$1] = $2 } END { print kb["MemAvailable:"], kb["SUnreclaim:"] }' /proc/meminfo
}

# After the first refusal our module looks for what an earlier kernel may have left, which takes
# doorbells that are no work's.
mixed_searched() {
	searched=$(adp_stat "$COMPANION" searched)
	sleep 1
	[ "$searched" -eq "$(adp_stat "$COMPANION" searched)" ]
}

# mixed_segment END: of random rounds.
mixed_segment() {
	mixed_pick 1000000
	mixed_all mixed_worker "$1" "$picked"
}

# The yardstick, and how it is without drivers after it.
mixed_yardstick() {
	[ ! -e "$state/stop" ] || return
	yards=$((yards + 1))
	takes=$(mixed_now)
	for mode in lazy strict; do
		mixed_all mixed_restart "$mode"
		since=$(mixed_now)
		mixed_all mixed_measured "$yards $mode"
		echo "$yards $mode all 0 $(($(mixed_now) - since)) 0" >>"$state/yards"
		[ ! -e "$state/stop" ] || return
	done
	mixed_all mixed_unbind
	dmesg | grep -qF "$ADP_MARK" || mixed_fail log kept "it is too short to look for what was left behind"
	adp_log | grep "left .* mappings behind" >"$state/behind" && mixed_fail log mapped "$(cat "$state/behind")"
	# On a busy machine the guest's clock finds fault with itself.
	adp_log | grep -v "clocksource:" | grep -E "I/O error|[Tt]imeout|timed out|abort" >"$state/errors" && mixed_fail log data "$(head -n 4 "$state/errors")"
	adp_log_mark
	echo "$yards $(($(wc -l <"$state/rounds") + $(mixed_events unbind))) $(mixed_memory)" >>"$state/quiet"
	takes=$(($(mixed_now) - takes))
	ktap_print_msg "mixed: $((($(mixed_now) - begun) / 100)) s: $(wc -l <"$state/rounds") rounds, $(mixed_events unbind) unbinds," \
		"$(mixed_events mode) mode switches, $(mixed_events refusal) refusals," \
		"$(tail -n 1 "$state/quiet" | cut -d ' ' -f 3) kB available, $(tail -n 1 "$state/quiet" | cut -d ' ' -f 4) kB of slabs"
}

mixed_events() {
	grep -c "^$1 " "$state/events"
}

# What is at the end and what was at the start, "NAME FIRST LAST": of the first and the last third of
# the yardsticks. Of speed the best is taken, as the machine has other things to do, of the others the mean.
mixed_compare() {
	awk -v yards="$yards" '
	function part(yard) { return yard <= third ? "first" : yard > yards - third ? "last" : "other" }
	function show(name, value) { printf "%s %d %d\n", name, value["first"], value["last"] }
	function mean(name, value) {
		printf "%s %d %d\n", name, value[name, "first"] / third, value[name, "last"] / third
	}
	BEGIN { third = int(yards / 3); third = third ? third : 1 }
	FILENAME ~ /quiet/ {
		sum["events", part($1)] += $2
		sum["taken", part($1)] -= $3
		sum["slab", part($1)] += $4
		next
	}
	$3 == "all" { took[$1] += $5; next }
	{ moved[$1] += $4; sum["doorbells-" $2 "-" $3, part($1)] += $6; names["doorbells-" $2 "-" $3] }
	END {
		for (yard in took) {
			rate = moved[yard] / 1024 * 100 / took[yard]
			if (rate > speed[part(yard)])
				speed[part(yard)] = rate
		}
		show("speed", speed)
		for (name in names)
			mean(name, sum)
		mean("events", sum)
		mean("taken", sum)
		mean("slab", sum)
	}' "$state/quiet" "$state/yards"

	# Random rounds differ, so it takes many of them to compare.
	awk '
	{ moved[$2, ++nr[$2]] = $3; took[$2, nr[$2]] = $4 }
	END {
		for (kind in nr) {
			third = int(nr[kind] / 3)
			if (third < 10)
				continue
			bytes[1] = bytes[2] = time[1] = time[2] = 0
			for (i = 1; i <= third; i++) {
				bytes[1] += moved[kind, i]
				time[1] += took[kind, i]
				bytes[2] += moved[kind, nr[kind] + 1 - i]
				time[2] += took[kind, nr[kind] + 1 - i]
			}
			printf "speed-%s %d %d\n", kind, bytes[1] / 10.24 / time[1], bytes[2] / 10.24 / time[2]
		}
	}' "$state/rounds"
}

# mixed_aspect ASPECT DESCRIPTION: a result of all that has been looked at.
mixed_aspect() {
	grep "^[a-z]* $1 " "$state/failed" | while read -r line; do
		ktap_print_msg "$line"
	done
	adp_is "$2" "$(grep -c "^[a-z]* $1 " "$state/failed")" -eq 0
}

# Who is who.
number=0
for COMPANION in $(adp_companions); do
	MANAGED=$(adp_about "$COMPANION" managed)
	case $(cat "$ADP_PCI/$MANAGED/class") in
	0x010802) kind=nvme driver=nvme ;;
	0x020000) kind=net driver=e1000e ;;
	0x0c0330) kind=usb driver=xhci_hcd ;;
	*) adp_skip "$MANAGED is neither an NVMe drive, nor a network card, nor an xHCI" ;;
	esac
	adp_until adp_driver_is "$MANAGED" $driver || adp_skip "$MANAGED does not get the driver $driver"
	echo "$COMPANION $MANAGED $driver companion$number" >"$state/$kind.who"
	number=$((number + 1))
	[ "$kind" != net ] || for adp_bdf in $(adp_functions "$(adp_id "$MANAGED")"); do
		[ "$adp_bdf" = "$MANAGED" ] || twin=$adp_bdf
	done
done
for kind in $kinds; do
	[ -e "$state/$kind.who" ] || adp_skip "no managed function for $kind"
done
[ -n "$twin" ] || adp_skip "the network card has no twin"

dd if=/dev/urandom of="$state/kept" bs=64k count=$((kept_kib / 64)) 2>/dev/null
for kind in nvme usb; do
	mixed_take $kind
	mixed_there && mixed_keep || ktap_exit_fail_msg "there is no drive of $MANAGED"
done
adp_is "each CPU has a queue of the NVMe drive" \
	"$(mixed_take nvme; find "/sys/block/$(mixed_disk)/mq" -mindepth 1 -maxdepth 1 | wc -l)" -ge 2

ip link set lo up
unshare -n sleep 100000 &
there=$!
adp_until eval '[ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
MANAGED=$twin
adp_until eval '[ -n "$(mixed_card)" ]' || ktap_exit_fail_msg "the twin is no network card"
twin=$(mixed_card)
ip link set "$twin" netns $there
there ip addr add 10.77.0.2/24 dev "$twin"
there ip link set "$twin" up
there httpd -p 80 -h "$state/there"
httpd -p 80 -h "$state/here"

fraction=$(cat /proc/sys/vm/percpu_pagelist_high_fraction)
mixed_percpu 1000
begun=$(mixed_now)
yards=0
takes=0
adp_log_mark
mixed_yardstick
mixed_segment $((begun + takes + 100))
for kind in $kinds; do
	mixed_take "$kind"
	adp_until mixed_searched || mixed_fail "$kind" companion "the search for an earlier kernel's mappings does not end"
done
# The one at the end is of the time, too.
end=$((begun + seconds * 100 - takes))
until [ -e "$state/stop" ]; do
	now=$(mixed_now)
	if [ $((now + 6000)) -lt "$end" ]; then
		mixed_segment $((now + 6000))
	else
		mixed_segment "$end"
	fi
	mixed_yardstick
	[ "$(mixed_now)" -lt "$end" ] || break
done
mixed_percpu "$fraction"
mixed_aspect data "all that is read is what was written, all that comes what was sent"
mixed_aspect kept "what was written at first is still there"
mixed_aspect driver "each driver came back each time, and gave back only what it had"
mixed_aspect mapped "without a driver nothing is mapped, and nothing left behind"
mixed_aspect companion "the companions are well"
mixed_aspect refusals "what was refused is what was injected, and each refusal failed one mapping at most"
for kind in $kinds; do
	adp_is "$kind: rounds" "$(grep -c "^round $kind " "$state/rounds")" -ge 1
	adp_is "$kind: the driver was taken away" "$(grep -c "^unbind $kind" "$state/events")" -ge 1
	adp_is "$kind: the mode was switched" "$(grep -c "^mode $kind" "$state/events")" -ge 1
done
adp_is "entries were refused" "$(mixed_events refusal)" -ge 1

# A few yardsticks meet a machine that does other things besides.
speed=4
[ "$yards" -lt 15 ] || speed=2
adp_is "there is an end to compare with the start" "$yards" -ge 2
: >"$state/compared"
[ "$yards" -lt 2 ] || mixed_compare >"$state/compared"
while read -r name first last; do
	ktap_print_msg "mixed: $name: $first at the start, $last at the end"
	case $name in
	speed*) adp_is "$name is at the end as at the start" $((last * speed)) -ge "$first" ;;
	doorbells*) adp_is "$name are at the end as at the start" "$last" -le $((first * 2 + 64)) ;;
	events) events=$((last - first)) ;;
	# Drivers that come and go have the kernel's own books grow a little, without our module too: by
	# half a MiB in a hundred rounds, then by less. A page that is lost in each round, or by each
	# unbinding, is four times what is allowed beyond that.
	taken | slab) adp_is "memory is not used up: $name" $((last - first)) -le $((2048 + events)) ;;
	esac
done <"$state/compared"

adp_figure soak_seconds $((($(mixed_now) - begun) / 100))
adp_figure rounds "$(cat "$state/rounds" "$state/yards" | grep -vc " all ")"
adp_figure bytes_verified "$(cut -d ' ' -f 2- "$state/yards" | cat "$state/rounds" - | awk '{ sum += $3 } END { printf "%.0f", sum }')"
adp_figure unbinds "$(mixed_events unbind)"
adp_figure mode_switches "$(mixed_events mode)"
adp_figure refusals_injected "$(mixed_events refusal)"
adp_figure kib_per_second_first "$(awk '$1 == "speed" { print $2 }' "$state/compared")"
adp_figure kib_per_second_last "$(awk '$1 == "speed" { print $3 }' "$state/compared")"
adp_figure mappings_failed "$(mixed_events failure)"
ktap_finished
