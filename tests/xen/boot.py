# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a dom0 boots from: an initial file system that mounts the kit's root and adds what the test has; and images for its guests."""

import gzip
import lzma
import os
import shutil
import subprocess
import tempfile

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


def dependencies(wanted):
    """Files of the modules, each after those that it needs."""
    needs = {}
    with open(f"{modules_directory()}/modules.dep") as table:
        for line in table:
            file, rest = line.split(":", 1)
            name = os.path.basename(file).split(".")[0].replace("-", "_")
            needs[name] = [file] + rest.split()
    order = []
    for name in wanted:
        for file in reversed(needs.get(name.replace("-", "_"), [])):
            if file not in order:
                order.append(file)
    return order


def unpack(path, target):
    with lzma.open(f"{modules_directory()}/{path}") as packed, open(target, "wb") as file:
        shutil.copyfileobj(packed, file)


def put(source, target, mode=0o755):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(source, target)
    os.chmod(target, mode)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def archive(stage, out):
    listing = subprocess.run(["find", ".", "-print0"], cwd=stage, capture_output=True, check=True).stdout
    with open(out, "wb") as file:
        subprocess.run(["cpio", "--null", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=stage, input=listing, stdout=file, check=True)


def guest_initrd(out):
    """The whole system of a guest."""
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        for directory in ("bin", "sbin", "proc", "sys", "dev", "tmp", "www/cgi-bin"):
            os.makedirs(f"{stage}/{directory}")
        put(f"{KIT}/usr/bin/busybox", f"{stage}/bin/busybox")
        put(f"{HERE}/guest", f"{stage}/init")
        put(f"{HERE}/udhcpc", f"{stage}/udhcpc")
        for path in dependencies(["xen-netfront"]):
            unpack(path, f"{stage}/{os.path.basename(path).removesuffix('.xz')}")
        # What comes as a query, in hexadecimal, is run.
        script = '#!/bin/sh\necho "Content-Type: text/plain"\necho\necho "$QUERY_STRING" | xxd -r -p >/tmp/c.$$\nsh /tmp/c.$$ 2>&1\necho "status $?"\nrm /tmp/c.$$\n'
        write(f"{stage}/www/cgi-bin/run", script, 0o755)
        # An orderly end is all that the kernel asks for.
        for name, option in (("poweroff", "-f"), ("reboot", "-f")):
            write(f"{stage}/sbin/{name}", f"#!/bin/busybox sh\nexec /bin/busybox {name} {option}\n", 0o755)
        archive(stage, f"{out}.cpio")
    with open(f"{out}.cpio", "rb") as plain, gzip.open(out, "wb", 1) as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(f"{out}.cpio")


def image(directory, kernel, initrd):
    put(kernel, f"{directory}/vmlinuz-{release()}", 0o644)
    put(initrd, f"{directory}/initrd-{release()}", 0o644)


def dom0_initrd(out, name):
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        for directory in ("bin", "proc", "dev", "root", "modules", "place/images"):
            os.makedirs(f"{stage}/{directory}")
        put(f"{KIT}/usr/bin/busybox", f"{stage}/bin/busybox")
        order = dependencies(MODULES)
        names = [os.path.basename(path).removesuffix(".xz") for path in order]
        for path, file in zip(order, names):
            unpack(path, f"{stage}/modules/{file}")
        write(f"{stage}/modules/order", "".join(f"{file}\n" for file in names))
        put(f"{HERE}/init", f"{stage}/init")
        place = f"{stage}/place"
        put(f"{HERE}/dom0", f"{place}/dom0")
        put(f"{TOP}/tests/qemu/agent", f"{place}/agent")
        put(f"{HERE}/vnc.py", f"{place}/vnc.py")
        put(f"{TOP}/build/bin/vn", f"{place}/usr/local/sbin/vn")
        put(f"{TOP}/build/module-trixie/module/vnet.ko", f"{place}/vnet.ko", 0o644)
        for script in SCRIPTS:
            os.symlink("vn", f"{place}/usr/local/sbin/{script}")
        write(f"{place}/etc/hostname", name + "\n")
        guest_initrd(f"{stage}/guest-initrd")
        kernel = "/kit/kernel/vmlinuz"
        image(f"{place}/images/chiradeep/i0007", kernel, f"{stage}/guest-initrd")
        os.remove(f"{stage}/guest-initrd")
        domr = f"{TOP}/build/domr"
        if os.path.exists(f"{domr}/initrd"):
            image(f"{place}/images/chiradeep/router", f"{domr}/vmlinuz", f"{domr}/initrd")
            # It is the same kernel, and one is enough.
            os.remove(f"{place}/images/chiradeep/router/vmlinuz-{release()}")
            os.symlink(f"../i0007/vmlinuz-{release()}", f"{place}/images/chiradeep/router/vmlinuz-{release()}")
        archive(stage, f"{out}.cpio")
    with open(f"{out}.cpio", "rb") as plain, gzip.open(out, "wb", 1) as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(f"{out}.cpio")
