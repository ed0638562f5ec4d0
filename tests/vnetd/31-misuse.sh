#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The control socket: rights, refusals, messages that no good client sends, clients that do not read. See misuse.py.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers
holds "what no good client sends" on h1 "$HERE/misuse.py" "$WORK/h1/control"
reaches a1 10.0.0.2

# Who is not root may read, and no more.
chmod 755 "$WORK" "$WORK/h1"
equal "the socket is open to all" "$(stat -c %a "$WORK/h1/control")" 666
rc=0
said=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$CLIENT" "$WORK/h1/control" net-get '{"id": "0005"}' 2>&1) || rc=$?
equal "who is not root may look" "$rc" 0
for command in 'net-new {"id":"9"}' 'net-del {"id":"5"}' 'host-set {"ttl":3}' 'peer-new {"addr":"192.0.2.9"}' 'varp-flush {"net":"5"}' 'probe {"net":"5"}'; do
	rc=0
	said=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$CLIENT" "$WORK/h1/control" "${command%% *}" "${command#* }" 2>&1) || rc=$?
	[ "$rc" = 2 ] || fail "who is not root may not ${command%% *}: exit status $rc"
	grep -q EPERM <<<"$said" || fail "who is not root may not ${command%% *}: $said"
	ok "who is not root may not ${command%% *}"
done

# Refusals are the module's.
refused "id 0" 'vnet id 0 is invalid.*EINVAL' h1 net-new '{"id": "0"}'
refused "id 1" 'reserved for the physical network.*EINVAL' h1 net-new '{"id": "1"}'
refused "a vnet that exists" 'the vnet exists.*EEXIST' h1 net-new '{"id": "5"}'
refused "a device that exists" 'a device with this name exists.*EEXIST' h1 net-new '{"id": "6", "ifname": "eth0"}'
refused "a strange name" 'cannot make a device.*EINVAL' h1 net-new '{"id": "6", "ifname": "a/b"}'
refused "an MTU out of range" '67 is not in the range 68 to 65471.*ERANGE' h1 net-new '{"id": "6", "mtu": 67}'
refused "a setting out of range" '17 is not in the range 1 to 16.*ERANGE' h1 net-set '{"id": "5", "probes": 17}'
refused "nothing to change" 'nothing to change.*EINVAL' h1 net-set '{"id": "5"}'
refused "no such vnet" 'no such vnet here.*ENOENT' h1 net-del '{"id": "77"}'
refused "no such device" 'no vnet has a device of this name.*ENOENT' h1 net-get '{"ifname": "eth0"}'
refused "a peer of one's own" "one of this host's own.*EINVAL" h1 peer-new '{"addr": "192.0.2.1"}'
refused "a group as peer" 'not the address of a host.*EINVAL' h1 peer-new '{"addr": "224.0.0.1"}'
refused "a group that is none" 'not a multicast address.*EINVAL' h1 host-set '{"group": "192.0.2.9"}'
refused "no underlay device" 'no such underlay device.*ENODEV' h1 host-set '{"device": 4711}'
refused "its own underlay" 'its own underlay.*EINVAL' h1 host-set "{\"device\": $(ctl h1 net-get '{"id": "5"}' | jq .ifindex)}"
refused "a DSCP" 'neither.*ERANGE' h1 host-set '{"dscp": 64}'
refused "a MAC of a group" 'zero or a group.*EINVAL' h1 varp-new '{"net": "5", "mac": "ff:ff:ff:ff:ff:ff", "addr": "192.0.2.9"}'
refused "a MAC that is not there" 'not known to be elsewhere.*ENOENT' h1 varp-del '{"net": "5", "mac": "02:00:00:00:00:99"}'
refused "a remote that is not listed" 'not listed.*ENOENT' h1 remote-del '{"net": "5", "addr": "192.0.2.9"}'
equal "one vnet is there, as before" "$(list h1 net-get | jq -r .ifname)" vnif0005
equal "and nothing else has been made" "$(list h1 peer-get)" ""

# The device taken away by other means, or moved.
on h1 ip link del vnif0005
gone() { [ -z "$(list h1 net-get)" ]; }
wait_for 5 "a vnet goes with its device" gone
net h1 0005
reaches a1 10.0.0.2
