#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Everything at once for VNET_CHURN seconds: vnets come and go, settings, peers and entries change, tables are emptied and listed,
# devices move and fall down, while frames go both ways and rubbish comes in. What is refused meanwhile does not matter, only
# that nothing hangs or dies, and that afterwards all is as it was.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

DURATION=${VNET_CHURN:-10}
two_customers
ns elsewhere
before=$("$VN" -n h1 -j net list | jq -c '[.[] | [.id, .ifname, .mtu, .ageing]]')
end=$((SECONDS + DURATION))

# v ARGUMENTS...: vn, which may be refused (2) as often as it likes; anything else, also that it does not end, is written down.
v() {
	local rc=0
	[ "$SECONDS" -lt "$end" ] || return 0
	timeout $((30 * SLOW)) "$VN" "$@" >/dev/null 2>/tmp/churn.said.$BASHPID || rc=$?
	case $rc in
	0 | 2) ;;
	*) echo "$rc: vn $*: $(tail -n 3 /tmp/churn.said.$BASHPID)" >>/tmp/churn.wrong ;;
	esac
	return 0
}
# i ARGUMENTS...: the same for ip. When the time is up neither does anything: a round can be long.
i() {
	[ "$SECONDS" -lt "$end" ] || return 0
	timeout $((30 * SLOW)) ip "$@" >/dev/null 2>&1 || [ $? -lt 124 ] || echo "ip $* did not end" >>/tmp/churn.wrong
}

come_and_go() {
	local id=010$((n % 8)) host=h$((n % 2 + 1))
	v -n $host net create "$id"
	v -n $host net create "011$((n % 4))" --bridge "vnbr011$((n % 4))"
	v -n $host net delete "$id"
	v -n $host net delete "011$((n % 4))" --bridge
	# By its device.
	v -n $host net create "$id"
	i -n $host link delete "vnif$id"
}
host_comes_and_goes() {
	i netns add short
	i -n lan link add short type veth peer name eth0 netns short
	i -n short link set eth0 up
	i -n short addr add 192.0.2.77/24 dev eth0
	i -n short route add 224.0.0.0/4 dev eth0
	v -n short net create 0005
	v -n short net create 0105
	i netns delete short
}
settings() {
	v -n h1 host set --ttl $((n % 200 + 2))
	v -n h2 net set 0005 --ageing $((n % 3000 + 100)) --max-macs $((n % 300 + 1))
	v -n h1 net set 0005 --mtu $((1000 + n % 400))
	v -n h2 host set --group none
	v -n h2 host set --group $GROUP
	[ $((n % 5)) != 0 ] || { v -n h2 host set --port 1799; v -n h2 host set --port 1798; }
}
entries() {
	local mac
	mac=$(printf '06:00:00:00:00:%02x' $((n % 256)))
	v -n h1 varp add 0005 "$mac" 192.0.2.2
	v -n h1 varp flush 0005
	v -n h2 varp flush 0005
	v -n h1 varp del 0005 "$mac"
	v -n h1 varp del 0005 02:00:00:00:00:02
}
peers() {
	v -n h1 peer add 192.0.2.2
	v -n h1 peer add "192.0.2.$((n % 100 + 100))"
	v -n h1 peer del "192.0.2.$((n % 100 + 100))"
	v -n h1 peer del 192.0.2.2
}
lists() {
	local h
	for h in h1 h2; do
		v -n $h -j -s net list
		v -n $h -j varp list
		v -n $h -j vif list
		v -n $h -j peer list
		v -n $h -j -s host status
	done
}
devices() {
	i -n h2 link set vnif0005 down
	i -n h2 link set vnif0005 nomaster
	i -n h2 link set vnif0005 up
	i -n h2 link set vnif0005 master vnbr0005
	v -n h1 net create 0120
	i -n h1 link set vnif0120 netns elsewhere
	i -n elsewhere link set vnif0120 up
	i -n elsewhere link set vnif0120 address 06:00:00:00:01:20
	v -n h1 net delete 0120
	i -n h1 link set eth0 down
	i -n h1 link set eth0 up
	i -n h1 route add 224.0.0.0/4 dev eth0
}
rubbish() {
	local id=00000000000000000000000000000005 some hex
	some=$(printf '%04x' $((n % 65536)))
	[ "$SECONDS" -lt "$end" ] || return 0
	for hex in 0002000000 "000200000040$id" "000200000040${id}ffffffffffff0600${some}000188b500000000" "00010001$id$some" "0003$some" "$some"; do
		on lan timeout $((30 * SLOW)) ./frames.py udp h1 192.0.2.2 192.0.2.1 "$hex" || true
	done
}

sealing() {
	local h k=/tmp/churn.key.$((n % 4))
	for h in h1 h2; do
		v -n $h net set 0005 --seal "$(case $((n % 4)) in 0) echo none ;; 1) echo auth ;; *) echo conf ;; esac)" --max-senders $((n % 2 + 1))
		v -n $h key set 0005 --file "$k" --index $((n % 4 + 1))
		v -n $h key rotate 0005
		v -n $h -j key list 0005
		v -n $h key set 0005 --file /tmp/churn.key.4 --index 9 --slot previous
		[ $((n % 3)) != 0 ] || v -n $h key del 0005 $((n % 4 + 1))
		v -n $h net create 0130 --seal conf
		v -n $h key set 0130 --file "$k"
		v -n $h net delete 0130
	done
}

# task NAME: does it over and over until the time is up, and says how often.
end=$((SECONDS + DURATION))
task() {
	local n=0
	trap - ERR
	set +e
	while [ "$SECONDS" -lt "$end" ]; do
		n=$((n + 1))
		"$1"
	done
	echo "$n" >"/tmp/churn.count.$1"
}
tasks="come_and_go host_comes_and_goes settings entries peers lists devices rubbish sealing"
for k in 0 1 2 3 4; do "$VN" key generate --file /tmp/churn.key.$k; done
: >/tmp/churn.wrong
traffic
background=$(jobs -p)
workers=()
for t in $tasks; do
	task "$t" >/dev/null 2>&1 &
	workers+=($!)
done
wait "${workers[@]}"
# shellcheck disable=SC2086 # words
kill $background 2>/dev/null || true
wait
for t in $tasks; do
	holds "$t: $(cat "/tmp/churn.count.$t") times" test "$(cat "/tmp/churn.count.$t")" -ge 1
done
equal "nothing hung or died" "$(cat /tmp/churn.wrong)" ""

# What was interrupted.
end=$((SECONDS + 1000000))
for h in h1 h2; do
	for id in $("$VN" -n $h -j net list | jq -r '.[].id | select(. != "0005")'); do "$VN" -n $h net delete "$id"; done
done
i netns delete short
v -n h1 host set --ttl 64
v -n h2 host set --group $GROUP --port 1798
v -n h2 net set 0005 --ageing 300000 --max-macs 65536
v -n h1 net set 0005 --mtu 1436
i -n h2 link set vnif0005 master vnbr0005 up
i -n h1 link set eth0 up
i -n h1 route add 224.0.0.0/4 dev eth0
for h in h1 h2; do
	v -n $h net set 0005 --seal none --max-senders 1024
	for k in $("$VN" -n $h -j key list 0005 | jq -r '.[].index'); do v -n $h key del 0005 "$k"; done
done
v -n h1 net set 0005 --mtu 1436
v -n h1 varp flush 0005
v -n h2 varp flush 0005
equal "no other vnet is left in h1, and this one is as before" "$("$VN" -n h1 -j net list | jq -c '[.[] | [.id, .ifname, .mtu, .ageing]]')" "$before"
equal "none in h2" "$("$VN" -n h2 -j net list | jq -c '[.[].ifname]')" '["vnif0005"]'
reaches a1 10.0.0.2
