#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What apple-dma-status says: when all is well, and of each thing that is wrong.
# Needs a guest in which our module is not loaded yet, and what loads it early is there.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$(adp_companions)" ] || adp_skip "no apple-dma-pci function"
! adp_loaded apple_dma_pci || adp_skip "apple_dma_pci is loaded already"
EDU=$(adp_functions $ADP_EDU_ID | head -n 1)
COMPANION=$(adp_companions | head -n 1)
[ -n "$EDU" ] || adp_skip "no edu device, whose driver the test uses"
HOOK=/usr/lib/modprobe.d/apple_dma_pci.conf
[ -e $HOOK ] || adp_skip "no $HOOK: make install-hooks"
for STATUS in "$adp_here/apple-dma-status" "$adp_here/../tools/apple-dma-status"; do
	[ ! -x "$STATUS" ] || break
done

# says DESCRIPTION STATUS EXPRESSION...: how it ends, and what it prints.
says() {
	what=$1
	wanted=$2
	shift 2
	said=$(sh "$STATUS" 2>&1)
	ended=$?
	adp_is "$what: it ends with $wanted" $ended -eq "$wanted"
	for expression in "$@"; do
		if echo "$said" | grep -q -e "$expression"; then
			ktap_test_pass "$what: /$expression/"
		else
			echo "$said" | sed 's/^/# /'
			ktap_test_fail "$what: /$expression/"
		fi
	done
}

says "without the module" 1 "^!! .*not.* loaded\|^!! not installed" "^companion $COMPANION" "^!! nobody drives it" "^   ->"

adp_load adp_test
adp_load apple_dma_pci
says "with a driver that was first" 1 "^!! serves none: $EDU" "rebind=1"
rmmod apple_dma_pci

adp_load apple_dma_pci rebind=1
adp_log_mark
says "when all is well" 0 "^   loaded" "serves $EDU, class 0x00ff00, driver adp_test" "mode lazy, copy auto" \
	"uses [0-9]* of 1536 MiB and [0-9]* of 65536 mappings" "^All is well"
adp_is "quietly" "$(sh "$STATUS" -q)" = ""
adp_is "the budget is the platform's" "$(sh "$STATUS" | grep -c "taken to have")" -eq 0
# Where there is a host to ask, it refuses an entry.
if command -v qmp >/dev/null; then
	qmp qom-set '{"path": "companion0", "property": "x-fault-map-refuse", "value": 1}' >/dev/null
	adp_case "an entry is refused" map n=4
	says "when the host has refused" 0 "it is taken to have [0-9]* MiB and [0-9]* mappings for now" "^All is well"
fi
adp_case "what is not mapped is unmapped" unknown
says "after a driver's bug" 1 "^!! the function's driver unmapped [1-9][0-9]* times"
adp_is "and quietly" "$(sh "$STATUS" -q | grep -c "^   loaded")" -eq 0

mv $HOOK $HOOK.away
says "without what loads it early" 1 "^!! nothing makes it come before" "install-hooks"
mv $HOOK.away $HOOK

echo "$COMPANION" >/sys/bus/pci/drivers/apple_dma_pci/unbind
says "unbound" 1 "^!! apple_dma_pci does not drive it" "drivers/apple_dma_pci/bind"
echo "$COMPANION" >/sys/bus/pci/drivers/apple_dma_pci/bind
says "bound again" 0 "^All is well"

sh "$STATUS" --nonsense >/dev/null 2>&1
adp_is "an option that it does not know" $? -eq 2
for bdf in $(adp_companions); do
	echo 1 >"$ADP_PCI/$bdf/remove"
done
says "without a companion" 3 "no apple-dma-pci companion"
echo 1 >/sys/bus/pci/rescan

ktap_finished
