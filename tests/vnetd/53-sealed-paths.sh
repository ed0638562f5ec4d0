#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Sealed vnets over two networks, joined by two hosts that are peers of each other, where the path between them is narrower; with room for
# few senders; with floods straight to peers.
#
#   a1 ─ h1 ─┐              ┌─ h3 ─ a3      lan: 192.0.2.0/24, other: 198.51.100.0/24, of MTU 1300
#   a2 ─ h2 ─┴ lan     other┘               h2 and h3 are peers; all can reach each other by unicast
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vnetd/sealed.sh
. "$(dirname "$0")/sealed.sh"

lan lan 1500
lan other 1300
ns router
on router sysctl -qw net.ipv4.ip_forward=1
attach router lan 192.0.2.254/24 eth0
attach router other 198.51.100.254/24 eth1
key one
host() {
	ns "$1"
	# What a peer of a host here sends to the group has an address from the other network.
	on "$1" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	attach "$1" "$2" "$3/24"
	on "$1" ip route add default via "$4"
	daemon "$1" --device eth0
	net "$1" 0005 '{"seal": "conf", "mtu": 1412}'
	holds "$1 has the key" vn "$1" key set 5 --file "$WORK/one.key"
}
host h1 lan 192.0.2.1 192.0.2.254
host h2 lan 192.0.2.2 192.0.2.254
host h3 other 198.51.100.3 198.51.100.254
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
vm a3 h3 0005 10.0.0.3 $MAC3
reaches a1 10.0.0.2
isolated a1 10.0.0.3
ctl h2 peer-new '{"addr": "198.51.100.3"}'
ctl h3 peer-new '{"addr": "192.0.2.2"}'
reaches a2 10.0.0.3
reaches a1 10.0.0.3
equal "straight, not by h2" "$(behind h1 0005 $MAC3)" 198.51.100.3
reaches a3 10.0.0.1
[ "$(host_counter h2 tx-forward)" -ge 1 ] || fail "h2 forwards"
[ "$(host_counter h3 relayed)" -ge 1 ] || fail "h3 sends on to its group"
ok "what is sealed is wrapped as it is: h2 forwarded $(host_counter h2 tx-forward), h3 sent $(host_counter h3 relayed) on"
for h in h1 h2 h3; do
	believes $h 2 || fail "$h believes the other two"
	equal "$h: nothing was refused" "$(counter $h 0005 rx-bad-seal)" 0
done

# 1300 less 88.
told() { on a1 ping -n -M 'do' -c 1 -W 1 -s 1380 10.0.0.3 2>&1 | grep -E 'mtu ?=? ?1212'; }
wait_for 10 "the sender is told how much fits" told
[ "$(counter h1 0005 tx-too-big)" -ge 1 ] || fail "counted"
holds "what fits passes" on a1 ping -q -n -M 'do' -c 1 -W 2 -s 1184 10.0.0.3
on a1 ip route flush cache
on a3 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
is_listening "iperf3 listens" "$WORK/server"
holds "TCP finds the size" on a1 iperf3 -c 10.0.0.3 -n 5M

# Questions by hand, and how large they may be.
holds "the other side is asked" "$VN" --via vnetd --vnetd-socket "$WORK/h1/control" ping 5 -c 1 198.51.100.3
refused "larger than the path is told" "larger than the path" h1 probe '{"net": "0005", "addr": "198.51.100.3", "size": 1400}'

# Room for one: who was heard least recently is asked again when it comes back.
ctl h1 net-set '{"id": "0005", "max-senders": 1}'
equal "one is left" "$(senders h1)" 1
before=$(counter h1 0005 evicted)
for _ in 1 2 3; do
	reaches a1 10.0.0.2
	reaches a1 10.0.0.3
done
[ "$(counter h1 0005 evicted)" -gt "$before" ] || fail "they take each other's place"
ok "they take each other's place: $(($(counter h1 0005 evicted) - before))"
equal "no more than one" "$(senders h1)" 1
ctl h1 net-set '{"id": "0005", "max-senders": 10}'

# Who is not on the list is not even opened.
ctl h1 net-set '{"id": "0005", "remotes": "listed"}'
before=$(counter h1 0005 rx-not-listed)
isolated a2 10.0.0.1
counts h1 0005 rx-not-listed $((before + 1)) || fail "who is not listed is counted"
ctl h1 net-set '{"id": "0005", "remotes": "any"}'
reaches a2 10.0.0.1

# Floods straight to the peers.
for h in h1 h2 h3; do
	ctl $h host-set '{"flood": "peers", "group": "0.0.0.0"}'
	for a in 192.0.2.1 192.0.2.2 198.51.100.3; do ctl $h peer-new "{\"addr\": \"$a\"}" 2>/dev/null || true; done
	ctl $h varp-flush '{"net": "0005"}' >/dev/null
done
for a in a1 a2 a3; do on $a ip neigh flush dev eth0; done
reaches a1 10.0.0.3
reaches a2 10.0.0.3
reaches a3 10.0.0.1
