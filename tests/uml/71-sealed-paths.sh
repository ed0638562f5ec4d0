#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Sealed vnets where the network is not plain: over IPv6, too narrow, doubling and reordering, and with more senders than are
# remembered. What is told of keys.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
"$VN" key generate --file /tmp/key
chmod 644 /tmp/key
net h1 0005 --seal conf
refused "a key that others can read is not taken" '0600' -n h1 key set 0005 --file /tmp/key
chmod 600 /tmp/key

timeout $((60 * SLOW)) nsenter --net=/run/netns/h1 "$VN" -j monitor >/tmp/told 2>&1 &
monitor=$!
heard() {
	"$VN" -n h1 host set --ttl 63 && "$VN" -n h1 host set --ttl 64
	[ -s /tmp/told ]
}
wait_for 10 "vn monitor listens" heard
"$VN" -n h1 key set 0005 --file /tmp/key --index 7
for i in 2 3; do
	net h$i 0005 --seal conf
	"$VN" -n h$i key set 0005 --file - --index 7 </tmp/key
done
"$VN" -n h1 key set 0005 --file /tmp/key --index 7
refused "another key with the same index" 'another key' -n h1 key set 0005 --file - --index 7 < <("$VN" key generate)
"$VN" -n h1 key set 0005 --file - --index 8 < <("$VN" key generate)
"$VN" -n h1 key del 0005 8
wait_for 10 "what happens to keys is told" grep -q key-del /tmp/told
kill $monitor
wait $monitor || true
never "but no key" grep -qf /tmp/key /tmp/told
for i in 1 2 3; do vm a$i h$i 0005 10.0.0.$i 02:00:00:00:00:0$i; done
reaches a1 10.0.0.2
reaches a1 10.0.0.3
reaches a2 10.0.0.3
# Frames are counted: none of ARP is to be among them.
for i in 1 2 3; do
	for j in 1 2 3; do [ $i = $j ] || ip -n a$i neigh replace 10.0.0.$j lladdr 02:00:00:00:00:0$j dev eth0 nud permanent; done
done

# The path becomes narrower than the vnet.
holds "1412 bytes, not to be fragmented" on a1 ping -q -c 2 -W 2 -M 'do' -s 1384 10.0.0.2
ip -n h1 route add 192.0.2.2/32 dev eth0 mtu 1300
rc=0
said=$(on a1 ping -n -c 3 -i 0.3 -W 1 -M 'do' -s 1350 10.0.0.2 2>&1) || rc=$?
holds "too big for the path" test "$rc" != 0
wait_for 5 "is counted" counts h1 0005 tx-too-big 1
holds "and said to the sender: $said" grep -qiE 'too long|frag needed' <<<"$said"
ip -n h1 route del 192.0.2.2/32 dev eth0 mtu 1300
on a1 ip route flush cache

# Doubled and out of order: each frame arrives once.
on lan tc qdisc add dev h2 root netem duplicate 30% delay 2ms 2ms
before=$(counter h2 0005 rx-packets)
sent=$(less 1000 200)
on a1 ./frames.py send eth0 02:00:00:00:00:02 02:00:00:00:00:01 "$sent"
wait_for 20 "all arrive" counts h2 0005 rx-packets $((before + sent))
on lan tc qdisc del dev h2 root
holds "once" test "$(counter h2 0005 rx-packets)" -le $((before + sent + 20))
holds "what was doubled was dropped" test "$(counter h2 0005 rx-replay)" -ge $((sent / 10))

# More hosts than are remembered: each is asked again when it comes back, and what it sent before is not taken again.
"$VN" -n h2 net set 0005 --max-senders 1
reaches a1 10.0.0.2
timeout $((60 * SLOW)) nsenter --net=/run/netns/lan tcpdump -Z root -Uni lan -w /tmp/old.pcap -c 1 'src 192.0.2.1 and dst 192.0.2.2 and udp dst port 1798 and udp[4:2] > 100' 2>/tmp/tcpdump &
is_listening "tcpdump listens" /tmp/tcpdump
holds "a frame of h1" pings a1 10.0.0.2
wait
evicted=$(counter h2 0005 evicted)
reaches a3 10.0.0.2
holds "h3 takes the place of h1" counts h2 0005 evicted $((evicted + 1))
equal "one is remembered" "$(net_field h2 0005 senders)" 1
got=$(counter h2 0005 rx-packets)
unknown=$(counter h2 0005 rx-unknown-sender)
on h3 ./frames.py say 192.0.2.2 "$(./frames.py payload /tmp/old.pcap 1)"
wait_for 10 "what h1 sent before is not taken" counts h2 0005 rx-unknown-sender $((unknown + 1))
equal "nothing was delivered" "$(counter h2 0005 rx-packets)" "$got"
reaches a1 10.0.0.2
reaches a3 10.0.0.2

# What could be learned while it was not sealed is forgotten, but not what was said by command.
for i in 1 2; do "$VN" -n h$i net set 0005 --seal none; done
reaches a1 10.0.0.2
"$VN" -n h1 varp add 0005 02:00:00:00:00:09 192.0.2.3
equal "what h2 sends is learned" "$(behind h1 0005 02:00:00:00:00:02)" 192.0.2.2
"$VN" -n h1 net set 0005 --seal conf
equal "and forgotten, as anybody could have sent it" "$(behind h1 0005 02:00:00:00:00:02)" ""
equal "what was said by command is not" "$(behind h1 0005 02:00:00:00:00:09)" 192.0.2.3
"$VN" -n h2 net set 0005 --seal conf
reaches a1 10.0.0.2

# A vnet goes while its machines send: nothing of that leaves unsealed. The socket stays, for another vnet.
"$VN" -n h1 net create 0006 --seal auth
timeout $((60 * SLOW)) nsenter --net=/run/netns/lan tcpdump -Z root -Uni lan -w /tmp/open.pcap 'src 192.0.2.1 and udp dst port 1798 and udp[8:2] < 4' 2>/tmp/tcpdump &
listener=$!
is_listening "tcpdump listens" /tmp/tcpdump
on a1 ./frames.py send eth0 ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 100000000 &
sender=$!
rounds=$(less 20 4)
for _ in $(seq "$rounds"); do
	"$VN" -n h1 net delete 0005
	"$VN" -n h1 net create 0005 --bridge vnbr0005 --seal conf
	"$VN" -n h1 key set 0005 --file /tmp/key --index 7
	wait_for 10 "it sends, sealed" counts h1 0005 tx-packets 10
done
kill $sender
kill -INT $listener
wait $sender $listener || true
equal "$rounds times deleted, nothing left unsealed" "$(./frames.py list /tmp/open.pcap | wc -l)" 0
reaches a1 10.0.0.2

# Over IPv6, straight to peers.
for i in 1 2; do
	on h$i sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0
	ip -n h$i addr add 2001:db8::$i/64 dev eth0 nodad
	"$VN" -n h$i host set --group none --flood peers
	"$VN" -n h$i peer add 2001:db8::$((3 - i))
	"$VN" -n h$i varp flush 0005
done
reaches a1 10.0.0.2
equal "behind an IPv6 address" "$(behind h1 0005 02:00:00:00:00:02)" 2001:db8::2
equal "the default MTU over IPv6" "$("$VN" -n h1 net create 0007 --seal auth >/dev/null && net_field h1 0007 mtu)" 1392
