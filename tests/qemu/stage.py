# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What initial file systems are made of: a directory, files put into it, modules in the order in which they load; and the archive."""

import lzma
import os
import shutil
import subprocess


def put(source, target, mode=0o755):
    """Copies a file, with the directories above it."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(source, target)
    os.chmod(target, mode)


def write(path, text, mode=0o644):
    """Writes a file, with the directories above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def unpack(source, target):
    """Copies a module; one that is packed is unpacked, for a busybox that cannot."""
    if not source.endswith(".xz"):
        shutil.copy(source, target)
        return
    with lzma.open(source) as packed, open(target, "wb") as plain:
        shutil.copyfileobj(packed, plain)


def dependencies(base, wanted):
    """Files of modules, below the directory `base` of a kernel, each after those that it needs."""
    needs = {}
    with open(f"{base}/modules.dep") as table:
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


def insert(stage, base, wanted):
    """The modules and those that they need, in /modules, and /modules/order with their order."""
    order = dependencies(base, wanted)
    files = [os.path.basename(path).removesuffix(".xz") for path in order]
    os.makedirs(f"{stage}/modules")
    for path, file in zip(order, files):
        unpack(f"{base}/{path}", f"{stage}/modules/{file}")
    write(f"{stage}/modules/order", "".join(f"{file}\n" for file in files))


def archive(stage, out):
    """The directory as the kernel unpacks it; all is root's."""
    listing = subprocess.run(["find", ".", "-print0"], cwd=stage, capture_output=True, check=True).stdout
    with open(out, "wb") as file:
        subprocess.run(["cpio", "--null", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=stage, input=listing, stdout=file, check=True)
