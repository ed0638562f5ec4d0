# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Kernels that measure themselves, and what they say on their consoles.

    @value KEY JSON       a figure
    @begin KEY            the processor is going to be used for KEY
    @finish KEY JSON      and now it was: the figure, to which "cpu" is added, the seconds that all of the kernel has used
    @exit STATUS          the end
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

TOP = "/src"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "qemu"))
BUILD = f"{TOP}/build/bench"
TICK = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Something could not be measured."""


def processes():
    """Parent and processor seconds of each process."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        # User and system time, its own and of children that it has waited for.
        found[int(name)] = (int(fields[1]), sum(int(field) for field in fields[11:15]) / TICK)
    return found


def cpu_seconds(root):
    """What a process and all below it have used."""
    every, total = processes(), 0.0
    for pid in every:
        at = pid
        while at in every and at != root:
            at = every[at][0]
        if at == root:
            total += every[pid][1]
    return total


class Figures:
    """For each key the figures, in the order in which they were measured."""

    def __init__(self):
        self.by_key = {}

    def add(self, key, figure):
        self.by_key.setdefault(key, []).append(figure)


def listen(command, figures, log, limit, say):
    """Runs the kernel, reads what it says, and waits for its end."""
    deadline = time.monotonic() + limit
    begun, status = {}, None
    with open(log, "w") as copy:
        kernel = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        watchdog = threading.Timer(limit, kernel.kill)
        watchdog.start()
        try:
            for raw in kernel.stdout:
                line = raw.decode(errors="replace").rstrip()
                print(line, file=copy, flush=True)
                # The kernel's own messages may stand before ours.
                _, at, words = line.partition("@")
                kind, _, rest = words.partition(" ")
                key, _, figure = rest.partition(" ")
                if not at or kind not in ("value", "begin", "finish", "exit"):
                    continue
                if kind == "begin":
                    begun[key] = cpu_seconds(kernel.pid)
                elif kind == "exit":
                    status = key
                elif key == "round":
                    say(f"round {figure}")
                elif key != "end":
                    value = json.loads(figure)
                    if kind == "finish":
                        value["cpu"] = cpu_seconds(kernel.pid) - begun.pop(key)
                    figures.add(key, value)
        finally:
            watchdog.cancel()
            kernel.kill()
            kernel.wait()
    if status != "0":
        raise Failure(f"the kernel {'ended with status ' + status if status else 'died'}"
                      f"{' after too long' if time.monotonic() > deadline else ''}: see {log}")


def uml(figures, parts, rounds, length, say):
    """The user-mode kernel: everything at native speed, on one processor."""
    listen(
        # Not more memory: modules are to be within 2 GiB of the kernel.
        ["/kit/uml/linux", "mem=1700M", "rootfstype=hostfs", "rootflags=/", "rw", "init=/src/tests/bench/init", "con=null", "ssl=null",
         "con0=null,fd:1", "seccomp=on", "ncpus=1", "loglevel=3", f"VNET_PARTS={','.join(parts)}", f"VNET_ROUNDS={rounds}",
         f"VNET_LENGTH={length}"],
        figures, f"{BUILD}/uml.log", 900 if length == "short" else 900 * (rounds + 1), say)


@contextlib.contextmanager
def counting_guest(words):
    """The command that runs Debian's kernel under QEMU's instruction counter, with these words for count.sh; its console is
    standard input and output.

    Without erms and fsrm the kernel copies by moves of eight bytes: a "rep movsb" would count as an instruction for each byte.
    """
    import initramfs

    with open("/kit/kernel/release") as file:
        release = file.read().strip()
    initramfs.MODULES.append("geneve")
    with tempfile.TemporaryDirectory() as stage:
        files = [f"{TOP}/build/bin/vn", f"{BUILD}/trixie/pump.ko", f"{HERE}/lib.sh", f"{HERE}/count.sh", f"{BUILD}/frames.sh",
                 f"{BUILD}/sockets"]
        initramfs.build(f"{stage}/root.cpio", release, f"{TOP}/build/module-trixie/module/vnet.ko", files)
        yield [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35,hpet=off", "-seed", "1",
            "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", "max,-erms,-fsrm", "-m", "512", "-smp", "1",
            "-kernel", "/kit/kernel/vmlinuz", "-initrd", f"{stage}/root.cpio", "-serial", "stdio", "-append",
            "console=ttyS0 rdinit=/usr/sbin/count.sh loglevel=3 panic=-1 mitigations=off audit=0 nokaslr norandmaps tsc=reliable "
            "clocksource=tsc " + " ".join(words),
        ]


def count(figures, packets, seconds, rounds):
    """How many instructions a packet takes in Debian's kernel; of streams of so many seconds, in so many rounds."""
    with counting_guest([f"VNET_PACKETS={packets}", f"VNET_SECONDS={seconds}", f"VNET_ROUNDS={rounds}"]) as command:
        listen(command, figures, f"{BUILD}/count.log", 600, lambda text: None)


def reset(directory):
    """An empty directory."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
