#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Two networks without multicast between them. h1 and h2 are on one, h3 and h4 on the other; a router between. With one
# pair of peers, and with two: every frame arrives once.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 4
# The second network: the ports of h3 and h4 move to a bridge of their own, and a router gets between.
ns lan2 router
on lan2 ip link add lan mtu 1500 type bridge stp_state 0 mcast_snooping 0
on lan2 ip link set lan up
for i in 3 4; do
	ip -n lan link set "h$i" netns lan2
	ip -n lan2 link set "h$i" master lan up
	ip -n "h$i" addr flush dev eth0
	ip -n "h$i" addr add "198.51.100.$i/24" dev eth0
	ip -n "h$i" route replace default via 198.51.100.254
	ip -n "h$i" route replace 224.0.0.0/4 dev eth0
done
for l in lan lan2; do
	ip -n $l link add r type veth peer name $l netns router
	ip -n $l link set r master lan up
	ip -n router link set $l up
done
ip -n router addr add 192.0.2.254/24 dev lan
ip -n router addr add 198.51.100.254/24 dev lan2
on router sysctl -qw net.ipv4.ip_forward=1
for i in 1 2; do ip -n "h$i" route replace default via 192.0.2.254; done
reaches h1 198.51.100.3

for i in 1 2 3 4; do
	net "h$i" 0005
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
reaches a1 10.0.0.2
isolated a1 10.0.0.3

# every_pair: nothing lost, nothing twice. Addresses are asked for anew, so that there are floods.
every_pair() {
	local i j
	for i in 1 2 3 4; do
		"$VN" -n "h$i" varp flush 0005
		ip -n "a$i" neigh flush all
	done
	for i in 1 2 3 4; do
		for j in 1 2 3 4; do
			[ $i = $j ] || reaches "a$i" "10.0.0.$j"
		done
	done
}
# once TEXT: a broadcast of a1 is heard exactly once by everyone.
once() {
	local i
	for i in 2 3 4; do
		timeout 30 nsenter --net="/run/netns/a$i" tcpdump -Z root -lni eth0 'udp port 4242 or udp port 4243' >"/tmp/heard$i" 2>"/tmp/dump$i" &
		is_listening "a$i listens" "/tmp/dump$i"
	done
	for i in 1 2 3 4 5; do
		on a1 socat -u - UDP4-DATAGRAM:10.0.0.255:4242,broadcast <<<"$1 $i"
	done
	for i in 2 3 4; do
		heard() { [ "$(grep -c '10.0.0.255.4242' "/tmp/heard$1")" -ge 5 ]; }
		wait_for 10 "a$i hears all five" heard $i
	done
	# What came after them has come after any copy of them.
	on a1 socat -u - UDP4-DATAGRAM:10.0.0.255:4243,broadcast <<<end
	for i in 2 3 4; do
		wait_for 10 "a$i hears the end" grep -q '10.0.0.255.4243' "/tmp/heard$i"
		equal "$1: a$i hears each once" "$(grep -c '10.0.0.255.4242' "/tmp/heard$i")" 5
	done
	# shellcheck disable=SC2046 # words
	kill $(jobs -p)
	wait || true
}

"$VN" -n h1 peer add 198.51.100.3
"$VN" -n h3 peer add 192.0.2.1
every_pair
once "one pair of peers"
holds "h1 forwards" test "$(host_counter h1 tx-forward)" -gt 0
holds "h3 takes it" test "$(host_counter h3 rx-forward)" -gt 0
holds "and sends it to its network" test "$(host_counter h3 relayed)" -gt 0
equal "with the address of who sent it first" "$(behind h4 0005 02:00:00:00:00:02)" 192.0.2.2

"$VN" -n h2 peer add 198.51.100.4
"$VN" -n h4 peer add 192.0.2.2
every_pair
once "two pairs of peers"
"$VN" -n h1 peer add 198.51.100.4
"$VN" -n h4 peer add 192.0.2.1
"$VN" -n h2 peer add 198.51.100.3
"$VN" -n h3 peer add 192.0.2.2
every_pair
once "everyone a peer of everyone beyond"
holds "duplicates were seen, and dropped" test "$(host_counter h4 rx-duplicate)" -gt 0

# The same, sealed while it is up: what is wrapped is the sealed message.
"$VN" key generate --file /tmp/key
for i in 1 2 3 4; do
	"$VN" -n "h$i" key set 0005 --file /tmp/key
	"$VN" -n "h$i" net set 0005 --seal conf
	unsealed=$(counter "h$i" 0005 rx-not-sealed)
	equal "what was learned before is forgotten" "$("$VN" -n "h$i" -j varp list 0005 | jq 'map(select(.state == "learned")) | length')" 0
done
every_pair
once "sealed"
equal "with the address of who sealed it" "$(behind h4 0005 02:00:00:00:00:02)" 192.0.2.2
equal "nothing is unsealed any more" "$(counter h4 0005 rx-not-sealed)" "$unsealed"
for i in 1 2 3 4; do "$VN" -n "h$i" net set 0005 --seal none; done
every_pair

# From who is no peer nothing is taken.
refused=$(host_counter h3 rx-forward-refused)
"$VN" -n h3 peer del 192.0.2.1
on a1 socat -u - UDP4-DATAGRAM:10.0.0.255:4242,broadcast <<<refused
wait_for 5 "refused and counted" host_counts h3 rx-forward-refused $((refused + 1))
