#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Companions that name what is not theirs: the function of another one, and a
# companion. They are refused, and the one in the right goes on. ADP_CLAIMS says how
# many there are.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_CLAIMS" ] || adp_skip "ADP_CLAIMS does not say that there are such"
adp_need_edu

adp_is "each is told of" "$(dmesg | grep -c "apple_dma_pci .*, for which it maps, .*; it serves nobody")" -eq "$ADP_CLAIMS"
adp_is "one for a function that has another" "$(dmesg | grep -c "$EDU, for which it maps, has another companion")" -eq 1
adp_is "one for a companion" "$(dmesg | grep -c "for which it maps, is a companion itself")" -eq 1
adp_case "the function works" map n=8
for companion in $(adp_companions); do
	[ "$companion" != "$COMPANION" ] || continue
	adp_is "$companion has no driver" "$(adp_driver "$companion")" = ""
	adp_sysfs /sys/bus/pci/drivers/apple_dma_pci/bind "$companion"
	adp_is "nor by hand" "$(adp_driver "$companion")" = ""
	adp_is "the function keeps its own" "$(adp_driver "$EDU")" = adp_test
done
adp_case "the function still works" soak ops=100
echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
adp_is "it has the same companion" "$(adp_about "$COMPANION" managed)" = "$EDU"
adp_case "and works" map n=8
ktap_finished
