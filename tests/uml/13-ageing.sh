#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What is not heard is forgotten: after the ageing time, not before; static entries never.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 2
net h1 0005 --ageing 2000
net h2 0005
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
"$VN" -n h1 varp add 0005 02:00:00:00:00:77 192.0.2.2
reaches a1 10.0.0.2
equal "learned" "$(behind h1 0005 02:00:00:00:00:02)" 192.0.2.2

# Heard again and again, it stays for longer than the ageing time.
holds "4 seconds of traffic" on a1 ping -q -c 20 -i 0.2 10.0.0.2
equal "still known" "$(behind h1 0005 02:00:00:00:00:02)" 192.0.2.2
# Only the machine falls silent: a port that goes is withdrawn at once.
on a2 sysctl -qw net.ipv4.icmp_echo_ignore_all=1
ip -n a2 addr flush dev eth0
start=${EPOCHREALTIME/./}
wait_for 15 "forgotten" unknown h1 0005 02:00:00:00:00:02
took=$(((${EPOCHREALTIME/./} - start) / 1000))
holds "after $took ms, not at once" test "$took" -ge 1000
equal "the static one stays" "$(behind h1 0005 02:00:00:00:00:77)" 192.0.2.2
ip -n a1 addr flush dev eth0
wait_for 15 "the local one is forgotten, too" sh -c "! $VN -n h1 -j vif list 0005 | grep -q 02:00:00:00:00:01"
equal "h2 keeps what it knows, its ageing is the default" "$(behind h2 0005 02:00:00:00:00:01)" 192.0.2.1

"$VN" -n h2 net set 0005 --ageing 500
equal "ageing can be changed" "$(net_field h2 0005 ageing)" 500
wait_for 10 "and takes effect" unknown h2 0005 02:00:00:00:00:01
