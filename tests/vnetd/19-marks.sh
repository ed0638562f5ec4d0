#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Congestion marks on the outer packet reach the inner one (RFC 6040), by the group, and through hosts that pass packets on.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

hosts 3
for i in 1 2 3; do
	net "h$i" 0005
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
# h3 is in no group: h1 passes everything on to it, and from it.
ctl h3 host-set '{"group": "0.0.0.0"}'
ctl h3 peer-new '{"addr": "192.0.2.1"}'
ctl h1 peer-new '{"addr": "192.0.2.3"}'
reaches a1 10.0.0.2
reaches a1 10.0.0.3
reaches a3 10.0.0.2

# hears HOST FILTER COMMAND...: such a packet comes to the host after the command.
hears() {
	local host=$1 filter=$2 rc=0
	shift 2
	timeout 30 nsenter --net="/run/netns/$NS$host" tcpdump -Z root -c 1 -lni eth0 "$filter" >"$WORK/heard" 2>"$WORK/tcpdump" &
	local listening=$!
	is_listening "$host listens for $filter" "$WORK/tcpdump"
	"$@"
	wait "$listening" || rc=$?
	equal "and hears it" $rc 0
}
# inner TOS: a packet of a vnet in hex, in which 10.0.0.9 tells everyone something.
inner() {
	local length=28 sum
	# A bridge may look at the checksum of the IP header.
	sum=$((0x4500 + $1 + length + 4 + 1 + 0x4011 + 0x0a00 + 0x0009 + 0x0a00 + 0x00ff))
	sum=$((~((sum & 0xffff) + (sum >> 16)) & 0xffff))
	printf '00020000004000000000000000000000000000000005ffffffffffff0200000000090800'
	printf '45%02x00%02x000100004011%04x0a0000090a0000ff' "$1" $((length + 4)) $sum
	printf '00090009000c000000000000'
}
not_ect=0 ect0=2 ce=3
GROUP=224.10.0.1
send() { on lan "$FRAMES" udp lan 192.0.2.9 "$GROUP" "$@"; }
hears a2 "src 10.0.0.9 and ip[1] = 2" send "$(inner $ect0)" $ect0
hears a2 "src 10.0.0.9 and ip[1] = 3" send "$(inner $ect0)" $ce
hears a3 "src 10.0.0.9 and ip[1] = 3" send "$(inner $ect0)" $ce
# Who cannot take the mark would not slow down: the packet is dropped.
dropped=$(counter h1 0005 rx-ecn)
send "$(inner $not_ect)" $ce
wait_for 5 "a mark that the packet cannot take: dropped" counts h1 0005 rx-ecn $((dropped + 1))
# From h3 to the group: what is marked inside is marked outside, in the packet within and in what h1 sends on for h3. Nobody answers.
broadcast() { on a3 ping -q -c 1 -W 0.1 -Q $ce -b 10.0.0.255 >/dev/null 2>&1 || true; }
hears h1 "src 192.0.2.3 and udp[8:2] = 3 and ip[1] & 3 = 0 and udp[13] & 3 = 3" broadcast
hears h2 "src 192.0.2.3 and dst $GROUP and ip[1] & 3 = 3" broadcast
hears a2 "icmp[icmptype] = icmp-echo and ip[1] = 3" broadcast
