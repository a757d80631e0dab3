#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Random sequences of calls of the DMA API, from several threads and every context, against the
# tests' model of what must lie behind each address; another mode, other sizes and another
# share of memory that overlaps in each round. ADP_SECONDS: for how long. ADP_SEED: of the first round;
# a round that fails says its seed, and ADP_SECONDS=0 with that seed is the round alone.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
seed=${ADP_SEED:-$(awk '{ srand(); print int(rand() * 1000000) }' /proc/uptime)}
theirs=/sys/bus/pci/drivers/adp_test
sysfs=$ADP_PCI/$COMPANION/apple_dma_pci

# pick N WORD...: the word that the seed chooses; N makes choices differ.
pick() {
	adp_n=$1
	shift
	shift $((((seed * 1103515245 + 12345 + adp_n * 40503) / 65536 % 32768) % $#))
	echo "$1"
}

now() {
	cut -d . -f 1 /proc/uptime
}

end=$(($(now) + ${ADP_SECONDS:-20}))
rounds=0
ops=0
failed=0
while :; do
	mode=$(pick 1 lazy strict)
	copy=$(pick 2 never auto always)
	echo "$EDU" >$theirs/unbind
	left=$(adp_stat "$COMPANION" live_mappings)
	echo "$mode" >"$sysfs/mode"
	echo "$copy" >"$sysfs/copy"
	echo "$EDU" >$theirs/bind
	# Two copies of the same bytes do not know of each other.
	apart=0
	[ "$copy" != always ] || apart=1
	history="soak ops=$(pick 3 400 1500 4000) live=$(pick 4 4 24 96 300) mem=$(pick 5 0x4000 0x80000 0x400000 0x2000000)"
	for case in "$history apart=$apart limits=1" "smp ms=$(pick 6 300 900) mem=$(pick 7 1 0x40000 0x1000000) limits=1"; do
		if adp_quiet adp_run "$case seed=$seed"; then
			ops=$((ops + $(adp_fact ops)))
		else
			failed=$((failed + 1))
			ktap_print_msg "seed $seed, mode $mode, copy $copy: $case"
			echo "$RESULT" | sed 's/^[^#]/# &/'
		fi
	done
	[ "$left" -eq 0 ] || failed=$((failed + 1))
	[ "$(adp_about "$COMPANION" state)" = ready ] || failed=$((failed + 1))
	rounds=$((rounds + 1))
	seed=$((seed + 1))
	[ "$(now)" -lt $end ] || break
	[ $failed -eq 0 ] || break
done
adp_figure fuzz_rounds $rounds
adp_figure fuzz_operations $ops
ktap_print_msg "$rounds rounds, $ops operations"
adp_is "no sequence went wrong" $failed -eq 0
adp_is "there were operations" "$ops" -ge $((rounds * 400))
adp_is "the driver gave back only what it had" "$(adp_stat "$COMPANION" bad_unmaps)" -eq 0
ktap_finished
