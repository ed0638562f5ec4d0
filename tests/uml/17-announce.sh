#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What appears here is announced, what goes is withdrawn, and a machine that moves is not missed for long.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do net "h$i" 0005; done
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
M=02:00:00:00:00:99

# A machine that speaks to one of its own bridge only is known everywhere.
vm b2 h2 0005 10.0.0.8 02:00:00:00:00:98
vm m h2 0005 10.0.0.9 $M
ip -n m neigh replace 10.0.0.8 lladdr 02:00:00:00:00:98 dev eth0 nud permanent
ip -n b2 neigh replace 10.0.0.9 lladdr $M dev eth0 nud permanent
reaches m 10.0.0.8
wait_for 10 "h1 knows it by announcement" is_behind h1 0005 $M 192.0.2.2
wait_for 10 "h3 too" is_behind h3 0005 $M 192.0.2.2
wait_for 10 "three times" counts h2 0005 tx-announce 3
holds "they are counted on the other side" counts h1 0005 rx-announce 1

# Its port goes: nobody keeps it.
ip netns delete m
wait_for 10 "withdrawn at h1" unknown h1 0005 $M
wait_for 10 "and at h3" unknown h3 0005 $M
holds "counted" counts h2 0005 tx-withdraw 1
never "not local any more" grep -qx $M <<<"$(local_macs h2 0005)"

# A machine moves while it is being pinged ten times a second: with its port down on one side it speaks up on the other.
move() {
	local from=$1 to=$2
	ip -n "$from" link set v-m nomaster
	ip -n "$from" link set v-m netns "$to"
	ip -n "$to" link set v-m master vnbr0005 up
	on m ping -q -n -c 1 -W 1 10.0.0.8 || true
}
vm m h2 0005 10.0.0.9 $M
ip -n m neigh replace 10.0.0.8 lladdr 02:00:00:00:00:98 dev eth0 nud permanent
reaches a1 10.0.0.9
on a1 ping -n -i 0.1 -c 100 -W 1 10.0.0.9 >/tmp/ping &
pinging=$!
wait_for 10 "the ping runs" grep -q 'icmp_seq=10 ' /tmp/ping
for to in h3 h2 h3; do
	[ $to = h2 ] && from=h3 || from=h2
	move "$from" "$to" >/dev/null 2>&1
	wait_for 10 "h1 follows to $to" is_behind h1 0005 $M "192.0.2.${to#h}"
	last=$(grep -c 'bytes from' /tmp/ping)
	more() { [ "$(grep -c 'bytes from' /tmp/ping)" -gt $((last + 5)) ]; }
	wait_for 10 "the ping goes on" more
done
wait $pinging || true
lost=$(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 - \2/p' /tmp/ping)
say "$(tail -n 3 /tmp/ping)"
holds "at most one packet is lost for each of three moves: $lost" test $((lost)) -le 3

# A host that does not hear the announcements is told when it sends to the wrong one.
announced=$(counter h2 0005 tx-announce)
ip -n lan link set h1 down
move h3 h2 >/dev/null 2>&1
wait_for 10 "h3 knows where it is" is_behind h3 0005 $M 192.0.2.2
wait_for 10 "all announcements are out" counts h2 0005 tx-announce $((announced + 3))
ip -n lan link set h1 up
equal "h1 does not know" "$(behind h1 0005 $M)" 192.0.2.3
reaches a1 10.0.0.9
holds "h3 has told h1" counts h3 0005 rx-elsewhere 1
equal "h1 knows" "$(behind h1 0005 $M)" 192.0.2.2
