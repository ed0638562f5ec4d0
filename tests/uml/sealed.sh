# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# A sealed vnet, in the module and in the daemon. h1 and h2 are in it, by what HOW_h1 and HOW_h2 say; h3 is somebody who repeats,
# changes and makes up packets.

ID=0005
declare -A HOW ADDRESS=([h1]=192.0.2.1 [h2]=192.0.2.2)
# vn_of HOST ARGUMENTS...
vn_of() {
	local host=$1
	shift
	"$VN" -n "$host" --via "${HOW[$host]}" "$@"
}
stat_of() { vn_of "$1" -j -s net show "${3:-$ID}" | jq -r ".stats[\"$2\"]"; }
host_stat_of() { vn_of "$1" -j -s host status | jq -r ".stats[\"$2\"]"; }
value_of() { vn_of "$1" -j net show "$ID" | jq -r ".[\"$2\"]"; }
stat_is() { [ "$(stat_of "$1" "$2")" = "$3" ]; }
host_stat_is() { [ "$(host_stat_of "$1" "$2")" = "$3" ]; }
key_file() { echo "/tmp/key.$1"; }

# capture NAME FILTER COUNT: from now on, into /tmp/NAME.pcap, what is on the LAN.
capture() {
	timeout $((60 * SLOW)) nsenter --net=/run/netns/lan tcpdump -Z root -Uni lan -w "/tmp/$1.pcap" -c "$3" "$2" >/tmp/captured 2>/tmp/tcpdump &
	captures=$!
	is_listening "tcpdump listens" /tmp/tcpdump
}
captured() { wait "$captures" || fail "tcpdump captured it"; }

# seal MODE CIPHER: both hosts, with a new key; their machines reach each other.
seal() {
	local host
	rm -f "$(key_file 1)"
	"$VN" key generate --file "$(key_file 1)"
	for host in h1 h2; do
		vn_of $host net create $ID --bridge "vnbr$ID" --seal "$1" --cipher "$2"
		vn_of $host key set $ID --file "$(key_file 1)" --index 1
	done
	vm a1 h1 $ID 10.0.0.1 02:00:00:00:00:01
	vm a2 h2 $ID 10.0.0.2 02:00:00:00:00:02
	reaches a1 10.0.0.2
	# Frames are counted: none of ARP is to be among them.
	ip -n a1 neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
	ip -n a2 neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
}
unseal() {
	local host
	for host in h1 h2; do vn_of $host net delete $ID; ip -n $host link delete vnbr$ID; done
	ip netns delete a1
	ip netns delete a2
}

# What is on the wire.
wire() {
	local mode=$1 plain
	capture wire "src ${ADDRESS[h1]} and dst ${ADDRESS[h2]} and udp dst port 1798" 3
	holds "three pings" on a1 ping -q -c 3 -i 0.1 -p 7365637265747465 10.0.0.2
	captured
	plain=$(grep -c secrette <(tr -d '\n' </tmp/wire.pcap | tr '\0' ' ')) || true
	case $mode in
	conf) equal "nobody reads what is sent" "$plain" 0 ;;
	auth) equal "everybody reads what is sent" "$plain" 1 ;;
	esac
	PACKET=$(./frames.py payload /tmp/wire.pcap 3)
	equal "a sealed message" "${PACKET:0:8}" 00040000
	# 28 in clear, 2 for the kind, an Ethernet header, 84 of IP, the tag.
	equal "as long as was said" ${#PACKET} $((2 * (28 + 2 + 14 + 84 + 16)))
}

# nothing_passes TEXT COMMAND...: h3 does something, and no frame of it arrives.
nothing_passes() {
	local text=$1 before
	shift
	before=$(stat_of h2 rx-packets)
	on h3 "$@"
	# What h2 counts after it came after it.
	holds "$text; the vnet goes on" pings a1 10.0.0.2
	equal "$text: nothing came in but the ping" "$(stat_of h2 rx-packets)" $((before + 1))
}

changed() {
	local bits=$((4 * ${#PACKET})) bad replayed message key
	bad=$(stat_of h2 rx-bad-seal) replayed=$(stat_of h2 rx-replay) message=$(host_stat_of h2 rx-bad-message) key=$(host_stat_of h2 rx-unknown-key)
	nothing_passes "each of $bits bits changed" ./frames.py flip "${ADDRESS[h2]}" "$PACKET"
	# The message number is not sealed, nor is the mark of who relays it.
	equal "no message" $(($(host_stat_of h2 rx-bad-message) - message)) 16
	equal "the mark: the same once more" $(($(stat_of h2 rx-replay) - replayed)) 16
	equal "another key" $(($(host_stat_of h2 rx-unknown-key) - key)) 64
	equal "everything else does not open" $(($(stat_of h2 rx-bad-seal) - bad)) $((bits - 96))

	local bytes=$((${#PACKET} / 2)) short
	bad=$(stat_of h2 rx-bad-seal) short=$(host_stat_of h2 rx-short)
	nothing_passes "cut to each length" ./frames.py cut "${ADDRESS[h2]}" "$PACKET"
	equal "too short for a message" $(($(host_stat_of h2 rx-short) - short)) 46
	equal "too short for what it was" $(($(stat_of h2 rx-bad-seal) - bad)) $((bytes - 46))
}

repeated() {
	local before late
	before=$(stat_of h2 rx-replay)
	nothing_passes "the same again" ./frames.py say "${ADDRESS[h2]}" "$PACKET" "$PACKET"
	equal "it was there" $(($(stat_of h2 rx-replay) - before)) 2

	# What was kept from arriving, in another order.
	on lan tc qdisc add dev h2 root netem loss 100%
	capture held "src ${ADDRESS[h1]} and dst ${ADDRESS[h2]} and udp dst port 1798" 20
	on a1 ./frames.py send eth0 02:00:00:00:00:02 02:00:00:00:00:01 20
	captured
	on lan tc qdisc del dev h2 root
	local payloads got
	mapfile -t payloads < <(./frames.py payload /tmp/held.pcap $(seq 20 -1 2))
	late=$(./frames.py payload /tmp/held.pcap 1)
	got=$(stat_of h2 rx-packets)
	on h3 ./frames.py say "${ADDRESS[h2]}" "${payloads[@]}"
	wait_for 10 "backwards they are all taken" stat_is h2 rx-packets $((got + 19))
	nothing_passes "but only once" ./frames.py say "${ADDRESS[h2]}" "${payloads[@]}"
	# More than are remembered. What the sender's queue has no room for does not count.
	local many=2100
	[ "${HOW[h2]}" != vnetd ] || many=32800
	for _ in $(seq 100); do
		! counts_more h2 rx-packets $((got + 19 + many)) || break
		on a1 ./frames.py send eth0 02:00:00:00:00:02 02:00:00:00:00:01 1000
	done
	wait_for 10 "$many later" counts_more h2 rx-packets $((got + 19 + many))
	before=$(stat_of h2 rx-replay)
	nothing_passes "one that never was there is too late" ./frames.py say "${ADDRESS[h2]}" "$late"
	equal "it is refused as if it had been" $(($(stat_of h2 rx-replay) - before)) 1
}
counts_more() { [ "$(stat_of "$1" "$2")" -ge "$3" ]; }

# What a host has sealed is thrown back at it, out of another place: it could open that, and must not believe itself.
thrown_back() {
	local thrown bits before senders challenges
	capture wire "src ${ADDRESS[h2]} and dst ${ADDRESS[h1]} and udp dst port 1798" 3
	holds "three pings that h2 answers" on a1 ping -q -c 3 -i 0.1 10.0.0.2
	captured
	mapfile -t thrown < <(./frames.py payload /tmp/wire.pcap 1 2 3)
	before=$(stat_of h2 rx-replay) challenges=$(stat_of h2 challenges) senders=$(value_of h2 senders)
	bits=${#thrown[2]}
	# The second one never was anybody's: the number of its message is changed.
	nothing_passes "what it has sealed itself" ./frames.py say "${ADDRESS[h2]}" "${thrown[@]}" "${thrown[2]:0:40}0fffffffffffffff${thrown[2]:56:bits}"
	equal "is refused, whatever it is" $(($(stat_of h2 rx-replay) - before)) 4
	equal "nobody is asked" "$(stat_of h2 challenges)" "$challenges"
	equal "and nobody else believed" "$(value_of h2 senders)" "$senders"
}

# What is not sealed, from who would be believed otherwise.
unsealed() {
	local id frame announce before
	printf -v id %032x "0x$ID"
	printf -v frame '000200000040%sffffffffffff02000000000388b5%092x' "$id" 0
	printf -v announce '00010002%s02000000000302c0000203%024x' "$id" 0
	before=$(stat_of h2 rx-not-sealed)
	nothing_passes "a frame and an announcement, not sealed" ./frames.py say "${ADDRESS[h2]}" "$frame" "$announce"
	equal "are not taken" $(($(stat_of h2 rx-not-sealed) - before)) 2
	never "and nothing is learned from them" sh -c "$VN -n h2 --via ${HOW[h2]} -j varp list $ID | grep 02:00:00:00:00:03"
}

rotation() {
	local host lost
	rm -f "$(key_file 2)"
	"$VN" key generate --file "$(key_file 2)"
	(timeout $((60 * SLOW)) nsenter --net=/run/netns/a1 ping -q -i 0.005 -c $((400 * SLOW)) 10.0.0.2 >/tmp/lost 2>&1; echo over >>/tmp/lost) &
	for host in h1 h2; do vn_of $host key set $ID --file "$(key_file 2)" --index 2; done
	equal "the next key" "$(vn_of h1 -j key list $ID | jq -r '.[] | select(.slot == "next") | .index')" 2
	for host in h1 h2; do vn_of $host key rotate $ID; done
	equal "is the current one" "$(vn_of h1 -j key list $ID | jq -r '.[] | select(.slot == "current") | .index')" 2
	equal "and that the previous one" "$(vn_of h2 -j key list $ID | jq -r '.[] | select(.slot == "previous") | .index')" 1
	for host in h1 h2; do vn_of $host key del $ID 1; done
	refused "there is no next one" 'no next key' -n h1 --via "${HOW[h1]}" key rotate $ID
	wait_for 60 "the pings end" grep -q over /tmp/lost
	lost=$(sed -n 's/.* received, \(.*\)% packet loss.*/\1/p' /tmp/lost)
	equal "not one was lost" "$lost" 0
	never "no key is told" sh -c "$VN -n h1 --via ${HOW[h1]} -j key list $ID | grep -qf $(key_file 2)"
}

# A host begins anew, as another sender.
restart() {
	local before recorded
	capture wire "src ${ADDRESS[h1]} and dst ${ADDRESS[h2]} and udp dst port 1798" 1
	holds "a ping" pings a1 10.0.0.2
	captured
	recorded=$(./frames.py payload /tmp/wire.pcap 1)
	(timeout $((60 * SLOW)) nsenter --net=/run/netns/a1 ping -q -i 0.02 -c $((100 * SLOW)) 10.0.0.2 >/tmp/lost 2>&1; echo over >>/tmp/lost) &
	vn_of h2 net delete $ID
	vn_of h2 net create $ID --bridge "vnbr$ID" --seal "$1" --cipher "$2"
	vn_of h2 key set $ID --file "$(key_file 2)" --index 2
	reaches a2 10.0.0.1
	wait_for 60 "the pings end" grep -q over /tmp/lost
	holds "and some of them came back: $(grep loss /tmp/lost)" grep -q ' [1-9][0-9]* received' /tmp/lost
	before=$(stat_of h2 rx-replay)
	nothing_passes "what was recorded before" ./frames.py say "${ADDRESS[h2]}" "$recorded"
	equal "it is refused, although this host has never seen it" $(($(stat_of h2 rx-replay) - before)) 1
}

# A host with another key, and one with the same key for another vnet, are told nothing.
strangers() {
	local before
	"$VN" key generate --file /tmp/key.other
	vn_of h2 net create 0006 --seal "$1"
	vn_of h2 key set 0006 --file "$(key_file 2)"
	vn_of h2 net set 0006 --max-senders 1
	before=$(stat_of h2 rx-packets 0006)
	holds "a flood" on a1 ./frames.py send eth0 ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 1
	wait_for 10 "it arrives" pings a1 10.0.0.2
	equal "not in another vnet with the same key" "$(stat_of h2 rx-packets 0006) $(stat_of h2 rx-bad-seal 0006)" "$before 0"
	vn_of h2 net delete 0006
	rm /tmp/key.other
}

without_key() {
	local before
	vn_of h2 key del $ID 2
	before=$(stat_of h2 tx-no-key)
	never "without a key nothing passes" pings a2 10.0.0.1
	holds "and that is counted" counts_more h2 tx-no-key $((before + 1))
	vn_of h2 key set $ID --file "$(key_file 2)" --index 2
	reaches a2 10.0.0.1
}

tcp() {
	local dropped
	timeout $((60 * SLOW)) nsenter --net=/run/netns/a2 iperf3 -s -1 -D -I /tmp/iperf.pid
	wait_for 5 "iperf3 listens" test -s /tmp/iperf.pid
	dropped="$(stat_of h1 tx-too-big) $(stat_of h2 rx-bad-seal) $(stat_of h2 rx-replay) $(stat_of h2 rx-backlog)"
	on a1 iperf3 -c 10.0.0.2 -n $((16 / SLOW + 1))M -J | jq '.end.sum_sent.retransmits' >/tmp/retransmits
	equal "a stream of segments loses none" "$(stat_of h1 tx-too-big) $(stat_of h2 rx-bad-seal) $(stat_of h2 rx-replay) $(stat_of h2 rx-backlog)" "$dropped"
}

# sealed MODE CIPHER PART...: these parts, in a vnet that is sealed so.
sealed() {
	local part
	say "$1 $2"
	seal "$1" "$2"
	equal "the MTU leaves room for the seal" "$(value_of h1 mtu) $(value_of h2 mtu)" "1412 1412"
	for part in "${@:3}"; do
		$part "$1" "$2"
	done
	unseal
}
