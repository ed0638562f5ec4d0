#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Where vnetd does the work the module is not loaded: neither by starting the daemon nor by asking it.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

hosts 1
# What the kernel calls for a module that it wants.
printf '#!/bin/sh\necho "$@" >>/tmp/wanted\n' >/tmp/modprobe
chmod +x /tmp/modprobe
echo /tmp/modprobe >/proc/sys/kernel/modprobe
wanted() { grep -q family-vnet /tmp/wanted 2>/dev/null; }

mkdir -p /run/vnetd/h1
nsenter --net=/run/netns/h1 -- /src/build/bin/vnetd --socket /run/vnetd/h1/control --state /run/vnetd/h1/state --device eth0 >/tmp/vnetd 2>&1 &
daemon=$!
wait_for 10 "vnetd answers" "$VN" -n h1 --via vnetd host status
holds "it is vnetd that has answered" "$VN" -n h1 --via vnetd net create 0005
holds "a vnet is listed" "$VN" -n h1 net show 0005
"$VN" -n h1 check >/tmp/check 2>&1 || true
"$VN" -n h1 export >/tmp/export
never "the kernel was not asked for the module" wanted
"$VN" -n h1 --via module net list >/tmp/list 2>&1 || true
wait_for 5 "who wants the module, has the kernel asked for it" wanted

kill $daemon
wait $daemon || fail "vnetd ends with $?"
ok "vnetd ends"
