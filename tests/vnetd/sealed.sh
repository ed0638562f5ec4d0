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
