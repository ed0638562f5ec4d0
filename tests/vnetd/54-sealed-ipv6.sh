#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# A sealed vnet over IPv6.
UNDERLAY=6
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vnetd/sealed.sh
. "$(dirname "$0")/sealed.sh"

hosts 2
key one
for h in h1 h2; do
	net $h 0005 '{"seal": "auth"}'
	holds "$h has the key" vn $h key set 5 --file "$WORK/one.key"
done
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
equal "the default MTU leaves room for the seal" "$(ctl h1 net-get '{"id": "0005"}' | jq .mtu)" 1392
reaches a1 10.0.0.2
holds "full frames" on a1 ping -q -n -M 'do' -c 5 -i 0.05 -W 2 -s 1364 10.0.0.2
on a2 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
is_listening "iperf3 listens" "$WORK/server"
holds "a TCP stream" on a1 iperf3 -c 10.0.0.2 -n 20M
for h in h1 h2; do
	for c in rx-bad-seal rx-short rx-not-sealed tx-no-key; do equal "$h: no $c" "$(counter $h 0005 $c)" 0; done
done
