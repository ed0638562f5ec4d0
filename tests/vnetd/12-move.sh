#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# A machine moves from one host to another: the next host announces it, and hardly a ping is lost.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers
hosts_more() {
	ns h3
	attach h3 lan 192.0.2.3/24
	daemon h3 --device eth0
}
hosts_more
net h3 0005
reaches a1 10.0.0.2
on a1 ping -n -q -i 0.1 -c 60 -W 1 10.0.0.2 >"$WORK/ping" 2>&1 &
ping=$!
wait_for 5 "the ping goes on" counts h2 0005 rx-packets 20
# The machine is frozen, its port goes here and appears there, and it goes on: as a live migration does it.
ip -n "${NS}h3" link add v-a2 mtu 1436 type veth peer name moved netns "${NS}a2" mtu 1436
ip -n "${NS}h3" link set v-a2 master vnbr0005 up
on a2 ip link set eth0 down
on a2 ip addr flush dev eth0
on a2 ip link set moved address $MAC2
on a2 ip addr add 10.0.0.2/24 dev moved
on a2 ip link set moved up
on a2 python3 -c '
import socket
mac, ip = bytes.fromhex("020000000002"), bytes([10, 0, 0, 2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("moved", 0))
s.send(b"\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + ip + bytes(6) + ip)'
wait "$ping" || true
cat "$WORK/ping"
lost=$(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$WORK/ping" | awk '{ print $1 - $2 }')
[ "$lost" -le 1 ] || fail "$lost pings were lost, more than 1"
ok "$lost pings were lost"
equal "h1 knows where it is" "$(behind h1 0005 $MAC2)" 192.0.2.3
wait_for 5 "and so does h2" is_behind h2 0005 $MAC2 192.0.2.3
[ "$(counter h3 0005 tx-announce)" -ge 1 ] || fail "h3 has announced it"
ok "h3 has announced it"

# A machine whose port goes is withdrawn, and is asked for when somebody wants it.
ip -n "${NS}h3" link del v-a2
wait_for 5 "h3 has withdrawn it" counts h3 0005 tx-withdraw 1
wait_for 5 "h1 has forgotten it" is_behind h1 0005 $MAC2 ""
