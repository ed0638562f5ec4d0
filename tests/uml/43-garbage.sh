#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Packets that nobody should send to port 1798: each is dropped and counted once, by its reason.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
id=00000000000000000000000000000005
head=0002000000
frame=ffffffffffff0600000000aa88b5$(printf '00%.0s' $(seq 46))
# dropped TEXT COUNTER PAYLOAD [SOURCE]
dropped() {
	local before
	before=$(host_counter h1 "$2")
	on lan ./frames.py udp h1 "${4:-192.0.2.2}" 192.0.2.1 "$3"
	wait_for 5 "$1: $2" host_counts h1 "$2" $((before + 1))
}
net_dropped() {
	local before
	before=$(counter h1 0005 "$2")
	on lan ./frames.py udp h1 "${4:-192.0.2.2}" 192.0.2.1 "$3"
	wait_for 5 "$1: $2" counts h1 0005 "$2" $((before + 1))
}
dropped "three bytes" rx-short 000200
dropped "no EtherIP header" rx-short 0002000000
dropped "half an id" rx-short "${head}4000000000000000"
dropped "unknown message" rx-bad-message "00090000""0040$id$frame"
dropped "version 3" rx-bad-version "${head}30$id$frame"
dropped "a vnet that is not here" rx-unknown-net "${head}4000000000000000000000000000000077$frame"
dropped "VARP" rx-varp "00010001$id""020000000077""02c0000202000000000000000000000000"

# Refused for two reasons, counted for one. What comes behind it shows that it was dealt with.
"$VN" -n h1 net set 0005 --remotes listed
before=$(counter h1 0005 rx-varp-refused)
on lan ./frames.py udp h1 192.0.2.2 192.0.2.1 "00010009$id""020000000077""02c0000202000000000000000000000000"
dropped "what comes behind it" rx-short 000200
equal "an unknown opcode of a host that is not listed" "$(counter h1 0005 rx-varp-refused)" $((before + 1))
"$VN" -n h1 net set 0005 --remotes any
reaches a1 10.0.0.2
for all in 192.0.2.255 255.255.255.255; do
	before=$(host_counter h1 rx-other-group)
	on lan ./frames.py udp h1 192.0.2.2 $all "${head}40$id$frame"
	wait_for 5 "to $all: rx-other-group" host_counts h1 rx-other-group $((before + 1))
done
net_dropped "no Ethernet header" rx-short "${head}40${id}ffffffffffff06"
net_dropped "a group as source" rx-bad-source "${head}40${id}ffffffffffff01005e00000188b5$(printf '00%.0s' $(seq 46))"
net_dropped "zero as source" rx-bad-source "${head}40${id}ffffffffffff00000000000088b5$(printf '00%.0s' $(seq 46))"
own=$(mac_of h1 vnif0005 | tr -d :)
net_dropped "our own device as source" rx-own-source "${head}40${id}ffffffffffff${own}88b5$(printf '00%.0s' $(seq 46))"
ip -n h1 link set vnif0005 down
net_dropped "the device is down" rx-down "${head}40$id$frame"
ip -n h1 link set vnif0005 up
equal "none of that was learned" "$(behind h1 0005 06:00:00:00:00:aa)" ""
before=$(counter h1 0005 rx-packets)
on lan ./frames.py udp h1 192.0.2.2 192.0.2.1 "00020000""0040$id$frame"
wait_for 5 "a good one is delivered" counts h1 0005 rx-packets $((before + 1))
equal "and learned" "$(behind h1 0005 06:00:00:00:00:aa)" 192.0.2.2
before=$(counter h1 0005 rx-packets)
on lan ./frames.py udp h1 192.0.2.2 192.0.2.1 "00020000""4000$id$frame"
wait_for 5 "the version in the other byte is as good" counts h1 0005 rx-packets $((before + 1))
before=$(counter h1 0005 rx-packets)
on lan ./frames.py udp h1 192.0.2.2 192.0.2.1 "00020007""ff4f$id$frame"
wait_for 5 "reserved bits and opcode are ignored" counts h1 0005 rx-packets $((before + 1))
reaches a1 10.0.0.2
