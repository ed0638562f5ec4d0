#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn net cleanup: vnets go with their bridges, so do bridges whose vnet is gone; guests are never cut off unless that is
# said; what is not ours stays. With the module and without it.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

bridges() { ip -n h1 -j link show type bridge | jq -r '.[].ifname' | tr '\n' ' '; }
vnets() { "$VN" -n h1 -j net list | jq -r '.[].id' | tr '\n' ' '; }
bridge() { ip -n h1 link add "$1" type bridge; }

load
hosts 1
net h1 0005
net h1 00ab
"$VN" -n h1 net create 0007 --bridge br7
bridge vnbr0009
ip -n h1 link set vnbr0009 up
bridge vnbr00CD
for keep in br0 vnbr00001 vnbrxyzw; do bridge $keep; done
ip -n h1 link add vnbr0fff type dummy
vm a1 h1 0005 10.0.0.1
before=$(bridges)

refused "guests are named" 'vnbr0005 has v-a1' -n h1 net cleanup -a
equal "and nothing was removed" "$(bridges)$(vnets)" "${before}0005 0007 00ab "
refused "nor is one vnet with guests" 'v-a1' -n h1 net cleanup -v 5
for wrong in "" "-a -v 5" "-v 0" "-a --frob"; do
	rc=0
	# shellcheck disable=SC2086 # words
	"$VN" -n h1 net cleanup $wrong >/dev/null 2>&1 || rc=$?
	equal "usage: cleanup $wrong" $rc 1
done

holds "one vnet, its id in capitals" "$VN" -n h1 net cleanup -v 00AB
equal "is gone, alone" "$(vnets)" "0005 0007 "
holds "with its bridge" absent h1 vnbr00ab
holds "again is no failure" "$VN" -n h1 net cleanup -v 00AB

"$VN" -n h1 --dry-run net cleanup -a --force >/tmp/dry
holds "a dry run says what would go" grep -qx 'delete bridge vnbr0009' /tmp/dry
holds "also that a guest would be cut off" grep -qx 'detach v-a1 from bridge vnbr0005' /tmp/dry
equal "and removes nothing" "$(vnets)" "0005 0007 "

holds "all of it, by force" "$VN" -n h1 net cleanup -a --force
equal "no vnets" "$(vnets)" ""
equal "no bridges but those that are not ours" "$(bridges)" "br0 vnbr00001 vnbrxyzw "
holds "what is not a bridge stays" ip -n h1 link show vnbr0fff
holds "the guest's interface is still there" ip -n h1 link show v-a1
holds "again is no failure" "$VN" -n h1 net cleanup -a

# After the module is gone there are only bridges.
net h1 0005
net h1 0006
ip -n h1 link set v-a1 master vnbr0005
"$VN" -n h1 net delete 0006
ip -n h1 link set v-a1 nomaster
rmmod vnet
equal "bridges outlive the module" "$(bridges)" "br0 vnbr00001 vnbrxyzw vnbr0005 vnbr0006 "
ip -n h1 link set v-a1 master vnbr0005
refused "guests count without the module, too" 'v-a1' -n h1 net cleanup -a
holds "a bridge without guests can go" "$VN" -n h1 net cleanup -v 6
holds "and did" absent h1 vnbr0006
ip -n h1 link set v-a1 nomaster
holds "the rest" "$VN" -n h1 net cleanup -a
equal "no bridges but those that are not ours" "$(bridges)" "br0 vnbr00001 vnbrxyzw "
holds "again is no failure" "$VN" -n h1 net cleanup -a
