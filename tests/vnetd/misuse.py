#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""misuse.py SOCKET: sends what no good client sends. The daemon answers with an error or closes the connection, and lives."""

import errno
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from client import ACK, DUMP, REQUEST, Client, Refused, attribute  # noqa: E402

PATH = sys.argv[1]
ID5 = bytes(15) + b"\x05"


def check(text, good):
    if not good:
        sys.exit(f"not so: {text}")
    print(f"{text}")


def closed(packet):
    """Whether the daemon closes the connection of who sends this."""
    client = Client(PATH)
    client.socket.send(packet)
    try:
        while client.socket.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except ConnectionResetError:
        return True


def header(length, kind=0x20, flags=REQUEST | ACK):
    return struct.pack("=IHHII", length, kind, flags, 99, 0)


def refusal(client, kind, payload, flags=ACK):
    try:
        client.request(kind, flags, payload)
    except Refused as error:
        return error
    sys.exit(f"not refused: {kind} {payload.hex()}")


def main():
    client = Client(PATH)
    # Packets that are not one whole message.
    for name, packet in [
        ("three bytes", b"abc"),
        ("half a header", header(16)[:8]),
        ("a length of 0", header(0)),
        ("a length beyond the end", header(400) + bytes(4)),
        ("two messages", (header(20) + bytes(4)) * 2),
        ("more than may be", header(9000) + bytes(8984)),
    ]:
        check(f"{name}: the connection is closed", closed(packet))

    generic = lambda command: struct.pack("=BBH", command, 1, 0)  # noqa: E731
    family = client.family
    for name, kind, payload, number in [
        ("another family", 0x99, generic(3), errno.EOPNOTSUPP),
        ("no command", family, b"", errno.EINVAL),
        ("reserved bits", family, b"\x03\x01\x07\x00", errno.EINVAL),
        ("an unknown command", family, generic(200), errno.EOPNOTSUPP),
        ("a notification as command", family, generic(15), errno.EOPNOTSUPP),
        ("an unknown attribute", family, generic(3) + attribute(99, b"abcd"), errno.EINVAL),
        ("an attribute of another command", family, generic(3) + attribute(4, bytes(4)), errno.EINVAL),
        ("an id that is too short", family, generic(3) + attribute(1, bytes(15)), errno.ERANGE),
        ("a number that is too long", family, generic(1) + attribute(1, ID5) + attribute(4, bytes(8)), errno.EINVAL),
        ("a name without its end", family, generic(3) + attribute(2, b"vnif0005"), errno.EINVAL),
        ("a name that is too long", family, generic(3) + attribute(2, b"x" * 40 + b"\0"), errno.ERANGE),
        ("an attribute that is cut off", family, generic(3) + attribute(1, ID5, 99), errno.EINVAL),
        ("an attribute of 3 bytes", family, generic(3) + attribute(1, b"", 3), errno.EINVAL),
        ("a nest", family, generic(3) + attribute(1 | 1 << 15, ID5), errno.EINVAL),
        ("port 0", family, generic(5) + attribute(1, bytes(2)), errno.ERANGE),
        ("a group of 3 bytes", family, generic(5) + attribute(2, bytes(3)), errno.ERANGE),
        ("a group of 5 bytes", family, generic(5) + attribute(2, bytes(5)), errno.EINVAL),
        ("no attribute", family, generic(4), errno.EINVAL),
        ("both id and name", family, generic(3) + attribute(1, ID5) + attribute(2, b"vnif0005\0"), errno.EINVAL),
        ("an unknown family", 16, generic(3) + attribute(2, b"nothing\0"), errno.ENOENT),
        ("an unknown group", 0x11, struct.pack("=I", 77), errno.ENOENT),
        ("half a group", 0x11, b"\0", errno.EINVAL),
    ]:
        found = refusal(client, kind, payload).number
        check(f"{name}: {errno.errorcode[number]}, not {errno.errorcode.get(found)}", found == number)
    found = refusal(client, family, generic(5) + attribute(4, b"\1") + attribute(1, bytes(2)))
    check(f"the attribute at fault is told ({found.offset})", found.offset == 28)

    # Whatever the bytes: the daemon answers, or closes, and lives.
    chance = random.Random(4711)
    good = [generic(command) + attribute(1, ID5) + attribute(2, b"\x02\0\0\0\0\x07") for command in range(1, 28)]
    for _ in range(2000):
        payload = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 4)):
            payload[chance.randrange(1, len(payload))] = chance.randrange(256)
        if payload[0] in (1, 4):
            payload[0] = 3
        kind = chance.choice([family, family, 16, 0x11, 0x12, 2, 3])
        try:
            client.request(kind, chance.choice([ACK, ACK | DUMP]), bytes(payload))
        except Refused:
            pass
    check("two thousand strange requests: the daemon lives", len(client.dump("net-get")) >= 1)

    # Who does not read: answers wait, notifications are lost and that is told, the daemon goes on for others.
    lazy = Client(PATH)
    lazy.join(lazy.groups["config"])
    for n in range(2500):
        client.do("net-set", {"id": "5", "ageing": 100000 + n % 2})
    seen, lost = 0, False
    while not lost:
        name, _ = lazy.notification()
        lost = name is None
        seen += not lost
    check(f"{seen} notifications, then it is told that some are lost", 100 < seen < 2500)
    client.do("net-set", {"id": "5", "ageing": 300000})
    while True:
        name, values = lazy.notification()
        if name == "net-set-ntf" and values["ageing"] == 300000:
            break
    check("and then it is told again of what happens", True)
    lazy.join(lazy.groups["config"], leave=True)
    client.do("net-set", {"id": "5", "ageing": 299999})
    lazy.socket.settimeout(0.3)
    try:
        lazy.notification()
        check("who has left is told nothing", False)
    except socket.timeout:
        check("who has left is told nothing", True)

    greedy = Client(PATH)
    greedy.socket.setblocking(False)
    sent = 0
    try:
        while sent < 100_000:
            greedy.send(family, REQUEST | DUMP, generic(3))
            sent += 1
    except BlockingIOError:
        pass
    check(f"who only asks is not listened to after {sent} requests", sent < 100_000)
    check("others are answered meanwhile", len(client.dump("net-get")) >= 1)

    # Too many at once, and then as before.
    crowd = []
    try:
        for _ in range(200):
            crowd.append(Client(PATH, timeout=5))
    except (OSError, EOFError, ValueError):
        pass
    check(f"{len(crowd)} clients at once, and no more", 64 <= len(crowd) < 128)
    check("who was there is answered", len(client.dump("net-get")) >= 1)
    for one in crowd:
        one.socket.close()
    end = time.monotonic() + 5
    while True:
        try:
            Client(PATH)
            break
        except (OSError, EOFError):
            check("there is room again", time.monotonic() < end)
            time.sleep(0.05)
    check("there is room again", True)


main()
