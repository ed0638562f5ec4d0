# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What the cases share. Every host is a network namespace with eth0 in one LAN; every customer's machine is a namespace
# on a veth, the other end of which is a port of a bridge in its host:
#
#   namespace a1             namespace h1                         namespace lan     namespace h2            namespace a2
#   ┌──────────────┐  ┌───────────────────────────────────┐       ┌─────────┐       ┌───────────────┐      ┌──────────────┐
#   │ eth0         │  │ v-a1 ─ vnbr0005 ─ vnif0005 … eth0 ├───────┤ bridge  ├───────┤ eth0 …        ├──────┤ eth0         │
#   │ 10.0.0.1/24  ├──┤                    192.0.2.1/24   │       │         │       │ 192.0.2.2/24  │      │ 10.0.0.2/24  │
#   └──────────────┘  └───────────────────────────────────┘       └─────────┘       └───────────────┘      └──────────────┘

VN=/src/build/bin/vn
MODULE=/src/build/${VNET_MODULE:-module-uml}/module/vnet.ko
# By how much the kernel under test is slower than one at native speed: more time is given, and less is done (see `less`).
SLOW=${VNET_SLOW:-1}
export GROUP=224.10.0.1

# shellcheck source=tests/case.sh
. "$(dirname "${BASH_SOURCE[0]}")/../case.sh"

# less NUMBER LEAST: the number, or what of it can be afforded in a slow kernel.
less() {
	local n=$(($1 / SLOW))
	echo $((n > $2 ? n : $2 < $1 ? $2 : $1))
}

# refused TEXT PATTERN VN-ARGUMENTS...: vn must exit with 2 and say something that matches.
refused() {
	local text=$1 pattern=$2 said rc=0
	shift 2
	said=$("$VN" "$@" 2>&1) || rc=$?
	[ "$rc" = 2 ] || fail "$text: vn $* exits with $rc, not 2: $said"
	grep -qiE -- "$pattern" <<<"$said" || fail "$text: vn $* says '$said', not /$pattern/"
	ok "$text: $said"
}

load() { insmod "$MODULE"; }

# ns NAME...: namespaces with loopback up, without the noise of IPv6.
ns() {
	local n
	for n in "$@"; do
		ip netns add "$n"
		[ ! -d /proc/sys/net/ipv6 ] || on "$n" sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1
		ip -n "$n" link set lo up
	done
}

# hosts N [MTU]: h1 … hN, each with eth0 192.0.2.N/24 on one LAN, multicast by eth0.
hosts() {
	local i mtu=${2:-1500}
	ns lan
	on lan ip link add lan mtu "$mtu" type bridge stp_state 0 mcast_snooping 0
	on lan ip link set lan up
	for i in $(seq "$1"); do
		ns "h$i"
		ip -n lan link add "h$i" mtu "$mtu" type veth peer name eth0 netns "h$i" mtu "$mtu"
		ip -n lan link set "h$i" master lan up
		ip -n "h$i" link set eth0 up
		ip -n "h$i" addr add "192.0.2.$i/24" dev eth0
		ip -n "h$i" route add 224.0.0.0/4 dev eth0
	done
}

# net HOST ID [ARGUMENTS...]: a vnet with its bridge.
net() {
	local host=$1 id=$2
	shift 2
	"$VN" -n "$host" net create "$id" --bridge "vnbr$id" "$@"
}

# vm NAME HOST ID ADDRESS [MAC]: a customer's machine on the vnet's bridge. Its MTU is the bridge's.
vm() {
	local name=$1 host=$2 id=$3 address=$4 mac=${5:-} mtu
	mtu=$(on "$host" cat "/sys/class/net/vnif$id/mtu" 2>/dev/null) || mtu=$(ip -n "$host" -j link show "vnif$id" | jq '.[0].mtu')
	ns "$name"
	ip -n "$host" link add "v-$name" mtu "$mtu" type veth peer name eth0 netns "$name" mtu "$mtu"
	[ -z "$mac" ] || ip -n "$name" link set eth0 address "$mac"
	ip -n "$host" link set "v-$name" master "vnbr$id" up
	ip -n "$name" addr add "$address/24" dev eth0
	ip -n "$name" link set eth0 up
}

mac_of() { ip -n "$1" -j link show "${2:-eth0}" | jq -r '.[0].address'; }

# net_field HOST ID FIELD, counter HOST ID NAME, host_counter HOST NAME
net_field() { "$VN" -n "$1" -j net show "$2" | jq -r ".[\"$3\"]"; }
counter() { "$VN" -n "$1" -j -s net show "$2" | jq -r ".stats[\"$3\"]"; }
host_counter() { "$VN" -n "$1" -j -s host status | jq -r ".stats[\"$2\"]"; }
counts() { [ "$(counter "$1" "$2" "$3")" -ge "$4" ]; }
host_counts() { [ "$(host_counter "$1" "$2")" -ge "$3" ]; }

# behind HOST ID MAC: the address the table has for it, or nothing.
behind() { "$VN" -n "$1" -j varp list "$2" | jq -r --arg mac "$3" '.[] | select(.mac == $mac) | .addr // empty'; }
is_behind() { [ "$(behind "$1" "$2" "$3")" = "$4" ]; }
unknown() { [ -z "$(behind "$1" "$2" "$3")" ]; }
local_macs() { "$VN" -n "$1" -j vif list "$2" | jq -r '.[].mac'; }

# two_customers: h1 with a1, h2 with a2, vnet 0005; they reach each other.
two_customers() {
	load
	hosts 2
	net h1 0005
	net h2 0005
	vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
	vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
	reaches a1 10.0.0.2
}

# traffic: floods in both directions, known and unknown destinations, until `traffic_ends`; it may fail to send.
# In a slow kernel it is not to take all of the processor.
traffic() {
	local flood=(-f) pause=0
	[ "$SLOW" = 1 ] || { flood=(-i 0.1); pause=4; }
	on a1 ping -q "${flood[@]}" 10.0.0.2 >/dev/null 2>&1 &
	on a2 ping -q "${flood[@]}" -s 1300 10.0.0.1 >/dev/null 2>&1 &
	(while :; do on a1 ./frames.py sources eth0 500 || sleep 0.1; sleep $pause; done) >/dev/null 2>&1 &
	(while :; do on a2 ./frames.py sources eth0 500 || sleep 0.1; sleep $pause; done) >/dev/null 2>&1 &
}
traffic_ends() {
	# shellcheck disable=SC2046 # words
	kill $(jobs -p) 2>/dev/null || true
	wait || true
	ok "traffic went on to the end"
}
