# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What the cases of sealed vnets share.

VN=$(dirname "$VNETD")/vn

# vn HOST ARGUMENTS...
vn() {
	local host=$1
	shift
	"$VN" --via vnetd --vnetd-socket "$WORK/$host/control" "$@"
}

# key NAME: a new key in a file.
key() { holds "a key: $1" "$VN" key generate --file "$WORK/$1.key"; }

senders() { ctl "$1" net-get '{"id": "0005"}' | jq .senders; }
believes() { [ "$(senders "$1")" -ge "$2" ]; }

# capture FILE DEVICE FILTER: tcpdump on the LAN; captured FILE ends it.
capture() {
	nsenter --net="/run/netns/${NS}lan" tcpdump -Z root --immediate-mode -U -s 0 -w "$1" -i "$2" "$3" >"$WORK/heard" 2>"$WORK/tcpdump" &
	capturing=$!
	is_listening "tcpdump listens" "$WORK/tcpdump"
}
captured() {
	kill "$capturing"
	wait "$capturing" || true
	[ -s "$1" ] || fail "nothing was captured"
}
# attacker COMMAND DEVICE PCAP: what it printed is in $printed.
attacker() {
	local command=$1 device=$2
	shift 2
	# shellcheck disable=SC2034 # for who reads this file
	printed=$(on lan "$HERE/sealed.py" "$command" "$device" "$@") || fail "sealed.py $command"
}
# rises TEXT HOST COUNTER BEFORE BY, host_rises TEXT HOST COUNTER BEFORE BY: a counter of vnet 0005, or of the host, rises by just so much.
rises() {
	local text=$1 now=0
	shift
	wait_for 5 "$text" counts "$1" 0005 "$2" $(($3 + $4))
	now=$(counter "$1" 0005 "$2")
	equal "$text, and no more" $((now - $3)) "$4"
}
host_rises() {
	local text=$1 now=0
	shift
	wait_for 5 "$text" host_counts "$1" "$2" $(($3 + $4))
	now=$(host_counter "$1" "$2")
	equal "$text, and no more" $((now - $3)) "$4"
}
