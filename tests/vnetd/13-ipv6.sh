#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# An underlay of IPv6 only.
UNDERLAY=6
# shellcheck source=tests/vnetd/10-ping.sh
. "$(dirname "$0")/10-ping.sh"

ctl h1 peer-new '{"addr": "fd00:db8::9"}'
equal "a peer with an IPv6 address" "$(list h1 peer-get | jq -r .addr)" fd00:db8::9
ctl h1 peer-del '{"addr": "fd00:db8::9"}'
refused "a group of one link, without a device" 'another one on each link.*EINVAL' h1 host-set '{"group": "ff02::1798", "device": 0}'
equal "the settings are as before" "$(ctl h1 host-get | jq -r .group)" ff05::1798
holds "with the device it is taken" ctl h1 host-set '{"group": "ff02::1798"}'
refused "the device cannot be left out later" 'another one on each link.*EINVAL' h1 host-set '{"device": 0}'
holds "back again" ctl h1 host-set '{"group": "ff05::1798"}'

# Data from an address of one link teaches nothing unless the device is known: nothing could be sent back.
link_local() { on h2 ip -j -6 addr show dev eth0 scope link -tentative | jq -er '.[].addr_info[] | select(.local) | .local'; }
wait_for 10 "h2 has an address of the link" link_local
from_link() {
	on h2 python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0, 0, socket.if_nametoindex("eth0")))
header = bytes.fromhex("000200000040" + "5".zfill(32))
s.sendto(header + b"\xff" * 6 + bytes.fromhex(sys.argv[2] + "88b5") + bytes(46), ("fd00:db8::1", 1798))
' "$(link_local)" "$1"
}
heard() { list h1 varp-get '{"net": "0005"}' | jq -r 'select(.mac == "'"$1"'") | .addr'; }
holds "data from an address of the link" from_link 0200000000c1
learned() { [ -n "$(heard "$1")" ]; }
wait_for 5 "it is learned, with the device set" learned 02:00:00:00:00:c1
holds "a route to the group" on h1 ip -6 route add multicast ff05::/16 dev eth0 table local
holds "the device is not set any more" ctl h1 host-set '{"device": 0}'
reaches a1 10.0.0.2
timeout 20 nsenter --net="/run/netns/${NS}h1" tcpdump -Z root -lnni vnif0005 -c 1 ether src 02:00:00:00:00:c2 >"$WORK/heard" 2>"$WORK/tcpdump" &
listening=$!
is_listening "tcpdump listens" "$WORK/tcpdump"
holds "data from an address of the link" from_link 0200000000c2
rc=0
wait "$listening" || rc=$?
equal "it is delivered" "$rc" 0
equal "and not learned" "$(heard 02:00:00:00:00:c2)" ""
holds "back again" ctl h1 host-set "{\"device\": $(on h1 ip -j link show eth0 | jq '.[0].ifindex')}"
if command -v iperf3 >/dev/null; then
	on a2 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
	is_listening "iperf3 listens" "$WORK/server"
	holds "TCP" on a1 iperf3 -c 10.0.0.2 -n 50M
fi
equal "h2 has lost nothing" "$(ctl h2 net-get '{"id": "0005"}' | jq '[.stats | .["rx-short"], .["rx-ecn"], .["tx-no-route"]] | add')" 0
