# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hosts that run Xen, on one LAN. Each is a QEMU; what it writes to its root is lost with it.

    LAN ── eth0 ─ xenbr0 ─┬─ dom0 192.168.1.10N            xenbr1 ─┬─ namespace internet 65.37.141.1
                          └─ vifD.1 of a domR                      └─ vifD.2 of a domR
"""

import os
import shutil
import subprocess
import sys
import time

TOP = "/src"
MODULE = f"{TOP}/build/module-trixie/module/vnet.ko"
sys.path.insert(0, f"{TOP}/tests/qemu")

from guest import Guest, GuestError, hardware_virtualisation  # noqa: E402
from images import KIT, dom0_initrd  # noqa: E402

# Without VMX and SVM in it, as nothing here can pass them on: guests are paravirtual.
CPU = "Haswell-noTSX"
SETUP = """set -e
ip link add xenbr0 type bridge forward_delay 0 mcast_snooping 0
ip link set eth0 master xenbr0 up
ip link set xenbr0 up
ip addr add 192.168.1.10{number}/24 dev xenbr0
ip route add 224.0.0.0/4 dev xenbr0
ip link add xenbr1 type bridge forward_delay 0
ip link set xenbr1 up
for m in {depends}; do modprobe $m; done
insmod /vnet.ko
"""


class Host(Guest):
    """A dom0 in its QEMU. `run` and `status` are those of a guest: commands in dom0."""

    def __init__(self, name, number, directory, lan, memory=2560, dom0=1280):
        self.name = name
        self.number = number
        self.log = os.path.join(directory, f"{name}.console")
        self.transcript = open(os.path.join(directory, f"{name}.commands"), "w")
        self.path = os.path.join("/tmp", f"{name}.agent")
        self.buffer = b""
        self.count = 0
        self.agent = None
        initrd = f"/tmp/{name}.initrd"
        dom0_initrd(initrd, name)
        with open(f"/tmp/{name}.xen", "wb") as xen:
            subprocess.run(["gzip", "-dc", f"{KIT}/xen.gz"], stdout=xen, check=True)
        peer = "server=on" if number == 1 else "server=off,reconnect-ms=100"
        accelerator = ["-accel", "kvm"] if hardware_virtualisation() else ["-accel", "tcg,thread=multi"]
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "pc", "-no-reboot"]
            + accelerator
            + ["-cpu", CPU, "-m", str(memory), "-smp", "2", "-kernel", f"/tmp/{name}.xen"]
            + ["-append", f"dom0_mem={dom0}M,max:{dom0}M dom0_max_vcpus=2 console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning"]
            + ["-initrd", f"/kit/kernel/vmlinuz console=hvc0 rdinit=/init loglevel=5 panic=-1 mitigations=off audit=0 net.ifnames=0,{initrd}"]
            + ["-serial", f"file:{self.log}"]
            + ["-chardev", f"socket,id=agent,path={self.path},server=on,wait=off", "-serial", "chardev:agent"]
            + ["-netdev", f"stream,id=lan,{peer},addr.type=unix,addr.path={lan}"]
            # Devices of virtio would be given addresses that are not the machine's: they know nothing of Xen.
            + ["-device", f"e1000,netdev=lan,mac=52:54:00:00:00:{number:02x},romfile="]
            + ["-drive", f"file={KIT}/root.img,format=raw,if=none,id=root,snapshot=on"]
            + ["-device", "ahci,id=ahci", "-device", "ide-hd,drive=root,bus=ahci.0"],
            stdin=subprocess.DEVNULL,
            stdout=open(os.path.join(directory, f"{name}.qemu"), "w"),
            stderr=subprocess.STDOUT,
        )
        self._connect()

    def ready(self):
        """Until it has booted, has its bridges, and the module."""
        self.wait_up(900)
        depends = subprocess.run(["modinfo", "-F", "depends", MODULE], capture_output=True, text=True, check=True).stdout.strip()
        self.run(SETUP.format(number=self.number, depends=depends.replace(",", " ")), 120)


class Lab:
    """Two hosts, `a` and `b`."""

    def __init__(self, say=lambda text: None):
        self.directory = f"{TOP}/build/xen"
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.hosts = []
        start = time.monotonic()
        try:
            for number in (1, 2):
                self.hosts.append(Host(f"host{number}", number, self.directory, "/tmp/xen.lan"))
            for host in self.hosts:
                host.ready()
        except BaseException:
            self.close()
            raise
        self.a, self.b = self.hosts
        say(f"Xen runs on both hosts after {time.monotonic() - start:.0f} s")

    def splats(self):
        return [f"{host.name}: {line}" for host in self.hosts for line in host.splats()]

    def close(self):
        for host in self.hosts:
            host.kill()


__all__ = ["GuestError", "Host", "Lab"]
