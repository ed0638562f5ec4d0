#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The image (make domr-image), as a machine in QEMU without Xen: comes up, does its work, keeps its state. In the kit's root trixie.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

IMAGE=${IMAGE:-/src/build/domr}
# This root has QEMU, and the other one the rest.
mkdir "$WORK/bin"
for program in usr/bin/ssh usr/bin/ssh-keygen usr/sbin/mkfs.ext4 usr/bin/cpio; do
	printf '#!/bin/bash\nLD_LIBRARY_PATH=/kit/xen/usr/lib/x86_64-linux-gnu exec /kit/xen/%s "$@"\n' "$program" >"$WORK/bin/${program##*/}"
	chmod 755 "$WORK/bin/${program##*/}"
done
PATH=$WORK/bin:$PATH
world

# What dom0 adds for this machine: an archive behind the image's own.
cp "$IMAGE/initrd" "$WORK/initrd"
(cd $ROOT && chmod 600 etc/vn-domr/* && find etc | cpio --quiet -o -H newc) >>"$WORK/initrd"

truncate -s 32M "$WORK/disk"
holds "a disk for the state" mkfs.ext4 -q -L vn-domr "$WORK/disk"

# Each device of the machine takes the place of the namespace's.
for n in 0 1 2; do
	ip -n "${NS}domr" link add "b$n" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	on domr ip tuntap add "tap$n" mode tap
	for port in "eth$n" "tap$n"; do ip -n "${NS}domr" link set "$port" master "b$n" up; done
	ip -n "${NS}domr" link set "b$n" up
done
# Not in the order in which they are meant.
nics=()
for n in 2 0 1; do
	nics+=(-netdev "tap,id=net$n,ifname=tap$n,script=no,downscript=no" -device "virtio-net-pci,netdev=net$n,mac=02:00:00:00:01:0$n,romfile=")
done
accelerator=(-accel "tcg,thread=multi" -cpu max)
if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ]; then accelerator=(-accel kvm -cpu host); fi
nsenter --net="/run/netns/${NS}domr" -- qemu-system-x86_64 -nodefaults -no-user-config -display none -M q35 "${accelerator[@]}" -m 192 \
	-kernel "$IMAGE/vmlinuz" -initrd "$WORK/initrd" -serial "file:$WORK/console.log" -monitor "unix:$WORK/monitor,server=on,wait=off" \
	-append "console=ttyS0 rootfstype=ramfs loglevel=4 panic=-1 $CMDLINE eth0mac=02:00:00:00:01:00 eth1mac=02:00:00:00:01:01 eth2mac=02:00:00:00:01:02" \
	"${nics[@]}" -drive "file=$WORK/disk,format=raw,if=none,id=disk" -device virtio-blk-pci,drive=disk >"$WORK/qemu.log" 2>&1 &
QEMU=$!
up() {
	kill -0 "$QEMU" || fail "QEMU has ended"
	both_run
}
start=$SECONDS
wait_for 400 "the machine answers on eth1" up
say "after $((SECONDS - start)) s"
equal "as its command line says" "$(ctl status | jq -c '[.eth0, .eth1, .eth2, .gateway]')" \
	'["10.1.1.1/24","192.168.1.33/24","203.0.113.33/24","203.0.113.1"]'
never "not on eth2" asks outside $PUBLIC 3922 5
with_guest g1 11
never "nor on eth0" asks g1 10.1.1.1 3922 5
never "nor with eth1's address" asks g1 192.168.1.33 3922 5
serve outside tcp 80
serve g1 tcp 22
equal "a guest gets out" "$(asks g1 $FAR 80)" "outside $PUBLIC 80"
changes "a port is opened" true firewall add proto=tcp public=$PUBLIC ports=2222 guest=10.1.1.11 to=22
equal "and reached" "$(asks outside $PUBLIC 2222)" "g1 203.0.113.1 22"
changes "an address" true ip add $SECOND
equal "is where guests come from" "$(asks g1 $FAR 80)" "outside $SECOND 80"
changes "a range" true firewall add proto=tcp public=$SECOND ports=8000-8002 guest=10.1.1.11 to=21-23
equal "maps" "$(asks outside $SECOND 8001)" "g1 203.0.113.1 22"
changes "a type of ICMP" true firewall add proto=icmp public=$SECOND guest=10.1.1.11 icmp-type=echo-request
equal "goes to the guest" "$(who_answers outside $SECOND)" guest
refuses "the login shell is vn-domr" 'is none of' sh -c id

# Another boot.
boots() { grep -c 'this routing domain is up' "$WORK/console.log"; }
equal "one boot" "$(boots)" 1
echo 'sendkey ctrl-alt-delete' | socat - "UNIX-CONNECT:$WORK/monitor" >/dev/null
again() { [ "$(boots)" = 2 ]; }
wait_for 400 "it boots again" again
holds "which it said" grep -q 'vn-domr: rebooting' "$WORK/console.log"
wait_for 120 "and answers" up
equal "with its state" "$(ctl status | jq -c '[.addresses, .rules, .leases]')" '[1,3,1]'
equal "which holds" "$(asks outside $PUBLIC 2222)" "g1 203.0.113.1 22"
holds "a guest gets its address" lease g1
never "nothing was missing" grep -E 'cannot|not found|Kernel panic|BUG|Oops' "$WORK/console.log"
