#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# kernel arguments: ipv6.disable=1
#
# A kernel in which IPv6 was switched off at boot: module (h1) and daemon (h2) carry frames over IPv4, those of IPv6 inside among
# them, and refuse addresses of IPv6 with a reason.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

VNETD=/src/build/bin/vnetd
python3 -c '
import errno, socket, sys
try:
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
except OSError as error:
    sys.exit(error.errno != errno.EAFNOSUPPORT)
sys.exit(1)
' || fail "this kernel has IPv6: it needs the arguments above"
load
ok "the module can be loaded"
hosts 3
via() {
	local host=$1 how=module
	shift
	[ "$host" != h2 ] || how=vnetd
	"$VN" -n "$host" --via $how "$@"
}
mkdir -p /run/vnetd/h2
nsenter --net=/run/netns/h2 -- "$VNETD" --socket /run/vnetd/h2/control --state /run/vnetd/h2/state --device eth0 >/tmp/vnetd 2>&1 &
daemon=$!
wait_for 10 "vnetd answers" via h2 host status
for i in 1 2 3; do
	holds "a vnet with its bridge on h$i" via "h$i" net create 0005 --bridge
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
for i in 1 2 3; do
	for j in 1 2 3; do
		[ $i = $j ] || reaches "a$i" "10.0.0.$j"
	done
done
holds "full packets" on a1 ping -q -c 3 -i 0.05 -W 5 -M 'do' -s 1408 10.0.0.2
holds "and back" on a2 ping -q -c 3 -i 0.05 -W 5 -M 'do' -s 1408 10.0.0.3
equal "the module knows where a2 is" "$(via h1 -j varp list 0005 | jq -r '.[] | select(.mac == "02:00:00:00:00:02").addr')" 192.0.2.2
equal "and the daemon where a1 is" "$(via h2 -j varp list 0005 | jq -r '.[] | select(.mac == "02:00:00:00:00:01").addr')" 192.0.2.1

# Customers may have IPv6 all the same.
crosses() {
	timeout 30 nsenter --net="/run/netns/$2" tcpdump -Z root -lnni eth0 -c 2 'ip6 and ether src 02:00:00:00:00:66' >"/tmp/$2" 2>"/tmp/$2.said" &
	local listening=$! rc=0
	is_listening "$2 listens" "/tmp/$2.said"
	on "$1" python3 -c '
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for destination in "333300000001", sys.argv[1].replace(":", ""):
    payload = bytes(64)
    header = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + b"\x3b\x40"
    addresses = bytes.fromhex("fe80" + "00" * 13 + "01" + "fe80" + "00" * 13 + "02")
    s.send(bytes.fromhex(destination + "020000000066" + "86dd") + header + addresses + payload)
' "$3"
	wait $listening || rc=$?
	equal "IPv6 inside crosses from $1 to $2" $rc 0
}
crosses a1 a2 02:00:00:00:00:02
crosses a2 a3 02:00:00:00:00:03
crosses a3 a1 02:00:00:00:00:01

# What needs IPv6 is refused, with a reason, and changes nothing.
for h in h1 h2; do
	how=module
	[ $h != h2 ] || how=vnetd
	refused "$h: a group of IPv6" 'IPv6' -n $h --via $how host set --group ff05::1798
	refused "$h: a peer of IPv6" 'IPv6' -n $h --via $how peer add 2001:db8::9
	refused "$h: a host of IPv6" 'IPv6' -n $h --via $how varp add 0005 02:00:00:00:00:77 2001:db8::9
	equal "$h: the group is what it was" "$(via $h -j host status | jq -r .group)" 224.10.0.1
	holds "$h: exported" via $h export
	holds "$h: checked" via $h check 0005
done
reaches a1 10.0.0.2

# An announcement of a host that has IPv6 teaches nothing.
for h in h1 h2; do
	before=$(via $h -j -s net show 0005 | jq '.stats["rx-varp-refused"]')
	on h3 python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mac = "020000000088"
id = "00" * 14 + "0005"
s.sendto(bytes.fromhex("00010002" + id + mac + "0a" + "20010db8" + "00" * 11 + "09"), (sys.argv[1], 1798))
' "192.0.2.${h#h}"
	refused_more() { [ "$(via "$h" -j -s net show 0005 | jq '.stats["rx-varp-refused"]')" -gt "$before" ]; }
	wait_for 5 "$h refuses an announcement of an IPv6 host" refused_more
done

# Peers, wrapped and straight.
for flood in group peers; do
	for i in 1 2 3; do
		via "h$i" host set --group none --flood $flood
		for j in 1 2 3; do
			[ $i = $j ] || via "h$i" peer add "192.0.2.$j" --may-exist
		done
		via "h$i" varp flush 0005 >/dev/null
		ip -n "a$i" neigh flush all
	done
	for i in 1 2 3; do reaches "a$i" "10.0.0.$((i % 3 + 1))"; done
done

# The daemon once more, from what it has kept.
kill $daemon
wait $daemon || fail "vnetd ends with $?"
holds "vnetd leaves no device" absent h2 vnif0005
nsenter --net=/run/netns/h2 -- "$VNETD" --socket /run/vnetd/h2/control --state /run/vnetd/h2/state >>/tmp/vnetd 2>&1 &
daemon=$!
wait_for 10 "its vnet is back" via h2 net show 0005
reaches a2 10.0.0.1
for i in 1 2 3; do via "h$i" net delete 0005; done
kill $daemon
wait $daemon || true
holds "the module can be unloaded" rmmod vnet
