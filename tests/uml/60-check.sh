#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn check and vn ping: every fault that check claims to find is made for real, found, and mended as it says.
#
# h1 with a1, h2 with a2 in vnet 0005; h3 beside them
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

# check HOST [ARGUMENTS...]: what it finds is in /tmp/check, its exit status in $rc.
check() {
	local h=$1
	shift
	rc=0
	"$VN" -n "$h" check "$@" >/tmp/check 2>&1 || rc=$?
}
# finds TEXT LEVEL PATTERN HOST [ARGUMENTS...]: a finding of that level is there; a fault is exit status 4.
finds() {
	local text=$1 level=$2 pattern=$3
	shift 3
	check "$@"
	grep -qE "^$level: .*$pattern" /tmp/check || { sed 's/^/# /' /tmp/check; fail "$text: not found: $level: $pattern"; }
	[ "$level" != fault ] || [ "$rc" = 4 ] || fail "$text: exit status $rc, not 4"
	ok "$text: $(grep -E "^$level: .*$pattern" /tmp/check | head -n 1)"
}
sound() {
	local text=$1
	shift
	check "$@"
	[ "$rc" = 0 ] || { sed 's/^/# /' /tmp/check; fail "$text: exit status $rc"; }
	ok "$text"
}

check h9
equal "no such namespace is no finding" "$rc" 2
rc=0
"$VN" check >/tmp/check 2>&1 || rc=$?
equal "without the module" "$rc" 4
holds "it says so" grep -q '^fault: .*\(not loaded\|neither the module nor vnetd\)' /tmp/check
holds "and what to do" grep -q 'next: .*vn host load' /tmp/check

load
hosts 3
nsenter --net=/run/netns/h1 -- socat -u UDP4-RECV:1798 /dev/null &
socat=$!
taken() { [ "$(on h1 ss -Huln 'sport = 1798' | wc -l)" = 1 ]; }
wait_for 5 "a program has port 1798" taken
finds "a port that is taken" fault 'UDP port 1798 is taken by socat \(process [0-9]+\)' h1
kill $socat
wait $socat || true

for i in 1 2; do
	net "h$i" 0005
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
reaches a1 10.0.0.2
sound "two hosts, no fault" h1
equal "nothing to say" "$(cat /tmp/check)" "no faults, no notes"
"$VN" -n h1 -j check 0005 >/tmp/json
equal "JSON" "$(jq -c '[.faults, .hosts[0].addr, .hosts[0].nets[0].id, .hosts[0].nets[0].largest]' /tmp/json)" '[0,"192.0.2.2","0005",1472]'
refused "a vnet that is not here" 0009 -n h1 check 0009

# vn ping
A2=02:00:00:00:00:02
"$VN" -n h1 ping 5 $A2 -c 2 -i 0.1 >/tmp/ping
equal "who has a2" "$(sed -n '2s/:  *seq.*//p' /tmp/ping)" "192.0.2.2 has $A2"
holds "statistics" grep -q '^2 asked, 2 answered, 0% without' /tmp/ping
holds "a host that has the vnet" "$VN" -n h1 ping 5 192.0.2.2 -c 1
equal "as JSON" "$("$VN" -n h1 -j ping 5 192.0.2.2 -c 1 | jq -c '[.event, .addr, .answered]' | tr -d '\n')" \
	'["answer","192.0.2.2",null]["statistics",null,1]'
for silent in 192.0.2.3 02:00:00:00:00:99; do
	rc=0
	"$VN" -n h1 ping 5 $silent -c 1 >/tmp/ping 2>&1 || rc=$?
	equal "nobody answers for $silent" "$rc" 4
	holds "and that is said" grep -q '1 asked, 0 answered, 100%' /tmp/ping
done
holds "a size that passes" "$VN" -n h1 ping 5 192.0.2.2 -c 1 -S 1472
never "one that does not" "$VN" -n h1 ping 5 192.0.2.2 -c 1 -S 1473
refused "an address that is here" 'is on this host' -n h1 ping 5 02:00:00:00:00:01

# The vnet is elsewhere, or nowhere.
"$VN" -n h1 net create 0006 --bridge vnbr0006
finds "a vnet that no other host has" note 'no other host answers for vnet 0006' h1
finds "if it is named, that is a fault" fault 'no other host answers for vnet 0006' h1 6
"$VN" -n h1 peer add 192.0.2.2
finds "a peer without the vnet" fault '192.0.2.2 answers, but not for vnet 0006' h1
"$VN" -n h2 net create 0006
sound "it has it now" h1 6
"$VN" -n h1 peer del 192.0.2.2
"$VN" -n h1 peer add 192.0.2.3
finds "a peer where nothing has the port" fault '192.0.2.3 is there, but nothing has UDP port 1798' h1
"$VN" -n h1 peer del 192.0.2.3
"$VN" -n h1 peer add 192.0.2.9
finds "a peer that is not there" fault '192.0.2.9 (cannot be reached|does not answer)' h1
"$VN" -n h1 peer del 192.0.2.9
"$VN" -n h1 peer add 198.51.100.1
finds "a peer to which no route leads" fault 'no route to peer 198.51.100.1' h1
"$VN" -n h1 peer del 198.51.100.1
"$VN" -n h1 net set 5 --remotes listed
finds "an empty list" fault 'vnet 0005 accepts from listed hosts only' h1
"$VN" -n h1 net set 5 --remotes any
for h in h1 h2; do "$VN" -n $h net cleanup -v 6; done
sound "sound again" h1

# The path between the hosts is narrower than it should be. A bridge lets four bytes more pass, for a VLAN tag.
ip -n lan link set h2 mtu 1300
finds "a narrow path" fault 'packets of vnet 0005 to 192.0.2.2 get lost .* more than 1276 bytes, but its MTU needs 1472' h1
holds "and the MTU that fits is named" grep -q 'next: .*--mtu 1240' /tmp/check
for h in h1 h2; do "$VN" -n $h net set 5 --mtu 1240; done
sound "with that MTU it passes" h1 5
ip -n lan link set h2 mtu 1500
for h in h1 h2; do "$VN" -n $h net set 5 --mtu 1500 2>/dev/null; done
finds "an MTU that the underlay does not carry" note 'MTU 1500 of vnet 0005 is larger than the 1436' h1
for h in h1 h2; do "$VN" -n $h net set 5 --mtu 1436; done

# Floods do not reach h2, unicast does; then nothing does, though the network seems to be there.
reaches a1 10.0.0.2
"$VN" -n h2 host set --group 224.10.0.2
finds "another group" fault '192.0.2.2 answers when it is asked directly, but not when group 224.10.0.1 is' h1
"$VN" -n h2 host set --group $GROUP
ip -n h1 neigh replace 192.0.2.2 lladdr "$(mac_of h2)" dev eth0 nud permanent
ip -n lan link set h2 nomaster
finds "silence" fault '192.0.2.2 does not answer for any vnet' h1
ip -n lan link set h2 master lan
ip -n h1 neigh del 192.0.2.2 dev eth0
sound "sound again" h1

# A host of the original answers for its machines, and not whether the vnet is there.
A3=02:00:00:00:00:33
nsenter --net=/run/netns/h3 -- ./frames.py original 192.0.2.1 5 $A3 >/dev/null 2>&1 &
original=$!
wait_for 5 "a machine of the original is heard" is_behind h1 0005 $A3 192.0.2.3
finds "a host of the original" note "192.0.2.3 speaks the original's protocol only" h1
equal "is no fault" "$rc" 0
kill -STOP $original
finds "unless it does not answer for its machines either" fault '192.0.2.3 does not answer for any vnet' h1
kill -KILL $original
wait $original || true
"$VN" -n h1 varp del 5 $A3
sound "sound without it" h1

# What is not vnet, and what was damaged on its way.
echo garbage | on h2 socat -u - UDP4-SENDTO:192.0.2.1:1798
wait_for 5 "garbage is counted" host_counts h1 rx-bad-message 1
finds "and told of" note 'rx-bad-message: 1 packets were no messages of vnet' h1
on h2 python3 - <<-'END'
	import socket, struct
	raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
	raw.sendto(struct.pack("!HHHH", 1798, 1798, 12, 0xdead) + b"vnet", ("192.0.2.1", 0))
END
wrong() { on h1 sh -c "awk '/^Udp:/ { n = \$8 } END { exit n == 0 }' /proc/net/snmp"; }
wait_for 5 "a wrong checksum is counted" wrong
finds "and told of" note '1 UDP packets came with a wrong checksum' h1
holds "with what to switch off" grep -q 'next: .*ethtool -K' /tmp/check

# The bridge and the vnet's device.
ip -n h1 link set vnif0005 down
finds "the device is down" fault 'vnif0005 of vnet 0005 is down' h1
ip -n h1 link set vnif0005 up
ip -n h1 link set vnbr0005 down
finds "the bridge is down" fault 'bridge vnbr0005 of vnet 0005 is down' h1
ip -n h1 link set vnbr0005 type bridge forward_delay 3000 stp_state 1
ip -n h1 link set vnbr0005 up
finds "the spanning tree" fault 'spanning tree of bridge vnbr0005 keeps vnif0005' h1
ip -n h1 link set vnbr0005 type bridge stp_state 0
ip -n h1 link set vnif0005 nomaster
finds "no bridge" note 'vnif0005 of vnet 0005 is not a port of a bridge' h1
ip -n h1 link set vnif0005 master vnbr0005
"$VN" -n h1 net create 0006
ip -n h1 link set vnif0006 master vnbr0005
finds "two vnets on one bridge" fault 'bridge vnbr0005 joins vnet 0005 with another, that of vnif0006' h1
"$VN" -n h1 net delete 0006
ip -n h1 link set v-a1 nomaster
finds "no guest" note 'no guest is attached to bridge vnbr0005' h1
ip -n h1 link set v-a1 master vnbr0005
reaches a1 10.0.0.2

# One MAC address on two hosts.
"$VN" -n h1 net set 5 --move-limit 2 --move-window 60000 --damp 600000
ip -n a1 link set eth0 address 02:00:00:00:00:77
ip -n a2 link set eth0 address 02:00:00:00:00:77
# One of the hosts may take the address back at any time, with which its moves are forgotten: once more then.
told() {
	on a1 ping -q -c 1 -W 0.2 10.0.0.9 >/dev/null || true
	on a2 ping -q -c 1 -W 0.2 10.0.0.9 >/dev/null || true
	counts h1 0005 damped 1 || return 1
	check h1
	[ "$rc" = 4 ] && grep -q '^fault: MAC address 02:00:00:00:00:77 of vnet 0005 moved' /tmp/check
}
wait_for 60 "an address that moves too often is told of" told
ip -n a1 link set eth0 address 02:00:00:00:00:01
ip -n a2 link set eth0 address $A2

# The underlay.
ip -n h1 link set eth0 down
finds "the underlay is down" fault 'the underlay device eth0 is down' h1
ip -n h1 link set eth0 up
ip -n lan link set h1 down
finds "it has no carrier" fault 'the underlay device eth0 has no carrier' h1
ip -n lan link set h1 up
ip -n h1 addr flush dev eth0
ip -n h1 route replace 224.0.0.0/4 dev eth0
finds "it has no address" fault 'the underlay device eth0 has no address' h1
ip -n h1 addr add 192.0.2.1/24 dev eth0
"$VN" -n h1 host set --group none
finds "nowhere to flood to" fault 'neither a multicast group nor a peer' h1
ip -n h1 route del 224.0.0.0/4
"$VN" -n h1 host set --group $GROUP 2>/dev/null || true
ip -n h1 route replace 224.0.0.0/4 dev eth0
"$VN" -n h1 host set --group $GROUP
# Joined on eth0; then the device goes, and another has no multicast route.
ip -n h1 link delete eth0
not_joined() { [ "$("$VN" -n h1 -j host status | jq -r .joined)" = null ]; }
wait_for 10 "not joined any more" not_joined
finds "the group is not joined" fault 'multicast group 224.10.0.1 is not joined' h1
finds "no route either" fault 'no route to the multicast group 224.10.0.1' h1

# Who may not ask is refused.
rc=0
on h2 setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$VN" check >/tmp/check 2>&1 || rc=$?
equal "nobody may not" "$rc" 2
