#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Two networks, joined by two hosts that are peers of each other:
#
#   a1 ─ h1 ─┐            ┌─ h3 ─ a3      lan: 192.0.2.0/24, other: 198.51.100.0/24
#   a2 ─ h2 ─┴ lan   other┴─ h4 ─ a4      h2 and h3 are peers; all can reach each other by unicast
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

lan lan 1500
lan other 1500
# A router between them, which forwards no multicast.
ns router
on router sysctl -qw net.ipv4.ip_forward=1
attach router lan 192.0.2.254/24 eth0
attach router other 198.51.100.254/24 eth1
host() {
	ns "$1"
	# What a peer of a host here sends to the group has an address from the other network.
	on "$1" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	attach "$1" "$2" "$3/24"
	on "$1" ip route add default via "$4"
	daemon "$1" --device eth0
	net "$1" 0005
}
host h1 lan 192.0.2.1 192.0.2.254
host h2 lan 192.0.2.2 192.0.2.254
host h3 other 198.51.100.3 198.51.100.254
host h4 other 198.51.100.4 198.51.100.254
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
vm a3 h3 0005 10.0.0.3 $MAC3
vm a4 h4 0005 10.0.0.4 02:00:00:00:00:04
reaches a1 10.0.0.2
isolated a1 10.0.0.3
ctl h2 peer-new '{"addr": "198.51.100.3"}'
reaches a1 10.0.0.2
isolated a2 10.0.0.3
wait_for 5 "h3 refuses what h2 forwards, as it is not its peer" host_counts h3 rx-forward-refused 1
ctl h3 peer-new '{"addr": "192.0.2.2"}'
reaches a2 10.0.0.3
equal "a3 is behind h3" "$(behind h2 0005 $MAC3)" 198.51.100.3
reaches a1 10.0.0.3
equal "straight, not by h2" "$(behind h1 0005 $MAC3)" 198.51.100.3
reaches a1 10.0.0.4
equal "h4 answers straight" "$(behind h1 0005 02:00:00:00:00:04)" 198.51.100.4
equal "and knows h1, which never was its neighbour" "$(behind h4 0005 $MAC1)" 192.0.2.1
[ "$(host_counter h2 tx-forward)" -ge 1 ] || fail "h2 forwards"
[ "$(host_counter h3 relayed)" -ge 1 ] || fail "h3 sends on to its group"
ok "h2 forwarded $(host_counter h2 tx-forward), h3 sent $(host_counter h3 relayed) on"

# A second pair of peers between the same networks: nothing arrives twice, nothing goes round in circles.
ctl h1 peer-new '{"addr": "198.51.100.4"}'
ctl h4 peer-new '{"addr": "192.0.2.1"}'
on a3 tcpdump -Z root -lnni eth0 -c 1000 'udp port 7777' >"$WORK/heard" 2>"$WORK/tcpdump" &
tcpdump=$!
is_listening "tcpdump listens on a3" "$WORK/tcpdump"
on a1 python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for n in range(10):
    # Each longer than the one before: none of them can be put together with another.
    s.sendto(b"broadcast" + bytes(n), ("10.0.0.255", 7777))
'
wait_for 10 "a3 hears the broadcasts" test -s "$WORK/heard"
holds "a ping afterwards: nothing more is under way" on a1 ping -q -c 3 -i 0.2 -W 2 10.0.0.3
kill "$tcpdump"
wait "$tcpdump" || true
equal "each of them once" "$(wc -l <"$WORK/heard")" 10
dup=$(($(host_counter h3 rx-duplicate) + $(host_counter h4 rx-duplicate)))
[ "$dup" -ge 1 ] || fail "duplicates are recognised"
ok "$dup duplicates were recognised"

# Floods straight to the peers.
for h in h1 h2 h3 h4; do
	ctl "$h" host-set '{"flood": "peers", "group": "0.0.0.0"}'
	for a in 192.0.2.1 192.0.2.2 198.51.100.3 198.51.100.4; do ctl "$h" peer-new "{\"addr\": \"$a\"}" 2>/dev/null || true; done
	ctl "$h" varp-flush '{"net": "0005"}' >/dev/null
done
forwarded=$(host_counter h1 tx-forward)
for a in 2 3 4; do
	on a1 ip neigh flush dev eth0
	reaches a1 10.0.0.$a
done
equal "nothing is forwarded any more" "$(host_counter h1 tx-forward)" "$forwarded"
