# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What the cases share: hosts and customers' machines as namespaces, as tests/uml/lib.sh makes them, but each host runs vnetd.
#
# The address of host N is 192.0.2.N, or fd00:db8::N in cases that set UNDERLAY=6.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VNETD=${VNETD:-/src/build/bin/vnetd}
CLIENT=$HERE/client.py
export FRAMES=$HERE/../uml/frames.py
UNDERLAY=${UNDERLAY:-4}
WORK=$(mktemp -d)
# With this prefix, so that nothing of anybody else is touched.
NS=vd$$-

# shellcheck source=tests/case.sh
. "$HERE/../case.sh"
set -e
trap clean EXIT

declare -A PIDS=()
clean() {
	local pid
	trap - ERR
	set +e
	for pid in "${PIDS[@]}" $(jobs -p); do kill "$pid" 2>/dev/null; done
	wait
	remove_namespaces
	rm -rf "$WORK"
}

ns() {
	local n
	for n in "$@"; do
		ip netns add "$NS$n"
		ip -n "$NS$n" link set lo up
	done
}

# host_address N
host_address() { if [ "$UNDERLAY" = 6 ]; then echo "fd00:db8::$1"; else echo "192.0.2.$1"; fi; }

# lan NAME MTU, attach HOST LAN ADDRESS/LEN [DEVICE]: networks, and hosts on them.
lan() {
	ns "$1"
	on "$1" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
	on "$1" ip link add lan mtu "$2" type bridge stp_state 0 mcast_snooping 0
	on "$1" ip link set lan up
}
attach() {
	local host=$1 lan=$2 address=$3 device=${4:-eth0} mtu
	mtu=$(on "$lan" cat /sys/class/net/lan/mtu 2>/dev/null || on "$lan" ip -j link show lan | jq '.[0].mtu')
	ip -n "$NS$lan" link add "$host" mtu "$mtu" type veth peer name "$device" netns "$NS$host" mtu "$mtu"
	ip -n "$NS$lan" link set "$host" master lan up
	ip -n "$NS$host" link set "$device" up
	case $address in
	*:*) ip -n "$NS$host" addr add "$address" dev "$device" nodad ;;
	*) ip -n "$NS$host" addr add "$address" dev "$device" ;;
	esac
}

# hosts N [MTU]: h1 … hN on one LAN, each with a daemon.
hosts() {
	local i
	lan lan "${2:-1500}"
	for i in $(seq "$1"); do
		ns "h$i"
		attach "h$i" lan "$(host_address "$i")/$([ "$UNDERLAY" = 6 ] && echo 64 || echo 24)"
		if [ "$UNDERLAY" = 6 ]; then
			daemon "h$i" --group ff05::1798 --device eth0
		else
			daemon "h$i" --device eth0
		fi
	done
}

# daemon HOST ARGUMENTS...: starts vnetd and waits until it says that it is ready.
daemon() {
	local host=$1
	shift
	start "$host" "$@"
	wait_for 10 "vnetd is ready on $host" answers "$host"
}
start() {
	local host=$1
	shift
	mkdir -p "$WORK/$host"
	nsenter --net="/run/netns/$NS$host" -- "$VNETD" --queues 2 --socket "${SOCKET:-$WORK/$host/control}" --state "$WORK/$host/state" "$@" \
		2>>"$WORK/$host.log" &
	PIDS[$host]=$!
}
answers() { ctl "$1" host-get; }
# stop HOST [SIGNAL]: ends a daemon, and tells how it ended.
stop() {
	local pid=${PIDS[$1]} rc=0
	kill -"${2:-TERM}" "$pid"
	wait "$pid" || rc=$?
	unset "PIDS[$1]"
	return $rc
}

# ctl HOST COMMAND [JSON], list HOST COMMAND [JSON]
ctl() {
	local host=$1
	shift
	"$CLIENT" "$WORK/$host/control" "$@"
}
list() {
	local host=$1
	shift
	"$CLIENT" "$WORK/$host/control" dump "$@"
}
# refused TEXT PATTERN HOST COMMAND [JSON]
refused() {
	local text=$1 pattern=$2 said rc=0
	shift 2
	said=$(ctl "$@" 2>&1) || rc=$?
	[ "$rc" = 2 ] || fail "$text: exit status $rc, not 2: $said"
	grep -qE -- "$pattern" <<<"$said" || fail "$text: '$said', not /$pattern/"
	ok "$text: $said"
}

# net HOST ID [JSON]: a vnet with its bridge, as vn makes it.
net() {
	local host=$1 id=$2 more=${3:-'{}'}
	holds "vnet $id on $host" ctl "$host" net-new "$(jq -c --arg id "$id" '. + {id: $id}' <<<"$more")"
	on "$host" ip link show "vnbr$id" >/dev/null 2>&1 ||
		on "$host" ip link add "vnbr$id" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	on "$host" ip link set "vnif$id" addrgenmode none
	on "$host" ip link set "vnbr$id" addrgenmode none
	on "$host" ip link set "vnif$id" master "vnbr$id" up
	on "$host" ip link set "vnbr$id" up
}

# vm NAME HOST ID ADDRESS MAC: a customer's machine on the vnet's bridge.
vm() {
	local name=$1 host=$2 id=$3 address=$4 mac=$5 mtu
	mtu=$(on "$host" ip -j link show "vnif$id" | jq '.[0].mtu')
	ns "$name"
	on "$name" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
	ip -n "$NS$host" link add "v-$name" mtu "$mtu" type veth peer name eth0 netns "$NS$name" mtu "$mtu"
	on "$host" ip link set "v-$name" addrgenmode none
	ip -n "$NS$name" link set eth0 address "$mac"
	ip -n "$NS$host" link set "v-$name" master "vnbr$id" up
	ip -n "$NS$name" addr add "$address/24" dev eth0
	ip -n "$NS$name" link set eth0 up
}

counter() { ctl "$1" net-get "{\"id\": \"$2\"}" | jq -r ".stats[\"$3\"]"; }
host_counter() { ctl "$1" host-get | jq -r ".stats[\"$2\"]"; }
counts() { [ "$(counter "$1" "$2" "$3")" -ge "$4" ]; }
host_counts() { [ "$(host_counter "$1" "$2")" -ge "$3" ]; }
behind() { list "$1" varp-get "{\"net\": \"$2\"}" | jq -r --arg mac "$3" 'select(.mac == $mac) | .addr // empty'; }
is_behind() { [ "$(behind "$1" "$2" "$3")" = "$4" ]; }
is_here() { list "$1" vif-get "{\"net\": \"$2\"}" | jq -e --arg mac "$3" 'select(.mac == $mac)'; }

MAC1=02:00:00:00:00:01
MAC2=02:00:00:00:00:02
MAC3=02:00:00:00:00:03
export MAC3

# two_customers: h1 with a1, h2 with a2, vnet 0005; they reach each other.
two_customers() {
	hosts 2
	net h1 0005
	net h2 0005
	vm a1 h1 0005 10.0.0.1 $MAC1
	vm a2 h2 0005 10.0.0.2 $MAC2
	reaches a1 10.0.0.2
}
