#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""failslab.py [first]

Every command of the family with the Nth allocation of memory failing, N from 1 until nothing fails any more. After each
failure the state must be as before, or the command done and told to those who listen; then it is undone and sent again. Runs
in a host where vnet 0005 exists and nothing else changes, in a kernel with FAILSLAB; with "first" in one without vnets, and
makes and removes the first, with which sockets and memberships come and go.

The failure is asked for by /proc/thread-self/fail-nth, so it is this program alone that meets it, while it sends and
receives. A new command of module/uapi/vnet.yaml needs a line in CASES: without one this fails."""

import errno
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../uml"))
from misuse import ACK, ADDR, DUMP, ID5, ID99, REQUEST, Family, attribute  # noqa: E402

MAC = bytes.fromhex("060000000055")
OTHER = bytes([192, 0, 2, 9])
# No command has more; what has is not ending.
MOST = 3000
# Of what is listed, what changes by itself.
VOLATILE = {"stats", "age", "macs", "vifs", "held", "unresolved", "ifindex", "joined", "moves", "damped", "senders", "counter"}

# A vnet sealed and with keys, and without.
KEY = {number: {"net": ID5, "index": number, "key": bytes([number]) * 32} for number in (1, 2)}
ONE, TWO = (("key-new", KEY[number]) for number in (1, 2))
SEALED, OPEN = (("net-set", {"id": ID5, "seal": seal}) for seal in (2, 0))
NO_KEYS = [("key-del", {"net": ID5, "index": number}) for number in (1, 2)]
# What is told of a command, unless it is its own name with -ntf.
TOLD = {"key-rotate": "key-rotated-ntf"}

# command: (what to send first, what to send, what undoes it). A command whose name begins with "dump " is a dump; what
# follows a comma only tells several cases of one command apart. What is sent
# first must succeed; what undoes may be refused, when there is nothing to undo.
CASES = {
    "net-new": ([], {"id": ID99, "mtu": 1400}, [("net-del", {"id": ID99})]),
    "net-set": ([], {"id": ID5, "ageing": 123000, "max-macs": 123}, [("net-set", {"id": ID5, "ageing": 300000, "max-macs": 65536})]),
    "net-get": ([], {"id": ID5}, []),
    "dump net-get": ([], {}, []),
    "net-del": ([("net-new", {"id": ID99})], {"id": ID99}, []),
    "host-set": ([], {"port": 1799, "group": bytes([224, 10, 0, 7]), "ttl": 9}, [("host-set", {"port": 1798, "group": bytes([224, 10, 0, 1]), "ttl": 64})]),
    "host-get": ([], {}, []),
    "peer-new": ([], {"addr": OTHER}, [("peer-del", {"addr": OTHER})]),
    "dump peer-get": ([], {}, []),
    "peer-del": ([("peer-new", {"addr": OTHER})], {"addr": OTHER}, []),
    "varp-new": ([], {"net": ID5, "mac": MAC, "addr": ADDR}, [("varp-del", {"net": ID5, "mac": MAC})]),
    "varp-get": ([("varp-new", {"net": ID5, "mac": MAC, "addr": ADDR})], {"net": ID5, "mac": MAC}, [("varp-del", {"net": ID5, "mac": MAC})]),
    "dump varp-get": ([], {"net": ID5}, []),
    "varp-del": ([("varp-new", {"net": ID5, "mac": MAC, "addr": OTHER})], {"net": ID5, "mac": MAC}, []),
    "varp-flush": ([], {"net": ID5}, []),
    "dump vif-get": ([], {"net": ID5}, []),
    "remote-new": ([], {"net": ID5, "addr": OTHER}, [("remote-del", {"net": ID5, "addr": OTHER})]),
    "dump remote-get": ([], {"net": ID5}, []),
    "remote-del": ([("remote-new", {"net": ID5, "addr": OTHER})], {"net": ID5, "addr": OTHER}, []),
    "probe": ([], {"net": ID5, "mac": MAC}, []),
    "net-new, sealed": ([], {"id": ID99, "mtu": 1400, "seal": 2}, [("net-del", {"id": ID99})]),
    "net-set, sealed": ([], {"id": ID5, "seal": 2}, [OPEN]),
    "net-set, with keys": ([ONE, TWO], {"id": ID5, "seal": 1}, [OPEN, *NO_KEYS]),
    "key-new": ([SEALED], KEY[1], [OPEN, *NO_KEYS]),
    "dump key-get": ([SEALED, ONE], {"net": ID5}, [OPEN, *NO_KEYS]),
    "key-del": ([SEALED, ONE], {"net": ID5, "index": 1}, [OPEN, *NO_KEYS]),
    "key-rotate": ([SEALED, ONE, TWO], {"net": ID5}, [OPEN, *NO_KEYS]),
}
FIRST = {name: CASES[name] for name in ("net-new", "net-del")}


def attributes(data):
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        yield number & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


class Faulty(Family):
    """The family, with failures on demand, and a listener to all its groups."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.fail = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
        self.room = bytearray(1 << 18)
        self.listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.listener.bind((0, 0))
        self.listener.setblocking(False)
        number, self.number = self.number, 0x10
        _, _, replies = self.exchange(struct.pack("=BBH", 3, 1, 0) + attribute(2, b"vnet\0"))
        self.number = number
        # CTRL_ATTR_MCAST_GROUPS; of each the number is CTRL_ATTR_MCAST_GRP_ID.
        for _, group in attributes(dict(attributes(replies[0][4:]))[7]):
            self.listener.setsockopt(270, 1, struct.unpack("=I", dict(attributes(group))[2])[0])  # NETLINK_ADD_MEMBERSHIP

    def heard(self):
        """The commands of the notifications that have come since, with None if some were lost."""
        out = set()
        while True:
            try:
                data = self.listener.recv(1 << 16)
            except BlockingIOError:
                return out
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                out.add(None)
                continue
            out.add(data[16])

    def send(self, command, values, nth=0):
        """(errno, whether the failure was met). Dumps are read to the end. With nth = 0 nothing fails."""
        op = command.removeprefix("dump ")
        flags = REQUEST | (DUMP if op != command else ACK)
        body = self.header(op) + self.encode(op, values)
        self.sequence += 1
        message = struct.pack("=IHHII", 16 + len(body), self.number, flags, self.sequence, 0) + body
        armed = b"%d" % nth
        code = None
        # From here to where it is disarmed, as little as possible.
        if nth:
            os.pwrite(self.fail, armed, 0)
        try:
            self.socket.send(message)
            while code is None:
                code = self.ended(self.socket.recv_into(self.room))
        except OSError as error:
            code = error.errno or errno.ETIMEDOUT
        except MemoryError:
            code = errno.ENOMEM
        left = 0
        if nth:
            try:
                left = int(os.pread(self.fail, 20, 0).rstrip(b"\0\n") or 0)
            finally:
                os.pwrite(self.fail, b"0", 0)
        return code, nth != 0 and left == 0

    def ended(self, size):
        """errno if the answer is complete with what was received, else None."""
        at = 0
        while at + 16 <= size:
            length, kind, _, sequence, _ = struct.unpack_from("=IHHII", self.room, at)
            if sequence == self.sequence and kind in (2, 3):
                return -struct.unpack_from("=i", self.room, at + 16)[0]
            at += (length + 3) & ~3
        return None

    def quiet(self):
        """What is still in the socket, after an answer was lost, is thrown away."""
        self.socket.setblocking(False)
        while True:
            try:
                self.socket.recv_into(self.room)
            except BlockingIOError:
                break
            except OSError:
                continue
        self.socket.settimeout(5)

    def decoded(self, op, reply):
        """The attributes that do not change by themselves."""
        names = {number: name for name, (number, _) in self.attrs_of(op).items()}
        out = ((names.get(number, str(number)), bytes(value)) for number, value in attributes(reply[4:]))
        return tuple(sorted(pair for pair in out if pair[0] not in VOLATILE))

    def state(self):
        """What is configured. What is learned comes and goes, only static entries and listed hosts count."""
        out = []
        questions = [("net-get", {}, DUMP), ("host-get", {}, ACK), ("peer-get", {}, DUMP)]
        if not self.first:
            questions += [(op, {"net": ID5}, DUMP) for op in ("varp-get", "remote-get", "key-get")]
        for op, values, flag in questions:
            code, _, replies = self.do(op, values, REQUEST | flag)
            if code:
                raise Refused(f"{op} to see the state: {name_of(code)}")
            decoded = {self.decoded(op, reply) for reply in replies}
            if op == "varp-get":
                static = struct.pack("=I", 1)
                decoded = {entry for entry in decoded if dict(entry).get("state") == static}
            if op == "remote-get":
                decoded = {entry for entry in decoded if dict(entry).get("listed") == b"\1"}
            out.append(decoded)
        return out


class Refused(Exception):
    """What must succeed did not."""


def name_of(code):
    return errno.errorcode.get(code, str(code)) if code else "done"


def prepare(path, value):
    with open(path, "w") as file:
        file.write(value)


def try_all(family, command, before_it, values, undo):
    """Returns what is wrong, or None, and how many failures there were."""

    def send_all(list_of, must):
        for op, attributes in list_of:
            code, _ = family.send(op, attributes)
            if code and must:
                raise Refused(f"{op} beforehand: {name_of(code)}")

    def back():
        send_all(undo, False)
        if before_it and not undo:
            # What it takes away, when it failed, is still there.
            family.send(command, values)

    start = family.state()
    send_all(before_it, True)
    before = family.state()
    code, _ = family.send(command, values)
    after = family.state()
    if code:
        return f"without a failure: {name_of(code)}", 0
    back()
    if family.state() != start:
        return f"what undoes it does not: {[a ^ b for a, b in zip(family.state(), start)]}", 0
    met = 0
    told = {None, family.operations.get(TOLD.get(command, command + "-ntf"), {}).get("value")}
    for nth in range(1, MOST):
        send_all(before_it, True)
        family.heard()
        code, failed = family.send(command, values, nth)
        heard = family.heard()
        family.quiet()
        now = family.state()
        if not failed:
            back()
            if code:
                return f"allocation {nth}: {name_of(code)}, though none failed", met
            return (f"never failed, {MOST} allocations are too few" if met == 0 else None), met
        met += 1
        if now == before and now != after:
            if code == 0:
                return f"allocation {nth} fails: said to be done, but it is not", met
            # Once more, without a failure.
            code, _ = family.send(command, values)
            if code or family.state() != after:
                return f"after a failure of allocation {nth} it does not succeed: {name_of(code)}", met
        elif now != after:
            return f"allocation {nth} fails ({name_of(code)}): half done: {[a ^ b for a, b in zip(now, before)]}", met
        elif now != before and not heard & told:
            return f"allocation {nth} fails ({name_of(code)}): done, but nobody was told", met
        # That it is undone shows in what comes next.
        back()
    return f"more than {MOST} allocations", met


def main():
    for name, value in (("ignore-gfp-wait", "N"), ("verbose", "0")):
        prepare(f"/sys/kernel/debug/failslab/{name}", value)
    first = sys.argv[1:] == ["first"]
    family = Faulty(first)
    bad = 0
    for op in family.operations.values():
        for kind, prefix in (("do", ""), ("dump", "dump ")):
            if kind in op and prefix + op["name"] not in CASES:
                print(f"not ok - {prefix}{op['name']} has no case")
                bad += 1
    for command, (before_it, values, undo) in (FIRST if first else CASES).items():
        try:
            wrong, met = try_all(family, command.partition(",")[0], before_it, values, undo)
        except Refused as error:
            wrong, met = str(error), 0
        if wrong:
            print(f"not ok - {command}: {wrong}", flush=True)
            bad += 1
        else:
            print(f"ok - {command}{', the first' if first else ''}: {met} allocations failed, one at a time", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    socket.setdefaulttimeout(5)
    sys.exit(main())
