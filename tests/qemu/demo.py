#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""demo.py [--tunnel vxlan]: shows what vnet does, on two virtual machines with Debian's unmodified kernel."""

import sys
import time

from guest import GuestError
from lab import Clock, Lab

CLOCK = Clock()


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n\033[1m{CLOCK}  {text}\033[0m" if sys.stdout.isatty() else f"\n{CLOCK}  {text}")


def show(guest, command, text=None, lines=12):
    """Runs a command that must succeed and shows it with what it said."""
    say(f"  {guest.name}# {text or command}")
    output = guest.run(command)
    for line in output.splitlines()[:lines]:
        say(f"      {line}")
    return output


def demonstrate(lab):
    h1, h2 = lab.h1, lab.h2
    own = lab.tunnel == "vnet"

    step("one vnet on both hosts, a customer's machine on each")
    if own:
        for guest in lab.guests:
            show(guest, "modprobe vnet")
    for number, guest in enumerate(lab.guests, 1):
        if own:
            show(guest, "vn net create 0005 --bridge vnbr0005")
        else:
            lab.create(guest, "0005")
        lab.customer(guest, f"a{number}", "0005", f"10.5.0.{number}")
        say(f"      a{number}, a machine of customer A: namespace a{number}, 10.5.0.{number}, port v-a{number} of vnbr0005")

    step("ARP and ping across")
    h1.wait_for("ip netns exec a1 ping -n -c 1 -W 1 10.5.0.2 >/dev/null")
    # Once more from the start, with tcpdump on the LAN.
    for number, guest in enumerate(lab.guests, 1):
        guest.run(f"ip -n a{number} neigh flush all")
    if own:
        h1.run("vn varp flush 0005")
    lab.start_capture(h1)
    output = show(h1, "ip netns exec a1 ping -n -c 3 -i 0.3 10.5.0.2")
    if " 0% packet loss" not in output:
        raise GuestError("packets were lost")
    show(h1, "ip -n a1 neigh show 10.5.0.2")

    step("the same packets on the LAN between the hosts (h1's eth0)")
    # ARP and IPv4 in the frames: UDP header 8, vnet header 22, the addresses 12. Without what IPv6 says by itself.
    inner = "udp[42:2] = 0x0806 or udp[42:2] = 0x0800" if lab.tunnel == "vnet" else ""
    packets = lab.capture(h1, lines=8, only=inner).splitlines()
    for line in packets:
        say(f"      {line}")
    if not packets:
        raise GuestError("tcpdump saw nothing on the LAN")

    step("a TCP transfer across (3 s; both machines are emulated, the number says little about the module)")
    rate = lab.iperf((h2, "a2"), (h1, "a1"), "10.5.0.2")
    say(f"      iperf3: {rate:.0f} Mbit/s")
    if rate < 1:
        raise GuestError("that is nothing")

    if own:
        step("what h1 knows")
        show(h1, "vn net list")
        show(h1, "vn varp list 0005")
        show(h1, "vn -s net show 0005", lines=40)

    step("customer B: vnet 0006, on h2 only, in the same range of addresses")
    if own:
        show(h2, "vn net create 0006 --bridge vnbr0006")
    else:
        lab.create(h2, "0006")
    lab.customer(h2, "b2", "0006", "10.5.0.3")
    status, output = lab.ping(h1, "a1", "10.5.0.3")
    say("  h1# ip netns exec a1 ping -n -c 3 10.5.0.3")
    for line in output.splitlines()[-3:]:
        say(f"      {line}")
    if status == 0 or "100% packet loss" not in output:
        raise GuestError("0005 reaches 0006: the vnets are not isolated")
    if lab.ping(h1, "a1", "10.5.0.2", 1)[0] != 0:
        raise GuestError("0005 is not reached any more, so that proves nothing")
    say("      0006 is out of reach for 0005, while a1 still reaches a2")

    step("the kernels' logs")
    splats = lab.splats()
    if splats:
        raise GuestError("the kernel complained:\n" + "\n".join(splats))
    say("      no warning")


def main():
    tunnel = sys.argv[sys.argv.index("--tunnel") + 1] if "--tunnel" in sys.argv else "vnet"
    lab = None
    verdict = 1
    try:
        step("two hosts on one LAN")
        lab = Lab("demo", tunnel, say=lambda text: say(f"      {text}"))
        say(f"      up after {CLOCK}")
        demonstrate(lab)
        verdict = 0
    except (GuestError, OSError) as error:
        say(f"\n{error}")
    finally:
        if lab is not None:
            lab.close()
    # The whole time, with builds, when make has noted when it began.
    start = next((float(a.split("=")[1]) for a in sys.argv if a.startswith("--since=")), None)
    total = f"{time.time() - start:.0f} s in all, builds included" if start else f"{CLOCK} in all"
    say(f"\n{'The demonstration succeeded' if verdict == 0 else 'THE DEMONSTRATION FAILED'}: {total}.")
    if verdict:
        say("What the guests said is in build/qemu/demo/.")
    return verdict


if __name__ == "__main__":
    sys.exit(main())
