#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Is the test bed itself sound? Three hosts as in lib.sh, with the kernel's own vxlan in place of vnet: what is expected
# of vnet elsewhere must hold here for a tunnel that is known to work.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

hosts 3
reaches h1 192.0.2.2
reaches h3 192.0.2.1

stand_in() {
	ip -n "$1" link add "vnif$2" mtu 1436 type vxlan id "$((16#$2))" group 239.1.1.1 dev eth0 dstport 1798
	ip -n "$1" link add "vnbr$2" type bridge stp_state 0 forward_delay 0
	ip -n "$1" link set "vnif$2" master "vnbr$2" up
	ip -n "$1" link set "vnbr$2" up
}
for h in h1 h2; do stand_in $h 0005; done
stand_in h3 0006
vm a1 h1 0005 10.0.0.1
vm a2 h2 0005 10.0.0.2
vm b3 h3 0006 10.0.0.3
reaches a1 10.0.0.2
isolated a1 10.0.0.3

on a2 iperf3 -s -1 -D -I /tmp/iperf.pid
wait_for 5 "iperf3 listens" test -s /tmp/iperf.pid
rate=$(on a1 iperf3 -c 10.0.0.2 -t "$SLOW" -J | jq '.end.sum_received.bits_per_second / 1e3 | floor')
holds "TCP across, $rate kbit/s" test "$rate" -ge $((1000 / SLOW / SLOW))

ip netns delete h2
isolated a1 10.0.0.2
