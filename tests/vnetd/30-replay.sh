#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What the original daemon sent (tests/wire) is understood and answered in kind; what nobody sends is dropped and counted.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

captures=$HERE/../wire
lan lan 1500
host() {
	ns "$1"
	attach "$1" lan "$2/24"
	ip -n "$NS$1" link set eth0 address "$3"
	daemon "$1" --device eth0
	net "$1" 0005 '{"mtu": 1500}'
}
host h1 192.0.2.1 ce:66:f6:a8:bc:92
vm a1 h1 0005 10.1.1.1 02:00:00:05:00:01
# listen NAMESPACE DEVICE FILTER: tcpdump until one such packet was seen.
listen() {
	: >"$WORK/heard"
	timeout 20 nsenter --net="/run/netns/$NS$1" tcpdump -Z root -lnXi "$2" -c 1 "$3" >"$WORK/heard" 2>"$WORK/tcpdump" &
	listening=$!
	is_listening "tcpdump listens in $1" "$WORK/tcpdump"
}
heard() {
	local rc=0
	wait "$listening" || rc=$?
	[ "$rc" = 0 ] || fail "$1: not heard"
	ok "$1"
}
replay() { on lan "$FRAMES" replay h1 "$@"; }
bytes() { sed -n 's/^\t0x[0-9a-f]*: *\(.*\)  .*$/\1/p' "$WORK/heard" | tr -d ' \n' | cut -c57-; }

# B's ARP answer, echo reply, and its question to the group.
listen a1 eth0 'arp and src 10.1.1.2'
replay "$captures/xen-vnetd-lan.pcap" 2
heard "B's ARP answer is delivered"
wait_for 5 "B's customer is known" is_behind h1 0005 02:00:00:05:00:02 192.0.2.2
listen a1 eth0 'icmp and src 10.1.1.2'
replay "$captures/xen-vnetd-lan.pcap" 4
heard "and the echo reply"

# B's neighbour entry, so that answers to it leave.
ip -n "${NS}h1" neigh replace 192.0.2.2 lladdr 06:a7:c9:75:fb:38 dev eth0
on a1 ping -q -c 1 -W 1 10.1.1.3 >/dev/null || true
wait_for 10 "a1 is known to be here" is_here h1 0005 02:00:00:05:00:01
listen lan h1 'udp and src host 192.0.2.1 and dst host 192.0.2.2 and src port 1798 and dst port 1798 and udp[9] = 1'
replay "$captures/xen-vnetd-lan.pcap" 16
heard "a VARP request for a MAC that is here is answered by unicast to port 1798"
expected=$(python3 -c '
import sys
sys.path.insert(0, sys.argv[2])
import frames
wanted = [f[42:85].hex() for f in frames.read_pcap(sys.argv[1]) if f[42:46] == bytes.fromhex("00010002")]
print(wanted[0])' "$captures/xen-vnetd-lan.pcap" "$HERE/../uml")
equal "with the very bytes that A answered with then" "$(bytes | cut -c1-86)" "$expected"
asked=$(counter h1 0005 tx-announce)
# request FAMILY MAC: by hand, from B's address.
vfwd() { on lan "$FRAMES" udp h1 "$1" 192.0.2.1 "$2"; }
id=00000000000000000000000000000005
coa=02c0000202000000000000000000000000
vfwd 192.0.2.2 "00010001${id}0200000500ee$coa"
wait_for 5 "it was heard" counts h1 0005 rx-request 2
equal "a request for a MAC that is not here is not answered" "$(counter h1 0005 tx-announce)" "$asked"

# VFWD of the original: from a peer only.
replay "$captures/xen-vnetd-peer.pcap" 1 3
ctl h1 peer-new '{"addr": "198.51.100.3"}'
forward="0003000045000047000000004011000000000000e00a0001070607060033000000010001${id}020000050001$coa"
refusals=$(host_counter h1 rx-forward-refused)
vfwd 192.0.2.50 "$forward"
wait_for 5 "who is no peer is not heard" host_counts h1 rx-forward-refused $((refusals + 1))
on h1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
before=$(counter h1 0005 rx-request)
vfwd 198.51.100.3 "$forward"
wait_for 5 "a peer is" counts h1 0005 rx-request $((before + 1))
seen=$(host_counter h1 rx-duplicate)

# Garbage, each kind counted under its reason, and nothing learned.
drops() {
	local text=$1 name=$2 source=$3 payload=$4 before
	before=$(host_counter h1 "$name")
	vfwd "$source" "$payload"
	wait_for 5 "$text is counted ($name)" host_counts h1 "$name" $((before + 1))
}
net_drops() {
	local text=$1 name=$2 source=$3 payload=$4 before
	before=$(counter h1 0005 "$name")
	vfwd "$source" "$payload"
	wait_for 5 "$text is counted ($name)" counts h1 0005 "$name" $((before + 1))
}
eth=ffffffffffff0200000500990800
macs=$(ctl h1 net-get '{"id": "0005"}' | jq .macs)
drops "an empty datagram" rx-short 192.0.2.9 ""
drops "three bytes" rx-short 192.0.2.9 000200
drops "half a header" rx-short 192.0.2.9 0002000000400000
drops "half a VARP message" rx-short 192.0.2.9 "00010001$id"
drops "an unknown message" rx-bad-message 192.0.2.9 00090000
drops "another EtherIP version" rx-bad-version 192.0.2.9 "000200000030$id$eth"
drops "a vnet that is not here" rx-unknown-net 192.0.2.9 "00020000004000000000000000000000000000000099$eth"
# Without this the kernel drops it.
on h1 sysctl -qw net.ipv4.conf.all.accept_local=1 net.ipv4.conf.eth0.accept_local=1
drops "our own address" rx-bad-outer 192.0.2.1 "000200000040$id$eth"
net_drops "half an Ethernet header" rx-short 192.0.2.9 "000200000040${id}ffffffffffff"
net_drops "half an IP header" rx-short 192.0.2.9 "000200000040${id}${eth}450000"
net_drops "source MAC zero" rx-bad-source 192.0.2.9 "000200000040${id}ffffffffffff00000000000088b50000"
net_drops "a group as source" rx-bad-source 192.0.2.9 "000200000040${id}ffffffffffff01000000000188b50000"
net_drops "an announcement of a group" rx-varp-refused 192.0.2.9 "00010002${id}010000050001$coa"
net_drops "an announcement for our own address" rx-varp-refused 192.0.2.9 "00010002${id}02000005009902c0000201000000000000000000000000"
# 192.0.2.255 is everybody on h1's network.
net_drops "an announcement of a broadcast address" rx-varp-refused 192.0.2.9 "00010002${id}0200000500020002c00002ff000000000000000000000000"
net_drops "a withdrawal of somebody else's" rx-varp-refused 192.0.2.9 "00010003${id}020000050002$coa"
equal "nothing was learned from it" "$(ctl h1 net-get '{"id": "0005"}' | jq .macs)" "$macs"
equal "nothing was forwarded twice" "$(host_counter h1 rx-duplicate)" "$seen"
ctl h1 net-set '{"id": "0005", "remotes": "listed"}'
refused=$(counter h1 0005 rx-varp-refused)
vfwd 192.0.2.9 "00010009${id}020000050002$coa"
drops "what comes behind it" rx-short 192.0.2.9 000200
equal "an unknown opcode of a host that is not listed is counted once" "$(counter h1 0005 rx-varp-refused)" $((refused + 1))
ctl h1 net-set '{"id": "0005", "remotes": "any"}'
# What is true is believed.
vfwd 192.0.2.9 "00010002${id}020000050077$coa"
wait_for 5 "an announcement is" is_behind h1 0005 02:00:00:05:00:77 192.0.2.2
vfwd 192.0.2.2 "00010003${id}020000050077$coa"
wait_for 5 "and a withdrawal by the host itself" is_behind h1 0005 02:00:00:05:00:77 ""
