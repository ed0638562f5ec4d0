#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Which hosts a vnet accepts, and how much of each.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
M=02:00:00:00:00:02
remotes() { "$VN" -n h1 -j remote list 0005 | jq -c '[.[] | [.addr, .listed, .macs]]'; }
holds "h2 is a remote from which was learned" jq -e '.[] | select(.addr == "192.0.2.2") | .listed == 0 and .macs >= 1' <<<"$("$VN" -n h1 -j remote list 0005)"

# None is listed: nothing gets in, and what was learned is forgotten.
"$VN" -n h1 net set 0005 --remotes listed
equal "what was learned is forgotten" "$(remotes)" '[]'
ip -n a1 neigh flush all
isolated a1 10.0.0.2
equal "nothing was learned" "$(remotes)" '[]'
holds "counted" counts h1 0005 rx-not-listed 1
"$VN" -n h1 remote add 0005 192.0.2.2
refused "twice" "is listed" -n h1 remote add 0005 192.0.2.2
"$VN" -n h1 remote add 0005 192.0.2.2 --may-exist
reaches a1 10.0.0.2
holds "h2 is listed" jq -e '.[] | select(.addr == "192.0.2.2") | .listed == 1 and .macs >= 1' <<<"$("$VN" -n h1 -j remote list 0005)"
"$VN" -n h1 remote del 0005 192.0.2.2
wait_for 5 "off the list, forgotten" unknown h1 0005 $M
"$VN" -n h1 net set 0005 --remotes any
reaches a1 10.0.0.2

# As many addresses as one host may have here.
"$VN" -n h1 varp flush 0005
"$VN" -n h1 net set 0005 --remote-macs 5
on a2 ./frames.py sources eth0 50
wait_for 5 "the excess is counted" counts h1 0005 remote-full 40
macs=$("$VN" -n h1 -j remote list 0005 | jq '.[] | select(.addr == "192.0.2.2") | .macs')
equal "five were learned" "$macs" 5
"$VN" -n h1 net set 0005 --remote-macs 0

# As many floods as one host may send.
"$VN" -n h1 net set 0005 --remote-floods 10
on a2 ./frames.py sources eth0 500
wait_for 5 "floods beyond the limit are dropped" counts h1 0005 rx-flood-limit 100
"$VN" -n h1 net set 0005 --remote-floods 0
"$VN" -n h1 varp flush 0005
reaches a1 10.0.0.2
