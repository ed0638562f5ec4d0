#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Static entries: used without anything heard, not changed by learning, not flushed; what makes no sense is refused.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do net "h$i" 0005; done
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
M=02:00:00:00:00:02
"$VN" -n h1 varp add 0005 $M 192.0.2.3
on a2 ping -q -c 2 -i 0.2 -W 1 10.0.0.1 >/dev/null || true
equal "what is heard does not change it" "$(behind h1 0005 $M)" 192.0.2.3
equal "its state" "$("$VN" -n h1 -j varp list 0005 | jq -r --arg m $M '.[] | select(.mac == $m) | .state')" static
isolated a1 10.0.0.2
"$VN" -n h1 varp flush 0005
equal "flush leaves it" "$(behind h1 0005 $M)" 192.0.2.3
"$VN" -n h1 varp add 0005 $M 192.0.2.2
reaches a1 10.0.0.2
"$VN" -n h1 varp del 0005 $M
reaches a2 10.0.0.1
equal "learned again" "$("$VN" -n h1 -j varp list 0005 | jq -r --arg m $M '.[] | select(.mac == $m) | .state')" learned
"$VN" -n h1 varp del 0005 $M
wait_for 1 "one that is learned can be removed" true

refused "no such entry" . -n h1 varp del 0005 02:00:00:00:00:55
refused "no such vnet" '0007' -n h1 varp add 0007 $M 192.0.2.2
for bad in 224.0.0.5 0.0.0.0 255.255.255.255; do
	never "an entry behind $bad" "$VN" -n h1 varp add 0005 $M $bad
done
for bad in 01:00:5e:00:00:01 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff; do
	never "an entry for $bad" "$VN" -n h1 varp add 0005 $bad 192.0.2.2
done
