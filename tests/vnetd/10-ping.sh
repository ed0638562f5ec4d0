#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Two hosts with vnetd carry a vnet: small and full packets, in both directions, over the group and then by unicast.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers
equal "a2 is known to be behind h2" "$(behind h1 0005 $MAC2)" "$(host_address 2)"
holds "a1 is here on h1" is_here h1 0005 $MAC1
mtu=$(on h1 cat /sys/class/net/vnif0005/mtu 2>/dev/null || on h1 ip -j link show vnif0005 | jq '.[0].mtu')
equal "the MTU is what the underlay carries" "$mtu" "$([ "$UNDERLAY" = 6 ] && echo 1416 || echo 1436)"
holds "full packets pass" on a1 ping -q -n -M 'do' -c 3 -i 0.1 -W 2 -s $((mtu - 28)) 10.0.0.2
flooded=$(counter h1 0005 flooded)
holds "many" on a1 ping -q -n -c 50 -i 0.01 -W 2 10.0.0.2
equal "and none of them is flooded" "$(counter h1 0005 flooded)" "$flooded"
net h1 0006
net h2 0006
vm b1 h1 0006 10.0.0.1 $MAC1
vm b2 h2 0006 10.0.0.3 $MAC3
reaches b1 10.0.0.3
isolated a1 10.0.0.3
isolated b1 10.0.0.2
