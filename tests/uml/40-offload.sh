#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Large segments: TCP and UDP go across at a rate that only whole segments allow, with checksums off and on.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
tcp() { # FROM SERVER ADDRESS
	rm -f /tmp/iperf.pid
	on "$2" iperf3 -s -1 -D -I /tmp/iperf.pid
	wait_for 5 "iperf3 listens" test -s /tmp/iperf.pid
	on "$1" iperf3 -c "$3" -t 2 -J >/tmp/iperf.json
	jq '.end.sum_received.bits_per_second / 1e6 | floor' /tmp/iperf.json
}
rate() { tcp "$@" | tail -n 1; }
# average HOST DIRECTION: bytes of a packet that the vnet has sent or received since the last call, on average.
declare -A packets bytes
average() {
	local p b
	average=0
	p=$(counter "$1" 0005 "$2-packets") b=$(counter "$1" 0005 "$2-bytes")
	[ "$p" = "${packets[$1$2]:-0}" ] || average=$(((b - ${bytes[$1$2]:-0}) / (p - ${packets[$1$2]:-0})))
	packets[$1$2]=$p bytes[$1$2]=$b
}
average h1 tx
average h2 rx
r=$(rate a1 a2 10.0.0.2)
holds "TCP across: $r Mbit/s" test "$r" -ge 1
average h1 tx
holds "segments stay whole on the way out: $average bytes" test "$average" -gt 5000
average h2 rx
holds "and on the way in: $average bytes" test "$average" -gt 5000

for off in "tso off gso off" "gro off" "tx off rx off"; do
	# shellcheck disable=SC2086 # words
	on a1 ethtool -K eth0 $off >/dev/null 2>&1 || true
	# shellcheck disable=SC2086
	on h2 ethtool -K vnif0005 $off >/dev/null 2>&1 || true
	r=$(rate a1 a2 10.0.0.2)
	holds "with $off: $r Mbit/s" test "$r" -ge 1
done
on h1 ethtool -K eth0 tso off gso off gro off >/dev/null 2>&1 || true
r=$(rate a2 a1 10.0.0.1)
holds "with nothing offloaded below: $r Mbit/s" test "$r" -ge 1

rm -f /tmp/iperf.pid
on a2 iperf3 -s -1 -D -I /tmp/iperf.pid
wait_for 5 "iperf3 listens" test -s /tmp/iperf.pid
on a1 iperf3 -u -b 50M -l 1400 -c 10.0.0.2 -t 2 -J >/tmp/iperf.json
lost=$(jq '.end.sum.lost_percent | floor' /tmp/iperf.json)
holds "UDP across, $lost % lost" test "$lost" -lt 20
for h in h1 h2; do
	for c in rx-short rx-bad-source rx-no-memory tx-no-memory tx-too-big; do equal "$h: $c" "$(counter $h 0005 $c)" 0; done
done
