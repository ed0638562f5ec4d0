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
	modprobe -a dummy bridge vxlan geneve vnet
	insmod $here/pump.ko
	VN=$here/vn
	# shellcheck source=tests/bench/lib.sh
	. $here/lib.sh
	# shellcheck source=/dev/null
	. $here/frames.sh
		lone u
	tunnels u und 192.0.2.1 192.0.2.2 "$NEAR"
	ports u
	teach u
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
}
(measure) 2>&1
echo "@exit $?"
poweroff -f
