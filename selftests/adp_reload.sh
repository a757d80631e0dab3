#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The module comes and goes, the function's driver binds and unbinds, and
# nothing stays mapped.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
adp_need_unload

adp_log_mark
for round in 1 2 3 4 5 6 7 8; do
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/unbind
	[ -z "$(adp_driver "$EDU")" ] || ktap_test_fail "unbinding ($round)"
	adp_is "nothing is left mapped ($round)" "$(adp_stat "$COMPANION" live_mappings)" -eq 0
	echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
	[ "$(adp_driver "$EDU")" = adp_test ] || ktap_test_fail "binding ($round)"
	adp_run map n=2 len=4096 || ktap_test_fail "mapping ($round)"
done

for round in 1 2 3 4; do
	adp_case "mappings that are live when the driver goes ($round)" set_new n=8
	adp_case "as above ($round)" set_map
	ktap_test_result "our module goes although its function is in use ($round)" rmmod apple_dma_pci
	adp_is "the function has lost its driver ($round)" "$(adp_driver "$EDU")" = ""
	ktap_test_result "it comes back ($round)" adp_load apple_dma_pci
	[ "$(adp_driver "$EDU")" = adp_test ] ||
		echo "$EDU" >/sys/bus/pci/drivers/adp_test/bind
	adp_is "the function has its driver again ($round)" "$(adp_driver "$EDU")" = adp_test
	adp_case "it works ($round)" map n=4
done
adp_is "totals were printed each time" "$(adp_log | grep -c "apple_dma_pci $COMPANION: totals:")" -eq 4
adp_is "nothing was live at the end of any" "$(adp_log | grep "totals:" | grep -vc "live_mappings=0 live_bytes=0")" -eq 0

rmmod adp_test
ktap_test_result "our module goes first" rmmod apple_dma_pci
ktap_test_result "it comes before the driver" adp_load apple_dma_pci
adp_load adp_test
adp_is "the driver starts" "$(adp_driver "$EDU")" = adp_test
adp_case "and works" map n=4
ktap_finished
