# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a dom0 boots from: an initial file system that mounts the kit's root and adds what the test has; and images for its guests."""

import contextlib
import gzip
import os
import shutil
import tempfile

from stage import archive, insert, put, write

KIT = "/kit/xen"
TOP = "/src"
HERE = f"{TOP}/tests/xen"
MODULES = ["sd_mod", "ahci", "e1000", "crc32c_generic", "ext4"]
SCRIPTS = ["runvm.sh", "stopvm.sh", "rundomr.sh", "vnetcleanup.sh", "qemu-ifup", "ipassoc.sh", "firewall.sh"]


def release():
    with open(f"{KIT}/release") as file:
        return file.read().strip()


def modules_directory():
    return f"{KIT}/usr/lib/modules/{release()}"


def archive_gz(stage, out):
    archive(stage, f"{out}.cpio")
    with open(f"{out}.cpio", "rb") as plain, gzip.open(out, "wb", 1) as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(f"{out}.cpio")


@contextlib.contextmanager
def guest_tree():
    """The whole system of a guest, in a directory."""
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        for directory in ("bin", "sbin", "proc", "sys", "dev", "tmp", "www/cgi-bin"):
            os.makedirs(f"{stage}/{directory}")
        put(f"{KIT}/usr/bin/busybox", f"{stage}/bin/busybox")
        put(f"{HERE}/guest", f"{stage}/init")
        put(f"{HERE}/udhcpc", f"{stage}/udhcpc")
        insert(stage, modules_directory(), ["xen-netfront"])
        # What comes as a query, in hexadecimal, is run.
        script = '#!/bin/sh\necho "Content-Type: text/plain"\necho\necho "$QUERY_STRING" | xxd -r -p >/tmp/c.$$\nsh /tmp/c.$$ 2>&1\necho "status $?"\nrm /tmp/c.$$\n'
        write(f"{stage}/www/cgi-bin/run", script, 0o755)
        # An orderly end is all that the kernel asks for.
        for name, option in (("poweroff", "-f"), ("reboot", "-f")):
            write(f"{stage}/sbin/{name}", f"#!/bin/busybox sh\nexec /bin/busybox {name} {option}\n", 0o755)
        yield stage


def guest_initrd(out):
    """A guest without a disk."""
    with guest_tree() as stage:
        archive_gz(stage, out)


def guest_on_disk(directory):
    """Parts of a guest with a root disk: `tree.cpio` is what is on it; kernel and initrd, which mounts it."""
    with guest_tree() as stage:
        archive(stage, f"{directory}/tree.cpio")
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        for name in ("bin", "proc", "dev", "root"):
            os.makedirs(f"{stage}/{name}")
        put(f"{KIT}/usr/bin/busybox", f"{stage}/bin/busybox")
        put(f"{HERE}/guest-disk", f"{stage}/init")
        insert(stage, modules_directory(), ["xen-blkfront", "crc32c_generic", "ext4"])
        archive_gz(stage, f"{directory}/initrd-{release()}")
    put("/kit/kernel/vmlinuz", f"{directory}/vmlinuz-{release()}", 0o644)


def image(directory, kernel, initrd):
    put(kernel, f"{directory}/vmlinuz-{release()}", 0o644)
    put(initrd, f"{directory}/initrd-{release()}", 0o644)


def dom0_initrd(out, name):
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        for directory in ("bin", "proc", "dev", "root", "place/images"):
            os.makedirs(f"{stage}/{directory}")
        put(f"{KIT}/usr/bin/busybox", f"{stage}/bin/busybox")
        insert(stage, modules_directory(), MODULES)
        put(f"{HERE}/init", f"{stage}/init")
        place = f"{stage}/place"
        put(f"{HERE}/dom0", f"{place}/dom0")
        put(f"{TOP}/tests/qemu/agent", f"{place}/agent")
        put(f"{HERE}/vnc.py", f"{place}/vnc.py")
        put(f"{HERE}/reach.py", f"{place}/reach.py")
        put(f"{TOP}/build/bin/vn", f"{place}/usr/local/sbin/vn")
        put(f"{TOP}/build/module-trixie/module/vnet.ko", f"{place}/vnet.ko", 0o644)
        for script in SCRIPTS:
            os.symlink("vn", f"{place}/usr/local/sbin/{script}")
        write(f"{place}/etc/hostname", name + "\n")
        guest_initrd(f"{stage}/guest-initrd")
        kernel = "/kit/kernel/vmlinuz"
        image(f"{place}/images/chiradeep/i0007", kernel, f"{stage}/guest-initrd")
        os.remove(f"{stage}/guest-initrd")
        # Its kernel is the same, and one is enough.
        router = f"{place}/images/chiradeep/router"
        put(f"{TOP}/build/domr/initrd", f"{router}/initrd-{release()}", 0o644)
        os.symlink(f"../i0007/vmlinuz-{release()}", f"{router}/vmlinuz-{release()}")
        write(f"{place}/etc/iscsi/initiatorname.iscsi", f"InitiatorName=iqn.1993-08.org.debian:01:{name}\n", 0o600)
        archive_gz(stage, out)
