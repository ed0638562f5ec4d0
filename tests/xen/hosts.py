# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hosts that run Xen, on one LAN. Each is a QEMU; what it writes to its root is lost with it.

    LAN ── eth0 ─ xenbr0 ─┬─ dom0 192.168.1.10N            xenbr1 ─┬─ namespace internet 65.37.141.1
                          └─ vifD.1 of a domR                      └─ vifD.2 of a domR
"""

import subprocess
import sys
import time

TOP = "/src"
MODULE = f"{TOP}/build/module-trixie/module/vnet.ko"
sys.path.insert(0, f"{TOP}/tests/qemu")

from guest import KERNEL_LINE, Bed, Guest, GuestError  # noqa: E402
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

    STATE = "ps axfww; xl list; xenstore-ls -f; ls -l /sys/bus/xen-backend/devices; tail -n 60 /var/log/xen/*; dmesg | tail -n 60"

    def __init__(self, name, number, directory, lan, memory=2560, dom0=1280):
        self.number = number
        initrd, xen = f"/tmp/{name}.initrd", f"/tmp/{name}.xen"
        dom0_initrd(initrd, name)
        with open(xen, "wb") as plain:
            subprocess.run(["gzip", "-dc", f"{KIT}/xen.gz"], stdout=plain, check=True)
        modules = f"/kit/kernel/vmlinuz console=hvc0 rdinit=/init {KERNEL_LINE},{initrd}"
        append = f"dom0_mem={dom0}M,max:{dom0}M dom0_max_vcpus=2 console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning"
        more = ["-drive", f"file={KIT}/root.img,format=raw,if=none,id=root,snapshot=on"]
        more += ["-device", "ahci,id=ahci", "-device", "ide-hd,drive=root,bus=ahci.0"]
        # Devices of virtio would be given addresses that are not the machine's: they know nothing of Xen.
        super().__init__(name, number, lan, xen, modules, directory, append, memory, chipset="pc", cpu=CPU, nic="e1000", more=more)

    def ready(self):
        """Until it has booted, has its bridges, and the module."""
        self.wait_up(900)
        depends = subprocess.run(["modinfo", "-F", "depends", MODULE], capture_output=True, text=True, check=True).stdout.strip()
        self.run(SETUP.format(number=self.number, depends=depends.replace(",", " ")), 120)


class Lab(Bed):
    """Two hosts, `a` and `b`."""

    def __init__(self, say=lambda text: None):
        super().__init__(f"{TOP}/build/xen")
        start = time.monotonic()
        try:
            for number in (1, 2):
                self.add(Host(f"host{number}", number, self.directory, "/tmp/xen.lan"))
            for host in self.guests:
                host.ready()
        except BaseException:
            self.close()
            raise
        self.a, self.b = self.guests
        say(f"Xen runs on both hosts after {time.monotonic() - start:.0f} s")


__all__ = ["GuestError", "Host", "Lab"]
