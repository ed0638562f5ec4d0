#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Sealed vnets: both modes, both ciphers, small and large frames, floods, streams. Nothing of it can be read, nothing that is not sealed is
# heard, and who has no key or another one hears nothing.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vnetd/sealed.sh
. "$(dirname "$0")/sealed.sh"

hosts 3
key one
key two
for h in h1 h2 h3; do net $h 0005 '{"seal": "conf"}'; done
for h in h1 h2; do holds "$h has the key" vn $h key set 5 --file "$WORK/one.key"; done
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
vm a3 h3 0005 10.0.0.3 $MAC3
equal "the default MTU leaves room for the seal" "$(ctl h1 net-get '{"id": "0005"}' | jq .mtu)" 1412
equal "which the underlay carries" "$(ctl h1 net-get '{"id": "0005"}' | jq '."underlay-mtu"')" 1412
reaches a1 10.0.0.2

# h3 has no key: it hears nothing, and nothing of it is heard.
isolated a1 10.0.0.3
isolated a3 10.0.0.1
wait_for 5 "without a key nothing is sent" counts h3 0005 tx-no-key 1
wait_for 5 "and nothing understood" host_counts h3 rx-unknown-key 1
holds "h3 has another key" vn h3 key set 5 --file "$WORK/two.key"
before=$(host_counter h1 rx-unknown-key)
isolated a3 10.0.0.1
wait_for 5 "what another key has sealed is not understood" host_counts h1 rx-unknown-key $((before + 1))
equal "nothing was learned of it" "$(behind h1 0005 $MAC3)" ""
equal "one host is believed" "$(ctl h1 net-get '{"id": "0005"}' | jq .senders)" 1
