#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn against the kernel: ids, idempotence, dry runs, status; every change one notification; lists while all changes.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 2
for id in 0 1 12345 1:22222:3 g ''; do
	rc=0
	said=$("$VN" -n h1 net create "$id" 2>&1) || rc=$?
	equal "id '$id' is a usage error" "$rc" 1
done
"$VN" -n h1 monitor >/tmp/monitor &
monitor=$!
# It listens when the first change that it is told of appears.
ttl=64
heard() {
	ttl=$((ttl ^ 1))
	"$VN" -n h1 host set --ttl $ttl
	[ -s /tmp/monitor ]
}
wait_for 10 "monitor listens" heard
"$VN" -n h1 host set --ttl 9
wait_for 5 "a change is told of" grep -q 'ttl 9' /tmp/monitor
"$VN" -n h1 host set --ttl 9
"$VN" -n h1 --dry-run net create 5 --bridge vnbr0005 >/tmp/dry
holds "a dry run says something" test -s /tmp/dry
equal "and does nothing" "$("$VN" -n h1 -j net list | jq length)" 0
holds "no bridge either" absent h1 vnbr0005
net h1 0005
refused "a vnet twice" 0005 -n h1 net create 0005 --bridge vnbr0005
holds "unless it may exist" "$VN" -n h1 net create 5 --bridge vnbr0005 --may-exist
equal "5 and the whole id are the same" "$("$VN" -n h1 -j net show 0000:0000:0000:0000:0000:0000:0000:0005 | jq -r .ifname)" vnif0005
equal "link kind" "$(ip -n h1 -d -j link show vnif0005 | jq -r '.[0].linkinfo.info_kind')" vnet
refused "a name that is taken" exists -n h1 net create 0006 --name vnif0005
equal "nothing left of it" "$("$VN" -n h1 -j net list | jq length)" 1
refused "showing what is not there" 0006 -n h1 net show 0006
never "ip link add type vnet is refused" ip -n h1 link add foo type vnet
holds "deleting" "$VN" -n h1 net delete 0005 --bridge
holds "no device" absent h1 vnif0005
holds "no bridge" absent h1 vnbr0005
refused "deleting again" 0005 -n h1 net delete 0005
holds "unless it may be gone" "$VN" -n h1 net delete 0005 --if-exists

wait_for 5 "one notification for the one that was made" grep -q net-del /tmp/monitor
equal "what changes nothing is not told of" "$(grep -c 'ttl 9' /tmp/monitor)" 1
equal "made once" "$(grep -c net-new /tmp/monitor)" 1
equal "deleted once" "$(grep -c net-del /tmp/monitor)" 1
kill $monitor

# Lists survive concurrent change: those that were there all the time are in every list, once.
nets=$(less 60 8)
for i in $(seq 100 $((100 + nets))); do "$VN" -n h2 net create "$i"; done
(while :; do "$VN" -n h2 net create 500 && "$VN" -n h2 net delete 500; done) >/dev/null 2>&1 &
churn=$!
for i in $(seq "$(less 30 4)"); do
	"$VN" -n h2 -j net list >/tmp/list
	equal "list $i" "$(jq '[.[].ifname | select(. != "vnif0500")] | unique | length' /tmp/list) $(jq '[.[].id] | (length - (unique | length))' /tmp/list)" "$((nets + 1)) 0"
done
kill $churn
wait $churn 2>/dev/null || true
rmmod vnet
rc=0
said=$("$VN" -n h1 net list 2>&1) || rc=$?
equal "without the module vn refuses" "$rc" 2
holds "and says what to do: $said" grep -q 'modprobe\|host load' <<<"$said"
