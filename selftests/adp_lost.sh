#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A companion that does not answer any more, while its function is at work: what is
# mapped fails at once, nobody hangs, and when it answers again and is bound again
# all works again. ADP_NVME: the drive that is at work, or "any"; without it an edu
# device. The function is taken from its driver, with what is open or mounted.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
if [ -n "$ADP_NVME" ]; then
	adp_need_module
	COMPANION=$(adp_companions | head -n 1)
	FUNCTION=$(adp_about "$COMPANION" managed)
	driver=nvme
	adp_until adp_driver_is "$FUNCTION" nvme
else
	adp_need_edu
	FUNCTION=$EDU
	driver=adp_test
fi

# The name of the drive; it is another one each time.
adp_drive() {
	for adp_dir in "$ADP_PCI/$FUNCTION"/nvme/nvme*/nvme*n*; do
		[ -b "/dev/${adp_dir##*/}" ] && echo "/dev/${adp_dir##*/}" && return 0
	done
	return 1
}

adp_at_work() {
	if [ -n "$ADP_NVME" ]; then
		drive=$(adp_drive)
		# It ends with an error, or never.
		(while dd if="$drive" of=/dev/null bs=64k 2>/dev/null; do
			echo 3 >/proc/sys/vm/drop_caches
		done) &
		worker=$!
		rung=$(adp_stat "$COMPANION" doorbells)
		adp_until eval "[ \$(adp_stat $COMPANION doorbells) -gt $((rung + 20)) ]"
	else
		(while echo "map n=8 len=65536" >"$ADP_DEBUGFS/adp_test/$FUNCTION/run"; do
			:
		done) 2>/dev/null &
		worker=$!
		sleep 0.5
	fi
}

for round in 1 2; do
	adp_at_work
	adp_log_mark
	command=$(adp_command "$COMPANION")
	adp_set_command "$COMPANION" 0
	ktap_test_result "whoever was at work gets an error ($round)" wait $worker
	# What is read where nobody answers is all ones, or 0 on some machines of QEMU.
	adp_is "the companion is called broken ($round)" \
		"$(adp_about "$COMPANION" state | grep -c "^broken: the .* not answer")" -eq 1
	adp_is "one message says so, and what to do ($round)" \
		"$(adp_log | grep -c "$COMPANION: the .* not answer.*every mapping fails.*replug")" -eq 1
	ktap_test_result "the function is taken from its driver ($round)" adp_until adp_driver_is "$FUNCTION" ""
	adp_is "which is said ($round)" "$(adp_log | grep -c "$FUNCTION: its companion is lost")" -eq 1
	adp_is "which left nothing behind ($round)" "$(adp_log | grep -c "left .* mappings behind")" -eq 0
	ktap_test_result "the function is no master ($round)" eval "! adp_is_master $FUNCTION"
	adp_is "the books are kept ($round)" "$(adp_stat "$COMPANION" live_mappings)" -ge 1
	adp_sysfs "/sys/bus/pci/drivers/$driver/bind" "$FUNCTION"
	# nvme of Linux 6.1 finds out in the background, and then lets go.
	ktap_test_result "its driver does not start ($round)" adp_until adp_driver_is "$FUNCTION" ""
	adp_is "it was refused all DMA ($round)" \
		"$(adp_log | grep -c "$FUNCTION: .*gets no DMA: its companion's host does not work")" -ge 1

	# As it is: not even the registers can be read.
	echo "$COMPANION" >/sys/bus/pci/drivers/apple_dma_pci/unbind
	adp_set_command "$COMPANION" "$command"
	echo "$COMPANION" >/sys/bus/pci/drivers/apple_dma_pci/bind
	adp_is "bound again the companion is ready ($round)" "$(adp_about "$COMPANION" state)" = ready
	ktap_test_result "the function's driver starts by itself ($round)" adp_until adp_driver_is "$FUNCTION" $driver
	if [ -n "$ADP_NVME" ]; then
		ktap_test_result "there is a drive ($round)" adp_until adp_quiet adp_drive
		ktap_test_result "which can be read ($round)" dd if="$(adp_drive)" of=/dev/null bs=64k count=64
	else
		adp_case "and works ($round)" map n=16
	fi
done

# The companion is removed and comes back, the function at work.
adp_at_work
adp_log_mark
echo 1 >"$ADP_PCI/$COMPANION/remove"
ktap_test_result "removed, whoever was at work gets an error" wait $worker
adp_is "the function has lost its driver" "$(adp_driver "$FUNCTION")" = ""
ktap_test_result "the function is no master" eval "! adp_is_master $FUNCTION"
echo 1 >/sys/bus/pci/rescan
ktap_test_result "when it is back the driver starts" adp_until adp_driver_is "$FUNCTION" $driver
if [ -n "$ADP_NVME" ]; then
	ktap_test_result "there is a drive" adp_until adp_quiet adp_drive
	adp_program "which keeps what is written" "$adp_here/adp_io" -j 1 -n 40 -m 8 -s 3 "$(adp_drive)"
else
	adp_case "and works" soak ops=200
fi
ktap_finished
