# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# What a guest of `make bench` does; scripts/bench appends the steps. Lines
# "bench LABEL RUN KEY VALUE" are for the host.

BENCH=/sys/kernel/debug/adp_bench
TRACING=/sys/kernel/tracing
# Counts the doorbells of whatever is measured, by type; see bench_doorbells.
HIST=
MORE=

fail() {
	echo "bench - - why $*"
	exit 1
}

# bench_bind ADDRESS: give the device to the benchmark's driver.
bench_bind() {
	[ -d /sys/module/adp_bench ] || modprobe adp_bench || fail "adp_bench cannot be loaded"
	echo adp_bench >/sys/bus/pci/devices/"$1"/driver_override
	echo "$1" >/sys/bus/pci/drivers_probe
	[ -d "$BENCH/$1" ] || fail "adp_bench cannot have $1: $(dmesg | tail -n 1)"
}

# bench_identity ADDRESS: let an IOMMU pass the device's DMA on as it is. Where
# there is a device tree, it has a group when it has had a driver.
bench_identity() {
	bench_bind "$1"
	echo "$1" >/sys/bus/pci/devices/"$1"/driver/unbind
	echo >/sys/bus/pci/devices/"$1"/driver_override
	echo identity >/sys/bus/pci/devices/"$1"/iommu_group/type ||
		fail "the IOMMU group of $1 cannot be passed through: $(dmesg | tail -n 1)"
}

# bench_domain ADDRESS: say what kind of domain the device is in.
bench_domain() {
	echo "bench - - domain $(cat /sys/bus/pci/devices/"$1"/iommu_group/type 2>/dev/null || echo none)"
}

# bench_doorbells EVENT [SUM]: count an event, a tracepoint or a kprobe, and add
# up a field of it, by its field type if it has one.
bench_doorbells() {
	echo 0 >$TRACING/tracing_on
	HIST=$TRACING/events/$1
	TRIGGER="hist:keys=${3:-common_type}${2:+:vals=$2}"
}

# bench_probe FUNCTION: make a kprobe of a function that rings.
bench_probe() {
	echo "p:bench/ring $1" >$TRACING/kprobe_events || fail "$1 cannot be probed"
	bench_doorbells bench/ring
}

counting() {
	[ -z "$HIST" ] || echo "$1$TRIGGER" >"$HIST/trigger"
}

stats() {
	cat /sys/kernel/debug/apple_dma_pci/*/stats /sys/kernel/debug/adp_naive/*/stats 2>/dev/null
}

# The module's counters, and the histogram's as KEY.hits and KEY.sum, of a moment
# in which none of the module's workers rings.
counters() {
	local before
	while :; do
		before=$(stats)
		[ -z "$HIST" ] || cp "$HIST/hist" /tmp/hist
		[ -n "$before" ] || break
		sleep 0.05
		[ "$before" != "$(stats)" ] || break
	done
	[ -z "$before" ] || echo "$before" | sed "s/^/bench $1 $2 $3./"
	[ -z "$HIST" ] || sed -nE "s/^\{ [a-z_]+: +([0-9]+) \} hitcount: +([0-9]+)( +[a-z]+: +([0-9]+))?.*/\
bench $1 $2 $3.hits\1 \2\nbench $1 $2 $3.sum\1 \4/p" /tmp/hist | grep '[0-9]$'
}

results() {
	sed "s/^/bench $1 $2 /; s/=/ /" "$BENCH/$3/result"
}

# bench_go LABEL RUN ADDRESS: the timed part of what is set up.
bench_go() {
	if ! echo go >"$BENCH/$3/run"; then
		echo "bench $1 $2 why $(dmesg | tail -n 1)"
		return 1
	fi
	results "$1" "$2" "$3"
}

bench_setup() {
	local label=$1 run=$2 dev=$3
	shift 3
	if ! echo "setup $*" >"$BENCH/$dev/run"; then
		echo "bench $label $run why $(dmesg | tail -n 1)"
		return 1
	fi
}

# bench_count LABEL RUNS ADDRESS WORKLOAD...: runs with counters before and after.
bench_count() {
	local label=$1 runs=$2 dev=$3 run=0
	shift 3
	bench_setup "$label" 0 "$dev" "$@" || return 0
	while [ $run -lt "$runs" ]; do
		counting ''
		counters "$label" $run before
		bench_go "$label" $run "$dev" || break
		counters "$label" $run after
		counting '!'
		run=$((run + 1))
	done
	echo drop >"$BENCH/$dev/run"
}

# bench_twins LABEL RUNS ADDRESS TWIN WORKLOAD...: runs on both, in turns. MORE is an argument for the
# first one alone.
bench_twins() {
	local label=$1 runs=$2 dev=$3 twin=$4 run=0
	shift 4
	while [ $run -lt "$runs" ]; do
		bench_setup "$label.twin" $run "$twin" "$@" &&
			bench_go "$label.twin" $run "$twin"
		echo drop >"$BENCH/$twin/run"
		bench_setup "$label" $run "$dev" "$@" ${MORE:+"$MORE"} &&
			bench_go "$label" $run "$dev"
		echo drop >"$BENCH/$dev/run"
		run=$((run + 1))
	done
}

# bench_bare LABEL RUNS ADDRESS BYTES WORKLOAD...: the workload as it is, and with copies of all but
# so many bytes, in turns.
bench_bare() {
	local label=$1 runs=$2 dev=$3
	MORE="bare=$4"
	shift 4
	bench_twins "$label" "$runs" "$dev" "$dev" "$@"
	MORE=
}

# bench_scaling LABEL RUNS ADDRESS ARGUMENTS...: warm pairs by one and by two threads, in turns.
bench_scaling() {
	local label=$1 runs=$2 dev=$3 run=0 threads
	shift 3
	while [ $run -lt "$runs" ]; do
		for threads in 1 2; do
			bench_setup "$label.$threads" $run "$dev" pair-4k threads=$threads "$@" || return 0
			bench_go "$label.$threads" $run "$dev"
			echo drop >"$BENCH/$dev/run"
		done
		run=$((run + 1))
	done
}

# bench_nvme ADDRESS: the block device of a drive, once it is there.
bench_nvme() {
	local tries=0 block
	while [ $tries -lt 100 ]; do
		for block in /sys/bus/pci/devices/"$1"/nvme/nvme*/nvme*n1; do
			[ ! -b "/dev/${block##*/}" ] || { echo "/dev/${block##*/}"; return; }
		done
		tries=$((tries + 1))
		sleep 0.1
	done
	fail "the drive $1 did not appear"
}

# bench_fio LABEL N SECONDS ADDRESS TWIN ARGUMENTS...: one fio on both drives, which take turns of N requests,
# the twin first; a line for each turn.
bench_fio() {
	local label=$1 n=$2 seconds=$3 managed twin rc=0
	managed=$(bench_nvme "$4")
	twin=$(bench_nvme "$5")
	shift 5
	# A pause between turns, of a microsecond, as fio waits for all that is in flight before one: the requests
	# of one drive do not pass for the other's. Its log has a line for each request, in milliseconds since the
	# beginning and nanoseconds that it took.
	fio --name="$label" --filename="$twin:$managed" --file_service_type=roundrobin:"$n" --direct=1 \
		--thinktime=1 --thinktime_blocks="$n" --thinktime_blocks_type=issue --ioengine=libaio --time_based --runtime="$seconds" --write_lat_log="/tmp/$label" "$@" >/tmp/fio 2>&1 || rc=$?
	# What is wrong it says in lines that begin with its name, among the others.
	[ $rc -eq 0 ] || fail "$(grep -m 1 '^fio: ' /tmp/fio || echo "fio ended with status $rc")"
	awk -F, -v label="$label" -v n="$n" '
		{ sum += $2 }
		NR % n == 0 {
			run = NR / n - 1
			printf "bench %s %d ms %d\nbench %s %d latency %d\n", label, run, $1 - before, label, run, sum / n
			before = $1
			sum = 0
		}' "/tmp/${label}_lat.1.log"
	rm -f "/tmp/$label"_*.log
}

# bench_end ADDRESS...: let go of the devices, so that the last counters are told.
bench_end() {
	for dev in "$@"; do
		echo "$dev" >/sys/bus/pci/devices/"$dev"/driver/unbind
	done
	[ ! -d /sys/module/adp_naive ] || rmmod adp_naive
}

# What the kernel still does after booting is not to be measured.
renice -n -19 -p $$ >/dev/null
sleep 1
echo "bench - - kernel $(uname -r)"
