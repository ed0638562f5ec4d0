# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# Every setting of a vnet does what it says, at once: for the module and for the daemon. h3 has neither; it is somebody who sends
# packets, and all frames are made here: nothing is counted but what was sent.

ALL=ff:ff:ff:ff:ff:ff
# Begins of addresses that the machine has.
HERE=06:00:00:00:00

# The vnet that is looked at: its host, by what it is there, its id, a machine in it.
vn() { "$VN" -n "$HOST" --via "$HOW" "$@"; }
configure() { vn net set "$ID" "$@"; }
value() { vn -j net show "$ID" | jq -r ".[\"$1\"]"; }
is() { [ "$(value "$1")" = "$2" ]; }
stats() { vn -j -s net show "$ID" | jq -r "[$(printf '.stats["%s"],' "$@")0] | add"; }
reached() {
	local least=$1
	shift
	[ "$(stats "$@")" -ge "$least" ]
}
# more TEXT NUMBER COUNTER...: by so much, and not by more, the sum of the counters has grown since `from_now COUNTER...`.
from_now() { before=$(stats "$@"); }
more() {
	local text=$1 number=$2
	shift 2
	wait_for 10 "$text: $* by $number" reached $((before + number)) "$@"
	equal "and by no more" "$(stats "$@")" $((before + number))
}
# sends DESTINATION SOURCE [COUNT]: frames of the machine.
sends() { on "$MACHINE" ./frames.py send eth0 "$1" "$2" "${3:-1}"; }
varp() {
	local opcode=$1 mac=${2//:/} last=${3:-3}
	printf '0001%04x%032x%s02c00002%02x%024x' "$opcode" "0x$ID" "$mac" "$last" 0
}
# announces MAC LAST: h3 says that the MAC address is behind 192.0.2.LAST.
announces() { on h3 ./frames.py say "$ADDRESS" "$(varp 2 "$1" "$2")"; }
is_at() { [ "$(vn -j varp list "$ID" | jq -r --arg mac "$1" '.[] | select(.mac == $mac) | .addr // empty')" = "192.0.2.$2" ]; }
# announced MAC LAST: once more, and now it is there.
announced() {
	announces "$1" "$2"
	is_at "$1" "$2"
}
# counted MAC MOVES
counted() { vn -j varp list "$ID" | jq -e --arg mac "$1" --argjson moves "$2" '.[] | select(.mac == $mac) | (.moves // 0) == $moves'; }
is_here() { vn -j vif list "$ID" | jq -e --arg mac "$1" 'any(.[]; .mac == $mac)'; }

# Addresses that nobody has, a new one each time.
next=0
nobody() {
	next=$((next + 1))
	printf -v NOBODY '02:00:00:00:01:%02x' $next
}
none_unknown() {
	configure --probe-interval 10
	wait_for 10 "no address is unknown" is unresolved 0
}

asking() {
	local first
	configure --probes 3 --probe-interval 10 --negative 600000
	from_now tx-request
	nobody
	first=$NOBODY
	sends "$first" $HERE:01
	more "probes 3" 3 tx-request
	wait_for 10 "nobody has it" reached 1 unresolved
	sends "$first" $HERE:01
	nobody
	sends "$NOBODY" $HERE:01
	wait_for 10 "nor the next" reached 2 unresolved
	more "negative 600000, only the next was asked for" 6 tx-request
	configure --negative 0
	wait_for 10 "negative 0, both are forgotten" is unresolved 0
	sends "$first" $HERE:01
	more "and asked for again" 9 tx-request
	none_unknown

	configure --probe-interval 10000
	from_now tx-request
	nobody
	sends "$NOBODY" $HERE:01
	more "probe-interval 10000" 1 tx-request
	configure --probe-interval 10
	more "and 10" 3 tx-request
	none_unknown

	configure --probes 1 --probe-interval 10000 --max-unresolved 2
	from_now flooded
	for _ in 1 2 3; do
		nobody
		sends "$NOBODY" $HERE:01
	done
	more "max-unresolved 2, the third is as if nobody had it" 1 flooded
	equal "two are unknown" "$(value unresolved) $(value held)" "2 2"
	configure --max-unresolved 128
	none_unknown
}

holding() {
	configure --probe-interval 10000 --hold-mac 2
	from_now hold-dropped
	nobody
	sends "$NOBODY" $HERE:01 5
	more "hold-mac 2" 3 hold-dropped
	equal "two are held" "$(value held)" 2
	none_unknown
	configure --probe-interval 10000 --hold-mac 16 --hold-net 3
	from_now hold-dropped
	for _ in 1 2; do
		nobody
		sends "$NOBODY" $HERE:01 3
	done
	more "hold-net 3" 3 hold-dropped
	equal "three are held, of two addresses" "$(value held) $(value unresolved)" "3 2"
	none_unknown
	configure --probe-interval 10000 --hold-net 256 --hold-mac 0
	from_now flooded
	nobody
	sends "$NOBODY" $HERE:01 3
	more "hold-mac 0" 3 flooded
	equal "none is held" "$(value held)" 0
	configure --hold-mac 16
	none_unknown

	configure --probe-interval 10000 --unknown flood --unknown-rate 0
	from_now flooded
	nobody
	sends "$NOBODY" $HERE:01 20
	more "unknown flood, without a limit" 20 flooded
	equal "none is held" "$(value held)" 0
	configure --unknown-rate 1
	from_now flooded unknown-dropped
	dropped=$(stats unknown-dropped)
	sends "$NOBODY" $HERE:01 20
	more "unknown-rate 1" 20 flooded unknown-dropped
	holds "not all were flooded" reached $((dropped + 1)) unknown-dropped
	none_unknown
	configure --unknown drop --unknown-rate 0
	flooded=$(stats flooded)
	from_now unknown-dropped
	nobody
	sends "$NOBODY" $HERE:01 5
	more "unknown drop" 5 unknown-dropped
	equal "none was flooded" "$(stats flooded)" "$flooded"
	configure --unknown hold --unknown-rate 100
	none_unknown
}

announcing() {
	configure --announces 0
	from_now tx-announce
	sends $ALL $HERE:10
	wait_for 10 "it is here" is_here $HERE:10
	configure --announces 1
	sends $ALL $HERE:11
	more "announces 0 and then 1" 1 tx-announce
	configure --announces 4 --announce-interval 10
	from_now tx-announce
	sends $ALL $HERE:12
	more "announces 4" 4 tx-announce
	configure --announces 2 --announce-interval 10000
	from_now tx-announce
	sends $ALL $HERE:13
	more "announce-interval 10000" 1 tx-announce
	configure --announce-interval 10
	more "and 10" 2 tx-announce

	local twenty=()
	for _ in $(seq 20); do twenty+=("$(varp 1 $HERE:10)"); done
	configure --varp-rate 0
	from_now tx-announce
	on h3 ./frames.py say "$ADDRESS" "${twenty[@]}"
	more "varp-rate 0, all are answered" 20 tx-announce
	configure --varp-rate 1
	limited=$(stats varp-limited)
	from_now tx-announce varp-limited
	on h3 ./frames.py say "$ADDRESS" "${twenty[@]}"
	more "varp-rate 1" 20 tx-announce varp-limited
	holds "not all were answered" reached $((limited + 1)) varp-limited
	configure --varp-rate 200
}

learning() {
	equal "nothing is known of other hosts" "$(value macs)" 0
	configure --max-macs 2
	from_now table-full
	for n in 1 2 3 4; do announces 02:00:00:00:02:0$n 3; done
	more "max-macs 2" 2 table-full
	equal "two are known" "$(value macs)" 2
	vn varp flush "$ID" >/dev/null
	configure --max-macs 65536 --remote-macs 1
	from_now remote-full
	for n in 1 2 3; do announces 02:00:00:00:02:0$n 3; done
	more "remote-macs 1" 2 remote-full
	equal "one is known" "$(value macs)" 1
	configure --remote-macs 0

	local frame flood twenty=()
	frame=ffffffffffff0200000003${ID: -2}88b5$(printf '%092x' 0)
	flood=$(printf '000200000040%032x%s' "0x$ID" "$frame")
	configure --remotes listed
	equal "who is not listed is forgotten" "$(value macs)" 0
	from_now rx-varp-refused rx-not-listed
	announces 02:00:00:00:02:01 3
	on h3 ./frames.py say "$ADDRESS" "$flood"
	more "remotes listed" 2 rx-varp-refused rx-not-listed
	equal "nothing is known" "$(value macs)" 0
	vn remote add "$ID" 192.0.2.3
	announces 02:00:00:00:02:01 3
	wait_for 10 "who is listed is believed" is_at 02:00:00:00:02:01 3
	configure --remotes any

	for _ in $(seq 20); do twenty+=("$flood"); done
	from_now rx-packets
	on h3 ./frames.py say "$ADDRESS" "${twenty[@]}"
	more "remote-floods 0, all are taken" 20 rx-packets
	configure --remote-floods 1
	limited=$(stats rx-flood-limit)
	from_now rx-packets rx-flood-limit
	on h3 ./frames.py say "$ADDRESS" "${twenty[@]}"
	more "remote-floods 1" 20 rx-packets rx-flood-limit
	holds "not all were taken" reached $((limited + 1)) rx-flood-limit
	configure --remote-floods 0
}

moving() {
	local m=02:00:00:00:04:01 i
	configure --move-limit 2 --move-window 3600000 --damp 3600000
	from_now moves
	for i in 4 5 4; do
		announces $m $i
		wait_for 10 "it is followed" is_at $m $i
	done
	more "move-limit 2" 2 moves
	from_now damped
	announces $m 5
	more "the third is not followed" 1 damped
	holds "it stays" is_at $m 4
	configure --damp 100
	wait_for 10 "damp 100, it is followed again" announced $m 5

	m=02:00:00:00:04:02
	configure --move-limit 1 --move-window 100 --damp 3600000
	announces $m 4
	wait_for 10 "it is known" is_at $m 4
	for i in 5 4 5; do
		announces $m $i
		wait_for 10 "move-window 100, it is followed" is_at $m $i
		wait_for 10 "and that is over" counted $m 0
	done
	configure --move-window 3600000
	holds "not with a longer one" counted $m 1
	from_now damped
	announces $m 4
	more "a second move within it is not followed" 1 damped
	holds "it stays" is_at $m 5
	configure --move-limit 5 --move-window 10000 --damp 30000
}

# sends_from FILTER: what is sent to h3 has a source port that matches.
sends_from() {
	local listening rc=0
	timeout 30 nsenter --net=/run/netns/h3 tcpdump -Z root -lnni eth0 -c 1 "src host $ADDRESS and udp dst port 1798 and $1" >/tmp/heard 2>/tmp/tcpdump &
	listening=$!
	is_listening "tcpdump listens" /tmp/tcpdump
	sends 02:00:00:00:02:01 $HERE:01
	wait $listening || rc=$?
	equal "$1" "$rc" 0
}

rest() {
	announces 02:00:00:00:02:01 3
	wait_for 10 "h3 has it" is_at 02:00:00:00:02:01 3
	sends_from "src port 1798"
	configure --source-port flow
	sends_from "not src port 1798"
	configure --source-port fixed

	holds "something is known, here and elsewhere" test "$(value macs)" -gt 0 -a "$(value vifs)" -gt 0
	configure --ageing 100
	wait_for 10 "ageing 100, nothing of others is known" is macs 0
	wait_for 10 "nor of what is here" is vifs 0
}

# effects HOST HOW ADDRESS: all of that, in a vnet of a host, by what it is there.
effects() {
	local part
	HOST=$1 HOW=$2 ADDRESS=$3 ID=0005 MACHINE=a1
	vn net create "$ID" --bridge
	vm "$MACHINE" "$HOST" "$ID" 10.0.0.1
	for part in asking holding announcing learning moving rest; do $part; done
}
