#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A virtual machine of Xen whose disk is on a storage host: template, image, mount, run; and all of it undone. The storage host and
the dom0 are two virtual machines on one LAN. What they were told and said is in build/xen-storage/."""

import os
import sys
import time

from hosts import TOP, Host

import checks
from guest import Bed
from images import guest_on_disk, release
from cases import WORLD, ask, listed, plain_machine, refused, require, wait_guest

sys.path.append(f"{TOP}/tests/storage")

from machines import Machine, sparse  # noqa: E402

OS = "tank/os/guest"
IMAGE = "tank/vm/chiradeep/i0007"
LOCAL = "/images/chiradeep/d0007"
RUN = f"vn vm run {LOCAL} --net 5 --name disk-1 --mac 02:00:00:05:00:58 --ip 10.1.1.58 --memory 256 --cpus 1"
LISTS = """zfs list -H -t all -o name,origin
find /sys/kernel/config/target/core /sys/kernel/config/target/iscsi -mindepth 1 -maxdepth 2 -name '*:*' 2>/dev/null | sort
ls -A /etc/exports.d 2>/dev/null
exportfs -v"""
SETUP = """set -e
modprobe zfs
zpool create -O mountpoint=/tank tank /dev/vdb
systemctl start zfs-volumes.target nfs-server.service
zfs create -p tank/vm && zfs create tank/os
zfs set vnet:initiators=iqn.1993-08.org.debian:01:dom0 vnet:hosts=192.0.2.2 tank/vm
mkdir /var/tmp/tree && cd /var/tmp/tree && busybox cpio -idm </share/tree.cpio
truncate -s 64M /var/tmp/guest.img && mkfs.ext4 -q -F -L guest -d /var/tmp/tree /var/tmp/guest.img
"""
# No systemd runs in this dom0.
INITIATOR = """set -e
ip addr add 192.0.2.2/24 dev xenbr0
modprobe iscsi_tcp
mkdir -p /run/lock/iscsi
iscsid
"""


class Lab(Bed):
    """`storage` and `dom0`."""

    def __init__(self):
        super().__init__(f"{TOP}/build/xen-storage")
        os.mkdir(f"{self.directory}/share")
        guest_on_disk(f"{self.directory}/share")
        sparse(f"{self.directory}/pool.img", 1 << 30)
        lan = "/tmp/xen-storage.lan"
        start = time.monotonic()
        try:
            pool = f"{self.directory}/pool.img"
            self.storage = self.add(Machine("storage", 1, self.directory, lan, ["vn-storage"], [], [pool], 1536))
            self.dom0 = self.add(Host("dom0", 2, self.directory, lan))
            self.storage.ready()
            self.dom0.ready()
            self.storage.run(SETUP, 300)
            self.dom0.run(INITIATOR, 120)
        except BaseException:
            self.close()
            raise
        print(f"both are up after {time.monotonic() - start:.0f} s", flush=True)


def lists(lab):
    return lab.storage.status(LISTS)[1]


def template(lab):
    lab.dom0.run("xl info >/dev/null", 300)
    plain_machine(lab.dom0)
    lab.world = lab.dom0.run(WORLD, 300)
    kernel = f"--kernel /share/vmlinuz-{release()} --initrd /share/initrd-{release()}"
    lab.storage.run(f"vn template create {OS} --file /var/tmp/guest.img --name guest --size 64M {kernel}", 300)


def image(lab):
    lab.before = lists(lab)
    lab.storage.run(f"vn image create {IMAGE} --template {OS}", 120)


def mount(lab):
    volume, iqn = lab.storage.run(f"vn disk show {IMAGE} --root").split(",")
    require(volume.startswith(f"{IMAGE}/"), volume)
    lab.mount = f"vn image mount --host 192.0.2.1 --remote {IMAGE} --local {LOCAL} --name disk-1 --root {iqn}"
    lab.dom0.run(lab.mount, 200)
    lab.dom0.run(f"test -b /dev/disk/by-vm/disk-1-root && test -e {LOCAL}/vmlinuz-{release()}")


def boot(lab):
    host = lab.dom0
    host.run(RUN, 300)
    require(listed(host)["disk-1"]["state"] == "running", str(listed(host)))
    wait_guest(host, "10.1.1.58")
    said = ask(host, "10.1.1.58", "grep ' / ' /proc/mounts; uname -r; echo mine >/kept && sync && cat /kept")
    require("xvda1 / ext4 rw" in said and release() in said and said.endswith("mine\n"), said)


def in_use(lab):
    refused(lab.dom0, f"vn image unmount --local {LOCAL}", "is in use")
    refused(lab.storage, f"vn image delete {IMAGE}", "iqn.1993-08.org.debian:01:dom0 is logged in")
    require(ask(lab.dom0, "10.1.1.58", "cat /kept") == "mine\n", "the guest has lost its disk")


def again(lab):
    """Stopped, unmounted, mounted and started: it finds what it wrote."""
    host = lab.dom0
    said = host.run("vn vm stop disk-1 --timeout 120", 200)
    require("destroyed" not in said, f"it did not shut down by itself: {said}")
    host.run(f"vn image unmount --local {LOCAL}", 120)
    host.run("test ! -e /dev/disk/by-vm/disk-1-root")
    refused(host, RUN, "cannot read the image directory")
    host.run(f"{lab.mount} && {RUN}", 400)
    wait_guest(host, "10.1.1.58")
    require(ask(host, "10.1.1.58", "cat /kept") == "mine\n", "what it wrote is gone")


def gone(lab):
    host = lab.dom0
    host.run(f"vn vm stop disk-1 --force && vn image unmount --local {LOCAL}", 200)
    lab.storage.run(f"vn image delete {IMAGE}", 120)
    lab.storage.run("udevadm settle; zfs destroy tank/vm/chiradeep 2>/dev/null; true")
    require(lists(lab) == lab.before, f"the storage host had\n{lab.before}\nand has\n{lists(lab)}")
    world = host.run(WORLD, 300)
    require(world == lab.world, f"the dom0 was\n{lab.world}\nand is\n{world}")
    require("disk-1" not in host.run("findmnt -t nfs -n || true; iscsiadm -m session 2>&1 || true"), "something is mounted")


CHECKS = [
    ("vn template create: a small Linux with its kernel", template),
    ("vn image create: a clone of it", image),
    ("vn image mount: on the dom0, by iSCSI and NFS", mount),
    ("vn vm run: a guest whose root is that disk", boot),
    ("it is neither unmounted nor deleted while the guest runs", in_use),
    ("stopped, unmounted, mounted and started: it finds what it wrote", again),
    ("everything is as before", gone),
]


def main():
    return checks.run(Lab(), CHECKS)


if __name__ == "__main__":
    sys.exit(main())
