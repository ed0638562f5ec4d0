# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Two guests on one LAN, with a vnet between them and customers' machines on it.

    customer a1                 guest h1                       guest h2                 customer a2
    eth0 10.5.0.1/24 ─ v-a1 ─ vnbr0005 ─ vnif0005 ─ eth0 ─── eth0 ─ vnif0005 ─ vnbr0005 ─ v-a2 ─ eth0 10.5.0.2/24
                                       192.0.2.1/24   LAN   192.0.2.2/24
"""

import glob
import json
import os
import time

from guest import Bed, Guest, GuestError, hardware_virtualisation
from initramfs import build

TOP = "/src"
MODULE = f"{TOP}/build/module-trixie/module/vnet.ko"
VN = f"{TOP}/build/bin/vn"


class Lab(Bed):
    """Boots both guests. With tunnel="vxlan" the kernel's own vxlan takes vnet's place, to prove the test bed."""

    def __init__(self, name, tunnel="vnet", say=lambda text: None):
        self.tunnel = tunnel
        super().__init__(f"{TOP}/build/qemu/{name}")
        with open("/kit/kernel/release") as file:
            self.release = file.read().strip()
        own = tunnel == "vnet"
        initramfs = f"/tmp/{name}.cpio"
        build(initramfs, self.release, MODULE if own else None, [VN] if own else [])
        accelerator = "KVM" if hardware_virtualisation() else "TCG"
        say(f"booting h1 and h2: Debian's {self.release}, {accelerator}")
        lan = f"/tmp/{name}.lan"
        kernel = "/kit/kernel/vmlinuz"
        try:
            for number in (1, 2):
                self.add(Guest(f"h{number}", number, lan, kernel, initramfs, self.directory))
            for number, guest in enumerate(self.guests, 1):
                guest.wait_up()
            self.both(
                lambda number: f"""set -e
                    ip link set eth0 up
                    ip addr add 192.0.2.{number}/24 dev eth0
                    ip route add 224.0.0.0/4 dev eth0"""
            )
        except BaseException:
            self.close()
            raise
        self.h1, self.h2 = self.guests

    def both(self, command, timeout=60):
        """Runs command(number) in both guests at the same time; all must succeed. Returns the outputs."""
        for number, guest in enumerate(self.guests, 1):
            guest.start(command(number))
        answers = [guest.finish(timeout) for guest in self.guests]
        for guest, (status, output) in zip(self.guests, answers):
            if status != 0:
                raise GuestError(f"{guest.name}: status {status}:\n{output}")
        return [output for _, output in answers]

    def load(self):
        """Loads the module into both guests."""
        if self.tunnel == "vnet":
            self.both(lambda number: "modprobe vnet")

    def create(self, guest, net, options=""):
        """Makes a vnet with its bridge."""
        if self.tunnel == "vnet":
            return guest.run(f"vn net create {net} --bridge vnbr{net} {options}")
        return guest.run(
            f"""set -e
            ip link add vnif{net} mtu 1436 type vxlan id $((0x{net})) group 239.1.1.1 dev eth0 dstport 1798
            ip link add vnbr{net} type bridge forward_delay 0
            ip link set vnif{net} master vnbr{net} up
            ip link set vnbr{net} up"""
        )

    def customer(self, guest, name, net, address):
        """A customer's machine: a namespace whose eth0 is a veth on the vnet's bridge."""
        guest.run(
            f"""set -e
            mtu=$(cat /sys/class/net/vnif{net}/mtu)
            ip netns add {name}
            ip link add v-{name} mtu $mtu type veth peer name eth0 netns {name} mtu $mtu
            ip link set v-{name} master vnbr{net} up
            ip -n {name} link set lo up
            ip -n {name} link set eth0 up
            ip -n {name} addr add {address}/24 dev eth0"""
        )

    def start_capture(self, guest, packets=4000):
        """tcpdump on the LAN side of a guest, until `capture` is called."""
        guest.run(
            "rm -f /tmp/lan.pcap; tcpdump -Z root -i eth0 --immediate-mode -U -s 160 -w /tmp/lan.pcap -c %d 'udp port 1798' >/tmp/tcpdump.log 2>&1 & "
            "echo $! >/tmp/tcpdump.pid; end=$((SECONDS+20)); "
            "until grep -q listening /tmp/tcpdump.log; do [ $SECONDS -lt $end ] || exit 1; sleep 0.1; done" % packets
        )

    def capture(self, guest, options="", lines=10, only=""):
        """What was captured, as tcpdump says it; only is a filter."""
        self.stop_capture(guest)
        return guest.run(f"tcpdump -n -t {options} -r /tmp/lan.pcap '{only}' 2>/dev/null | head -n {lines}")

    def stop_capture(self, guest):
        guest.run(
            "pid=$(cat /tmp/tcpdump.pid); kill -INT $pid 2>/dev/null; end=$((SECONDS+20)); "
            "while kill -0 $pid 2>/dev/null; do [ $SECONDS -lt $end ] || exit 1; sleep 0.1; done"
        )

    def traffic(self, guest, direction):
        """Packets and bytes that a host's vnet 0005 has sent (tx) or received (rx)."""
        if self.tunnel != "vnet":
            return 0, 0
        stats = json.loads(guest.run("vn -j -s net show 0005"))["stats"]
        return stats[f"{direction}-packets"], stats[f"{direction}-bytes"]

    def ping(self, guest, name, address, count=3):
        return guest.status(f"ip netns exec {name} ping -n -c {count} -i 0.3 -W 2 {address}")

    def iperf(self, server, client, address, seconds=3):
        """One TCP stream from customer to customer, given as (guest, namespace); returns Mbit/s."""
        guest, name = server
        guest.run(f"ip netns exec {name} iperf3 -s -1 -D --forceflush --logfile /tmp/iperf.log")
        guest.wait_for(f"ip netns exec {name} ss -ltn | grep -q :5201")
        guest, name = client
        # What arrives is measured in intervals from the first byte: slow emulation makes the start long.
        out = guest.run(f"ip netns exec {name} iperf3 -J -c {address} -t {seconds}", 60 + 10 * seconds)
        return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e6

    def close(self):
        super().close()
        for path in glob.glob("/tmp/*.agent"):
            os.unlink(path)


class Clock:
    """Time since the start, for people."""

    def __init__(self):
        self.start = time.monotonic()

    def __str__(self):
        return f"{time.monotonic() - self.start:5.1f} s"
