#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Congestion marks on the outer packet reach the inner one (RFC 6040), by the group, and through hosts that pass packets on.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do
	net "h$i" 0005
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
# h3 is in no group: h1 passes everything on to it, and from it.
"$VN" -n h3 host set --group none
"$VN" -n h3 peer add 192.0.2.1
"$VN" -n h1 peer add 192.0.2.3
reaches a1 10.0.0.2
reaches a1 10.0.0.3
reaches a3 10.0.0.2

# hears HOST FILTER COMMAND...: the host hears such a packet after the command.
hears() {
	local host=$1 filter=$2
	shift 2
	timeout 30 nsenter --net="/run/netns/$host" tcpdump -Z root -c 1 -lni any "$filter" >/tmp/heard 2>/tmp/dump &
	is_listening "$host listens for $filter" /tmp/dump
	"$@"
	wait_for 10 "and hears it" grep -q . /tmp/heard
	wait
}
# inner TOS: a packet of a vnet in hex, in which 10.0.0.9 tells everyone something.
inner() {
	local length=28
	printf '0002000000''4000000000000000000000000000000005''ffffffffffff''020000000009''0800'
	printf '45%02x00%02x0001000040110000''0a000009''0a0000ff' "$1" $((length + 4))
	printf '00090009000c0000''00000000'
}
not_ect=0 ect0=2 ce=3
hears a2 "src 10.0.0.9 and ip[1] = 2" on lan ./frames.py udp lan 192.0.2.9 "$GROUP" "$(inner $ect0)" $ect0
hears a2 "src 10.0.0.9 and ip[1] = 3" on lan ./frames.py udp lan 192.0.2.9 "$GROUP" "$(inner $ect0)" $ce
hears a3 "src 10.0.0.9 and ip[1] = 3" on lan ./frames.py udp lan 192.0.2.9 "$GROUP" "$(inner $ect0)" $ce
# Who cannot take the mark would not slow down: the packet is dropped.
dropped=$(counter h1 0005 rx-ecn)
on lan ./frames.py udp lan 192.0.2.9 "$GROUP" "$(inner $not_ect)" $ce
wait_for 5 "a mark that the packet cannot take: dropped" counts h1 0005 rx-ecn $((dropped + 1))
# Nobody answers that.
broadcast() { ! on a3 ping -q -c 1 -W 0.1 -Q $ce -b 10.0.0.255; }
# From h3 to the group: what is marked inside is marked outside.
hears a2 "icmp[icmptype] = icmp-echo and ip[1] = 3" broadcast
hears h2 "src 192.0.2.3 and dst $GROUP and ip[1] & 3 = 3" broadcast
