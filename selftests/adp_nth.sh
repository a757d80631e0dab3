#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Every allocation fails once: the first one of a path, then the second, until the path has no
# more. What fails says so and leaves nothing behind, and what does not is right. It needs a kernel
# with FAULT_INJECTION, FAILSLAB and FAIL_PAGE_ALLOC. ADP_NTH, a pattern: only the paths whose names
# match it.

# Most functions are called by name.
# shellcheck disable=SC2317
# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -e /proc/self/fail-nth ] || adp_skip "this kernel does not inject faults (CONFIG_FAULT_INJECTION)"
for kind in failslab fail_page_alloc; do
	[ -d "$ADP_DEBUGFS/$kind" ] || adp_skip "this kernel has no $kind"
	# Of those that may wait, too, and without a backtrace for each.
	echo N >"$ADP_DEBUGFS/$kind/ignore-gfp-wait"
	echo 0 >"$ADP_DEBUGFS/$kind/verbose"
done
echo N >"$ADP_DEBUGFS/fail_page_alloc/ignore-gfp-highmem"
echo 0 >"$ADP_DEBUGFS/fail_page_alloc/min-order"
adp_need_edu
run=$ADP_DEBUGFS/adp_test/$EDU/run
ours=/sys/bus/pci/drivers/apple_dma_pci
theirs=/sys/bus/pci/drivers/adp_test
total=0

# adp_nth N FILE TEXT: writes with the Nth allocation failing. Nothing but this shell's own
# built-in commands, as each task has its own faults. False when there were fewer. $adp_wrote says
# whether the kernel took the text: opening the file and writing to it allocate, too.
adp_nth() {
	adp_rest=0
	adp_wrote=1
	{
		echo "$1" >/proc/self/fail-nth
		echo "$3" >"$2" || adp_wrote=0
		read -r adp_rest </proc/self/fail-nth
		echo 0 >/proc/self/fail-nth
	} 2>/dev/null
	[ "$adp_rest" -eq 0 ]
}

# sweep WHAT MOST BEFORE AFTER FILE TEXT: functions that are run before and after each.
sweep() {
	# shellcheck disable=SC2254 # a pattern
	case $1 in
	${ADP_NTH:-*}) ;;
	*) return ;;
	esac
	n=1
	wrong=0
	while adp_nth_one "$3" "$5" "$6" "$n"; do
		look "$1" "$4"
		n=$((n + 1))
		[ $n -le "$2" ] || break
	done
	look "$1" "$4"
	total=$((total + n - 1))
	ktap_print_msg "$1: $((n - 1)) allocations failed"
	adp_is "$1: there are allocations" $n -gt 1
	adp_is "$1: all of them failed once" $n -le "$2"
	adp_is "$1: and nothing was wrong" $wrong -eq 0
}

# look WHAT FUNCTION: it says whether all is well, and if not, why.
look() {
	why=
	$2 && return
	wrong=$((wrong + 1))
	ktap_print_msg "$1: without allocation $n: $why"
}

adp_nth_one() {
	$1
	adp_nth "$4" "$2" "$3"
}

nothing() {
	:
}

# All works as before.
sound() {
	why="the companion is $(adp_about "$COMPANION" state)"
	[ "$why" = "the companion is ready" ] || return 1
	adp_run map n=4 >/dev/null 2>&1 && return
	why="what works otherwise does not: $(echo "$RESULT" | tr '\n' ' ')"
	return 1
}

set_sound() {
	adp_quiet adp_run set_check && adp_quiet adp_run set_unmap && sound
}

list_before() {
	adp_quiet adp_run sg_new n=300 len=4096 stride=0x4000
}

list_sound() {
	if grep -q "^mapped=1" "${run%/run}/result"; then
		adp_quiet adp_run sg_check || return 1
		adp_quiet adp_run sg_unmap || return 1
	fi
	adp_quiet adp_run sg_free
	sound
}

buf_sound() {
	if grep -q "^ok buf_new" "${run%/run}/result"; then
		adp_quiet adp_run buf_fill seed=3 || return 1
		adp_quiet adp_run buf_check seed=3 || return 1
	fi
	adp_quiet adp_run buf_free
	sound
}

# What could not be had is no failure, what is wrong is.
history_sound() {
	! grep "^# FAIL" "${run%/run}/result" | grep -qv ": no memory" && sound
}

for mode in lazy strict; do
	for copy in never always; do
		echo "$EDU" >"$theirs"/unbind
		echo $mode >"$ADP_PCI/$COMPANION/apple_dma_pci/mode"
		echo $copy >"$ADP_PCI/$COMPANION/apple_dma_pci/copy"
		echo "$EDU" >"$theirs"/bind
		how="$mode, copy=$copy"
		adp_quiet adp_run set_new n=40 len=4096 stride=0x10000
		sweep "$how: mapping" 2000 nothing set_sound "$run" "set_map"
		adp_quiet adp_run set_free
		sweep "$how: mapping a list" 2000 list_before list_sound "$run" "sg_map want=any"
		sweep "$how: coherent memory" 2000 nothing buf_sound "$run" "buf_new size=0x300000"
		sweep "$how: a history" 2000 nothing history_sound "$run" "soak ops=60 live=12 mem=0x80000 limits=1 seed=5 apart=$([ $copy = always ] && echo 1 || echo 0)"
	done
done

# After a probe that failed the companion has no driver, and the function is loose for nobody.
bound() {
	if [ ! -e "$ours/$COMPANION" ]; then
		why="the function has a driver, and its companion none"
		[ ! -e "$theirs/$EDU" ] || return 1
		why="the companion cannot be bound"
		echo "$COMPANION" >"$ours"/bind || return 1
	fi
	[ -e "$theirs/$EDU" ] || echo "$EDU" 2>/dev/null >"$theirs"/bind
	why="the function gets no driver"
	adp_until adp_driver_is "$EDU" adp_test || return 1
	# What cannot be shown in debugfs is not shown, and works all the same.
	if [ ! -e "$ADP_STATE/$COMPANION/state" ]; then
		why="it does not work without debugfs"
		adp_quiet adp_run map n=4 || return 1
		echo "$COMPANION" >"$ours"/unbind
		echo "$COMPANION" >"$ours"/bind
		adp_until adp_driver_is "$EDU" adp_test || return 1
	fi
	# The same goes for the driver of the function, which cannot be asked then.
	if [ ! -e "$run" ] || [ ! -e "${run%/run}/result" ]; then
		why="the function's driver does not come back"
		echo "$EDU" >"$theirs"/unbind
		echo "$EDU" >"$theirs"/bind
		adp_until adp_driver_is "$EDU" adp_test || return 1
	fi
	sound
}

apart() {
	[ ! -e "$ours/$COMPANION" ] || echo "$COMPANION" >"$ours"/unbind
}

# Who was told that it is done finds it done.
gone() {
	why="the companion still has its driver"
	[ "$adp_wrote" -eq 0 ] || [ ! -e "$ours/$COMPANION" ] || return 1
	removed=$((removed + adp_wrote))
	bound
}

left() {
	why="the function still has its driver"
	[ "$adp_wrote" -eq 0 ] || [ ! -e "$theirs/$EDU" ] || return 1
	removed=$((removed + adp_wrote))
	bound
}

# removed_ok WHAT: it is not only the writing that was tried.
removed_ok() {
	# shellcheck disable=SC2254 # a pattern
	case $1 in
	${ADP_NTH:-*}) adp_is "$1: with allocations missing it was done $removed times" "$removed" -ge 2 ;;
	esac
}

lone() {
	[ ! -e "$theirs/$EDU" ] || echo "$EDU" >"$theirs"/unbind
}

sweep "the companion's probe" 2000 apart bound $ours/bind "$COMPANION"
removed=0
sweep "the companion's removal" 2000 nothing gone $ours/unbind "$COMPANION"
removed_ok "the companion's removal"
sweep "the function's probe" 2000 lone bound $theirs/bind "$EDU"
removed=0
sweep "the function's removal" 2000 nothing left $theirs/unbind "$EDU"
removed_ok "the function's removal"
adp_figure faults_injected $total
adp_is "the driver gave back only what it had" "$(adp_stat "$COMPANION" bad_unmaps)" -eq 0
ktap_finished
