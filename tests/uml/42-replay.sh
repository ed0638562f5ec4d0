#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What the original daemon sent (tests/wire) is understood, and answered byte for byte as the original did.
#
#   lan ── h1 (the place of A, 192.0.2.1, vm a1 10.1.1.1)      lan ── h2 (the place of B, 192.0.2.2, vm a2 10.1.1.2)
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 2
lan=../wire/xen-vnetd-lan.pcap
ip -n h1 link set eth0 address ce:66:f6:a8:bc:92
ip -n h2 link set eth0 address 06:a7:c9:75:fb:38
reaches h1 192.0.2.2

# heard_by NAME FILTER: a tcpdump in a customer's machine, until it has seen one such packet.
listen() {
	timeout 20 nsenter --net="/run/netns/$1" tcpdump -Z root -lnXi "$2" -c 1 "$3" >/tmp/heard 2>/tmp/tcpdump &
	is_listening "tcpdump listens in $1" /tmp/tcpdump
}

# h1 as A: what B sent comes in.
net h1 0005 --mtu 1500
vm a1 h1 0005 10.1.1.1 02:00:00:05:00:01
listen a1 eth0 'arp and src 10.1.1.2'
on lan ./frames.py replay h1 $lan 2
wait_for 5 "B's ARP answer is delivered" grep -q 'is-at 02:00:00:05:00:02' /tmp/heard
wait
equal "B's customer is known" "$(behind h1 0005 02:00:00:05:00:02)" 192.0.2.2
listen a1 eth0 'icmp and src 10.1.1.2'
on lan ./frames.py replay h1 $lan 4
wait_for 5 "and the echo reply" grep -q 'echo reply' /tmp/heard
wait
listen a1 eth0 'arp and src 10.1.1.2'
on lan ./frames.py replay h1 $lan 10
wait_for 5 "B's ARP question to the group" grep -q 'who-has 10.1.1.3' /tmp/heard
wait
before=$(host_counter h1 rx-varp)
on lan ./frames.py replay h1 $lan 16
wait_for 5 "a VARP request is counted" host_counts h1 rx-varp $((before + 1))
on lan ./frames.py replay h1 ../wire/xen-vnetd-peer.pcap 1 3
"$VN" -n h1 net delete 0005

# h2 as B: A's first ARP question is answered with the very bytes that B answered with then.
net h2 0005 --mtu 1500
vm a2 h2 0005 10.1.1.2 02:00:00:05:00:02
listen lan h1 'udp port 1798 and src 192.0.2.2 and dst 192.0.2.1'
on lan ./frames.py replay h2 $lan 1
wait_for 5 "A's ARP question to the group is answered" grep -q 0x0020 /tmp/heard
wait
# frame OF-TCPDUMP-X: the bytes after the outer headers.
bytes=$(sed -n 's/^\t0x[0-9a-f]*: *\(.*\)  .*$/\1/p' /tmp/heard | tr -d ' \n' | cut -c57-)
expected=$(python3 -c 'import sys; sys.path.insert(0, "."); import frames; print(list(frames.read_pcap(sys.argv[1]))[1][42:].hex())' $lan)
equal "the same bytes as the original's" "$bytes" "$expected"
listen lan h1 'udp port 1798 and src 192.0.2.2 and dst 192.0.2.1'
on lan ./frames.py replay h2 $lan 3
wait_for 5 "A's ping is answered" grep -q 0x0020 /tmp/heard
equal "by unicast: A's customer was learned" "$(behind h2 0005 02:00:00:05:00:01)" 192.0.2.1
