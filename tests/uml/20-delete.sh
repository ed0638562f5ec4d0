#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Under traffic: the vnet, its device, its host are deleted, each in every way there is, again and again.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
traffic
for i in $(seq "$(less 10 2)"); do
	"$VN" -n h2 net delete 0005
	absent h2 vnif0005 || fail "vnif0005 is still there"
	"$VN" -n h2 net create 0005 --bridge vnbr0005
	ip -n h1 link delete vnif0005
	equal "round $i: the device is deleted, so is the vnet" "$("$VN" -n h1 -j net list | jq length)" 0
	"$VN" -n h1 net create 0005 --bridge vnbr0005
	"$VN" -n h1 varp flush 0005
	ip -n h2 link set vnif0005 down
	ip -n h2 link set vnif0005 up
done
reaches a1 10.0.0.2
for i in $(seq "$(less 5 2)"); do
	# h3: a whole host that comes and goes.
	ns h3
	# Its address stays the same, or its neighbours would look for the old one for a while.
	ip -n lan link add h3 type veth peer name eth0 address 02:fe:00:00:00:03 netns h3
	ip -n lan link set h3 master lan up
	ip -n h3 link set eth0 up
	ip -n h3 addr add 192.0.2.3/24 dev eth0
	ip -n h3 route add 224.0.0.0/4 dev eth0
	net h3 0005
	vm a3 h3 0005 10.0.0.3 02:00:00:00:00:03
	reaches a3 10.0.0.1
	ip netns delete h3
	ip netns delete a3
	wait_for 20 "round $i: the host is gone with its namespace" sh -c '! ip -n lan link show h3'
done
reaches a1 10.0.0.2
ip netns delete h1
wait_for 20 "h1 is gone" sh -c '! ip -n lan link show h1'
traffic_ends
