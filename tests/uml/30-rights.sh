#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Reading is for everybody in the namespace, every change needs CAP_NET_ADMIN in it.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
as_nobody() {
	local ns=$1
	shift
	on "$ns" setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"
}
holds "nobody lists vnets" as_nobody h1 "$VN" net list
holds "nobody lists addresses" as_nobody h1 "$VN" varp list 0005
holds "nobody reads the status" as_nobody h1 "$VN" host status
for change in "net create 0009" "net delete 0005" "net set 0005 --ageing 5000" "peer add 192.0.2.9" "varp flush 0005" \
	"varp add 0005 02:00:00:00:00:02 192.0.2.2" "varp del 0005 02:00:00:00:00:02" "host set --ttl 3"; do
	rc=0
	# shellcheck disable=SC2086 # words
	said=$(as_nobody h1 "$VN" $change 2>&1) || rc=$?
	equal "nobody is refused: $change" "$rc" 2
	holds "and is told why" grep -qiE 'permi|CAP_NET_ADMIN|root' <<<"$said"
done

# Root of another user namespace has no rights in the network namespace of the host …
rc=0
on h1 unshare -Ur "$VN" net create 0009 >/dev/null 2>&1 || rc=$?
equal "root of a user namespace is refused in the host's namespace" "$rc" 2
# … and has them in its own.
# shellcheck disable=SC2016 # for the inner shell
said=$(unshare -Urn sh -c "ip link set lo up; $VN host set --group none && $VN net create 0009 && $VN -j net list") ||
	fail "root of a user namespace with its own network: $said"
holds "but not in its own" grep -q vnif0009 <<<"$said"
equal "nothing was changed" "$("$VN" -n h1 -j net list | jq -c '[.[].ifname]')" '["vnif0005"]'
reaches a1 10.0.0.2
