#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The hooks of ftrace, by which a function is served on kernels without dma_ops: no
# call goes around them, other users of ftrace go on, and nobody takes one away
# unseen. Needs an edu device that is managed and one that is not. Loads and
# unloads our module. ADP_NEITHER: the kernel has no direct calls. ADP_CPU: features
# that the kernel has to have found, their words joined by _. ADP_SWITCHES: how often
# other tracers come and go, ADP_TIMES: how often our module does.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_unload
tracing=/sys/kernel/tracing
types=/sys/kernel/btf/vmlinux
[ -e $tracing/enabled_functions ] || adp_skip "this kernel has no ftrace"
! adp_loaded apple_dma_pci || rmmod apple_dma_pci

hooked() {
	grep -c "adp_stub" $tracing/enabled_functions
}

# others WHEN: whoever else traces sees other functions.
others() {
	if [ -e $types ]; then
		"$adp_here/adp_bpf" vfs_read >/tmp/adp_bpf 2>&1 &
		others_bpf=$!
		adp_until eval "grep -q taken /tmp/adp_bpf || ! kill -0 $others_bpf 2>/dev/null"
		adp_is "$1: a program of BPF has another function" "$(cat /tmp/adp_bpf)" = taken
		kill $others_bpf
		wait $others_bpf 2>/dev/null
	fi
	echo 'vfs_*' >$tracing/set_ftrace_filter
	echo 'p:adp_other/opened do_sys_openat2' >>$tracing/kprobe_events
	echo 1 >$tracing/events/adp_other/enable
	echo 1 >$tracing/tracing_on
	for tracer in function function_graph; do
		grep -qw $tracer $tracing/available_tracers || continue
		echo $tracer >$tracing/current_tracer
		echo >$tracing/trace
		cat /proc/version >/dev/null
		cp $tracing/trace /tmp/adp_hook.trace
		adp_is "$1: the tracer $tracer sees other functions" "$(grep -c vfs_ /tmp/adp_hook.trace)" -gt 0
		adp_is "$1: and a kprobe does" "$(grep -c 'opened: (do_sys_openat2' /tmp/adp_hook.trace)" -gt 0
		echo nop >$tracing/current_tracer
	done
	echo 0 >$tracing/events/adp_other/enable
	echo '-:adp_other/opened' >>$tracing/kprobe_events
	echo >$tracing/set_ftrace_filter
	rm -f /tmp/adp_hook.trace /tmp/adp_bpf
}

# refused WHAT SAYS [PARAMETER...]: the module is loaded and leaves the function without DMA.
refused() {
	adp_log_mark
	refused_what=$1 refused_says=$2
	shift 2
	ktap_test_result "$refused_what: the module loads" adp_load apple_dma_pci hook=ftrace "$@"
	adp_log | grep "apple_dma_pci.*gets no DMA" | sed 's/^/# /'
	adp_is "$refused_what: the log says so" "$(adp_log | grep "gets no DMA" | grep -cE "$refused_says")" -eq 1
	adp_load adp_test
	adp_is "$refused_what: the function has no driver" "$(adp_driver "$managed")" = ""
	adp_is "$refused_what: no hook is left" "$(hooked)" -eq 0
	rmmod adp_test
	ktap_test_result "$refused_what: the module goes" rmmod apple_dma_pci
}

for feature in ${ADP_CPU-}; do
	adp_is "the kernel says: $feature" "$(dmesg | grep -c "CPU features: detected: .*$(echo "$feature" | tr _ ' ')")" -ge 1
done

managed=$(adp_functions $ADP_EDU_ID | sed -n 1p)
twin=$(adp_functions $ADP_EDU_ID | sed -n 2p)
[ -n "$twin" ] || adp_skip "no second edu device, for comparison"

# On a kernel that has nothing to hook with.
if [ -n "$ADP_NEITHER" ]; then
	refused "no direct calls" "has no direct calls .*load without hook="
	ktap_finished
fi

adp_log_mark
adp_load apple_dma_pci hook=ftrace
! adp_log | grep -q "has no direct calls" || adp_skip "this kernel has no direct calls"
rmmod apple_dma_pci
adp_is "without a companion in use nothing is hooked" "$(hooked)" -eq 0
others before

# Linux 7 knows no such thing any more.
if echo 0 2>/dev/null >/proc/sys/kernel/ftrace_enabled; then
	refused "ftrace is off" "ftrace cannot be kept on .*ftrace_enabled=1"
	echo 1 >/proc/sys/kernel/ftrace_enabled
fi

ktap_test_result "somebody else takes a function" adp_load adp_rival function=dma_map_sg_attrs
refused "it is taken" "dma_map_sg_attrs is taken by somebody else"
rmmod adp_rival

refused "a hook is left out" "dma_alloc_attrs does not come to its hook" hook_omit=dma_alloc_attrs

# So do programs of BPF, by what else ftrace has; but only where the kernel tells its types.
if [ -e $types ]; then
	"$adp_here/adp_bpf" dma_map_page_attrs >/tmp/adp_bpf 2>&1 &
	rival=$!
	adp_until eval "grep -q taken /tmp/adp_bpf || ! kill -0 $rival 2>/dev/null"
	sed 's/^/# /' /tmp/adp_bpf
	adp_is "a program of BPF takes a function" "$(cat /tmp/adp_bpf)" = taken
	refused "a program has it" "dma_map_page_attrs is taken by somebody else"
	kill $rival
	wait $rival 2>/dev/null
else
	ktap_print_msg "no $types, so no program of BPF can take a function"
fi

# The gate stays below the hooks.
adp_load apple_dma_pci hook=ftrace hook_omit=dma_alloc_pages hook_try=0
adp_need_edu
ktap_test_result "what a missing hook lets through fails" eval "! adp_run alloc n=2 kind=pages"
dmesg -c >/dev/null 2>&1
rmmod adp_test
rmmod apple_dma_pci

adp_log_mark
ktap_test_result "the module loads" adp_load apple_dma_pci hook=ftrace
adp_is "and says how it hooks" "$(adp_log | grep -c "hooked by ftrace")" -eq 1
adp_is "all functions are hooked" "$(hooked)" -ge 28
ktap_test_result "ftrace cannot be switched off" eval "! echo 0 2>/dev/null >/proc/sys/kernel/ftrace_enabled"
adp_is "and is on" "$(cat /proc/sys/kernel/ftrace_enabled)" -eq 1
ktap_test_result "nobody else can take a function" eval "! adp_load adp_rival 2>/dev/null"
if [ -e $types ]; then
	ktap_test_result "nor can a program of BPF" eval "! $adp_here/adp_bpf dma_map_page_attrs >/tmp/adp_bpf 2>&1"
	sed 's/^/# /' /tmp/adp_bpf
	adp_is "for it is taken" "$(grep -c "cannot be taken" /tmp/adp_bpf)" -eq 1
	rm -f /tmp/adp_bpf
fi

# The witness: whoever gets to the kernel's own path is written down, by name.
probes=0
for function in dma_direct_alloc dma_direct_free dma_direct_alloc_pages dma_direct_free_pages \
	dma_direct_map_sg dma_direct_unmap_sg dma_direct_map_resource dma_direct_supported \
	dma_direct_get_required_mask dma_direct_mmap dma_direct_get_sgtable \
	dma_direct_max_mapping_size dma_direct_sync_sg_for_cpu dma_direct_sync_sg_for_device; do
	! echo "p:adp_witness/$function $function name=+0(+0(\$arg1)):string" 2>/dev/null \
		>>$tracing/kprobe_events || probes=$((probes + 1))
done
adp_is "there are witnesses" $probes -ge 6
echo 1 >$tracing/events/adp_witness/enable
[ ! -d $tracing/events/dma ] || echo 1 >$tracing/events/dma/enable
echo 1 >$tracing/tracing_on
echo >$tracing/trace

adp_need_edu
adp_case "mappings of pages" map n=200
adp_case "a scatterlist" sg n=300
adp_case "coherent memory" alloc n=20
echo "$twin" >/sys/bus/pci/drivers/adp_test/unbind
echo "$twin" >/sys/bus/pci/drivers/adp_test/bind
cp $tracing/trace /tmp/adp_hook.trace
adp_is "the witnesses see others" "$(grep -c "$twin" /tmp/adp_hook.trace)" -gt 0
adp_is "no call for the managed function goes around the hooks" "$(grep -c "$EDU" /tmp/adp_hook.trace)" -eq 0
grep "$EDU" /tmp/adp_hook.trace | head -n 5 | sed 's/^/# /'
rm /tmp/adp_hook.trace
echo 0 >$tracing/events/adp_witness/enable
[ ! -d $tracing/events/dma ] || echo 0 >$tracing/events/dma/enable
echo >$tracing/kprobe_events

others during

# Others that trace come and go, on the same functions too.
printf '%s\n' 'dma_map_*' 'dma_unmap_*' 'adp_*' >$tracing/set_ftrace_filter
(
	switched=0
	while [ $switched -lt "${ADP_SWITCHES:-20}" ]; do
		for tracer in function function_graph nop; do
			echo $tracer 2>/dev/null >$tracing/current_tracer
		done
		switched=$((switched + 1))
	done
) &
switcher=$!
rounds=0
while kill -0 $switcher 2>/dev/null; do
	adp_run sg n=50 || break
	rounds=$((rounds + 1))
done
ktap_test_result "lists are mapped while tracers come and go" eval "! kill -0 $switcher 2>/dev/null"
wait $switcher
adp_is "many times" $rounds -ge 2
echo >$tracing/set_ftrace_filter
adp_is "all functions are still hooked" "$(hooked)" -ge 28

# The module goes while its function is at work.
again=0
while [ $again -lt "${ADP_TIMES:-25}" ]; do
	(
		while adp_run sg n=200; do :; done
	) >/dev/null 2>&1 &
	worker=$!
	rmmod apple_dma_pci || break
	kill $worker 2>/dev/null
	wait $worker 2>/dev/null
	[ "$(hooked)" -eq 0 ] || break
	adp_load apple_dma_pci hook=ftrace || break
	adp_until adp_edu_started || break
	again=$((again + 1))
done
adp_is "the module goes and comes while its function works" $again -eq "${ADP_TIMES:-25}"
adp_case "and that still works" sg n=64
rmmod adp_test
ktap_test_result "the module goes" rmmod apple_dma_pci
adp_is "and so do the hooks" "$(hooked)" -eq 0
others after
ktap_finished
