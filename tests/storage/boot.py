# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The initial file system of a guest of the storage tests: it mounts the kit's root file system, and adds what the test has."""

import hashlib
import os
import shutil
import tempfile

from stage import archive, insert, put, write

KIT = "/kit/storage"
TOP = "/src"
MODULES = ["crc32c_generic", "virtio_pci", "virtio_blk", "virtio_net", "ext4"]
SCRIPTS = ["createtmplt", "createvm", "delvm", "listclones", "listvmdisk", "listvmdisksize", "mountvm", "mapiscsi"]
# What a boot would wait for, or what would disturb, and no test needs.
MASKED = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "getty.target", "systemd-binfmt.service", "systemd-hwdb-update.service", "systemd-pstore.service", "serial-getty@ttyS0.service",
]
AGENT = """[Unit]
Description=Runs what the test says
After=multi-user.target
[Service]
Type=simple
ExecStart=/bin/bash -c 'exec /agent </dev/ttyS1 >/dev/ttyS1 2>/dev/console'
Restart=always
RestartSec=1
Environment=PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
"""
NETWORK = """[Unit]
Description=The network of the test
DefaultDependencies=no
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip addr add {address}/24 dev eth0
ExecStart=/sbin/ip link set eth0 up
ExecStart=/sbin/ip link set lo up
"""


def place(stage, name, address, units, masked):
    """What the test adds to the root file system."""
    system = f"{stage}/place/etc/systemd/system"
    write(f"{stage}/place/etc/hostname", name + "\n")
    write(f"{stage}/place/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 storage\n192.0.2.2 dom0\n")
    write(f"{stage}/place/etc/iscsi/initiatorname.iscsi", f"InitiatorName=iqn.1993-08.org.debian:01:{name}\n", 0o600)
    write(f"{stage}/place/etc/fstab", "")
    write(f"{system}/lab-agent.service", AGENT)
    write(f"{system}/lab-network.service", NETWORK.format(address=address))
    for unit in MASKED + masked:
        os.symlink("/dev/null", f"{system}/{unit}")
    # Not a first boot, and nothing in /usr is newer: catalogues and caches of it need not be made.
    write(f"{stage}/place/etc/machine-id", hashlib.md5(name.encode()).hexdigest() + "\n", 0o444)
    for directory in ("etc", "var"):
        write(f"{stage}/place/{directory}/.updated", "")
    wants = f"{system}/multi-user.target.wants"
    os.makedirs(wants)
    shutil.copy(f"{TOP}/userland/vn/vn-storage.service", f"{system}/vn-storage.service")
    for unit in ["lab-agent", "lab-network"] + units:
        os.symlink(f"../{unit}.service", f"{wants}/{unit}.service")
    put(f"{TOP}/tests/qemu/agent", f"{stage}/place/agent")
    programs = f"{stage}/place/usr/local/sbin"
    put(f"{TOP}/build/bin/vn", f"{programs}/vn")
    for script in SCRIPTS:
        os.symlink("vn", f"{programs}/{script}.sh")


def build(out, name, address, units=(), masked=()):
    with open(f"{KIT}/release") as file:
        base = f"{KIT}/modules/{file.read().strip()}"
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        for directory in ("proc", "dev", "root"):
            os.makedirs(f"{stage}/{directory}")
        put("/usr/bin/busybox", f"{stage}/bin/busybox")
        insert(stage, base, MODULES)
        put(f"{TOP}/tests/storage/init", f"{stage}/init")
        place(stage, name, address, list(units), list(masked))
        archive(stage, out)
