#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Settings changed while a vnet is up, the underlay's device lost and found again, the vnet's device moved elsewhere.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers
set_both() { ctl h1 host-set "$1" && ctl h2 host-set "$1"; }
anew() {
	local h
	for h in h1 h2; do ctl $h varp-flush '{"net": "0005"}' >/dev/null; done
	on a1 ip neigh flush dev eth0
	reaches a1 10.0.0.2
}
holds "another port" set_both '{"port": 1799}'
anew
holds "another group" set_both '{"group": "224.10.0.99"}'
anew
for h in h1 h2; do
	ip -n "$NS$h" addr add "fd00:db8::${h#h}/64" dev eth0 nodad
done
holds "a group of IPv6" set_both '{"group": "ff05::1798"}'
anew
equal "and a host of IPv6" "$(behind h1 0005 $MAC2)" fd00:db8::2
holds "back again" set_both '{"port": 1798, "group": "224.10.0.1"}'
anew
refused "a group that cannot be joined" 'ENODEV|EADDRNOTAVAIL|EINVAL' h1 host-set '{"group": "224.10.0.5", "device": 1111}'
equal "changes nothing" "$(ctl h1 host-get | jq -r .group)" 224.10.0.1

"$CLIENT" "$WORK/h1/control" watch config >"$WORK/events" 2>&1 &
watch=$!
wait_for 10 "the changes are listened to" grep -q joined "$WORK/events"
on h1 ip route add 224.0.0.0/4 dev eth0
ctl h1 host-set '{"device": 0}'
ip -n "${NS}lan" link del h1
left() { ctl h1 host-get | jq -e 'has("joined") | not'; }
joined() { ctl h1 host-get | jq -e 'has("joined")'; }
wait_for 5 "the group is lost with the device" left
attach h1 lan 192.0.2.1/24
on h1 ip route add 224.0.0.0/4 dev eth0
wait_for 10 "and joined again by itself" joined
# It has another address of Ethernet now.
on h2 ip neigh flush dev eth0
anew
# One that is set is found by its name.
eth0() { ip -n "${NS}h1" -j link show eth0 | jq '.[0].ifindex'; }
ctl h1 host-set "{\"device\": $(eth0)}"
before=$(eth0)
ip -n "${NS}lan" link del h1
wait_for 5 "the group is lost with the device that is set" left
attach h1 lan 192.0.2.1/24
# Else the new one may have got the number of the old one.
[ "$(eth0)" != "$before" ] || fail "the device has another number"
found() { [ "$(ctl h1 host-get | jq .device)" = "$(eth0)" ] && joined; }
wait_for 10 "the device is found by its name, and the group joined" found
on h2 ip neigh flush dev eth0
anew
[ "$(grep -c host-set-ntf "$WORK/events")" -ge 2 ] || fail "both are told: $(cat "$WORK/events")"
ok "both are told"
kill "$watch"
# Also by a daemon that was started while it was away. Until then nothing goes out anywhere else.
ip -n "${NS}lan" link del h1
wait_for 5 "the device that is set is away" left
stop h1 || fail "vnetd ends"
daemon h1
equal "its vnet is there" "$(list h1 net-get | jq -r .id)" 0005
holds "without the group" left
never "no other device has taken the place" jq -e '.device == 0' <<<"$(ctl h1 host-get)"
stop h1 || fail "vnetd ends again"
# The option says nothing else than what was saved.
daemon h1 --device eth0
attach h1 lan 192.0.2.1/24
wait_for 10 "a daemon that was started without it finds it, too" found
on h2 ip neigh flush dev eth0
anew
on h1 ip route add 224.0.0.0/4 dev eth0
ctl h1 host-set '{"device": 0}'

# More than the kernel can tell at once: what was lost is looked at anew. The address comes last, when there is no room.
kill -STOP "${PIDS[h1]}"
for i in $(seq 0 2999); do echo "route add 198.18.$((i / 250)).$((i % 250))/32 dev eth0"; done >"$WORK/batch"
echo "address add 192.0.2.200/32 dev eth0" >>"$WORK/batch"
on h1 ip -batch "$WORK/batch"
kill -CONT "${PIDS[h1]}"
holds "it answers all the same" ctl h1 host-get
is_own() {
	local said
	said=$(ctl h1 peer-new '{"addr": "192.0.2.200"}' 2>&1) && ctl h1 peer-del '{"addr": "192.0.2.200"}'
	grep "own" <<<"$said"
}
wait_for 10 "the new address is known" is_own
on h1 ip route flush root 198.18.0.0/15
reaches a1 10.0.0.2

# The device in another namespace goes on there.
ns away
on h1 ip link set vnif0005 netns "${NS}away"
moved() { ctl h1 net-get '{"id": "0005"}' | jq -e 'has("netnsid")'; }
wait_for 5 "the device is elsewhere" moved
on away sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip -n "${NS}away" addr add 10.0.0.9/24 dev vnif0005
ip -n "${NS}away" link set vnif0005 up
reaches away 10.0.0.2
holds "removed from here" ctl h1 net-del '{"id": "0005"}'
wait_for 5 "it is gone there" absent away vnif0005
equal "no vnet is left" "$(list h1 net-get)" ""
