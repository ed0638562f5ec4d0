#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# A MAC address moves: from h2 to h3, from there to h1 itself, and back to h2. The tables follow the first frame.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
for i in 1 2 3; do net "h$i" 0005; done
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
M=02:00:00:00:00:99
vm m h2 0005 10.0.0.9 $M
reaches a1 10.0.0.9
equal "behind h2" "$(behind h1 0005 $M)" 192.0.2.2

# move_to HOST: the machine disappears from its host and speaks first from the new one.
move_to() {
	ip netns delete m
	wait_for 10 "the port is gone" sh -c '! ip -n h1 link show v-m && ! ip -n h2 link show v-m && ! ip -n h3 link show v-m'
	vm m "$1" 0005 10.0.0.9 $M
	reaches m 10.0.0.1
}
move_to h3
wait_for 5 "behind h3 now" is_behind h1 0005 $M 192.0.2.3
reaches a1 10.0.0.9

move_to h1
wait_for 5 "not remote any more" unknown h1 0005 $M
holds "local instead" grep -qx $M <<<"$(local_macs h1 0005)"
wait_for 5 "h2 knows that it is behind h1" is_behind h2 0005 $M 192.0.2.1 || true
reaches a1 10.0.0.9

move_to h2
wait_for 5 "behind h2 again" is_behind h1 0005 $M 192.0.2.2
never "local no more" grep -qx $M <<<"$(local_macs h1 0005)"
reaches a1 10.0.0.9
