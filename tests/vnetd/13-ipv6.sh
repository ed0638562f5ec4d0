#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# An underlay of IPv6 only.
UNDERLAY=6
# shellcheck source=tests/vnetd/10-ping.sh
. "$(dirname "$0")/10-ping.sh"

ctl h1 peer-new '{"addr": "fd00:db8::9"}'
equal "a peer with an IPv6 address" "$(list h1 peer-get | jq -r .addr)" fd00:db8::9
ctl h1 peer-del '{"addr": "fd00:db8::9"}'
refused "a group of one link, without a device" 'another one on each link.*EINVAL' h1 host-set '{"group": "ff02::1798", "device": 0}'
equal "the settings are as before" "$(ctl h1 host-get | jq -r .group)" ff05::1798
holds "with the device it is taken" ctl h1 host-set '{"group": "ff02::1798"}'
refused "the device cannot be left out later" 'another one on each link.*EINVAL' h1 host-set '{"device": 0}'
holds "back again" ctl h1 host-set '{"group": "ff05::1798"}'
if command -v iperf3 >/dev/null; then
	on a2 iperf3 -s -1 --forceflush >"$WORK/server" 2>&1 &
	wait_for 10 "iperf3 listens" grep -q listening "$WORK/server"
	holds "TCP" on a1 iperf3 -c 10.0.0.2 -n 50M
fi
equal "h2 has lost nothing" "$(ctl h2 net-get '{"id": "0005"}' | jq '[.stats | .["rx-short"], .["rx-ecn"], .["tx-no-route"]] | add')" 0
