#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# First process of a guest with Debian's kernel under QEMU's instruction counter, where the clock and the time stamp counter count
# instructions, one for each nanosecond. Says on the console how many a packet takes: "@value count/TX|RX/CONTENDER JSON".
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
ip link set lo up
here=/usr/sbin
measure() {
	set -e
	modprobe -a dummy veth bridge vxlan geneve vnet
	insmod $here/pump.ko
	VN=$here/vn SOCKETS=$here/sockets TCP_SECONDS=${VNET_SECONDS:-0.02}
	# shellcheck source=tests/bench/lib.sh
	. $here/lib.sh
	# shellcheck source=/dev/null
	. $here/frames.sh
	lone u
	tunnels u und 192.0.2.1 192.0.2.2 "$NEAR"
	ports u
	teach u
	[ -z "${VNET_TRACE:-}" ] || { trace; return; }
	for direction in TX RX; do
		for c in $CONTENDERS; do
			has_direction $direction "$c" || continue
			answer=$(one_direction u $direction "$c" "${VNET_PACKETS:-6400}" 64)
			value "count/$direction/$c" "$answer"
		done
	done
	# With a source port for each flow, as vxlan has.
	"$VN" -n u net set 0005 --source-port flow
	"$VN" -n u net set 0006 --source-port flow
	for c in vnet vnetbr; do
		answer=$(one_direction u TX "$c" "${VNET_PACKETS:-6400}" 64)
		value "count/TX/$c-flow" "$answer"
	done
	local mtu
	for mtu in 1500 9000; do
		pair "h$mtu-" $mtu
		serve "h$mtu-"
		# The seconds are of the clock that counts instructions. Where segments begin is chance, so more than once.
		for _ in $(seq "${VNET_ROUNDS:-1}"); do
			for c in $WITH_TCP; do plain "count/tcp/$mtu/$c" tcp "$(place "h$mtu-" 1 "$c")" "$(where "$c")" 1; done
		done
	done
}
# trace: what profile.py reads. While instructions are written down, this shell does nothing but give the pump its command; it waits
# for a line before and after.
trace() {
	local one what
	echo "@symbols"
	grep -i ' [tw] ' /proc/kallsyms | gzip -1 | base64
	echo "@symbols end"
	for one in ${VNET_TRACE//,/ }; do
		what=${one/:/_}
		[ "$what" != RX_none ] || sink u und
		# shellcheck disable=SC2016 # for the inner shell
		on u bash -c '
			printf "@trace %s\n" "$1"
			read -r _
			printf "run %s" "$2" >/proc/vnet_pump
			printf "@traced\n"
			read -r _' trace "$one" "${!what} packets=$VNET_PACKETS chunk=64" </dev/ttyS0
	done
}
(measure) 2>&1
echo "@exit $?"
poweroff -f
