#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A host whose answers may be wrong anywhere, another one each time the companion is
# bound: what is mapped leads where it should, or nothing is mapped. ADP_HOSTS: how many
# of them; nothing else says that the host is a bad one. ADP_PICK: the companion and the edu
# device are the ADP_PICKth. It clears the kernel's log.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_HOSTS" ] || adp_skip "ADP_HOSTS says no number, so the host is a good one"
adp_need_module
adp_loaded adp_test || adp_load adp_test || adp_skip "adp_test cannot be loaded"
COMPANION=$(adp_companions | sed -n "${ADP_PICK:-1}p")
EDU=$(adp_functions $ADP_EDU_ID | sed -n "${ADP_PICK:-1}p")
[ -n "$EDU" ] || adp_skip "no edu device, whose DMA engine the test uses"
ours=/sys/bus/pci/drivers/apple_dma_pci
theirs=/sys/bus/pci/drivers/adp_test
run=$ADP_DEBUGFS/adp_test/$EDU/run

# What is done for each host is done by the shell itself: under a kernel that looks hard at
# everything, a process takes longer than what it is started for.

# A case whose verdict may be gone with the driver; the log has it if it is bad.
attempt() {
	mapped=
	[ -e "$run" ] || return
	adp_sysfs "$run" "$*"
	while read -r line; do
		case $line in
		'# FAIL'*) echo "# $line" ;;
		mapped=*) mapped=${line#*=} ;;
		esac
	done 2>/dev/null <"${run%/run}/result"
}

# What the kernel says is counted now and then: its log holds that of some hundred hosts.
LOG=/tmp/adp_hostile.$$
tell() {
	dmesg -c >$LOG
	wrong=$((wrong + $(grep -c "case failed: soak\|case failed: sg_check" $LOG)))
	told=$((told + $(grep -c "apple_dma_pci $COMPANION.*every mapping fails from now on" $LOG)))
	short=$((short + $(grep -c "apple_dma_pci $COMPANION.*no memory\|soak: no memory" $LOG)))
}

dmesg -c >/dev/null
host=0
refused=0
served=0
broken=0
wrong=0
told=0
short=0
while [ $host -lt "$ADP_HOSTS" ]; do
	[ $((host % 20)) -ne 0 ] || tell
	host=$((host + 1))
	[ -e "$ours/$COMPANION" ] || adp_sysfs $ours/bind "$COMPANION"
	if [ ! -e "$ours/$COMPANION" ]; then
		refused=$((refused + 1))
		# Nobody sees to it, so it must not be let loose.
		adp_sysfs $theirs/bind "$EDU"
		[ ! -e "$theirs/$EDU" ] || ktap_test_fail "a function is loose with host $host"
		continue
	fi
	# It may have its driver already, or be getting it: this waits until it has.
	adp_sysfs $theirs/bind "$EDU"
	[ ! -e "$theirs/$EDU" ] || served=$((served + 1))
	attempt "soak ops=150 live=16 mem=0x200000 limits=1 seed=$host"
	attempt "sg_new n=40 len=4096 stride=0x8000 seed=$host"
	attempt "sg_map want=any"
	if [ "$mapped" = 1 ]; then
		attempt sg_check
		attempt sg_unmap
	fi
	attempt sg_free
	state=
	read -r state 2>/dev/null <"$ADP_STATE/$COMPANION/state"
	case $state in
	broken*) broken=$((broken + 1)) ;;
	esac
	adp_sysfs $ours/unbind "$COMPANION"
done
tell
rm -f $LOG
adp_figure hostile_hosts $host
ktap_print_msg "$host hosts: $refused were refused, $served had a driver served, $broken were given up"

adp_is "nothing led elsewhere" $wrong -eq 0
# What a host does not unmap is not used again, a quarter of a MiB each time.
adp_is "there was memory for all of them" $short -eq 0
adp_is "many a host was served" $served -ge $((host / 10))
adp_is "some were refused" $refused -ge 1
adp_is "some were given up" $broken -ge 1
adp_is "and each of these said why" $told -ge $broken
ktap_finished
