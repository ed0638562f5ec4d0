#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# An address in two places at once is damped: it stays where it is for a while, and who listens is told.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do net "h$i" 0005; done
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
M=02:00:00:00:00:99
vm m2 h2 0005 10.0.0.9 $M
vm m3 h3 0005 10.0.0.9 $M
"$VN" -n h1 -j monitor >/tmp/monitor &
monitor=$!
damped() { grep -q '"varp-damped"' /tmp/monitor; }
flap() {
	on m2 ping -q -n -c 1 -W 0.05 10.0.0.1 || true
	on m3 ping -q -n -c 1 -W 0.05 10.0.0.1 || true
	damped
}
wait_for 30 "somebody is told" flap
moves=$(counter h1 0005 moves)
for _ in 1 2 3 4 5; do flap >/dev/null 2>&1 || true; done
equal "it moves no more" "$(counter h1 0005 moves)" "$moves"
holds "five moves and no more" test "$moves" -le 5
holds "counted" counts h1 0005 damped 1
left=$("$VN" -n h1 -j varp list 0005 | jq -r --arg mac $M '.[] | select(.mac == $mac) | .damped')
holds "it is listed as damped for $left ms more" test "$left" -gt 0

# The limits are live: with damping off it follows each of them again, at once.
"$VN" -n h1 net set 0005 --damp 3600000
"$VN" -n h1 net set 0005 --move-limit 0
follows() {
	on m2 ping -q -n -c 1 -W 0.05 10.0.0.1 || true
	on m3 ping -q -n -c 1 -W 0.05 10.0.0.1 || true
	[ "$(counter h1 0005 moves)" -gt $((moves + 10)) ]
}
wait_for 30 "with --move-limit 0 it follows" follows
kill $monitor
