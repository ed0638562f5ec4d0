#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Two customers on the same hosts, with the same addresses, IP and MAC: neither reaches or hears the other.
#
#   h1: a1 (0005)  b1 (0006)     h2: a2 (0005)  b2 (0006)     h3: c3 (a long id that ends in 0005)
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for h in h1 h2; do
	net $h 0005
	net $h 0006
done
long=0001:0000:0000:0000:0000:0000:0000:0005
"$VN" -n h3 net create $long --name vnif0005 --bridge vnbr0005
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
vm b1 h1 0006 10.0.0.1 02:00:00:00:00:01
vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
vm b2 h2 0006 10.0.0.3 02:00:00:00:00:02
vm c3 h3 0005 10.0.0.4

reaches a1 10.0.0.2
reaches b1 10.0.0.3
isolated a1 10.0.0.3
isolated b1 10.0.0.2
isolated a1 10.0.0.4
isolated c3 10.0.0.1
holds "h3 counted what is for vnets that it does not have" host_counts h3 rx-unknown-net 1
equal "h3 delivered nothing" "$(counter h3 $long rx-packets)" 0
equal "one address behind h2 in 0005" "$(behind h1 0005 02:00:00:00:00:02)" 192.0.2.2

refused "a bridge that is in use" v-b2 -n h2 net delete 0006 --bridge
ip netns delete b2
wait_for 10 "the port is gone" absent h2 v-b2
"$VN" -n h2 net delete 0006 --bridge
for d in vnif0006 vnbr0006; do holds "no $d any more" absent h2 $d; done
reaches a1 10.0.0.2
