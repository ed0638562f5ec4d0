#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Broadcast reaches every host of the vnet; what is learned from it makes the answers go to one host only.
#
#   a1 on h1, a2 on h2, a3 on h3, a4 on h4: all vnet 0005
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 4
for i in 1 2 3 4; do
	net "h$i" 0005
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
equal "the MTU is what the LAN carries less 64" "$(net_field h1 0005 mtu)" 1436
equal "nothing is known at first" "$("$VN" -n h1 -j varp list 0005 | jq '[.[] | select(.mac | startswith("02:00:00:00:00"))] | length')" 0

for i in 2 3 4; do
	timeout 20 nsenter --net="/run/netns/a$i" tcpdump -Z root -lni eth0 -c 1 'arp and arp[6:2] == 1 and ether dst ff:ff:ff:ff:ff:ff and src 10.0.0.1' >"/tmp/arp$i" 2>"/tmp/tcpdump$i" &
	is_listening "tcpdump listens in a$i" "/tmp/tcpdump$i"
done
reaches a1 10.0.0.2
for i in 2 3 4; do wait_for 5 "ARP question of a1 heard by a$i" grep -q 'who-has 10.0.0.2' "/tmp/arp$i"; done

equal "h1 knows that a2 is behind h2" "$(behind h1 0005 02:00:00:00:00:02)" 192.0.2.2
for h in h2 h3 h4; do equal "$h knows that a1 is behind h1" "$(behind $h 0005 02:00:00:00:00:01)" 192.0.2.1; done
holds "a1 is local in h1" grep -qx 02:00:00:00:00:01 <<<"$(local_macs h1 0005)"
holds "h1 counts floods" counts h1 0005 flooded 1

before=$(counter h3 0005 rx-packets)
holds "200 packets from a1 to a2" on a1 ping -q -i 0.005 -c 200 10.0.0.2
after=$(counter h3 0005 rx-packets)
holds "h3 saw none of them ($before, $after)" test $((after - before)) -lt 20
for h in h1 h2; do
	for c in rx-short rx-bad-source rx-no-memory rx-backlog tx-no-route tx-too-big tx-no-memory; do
		equal "$h: $c" "$(counter $h 0005 $c)" 0
	done
done
equal "flush says how many" "$("$VN" -n h1 -j varp flush 0005 >/dev/null; "$VN" -n h1 -j varp list 0005 | jq length)" 0
reaches a1 10.0.0.2
holds "a socket is open for each family" test "$(on h4 ss -Huln 'sport = 1798' | wc -l)" = 2
"$VN" -n h4 net delete 0005
equal "the socket closes with the last vnet" "$(on h4 ss -Huln 'sport = 1798' | wc -l)" 0
