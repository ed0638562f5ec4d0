#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# A sealed vnet between module and daemon, each of them once as the one that is attacked.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh
# shellcheck source=tests/uml/sealed.sh
. ./sealed.sh

load
hosts 3
# daemon HOST: it has vnetd instead of the module.
daemon() {
	HOW[$1]=vnetd
	mkdir -p "/run/vnetd/$1"
	nsenter --net="/run/netns/$1" -- /src/build/bin/vnetd --socket "/run/vnetd/$1/control" --state "/run/vnetd/$1/state" --device eth0 >"/tmp/vnetd-$1" 2>&1 &
	running=$!
	wait_for 10 "vnetd on $1 answers" vn_of "$1" host status
}
ended() {
	kill $running
	wait $running || fail "vnetd ends with $?"
	ok "vnetd ends"
}
HOW[h1]=module
daemon h2
sealed conf chacha20-poly1305 wire changed repeated thrown_back unsealed tcp rotation strangers restart without_key
sealed auth aes-256-gcm wire changed rotation
ended
HOW[h2]=module
daemon h1
sealed conf aes-256-gcm wire changed tcp rotation restart
ended
