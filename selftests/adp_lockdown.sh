#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel is locked down while the module is loaded, and cannot be unlocked any more: the
# module takes its function up anew, hooks and all, and the drive behind it works as before.
#
# ADP_NVME: a managed drive that may be overwritten, or "any". ADP_LOCKDOWN: the level,
# integrity or confidentiality.

# Functions are called by name.
# shellcheck disable=SC2317
# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_NVME" ] || adp_skip "ADP_NVME names no drive that may be overwritten"
adp_need_module
adp_need_drive
level=${ADP_LOCKDOWN:-confidentiality}
lockdown=/sys/kernel/security/lockdown
[ -e $lockdown ] || mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
[ -e $lockdown ] || adp_skip "this kernel cannot be locked down"
ours=/sys/bus/pci/drivers/apple_dma_pci

adp_has_drive() {
	[ -b "/dev/$DRIVE" ]
}

# Pages and lists that the module has mapped.
adp_mapped() {
	echo $(($(adp_stat "$COMPANION" map_ops) + $(adp_stat "$COMPANION" sg_lists)))
}

# adp_wrote SEED: 8 MiB that can be told from others, past all caches.
adp_wrote() {
	yes "$1" | dd of=/tmp/wrote bs=64k count=128 iflag=fullblock 2>/dev/null &&
		dd if=/tmp/wrote of="/dev/$DRIVE" bs=64k oflag=direct 2>/dev/null
}

adp_reads() {
	dd if="/dev/$DRIVE" of=/tmp/read bs=64k count=128 iflag=direct 2>/dev/null && cmp /tmp/wrote /tmp/read
}

ktap_test_result "writing before" adp_wrote "before $$"
echo "$MANAGED" >/sys/bus/pci/drivers/nvme/unbind
echo "$COMPANION" >$ours/unbind
adp_is "nothing is taken up" "$(adp_driver "$COMPANION")" = ""
ktap_test_result "the kernel is locked down" eval "echo $level >$lockdown"
adp_is "and says so" "$(grep -cF "[$level]" $lockdown)" -eq 1
adp_is "and cannot be unlocked" "$(echo none 2>/dev/null >$lockdown; grep -cF "[$level]" $lockdown)" -eq 1
echo "$COMPANION" >$ours/bind
adp_is "the companion is taken up anew" "$(adp_driver "$COMPANION")" = apple_dma_pci
[ -n "$(adp_driver "$MANAGED")" ] || echo "$MANAGED" >/sys/bus/pci/drivers/nvme/bind
ktap_test_result "the drive is back" adp_until adp_has_drive
before=$(adp_mapped)
ktap_test_result "what was written is there" adp_reads
ktap_test_result "writing" adp_wrote "after $$"
ktap_test_result "and reading" adp_reads
adp_is "all of it mapped by us" "$(adp_mapped)" -gt "$before"
ktap_finished
