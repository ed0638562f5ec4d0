#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The MTU: what fits is not fragmented, 1500 is when asked for, and what does not fit the path is answered by ICMP.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
equal "default" "$(net_field h1 0005 mtu)" 1436
holds "1436 bytes, not to be fragmented" on a1 ping -q -c 2 -W 2 -M 'do' -s 1408 10.0.0.2
never "1437 do not leave the customer's machine" on a1 ping -q -c 1 -W 1 -M 'do' -s 1409 10.0.0.2

# The path becomes narrower than the vnet.
ip -n h1 route add 192.0.2.2/32 dev eth0 mtu 1300
"$VN" -n h1 net set 0005 --mtu 1400
rc=0
said=$(on a1 ping -n -c 3 -i 0.3 -W 1 -M 'do' -s 1350 10.0.0.2 2>&1) || rc=$?
holds "too big for the path" test "$rc" != 0
say "$said"
wait_for 5 "is counted" counts h1 0005 tx-too-big 1
holds "and said to the sender" grep -qiE 'too long|frag needed' <<<"$said"
ip -n h1 route del 192.0.2.2/32 dev eth0 mtu 1300
on a1 ip route flush cache

# 1500, as the original had it: outer packets are fragmented, and vn says so.
for h in h1 h2; do
	said=$("$VN" -n $h net set 0005 --mtu 1500 2>&1)
	holds "vn warns: $said" grep -qi 'fragment' <<<"$said"
	ip -n $h link set vnbr0005 mtu 1500
done
for i in 1 2; do
	ip -n "h$i" link set "v-a$i" mtu 1500
	ip -n "a$i" link set eth0 mtu 1500
done
holds "1500 bytes across" on a1 ping -q -c 5 -i 0.2 -W 2 -M 'do' -s 1472 10.0.0.2
timeout 20 nsenter --net=/run/netns/h2 tcpdump -Z root -lni eth0 -c 2 'ip[6:2] & 0x3fff != 0' >/tmp/fragments 2>/tmp/tcpdump &
is_listening "tcpdump listens" /tmp/tcpdump
holds "again" on a1 ping -q -c 2 -i 0.2 -W 2 -M 'do' -s 1472 10.0.0.2
wait_for 5 "as fragments on the LAN" grep -q IP /tmp/fragments

never "an MTU that no IP packet can carry" "$VN" -n h1 net set 0005 --mtu 65472
