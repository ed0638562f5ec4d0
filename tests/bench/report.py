# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Tables and verdicts of what was measured."""

from statistics import median

NAMES = {
    "none": "nothing (underlay alone)",
    "veth": "veth (no tunnel)",
    "vxlan": "vxlan",
    "geneve": "geneve",
    "wireguard": "WireGuard",
    "vxlanwg": "vxlan over WireGuard",
    "vnet": "vnet",
    "sealed": "vnet, sealed",
    "vxlanbr": "vxlan between bridges",
    "vnetbr": "vnet between bridges",
    "vxlanxen": "vxlan, bridge, 64 bytes of room",
    "vnetxen": "vnet, bridge, 64 bytes of room",
    "vnet-flow": "vnet, a source port for each flow",
    "vnetbr-flow": "the same between bridges",
    "vnetd": "vnetd",
    "tinc": "tinc, no cipher",
    "openvpn": "OpenVPN, no cipher",
}


def rate(figure):
    """Gbit/s of a stream."""
    return figure["bytes"] * 8 / figure["ns"]


def cost(figure):
    """Processor seconds for 10^9 bytes."""
    return figure["cpu"] * 1e9 / figure["bytes"]


def each(figure):
    """Nanoseconds a packet, the median of the pieces of one round."""
    return figure["median"] / figure["chunk"]


def each_kib(figure):
    """Instructions for 1024 bytes of a stream, where the clock counts them."""
    return figure["ns"] * 1024 / figure["bytes"]


def instructions(figure):
    return figure["cycles"] / figure["chunk"]


def spread(values, digits):
    """Median (least to most)."""
    if not values:
        return "–"
    text = "{:.%df}" % digits
    if len(values) == 1:
        return text.format(values[0])
    return f"{text.format(median(values))} ({text.format(min(values))}–{text.format(max(values))})"


class Report:
    def __init__(self, figures):
        self.figures = figures
        self.lines = []

    def values(self, key, of):
        return [of(figure) for figure in self.figures.get(key, [])]

    def ratios(self, ours, theirs, of):
        """Ours by theirs, within each round."""
        return [a / b for a, b in zip(self.values(ours, of), self.values(theirs, of)) if b]

    def table(self, title, note, heads, rows):
        """Rows of texts; those without a figure are left out."""
        rows = [row for row in rows if any(cell != "–" for cell in row[1:])]
        if not rows:
            return
        self.lines += ["", f"### {title}", ""] + ([note, ""] if note else [])
        widths = [max(len(row[i]) for row in [heads] + rows) for i in range(len(heads))]
        for number, row in enumerate([heads] + rows):
            self.lines.append("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
            if number == 0:
                self.lines.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")

    def row(self, name, keys, of, digits):
        return [NAMES.get(name, name)] + [spread(self.values(key, of), digits) for key in keys]

    def streams(self, prefix, contenders, title):
        columns = [(mtu, streams) for mtu in (1500, 9000) for streams in (1, 4)]
        heads = [f"{streams} stream{'s' * (streams > 1)}, MTU {mtu}" for mtu, streams in columns]
        for what, of, digits in (("Gbit/s", rate, 2), ("processor seconds per GB, both sides", cost, 2)):
            self.table(f"{title}: {what}", "", [""] + heads,
                       [self.row(name, [f"{prefix}/{mtu}/{streams}/{name}" for mtu, streams in columns], of, digits) for name in contenders])

    def everything(self):
        kernel = ["veth", "vxlan", "geneve", "vnet", "vxlanbr", "vnetbr", "wireguard", "vxlanwg", "sealed"]
        self.streams("tcp", kernel, "TCP")
        self.table("Small packets: nanoseconds each", "60 bytes without the tunnel's headers. 1000 / ns = million packets a second.",
                   ["", "transmit", "receive", "transmit and receive"],
                   [[NAMES[n]] + [spread(self.values(key, each), 0) for key in (f"small/TX/{n}", f"small/RX/{n}", f"both/{n}")]
                    for n in ["none"] + kernel + ["vxlanxen", "vnetxen"]])
        self.table("Instructions: small packets, and TCP", "Debian's kernel, counted by QEMU. TCP: sender, receiver and both hosts, for each KiB.", ["", "transmit", "receive", "TCP, MTU 1500", "TCP, MTU 9000"],
                   [[NAMES[n]] + [spread(self.values(f"count/{d}/{n}", instructions), 0) for d in ("TX", "RX")]
                    + [spread(self.values(f"count/tcp/{mtu}/{n}", each_kib), 0) for mtu in (1500, 9000)]
                    for n in ["none"] + kernel + ["vxlanxen", "vnetxen", "vnet-flow", "vnetbr-flow"]])
        self.table("Request and response: microseconds", "", ["", "median", "99th percentile"],
                   [[NAMES[n]] + [spread(self.values(f"latency/{n}", lambda f, p=p: f[p] / 1000), 1) for p in ("p50", "p99")] for n in kernel])
        self.scale("macs/one", "Known MAC addresses, traffic to and from one: nanoseconds each", "MAC addresses")
        self.scale("macs/all", "Known MAC addresses, traffic to and from all in turn: nanoseconds each", "MAC addresses")
        self.scale("vnets", "Vnets on a host, traffic in all in turn: nanoseconds each", "vnets")
        self.floods()
        self.creation()
        programs = ["veth", "vnetd", "tinc", "openvpn"]
        self.streams("daemons/tcp", programs, "Programs: TCP")
        self.table("Programs: small UDP packets, and latency", "64 bytes; arrived in a second; the daemons' processor time for each.",
                   ["", "packets a second", "daemons, ns each", "median, µs", "99th percentile, µs"],
                   [[NAMES[n]] + [spread(self.values(f"daemons/udp/{n}", lambda f: f["arrived"] / f["seconds"]), 0),
                                  spread(self.values(f"daemons/udp/{n}", lambda f: f["daemons"] * 1e9 / max(f["arrived"], 1)), 0)]
                    + [spread(self.values(f"daemons/latency/{n}", lambda f, p=p: f[p] / 1000), 1) for p in ("p50", "p99")] for n in programs])
        self.verdicts()
        return "\n".join(self.lines).strip() + "\n"

    def counts(self, prefix):
        return sorted({int(key.rsplit("/", 1)[1]) for key in self.figures if key.startswith(prefix + "/") and key.rsplit("/", 1)[1].isdigit()})

    def scale(self, prefix, title, what):
        self.table(title, "", [what, "vxlan transmit", "vnet transmit", "vxlan receive", "vnet receive"],
                   [[f"{n:,}"] + [spread(self.values(f"{prefix}/{d}/{k}/{n}", each), 0) for d in ("TX", "RX") for k in ("vxlan", "vnet")]
                    for n in self.counts(prefix)])

    def floods(self):
        self.table("Floods: nanoseconds for each copy", "", ["peers", "vxlan", "vnet"],
                   [[f"{n}"] + [spread(self.values(f"flood/{k}/{n}", lambda f, n=n: each(f) / n), 0) for k in ("vxlan", "vnet")] for n in self.counts("flood")])

    def creation(self):
        count = max((figure["count"] for figure in self.figures.get("create/vnet", [])), default=0)
        self.table(f"Making {count:,} devices, taken up", "vxlan by `ip -batch`, vnet by `vn apply`.", ["", "seconds", "processor seconds", "KiB each"],
                   [[NAMES[k], spread(self.values(f"create/{k}", lambda f: f["ns"] / 1e9), 2), spread(self.values(f"create/{k}", lambda f: f["cpu"]), 2),
                     spread(self.values(f"create/{k}/memory", lambda kib: kib / count), 1)] for k in ("vxlan", "vnet")] if count else [])

    def verdicts(self):
        """Each target, with the median of the rounds' ratios."""
        targets = []

        def target(text, ratios, limit, at_least, digits=2):
            if ratios:
                value = round(median(ratios), digits)
                met = value >= limit if at_least else value <= limit
                targets.append([text, ("≥ " if at_least else "≤ ") + str(limit), spread(ratios, digits), "met" if met else "MISSED"])

        for suffix, where in (("", ""), ("br", ", between bridges")):
            for mtu in (1500, 9000):
                for n in (1, 4):
                    keys = [f"tcp/{mtu}/{n}/{k}{suffix}" for k in ("vnet", "vxlan")]
                    target(f"TCP, {n} stream{'s' * (n > 1)}, MTU {mtu}{where}: vnet / vxlan", self.ratios(*keys, rate), 1, True)
                    target("the same by processor time", self.ratios(*keys[::-1], cost), 1, True)
            for d, name in (("TX", "transmit"), ("RX", "receive")):
                for prefix, of, unit in (("small", each, "time"), ("count", instructions, "instructions")):
                    target(f"small packets, {name}{where}: vnet / vxlan, {unit}",
                           self.ratios(f"{prefix}/{d}/vnet{suffix}", f"{prefix}/{d}/vxlan{suffix}", of), 1, False, 3)
            for mtu in (1500, 9000):
                target(f"TCP, MTU {mtu}{where}: vxlan / vnet, instructions",
                       self.ratios(f"count/tcp/{mtu}/vxlan{suffix}", f"count/tcp/{mtu}/vnet{suffix}", each_kib), 1, True, 3)
        for way, name in (("one", "one of them"), ("all", "all in turn")):
            for d, direction in (("TX", "transmit"), ("RX", "receive")):
                for k in ("vnet", "vxlan"):
                    limit = 1.15
                    target(f"{k}, {direction} with {name}: 1,000,000 MAC addresses / 1,000",
                           self.ratios(f"macs/{way}/{d}/{k}/1000000", f"macs/{way}/{d}/{k}/1000", each), limit, False)
        for theirs, name in (("vxlanwg", "vxlan over WireGuard"), ("wireguard", "WireGuard")):
            for mtu in (1500, 9000):
                for n in (1, 4):
                    keys = [f"tcp/{mtu}/{n}/{k}" for k in ("sealed", theirs)]
                    target(f"TCP, {n} stream{'s' * (n > 1)}, MTU {mtu}: vnet, sealed / {name}", self.ratios(*keys, rate), 1, True)
                    target("the same by processor time", self.ratios(*keys[::-1], cost), 1, True)
            target(f"small packets: vnet, sealed / {name}, time", self.ratios("both/sealed", f"both/{theirs}", each), 1, False)
        target("making vnets: vnet / vxlan, time", self.ratios("create/vnet", "create/vxlan", lambda f: f["ns"]), 4, False)
        target("making vnets: vnet / vxlan, memory", self.ratios("create/vnet/memory", "create/vxlan/memory", float), 1, False)
        target("TCP, 1 stream, MTU 1500: vnetd / tinc", self.ratios("daemons/tcp/1500/1/vnetd", "daemons/tcp/1500/1/tinc", rate), 5, True)
        self.table("Targets", "Ratios within a round.", ["", "target", "measured", ""], targets)
