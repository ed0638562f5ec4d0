#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Unicast to an unknown address: held while hosts are asked, flooded or dropped if nobody has it.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
M=02:00:00:00:00:02
NOBODY=02:00:00:00:00:ee
ip -n a1 neigh replace 10.0.0.2 lladdr $M dev eth0 nud permanent
ip -n a2 neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
ip -n a1 neigh replace 10.0.0.99 lladdr $NOBODY dev eth0 nud permanent

# Nothing is lost, nothing is flooded. Announcements would teach h1 what it is to ask for.
wait_for 10 "all announcements are out" counts h2 0005 tx-announce 3
"$VN" -n h1 varp flush 0005
unknown h1 0005 $M
flooded=$(counter h1 0005 flooded) requests=$(counter h1 0005 tx-request) addressed=$(counter h1 0005 unknown)
holds "the first packet to an unknown address is answered" pings a1 10.0.0.2 5
equal "it was held" "$(counter h1 0005 held)" 1
equal "and its address was unknown" "$(counter h1 0005 unknown)" $((addressed + 1))
equal "asked for once" "$(counter h1 0005 tx-request)" $((requests + 1))
equal "and found" "$(counter h1 0005 resolved)" 1
equal "without a flood" "$(counter h1 0005 flooded)" "$flooded"
equal "by the announcement of h2" "$(behind h1 0005 $M)" 192.0.2.2

# An address that nobody has.
"$VN" -n h1 net set 0005 --probe-interval 20 --negative 60000
state() { "$VN" -n h1 -j varp list 0005 | jq -r --arg mac "$1" '.[] | select(.mac == $mac) | .state'; }
is_state() { [ "$(state $NOBODY)" = "$1" ]; }
requests=$(counter h1 0005 tx-request)
never "nobody answers" pings a1 10.0.0.99 1
wait_for 10 "it is remembered that nobody has it" is_state absent
equal "after five requests" "$(counter h1 0005 tx-request)" $((requests + 5))
equal "counted" "$(counter h1 0005 unresolved)" 1
holds "what was held is flooded" counts h1 0005 flooded $((flooded + 1))
requests=$(counter h1 0005 tx-request)
never "what follows is not held" pings a1 10.0.0.99 1
equal "nor asked for" "$(counter h1 0005 tx-request)" "$requests"
"$VN" -n h1 net set 0005 --negative 0 --probe-interval 100
vm a9 h2 0005 10.0.0.99 $NOBODY
ip -n a9 neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
reaches a1 10.0.0.99

# A first request that is held back is counted.
"$VN" -n h1 net set 0005 --probe-interval 10000 --varp-rate 1
for n in 81 82 83; do ip -n a1 neigh replace 10.0.0.$n lladdr 02:00:00:00:01:$n dev eth0 nud permanent; done
limited=$(counter h1 0005 varp-limited)
never "three addresses that nobody has, within a second" on a1 sh -c "for n in 81 82 83; do ping -q -n -c 1 -W 0.1 10.0.0.\$n; done"
holds "requests beyond varp-rate are counted" counts h1 0005 varp-limited $((limited + 1))
"$VN" -n h1 net set 0005 --varp-rate 200 --hold-net 255
"$VN" -n h1 net set 0005 --hold-net 256

# Limits: what is held for one address, and in all.
ip -n a1 neigh replace 10.0.0.98 lladdr 02:00:00:00:00:ef dev eth0 nud permanent
"$VN" -n h1 net set 0005 --probe-interval 10000
dropped=$(counter h1 0005 hold-dropped)
never "twenty packets" on a1 ping -q -n -c 20 -i 0.002 -W 1 10.0.0.98
equal "sixteen are held" "$(net_field h1 0005 held)" 16
equal "the oldest are dropped" "$(counter h1 0005 hold-dropped)" $((dropped + 4))
equal "one address is unknown" "$(net_field h1 0005 unresolved)" 1
dropped=$(counter h1 0005 hold-dropped) flooded=$(counter h1 0005 flooded)
"$VN" -n h1 net set 0005 --hold-mac 10
equal "with a lower limit of one address, ten are" "$(net_field h1 0005 held)" 10
equal "the others are dropped" "$(counter h1 0005 hold-dropped)" $((dropped + 6))
never "one more" on a1 ping -q -n -c 1 -W 0.1 10.0.0.98
equal "is held" "$(net_field h1 0005 held)" 10
equal "nothing is flooded" "$(counter h1 0005 flooded)" "$flooded"
"$VN" -n h1 net set 0005 --hold-mac 16
"$VN" -n h1 net set 0005 --hold-net 4
equal "a smaller limit drops what is held" "$(net_field h1 0005 held)" 0
never "again" on a1 ping -q -n -c 20 -i 0.002 -W 1 10.0.0.98
equal "four are held" "$(net_field h1 0005 held)" 4

# Not held at all.
"$VN" -n h1 net set 0005 --unknown flood --hold-net 256
flooded=$(counter h1 0005 flooded)
never "unknown flood" on a1 ping -q -n -c 3 -i 0.01 -W 1 10.0.0.98
equal "floods at once" "$(counter h1 0005 flooded)" $((flooded + 3))
"$VN" -n h1 net set 0005 --unknown-rate 2
never "many" on a1 ping -q -n -c 50 -i 0.002 -W 1 10.0.0.98
holds "at a limited rate" counts h1 0005 unknown-dropped 40
"$VN" -n h1 net set 0005 --unknown drop --probe-interval 10 --negative 60000
flooded=$(counter h1 0005 flooded) dropped=$(counter h1 0005 unknown-dropped)
ip -n a1 neigh replace 10.0.0.97 lladdr 02:00:00:00:00:f0 dev eth0 nud permanent
never "unknown drop" on a1 ping -q -n -c 1 -W 1 10.0.0.97
wait_for 10 "drops what nobody has" counts h1 0005 unknown-dropped $((dropped + 1))
equal "and floods nothing" "$(counter h1 0005 flooded)" "$flooded"

# Found, but there is no room for it: as if nobody had it.
"$VN" -n h1 net set 0005 --remote-macs 1
vm b2 h2 0005 10.0.0.3 02:00:00:00:00:03
ip -n a1 neigh replace 10.0.0.3 lladdr 02:00:00:00:00:03 dev eth0 nud permanent
reaches a1 10.0.0.2
flooded=$(counter h1 0005 flooded) dropped=$(counter h1 0005 unknown-dropped)
never "what cannot be learned is not reached" on a1 ping -q -n -c 1 -W 1 10.0.0.3
wait_for 10 "its frame is dropped" counts h1 0005 unknown-dropped $((dropped + 1))
equal "and not flooded" "$(counter h1 0005 flooded)" "$flooded"
equal "the address counts as one that nobody has" "$("$VN" -n h1 -j varp get 0005 02:00:00:00:00:03 | jq -r .state)" absent
"$VN" -n h1 net set 0005 --remote-macs 0

# The vnet goes with frames waiting.
"$VN" -n h1 net set 0005 --unknown hold --probe-interval 10000
ip -n a1 neigh replace 10.0.0.96 lladdr 02:00:00:00:00:f1 dev eth0 nud permanent
never "held" on a1 ping -q -n -c 3 -i 0.01 -W 1 10.0.0.96
holds "something is held" test "$(net_field h1 0005 held)" -gt 0
"$VN" -n h1 net delete 0005
holds "the module goes" rmmod vnet
