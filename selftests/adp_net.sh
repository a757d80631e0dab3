#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A managed network card: its driver maps and unmaps in interrupt context.
# ADP_NET_DRIVER: the driver. ADP_PEER: whom to ask; the address is had by DHCP.
# ADP_COPIED: so many mappings are copied at least.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_module
driver=${ADP_NET_DRIVER:-e1000e}
peer=${ADP_PEER:-10.0.2.2}
[ -d "/sys/bus/pci/drivers/$driver" ] || modprobe "$driver" 2>/dev/null

card=
for COMPANION in $(adp_companions); do
	managed=$(adp_about "$COMPANION" managed)
	for dir in "$ADP_PCI/$managed"/net/*; do
		[ ! -d "$dir" ] || card=${dir##*/}
	done
	[ -z "$card" ] || break
done
[ -n "$card" ] || adp_skip "no managed network card"
ktap_print_msg "$card of $managed, $COMPANION"

ktap_test_result "link" ip link set "$card" up
up=0
for _ in 1 2 3 4 5 6 7 8 9 10; do
	[ "$(cat "/sys/class/net/$card/carrier" 2>/dev/null)" != 1 ] || { up=1; break; }
	sleep 1
done
adp_is "carrier" $up -eq 1
cat >/tmp/adp_dhcp <<'SCRIPT'
#!/bin/sh
[ "$1" != bound ] || ip addr add "$ip/${mask:-24}" dev "$interface"
SCRIPT
chmod +x /tmp/adp_dhcp
ktap_test_result "DHCP" adp_quiet udhcpc -i "$card" -s /tmp/adp_dhcp -n -q -t 5 -T 2
ktap_test_result "300 short packets" adp_quiet ping -q -A -c 300 -W 5 "$peer"
ktap_test_result "100 long packets" adp_quiet ping -q -A -s 1400 -c 100 -W 5 "$peer"
ktap_test_result "100 packets in pieces" adp_quiet ping -q -A -s 20000 -c 100 -W 5 "$peer"
ktap_test_result "link down" ip link set "$card" down
rm /tmp/adp_dhcp
[ -z "$ADP_COPIED" ] ||
	adp_is "$ADP_COPIED and more were copied" "$(adp_stat "$COMPANION" copied)" -ge "$ADP_COPIED"
adp_is "the companion is well" "$(adp_about "$COMPANION" state)" = ready
ktap_finished
