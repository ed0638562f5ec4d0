#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The device is moved to another namespace: it works there, its vnet stays at home, and it goes with either of both.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
# A device of its own, to be given to a customer directly.
"$VN" -n h1 net create 0007
"$VN" -n h2 net create 0007 --bridge vnbr0007
vm c2 h2 0007 10.7.0.2
ns c1
ip -n h1 link set vnif0007 netns c1
ip -n c1 addr add 10.7.0.1/24 dev vnif0007
ip -n c1 link set vnif0007 up
reaches c1 10.7.0.2
equal "still listed at home" "$("$VN" -n h1 -j net list | jq -r '[.[].id] | length')" 2
holds "with the namespace that it is in" test "$(net_field h1 0007 netnsid)" != null
never "not listed where the device is" "$VN" -n c1 net show 0007
"$VN" -n h1 net set 0007 --mtu 1300
equal "it can be changed from home" "$(ip -n c1 -j link show vnif0007 | jq '.[0].mtu')" 1300

"$VN" -n h1 net delete 0007
holds "deleted from home" absent c1 vnif0007

for where in c1 h1; do
	"$VN" -n h1 net create 0008
	ip -n h1 link set vnif0008 netns c1
	ip -n c1 link set vnif0008 up
	if [ $where = c1 ]; then
		ip netns delete c1
		wait_for 20 "the vnet goes with the namespace its device is in" sh -c "! $VN -n h1 net show 0008"
		ns c1
	else
		traffic
		ip netns delete h1
		wait_for 20 "the device goes with its home" absent c1 vnif0008
		traffic_ends
	fi
done
