#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The machine starts again, ADP_ROUNDS times, with I/O on a managed NVMe drive until
# the last moment. Each kernel sees to what the one before has left mapped, and
# finds what it has written. All data of the drive is lost, so it runs only in a
# guest that restarts into it, before any module is loaded, and that has another
# drive, vda, for notes.
#
# ADP_RESTART: reset: nothing is told of it; reboot: orderly; kexec: orderly, and no
# device is reset; panic: the kernel crashes, and another one runs in memory that
# was set aside.
# ADP_PARAMS: parameters of ours.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_RESTART" ] || adp_skip "ADP_RESTART does not say how the machine starts again"
modprobe virtio_pci 2>/dev/null
modprobe virtio_blk
[ -b /dev/vda ] || adp_skip "no drive for notes, vda"
rounds=${ADP_ROUNDS:-4}
file=/tmp/adp_restart.$$

# The notes: $round, and the $sum of the drive's content.
read -r round sum rest <<END
$(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d '\0')
END
round=${round:-0}
ktap_print_msg "round $round: $sum $rest"

# shellcheck disable=SC2086
adp_load apple_dma_pci $ADP_PARAMS || ktap_test_fail "loading the module ($round)"
modprobe nvme
for _ in 1 2 3 4 5 6 7 8 9 10; do
	drive=$(ls /dev/nvme*n1 2>/dev/null)
	[ -z "$drive" ] || break
	sleep 1
done
ktap_test_result "there is a drive ($round)" test -b "$drive"
COMPANION=$(adp_companions)

if [ "$round" -gt 0 ]; then
	dd if="$drive" of="$file" bs=1M skip=4 count=4 2>/dev/null
	adp_is "its content is what was written ($round)" "$(sha256sum <"$file" | cut -d ' ' -f 1)" = "$sum"
	rm "$file"
	dd if="$drive" of=/dev/null bs=1M 2>/dev/null
	case $ADP_RESTART in
	reset | panic)
		adp_is "what was left was found ($round)" "$(adp_stat "$COMPANION" recovered)" -ge "${ADP_LEAST:-2}"
		adp_is "and unmapped before the function was served ($round)" \
			"$(dmesg | grep -c "apple_dma_pci.*an earlier kernel.*are unmapped now$")" -eq 1
		;;
	*)
		# Of each 16 KiB of RAM
		adp_is "all starts were tried ($round)" "$(adp_stat "$COMPANION" searched)" -ge \
			"$(($(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo) / 16))"
		adp_is "and nothing had been left ($round)" "$(adp_stat "$COMPANION" recovered)" -eq 0
		;;
	esac
	adp_is "no mapping failed ($round)" "$(adp_stat "$COMPANION" map_failures)" -eq 0
	adp_is "the companion is well ($round)" "$(adp_about "$COMPANION" state)" = ready
	adp_is "and did not warn of a refusal ($round)" "$(dmesg | grep -c "apple_dma_pci.*cannot map")" -eq 0
fi
[ "$round" -lt "$rounds" ] || ktap_finished

dd if=/dev/urandom of="$file" bs=1M count=4 2>/dev/null
dd if="$file" of="$drive" bs=1M seek=4 conv=notrunc,fsync 2>/dev/null
sum=$(sha256sum <"$file" | cut -d ' ' -f 1)
printf '%s %s \n%508s' $((round + 1)) "$sum" "" | dd of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null

# While the machine has nothing else to do.
options=$(sed 's/crashkernel=[^ ]*//' /proc/cmdline)
case $ADP_RESTART in
kexec) kexec -c -l /kexec/vmlinuz --initrd=/kexec/initramfs --append="$options" ;;
panic) kexec -c -p /kexec/vmlinuz --initrd=/kexec/initramfs --append="$options nr_cpus=1" ;;
esac || ktap_test_fail "loading another kernel"

# Reads and writes that do not end
while :; do
	cat "$drive" >/dev/null
	echo 1 >/proc/sys/vm/drop_caches
done &
while :; do
	dd if=/dev/zero of="$drive" bs=256k seek=64 count=32 conv=notrunc,fsync 2>/dev/null
done &
sleep 3
ktap_print_msg "$(adp_stat "$COMPANION" live_mappings) mappings, $(adp_stat "$COMPANION" live_bytes) bytes"
ktap_print_totals
echo "1..$KTAP_TESTNO"
echo 1 >/proc/sys/kernel/sysrq
# What was said is to be heard.
sleep 1
case $ADP_RESTART in
reset) echo b >/proc/sysrq-trigger ;;
panic) echo c >/proc/sysrq-trigger ;;
reboot) reboot -f ;;
kexec) kexec -e ;;
esac
sleep 1000
ktap_exit_fail_msg "the machine does not start again"
