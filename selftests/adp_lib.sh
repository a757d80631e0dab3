# SPDX-License-Identifier: GPL-2.0-only
#
# What the tests of apple_dma_pci share. Sourced, not run.
# shellcheck shell=sh
#
# A test ends with KSFT_SKIP if this machine has not got what it needs. The
# modules that it loads stay loaded.

adp_here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ktap_helpers.sh
. "$adp_here/ktap_helpers.sh"

ADP_PCI=/sys/bus/pci/devices
ADP_DEBUGFS=/sys/kernel/debug
ADP_STATE=$ADP_DEBUGFS/apple_dma_pci
ADP_COMPANION_ID=0x1b36:0x0015
ADP_EDU_ID=0x1234:0x11e8
ADP_NEWLINE='
'

adp_skip() {
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

# Begins a test.
adp_start() {
	ktap_print_header
	[ "$(id -u)" -eq 0 ] || adp_skip "only root can"
	grep -q " $ADP_DEBUGFS debugfs " /proc/mounts ||
		mount -t debugfs debugfs $ADP_DEBUGFS 2>/dev/null ||
		adp_skip "debugfs cannot be mounted"
}

adp_loaded() {
	[ -d "/sys/module/$1" ]
}

# adp_load MODULE [PARAMETER...]: from where it was built, or was installed.
adp_load() {
	adp_module=$1
	shift
	for adp_dir in "$adp_here/modules" "$adp_here/../driver"; do
		if [ -f "$adp_dir/$adp_module.ko" ]; then
			insmod "$adp_dir/$adp_module.ko" "$@"
			return
		fi
	done
	modprobe "$adp_module" "$@"
}

# The first line of file $1, by the shell itself; false if there is none.
adp_first_line() {
	{ read -r adp_value <"$1" && echo "$adp_value"; } 2>/dev/null
}

# The ID of a function as VENDOR:DEVICE.
adp_id() {
	echo "$(adp_first_line "$ADP_PCI/$1/vendor"):$(adp_first_line "$ADP_PCI/$1/device")"
}

# All functions with the ID $1.
adp_functions() {
	for adp_dir in "$ADP_PCI"/*; do
		{ read -r adp_vendor <"$adp_dir/vendor" && read -r adp_device <"$adp_dir/device"; } 2>/dev/null || continue
		adp_bdf=${adp_dir##*/}
		[ "$adp_vendor:$adp_device" != "$1" ] || echo "$adp_bdf"
	done
}

adp_companions() {
	adp_functions $ADP_COMPANION_ID
}

# The driver of function $1, or nothing.
adp_driver() {
	(cd -P "$ADP_PCI/$1/driver" 2>/dev/null && echo "${PWD##*/}") || :
}

# What the companion $1 says about $2: state, layout, managed.
adp_about() {
	adp_first_line "$ADP_STATE/$1/$2"
}

# The attribute $2 of companion $1: mode, copy.
adp_setting() {
	adp_first_line "$ADP_PCI/$1/apple_dma_pci/$2"
}

# The counter $2 of companion $1.
adp_stat() {
	while read -r adp_key adp_value; do
		if [ "$adp_key" = "$2" ]; then
			echo "$adp_value"
			return 0
		fi
	done <"$ADP_STATE/$1/stats"
	return 1
}

# Sees to it that our module is there and has a companion to work with.
adp_need_module() {
	[ -n "$(adp_companions)" ] || adp_skip "no apple-dma-pci function"
	adp_loaded apple_dma_pci || adp_load apple_dma_pci ||
		adp_skip "apple_dma_pci cannot be loaded"
}

# Unloading our module takes the drivers of all managed functions away, and perhaps
# a root file system with them: only those of edu devices may go.
adp_need_unload() {
	for COMPANION in $(adp_companions); do
		adp_bdf=$(adp_about "$COMPANION" managed)
		case $(adp_driver "${adp_bdf:-none}") in
		"" | adp_test) ;;
		*) adp_skip "$adp_bdf is in use, and would lose its driver" ;;
		esac
	done
}

# Picks a managed edu device that has its driver, of ADP_PICK the ADP_PICKth of all: $EDU, and its
# companion, $COMPANION.
adp_need_edu() {
	adp_need_module
	[ -n "$(adp_functions $ADP_EDU_ID)" ] ||
		adp_skip "no edu device, whose DMA engine the test uses"
	adp_loaded adp_test || adp_load adp_test ||
		adp_skip "adp_test cannot be loaded"
	adp_left=$ADP_PICK
	for COMPANION in $(adp_companions); do
		EDU=$(adp_about "$COMPANION" managed)
		[ -n "$EDU" ] || continue
		[ "$(adp_id "$EDU")" = "$ADP_EDU_ID" ] || continue
		adp_left=$((adp_left - 1))
		[ -z "$ADP_PICK" ] || [ $adp_left -eq 0 ] || continue
		[ ! -d "$ADP_DEBUGFS/adp_test/$EDU" ] || return 0
	done
	adp_skip "no managed edu device with its driver"
}

# Finds a managed NVMe drive that may be overwritten, $ADP_NVME or any: $DRIVE, of
# $MANAGED, and its companion, $COMPANION.
adp_need_drive() {
	[ -d /sys/bus/pci/drivers/nvme ] || modprobe nvme 2>/dev/null
	for COMPANION in $(adp_companions); do
		MANAGED=$(adp_about "$COMPANION" managed)
		for adp_dir in "$ADP_PCI/$MANAGED"/nvme/nvme*/nvme*n1; do
			[ -d "$adp_dir" ] || continue
			DRIVE=${adp_dir##*/}
			[ "$ADP_NVME" != any ] && [ "$ADP_NVME" != "$DRIVE" ] || return 0
		done
	done
	adp_skip "no managed NVMe drive is $ADP_NVME"
}

# Runs the case $*; its last line of output decides: 0, 1, or KSFT_SKIP.
# What it said is in $RESULT. Some tests run thousands, and a process takes longer than most
# cases, so there is none.
adp_run() {
	RESULT=
	if ! echo "$*" >"$ADP_DEBUGFS/adp_test/$EDU/run"; then
		ktap_print_msg "there is no case '$*'"
		return "$KSFT_FAIL"
	fi
	adp_line=
	while IFS= read -r adp_next; do
		adp_line=$adp_next
		RESULT=$RESULT${RESULT:+$ADP_NEWLINE}$adp_line
	done <"$ADP_DEBUGFS/adp_test/$EDU/result"
	case $adp_line in
	"ok "*) return 0 ;;
	"skip "*) return "$KSFT_SKIP" ;;
	esac
	# shellcheck disable=SC2001
	echo "$RESULT" | sed 's/^[^#]/# &/'
	return "$KSFT_FAIL"
}

# The number behind "$1=" in the last result.
adp_fact() {
	adp_found=
	while IFS= read -r adp_line; do
		case $adp_line in
		"$1="*) adp_found=${adp_line#*=} ;;
		esac
	done <<-END
	$RESULT
	END
	echo "$adp_found"
}

# adp_verdict STATUS DESCRIPTION: reports what adp_run returned.
adp_verdict() {
	case $1 in
	0) ktap_test_pass "$2" ;;
	"$KSFT_SKIP")
		echo "$RESULT" | grep SKIP
		ktap_test_skip "$2"
		;;
	*) ktap_test_fail "$2" ;;
	esac
}

# adp_case DESCRIPTION CASE...: runs a case as a test of its own.
adp_case() {
	adp_what=$1
	shift
	adp_run "$@"
	adp_verdict $? "$adp_what"
}

# Runs a command that has nothing to say.
adp_quiet() {
	"$@" >/dev/null 2>&1
}

# adp_is DESCRIPTION ACTUAL OPERATOR EXPECTED: operators of test(1).
adp_is() {
	if test "$2" "$3" "$4" 2>/dev/null; then
		ktap_test_pass "$1"
	else
		ktap_print_msg "'$2' $3 '$4' does not hold"
		ktap_test_fail "$1"
	fi
}

# Remembers where the kernel's log ends now.
adp_log_mark() {
	ADP_MARK="adp_test: mark $$ $(adp_first_line /proc/uptime)"
	echo "$ADP_MARK" >/dev/kmsg
}

# The kernel's log since adp_log_mark.
adp_log() {
	dmesg | awk -v mark="$ADP_MARK" 'seen { print } index($0, mark) { seen = 1 }'
}

# Runs a program that speaks TAP as one test.
adp_program() {
	adp_what=$1
	shift
	"$@" >/tmp/adp_program.$$ 2>&1
	adp_status=$?
	sed 's/^/# /' /tmp/adp_program.$$
	rm -f /tmp/adp_program.$$
	case $adp_status in
	0) ktap_test_pass "$adp_what" ;;
	"$KSFT_SKIP") ktap_test_skip "$adp_what" ;;
	*) ktap_test_fail "$adp_what" ;;
	esac
}

# adp_until COMMAND...: waits until the command succeeds; gives up in the end.
adp_until() {
	adp_tries=600
	until "$@"; do
		adp_tries=$((adp_tries - 1))
		[ $adp_tries -gt 0 ] || return 1
		sleep 0.1
	done
}

# adp_figure NAME NUMBER: for those who add up what was done.
adp_figure() {
	ktap_print_msg "figure $1 $2"
}

# Has function $1 the driver $2, or, without that, none?
adp_driver_is() {
	[ "$(adp_driver "$1")" = "$2" ]
}

# Has the edu function its driver, and is that one's probe over? The link to it is there before.
adp_edu_started() {
	adp_driver_is "$EDU" adp_test && [ -e "$ADP_DEBUGFS/adp_test/$EDU/run" ]
}

# Writes $2 to the file $1 of sysfs, whatever becomes of it.
adp_sysfs() {
	echo "$2" 2>/dev/null >"$1"
}

# The command register of function $1: 2 is memory, 4 bus master.
adp_command() {
	od -A n -t u2 -j 4 -N 2 "$ADP_PCI/$1/config" | tr -d ' '
}

# adp_set_command FUNCTION VALUE
adp_set_command() {
	# shellcheck disable=SC2059
	printf "\\$(printf %o "$2")" |
		dd of="$ADP_PCI/$1/config" bs=1 seek=4 count=1 conv=notrunc 2>/dev/null
}

# Is function $1 a bus master?
adp_is_master() {
	[ $(($(adp_command "$1") & 4)) -ne 0 ]
}
