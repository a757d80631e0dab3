#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What is neither drive nor network card behind other people's drivers, a managed one and its
# twin at the same time.
#
# ADP_ZOO: the PCI driver. ADP_WORK: what it is, and so what is done with it:
#   rng    a source of random numbers, which are looked at
#   crypt  ciphers, for two sessions, of which each gets one
#   9p     a directory of the host's: what one writes the other reads
#   gpu    a display: /dev/shot is a drive in which QEMU's screendump leaves what is seen there
#   sound  a sound card: what it plays QEMU writes to a drive, the first one's to ADP_HEARD, the
#          twin's to ADP_HEARD_TWIN; ADP_RATE is its rate
#   keys   a keyboard, at which QEMU types; the managed one's display is s0, the twin's s1
#   pipe   a serial port of virtio's, whose other end is the twin's. Its driver is built in, so
#          the managed one is plugged into rp0, when our module is there

# Most functions are called by name, and conditions evaluated later.
# shellcheck disable=SC2016,SC2317
# shellcheck source=adp_zoo_lib.sh
. "$(dirname "$0")/adp_zoo_lib.sh"

adp_plug() {
	qmp device_add '{"driver": "apple-dma-pci", "id": "c", "managed": "m", "stray-dma": "exit", "bus": "rp0", "addr": "0.1"}'
	qmp device_add '{"driver": "virtio-serial-pci", "id": "m", "iommu_platform": true, "disable-legacy": "on", "bus": "rp0", "addr": "0.0", "multifunction": true}'
	qmp device_add '{"driver": "virtserialport", "bus": "m.0", "chardev": "c0"}'
	adp_until eval '[ -e "$ADP_PCI/$(adp_about "$(adp_companions)" managed)/vendor" ]'
}

[ "$ADP_WORK" != pipe ] || adp_plug >/dev/null
adp_zoo_start
moved=0

adp_bytes_moved() {
	echo "$moved"
}

# The interrupts that a function's devices of virtio have had.
adp_virtio_interrupts() {
	for name in $(adp_zoo_below /sys/bus/virtio/devices "$1"); do
		awk -v name="$name-" 'index($0, name) { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' \
			/proc/interrupts
	done
}

# Random numbers cannot be made smaller, and none are alike.
adp_random() {
	echo "$1" >/sys/class/misc/hw_random/rng_current &&
		dd if=/dev/hwrng of="/tmp/$1" bs=4096 count=32 2>/dev/null &&
		[ "$(gzip -c "/tmp/$1" | wc -c)" -ge 131072 ]
}

work_rng() {
	adp_until eval '[ "$(wc -w </sys/class/misc/hw_random/rng_available)" -ge 2 ]'
	before=$(adp_virtio_interrupts "$MANAGED")
	before_twin=$(adp_virtio_interrupts "$TWIN")
	for name in $(tr ' ' '\n' </sys/class/misc/hw_random/rng_available | grep virtio); do
		ktap_test_result "$1: $name is random" adp_random "$name"
	done
	moved=131072
	adp_is "$1: no two are alike" "$(sha256sum /tmp/virtio_rng* | cut -d' ' -f1 | sort | uniq -d)" = ""
	adp_is "$1: one of them is the managed one" "$(adp_virtio_interrupts "$MANAGED")" -gt "$before"
	adp_is "$1: and one the twin" "$(adp_virtio_interrupts "$TWIN")" -gt "$before_twin"
}

work_crypt() {
	adp_until grep -q virtio_crypto_aes_cbc /proc/crypto
	before=$(adp_virtio_interrupts "$MANAGED")
	before_twin=$(adp_virtio_interrupts "$TWIN")
	ktap_test_result "$1: what one encrypts the other decrypts" "$adp_here/adp_crypt" virtio_crypto_aes_cbc 2048
	moved=$((2 * 2097152))
	adp_is "$1: one of them is the managed one" "$(adp_virtio_interrupts "$MANAGED")" -ge $((before + 16))
	adp_is "$1: and one the twin" "$(adp_virtio_interrupts "$TWIN")" -ge $((before_twin + 16))
}

adp_keyboard() {
	for name in $(adp_zoo_below /sys/class/input "$1"); do
		case $name in
		event*) echo "/dev/input/$name" ;;
		esac
	done
}

adp_has_keyboard() {
	[ -c "$(adp_keyboard "$1")" ]
}

# adp_type DISPLAY DIGITS
adp_type() {
	for digit in $(echo "$2" | sed 's/./& /g'); do
		key='{"type": "qcode", "data": "'$digit'"}'
		qmp input-send-event '{"device": "'"$1"'", "events": [' \
			'{"type": "key", "data": {"down": true, "key": '"$key"'}},' \
			'{"type": "key", "data": {"down": false, "key": '"$key"'}}]}' >/dev/null || return 1
	done
}

# The code of a digit's key is one more; each goes down, then up.
adp_typed() {
	xxd -p -c 24 "/tmp/keys-$1" | sed -n 's/^.\{32\}0100\(..\)000\(.\)000000$/\1\2/p' >/tmp/came
	for digit in $(echo "$2" | sed 's/./& /g'); do
		printf '%02x1\n%02x0\n' $((digit + 1)) $((digit + 1))
	done | cmp -s - /tmp/came
}

work_keys() {
	ktap_test_result "$1: keyboard" adp_until adp_has_keyboard "$MANAGED"
	ktap_test_result "$1: the twin's" adp_until adp_has_keyboard "$TWIN"
	# Opened before anything is typed: a key goes to those that have it open.
	exec 3<"$(adp_keyboard "$MANAGED")" 4<"$(adp_keyboard "$TWIN")"
	cat <&3 >/tmp/keys-m &
	cat <&4 >/tmp/keys-t &
	exec 3<&- 4<&-
	digits=$(tr -dc 1-9 </dev/urandom | head -c 32)
	others=$(tr -dc 1-9 </dev/urandom | head -c 32)
	ktap_test_result "$1: typing" eval 'adp_type s0 "$digits" && adp_type s1 "$others"'
	ktap_test_result "$1: every key has come" adp_until adp_typed m "$digits"
	ktap_test_result "$1: and the twin's" adp_until adp_typed t "$others"
	killall cat
	moved=$((32 * 24))
}

adp_9p_mounted() {
	mkdir -p /tmp/m /tmp/t
	for where in m t; do
		mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 "tag-$where" "/tmp/$where" || return 1
	done
}

adp_9p_copied() {
	cp /tmp/random /tmp/m/from-m &
	cp /tmp/random /tmp/t/from-t
	wait $!
}

adp_9p_same() {
	cmp /tmp/random /tmp/m/from-t &
	cmp /tmp/random /tmp/t/from-m
	wait $!
}

work_9p() {
	[ -e /tmp/random ] || dd if=/dev/urandom of=/tmp/random bs=64k count=128 2>/dev/null
	ktap_test_result "$1: mounting" adp_9p_mounted
	ktap_test_result "$1: copying" adp_9p_copied
	ktap_test_result "$1: what one wrote the other reads" adp_9p_same
	moved=$((2 * 8388608))
	rm /tmp/m/from-m /tmp/t/from-t
	ktap_test_result "$1: unmounting" eval 'umount /tmp/m && umount /tmp/t'
}

# adp_seen ID: what the display shows, of which $size bytes count.
adp_seen() {
	qmp screendump "{\"filename\": \"@WORK@/shot.img\", \"device\": \"$1\"}" >/dev/null || return 1
	echo 3 >/proc/sys/vm/drop_caches
	head -c "$size" /dev/vda
}

adp_shows() {
	adp_seen "$1" >/tmp/seen && cmp -s /tmp/seen "/tmp/want-$1"
}

adp_fb() {
	adp_zoo_below /sys/class/graphics "$1" | head -n 1
}

adp_has_fb() {
	[ -c "/dev/$(adp_fb "$1")" ]
}

# Noise in shades of grey is the same in any order of colours.
work_gpu() {
	ktap_test_result "$1: display" adp_until adp_has_fb "$MANAGED"
	ktap_test_result "$1: the twin's" adp_until adp_has_fb "$TWIN"
	for display in "m $MANAGED" "t $TWIN"; do
		id=${display% *}
		fb=$(adp_fb "${display#* }")
		# The kernel's console turns on one display, which it draws then, and leaves the others dark.
		echo 4 >"/sys/class/graphics/$fb/blank"
		echo 0 >"/sys/class/graphics/$fb/blank"
		resolution=$(tr , ' ' <"/sys/class/graphics/$fb/virtual_size")
		pixels=$((${resolution% *} * ${resolution#* }))
		head -c "$pixels" /dev/urandom | xxd -p -c 1 >/tmp/grey
		printf 'P6\n%s\n255\n' "$resolution" >"/tmp/want-$id"
		sed 's/.*/&&&/' /tmp/grey | xxd -r -p >>"/tmp/want-$id"
		sed 's/.*/&&&&/' /tmp/grey | xxd -r -p >"/dev/$fb"
		size=$(wc -c <"/tmp/want-$id")
	done
	ktap_test_result "$1: it shows what it shall" adp_until adp_shows m
	ktap_test_result "$1: and so does the twin" adp_until adp_shows t
	moved=$((pixels * 4))
}

adp_dsp() {
	for name in $(adp_zoo_below /sys/class/sound "$1"); do
		case $name in
		dsp*) echo "/dev/$name" ;;
		esac
	done
}

adp_has_dsp() {
	[ -c "$(adp_dsp "$1")" ]
}

adp_play() {
	"$adp_here/adp_dsp" play "${ADP_RATE:-48000}" /tmp/tune "$(adp_dsp "$MANAGED")" &
	"$adp_here/adp_dsp" play "${ADP_RATE:-48000}" /tmp/tune "$(adp_dsp "$TWIN")"
	wait $!
}

# A third of a second of it, bit by bit.
adp_heard() {
	echo 3 >/proc/sys/vm/drop_caches
	"$adp_here/adp_dsp" heard 65536 /tmp/tune "$1"
}

work_sound() {
	ktap_test_result "$1: sound card" adp_until adp_has_dsp "$MANAGED"
	ktap_test_result "$1: the twin's" adp_until adp_has_dsp "$TWIN"
	head -c 384000 /dev/urandom >/tmp/tune
	ktap_test_result "$1: playing" adp_play
	ktap_test_result "$1: it is heard" adp_heard "$ADP_HEARD"
	ktap_test_result "$1: and the twin is" adp_heard "$ADP_HEARD_TWIN"
	moved=384000
}

adp_port() {
	adp_zoo_below /sys/class/virtio-ports "$1" | head -n 1
}

# It is there for a moment before it can be opened.
adp_has_port() {
	adp_port=/dev/$(adp_port "$1")
	[ -c "$adp_port" ] && (: <"$adp_port") 2>/dev/null
}

# adp_through FROM TO
adp_through() {
	head -c 1048576 "/dev/$2" >/tmp/through &
	cat /tmp/random >"/dev/$1" || kill $!
	wait $!
	cmp /tmp/random /tmp/through
}

work_pipe() {
	[ -e /tmp/random ] || dd if=/dev/urandom of=/tmp/random bs=64k count=16 2>/dev/null
	ktap_test_result "$1: port" adp_until adp_has_port "$MANAGED"
	ktap_test_result "$1: the twin's" adp_until adp_has_port "$TWIN"
	ktap_test_result "$1: one way" adp_through "$(adp_port "$MANAGED")" "$(adp_port "$TWIN")"
	ktap_test_result "$1: the other way" adp_through "$(adp_port "$TWIN")" "$(adp_port "$MANAGED")"
	moved=$((2 * 1048576))
}

[ -n "$ADP_WORK" ] || adp_skip "ADP_WORK does not say what to do"
adp_zoo "work_$ADP_WORK" adp_bytes_moved
