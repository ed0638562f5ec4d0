#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# TCP and UDP streams: segments cross the TAP whole, are cut for the wire, and put together again.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

command -v iperf3 >/dev/null || fail "iperf3 is not there"
two_customers
# server: iperf3 for one run on a2.
server() {
	on a2 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
	server=$!
	is_listening "iperf3 listens" "$WORK/server"
}
# packets HOST DIRECTION: of vnif0005, as the stack counts them.
packets() { on "$1" ip -s -j link show vnif0005 | jq ".[0].stats64.$2.packets"; }

before=$(packets h1 rx) sent=$(counter h1 0005 tx-packets) into=$(packets h2 tx) received=$(counter h2 0005 rx-packets)
server
holds "a TCP stream" on a1 iperf3 -c 10.0.0.2 -n 100M
wait "$server"
# What the device gives us, it counts as received.
whole=$(($(packets h1 rx) - before)) cut=$(($(counter h1 0005 tx-packets) - sent))
say "$whole packets from the device became $cut datagrams"
[ "$cut" -ge 70000 ] || fail "100 MB are more than $cut datagrams"
[ $((whole * 3)) -le "$cut" ] || fail "segments cross the TAP whole"
ok "segments cross the TAP whole"
merged=$(($(packets h2 tx) - into)) received=$(($(counter h2 0005 rx-packets) - received))
say "$received frames became $merged packets for the device"
[ $((merged * 2)) -le "$received" ] || fail "segments are put together again"
ok "segments are put together again"

server
holds "the other way" on a1 iperf3 -c 10.0.0.2 -n 100M -R
wait "$server"
server
holds "four streams at once" on a1 iperf3 -c 10.0.0.2 -n 100M -P 4
wait "$server"
server
holds "UDP" on a1 iperf3 -c 10.0.0.2 -u -b 50M -t 1
wait "$server"

# Datagrams, some of one length, some not, sent in groups: each arrives whole, once, and in its place.
into=$(packets h2 tx) received=$(counter h2 0005 rx-packets)
cat >"$WORK/datagrams" <<-'END'
	import os, random, socket, sys
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.settimeout(20)
	random.seed(1)
	groups = []
	for group in range(60):
	    length = random.choice([1, 22, 300, 1400])
	    sizes = [length if group % 3 else random.randrange(1, 1400) for _ in range(32)]
	    sizes[-1] = random.randrange(1, length + 1)
	    groups.append([bytes([group, place, *random.randbytes(size)]) for place, size in enumerate(sizes)])
	if sys.argv[1] == "receive":
	    s.bind(("10.0.0.2", 7000))
	    print("listening", flush=True)
	    for group in groups:
	        for datagram in group:
	            got, sender = s.recvfrom(2000)
	            assert got == datagram, (got[:2], datagram[:2], len(got), len(datagram))
	        s.sendto(b"next", sender)
	else:
	    s.connect(("10.0.0.2", 7000))
	    for group in groups:
	        for datagram in group:
	            s.send(datagram)
	        assert s.recv(10) == b"next"
END
on a2 python3 "$WORK/datagrams" receive >"$WORK/receiver" 2>&1 &
receiver=$!
wait_for 10 "a2 listens" grep -q listening "$WORK/receiver"
holds "datagrams in groups" on a1 python3 "$WORK/datagrams" send
wait "$receiver" || fail "they are not what was sent: $(cat "$WORK/receiver")"
ok "each is what was sent"
merged=$(($(packets h2 tx) - into)) received=$(($(counter h2 0005 rx-packets) - received))
say "$received frames became $merged packets for the device"

for h in h1 h2; do
	for c in rx-short rx-ecn rx-bad-source tx-too-big tx-short tx-no-route; do
		equal "$h: no $c" "$(counter "$h" 0005 "$c")" 0
	done
done

# The same with outer packets in fragments.
mtu() {
	ctl "$1" net-set '{"id": "0005", "mtu": 1500}'
	on "$1" ip link set "v-$2" mtu 1500
	ip -n "$NS$2" link set eth0 mtu 1500
}
mtu h1 a1
mtu h2 a2
holds "a full packet in fragments" on a1 ping -q -n -M 'do' -c 2 -s 1472 -W 2 10.0.0.2
server
holds "TCP in fragments" on a1 iperf3 -c 10.0.0.2 -n 20M
wait "$server"
