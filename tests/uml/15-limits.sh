#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# No more MAC addresses than max-macs are learned; what is not learned is counted and still gets through.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 2
net h1 0005 --max-macs 10
# It announces nothing: an announcement after a flush would teach again.
net h2 0005 --announces 0
vm a1 h1 0005 10.0.0.1
vm a2 h2 0005 10.0.0.2
reaches a1 10.0.0.2
on a2 ./frames.py sources eth0 200
wait_for 5 "the table is full" counts h1 0005 table-full 100
macs=$(net_field h1 0005 macs)
holds "$macs remote addresses, no more than 10" test "$macs" -le 10
equal "the list says the same" "$("$VN" -n h1 -j varp list 0005 | jq length)" "$macs"
holds "h2 knows them, its limit is another" test "$("$VN" -n h2 -j vif list 0005 | jq length)" -ge 200
reaches a1 10.0.0.2

on a1 ./frames.py sources eth0 200
vifs=$(net_field h1 0005 vifs)
holds "$vifs local addresses, no more than 10" test "$vifs" -le 10
"$VN" -n h1 net set 0005 --max-macs 1000
on a2 ./frames.py sources eth0 200
wait_for 5 "with a larger limit they are learned" sh -c "[ \$($VN -n h1 -j net show 0005 | jq .macs) -ge 200 ]"
"$VN" -n h1 varp flush 0005
equal "nothing after a flush" "$(net_field h1 0005 macs)" 0

# The default limit holds with more addresses than anybody should have.
many=$(less 70000 5000)
on a2 ./frames.py sources eth0 "$many"
macs=$("$VN" -n h2 -j net show 0005 | jq .vifs)
holds "h2 has $macs local addresses, no more than 65536" test "$macs" -le 65536
holds "a list of thousands is complete" test "$("$VN" -n h2 -j vif list 0005 | jq length)" -ge $((many < 60000 ? many - 1000 : 60000))
reaches a1 10.0.0.2
