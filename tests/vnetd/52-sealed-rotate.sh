#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Keys of sealed vnets are given, rotated and taken away while traffic flows: nothing is lost. A daemon that is restarted is believed again.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vnetd/sealed.sh
. "$(dirname "$0")/sealed.sh"

hosts 2
for n in 1 2 3; do key $n; done
for h in h1 h2; do
	net $h 0005 '{"seal": "conf"}'
	"$CLIENT" "$WORK/$h/control" watch config events >"$WORK/$h.events" &
	wait_for 5 "somebody watches $h" grep -q joined "$WORK/$h.events"
done
told() { grep -q "\"event\": \"$2\", \"net\": \"0005\", \"index\": $3" "$WORK/$1.events"; }

# Files and standard input; what others could read is refused.
cp "$WORK/1.key" "$WORK/open.key"
chmod 640 "$WORK/open.key"
rc=0
said=$(vn h1 key set 5 --file "$WORK/open.key" 2>&1) || rc=$?
equal "a file that others can read is refused" "$rc" 2
ok "it says so: $(head -n 1 <<<"$said")"
holds "from a file" vn h1 key set 5 --file "$WORK/1.key"
holds "from standard input" vn h2 key set 5 --file - <"$WORK/1.key"
wait_for 5 "it is told of" told h1 key-new-ntf 1
for h in h1 h2; do equal "with the first number on $h" "$(vn $h -j key list 5 | jq -c 'map([.index, .slot])')" '[[1,"current"]]'; done
holds "the same again" vn h1 key set 5 --file "$WORK/1.key" --index 1
equal "is told of once" "$(grep -c key-new-ntf "$WORK/h1.events")" 1
never "another one with its number is refused" vn h1 key set 5 --file "$WORK/2.key" --index 1
never "nor is there one to rotate to" vn h1 key rotate 5
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
reaches a1 10.0.0.2
reaches a2 10.0.0.1

# load: a ping every 2 ms, until loaded; it tells what was lost.
load() {
	nsenter --net="/run/netns/${NS}a1" ping -n -i 0.002 -c 100000 10.0.0.2 >"$WORK/load" 2>&1 &
	loading=$!
}
loaded() {
	kill -0 "$loading" || fail "the load ended too early"
	kill -INT "$loading"
	wait "$loading" || true
	# Those that nobody could have answered yet are not lost.
	loss=$(awk -F 'icmp_seq=' '
		NF > 1 { split($2, word, " "); n += !(word[1] in seen); seen[word[1]]; if (word[1] + 0 > last) last = word[1] + 0 }
		END { print last - n }' "$WORK/load")
	say "$(grep transmitted "$WORK/load")"
}
# traffic: some of it passes before the next step.
traffic() {
	local from
	from=$(counter h2 0005 rx-packets)
	wait_for 10 "traffic flows" counts h2 0005 rx-packets $((from + 50))
}
load
traffic
for n in 2 3; do
	for h in h1 h2; do
		holds "key $n for $h" vn $h key set 5 --file "$WORK/$n.key"
		traffic
	done
	# One order, and the other.
	[ $n = 2 ] && order="h1 h2" || order="h2 h1"
	for h in $order; do
		holds "$h rotates" vn "$h" key rotate 5 --index "$n"
		wait_for 5 "which is told" told "$h" key-rotated-ntf "$n"
		traffic
	done
	holds "again is nothing new" vn h1 key rotate 5 --index "$n"
done
loaded
equal "nothing was lost" "$loss" 0
equal "the last two keys are there" "$(vn h1 -j key list 5 | jq -c 'map([.index, .slot])')" '[[3,"current"],[2,"previous"]]'
equal "and none is shown" "$(vn h1 -j key list 5 | jq -c '[.[] | keys_unsorted[]] | unique')" '["age","counter","index","net","slot"]'
holds "the old one goes" vn h1 key del 5 2
wait_for 5 "which is told" told h1 key-del-ntf 2
holds "on the other, too" vn h2 key del 5 2
reaches a1 10.0.0.2

# At a time.
for h in h1 h2; do holds "another key for $h" vn $h key set 5 --file "$WORK/2.key" --index 9; done
at=@$(($(date +%s) + 2))
load
traffic
vn h1 key rotate 5 --at "$at" &
first=$!
vn h2 key rotate 5 --at "$at" &
second=$!
never "a key that is not there is not waited for" vn h1 key rotate 5 --index 7 --at "$at"
equal "not before" "$(vn h1 -j key list 5 | jq .[0].index)" 3
wait "$first" "$second" || fail "rotated at a time"
[ "$(date +%s)" -ge "${at#@}" ] || fail "not before that time"
for h in h1 h2; do equal "rotated at a time on $h" "$(vn $h -j key list 5 | jq .[0].index)" 9; done
traffic
loaded
equal "nothing was lost" "$loss" 0
holds "another key" vn h1 key set 5 --file "$WORK/1.key" --index 10
"$VN" --via vnetd --vnetd-socket "$WORK/h1/control" key rotate 5 --index 10 --at @4000000000 &
waiting=$!
# It has begun, and sleeps.
waits() { [ "$(cut -d' ' -f2-3 "/proc/$waiting/stat")" = "(vn) S" ]; }
wait_for 5 "vn waits" waits
kill -TERM "$waiting"
rc=0
wait "$waiting" || rc=$?
equal "it can be interrupted" "$rc" 143
equal "and has done nothing then" "$(vn h1 -j key list 5 | jq .[0].index)" 9
holds "that key goes" vn h1 key del 5 10

# A restart under load: its keys are gone, and as soon as it has them again it is believed.
load
traffic
stop h2
daemon h2
on h2 ip link set vnbr0005 up
holds "h2 has its key again" vn h2 key set 5 --file "$WORK/2.key" --index 9
traffic
reaches a1 10.0.0.2
loaded
say "$loss% were lost meanwhile"
equal "h1 believes both of h2's lives" "$(senders h1)" 2
equal "h2 believes h1" "$(senders h2)" 1

# The same for one that was killed, while the other one sends.
load
kill -KILL "${PIDS[h1]}"
wait "${PIDS[h1]}" || true
daemon h1
on h1 ip link set vnbr0005 up
holds "h1 has its key again" vn h1 key set 5 --file "$WORK/2.key" --index 9
traffic
loaded
reaches a1 10.0.0.2

# The file of the whole configuration has the setting, and no key.
vn h1 export >"$WORK/file"
grep -q '^seal = "conf"$' "$WORK/file" || fail "that it is sealed is exported"
ok "that it is sealed is exported"
never "no key is" grep -qiE '[0-9a-f]{32}' "$WORK/file"
equal "what was exported is so already" "$(on h1 "$VN" --via vnetd --vnetd-socket "$WORK/h1/control" apply --dry-run "$WORK/file")" ""
checked() { on h1 "$VN" --via vnetd --vnetd-socket "$WORK/h1/control" -j check 5; }
found=$(checked || true)
never "vn check finds nothing wrong with its keys" jq -e '.findings[] | select(.check == "keys")' <<<"$found"
never "nor with the path" jq -e '.findings[] | select(.check == "mtu" or .check == "presence")' <<<"$found"

# Without a current key nothing is sent; the vnet's keys go with it.
holds "the key goes" vn h1 key del 5 9
found=$(checked || true)
equal "vn check tells" "$(jq -r '.findings[] | select(.check == "keys") | .level' <<<"$found")" fault
before=$(counter h1 0005 tx-no-key)
isolated a1 10.0.0.2
counts h1 0005 tx-no-key $((before + 1)) || fail "what is not sent is counted"
ok "what is not sent is counted"
holds "and comes again" vn h1 key set 5 --file "$WORK/2.key" --index 9
reaches a1 10.0.0.2
