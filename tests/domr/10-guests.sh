#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Guests have addresses, names and the way out; nobody comes in.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

world
sed -i 's/$/ eth0mtu=1436/' "$WORK/cmdline"
domr
equal "a device is as large as was said" "$(on domr ip -j link show eth0 | jq '.[0].mtu')" 1436

guest g9 99
never "who is not listed gets no address" lease g9 2
with_guest g1 11
with_guest g2 12
for line in dns=10.1.1.1 domain=vmops.org hostname=g1 mtu=1436; do holds "with $line" grep -qx $line "$WORK/g1.lease"; done
changes "the same lease again" false lease add 02:00:00:05:00:11 10.1.1.11 g1
equal "the list" "$(ctl lease list | jq -cS .leases[0])" '{"ip":"10.1.1.11","mac":"02:00:00:05:00:11","name":"g1"}'

on outside dnsmasq --no-daemon --conf-file=/dev/null --listen-address=$FAR --bind-interfaces --no-resolv --no-hosts --pid-file= \
	--address=/www.example.net/$FAR 2>>"$WORK/dns.log" &
resolves() { [ "$(on "$1" timeout 10 busybox nslookup -type=a "$2" 10.1.1.1 | awk '/^Address/ { last = $2 } END { print last }')" = "$3" ]; }
wait_for 10 "a name of the world" resolves g1 www.example.net $FAR
holds "the gateway's name" resolves g1 gateway 10.1.1.1
holds "another guest's" resolves g1 g2 10.1.1.12
holds "in the domain" resolves g1 g2.vmops.org 10.1.1.12
never "nobody's" resolves g1 g3.vmops.org 10.1.1.13

serve outside tcp 80
equal "out through the source NAT" "$(asks g1 $FAR 80)" "outside $PUBLIC 80"
holds "and ping" on g1 ping -q -n -c 1 -W 10 $FAR
holds "guests reach each other" on g1 ping -q -n -c 1 -W 10 10.1.1.12

serve g1 tcp 22
never "nobody comes in by the public address" asks outside $PUBLIC 22 1
ip -n "${NS}outside" route add 10.1.1.0/24 via $PUBLIC
never "nor by the guest's own" asks outside 10.1.1.11 22 1
serve dom0 tcp 80
never "guests do not reach the private network" asks g1 192.168.1.1 80 1
never "nor its ssh" asks g1 192.168.1.33 3922 1
never "nor ssh at the gateway" asks g1 10.1.1.1 3922 1
never "and it is not to be had from outside" asks outside $PUBLIC 3922 1
ip -n "${NS}outside" route add 192.168.1.0/24 via $PUBLIC
never "nor with the private address" asks outside 192.168.1.33 3922 1
never "names are not told to the outside" timeout 2 nsenter --net="/run/netns/${NS}outside" -- busybox nslookup -type=a gateway $PUBLIC
ip -n "${NS}dom0" route add 10.1.1.0/24 via 192.168.1.33
never "the private network does not reach guests" asks dom0 10.1.1.11 22 1

# What a guest was given goes to another one.
changes "a lease is taken away" true lease del 02:00:00:05:00:12
changes "again" false lease del 02:00:00:05:00:12
never "its name is gone" resolves g1 g2 10.1.1.12
guest g3 13
changes "its address and name go to another" true lease add 02:00:00:05:00:13 10.1.1.12 g2
holds "who gets them" lease g3
equal "as they are" "$(address g3)" 10.1.1.12
holds "by name as well" resolves g1 g2 10.1.1.12
refuses "an address that is taken" 'is leased to 02:00:00:05:00:11' lease add 02:00:00:05:00:14 10.1.1.11 g4
refuses "a name that is taken" 'the name g1 is that of' lease add 02:00:00:05:00:14 10.1.1.14 g1
refuses "the gateway's address" 'own address' lease add 02:00:00:05:00:14 10.1.1.1 g4
refuses "the gateway's name" 'name of the routing domain' lease add 02:00:00:05:00:14 10.1.1.14 gateway
