#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The managed function is reset, quiet and at work. What is mapped stays mapped, and
# nothing is mapped twice. ADP_NVME is as for adp_nvme.sh.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
[ -n "$ADP_NVME" ] || adp_skip "ADP_NVME names no drive that may be overwritten"
adp_need_module
adp_need_drive
grep -q flr "$ADP_PCI/$MANAGED/reset_method" || adp_skip "$MANAGED has no function-level reset"
tracing=/sys/kernel/tracing
[ -d $tracing/events/apple_dma_pci ] || adp_skip "this kernel has no tracepoints, or tracefs is not at $tracing"

# shellcheck disable=SC2317
reset() {
	echo flr >"$ADP_PCI/$MANAGED/reset_method" && echo 1 >"$ADP_PCI/$MANAGED/reset"
}

io() {
	"$adp_here/adp_io" -j 2 -n "${ADP_OPS:-150}" -m 16 -s "$1" "/dev/$DRIVE"
}

# traced 0|1: whether mappings and the driver's buffers are noted.
traced() {
	for event in adp_map_entry adp_map adp_alloc; do
		echo "$1" >"$tracing/events/apple_dma_pci/$event/enable"
	done
}

# The mappings that were noted, or the buffers: DMA address and size, one in a line.
noted() {
	case $1 in
	mappings) sed -n 's/.* adp_map_entry: .* dma=\([^ ]*\) dma_len=\([^ ]*\) status=0$/\1 \2/p' ;;
	buffers) sed -n 's/.* adp_\(map\|alloc\): .* size=\([^ ]*\) dma=\([^ ]*\).*/\3 \2/p' ;;
	esac <$tracing/trace
}

# Prints the mappings in which no buffer lies.
unasked() {
	noted buffers >/tmp/adp_reset.buffers
	noted mappings | while read -r dma bytes; do
		while read -r at size; do
			[ $((at)) -ge $((dma + bytes)) ] || [ $((at + size)) -le $((dma)) ] || continue 2
		done </tmp/adp_reset.buffers
		echo "$dma $bytes"
	done
	rm -f /tmp/adp_reset.buffers
}

# shellcheck disable=SC2317
all_asked() {
	[ -z "$(unasked)" ]
}

adp_program "patterns before it" io 1
live=$(adp_stat "$COMPANION" live_mappings)
: >$tracing/trace
traced 1
ktap_test_result "a reset" reset
now=$(adp_stat "$COMPANION" live_mappings)
# A mapping is noted before the buffer that it is made for.
adp_until all_asked
traced 0
ktap_print_msg "$live mappings before, $now after; $(noted mappings | wc -l) were made, for $(noted buffers | wc -l) buffers"
adp_is "what was mapped is mapped" "$now" -ge "$live"
adp_is "its driver mapped buffers" "$(noted buffers | wc -l)" -gt 0
adp_is "a buffer of its driver's lies in each new mapping" "$(unasked)" = ""
# Its driver starts again with buffers that it had before, mostly. Under KASAN no memory
# is used again soon, and each buffer can lie where none has been.
most=4
! grep -q ' __asan_' /proc/kallsyms || most=$(noted buffers | wc -l)
adp_is "and there are few" "$now" -le $((live + most))
adp_program "patterns after it" io 2

for round in 1 2 3; do
	io $((round + 2)) >/tmp/adp_reset 2>&1 &
	io=$!
	sleep 1
	ktap_test_result "a reset at work ($round)" reset
	ktap_test_result "every byte comes back ($round)" wait $io
done
rm -f /tmp/adp_reset
adp_is "the host refused nothing" "$(adp_stat "$COMPANION" refused_maps) $(adp_stat "$COMPANION" refused_unmaps)" = "0 0"
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
ktap_finished
