#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn against the kernel: every setting there and back, the hosts of a vnet, one MAC address, a monitor that lost changes,
# and a daemon beside the module.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 1
net h1 0005
show() { "$VN" -n h1 -j net show 0005 | jq -r ".\"$1\""; }

settings=0
# Names and limits as the kernel was given them.
while read -r name least most default; do
	settings=$((settings + 1))
	equal "$name is $default unless set" "$(show "$name")" "$default"
	for value in "$least" "$most"; do
		"$VN" -n h1 net set 0005 "--$name" "$value"
		equal "$name is set to $value" "$(show "$name")" "$value"
	done
	"$VN" -n h1 net set 0005 "--$name" "$default"
done <<'END'
ageing 100 86400000 300000
max-macs 1 16777216 65536
unknown flood drop hold
hold-mac 0 256 16
hold-net 0 1024 256
max-unresolved 1 1024 128
probes 1 16 5
probe-interval 10 10000 100
negative 0 600000 5000
unknown-rate 0 1000000 100
announces 0 10 3
announce-interval 10 10000 200
varp-rate 0 1000000 200
move-limit 0 1000 5
move-window 100 3600000 10000
damp 100 3600000 30000
remotes listed listed any
remote-macs 0 16777216 0
remote-floods 0 10000000 0
source-port flow flow fixed
END
equal "all were tried" "$settings" 20
holds "made with settings" "$VN" -n h1 net create 0006 --unknown drop --damp 5000 --remotes listed
equal "and has them" "$("$VN" -n h1 -j net show 0006 | jq -r '"\(.unknown) \(.damp) \(.remotes) \(.probes)"')" "drop 5000 listed 5"
holds "it may exist if it is so" "$VN" -n h1 net create 0006 --damp 5000 --may-exist
refused "not if it differs" "damp 5000, not 6000" -n h1 net create 0006 --damp 6000 --may-exist

"$VN" -n h1 host set --flood peers --dscp 46 --ttl inherit
equal "host settings" "$("$VN" -n h1 -j host status | jq -r '"\(.flood) \(.dscp) \(.ttl)"')" "peers 46 0"
"$VN" -n h1 host set --flood group --dscp inherit --ttl 64
equal "and back" "$("$VN" -n h1 -j host status | jq -r '"\(.flood) \(.dscp) \(.ttl)"')" "group 255 64"

"$VN" -n h1 remote add 0006 192.0.2.77
refused "a host twice" 192.0.2.77 -n h1 remote add 0006 192.0.2.77
holds "unless it may be there" "$VN" -n h1 remote add 0006 192.0.2.77 --may-exist
equal "it is listed" "$("$VN" -n h1 -j remote list 0006 192.0.2.77 | jq -c 'map([.addr, .listed])')" '[["192.0.2.77",1]]'
holds "off the list" "$VN" -n h1 remote delete 0006 192.0.2.77
refused "twice" 192.0.2.77 -n h1 remote delete 0006 192.0.2.77
holds "unless it may be gone" "$VN" -n h1 remote delete 0006 192.0.2.77 --if-exists

"$VN" -n h1 varp add 0005 02:00:00:05:00:77 192.0.2.77
equal "one MAC address" "$("$VN" -n h1 -j varp get 0005 02:00:00:05:00:77 | jq -r '"\(.addr) \(.state)"')" "192.0.2.77 static"
refused "one that is not there" 02:00:00:05:00:78 -n h1 varp get 0005 02:00:00:05:00:78

# A monitor that does not read while more changes than its socket holds are made.
"$VN" -n h1 -j monitor >/tmp/monitor &
monitor=$!
ttl=64
heard() {
	ttl=$((ttl ^ 1))
	"$VN" -n h1 host set --ttl $ttl
	[ -s /tmp/monitor ]
}
wait_for 10 "monitor listens" heard
kill -STOP $monitor
wait_for 5 "it stands still" grep -q '^State:.*T' /proc/$monitor/status
"$VN" -n h1 net delete 0006
# Every change of the MTU is told of; one process makes a thousand of them.
for i in $(seq 500); do
	printf 'link set dev vnif0005 mtu 1400\nlink set dev vnif0005 mtu 1401\n'
done >/tmp/mtus
lost() {
	ip -n h1 -batch /tmp/mtus
	# shellcheck disable=SC2016 # for awk
	ip netns exec h1 awk 'NR > 1 && $9 > 0 { found = 1 } END { exit !found }' /proc/net/netlink
}
wait_for 60 "changes were lost" lost
"$VN" -n h1 net delete 0005 --bridge
"$VN" -n h1 net create 0007 --damp 7000
"$VN" -n h1 peer add 192.0.2.78
kill -CONT $monitor
wait_for 10 "it says so" grep -q '"event":"resync"' /tmp/monitor
after() { sed -n '/"resync"/,$p' /tmp/monitor | jq -rs "map(select(.event == \"$1\") | $2) | join(\" \")"; }
wait_for 10 "and tells what was made" grep -q '"event":"net-new","id":"0007"' /tmp/monitor
equal "what went, once" "$(after net-del .id)" "0005 0006"
equal "what was made, once, as it is" "$(after net-new '"\(.id) \(.damp)"')" "0007 7000"
equal "the peer" "$(after peer-new .addr)" "192.0.2.78"
"$VN" -n h1 peer del 192.0.2.78
wait_for 5 "and goes on" grep -q '"event":"peer-del"' /tmp/monitor
kill $monitor

# Somebody listens where vnetd would.
python3 -c 'import socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind("/tmp/control")
s.listen()
time.sleep(100)' &
daemon=$!
both() { ! VNETD_SOCKET=/tmp/control "$VN" -n h1 net list 2>/tmp/both; }
wait_for 10 "vn refuses to choose" both
holds "both are named, and what to do: $(cat /tmp/both)" grep -qz 'module vnet is loaded.*/tmp/control.*--via module' /tmp/both
holds "chosen" "$VN" --vnetd-socket /tmp/control --via module -n h1 net list
kill $daemon
