#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The settings of a host, changed while vnets are up: group, peers, port, TTL, underlay device.
#
# h1, h2 and h3; a1 on h1, a2 on h2, a3 on h3
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do
	net "h$i" 0005
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
reaches a1 10.0.0.2
reaches a1 10.0.0.3
forget() {
	local h
	for h in h1 h2 h3; do "$VN" -n $h varp flush 0005 >/dev/null; done
	on "$1" ip neigh flush all
}

# Peers in place of the group: h1 floods to h2 alone.
for h in h1 h2 h3; do "$VN" -n $h host set --group none; done
never "no group joined" on h1 sh -c "ip maddr show dev eth0 | grep -q $GROUP"
forget a1
before=$(counter h1 0005 tx-no-destination)
isolated a1 10.0.0.2
holds "what has nowhere to go is counted" test "$(counter h1 0005 tx-no-destination)" -gt "$before"
"$VN" -n h1 peer add 192.0.2.2
"$VN" -n h2 peer add 192.0.2.1
reaches a1 10.0.0.2
isolated a1 10.0.0.3
equal "the peers of h1" "$("$VN" -n h1 -j peer list | jq -r '.[].addr')" 192.0.2.2
refused "a peer twice" . -n h1 peer add 192.0.2.2
"$VN" -n h1 peer del 192.0.2.2
refused "a peer that is not there" . -n h1 peer del 192.0.2.2
"$VN" -n h2 peer del 192.0.2.1
forget a1

# Another group: hosts of one group do not hear the other.
for h in h1 h2; do "$VN" -n $h host set --group 224.10.0.2; done
"$VN" -n h3 host set --group $GROUP
reaches a1 10.0.0.2
isolated a1 10.0.0.3
holds "the group is joined" on h1 sh -c "ip maddr show dev eth0 | grep -q 224.10.0.2"
for h in h1 h2; do "$VN" -n $h host set --group $GROUP; done
reaches a1 10.0.0.3

# Another port, on all of them; and one that is taken.
for h in h1 h2 h3; do "$VN" -n $h host set --port 11798; done
forget a1
reaches a1 10.0.0.3
on h1 socat -u UDP4-RECV:22222 /dev/null &
taken() { [ "$(on h1 ss -Huln 'sport = 22222' | wc -l)" = 1 ]; }
wait_for 5 "a program has port 22222" taken
refused "a port that is taken" "port.*22222" -n h1 host set --port 22222
equal "the old one stays" "$("$VN" -n h1 -j host status | jq .port)" 11798
reaches a1 10.0.0.2

# TTL and underlay device.
"$VN" -n h1 host set --ttl 7 --device eth0
timeout 20 nsenter --net=/run/netns/h2 tcpdump -Z root -lnvi eth0 -c 1 'udp port 11798 and src 192.0.2.1' >/tmp/ttl 2>/tmp/tcpdump &
is_listening "tcpdump listens" /tmp/tcpdump
reaches a1 10.0.0.2
wait_for 5 "sent with TTL 7" grep -q 'ttl 7,' /tmp/ttl
refused "a device that is not there" nosuch -n h1 host set --device nosuch
# It goes, and comes back as another one.
rejoined() { [ "$("$VN" -n h1 -j host status | jq -r .joined)" = "$("$VN" -n h1 -j host status | jq -r .device)" ]; }
ip -n h1 link delete eth0
ip -n lan link add h1 type veth peer name eth0 netns h1
ip -n lan link set h1 master lan up
ip -n h1 addr add 192.0.2.1/24 dev eth0
ip -n h1 link set eth0 up
ip -n h1 route add 224.0.0.0/4 dev eth0
wait_for 10 "the underlay device is found by its name, and the group joined" rejoined
equal "it is the new one" "$("$VN" -n h1 -j host status | jq -r .device)" "$(ip -n h1 -j link show eth0 | jq '.[0].ifindex')"
reaches a1 10.0.0.2
"$VN" -n h1 host set --device none

# The underlay goes away and comes back.
ip -n h1 link set eth0 down
before=$(counter h1 0005 tx-no-route)
on a1 ping -q -c 2 -i 0.2 -W 1 10.0.0.2 >/dev/null || true
holds "without a route what is sent is counted" test "$(counter h1 0005 tx-no-route)" -gt "$before"
ip -n h1 link set eth0 up
ip -n h1 route replace 224.0.0.0/4 dev eth0
reaches a1 10.0.0.2
ip -n h1 link delete eth0
wait_for 10 "not joined any more" sh -c "[ \"\$($VN -n h1 -j host status | jq -r .joined)\" = null ]"
ip -n lan link add h1 type veth peer name eth0 netns h1
ip -n lan link set h1 master lan up
ip -n h1 addr add 192.0.2.1/24 dev eth0
ip -n h1 link set eth0 up
ip -n h1 route add 224.0.0.0/4 dev eth0
reaches a1 10.0.0.2
# When eth0 came up, there was no route to the group yet.
wait_for 10 "joined on the new device" sh -c "[ \"\$($VN -n h1 -j host status | jq -r .joined)\" != null ]"
reaches a3 10.0.0.1
