#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""initramfs.py OUT RELEASE [--module vnet.ko] [--program FILE]...

Makes the initial file system of a test guest from the programs and libraries of the root that this runs in, and the
modules of Debian's kernel RELEASE. Nothing is installed in the guest by hand: modprobe finds everything.
"""

import argparse
import os
import re
import shutil
import subprocess
import tempfile

from stage import archive, unpack

PROGRAMS = """bash ip bridge ss ping iperf3 tcpdump ethtool kmod jq nsenter unshare""".split()
KMOD_NAMES = "modprobe insmod rmmod lsmod modinfo depmod".split()
MODULES = "virtio_pci virtio_net bridge veth dummy vxlan udp_tunnel ip6_udp_tunnel af_packet".split()
HERE = os.path.dirname(os.path.abspath(__file__))


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def put(stage, path, source=None):
    """Copies a file of this root to the same place of the guest, with links followed."""
    target = stage + os.path.join("/usr", path.lstrip("/")) if not path.startswith("/usr") else stage + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target):
        shutil.copy(os.path.realpath(source or path), target)


def add_programs(stage, more):
    for directory in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(f"{stage}/usr/{directory}", exist_ok=True)
        os.symlink(f"usr/{directory}", f"{stage}/{directory}")
    put(stage, "/usr/bin/busybox")
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for program in PROGRAMS:
        path = shutil.which(program)
        if path is None:
            continue
        put(stage, path)
        for library in libraries(path):
            put(stage, library)
    # Opened by the C library when a thread is cancelled; ldd does not know.
    put(stage, "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1")
    for name in KMOD_NAMES:
        os.symlink("../bin/kmod", f"{stage}/usr/sbin/{name}")
    for source in more:
        put(stage, "/usr/sbin/" + os.path.basename(source), source)
    for applet in applets:
        if not any(os.path.lexists(f"{stage}/usr/{d}/{applet}") for d in ("bin", "sbin")):
            os.symlink("busybox", f"{stage}/usr/bin/{applet}")


def add_modules(stage, release, module):
    source = f"/usr/lib/modules/{release}"
    target = f"{stage}/usr/lib/modules/{release}"
    wanted = list(MODULES)
    if module:
        depends = subprocess.run(["modinfo", "-F", "depends", module], capture_output=True, text=True, check=True).stdout
        wanted += [m for m in depends.strip().split(",") if m]
    files = set()
    for name in wanted:
        out = subprocess.run(["modprobe", "-S", release, "--show-depends", name], capture_output=True, text=True).stdout
        files.update(re.findall(r"^insmod (\S+)", out, re.M))
    for path in files:
        path = os.path.realpath(path)
        place = os.path.join(target, os.path.relpath(path, os.path.realpath(source)))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        unpack(path, place.removesuffix(".xz"))
    if module:
        os.makedirs(f"{target}/updates", exist_ok=True)
        shutil.copy(module, f"{target}/updates/")
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(f"{source}/{name}", target)
    subprocess.run(["depmod", "-b", stage, release], check=True)


def build(out, release, module=None, programs=()):
    with tempfile.TemporaryDirectory() as stage:
        os.chmod(stage, 0o755)
        add_programs(stage, programs)
        add_modules(stage, release, module)
        for directory in ("proc", "sys", "dev", "run", "tmp", "var", "etc", "root"):
            os.makedirs(f"{stage}/{directory}")
        with open(f"{stage}/etc/passwd", "w") as passwd:
            passwd.write("root:x:0:0:root:/root:/bin/bash\ntcpdump:x:100:100::/:/bin/false\n")
        with open(f"{stage}/etc/group", "w") as group:
            group.write("root:x:0:\ntcpdump:x:100:\n")
        for name in ("init", "agent"):
            shutil.copy(f"{HERE}/{name}", f"{stage}/{name}")
            os.chmod(f"{stage}/{name}", 0o755)
        archive(stage, out + ".new")
        os.replace(out + ".new", out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("release")
    parser.add_argument("--module")
    parser.add_argument("--program", action="append", default=[])
    arguments = parser.parse_args()
    build(arguments.out, arguments.release, arguments.module, arguments.program)
