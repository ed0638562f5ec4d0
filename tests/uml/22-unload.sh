#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The module is unloaded under traffic, and loaded and unloaded a hundred times, without a trace.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
for i in $(seq "$(less 3 1)"); do
	traffic
	sleep 0.3 # of traffic
	rmmod vnet
	holds "round $i: its devices are gone" absent h1 vnif0005
	traffic_ends
	load
	for h in h1 h2; do "$VN" -n $h net create 0005 --bridge vnbr0005; done
	reaches a1 10.0.0.2
done
rmmod vnet

free() { awk '/^(MemFree|Cached|Buffers):/ {s += $2} END {print s}' /proc/meminfo; }
cycle() {
	load
	"$VN" -n h1 net create 0005 --bridge vnbr0005
	"$VN" -n h1 varp add 0005 02:00:00:00:00:02 192.0.2.2
	rmmod vnet
}
for i in 1 2 3 4 5; do cycle; done
sync
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
before=$(free)
n=$(less 100 10)
for i in $(seq "$n"); do cycle; done
sync
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
after=$(free)
ok "$n cycles of load, create, unload"
holds "memory is back: $before kB before, $after kB after" test $((before - after)) -lt 8192
holds "no family left" sh -c '! genl ctrl get name vnet 2>/dev/null | grep -q vnet'
never "no device left" ip -n h1 link show vnif0005
