#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Module of dracut: the initramfs gets apple_dma_pci and what makes it be loaded
# before other drivers. It is in every initramfs, also in one for other machines.

check() {
	return 0
}

depends() {
	echo udev-rules
}

installkernel() {
	# shellcheck disable=SC2154 # dracut sets it
	modinfo -k "$kernel" apple_dma_pci >/dev/null 2>&1 ||
		dwarn "apple_dma_pci is not installed for the kernel $kernel: do not boot it with a device passed through by apple-dma-pci"
	hostonly='' instmods apple_dma_pci
}

install() {
	inst_rules 79-apple_dma_pci.rules
	inst_multiple -o /usr/lib/modprobe.d/apple_dma_pci.conf /etc/modprobe.d/apple_dma_pci.conf
}
