#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The sockets are full: a question to many peers waits for room once, not once for each of them.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

hosts 1
holds "floods go to peers" ctl h1 host-set '{"flood": "peers", "group": "0.0.0.0"}'
net h1 0005
vm a1 h1 0005 10.0.0.1 $MAC1
# Nobody answers for these addresses, and the kernel keeps all that goes there until somebody does.
on h1 sysctl -qw net.ipv4.neigh.eth0.unres_qlen_bytes=1000000000 net.ipv4.neigh.eth0.retrans_time_ms=3600000
python3 - "$HERE" "$WORK/h1/control" <<-'END'
	import struct, sys
	sys.path.insert(0, sys.argv[1])
	import client
	daemon = client.Client(sys.argv[2])
	op = daemon.operations["peer-new"]
	for last in range(10, 250):
	    daemon.send(daemon.family, client.REQUEST | client.ACK, struct.pack("=BBH", op["value"], 1, 0) + daemon.encode(op, {"addr": f"192.0.2.{last}"}))
	    daemon.answer()
END
equal "peers" "$(list h1 peer-get | wc -l)" 240

# Flows of many ports, so that each of the device's queues gets some; each frame is sent 240 times.
fill() {
	on a1 python3 -c '
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for port in range(2000, 2064):
    sock.sendto(bytes(1200), ("10.0.0.255", port))'
	counts h1 0005 tx-underlay "$1"
}
wait_for 30 "there is no room left" fill 10000
asked=$(counter h1 0005 tx-request) lost=$(counter h1 0005 tx-underlay)
# It is refused if it was not sent within two seconds. A wait for each peer would be 20 ms, almost five seconds in all.
holds "a question to all of them is not late" ctl h1 probe '{"net": "0005"}'
done_with_all() { [ $(($(counter h1 0005 tx-request) - asked + $(counter h1 0005 tx-underlay) - lost)) -ge 240 ]; }
wait_for 5 "they were all tried" done_with_all
counts h1 0005 tx-underlay $((lost + 200)) || fail "and there was no room for most"
ok "and there was no room for most"
