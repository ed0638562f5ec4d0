# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What the guests of the benchmark share (UML: guest.sh; QEMU counting instructions: count.sh): the tunnels, and the pump.
#
# Every contender has a device in both hosts, with the same MAC addresses, near and far:
#
#   namespace h1   eth0 192.0.2.1 ───── eth0 192.0.2.2   namespace h2
#                  vxlan … 10.1.0.1     vxlan … 10.1.0.2
#   namespace c1-vnetbr  eth0 10.7.0.1 ─ bridge ─ vnif0006 in h1, and the like in h2: with bridges, as in use
#
# A namespace of `lone` has one host only, whose underlay is a device that drops what it is given: for one direction at a time.
# shellcheck disable=SC2154 # the frames are set by what frames.py has made

shopt -s extglob
NEAR=02:00:00:00:00:a1 FAR=02:00:00:00:00:b1
export NEAR FAR
# vx and gv with ids; the second vxlan has a port of its own, as two on one port are one socket.
export WG=/kit/bench/usr/bin/wg

now() { date +%s%N; }
say() { printf '# %s\n' "$*"; }
# begin KEY, finish KEY JSON: around what is measured, so that the processor's time can be read outside.
begin() { printf '@begin %s\n' "$*"; }
finish() { printf '@finish %s\n' "$*"; }
# value KEY JSON
value() { printf '@value %s\n' "$*"; }

# plain KEY COMMAND..., measured KEY COMMAND...: says what the command prints; a command that fails ends everything.
plain() {
	local key=$1 answer
	shift
	answer=$("$@")
	value "$key" "$answer"
}
measured() {
	local key=$1 answer
	shift
	begin "$key"
	answer=$("$@")
	finish "$key" "$answer"
}

# space NAME...: namespaces without the noise of IPv6.
space() {
	local n
	for n in "$@"; do
		ip netns add "$n"
		on "$n" sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1 2>/dev/null || true
		ip -n "$n" link set lo up
	done
}
on() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" -- "$@"
}

# ---- the pump ----

# pumped NS KEY=VALUE...: what the pump said (see pump/pump.c), in JSON.
pumped() {
	local ns=$1 words chunk sent arrived total median least cycles
	shift
	# The file says what the last command gave. It is written at once: bash would write line by line, and this is one.
	on "$ns" bash -c 'printf "run %s" "$*" >/proc/vnet_pump' pump "$@" || { say "the pump in $ns refuses: ${*//frame=*([0-9a-f])/}" >&2; return 1; }
	words="$*" chunk=${words##*chunk=}
	read -r sent arrived total median least cycles </proc/vnet_pump
	printf '{"sent":%s,"arrived":%s,"total":%s,"median":%s,"least":%s,"cycles":%s,"chunk":%s}' \
		"$sent" "$arrived" "$total" "$median" "$least" "$cycles" "${chunk%% *}"
}
# shellcheck disable=SC2016 # for the inner shell
sink() { on "$1" bash -c 'printf "sink %s" "$1" >/proc/vnet_pump' sink "$2"; }

# packets_of NS DEVICE FIELD: a counter of a device.
packets_of() { ip -n "$1" -j -s link show "$2" | jq ".[0].stats64.$3.packets"; }

# ---- tunnels ----

# same_mac NS DEVICE MAC
up_with() { ip -n "$1" link set "$2" address "$3" up; }

# bridged NS BRIDGE DEVICE PORT: a bridge with the device and a port in it.
bridge_of() {
	local ns=$1 bridge=$2 device=$3
	ip -n "$ns" link show "$bridge" >/dev/null 2>&1 || ip -n "$ns" link add "$bridge" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	ip -n "$ns" link set "$device" master "$bridge" up
	ip -n "$ns" link set "$bridge" up
}

# lone NS: a host whose underlay drops.
lone() {
	space "$1"
	ip -n "$1" link add und address "$NEAR" type dummy
	ip -n "$1" link set und up
	ip -n "$1" addr add 192.0.2.1/24 dev und
	"$VN" -n "$1" host set --group none --flood peers --device und
}

# tunnels NS DEVICE LOCAL REMOTE MAC: one of each kind, and one with a bridge: vx, gv, vnif0005; vxb, vnif0006.
tunnels() {
	local ns=$1 device=$2 from=$3 to=$4 mac=$5 id
	ip -n "$ns" link add vx type vxlan id 5 local "$from" remote "$to" dstport 4789 dev "$device"
	ip -n "$ns" link add vxb type vxlan id 6 local "$from" remote "$to" dstport 4789 dev "$device"
	ip -n "$ns" link add gv type geneve id 5 remote "$to" 2>/dev/null || say "no geneve"
	for id in vx gv; do ip -n "$ns" link show "$id" >/dev/null 2>&1 && up_with "$ns" "$id" "$mac"; done
	"$VN" -n "$ns" peer add "$to"
	"$VN" -n "$ns" net create 0005
	ip -n "$ns" link set vnif0005 down
	up_with "$ns" vnif0005 "$mac"
	"$VN" -n "$ns" net create 0006
	bridge_of "$ns" brvx vxb
	bridge_of "$ns" brvn vnif0006
}

# ports NS: where the machines of the bridges would be: devices that drop.
ports() {
	local ns=$1 b
	for b in vx vn; do
		ip -n "$ns" link add "p$b" type dummy
		bridge_of "$ns" "br$b" "p$b"
	done
}

# The pump's part of one contender in a namespace of `lone` with `tunnels` and `ports`: TX_… and RX_… are its arguments.
# shellcheck disable=SC2034 # read by name
paths() {
	TX_none="how=tx dev=und frame=$OUT" RX_none="how=rx dev=und frame=$PLAIN_IN"
	TX_vxlan="how=tx dev=vx frame=$OUT" RX_vxlan="how=rx dev=und frame=$IN_vxlan_5"
	TX_geneve="how=tx dev=gv frame=$OUT" RX_geneve="how=rx dev=und frame=$IN_geneve_5"
	TX_vnet="how=tx dev=vnif0005 frame=$OUT" RX_vnet="how=rx dev=und frame=$IN_vnet_5"
	# A bridge tells TAP and veth how much room the tunnel needs. Xen's netback leaves what every driver does.
	TX_vxlanbr="how=rx dev=pvx room=64 frame=$OUT" RX_vxlanbr="how=rx dev=und frame=$IN_vxlan_6"
	TX_vnetbr="how=rx dev=pvn room=64 frame=$OUT" RX_vnetbr="how=rx dev=und frame=$IN_vnet_6"
	TX_vxlanxen="how=rx dev=pvx frame=$OUT" TX_vnetxen="how=rx dev=pvn frame=$OUT"
	# By whom it is seen that they arrived: a device and a counter.
	RXED_none="und rx" RXED_vxlan="vx rx" RXED_geneve="gv rx" RXED_vnet="vnif0005 rx" RXED_vxlanbr="pvx tx" RXED_vnetbr="pvn tx"
}

# teach NS: every table gets to know who is where, and everything is in the processor's caches once. The plain path's sink is set
# only while that is measured, as it would take what the tunnels are to get.
teach() {
	local ns=$1 c a d device field
	paths
	for d in vx gv vnif0005; do sink "$ns" "$d" || say "no sink on $d"; done
	# shellcheck disable=SC2086 # words
	for d in 1 2; do
		for c in $CONTENDERS; do
			a=RX_$c; [ -z "${!a:-}" ] || [ "$c" = none ] || pumped "$ns" ${!a} packets=64 chunk=64 >/dev/null
			a=TX_$c; pumped "$ns" ${!a} packets=64 chunk=64 >/dev/null
		done
	done
	# A benchmark of dropping would be no benchmark.
	for c in $CONTENDERS; do
		[ "$c" != none ] || continue
		direction_works "$ns" "TX_$c" und tx
		a=RXED_$c
		[ -n "${!a:-}" ] || continue
		read -r device field <<<"${!a}"
		direction_works "$ns" "RX_$c" "$device" "$field"
	done
}
direction_works() {
	local before after
	before=$(packets_of "$1" "$3" "$4")
	# shellcheck disable=SC2086
	pumped "$1" ${!2} packets=64 chunk=64 >/dev/null
	after=$(packets_of "$1" "$3" "$4")
	# A vnet that is new announces itself meanwhile.
	[ $((after - before)) -ge 64 ] || { say "$2: $((after - before)) of 64 packets at $3"; return 1; }
}

# The contenders of one direction; the last two differ from those before in the room in front of the frame.
CONTENDERS="none vxlan vnet geneve vxlanbr vnetbr vxlanxen vnetxen"
has_direction() { local a=$1_$2; [ -n "${!a:-}" ]; }

# one_direction NS TX|RX CONTENDER PACKETS CHUNK: the pump's answer.
one_direction() {
	local a=$2_$3 rc=0
	[ "$a" != RX_none ] || sink "$1" und
	# shellcheck disable=SC2086
	pumped "$1" ${!a} "packets=$4" "chunk=$5" || rc=$?
	if [ "$a" = RX_none ]; then
		on "$1" bash -c 'printf unsink >/proc/vnet_pump'
		local d
		for d in vx gv vnif0005; do sink "$1" "$d" || true; done
	fi
	return $rc
}

# ---- two hosts ----

# pair NAME MTU: hosts NAME1 and NAME2, with everything between them.
pair() {
	local p=$1 mtu=$2 i mac
	space "${p}1" "${p}2"
	"$VN" key generate --file "/tmp/$p.key"
	ip -n "${p}1" link add eth0 mtu "$mtu" address $NEAR type veth peer name eth0 netns "${p}2" mtu "$mtu" address $FAR
	for i in 1 2; do
		[ $i = 1 ] && mac=$NEAR || mac=$FAR
		ip -n "$p$i" link set eth0 up
		ip -n "$p$i" addr add "192.0.2.$i/24" dev eth0
		"$VN" -n "$p$i" host set --group none --flood peers --device eth0
		tunnels "$p$i" eth0 "192.0.2.$i" "192.0.2.$((3 - i))" $mac
		ip -n "$p$i" addr add "10.1.0.$i/24" dev vx
		ip -n "$p$i" addr add "10.2.0.$i/24" dev gv
		ip -n "$p$i" addr add "10.5.0.$i/24" dev vnif0005
		customer "$p$i" vx "10.6.0.$i" $mac
		customer "$p$i" vn "10.7.0.$i" $mac
		# The cipher of WireGuard, and all encrypted, too.
		"$VN" -n "$p$i" net create 0009 --seal conf --cipher chacha20-poly1305
		"$VN" -n "$p$i" key set 0009 --file "/tmp/$p.key"
		ip -n "$p$i" link set vnif0009 address $mac up
		ip -n "$p$i" addr add "10.8.0.$i/24" dev vnif0009
		[ -x "$WG" ] || continue
		ip -n "$p$i" link add wg type wireguard
		ip -n "$p$i" addr add "10.4.0.$i/24" dev wg
		(umask 077; "$WG" genkey >"/tmp/$p$i.key")
		on "$p$i" "$WG" set wg listen-port 51820 private-key "/tmp/$p$i.key"
	done
	for i in 1 2; do
		[ -x "$WG" ] || continue
		on "$p$i" "$WG" set wg peer "$("$WG" pubkey <"/tmp/$p$((3 - i)).key")" endpoint "192.0.2.$((3 - i)):51820" allowed-ips 10.4.0.0/24
		ip -n "$p$i" link set wg mtu $((mtu - 80)) up
		# What one would use for a sealed Ethernet otherwise.
		[ $i = 1 ] && mac=$NEAR || mac=$FAR
		ip -n "$p$i" link add vxwg address $mac mtu $((mtu - 80 - 50)) type vxlan id 9 local "10.4.0.$i" remote "10.4.0.$((3 - i))" dstport 4790
		ip -n "$p$i" link set vxwg up
		ip -n "$p$i" addr add "10.9.0.$i/24" dev vxwg
	done
	local c
	for c in $WITH_TCP; do
		on "$(place "$p" 1 "$c")" ping -q -c 1 -W 5 "$(where "$c")" >/dev/null || { say "$p: $c does not reach the other side"; return 1; }
	done
}

# customer HOST KIND ADDRESS MAC: a machine on the bridge of that kind.
customer() {
	local host=$1 kind=$2 name=$1-$2 mtu
	mtu=$(ip -n "$host" -j link show "br$kind" | jq '.[0].mtu')
	space "$name"
	ip -n "$host" link add "v-$kind" mtu "$mtu" type veth peer name eth0 netns "$name" mtu "$mtu" address "$4"
	bridge_of "$host" "br$kind" "v-$kind"
	ip -n "$name" link set eth0 up
	ip -n "$name" addr add "$3/24" dev eth0
}

# What is compared stands side by side, so that little time is between.
WITH_TCP="veth vxlan vnet geneve vxlanbr vnetbr wireguard vxlanwg sealed"
[ -x "$WG" ] || WITH_TCP=${WITH_TCP/wireguard vxlanwg /}
# where CONTENDER: the far address; place PAIR N CONTENDER: the namespace it is reached from.
where() {
	case $1 in
	veth) echo 192.0.2.2 ;;
	vxlan) echo 10.1.0.2 ;;
	geneve) echo 10.2.0.2 ;;
	wireguard) echo 10.4.0.2 ;;
	vnet) echo 10.5.0.2 ;;
	vxlanbr) echo 10.6.0.2 ;;
	vnetbr) echo 10.7.0.2 ;;
	sealed) echo 10.8.0.2 ;;
	vxlanwg) echo 10.9.0.2 ;;
	esac
}
place() {
	case $3 in
	vxlanbr) echo "$1$2-vx" ;;
	vnetbr) echo "$1$2-vn" ;;
	*) echo "$1$2" ;;
	esac
}

# serve PAIR: what answers in its second host, and behind its bridges.
serve() {
	local c
	for c in vxlanbr vnetbr veth; do
		on "$(place "$1" 2 $c)" "$SOCKETS" take 0.0.0.0:5201 &
		on "$(place "$1" 2 $c)" "$SOCKETS" echo 0.0.0.0:7 &
	done
	for c in vxlanbr vnetbr veth; do
		until on "$(place "$1" 2 $c)" ss -ltn | grep -q :5201 && on "$(place "$1" 2 $c)" ss -lun | grep -q :7; do sleep 0.1; done
	done
}

# tcp PLACE ADDRESS STREAMS: what arrived.
tcp() {
	local answer
	answer=$(on "$1" "$SOCKETS" give "$2:5201" "$TCP_SECONDS" "$3")
	printf '{"bytes":%s,"ns":%s}' "${answer% *}" "${answer#* }"
}

