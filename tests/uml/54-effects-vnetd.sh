#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Every setting of a vnet does what it says, in the daemon.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh
# shellcheck source=tests/uml/effects.sh
. ./effects.sh

hosts 3
mkdir -p /run/vnetd/h2
nsenter --net=/run/netns/h2 -- /src/build/bin/vnetd --socket /run/vnetd/h2/control --state /run/vnetd/h2/state --device eth0 >/tmp/vnetd 2>&1 &
daemon=$!
wait_for 10 "vnetd answers" "$VN" -n h2 --via vnetd host status
effects h2 vnetd 192.0.2.2
kill $daemon
wait $daemon || fail "vnetd ends with $?"
ok "vnetd ends"
