#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# guest.sh: runs in the user-mode kernel, first process init. Measures all contenders in turn, VNET_ROUNDS times, and says what it
# measured on the console, for bench.py: "@value KEY JSON", and "@begin KEY" … "@finish KEY JSON" around what costs processor time.
set -E
trap 'printf "# line %s of %s: %s (exit status %s)\n" "$LINENO" "${BASH_SOURCE[0]}" "$BASH_COMMAND" "$?" >&2' ERR
VN=/src/build/bin/vn
SOCKETS=/src/build/bench/sockets
ROUNDS=${VNET_ROUNDS:-1} LENGTH=${VNET_LENGTH:-short} PARTS=${VNET_PARTS:-tcp,small,latency,macs,vnets,create,flood}
# shellcheck source=tests/bench/lib.sh
. ./lib.sh
# shellcheck source=/dev/null
. /src/build/bench/frames.sh

if [ "$LENGTH" = short ]; then
	TCP_SECONDS=0.05 PACKETS=6400 CHUNK=128 QUESTIONS=200 AGAIN=1 MACS="1 1000" VNETS="1 16" CREATED=64 PEERS="1 16"
else
	TCP_SECONDS=0.2 PACKETS=12800 CHUNK=128 QUESTIONS=5000 AGAIN=5 MACS="1 1000 1000000" VNETS="1 256 4096" CREATED=4096 PEERS="1 16 256"
fi
has() { [[ ,$PARTS, == *,$1,* ]]; }
insmod "/src/build/module-uml/module/vnet.ko"
insmod /src/build/bench/uml/pump.ko

# ---- two hosts ----

tcp_round() {
	local p mtu streams c
	for p in h j; do
		[ $p = h ] && mtu=1500 || mtu=9000
		for streams in 1 4; do
			for c in $WITH_TCP; do
				measured "tcp/$mtu/$streams/$c" tcp "$(place $p 1 "$c")" "$(where "$c")" $streams
			done
		done
	done
}

latency_round() {
	local c answer
	for c in $WITH_TCP; do
		answer=$(on "$(place h 1 "$c")" $SOCKETS ask "$(where "$c"):7" "$QUESTIONS")
		value "latency/$c" "{\"p50\":${answer% *},\"p99\":${answer#* }}"
	done
}

# Small packets all the way: sent in one host and dropped in the other. Whoever hands over to other threads is waited for.
both_round() {
	local c device frame
	for c in veth vxlan vnet geneve wireguard vxlanwg sealed; do
		frame=$OUT
		case $c in
		veth) device=eth0 ;;
		vxlan) device=vx ;;
		geneve) device=gv ;;
		wireguard) device=wg frame=$OUT_IP ;;
		vxlanwg) device=vxwg ;;
		vnet) device=vnif0005 ;;
		sealed) device=vnif0009 ;;
		esac
		sink h2 $device
		measured "both/$c" pumped h1 how=tx dev=$device "frame=$frame" "packets=$PACKETS" "chunk=$CHUNK" wait=1
		on h2 bash -c 'printf unsink >/proc/vnet_pump'
	done
}

# ---- one direction ----

small_round() {
	local c direction
	for direction in TX RX; do
		for c in $CONTENDERS; do
			has_direction $direction "$c" || continue
			plain "small/$direction/$c" one_direction u $direction "$c" "$PACKETS" "$CHUNK"
		done
	done
}

# ---- many addresses ----

macs_setup() {
	local n i=16
	lone m
	for n in $MACS; do
		ip -n m link add "vx$n" type vxlan id $i local 192.0.2.1 dstport 4789 dev und ageing 86400
		ip -n m link set "vx$n" address $NEAR up
		"$VN" -n m net create "$(printf %04x $i)" --name "vn$n" --max-macs 2000000 --ageing 86400000
		sink m "vx$n"
		sink m "vn$n"
		for k in vxlan vnet; do
			a=IN_${k}_$(printf %x $i) at=MAC_$k
			plain "learn/$k/$n" pumped m how=rx dev=und "frame=${!a}" "packets=$(((n + 63) / 64 * 64))" chunk=64 "vary=${!at}:4:$n"
		done
		known=$("$VN" -n m -j net show "$(printf %04x $i)" | jq .macs)
		[ "$known" = "$n" ] || { say "vnet knows $known MAC addresses, not $n"; return 1; }
		i=$((i + 1))
	done
}
macs_round() {
	local n k i a at
	for k in vxlan vnet; do
		i=16
		for n in $MACS; do
			a=IN_${k}_$(printf %x $i) at=MAC_$k
			plain "macs/one/TX/$k/$n" pumped m how=tx "dev=v${k:1:1}$n" "frame=$OUT" "packets=$PACKETS" "chunk=$CHUNK"
			plain "macs/one/RX/$k/$n" pumped m how=rx dev=und "frame=${!a}" "packets=$PACKETS" "chunk=$CHUNK"
			plain "macs/all/TX/$k/$n" pumped m how=tx "dev=v${k:1:1}$n" "frame=$OUT" "packets=$PACKETS" "chunk=$CHUNK" "vary=2:4:$n"
			plain "macs/all/RX/$k/$n" pumped m how=rx dev=und "frame=${!a}" "packets=$PACKETS" "chunk=$CHUNK" "vary=${!at}:4:$n"
			i=$((i + 1))
		done
	done
}

# ---- many vnets ----

vxlans() { # FILE COUNT
	local i
	for ((i = 0; i < $2; i++)); do
		echo "link add vx$i address $NEAR type vxlan id $((4096 + i)) local 192.0.2.1 dstport 4789 dev und"
		echo "link set vx$i up"
	done >"$1"
}
vnets() {
	local i
	for ((i = 0; i < $2; i++)); do printf '[[net]]\nid = "%04x"\nifname = "vn%u"\n' $((4096 + i)) "$i"; done >"$1"
}
# What the kernel has taken for itself, in KiB. Free memory would be wrong: a process that ends leaves its pages on lists of the
# processor, which count as not free, and vn is larger than ip.
taken() { awk '/^(Slab|Percpu|VmallocUsed):/ { kib += $2 } END { print kib }' /proc/meminfo; }
settle() { sync; echo 3 >/proc/sys/vm/drop_caches; }

# timed KEY COMMAND...: how long, and how much memory is gone afterwards.
timed() {
	local key=$1 before start end
	shift
	settle
	before=$(taken)
	begin "$key"
	start=$(now)
	"$@" >/dev/null
	end=$(now)
	finish "$key" "{\"ns\":$((end - start)),\"count\":$CREATED}"
	settle
	value "$key/memory" "$(($(taken) - before))"
}
create_round() {
	lone c
	vxlans /tmp/vxlans "$CREATED"
	vnets /tmp/vnets "$CREATED"
	timed create/vxlan ip -n c -batch /tmp/vxlans
	ip netns del c
	wait_gone
	lone c
	timed create/vnet "$VN" -n c apply /tmp/vnets
	equal_count
	ip netns del c
	wait_gone
}
equal_count() {
	local n
	n=$(ip -n c -o link show type vnet | wc -l)
	[ "$n" = "$CREATED" ] || { say "$n of $CREATED vnets are there"; return 1; }
}
# A namespace goes in the background; what it held is to be free again before the next one is measured.
wait_gone() {
	local last=0 is
	for _ in $(seq 100); do
		settle
		is=$(taken)
		[ $((last - is)) -gt 200 ] || [ "$last" = 0 ] || return 0
		last=$is
		sleep 0.2
	done
}

vnets_setup() {
	local n
	for n in $VNETS; do
		lone "n$n"
		vxlans /tmp/vxlans "$n"
		vnets /tmp/vnets "$n"
		ip -n "n$n" -batch /tmp/vxlans
		"$VN" -n "n$n" apply /tmp/vnets >/dev/null
		for k in vxlan vnet; do
			a=IN_${k}_1000 at=ID_$k
			pumped "n$n" how=rx dev=und "frame=${!a}" "packets=$(((n + 63) / 64 * 64))" chunk=64 "vary=${!at}:2:$n" >/dev/null
		done
	done
}
vnets_round() {
	local n k a at
	for n in $VNETS; do
		for k in vxlan vnet; do
			a=IN_${k}_1000 at=ID_$k
			plain "vnets/RX/$k/$n" pumped "n$n" how=rx dev=und "frame=${!a}" "packets=$PACKETS" "chunk=$CHUNK" "vary=${!at}:2:$n"
			plain "vnets/TX/$k/$n" pumped "n$n" how=tx "dev=v${k:1:1}" "devs=$n" "frame=$OUT" "packets=$PACKETS" "chunk=$CHUNK"
		done
	done
}

# ---- floods ----

flood_setup() {
	local n i
	for n in $PEERS; do
		lone "f$n"
		ip -n "f$n" link add vx address $NEAR type vxlan id 5 local 192.0.2.1 dstport 4789 dev und
		ip -n "f$n" link set vx up
		for ((i = 0; i < n; i++)); do echo "fdb append 00:00:00:00:00:00 dev vx dst 198.51.$((100 + i / 200)).$((1 + i % 200))"; done >/tmp/fdb
		ip -n "f$n" route add default dev und
		bridge -n "f$n" -batch /tmp/fdb
		{
			printf '[host]\npeers = ['
			for ((i = 0; i < n; i++)); do printf '"198.51.%s.%s", ' $((100 + i / 200)) $((1 + i % 200)); done
			printf ']\n[[net]]\nid = "0005"\n'
		} >/tmp/peers
		"$VN" -n "f$n" apply /tmp/peers >/dev/null
	done
}
flood_round() {
	local n k device frames before sent
	for n in $PEERS; do
		frames=$((PACKETS / n)) CHUNK=$((CHUNK / n > 0 ? CHUNK / n : 1))
		for k in vxlan vnet; do
			[ $k = vxlan ] && device=vx || device=vnif0005
			before=$(packets_of "f$n" und tx)
			plain "flood/$k/$n" pumped "f$n" how=tx dev=$device "frame=$FLOOD" "packets=$frames" "chunk=$CHUNK"
			sent=$(($(packets_of "f$n" und tx) - before))
			[ "$sent" -ge $((frames * n)) ] || { say "$k: $sent copies of $frames frames for $n peers"; return 1; }
		done
	done
}

# ---- all of it ----

if has tcp || has latency || has small; then
	pair h 1500
	! has tcp || pair j 9000
	serve h
	! has tcp || serve j
fi
if has small; then
	lone u
	tunnels u und 192.0.2.1 192.0.2.2 $NEAR
	ports u
	teach u
fi
! has flood || flood_setup
! has vnets || vnets_setup
# Last: a million addresses leave little memory in large pieces.
! has macs || macs_setup
for ((round = 1; round <= ROUNDS; round++)); do
	value round "$round"
	# Short pieces, often: what else the machine does then falls on all of them alike.
	for ((again = 1; again <= AGAIN; again++)); do
		! has tcp || tcp_round
		! has small || { small_round; both_round; }
		! has macs || macs_round
		! has vnets || vnets_round
		! has flood || (flood_round)
	done
	! has latency || latency_round
done
if has create; then
	# Room for thousands of devices.
	for n in $(ip netns list | awk '{ print $1 }'); do
		[ "$n" != m ] || { ip netns del m; wait_gone; }
	done
fi
for ((round = 1; round <= (ROUNDS + 1) / 2; round++)); do
	! has create || create_round
done
value end true
