#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn configures the daemon as it does the module: it finds the socket by the name of the namespace.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

VN=$(dirname "$VNETD")/vn
lan lan 1500
for n in 1 2; do
	ns h$n
	attach h$n lan 192.0.2.$n/24
	mkdir -p "/run/vnetd/${NS}h$n"
	# The path at which vn looks for the daemon of a namespace.
	mkdir -p "$WORK/h$n"
	ln -s "/run/vnetd/${NS}h$n/control" "$WORK/h$n/control"
	SOCKET=/run/vnetd/${NS}h$n/control daemon h$n --device eth0
done
vn() {
	local host=$1
	shift
	"$VN" -n "$NS$host" "$@"
}
for n in 1 2; do
	holds "vn makes a vnet and its bridge on h$n" vn h$n net create 0005 --bridge
	holds "and again, if it may be there" vn h$n net create 0005 --bridge --may-exist
done
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
reaches a1 10.0.0.2
equal "vn lists it" "$(vn h1 -j net list | jq -r '.[].ifname')" vnif0005
equal "and shows where a2 is" "$(vn h1 -j varp list 0005 | jq -r '.[] | select(.mac == "'$MAC2'") | .addr')" 192.0.2.2
equal "counters" "$(vn h1 -j -s net show 0005 | jq '.stats["rx-packets"] > 0')" true
vn h1 monitor >"$WORK/monitor" 2>&1 &
monitor=$!
# The first change that it tells shows that it listens.
changes() {
	vn h1 net set 0005 --ageing "$((RANDOM + 1000))"
	[ -s "$WORK/monitor" ]
}
wait_for 10 "vn monitor tells of changes" changes
kill "$monitor"
wait "$monitor" || true
holds "a peer" vn h1 peer add 192.0.2.2
equal "is listed" "$(vn h1 -j peer list | jq -r '.[].addr')" 192.0.2.2
rc=0
said=$(vn h1 peer add 192.0.2.1 2>&1) || rc=$?
equal "what is refused is refused" "$rc" 2
grep -q "one of this host's own" <<<"$said" || fail "with the daemon's words: $said"
ok "with the daemon's words: $said"
ip -n "${NS}h1" link del v-a1
holds "vn removes it with its bridge" vn h1 net delete 0005 --bridge
holds "nothing is left" absent h1 vnif0005
holds "of either" absent h1 vnbr0005
