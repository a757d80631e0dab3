#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Modes and copies of one device: by parameters when the module is loaded, and in
# sysfs while the device has no driver.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
adp_need_unload
driver=/sys/bus/pci/drivers/adp_test
sysfs=$ADP_PCI/$COMPANION/apple_dma_pci

# setting NAME VALUE: writes to sysfs.
setting() {
	echo "$2" 2>/dev/null >"$sysfs/$1"
}

# again PARAMETER...: loads our module with other parameters.
again() {
	if ! rmmod apple_dma_pci || ! adp_load apple_dma_pci "$@"; then
		ktap_test_fail "loading with $*"
	fi
	[ "$(adp_driver "$EDU")" = adp_test ] || echo "$EDU" >$driver/bind
	adp_is "the driver starts with $*" "$(adp_driver "$EDU")" = adp_test
}

# is_strict DESCRIPTION, is_lazy DESCRIPTION: what an unmap does.
is_strict() {
	adp_run set_new n=20 len=8192 stride=0x40000
	before=$(adp_stat "$COMPANION" live_mappings)
	adp_run set_map
	adp_is "$1: mapped" "$(adp_stat "$COMPANION" live_mappings)" -ge $((before + 20))
	adp_case "$1: right" set_check
	adp_run set_unmap
	adp_is "$1: unmap unmaps" "$(adp_stat "$COMPANION" live_mappings)" -eq "$before"
	adp_run set_free
}

is_lazy() {
	adp_run set_new n=20 len=8192 stride=0x40000
	adp_run set_map
	before=$(adp_stat "$COMPANION" live_mappings)
	adp_case "$1: right" set_check
	adp_run set_unmap
	adp_is "$1: unmap leaves mapped" "$(adp_stat "$COMPANION" live_mappings)" -eq "$before"
	adp_run set_free
}

# copies DESCRIPTION OPERATOR NUMBER: how many of eight small mappings are copied.
copies() {
	count=$(adp_stat "$COMPANION" copied)
	adp_case "$1: right" map n=8 len=1
	adp_is "$1: copied" $(($(adp_stat "$COMPANION" copied) - count)) "$2" "$3"
}

again
adp_is "mode is lazy" "$(cat "$sysfs/mode")" = lazy
adp_is "copy is auto" "$(cat "$sysfs/copy")" = auto
adp_is "debugfs says so too" "$(adp_about "$COMPANION" mode)" = lazy
is_lazy "lazy"
copies "a class that is not copied" -eq 0

adp_log_mark
for value in "mode strict" "mode lazy" "copy never" "copy always"; do
	# shellcheck disable=SC2086
	set -- $value
	setting "$1" "$2" && ktap_test_fail "$value is refused while there is a driver"
done
adp_is "one message for each" "$(adp_log | grep -cE "apple_dma_pci $COMPANION: (mode|copy) cannot change while .*; unbind")" -eq 4
adp_is "mode has not changed" "$(cat "$sysfs/mode")" = lazy
adp_is "copy has not changed" "$(cat "$sysfs/copy")" = auto

echo "$EDU" >$driver/unbind
adp_log_mark
for value in "mode banana" "mode " "copy lazy" "copy 1"; do
	# shellcheck disable=SC2086
	set -- $value
	setting "$1" "$2" && ktap_test_fail "$value is refused"
done
adp_is "one message for each" "$(adp_log | grep -cE "apple_dma_pci $COMPANION: (mode|copy): .* is unknown")" -eq 4
ktap_test_result "mode is strict" setting mode strict
echo "$EDU" >$driver/bind
adp_is "sysfs says so" "$(cat "$sysfs/mode")" = strict
adp_is "debugfs says so" "$(adp_about "$COMPANION" mode)" = strict
is_strict "strict by sysfs"
copies "copy=auto, strict" -eq 0

echo "$EDU" >$driver/unbind
ktap_test_result "copy is always" setting copy always
echo "$EDU" >$driver/bind
copies "copy=always, strict" -eq 8
is_strict "strict with copies"

echo "$EDU" >$driver/unbind
ktap_test_result "mode is lazy" setting mode lazy
echo "$EDU" >$driver/bind
copies "copy=always, lazy" -eq 8
is_lazy "lazy with copies"

echo "$EDU" >$driver/unbind
ktap_test_result "copy is never" setting copy never
echo "$EDU" >$driver/bind
copies "copy=never" -eq 0

# What the module is loaded with.
again "mode=strict"
adp_is "for all" "$(cat "$sysfs/mode")" = strict
is_strict "strict by parameter"
again "mode=lazy,$EDU=strict" "copy=never,$EDU=always"
adp_is "for one: mode" "$(cat "$sysfs/mode")" = strict
adp_is "for one: copy" "$(cat "$sysfs/copy")" = always
copies "for one" -eq 8
again "mode=${EDU#*:}=strict,lazy" "copy=${EDU#*:}=always"
adp_is "without its domain: mode" "$(cat "$sysfs/mode")" = strict
adp_is "without its domain: copy" "$(cat "$sysfs/copy")" = always
again "mode=0001:${EDU#*:}=strict,lazy" "copy=$COMPANION=always,ff:1f.7=always"
adp_is "for others: mode" "$(cat "$sysfs/mode")" = lazy
adp_is "for others: copy" "$(cat "$sysfs/copy")" = auto
again
adp_is "forgotten: mode" "$(cat "$sysfs/mode")" = lazy
adp_case "and all works" map n=8
ktap_finished
