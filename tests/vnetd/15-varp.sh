#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Finding hosts: frames are held while hosts are asked, what nobody has is remembered, probes are answered and told of, limits
# hold, and what moves to and fro is damped.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers
watch() {
	"$CLIENT" "$WORK/$1/control" watch config events >"$WORK/events" 2>&1 &
	watch=$!
	wait_for 10 "the events are listened to" grep -q joined "$WORK/events"
}
watch h1

# a1 knows a2's MAC, h1 does not: the first frame is held and arrives.
wait_for 5 "h2 has announced it for the last time" counts h1 0005 rx-announce 3
ctl h1 varp-flush '{"net": "0005"}' >/dev/null
resolved=$(counter h1 0005 resolved) flooded=$(counter h1 0005 flooded) unknown=$(counter h1 0005 unknown)
holds "the first frame to an unknown MAC arrives" on a1 ping -q -n -c 1 -W 3 10.0.0.2
[ "$(counter h1 0005 resolved)" -gt "$resolved" ] || fail "h2 was asked for"
equal "and was not flooded" "$(counter h1 0005 flooded)" "$flooded"
equal "but its address was unknown" "$(counter h1 0005 unknown)" $((unknown + 1))
# A MAC that nobody has. Requests for it, and for no other, are counted on the wire.
ctl h1 net-set '{"id": "0005", "negative": 600000}'
asked=$(counter h1 0005 tx-request)
for_it='udp dst port 1798 and udp[8:4] = 0x10001 and udp[28:4] = 0x02000000 and udp[32:2] = 0x0099'
on lan tcpdump -Z root --immediate-mode -lnni h1 "src host 192.0.2.1 and $for_it" >"$WORK/asked" 2>"$WORK/tcpdump" &
listening=$!
is_listening "tcpdump listens" "$WORK/tcpdump"
on a1 ip neigh replace 10.0.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
probing() { ctl h1 varp-get '{"net": "0005", "mac": "02:00:00:00:00:99"}' | jq -e --arg state "$1" 'select(.state == $state)'; }
on a1 ping -q -n -c 30 -i 0.2 -W 1 10.0.0.99 >/dev/null 2>&1 &
pinging=$!
wait_for 5 "it is being asked for" probing probing
held() { [ "$(ctl h1 net-get '{"id": "0005"}' | jq .held)" -ge 1 ]; }
holds "its frames are held" held
wait_for 10 "then it is taken to be nowhere" probing absent
[ "$(counter h1 0005 unresolved)" -ge 1 ] || fail "that is counted"
wait "$pinging" || true
# The last request was a second and a half before it was given up.
kill "$listening"
wait "$listening" || true
equal "asked for five times, while thirty packets went to it" "$(wc -l <"$WORK/asked")" 5
holds "which is counted" counts h1 0005 tx-request $((asked + 5))
ctl h1 net-set '{"id": "0005", "negative": 5000}'

# Lower limits hold for what is held already.
ctl h1 net-set '{"id": "0005", "probe-interval": 10000}'
on a1 ip neigh replace 10.0.0.97 lladdr 02:00:00:00:00:97 dev eth0 nud permanent
never "twenty packets to nobody" on a1 ping -q -n -c 20 -i 0.002 -W 1 10.0.0.97
is_held() { [ "$(ctl h1 net-get '{"id": "0005"}' | jq .held)" = "$1" ]; }
wait_for 5 "sixteen are held" is_held 16
dropped=$(counter h1 0005 hold-dropped)
ctl h1 net-set '{"id": "0005", "hold-mac": 4}'
wait_for 5 "with a lower limit, four" is_held 4
wait_for 5 "the others are dropped" counts h1 0005 hold-dropped $((dropped + 12))
equal "and no more" "$(counter h1 0005 hold-dropped)" $((dropped + 12))
ctl h1 net-set '{"id": "0005", "hold-mac": 16, "probe-interval": 100}'

# Probes.
ctl h1 probe "{\"net\": \"0005\", \"mac\": \"$MAC2\"}"
told() { grep '^{' "$WORK/events" | jq -ec "select(.event == \"$1\")"; }
wait_for 5 "the answer to a probe is told" told probe-ntf
equal "by whom, and where" "$(told probe-ntf | head -n 1 | jq -r '"\(.mac) \(.addr) \(."care-of")"')" "$MAC2 192.0.2.2 192.0.2.2"
ctl h1 probe '{"net": "0005", "addr": "192.0.2.2", "size": 1472}'
present() { told probe-ntf | jq -e 'select(.mac == "00:00:00:00:00:00")'; }
wait_for 5 "that the vnet is there, too" present
refused "a probe that would be fragmented" 'EMSGSIZE' h1 probe '{"net": "0005", "addr": "192.0.2.2", "size": 1473}'

# Only listed hosts.
ctl h1 net-set '{"id": "0005", "remotes": "listed"}'
isolated a1 10.0.0.2
isolated a2 10.0.0.1
[ "$(counter h1 0005 rx-not-listed)" -ge 1 ] || fail "counted"
ctl h1 remote-new '{"net": "0005", "addr": "192.0.2.2"}'
reaches a1 10.0.0.2
equal "the listing" "$(list h1 remote-get '{"net": "0005"}' | jq -c '[.addr, .listed, .macs]')" '["192.0.2.2",1,1]'
ctl h1 remote-del '{"net": "0005", "addr": "192.0.2.2"}'
equal "what was learned from it is forgotten" "$(behind h1 0005 $MAC2)" ""
ctl h1 net-set '{"id": "0005", "remotes": "any"}'
reaches a1 10.0.0.2
equal "it is learned again" "$(behind h1 0005 $MAC2)" 192.0.2.2
ctl h1 net-set '{"id": "0005", "remotes": "listed"}'
equal "who is not listed now is forgotten" "$(behind h1 0005 $MAC2)" ""
ctl h1 net-set '{"id": "0005", "remotes": "any"}'

# Limits on hosts.
reaches a1 10.0.0.2
ctl h1 net-set '{"id": "0005", "remote-macs": 5, "remote-floods": 10}'
on a2 "$FRAMES" sources eth0 60
wait_for 5 "floods beyond the limit are dropped" counts h1 0005 rx-flood-limit 20
wait_for 5 "and MACs beyond theirs are not learned" counts h1 0005 remote-full 1
[ "$(ctl h1 net-get '{"id": "0005"}' | jq .macs)" -le 5 ] || fail "no more than 5 MACs"
ctl h1 net-set '{"id": "0005", "remote-macs": 0, "remote-floods": 0}'

# One MAC in two places.
ctl h1 net-set '{"id": "0005", "damp": 60000}'
both() {
	on "$1" python3 -c '
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
s.send(b"\xff" * 6 + bytes.fromhex("0200000000aa88b5") + bytes(46))'
}
to_and_fro() {
	both a1
	both a2
	told varp-damped-ntf
}
wait_for 10 "a MAC in two places is damped, and that is told" to_and_fro
[ "$(counter h1 0005 damped)" -ge 1 ] || fail "counted"

# A frame for a MAC that is elsewhere is corrected.
ctl h2 varp-new '{"net": "0005", "mac": "02:00:00:00:00:bb", "addr": "192.0.2.77"}'
ctl h1 varp-new '{"net": "0005", "mac": "02:00:00:00:00:bb", "addr": "192.0.2.2"}'
on a1 ip neigh replace 10.0.0.98 lladdr 02:00:00:00:00:bb dev eth0 nud permanent
on a1 ping -q -n -c 2 -i 0.2 -W 1 10.0.0.98 >/dev/null || true
wait_for 5 "h2 sees frames that belong elsewhere" counts h2 0005 rx-elsewhere 1
wait_for 5 "and tells h1" counts h1 0005 rx-withdraw 1
equal "which believes its static entry more" "$(behind h1 0005 02:00:00:00:00:bb)" 192.0.2.2

# Ageing; source ports that follow the flow.
ctl h1 net-set '{"id": "0005", "ageing": 500}'
empty() { [ "$(ctl h1 net-get '{"id": "0005"}' | jq -c '[.macs, .vifs]')" = '[1,0]' ]; }
wait_for 10 "all but the static entry is forgotten" empty
equal "what was here is not withdrawn: it may be silent" "$(counter h1 0005 tx-withdraw)" 0
ctl h1 net-set '{"id": "0005", "ageing": 300000, "source-port": "flow"}'
on lan tcpdump -Z root -lnni h1 -c 1 'udp dst port 1798 and src host 192.0.2.1 and not src port 1798' >"$WORK/heard" 2>"$WORK/tcpdump" &
listening=$!
is_listening "tcpdump listens" "$WORK/tcpdump"
reaches a1 10.0.0.2
rc=0
wait "$listening" || rc=$?
equal "data has another source port" "$rc" 0
kill "$watch"
