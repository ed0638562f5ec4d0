#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""test_stock.py [--tunnel vxlan]: the module in Debian's unmodified kernel, two guests as two hosts.

Each check is a function below, run in the order of the file: all of them are run, one failure does not hide others. With
--tunnel vxlan the kernel's own tunnel takes vnet's place, and only what does not need vn is checked: it proves the bed.
"""

import json
import re
import sys

import checks
from guest import GuestError
from lab import Lab

CHECKS = []


def check(text, own=False):
    def register(function):
        CHECKS.append((text, own, function))
        return function

    return register


def equal(got, expected, what):
    if got != expected:
        raise GuestError(f"{what}: got {got!r}, expected {expected!r}")


def true(value, what):
    if not value:
        raise GuestError(what)


@check("the module loads into the stock kernel", own=True)
def load(lab):
    lab.load()


@check("a vnet, its bridge and customers' machines on both hosts")
def setup(lab):
    lab.start_capture(lab.h1)
    for number, guest in enumerate(lab.guests, 1):
        lab.create(guest, "0005")
        lab.customer(guest, f"a{number}", "0005", f"10.5.0.{number}")


@check("ARP resolves and ping goes across, nothing lost")
def ping(lab):
    # The first question waits for both ends to be up.
    lab.h1.wait_for("ip netns exec a1 ping -c 1 -W 1 10.5.0.2")
    status, output = lab.ping(lab.h1, "a1", "10.5.0.2", 5)
    equal(status, 0, output)
    true(" 0% packet loss" in output, output)
    neighbour = json.loads(lab.h1.run("ip -n a1 -j neigh show 10.5.0.2"))
    true(re.match(r"([0-9a-f]{2}:){5}", neighbour[0].get("lladdr", "")), f"no ARP entry: {neighbour}")


@check("the outer packets are UDP 1798, flood to the group, then unicast")
def outer(lab):
    text = lab.capture(lab.h1, lines=40)
    group = "224.10.0.1.1798" if lab.tunnel == "vnet" else "239.1.1.1.1798"
    true(re.search(r"192\.0\.2\.1\.\d+ > " + re.escape(group), text), f"nothing to the group:\n{text}")
    true(re.search(r"192\.0\.2\.1\.\d+ > 192\.0\.2\.2\.1798", text), f"nothing to h2:\n{text}")
    true(re.search(r"192\.0\.2\.2\.\d+ > 192\.0\.2\.1\.1798", text), f"nothing from h2:\n{text}")


@check("the outer payload is the original's format", own=True)
def format_of_outer(lab):
    text = lab.capture(lab.h1, options="-x", lines=200)
    payloads = re.split(r"\nIP ", text)
    packet = next(p for p in payloads if re.search(r"> 192\.0\.2\.2\.1798", p))
    data = bytes.fromhex("".join("".join(line.split(":", 1)[1].split()) for line in packet.splitlines() if line.startswith("\t0x")))
    header = 4 * (data[0] & 15) + 8
    message = data[header : header + 22]
    equal(message[:4].hex(), "00020000", "message: a frame in UDP")
    equal(message[4:6].hex(), "0040", "EtherIP header")
    equal(message[6:22].hex(), "00" * 15 + "05", "id in the message")


@check("an iperf3 TCP transfer goes across")
def iperf(lab):
    before = lab.traffic(lab.h1, "tx"), lab.traffic(lab.h2, "rx")
    rate = lab.iperf((lab.h2, "a2"), (lab.h1, "a1"), "10.5.0.2")
    after = lab.traffic(lab.h1, "tx"), lab.traffic(lab.h2, "rx")
    true(rate > 1, f"{rate:.1f} Mbit/s")
    print(f"        {rate:.0f} Mbit/s", flush=True)
    if lab.tunnel != "vnet":
        return
    for (packets, length), (packets2, length2), what in zip(before, after, ("h1 sends", "h2 receives")):
        average = (length2 - length) / (packets2 - packets)
        print(f"        {what} {average:.0f} bytes at a time", flush=True)
        # An Ethernet frame is 1500. On the LAN each is a packet of its own; GRO puts them together again.
        true(average > 3000, f"segments are not kept whole: {what} {average:.0f} bytes at a time")


@check("the VARP table says behind which host a MAC is", own=True)
def varp(lab):
    mac = json.loads(lab.h2.run("ip -n a2 -j link show eth0"))[0]["address"]
    entries = json.loads(lab.h1.run("vn -j varp list 0005"))
    true(any(e["mac"] == mac and e["addr"] == "192.0.2.2" for e in entries), f"{mac} is not behind 192.0.2.2: {entries}")
    local = json.loads(lab.h2.run("vn -j vif list 0005"))
    true(any(e["mac"] == mac for e in local), f"{mac} is not local in h2: {local}")


@check("net list, net show and counters", own=True)
def show(lab):
    nets = json.loads(lab.h1.run("vn -j net list"))
    equal([(n["ifname"], n["mtu"]) for n in nets], [("vnif0005", 1436)], "net list")
    stats = json.loads(lab.h1.run("vn -j -s net show 0005"))["stats"]
    true(stats["tx-packets"] > 0 and stats["rx-packets"] > 0 and stats["flooded"] > 0, f"counters: {stats}")
    equal(stats["rx-no-memory"] + stats["rx-short"] + stats["rx-bad-source"], 0, f"drops {stats}")


@check("another vnet id does not reach this one")
def isolation(lab):
    lab.create(lab.h2, "0006")
    lab.customer(lab.h2, "b2", "0006", "10.5.0.3")
    status, output = lab.ping(lab.h1, "a1", "10.5.0.3")
    true(status != 0 and "100% packet loss" in output, f"it does:\n{output}")
    equal(lab.ping(lab.h1, "a1", "10.5.0.2")[0], 0, "the own vnet must still be reached")


@check("deletion removes device and bridge", own=True)
def delete(lab):
    status, said = lab.h2.status("vn net delete 0006 --bridge")
    true(status == 2 and "v-b2" in said, f"a bridge with other ports must not go: {said}")
    lab.h2.run("ip link delete v-b2 && vn net delete 0006 --bridge")
    equal(lab.h2.status("ip link show vnif0006")[0], 1, "vnif0006")
    equal(lab.h2.status("ip link show vnbr0006")[0], 1, "vnbr0006")


def sealed(lab, net, cipher, mode, subnet):
    """A sealed vnet: its machines reach each other, the LAN sees their text only if it is to, and it carries TCP."""
    lab.start_capture(lab.h1)
    key = lab.h1.run("vn key generate").strip()
    for number, guest in enumerate(lab.guests, 1):
        lab.create(guest, net, f"--seal {mode} --cipher {cipher}")
        guest.run(f"echo {key} | vn key set {net} --file -")
        lab.customer(guest, f"s{number}{net}", net, f"{subnet}.{number}")
    one, two = (f"s{number}{net}" for number in (1, 2))
    lab.h1.wait_for(f"ip netns exec {one} ping -c 1 -W 1 {subnet}.2")
    status, output = lab.h1.status(f"ip netns exec {one} ping -n -c 5 -i 0.3 -p {'secrette'.encode().hex()} {subnet}.2")
    equal(status, 0, output)
    true(" 0% packet loss" in output, output)
    rate = lab.iperf((lab.h2, two), (lab.h1, one), f"{subnet}.2")
    print(f"        {rate:.0f} Mbit/s", flush=True)
    lab.stop_capture(lab.h1)
    seen = int(lab.h1.run("grep -aoc secrettesecrette /tmp/lan.pcap || true"))
    true((seen > 0) == (mode == "auth"), f"the text of pings is seen {seen} times on the LAN")
    unsealed = lab.h1.run(f"tcpdump -n -r /tmp/lan.pcap 'udp dst port 1798 and udp[8:2] < 4 and udp[28:2] == 0x{net}' 2>/dev/null | head -n 3")
    equal(unsealed, "", "not sealed")
    for guest in lab.guests:
        net_is = json.loads(guest.run(f"vn -j -s net show {net}"))
        equal((net_is["seal"], net_is["cipher"], net_is["senders"]), (mode, cipher, 1), "how it is sealed")
        stats = net_is["stats"]
        equal(stats["rx-bad-seal"] + stats["rx-replay"], 0, f"drops {stats}")


@check("a sealed vnet, conf with AES-256-GCM", own=True)
def sealed_aes(lab):
    sealed(lab, "0007", "aes-256-gcm", "conf", "10.7.0")


@check("a sealed vnet, auth with ChaCha20-Poly1305", own=True)
def sealed_chacha(lab):
    sealed(lab, "0008", "chacha20-poly1305", "auth", "10.8.0")


@check("the module unloads, with its devices and under traffic", own=True)
def unload(lab):
    lab.h1.run("ip netns exec a1 ping -q -f 10.5.0.2 >/dev/null 2>&1 & sleep 0.5")
    lab.both(lambda number: "rmmod vnet", 60)
    equal(lab.h1.status("ip link show vnif0005")[0], 1, "vnif0005 after rmmod")
    lab.h1.run("kill %1 2>/dev/null; killall ping; true")
    lab.both(lambda number: "modprobe vnet && rmmod vnet", 60)


def main():
    tunnel = sys.argv[sys.argv.index("--tunnel") + 1] if "--tunnel" in sys.argv else "vnet"
    lab = Lab(f"stock-{tunnel}", tunnel, say=lambda text: print(f"# {text}", flush=True))
    print(f"# what the guests say: build/qemu/stock-{tunnel}/", flush=True)
    return checks.run(lab, [(text, function) for text, own, function in CHECKS if tunnel == "vnet" or not own])


if __name__ == "__main__":
    sys.exit(main())
