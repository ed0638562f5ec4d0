#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sends the family what no good client sends, made from module/uapi/vnet.yaml: for each request and attribute, what is
missing, too short, too long, out of range, unknown or malformed. Each must be answered by an error that has words, and
nothing may have changed. Runs where vnet 0005 exists and 0099 does not."""

import errno
import os
import socket
import struct
import sys

import yaml

SPEC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../module/uapi/vnet.yaml")
REQUEST, ACK, DUMP = 1, 4, 0x300
EXACT = {"u8": "B", "u16": "H", "u32": "I", "s32": "i"}
ID5 = bytes(15) + b"\x05"
ID99 = bytes(15) + b"\x99"
MAC = bytes.fromhex("020000000055")
ADDR = bytes([192, 0, 2, 2])
# A request of each kind that is good, and what of it must be there.
SETTINGS = {
    "ageing": 5000, "max-macs": 10, "unknown": 0, "hold-mac": 16, "hold-net": 256, "max-unresolved": 128, "probes": 5,
    "probe-interval": 100, "negative": 5000, "unknown-rate": 100, "announces": 3, "announce-interval": 200, "varp-rate": 200,
    "move-limit": 5, "move-window": 10000, "damp": 30000, "remotes": 0, "remote-macs": 0, "remote-floods": 0, "source-port": 0,
}
GOOD = {
    "net-new": ({"id": ID99, "ifname": b"vnif0099\0", "mtu": 1400, **SETTINGS}, ["id"]),
    "net-set": ({"id": ID5, "mtu": 1400, **SETTINGS}, ["id"]),
    "net-get": ({"id": ID5}, ["id"]),
    "net-del": ({"id": ID99}, ["id"]),
    "host-set": ({"port": 1798, "group": bytes([224, 10, 0, 1]), "device": 0, "ttl": 64, "flood": 0, "dscp": 0}, []),
    "peer-new": ({"addr": bytes([192, 0, 2, 9])}, ["addr"]),
    "peer-del": ({"addr": bytes([192, 0, 2, 9])}, ["addr"]),
    "varp-new": ({"net": ID5, "mac": MAC, "addr": ADDR}, ["net", "mac", "addr"]),
    "varp-del": ({"net": ID5, "mac": MAC}, ["net", "mac"]),
    "varp-flush": ({"net": ID5}, ["net"]),
    "remote-new": ({"net": ID5, "addr": ADDR}, ["net", "addr"]),
    "remote-del": ({"net": ID5, "addr": ADDR}, ["net", "addr"]),
    "probe": ({"net": ID5, "mac": MAC, "addr": ADDR, "size": 100}, ["net", "mac"]),
}
# Well-formed, but without sense.
SENSELESS = [
    ("net-new", {"id": bytes(16)}, "id 0"),
    ("net-new", {"id": bytes(15) + b"\x01"}, "id 1"),
    ("net-new", {"id": ID99, "ifname": b"a/b\0"}, "a slash in the name"),
    ("net-new", {"id": ID99, "ifname": b"..\0"}, "the name .."),
    ("net-new", {"id": ID99, "ifname": b"\0"}, "an empty name"),
    ("net-new", {"id": ID5}, "a vnet that exists"),
    ("net-set", {"id": ID99, "mtu": 1400}, "a vnet that does not exist"),
    ("net-get", {"id": ID99}, "a vnet that does not exist"),
    ("net-del", {"id": ID99}, "a vnet that does not exist"),
    ("host-set", {"group": ADDR}, "a group that is none"),
    ("host-set", {"device": 99999}, "a device that is not there"),
    ("peer-new", {"addr": bytes([224, 0, 0, 1])}, "a group as peer"),
    ("peer-new", {"addr": bytes(4)}, "0.0.0.0 as peer"),
    ("peer-new", {"addr": b"\xff" * 4}, "255.255.255.255 as peer"),
    ("peer-del", {"addr": bytes([192, 0, 2, 99])}, "a peer that is not there"),
    ("varp-new", {"net": ID99, "mac": MAC, "addr": ADDR}, "a vnet that does not exist"),
    ("varp-new", {"net": ID5, "mac": bytes(6), "addr": ADDR}, "MAC 0"),
    ("varp-new", {"net": ID5, "mac": b"\xff" * 6, "addr": ADDR}, "the broadcast MAC"),
    ("varp-new", {"net": ID5, "mac": MAC, "addr": bytes([224, 0, 0, 1])}, "behind a group"),
    ("varp-del", {"net": ID5, "mac": MAC}, "an entry that is not there"),
    ("varp-flush", {"net": ID99}, "a vnet that does not exist"),
    ("varp-get", {"net": ID5, "mac": MAC}, "a MAC that is not known"),
    ("varp-get", {"net": ID99, "mac": MAC}, "a vnet that does not exist"),
    ("host-set", {"group": bytes.fromhex("20010db8000000000000000000000001")}, "an IPv6 group that is none"),
    ("host-set", {"dscp": 64}, "a DSCP of 64"),
    ("peer-new", {"addr": b"\xff\x02" + bytes(13) + b"\1"}, "an IPv6 group as peer"),
    ("peer-new", {"addr": bytes(16)}, ":: as peer"),
    ("peer-new", {"addr": bytes(15) + b"\1"}, "::1 as peer"),
    ("peer-new", {"addr": bytes(10) + b"\xff\xff" + ADDR}, "an IPv4 address written as IPv6 as peer"),
    ("remote-new", {"net": ID99, "addr": ADDR}, "a vnet that does not exist"),
    ("remote-new", {"net": ID5, "addr": bytes(4)}, "0.0.0.0"),
    ("remote-del", {"net": ID5, "addr": ADDR}, "a host that is not listed"),
    ("probe", {"net": ID99, "mac": MAC}, "a vnet that does not exist"),
    ("probe", {"net": ID5, "mac": b"\xff" * 6}, "the broadcast MAC"),
    ("probe", {"net": ID5, "mac": MAC, "addr": bytes([224, 0, 0, 1])}, "at a group"),
]


def attribute(number, payload, length=None):
    length = 4 + len(payload) if length is None else length
    return struct.pack("=HH", length, number) + payload + bytes(-len(payload) % 4)


class Family:
    """The family, spoken to in bytes."""

    def __init__(self):
        with open(SPEC) as file:
            spec = yaml.safe_load(file)
        self.sets = {}
        for attrs in spec["attribute-sets"]:
            self.sets[attrs["name"]] = {a["name"]: (n, a) for n, a in enumerate(attrs["attributes"], 1)}
        self.operations = {op["name"]: op for op in spec["operations"]["list"]}
        self.enums = {d["name"]: d["entries"] for d in spec["definitions"] if d["type"] == "enum"}
        self.constants = {d["name"]: d.get("value") for d in spec["definitions"]}
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.socket.bind((0, 0))
        self.socket.settimeout(5)
        self.socket.setsockopt(270, 11, 1)  # NETLINK_EXT_ACK
        self.socket.setsockopt(270, 12, 1)  # NETLINK_GET_STRICT_CHK
        self.sequence = 0
        self.number = 0x10
        code, _, replies = self.exchange(struct.pack("=BBH", 3, 1, 0) + attribute(2, b"vnet\0"))
        assert code == 0, code
        body = replies[0][4:]
        while body:
            length, kind = struct.unpack_from("=HH", body)
            if kind == 1:
                (self.number,) = struct.unpack_from("=H", body, 4)
            body = body[(length + 3) & ~3 :]

    def exchange(self, body, flags=REQUEST | ACK):
        """(errno, words, replies)"""
        self.sequence += 1
        self.socket.send(struct.pack("=IHHII", 16 + len(body), self.number, flags, self.sequence, 0) + body)
        replies = []
        while True:
            data = self.socket.recv(1 << 16)
            while data:
                length, kind, flags_in, sequence, _ = struct.unpack_from("=IHHII", data)
                message, data = data[16:length], data[(length + 3) & ~3 :]
                if sequence != self.sequence:
                    continue
                if kind in (2, 3):
                    (code,) = struct.unpack_from("=i", message)
                    words = ""
                    if kind == 2 and flags_in & 0x200:
                        (inner,) = struct.unpack_from("=I", message, 4)
                        extra = message[20 if flags_in & 0x100 else 4 + ((inner + 3) & ~3) :]
                    else:
                        extra = message[4:] if flags_in & 0x200 else b""
                    while len(extra) >= 4:
                        size, attr = struct.unpack_from("=HH", extra)
                        if attr == 1:
                            words = extra[4:size].rstrip(b"\0").decode()
                        extra = extra[(size + 3) & ~3 :]
                    return -code, words, replies
                replies.append(message)

    def attrs_of(self, op):
        return self.sets[self.operations[op]["attribute-set"]]

    def encode(self, op, values):
        out = b""
        for name, value in values.items():
            number, spec = self.attrs_of(op)[name]
            out += attribute(number, value if isinstance(value, bytes) else struct.pack("=" + EXACT[spec["type"]], value))
        return out

    def header(self, op, version=1):
        return struct.pack("=BBH", self.operations[op]["value"], version, 0)

    def do(self, op, values, flags=REQUEST | ACK):
        return self.exchange(self.header(op) + self.encode(op, values), flags)

    def limit(self, checks, name):
        value = checks.get(name)
        return self.constants.get(value, value) if isinstance(value, str) else value


def bad_payloads(family, spec, good):
    """(what, payload) of an attribute that must be refused."""
    checks = spec.get("checks", {})
    kind = spec["type"]
    if kind in EXACT:
        size = struct.calcsize(EXACT[kind])
        yield "empty", b""
        yield "short", bytes(size - 1)
        yield "long", struct.pack("=" + EXACT[kind], good) + bytes(1)
        yield "very long", bytes(1000)
        least, most = family.limit(checks, "min"), family.limit(checks, "max")
        if "enum" in spec:
            most = len(family.enums[spec["enum"]]) - 1
        if least:
            yield "below the least", struct.pack("=" + EXACT[kind], least - 1)
        if most:
            yield "above the most", struct.pack("=" + EXACT[kind], most + 1)
    elif kind == "binary":
        exact = family.limit(checks, "exact-len")
        least = exact or family.limit(checks, "min-len") or 1
        most = exact or family.limit(checks, "max-len")
        yield "empty", b""
        yield "short", good[: least - 1]
        yield "long", good + bytes(most - len(good) + 1)
        yield "very long", bytes(1000)
        if least != most:
            yield "of a length in between", good + b"\1"
    elif kind == "string":
        most = family.limit(checks, "max-len")
        yield "empty", b""
        yield "long", b"x" * (most + 1) + b"\0"
        yield "very long", b"x" * 1000


class Judge:
    def __init__(self):
        self.failed = 0

    def refused(self, text, answer, words_needed=True, among=None):
        code, words, _ = answer
        name = errno.errorcode.get(code, str(code))
        if code == 0:
            print(f"not ok - {text}: accepted")
        elif among and code not in among:
            print(f"not ok - {text}: {name} {words}")
        elif words_needed and not words:
            print(f"not ok - {text}: {name} without words")
        else:
            print(f"ok - {text}: {name} {words}")
            return
        self.failed += 1

    def true(self, text, value):
        print(f"{'ok' if value else 'not ok'} - {text}")
        self.failed += not value


def main():
    family = Family()
    judge = Judge()
    state = lambda: [family.exchange(family.header(op), REQUEST | DUMP)[2] for op in ("net-get", "peer-get", "varp-get")]
    names = lambda: len(state()[0])
    before = names()
    malformed = (errno.EINVAL, errno.ERANGE, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENAMETOOLONG)
    undo = {"net-new": "net-del", "peer-new": "peer-del", "varp-new": "varp-del", "remote-new": "remote-del"}
    for op, (good, needed) in GOOD.items():
        # What is good is accepted, so that a refusal means something.
        if op not in undo.values():
            code, words, _ = family.do(op, good)
            judge.true(f"{op}: a good one is accepted ({errno.errorcode.get(code, 0)} {words})", code == 0)
            if op in undo:
                code = family.do(undo[op], {k: good[k] for k in GOOD[undo[op]][1]})[0]
                judge.true(f"{undo[op]}: takes it back", code == 0)
        for name in needed:
            judge.refused(f"{op} without {name}", family.do(op, {k: v for k, v in good.items() if k != name}))
        for name, value in good.items():
            number, spec = family.attrs_of(op)[name]
            for what, payload in bad_payloads(family, spec, value):
                judge.refused(f"{op} with {name} {what}", family.do(op, {**good, name: payload}), among=malformed)
            others = family.encode(op, {k: v for k, v in good.items() if k != name})
            lying = attribute(number, bytes(4), length=200)
            judge.refused(f"{op} with {name} longer than the message", family.exchange(family.header(op) + others + lying), False)
        encoded = family.header(op) + family.encode(op, good)
        judge.refused(f"{op} with an attribute that nobody knows", family.exchange(encoded + attribute(200, b"abcd")))
        judge.refused(f"{op} with attribute 0", family.exchange(encoded + attribute(0, b"abcd")))
        judge.refused(f"{op} with bytes at the end", family.exchange(encoded + b"\1\2\3\4"), False)
        unasked = set(family.attrs_of(op)) - set(family.operations[op]["do"]["request"]["attributes"])
        for name in sorted(unasked):
            number, spec = family.attrs_of(op)[name]
            size = struct.calcsize(EXACT[spec["type"]]) if spec["type"] in EXACT else 4
            judge.refused(f"{op} with {name}, which it does not take", family.exchange(encoded + attribute(number, bytes(size))))
    for op, values, what in SENSELESS:
        judge.refused(f"{op}: {what}", family.do(op, values))
    for number in [0] + list(range(15, 24)) + list(range(28, 40)) + [255]:
        judge.refused(f"command {number}", family.exchange(struct.pack("=BBH", number, 1, 0)), False, (errno.EOPNOTSUPP, errno.EINVAL))
    for op in family.operations:
        if "dump" in family.operations[op] and "do" not in family.operations[op]:
            judge.refused(f"{op} without asking for a dump", family.exchange(family.header(op)), False)
        if "do" in family.operations[op] and "dump" not in family.operations[op]:
            judge.refused(f"{op} as a dump", family.exchange(family.header(op) + family.encode(op, GOOD.get(op, ({},))[0]), REQUEST | DUMP), False)
    judge.refused("a dump of a vnet that does not exist", family.do("varp-get", {"net": ID99}, REQUEST | DUMP))
    judge.refused("a dump with half an id", family.do("varp-get", {"net": ID5[:8]}, REQUEST | DUMP))
    judge.refused("half a header", family.exchange(b"\1\1"), False)
    family.sequence += 1
    for size in range(0, 64):
        # Sizes that lie, and noise; some get no answer at all, none may do harm.
        noise = os.urandom(size)
        try:
            family.exchange(noise if size < 4 else bytes([1 + size % 14]) + noise[1:])
        except TimeoutError:
            pass
    judge.true("no vnet was made or lost", names() == before)
    sys.exit(1 if judge.failed else 0)


if __name__ == "__main__":
    main()
