#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What is inside the frames: VLAN tags are carried as they are, one and two deep; congestion marks are copied to the outer
# header (RFC 6040); frames sent through a packet ring, with little in their first piece, lose nothing.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
for i in 1 2; do
	ip -n "a$i" link add link eth0 name v7 type vlan id 7
	ip -n "a$i" addr add "10.7.0.$i/24" dev v7
	ip -n "a$i" link set v7 up
	ip -n "a$i" link add link v7 name v7.8 type vlan id 8
	ip -n "a$i" addr add "10.8.0.$i/24" dev v7.8
	ip -n "a$i" link set v7.8 up
done
reaches a1 10.7.0.2
reaches a1 10.8.0.2
holds "large, tagged" on a1 ping -q -c 3 -i 0.2 -W 2 -s 1300 10.7.0.2

# outer FILTER COMMAND...: the LAN carries a packet that matches while the command runs.
outer() {
	local filter=$1
	shift
	timeout 20 nsenter --net=/run/netns/h2 tcpdump -Z root -lni eth0 -c 1 "$filter" >/tmp/outer 2>/tmp/tcpdump &
	is_listening "tcpdump listens" /tmp/tcpdump
	"$@" >/dev/null 2>&1 || true
	wait_for 5 "on the LAN: $filter" grep -q IP /tmp/outer
	wait
}
from_h1='udp port 1798 and src 192.0.2.1 and greater 500'
outer "$from_h1 and ip[1] = 1" on a1 ping -c 3 -i 0.2 -s 600 -Q 1 10.0.0.2
outer "$from_h1 and ip[1] = 2" on a1 ping -c 3 -i 0.2 -s 600 -Q 2 10.7.0.2
outer "$from_h1 and ip[1] = 3" on a1 ping -c 3 -i 0.2 -s 600 -Q 3 10.0.0.2
outer "$from_h1 and ip[1] = 0" on a1 ping -c 3 -i 0.2 -s 600 -Q 0xb8 10.0.0.2

before=$(counter h2 0005 rx-packets)
holds "tagged frames from a packet ring" on a1 ./frames.py ring eth0 50
wait_for 10 "all of them arrive" counts h2 0005 rx-packets $((before + 50))
for c in tx-short rx-short rx-ecn; do equal "nothing lost: $c" "$(counter h1 0005 $c) $(counter h2 0005 $c)" "0 0"; done
