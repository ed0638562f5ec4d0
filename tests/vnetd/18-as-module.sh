#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What the module does in rare cases, vnetd does: no group but peers, what ends, what ages, packets to all hosts, notifications.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers

# listen NAME FILTER COUNT, heard NAME: what h1 sends.
declare -A LISTENS=()
listen() {
	timeout 30 nsenter --net="/run/netns/${NS}lan" tcpdump -Z root -xlnni h1 -c "${3:-1}" "src host 192.0.2.1 and $2" >"$WORK/$1" 2>"$WORK/tcpdump" &
	LISTENS[$1]=$!
	is_listening "tcpdump listens" "$WORK/tcpdump"
}
heard() {
	local rc=0
	wait "${LISTENS[$1]}" || rc=$?
	equal "$2" "$rc" 0
}
silent() {
	kill "${LISTENS[$1]}"
	wait "${LISTENS[$1]}" || true
	equal "$2" "$(cat "$WORK/$1")" ""
}

# Without a group, --flood group wraps for the peers all the same: VFWD, IPv4, from 0.0.0.0 to the default group.
ctl h1 host-set '{"group": "0.0.0.0"}'
on a1 ip neigh flush dev eth0
lost=$(counter h1 0005 tx-no-destination)
on a1 ping -q -n -c 1 -W 1 10.0.0.2 >/dev/null || true
[ "$(counter h1 0005 tx-no-destination)" -gt "$lost" ] || fail "with neither group nor peer, a flood is lost and counted"
ok "with neither group nor peer, a flood is lost and counted"
ctl h1 peer-new '{"addr": "192.0.2.2"}'
ctl h2 peer-new '{"addr": "192.0.2.1"}'
wrapped='dst host 192.0.2.2 and udp dst port 1798 and udp[8:4] = 0x30000 and udp[12] = 0x45 and udp[24:4] = 0 and udp[28:4] = 0xe00a0001'
listen data "$wrapped and udp[40:4] = 0x20000"
listen varp "$wrapped and udp[40:4] = 0x10001"
relayed=$(host_counter h2 relayed) forwarded=$(host_counter h1 tx-forward)
on a1 ip neigh flush dev eth0
reaches a1 10.0.0.2
heard data "a flood goes to the peer wrapped"
on a1 ip neigh replace 10.0.0.98 lladdr 02:00:00:00:00:98 dev eth0 nud permanent
on a1 ping -q -n -c 1 -W 1 10.0.0.98 >/dev/null || true
heard varp "a request goes to the peer wrapped"
[ "$(host_counter h1 tx-forward)" -gt "$forwarded" ] || fail "counted as forwarded"
wait_for 5 "the peer sends it to its group" host_counts h2 relayed $((relayed + 1))
ctl h2 host-set '{"flood": "peers"}'
relayed=$(host_counter h2 relayed)
on a1 ip neigh flush dev eth0
reaches a1 10.0.0.2
[ "$(host_counter h2 relayed)" -gt "$relayed" ] || fail "so it does if its own floods go straight to peers"
ok "so it does if its own floods go straight to peers"
ctl h2 host-set '{"flood": "group"}'
ctl h1 peer-del '{"addr": "192.0.2.2"}'
ctl h2 peer-del '{"addr": "192.0.2.1"}'
ctl h1 host-set '{"group": "224.10.0.1"}'
on a1 ip neigh flush dev eth0
reaches a1 10.0.0.2

# What is sent to all hosts of a network is for no vnet.
before=$(host_counter h1 rx-other-group)
on h2 python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(bytes.fromhex("00020000004000000000000000000000000000000005") + bytes(60), ("192.0.2.255", 1798))
'
wait_for 5 "a packet to all hosts is refused" host_counts h1 rx-other-group $((before + 1))

# One notification when a vnet is made, none of changes that are none.
"$CLIENT" "$WORK/h1/control" watch config >"$WORK/events" 2>&1 &
watch=$!
wait_for 10 "the changes are listened to" grep -q joined "$WORK/events"
for mtu in 1400 1300 1200; do ctl h1 net-new "{\"id\": \"0$mtu\", \"mtu\": $mtu}" >/dev/null; done
ctl h1 net-set '{"id": "01300", "mtu": 1301}'
on h1 ip link set vnif1200 mtu 1201
wait_for 5 "a change by other means is told" grep -q '"mtu": 1201' "$WORK/events"
equal "and nothing but what was changed" "$(grep '^{' "$WORK/events" | jq -r '"\(.event) \(.id) \(.mtu)"' | paste -sd,)" \
	"net-new-ntf 1400 1400,net-new-ntf 1300 1300,net-new-ntf 1200 1200,net-set-ntf 1300 1301,net-set-ntf 1200 1201"
kill "$watch"
for mtu in 1400 1300 1200; do ctl h1 net-del "{\"id\": \"0$mtu\"}"; done

# Who was silent for the ageing time is forgotten and not withdrawn; nor is anybody when the vnet or the daemon ends.
listen withdrawn 'udp dst port 1798 and udp[8:4] = 0x10003'
gone=$(counter h1 0005 tx-withdraw)
on a1 ip link set eth0 down
wait_for 5 "an address whose port goes is withdrawn" counts h1 0005 tx-withdraw $((gone + 1))
heard withdrawn "it is"
on a1 ip link set eth0 up
reaches a1 10.0.0.2
listen withdrawn 'udp dst port 1798 and udp[8:4] = 0x10003'
ctl h1 net-set '{"id": "0005", "ageing": 100}'
forgotten() { ! is_here h1 0005 $MAC1; }
wait_for 10 "who is silent is forgotten" forgotten
ctl h1 net-set '{"id": "0005", "ageing": 300000}'
reaches a1 10.0.0.2
holds "who is not is here" is_here h1 0005 $MAC1
ctl h1 net-del '{"id": "0005"}'
net h1 0005
reaches a1 10.0.0.2
stop h1
silent withdrawn "nobody was withdrawn"
