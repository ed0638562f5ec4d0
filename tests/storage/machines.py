# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A storage host with a ZFS pool, and a dom0, on one LAN: two guests that systemd boots from the kit's root file system.

What they write to their root is lost with QEMU, but stays over a reboot; the disks of the pool are files beside the logs.
"""

import os
import re
import socket
import sys
import time

TOP = "/src"
sys.path.insert(0, f"{TOP}/tests/qemu")

from guest import KERNEL_LINE, SPLAT, Bed, Guest, GuestError  # noqa: E402
from boot import build  # noqa: E402

KIT = "/kit/storage"
POOL_SIZE = 3 << 30
# What the stable kernel's own iSCSI initiator says of itself at a logout, if the power management of the disk has work then: the
# order of its work queues. It is told once in a boot.
KNOWN = re.compile(r"cut here \]-+\r?\n[^\n]*WQ_MEM_RECLAIM iscsi_ctrl_[^\n]* is flushing !WQ_MEM_RECLAIM pm:.*?\[ end trace ", re.S)
# Both guests have the same root file system.
NOT_ON_DOM0 = ["nfs-server.service", "zfs.target", "zfs-import.target", "zfs-load-module.service", "zfs-mount.service", "zfs-volumes.target"]


def sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


class Machine(Guest):
    """A guest with disks; it can be reset as by a power failure."""

    STATE = "ps axf; findmnt; zfs list -t all; exportfs -v; iscsiadm -m session; journalctl -n 100 --no-pager; dmesg | tail -n 60"

    def __init__(self, name, number, directory, lan, units=(), masked=(), disks=(), memory=1024):
        initramfs = f"/tmp/{name}.cpio"
        build(initramfs, name, f"192.0.2.{number}", units, masked)
        self.monitor = f"/tmp/{name}.monitor"
        more = ["-drive", f"file={KIT}/root.img,format=raw,if=virtio,snapshot=on"]
        for disk in disks:
            more += ["-drive", f"file={disk},format=raw,if=virtio,discard=unmap"]
        more += ["-virtfs", f"local,path={directory}/share,mount_tag=share,security_model=none,readonly=on"]
        more += ["-monitor", f"unix:{self.monitor},server=on,wait=off", "-object", "rng-random,id=rng", "-device", "virtio-rng-pci,rng=rng"]
        append = f"console=ttyS0 systemd.show_status=0 systemd.log_level=warning {KERNEL_LINE}"
        super().__init__(name, number, lan, f"{KIT}/vmlinuz", initramfs, directory, append, memory, more=more, reboot=True)

    def ready(self, timeout=900):
        """Until it has booted, and the share is there."""
        self.wait_up(timeout)
        self.run("mkdir -p /share; modprobe 9pnet_virtio; mountpoint -q /share || mount -t 9p -o ro,trans=virtio,version=9p2000.L share /share")

    def reset(self):
        """As if its power had failed for a moment; returns at once."""
        self.command("system_reset")

    def command(self, line):
        """A command of QEMU's monitor."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(self.monitor)
            text = b""
            while not text.endswith(b"(qemu) "):
                text += monitor.recv(4096)
            monitor.sendall(line.encode() + b"\n")
            text = b""
            while not text.endswith(b"(qemu) "):
                data = monitor.recv(4096)
                if not data:
                    break
                text += data

    def came_back(self, timeout=900):
        """After a reset: the agent speaks again. What it said before counts no more."""
        self.count += 1000
        self.ready(timeout)

    def splats(self):
        """Lines of the kernel's log that must not be there, but for what is known."""
        text = KNOWN.sub("", self.console())
        if self.qemu.poll() is None:
            text += "\n" + KNOWN.sub("", self.status("dmesg")[1])
        return sorted({line.strip() for line in text.splitlines() if SPLAT.search(line)})


class Lab(Bed):
    """`storage` and `dom0`."""

    def __init__(self, name, say=lambda text: None):
        super().__init__(f"{TOP}/build/storage/{name}")
        os.mkdir(f"{self.directory}/share")
        lan = f"/tmp/{name}.lan"
        disk = f"{self.directory}/pool.img"
        sparse(disk, POOL_SIZE)
        start = time.monotonic()
        try:
            self.storage = self.add(Machine("storage", 1, self.directory, lan, ["vn-storage"], [], [disk], 1536))
            self.dom0 = self.add(Machine("dom0", 2, self.directory, lan, [], NOT_ON_DOM0, [], 768))
            for machine in self.guests:
                machine.ready()
        except BaseException:
            self.close()
            raise
        say(f"both guests are up after {time.monotonic() - start:.0f} s")


__all__ = ["Guest", "GuestError", "Lab", "Machine", "sparse"]
