# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whether figures came out, and nothing about their size: a benchmark is no timed test."""

from daemons import CONTENDERS as PROGRAMS

TUNNELS = ("veth", "vxlan", "geneve", "vnet", "vxlanbr", "vnetbr", "wireguard", "vxlanwg", "sealed")
ONE_WAY = ("none", "vxlan", "geneve", "vnet", "vxlanbr", "vnetbr")
KINDS = ("vxlan", "vnet")


def expected(part):
    """The keys of a part, as prefixes."""
    return {
        "tcp": [f"tcp/{mtu}/{streams}/{name}" for mtu in (1500, 9000) for streams in (1, 4) for name in TUNNELS],
        "small": [f"small/{d}/{name}" for d in ("TX", "RX") for name in ONE_WAY]
        + [f"small/TX/{name}xen" for name in KINDS] + [f"both/{name}" for name in TUNNELS if not name.endswith("br")],
        "count": [f"count/{d}/{name}" for d in ("TX", "RX") for name in ONE_WAY] + ["count/TX/vnet-flow", "count/TX/vnetbr-flow"]
        + [f"count/tcp/{mtu}/{name}" for mtu in (1500, 9000) for name in TUNNELS if name not in ("wireguard", "vxlanwg")],
        "latency": [f"latency/{name}" for name in TUNNELS],
        "macs": [f"macs/{way}/{d}/{k}/{n}" for way in ("one", "all") for d in ("TX", "RX") for k in KINDS for n in (1, 1000)],
        "vnets": [f"vnets/{d}/{k}/{n}" for d in ("TX", "RX") for k in KINDS for n in (1, 16)],
        "flood": [f"flood/{k}/{n}" for k in KINDS for n in (1, 16)],
        "create": [f"create/{k}{what}" for k in KINDS for what in ("", "/memory")],
        "daemons": [f"daemons/{what}/{name}" for what in ("tcp/1500/1", "tcp/1500/4", "udp", "latency") for name in PROGRAMS],
    }[part]


def problem(key, figures):
    """What is wrong with the figures of a key, or nothing."""
    if not figures:
        return "was not measured"
    for figure in figures:
        if isinstance(figure, int):
            continue
        for name in ("bytes", "ns", "median", "p50"):
            if name in figure and not figure[name] > 0:
                return f"{name} is {figure[name]}"
        if key.startswith("both/") and figure["arrived"] != figure["sent"]:
            return f"{figure['arrived']} of {figure['sent']} packets arrived"
        if key.startswith("daemons/udp/") and not figure["arrived"] > 0:
            return "nothing arrived"
        if "cycles" in figure and key.startswith("count/") and not figure["cycles"] > 0:
            return "no instruction was counted"
    return None


def check(figures, parts):
    """One line for each part, then "N passed, N failed"; the exit status."""
    passed = failed = 0
    for part in parts:
        wrong = [f"{key}: {why}" for key in expected(part) if (why := problem(key, figures.get(key)))]
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print(f"{'FAIL' if wrong else 'pass'}  {part}, {len(expected(part))} figures")
        for line in wrong:
            print(f"        {line}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
