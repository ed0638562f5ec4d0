#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# An underlay of IPv6: group, peers, VARP, fragments, path MTU; and both families on one host.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do
	on "h$i" sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0
	ip -n "h$i" addr add "2001:db8::$i/64" dev eth0 nodad
	ip -n "h$i" link set eth0 down
	ip -n "h$i" link set eth0 up
	ip -n "h$i" route replace 224.0.0.0/4 dev eth0
	ip -n "h$i" -6 addr replace "2001:db8::$i/64" dev eth0 nodad
	"$VN" -n "h$i" host set --group ff05::1:798 --device eth0
	net "h$i" 0005
done
equal "the MTU leaves room for IPv6" "$(net_field h1 0005 mtu)" 1416
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
vm a3 h3 0005 10.0.0.3 02:00:00:00:00:03
reaches a1 10.0.0.2
reaches a1 10.0.0.3
equal "behind an IPv6 address" "$(behind h1 0005 02:00:00:00:00:02)" 2001:db8::2
wait_for 10 "h1 has announced its machine" counts h1 0005 tx-announce 3
equal "nothing of our own comes back" "$(host_counter h1 rx-bad-outer) $(host_counter h2 rx-bad-outer)" "0 0"
holds "a packet of full size" on a1 ping -q -n -c 3 -W 5 -M 'do' -s 1388 10.0.0.2
never "nothing larger" on a1 ping -q -n -c 1 -W 1 -M 'do' -s 1389 10.0.0.2

# Data from an address of one link teaches nothing unless the device is known: nothing could be sent back.
link_local() { on h2 ip -j -6 addr show dev eth0 scope link -tentative | jq -er '.[].addr_info[] | select(.local) | .local'; }
wait_for 10 "h2 has an address of the link" link_local
from_link() {
	on h2 python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0, 0, socket.if_nametoindex("eth0")))
header = bytes.fromhex("000200000040" + "5".zfill(32))
s.sendto(header + b"\xff" * 6 + bytes.fromhex(sys.argv[2] + "88b5") + bytes(46), ("2001:db8::1", 1798))
' "$(link_local)" "$1"
}
learned() { [ -n "$(behind h1 0005 "$1")" ]; }
from_link 0200000000c1
wait_for 5 "learned, with the device set" learned 02:00:00:00:00:c1
ip -n h1 -6 route add multicast ff05::/16 dev eth0 table local
"$VN" -n h1 host set --device none
timeout 20 nsenter --net=/run/netns/h1 tcpdump -Z root -lnnei vnif0005 -c 1 ether src 02:00:00:00:00:c2 >/tmp/heard 2>/tmp/tcpdump &
is_listening "tcpdump listens" /tmp/tcpdump
from_link 0200000000c2
wait_for 5 "without it, it is delivered" grep -q 02:00:00:00:00:c2 /tmp/heard
never "and not learned" learned 02:00:00:00:00:c2
"$VN" -n h1 host set --device eth0

# VARP of family 10.
ip -n a1 neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
ip -n a2 neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
"$VN" -n h1 varp flush 0005
flooded=$(counter h1 0005 flooded)
holds "found by asking" pings a1 10.0.0.2 5
equal "not by flooding" "$(counter h1 0005 flooded)" "$flooded"
equal "behind IPv6 again" "$(behind h1 0005 02:00:00:00:00:02)" 2001:db8::2

# More than fits: in fragments.
for i in 1 2; do
	"$VN" -n "h$i" net set 0005 --mtu 3000
	ip -n "h$i" link set "v-a$i" mtu 3000
	ip -n "a$i" link set eth0 mtu 3000
done
holds "a packet in fragments" on a1 ping -q -n -c 3 -W 5 -M 'do' -s 2900 10.0.0.2

# Peers of either family, straight to each: h3 is reached by IPv4 only.
# A group of the link: hosts then have addresses of the link, too.
for i in 1 2; do
	"$VN" -n "h$i" host set --group ff02::1:798
	"$VN" -n "h$i" varp flush 0005
	ip -n "a$i" neigh flush all
done
refused=$(counter h1 0005 rx-varp-refused)
# So that a2's address can only come by an announcement.
ip -n a1 neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
reaches a1 10.0.0.2
equal "an announcement from the link is believed" "$(behind h1 0005 02:00:00:00:00:02)" "$(link_local)"
equal "none is refused" "$(counter h1 0005 rx-varp-refused)" "$refused"
ip -n a1 neigh del 10.0.0.2 dev eth0

for i in 1 2 3; do "$VN" -n "h$i" host set --group none --flood peers; done
"$VN" -n h1 peer add 2001:db8::2
"$VN" -n h2 peer add 2001:db8::1
"$VN" -n h1 peer add 192.0.2.3
"$VN" -n h3 peer add 192.0.2.1
for i in 1 2 3; do "$VN" -n "h$i" varp flush 0005; done
for i in 1 2 3; do ip -n "a$i" neigh flush all nud all || true; done
reaches a1 10.0.0.2
reaches a1 10.0.0.3
equal "one behind IPv6" "$(behind h1 0005 02:00:00:00:00:02)" 2001:db8::2
equal "one behind IPv4" "$(behind h1 0005 02:00:00:00:00:03)" 192.0.2.3
refused "an IPv4 address written as IPv6" "not the address of a host" -n h1 peer add ::ffff:192.0.2.9
refused "our own address" "own" -n h1 peer add 2001:db8::1
