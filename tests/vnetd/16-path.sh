#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# A path that is narrower than the underlay's device: who sends what does not fit is told by ICMP. Congestion marks, TTL, DSCP.
#
#   a1 ─ h1 ─ lan ─ router ─ (MTU 1300) other ─ h2 ─ a2
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

lan lan 1500
lan other 1300
ns router
on router sysctl -qw net.ipv4.ip_forward=1
attach router lan 192.0.2.254/24 eth0
attach router other 198.51.100.254/24 eth1
host() {
	ns "$1"
	attach "$1" "$2" "$3/24"
	on "$1" ip route add default via "$4"
	daemon "$1" --device eth0
	ctl "$1" peer-new "{\"addr\": \"$5\"}"
	net "$1" 0005 '{"mtu": 1436}'
}
host h1 lan 192.0.2.1 192.0.2.254 198.51.100.2
host h2 other 198.51.100.2 198.51.100.254 192.0.2.1
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
reaches a1 10.0.0.2
told() { on a1 ping -n -M 'do' -c 1 -W 1 -s 1400 10.0.0.2 2>&1 | grep -E 'mtu ?=? ?1236'; }
wait_for 10 "the sender is told how much fits" told
[ "$(counter h1 0005 tx-too-big)" -ge 1 ] || fail "counted"
holds "what fits passes" on a1 ping -q -n -M 'do' -c 1 -W 2 -s 1208 10.0.0.2
on a1 ip route flush cache
# As with the module: the outer packet must not be fragmented, whatever is inside.
lost=$(counter h1 0005 tx-too-big)
never "what does not fit is lost where nobody can be told" on a1 ping -q -n -M dont -c 2 -W 1 -s 1400 10.0.0.2
[ "$(counter h1 0005 tx-too-big)" -gt "$lost" ] || fail "that is counted"
if command -v iperf3 >/dev/null; then
	on a2 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
	is_listening "iperf3 listens" "$WORK/server"
	on a1 ip route flush cache
	holds "TCP finds the size" on a1 iperf3 -c 10.0.0.2 -n 5M
fi

# The outer header: DSCP and TTL as set or as inside, congestion marks as inside.
outer() {
	local text=$1 filter=$2
	shift 2
	timeout 20 nsenter --net="/run/netns/${NS}lan" tcpdump -Z root -lnni h1 -c 1 "src host 192.0.2.1 and udp dst port 1798 and $filter" \
		>"$WORK/heard" 2>"$WORK/tcpdump" &
	local listening=$! rc=0
	is_listening "tcpdump listens" "$WORK/tcpdump"
	on a1 ping -q -n -c 2 -i 0.2 -W 1 "$@" 10.0.0.2 >/dev/null || true
	wait "$listening" || rc=$?
	equal "$text" "$rc" 0
}
outer "data has DF set, however small" 'ip[6] & 0x40 != 0' -s 8
outer "data that may be fragmented inside has it, too" 'ip[6] & 0x40 != 0' -M dont -s 8
on a1 ip neigh flush dev eth0
outer "what goes to the group has not" 'dst 224.10.0.1 and udp[8:2] = 2 and ip[6] & 0x40 = 0' -s 8
ctl h1 net-set '{"id": "0005", "mtu": 1500}'
outer "nor has data if the MTU does not fit the underlay" 'udp[8:2] = 2 and ip[6] & 0x40 = 0' -s 8
ctl h1 net-set '{"id": "0005", "mtu": 1436}'
outer "ECT(0) inside is ECT(0) outside" 'ip[1] = 2' -Q 0x2a
ctl h1 host-set '{"dscp": 10, "ttl": 33}'
outer "DSCP and TTL as set" 'ip[1] = 0x2a and ip[8] = 33' -Q 0x02
ctl h1 host-set '{"dscp": 255, "ttl": 0}'
outer "DSCP and TTL as inside" 'ip[1] = 0xb8 and ip[8] = 17' -Q 0xb8 -t 17

# What the network says of a datagram of a flow is not taken for an error of the next one, which goes out of the same socket.
ctl h1 net-set '{"id": "0005", "source-port": "flow"}'
on h1 ip route flush cache
send_udp() {
	on a1 python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE: whatever it was told
s.bind(("", 5000))
s.sendto(bytes(int(sys.argv[1])), ("10.0.0.2", 5001))
' "$1"
}
lost=$(counter h1 0005 tx-too-big)
path_known() { on h1 ip route get 198.51.100.2 | grep 'mtu 1300'; }
never "the path is not known" path_known
holds "a datagram that does not fit the path" send_udp 1372
wait_for 5 "the network says so" path_known
timeout 20 nsenter --net="/run/netns/${NS}a2" tcpdump -Z root -lnni eth0 -c 1 udp dst port 5001 >"$WORK/heard" 2>"$WORK/tcpdump" &
listening=$! rc=0
is_listening "tcpdump listens" "$WORK/tcpdump"
holds "a small one of the same flow" send_udp 100
wait "$listening" || rc=$?
equal "it arrives" "$rc" 0
equal "and none was lost here" "$(counter h1 0005 tx-too-big)" "$lost"
