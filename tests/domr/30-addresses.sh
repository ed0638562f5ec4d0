#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Public addresses come and go; the last one is where guests' connections seem to come from.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

world
# Another host has the second address, and the outside remembers it.
ip netns add "${NS}other"
ip -n "${NS}outside" neigh add $SECOND lladdr 02:00:00:00:00:99 dev eth0 nud stale
domr
with_guest g1 11
serve outside tcp 80
serve g1 tcp 22
from() { asks g1 $FAR 80; }
equal "at first it is eth2's own" "$(from)" "outside $PUBLIC 80"
changes "eth2's own again" false ip add $PUBLIC
changes "a second one" true ip add $SECOND
equal "is where guests come from" "$(from)" "outside $SECOND 80"
neighbour() { ip -n "${NS}outside" -j neigh show $SECOND | jq -r '.[0].lladdr'; }
is_told() { [ "$(neighbour)" = "$(on domr ip -j link show eth2 | jq -r '.[0].address')" ]; }
wait_for 20 "who knew another host by it is told" is_told
changes "again" false ip add $SECOND
changes "a third one, with a length" true ip add 203.0.113.41/24
equal "takes its place" "$(from)" "outside 203.0.113.41 80"
changes "what is there still" false ip add $SECOND
equal "changes nothing" "$(from)" "outside 203.0.113.41 80"
refuses "the same with another length" 'is there as 203.0.113.41/24' ip add 203.0.113.41
changes "the third one goes" true ip del 203.0.113.41
changes "again" false ip del 203.0.113.41
never "from the device as well" grep -q 203.0.113.41 <(on domr ip addr show dev eth2)
equal "the second one takes its place" "$(from)" "outside $SECOND 80"

changes "a port of the second one" true firewall add proto=tcp public=$SECOND ports=2222 guest=10.1.1.11 to=22
equal "is reached" "$(asks outside $SECOND 2222)" "g1 203.0.113.1 22"
never "but not by the first one" asks outside $PUBLIC 2222 1
refuses "what is in use stays" 'is in use: tcp 203.0.113.40 port 2222' ip del $SECOND
refuses "the first one stays" 'started with' ip del $PUBLIC
refuses "a port of an address that is not here" 'ip add 203.0.113.50' firewall add proto=tcp public=203.0.113.50 ports=22 guest=10.1.1.11
refuses "a guest's address" "eth0's network" ip add 10.1.1.77
refuses "a private address" "eth1's network" ip add 192.168.1.77
refuses "the gateway's address" "gateway's address" ip add 203.0.113.1
refuses "no address" 'not an IPv4 address' ip add 203.0.113.300
equal "the list" "$(ctl ip list | jq -cS .)" '{"addresses":["203.0.113.40/32"],"changed":false,"public":"203.0.113.33/24","source":"203.0.113.40"}'
