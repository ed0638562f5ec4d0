#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Sealed vnets: both modes, both ciphers, small and large frames, floods, streams. What is encrypted cannot be read, and who has no
# key or another one hears nothing.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vnetd/sealed.sh
. "$(dirname "$0")/sealed.sh"

hosts 3
key one
key two
for h in h1 h2 h3; do net $h 0005 '{"seal": "conf"}'; done
for h in h1 h2; do holds "$h has the key" vn $h key set 5 --file "$WORK/one.key"; done
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
vm a3 h3 0005 10.0.0.3 $MAC3
equal "the default MTU leaves room for the seal" "$(ctl h1 net-get '{"id": "0005"}' | jq .mtu)" 1412
equal "which the underlay carries" "$(ctl h1 net-get '{"id": "0005"}' | jq '."underlay-mtu"')" 1412
reaches a1 10.0.0.2

# h3 has no key: it hears nothing, and nothing of it is heard.
isolated a1 10.0.0.3
isolated a3 10.0.0.1
wait_for 5 "without a key nothing is sent" counts h3 0005 tx-no-key 1
wait_for 5 "and nothing understood" host_counts h3 rx-unknown-key 1
refused "nor asked" "has no key" h3 probe '{"net": "0005"}'
holds "h3 has another key" vn h3 key set 5 --file "$WORK/two.key"
before=$(host_counter h1 rx-unknown-key)
# It shall ask anew.
on a3 ip neigh flush dev eth0
isolated a3 10.0.0.1
wait_for 5 "what another key has sealed is not understood" host_counts h1 rx-unknown-key $((before + 1))
equal "nothing was learned of it" "$(behind h1 0005 $MAC3)" ""
equal "one host is believed" "$(senders h1)" 1

# server: iperf3 for one run on a2.
server() {
	on a2 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
	server=$!
	is_listening "iperf3 listens" "$WORK/server"
}
heard() { grep -q 'flood 1' "$WORK/floods"; }
ciphers="chacha20-poly1305"
if grep -qw aes /proc/cpuinfo; then
	ciphers+=" aes-256-gcm"
else
	refused "without AES instructions it is not sealed with AES" "no instructions for AES" h1 net-set '{"id": "0005", "cipher": "aes-256-gcm"}'
fi
for seal in conf auth; do
	for cipher in $ciphers; do
		say "$seal with $cipher"
		for h in h1 h2; do holds "set on $h" ctl $h net-set "{\"id\": \"0005\", \"seal\": \"$seal\", \"cipher\": \"$cipher\"}"; done
		reaches a1 10.0.0.2
		capture "$WORK/pcap" h2 'udp dst port 1798 and src host 192.0.2.1'
		holds "ping" on a1 ping -q -n -c 5 -i 0.05 -W 2 -p 6d61726b6572 10.0.0.2
		holds "full frames" on a1 ping -q -n -M 'do' -c 5 -i 0.05 -W 2 -s 1384 -p 6d61726b6572 10.0.0.2
		captured "$WORK/pcap"
		read -r packets readable <<<"$("$HERE/sealed.py" count "$WORK/pcap" markermarker)"
		if [ "$seal" = conf ]; then
			equal "nothing of $packets packets can be read" "$readable" 0
		else
			[ "$readable" -ge 10 ] || fail "what is not encrypted can be read: $readable of $packets"
			ok "what is not encrypted can be read"
		fi
		before=$(counter h1 0005 tx-packets)
		server
		holds "a TCP stream" on a1 iperf3 -c 10.0.0.2 -n 30M
		wait "$server"
		[ $(($(counter h1 0005 tx-packets) - before)) -ge 22000 ] || fail "each segment is sealed"
		server
		holds "four of them, the other way" on a1 iperf3 -c 10.0.0.2 -n 20M -P 4 -R
		wait "$server"
		nsenter --net="/run/netns/${NS}a2" tcpdump -Z root -lnni eth0 -A 'udp port 7777' >"$WORK/floods" 2>"$WORK/tcpdump" &
		tcpdump=$!
		is_listening "tcpdump listens on a2" "$WORK/tcpdump"
		on a1 python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(b"flood 1", ("10.0.0.255", 7777))'
		wait_for 5 "a flood is heard" heard
		kill "$tcpdump"
		wait "$tcpdump" || true
		[ "$(grep -c 'flood 1' "$WORK/floods")" = 1 ] || { cat "$WORK/floods"; fail "once"; }
	done
done
for h in h1 h2; do
	for c in rx-bad-seal rx-short rx-not-sealed tx-no-key; do equal "$h: no $c" "$(counter $h 0005 $c)" 0; done
done

# One mode here and another there: nothing passes.
ctl h1 net-set '{"id": "0005", "seal": "conf"}'
isolated a1 10.0.0.2
ctl h2 net-set '{"id": "0005", "seal": "conf"}'
reaches a1 10.0.0.2

# Not sealed any more, and again.
for h in h1 h2; do ctl $h net-set '{"id": "0005", "seal": "none"}'; done
equal "the MTU that was the default is the other one" "$(ctl h1 net-get '{"id": "0005"}' | jq .mtu)" 1436
equal "nobody is believed" "$(senders h1)" 0
reaches a1 10.0.0.2
equal "what a2 sends is learned" "$(behind h1 0005 $MAC2)" 192.0.2.2
ctl h1 net-set '{"id": "0005", "seal": "conf", "mtu": 1500}'
equal "and forgotten, as anybody could have said it" "$(behind h1 0005 $MAC2)" ""
ctl h2 net-set '{"id": "0005", "seal": "conf", "mtu": 1500}'
reaches a1 10.0.0.2
for h in h1 h2; do on $h ip link set v-a${h#h} mtu 1500; ip -n "${NS}a${h#h}" link set eth0 mtu 1500; done
holds "full frames in fragments" on a1 ping -q -n -M 'do' -c 2 -s 1472 -W 2 10.0.0.2
