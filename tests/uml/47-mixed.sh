#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Module and daemon on one network: h1 and h3 have vnetd, h2 has the module. Every pair, both families, small and full
# packets, moves, a restart of each.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

VNETD=/src/build/bin/vnetd
load
hosts 3
for i in 1 2 3; do
	on "h$i" sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0
	ip -n "h$i" addr add "2001:db8::$i/64" dev eth0 nodad
done

# via HOST ARGUMENTS...: vn by what that host has.
via() {
	local host=$1 how=vnetd
	shift
	[ "$host" != h2 ] || how=module
	"$VN" -n "$host" --via $how "$@"
}
declare -A daemons=()
start() {
	mkdir -p "/run/vnetd/$1"
	# Not by way of a function, so that the daemon is what is signalled.
	nsenter --net="/run/netns/$1" -- "$VNETD" --socket "/run/vnetd/$1/control" --state "/run/vnetd/$1/state" --device eth0 >"/tmp/vnetd-$1" 2>&1 &
	daemons[$1]=$!
	wait_for 10 "vnetd on $1 answers" via "$1" host status
}
stop() {
	kill "${daemons[$1]}"
	wait "${daemons[$1]}" || fail "vnetd on $1 ends with $?"
	ok "vnetd on $1 ends"
	holds "and leaves no device" absent "$1" vnif0005
}
start h1
start h3
refused "with both there, one must be chosen" "--via" -n h1 --vnetd-socket /run/vnetd/h1/control net list

for i in 1 2 3; do
	via "h$i" net create 0005 --bridge
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
where() { via "$1" -j varp list 0005 | jq -r --arg mac "$2" '.[] | select(.mac == $mac) | .addr // empty'; }
is_at() { [ "$(where "$1" "$2")" = "$3" ]; }

# every_pair MTU: small packets and full ones between all of them, and nothing larger.
every_pair() {
	local i j
	for i in 1 2 3; do
		ip -n "a$i" neigh flush all
		via "h$i" varp flush 0005 >/dev/null
	done
	for i in 1 2 3; do
		for j in 1 2 3; do
			[ $i != $j ] || continue
			reaches "a$i" "10.0.0.$j"
			holds "a$i and a$j: full packets" on "a$i" ping -q -n -c 3 -i 0.05 -W 5 -M 'do' -s $(($1 - 28)) "10.0.0.$j"
		done
	done
}
every_pair 1436
for i in 1 3; do equal "h$i has a2 behind the module's host" "$(where h$i 02:00:00:00:00:02)" 192.0.2.2; done
equal "h2 has a1 behind a daemon's host" "$(where h2 02:00:00:00:00:01)" 192.0.2.1

# Found by asking, without a flood, whoever asks whom.
for pair in "1 2" "2 1" "2 3" "1 3"; do
	read -r i j <<<"$pair"
	ip -n "a$i" neigh replace "10.0.0.$j" lladdr "02:00:00:00:00:0$j" dev eth0 nud permanent
	ip -n "a$j" neigh replace "10.0.0.$i" lladdr "02:00:00:00:00:0$i" dev eth0 nud permanent
	via "h$i" varp flush 0005 >/dev/null
	flooded=$(via "h$i" -j -s net show 0005 | jq .stats.flooded)
	holds "h$i asks where a$j is" pings "a$i" "10.0.0.$j" 5
	equal "and floods nothing" "$(via "h$i" -j -s net show 0005 | jq .stats.flooded)" "$flooded"
done

# A machine moves from daemon to module, and on to the other daemon.
M=02:00:00:00:00:99
vm m h1 0005 10.0.0.9 $M
# moves PREFIX: of the hosts' addresses.
moves() {
	local from=h1 to i
	reaches a3 10.0.0.9
	equal "behind h1" "$(where h3 $M)" "${1}1"
	for to in h2 h3 h1; do
		ip -n $from link set v-m nomaster
		ip -n $from link set v-m netns $to
		ip -n $to link set v-m master vnbr0005 up
		on m ping -q -n -c 1 -W 1 10.0.0.1 >/dev/null || true
		from=$to
		for i in 1 2 3; do
			[ "h$i" = $to ] || wait_for 10 "h$i follows it to $to" is_at "h$i" $M "$1${to#h}"
		done
		for i in 1 2 3; do reaches "a$i" 10.0.0.9; done
	done
}
moves 192.0.2.

# each_starts_over MTU: the daemons with their vnet as it was, the module with nothing.
each_starts_over() {
	local h
	for h in h1 h3; do
		stop $h
		start $h
		wait_for 10 "the vnet is back" via $h net show 0005
		wait_for 10 "and its device is a port of the bridge" sh -c "ip -n $h -o link show master vnbr0005 | grep -q vnif0005"
		every_pair "$1"
	done
	"$VN" -n h2 --via module net delete 0005
	rmmod vnet
	load
	"$VN" -n h2 --via module host set --group "$2"
	"$VN" -n h2 --via module net create 0005 --bridge vnbr0005 --mtu "$1"
	every_pair "$1"
}
each_starts_over 1436 224.10.0.1

# The same over IPv6.
for i in 1 2 3; do
	via "h$i" host set --group ff05::1:798
	via "h$i" net set 0005 --mtu 1416
	ip -n "a$i" link set eth0 mtu 1416
	ip -n "h$i" link set "v-a$i" mtu 1416
done
every_pair 1416
equal "behind IPv6 addresses" "$(where h1 02:00:00:00:00:02) $(where h2 02:00:00:00:00:03)" "2001:db8::2 2001:db8::3"

ip -n m link set eth0 mtu 1416
ip -n h1 link set v-m mtu 1416
moves 2001:db8::
each_starts_over 1416 ff05::1:798

# Echo requests that a machine has received, those to all among them.
echoes() {
	on "$1" cat /proc/net/snmp |
		awk '/^Icmp:/ { if (at) print $at; else for (i = 1; i <= NF; i++) if ($i == "InEchos") at = i }'
}
has_echoes() { [ "$(echoes "$1")" -ge "$2" ]; }
# every_flood_once: what is sent to all arrives everywhere, and no more often than it was sent.
every_flood_once() {
	local i j before=()
	for i in 1 2 3; do
		for j in 1 2 3; do before[j]=$(echoes "a$j"); done
		# Nobody answers an echo request to all.
		on "a$i" ping -q -n -b -c 5 -i 0.05 -W 1 10.0.0.255 >/dev/null 2>&1 || true
		for j in 1 2 3; do
			[ $i != $j ] || continue
			wait_for 5 "a$j has what a$i sent to all" has_echoes "a$j" $((before[j] + 5))
			# Whatever came by a longer way came before this.
			reaches "a$j" "10.0.0.$i"
			equal "a$j has taken nothing of it twice" "$(echoes "a$j")" $((before[j] + 5))
		done
	done
}
every_flood_once

# Wrapped for peers, and straight to them.
for flood in group peers; do
	for i in 1 2 3; do
		via "h$i" host set --group none --flood $flood
		for j in 1 2 3; do
			[ $i = $j ] || via "h$i" peer add "192.0.2.$j" --may-exist
		done
	done
	every_pair 1416
	every_flood_once
done
equal "behind IPv4 addresses again" "$(where h1 02:00:00:00:00:02)" 192.0.2.2
for h in h1 h3; do stop $h; done
