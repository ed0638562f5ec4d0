#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Speaks with vnetd over its control socket, by module/uapi/vnet.yaml and nothing else.

client.py SOCKET COMMAND [JSON]       one request; prints the answer, if there is one
client.py SOCKET dump COMMAND [JSON]  a listing: one object per line
client.py SOCKET watch GROUP...       joins groups, says "joined", then prints one object per notification

Ids, MACs and addresses are texts; what is refused is told on standard error, exit status 2."""

import errno
import ipaddress
import json
import os
import socket
import struct
import sys

import yaml

SPEC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../module/uapi/vnet.yaml")
REQUEST, ACK, DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NUMBERS = {"u8": "B", "u16": "H", "u32": "I", "s32": "i", "u64": "Q"}


class Refused(Exception):
    def __init__(self, number, text, offset):
        super().__init__(f"{text} ({errno.errorcode.get(number, number)})")
        self.number, self.text, self.offset = number, text, offset


def attribute(number, payload, length=None):
    length = 4 + len(payload) if length is None else length
    return struct.pack("=HH", length, number) + payload + bytes(-len(payload) % 4)


def attributes(data):
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        if length < 4 or length > len(data):
            raise ValueError("an attribute is cut off")
        yield number & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def messages(data):
    while data:
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
        if length < 16 or length > len(data):
            raise ValueError("a message is cut off")
        yield kind, flags, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]


class Client:
    def __init__(self, path, timeout=10):
        with open(SPEC) as file:
            spec = yaml.safe_load(file)
        self.sets, self.enums = {}, {}
        for attrs in spec["attribute-sets"]:
            self.sets[attrs["name"]] = {a["name"]: (n, a) for n, a in enumerate(attrs["attributes"], 1)}
        for item in spec["definitions"]:
            if item["type"] == "enum":
                self.enums[item["name"]] = item["entries"]
        self.operations = {op["name"]: op for op in spec["operations"]["list"]}
        self.by_number = {op["value"]: op for op in spec["operations"]["list"]}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.sequence = 0
        self.family, self.groups = self.get_family()

    def send(self, kind, flags, payload):
        self.sequence += 1
        self.socket.send(struct.pack("=IHHII", 16 + len(payload), kind, flags, self.sequence, 0) + payload)

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the daemon has closed the connection")
        return list(messages(data))

    def answer(self):
        """Payloads up to the end of the answer."""
        out = []
        while True:
            for kind, flags, sequence, payload in self.receive():
                if sequence != self.sequence:
                    continue
                if kind == NLMSG_ERROR:
                    (number,) = struct.unpack_from("=i", payload)
                    if number == 0:
                        return out
                    said = dict(attributes(payload[20:])) if flags & 0x200 else {}
                    text = said.get(1, b"").rstrip(b"\0").decode() or os.strerror(-number)
                    offset = struct.unpack("=I", said[2])[0] if 2 in said else None
                    raise Refused(-number, text, offset)
                if kind == NLMSG_DONE:
                    return out
                out.append(payload)

    def request(self, kind, flags, payload):
        self.send(kind, REQUEST | flags, payload)
        return self.answer()

    def get_family(self):
        name = struct.pack("=BBH", 3, 1, 0) + attribute(2, b"vnet\0")
        (reply,) = self.request(16, ACK, name)
        found = dict(attributes(reply[4:]))
        groups = {}
        for _, group in attributes(found[7]):
            inner = dict(attributes(group))
            groups[inner[1].rstrip(b"\0").decode()] = struct.unpack("=I", inner[2])[0]
        return struct.unpack("=H", found[1])[0], groups

    def set_of(self, op):
        while "attribute-set" not in op:
            op = self.operations[op["notify"]]
        return op["attribute-set"]

    def encode(self, op, values):
        known = self.sets[self.set_of(op)]
        return b"".join(attribute(known[name][0], self.value(known[name][1], v)) for name, v in values.items())

    def value(self, spec, value):
        if spec["type"] in NUMBERS:
            if isinstance(value, str):
                value = self.enums[spec["enum"]].index(value)
            return struct.pack("=" + NUMBERS[spec["type"]], value)
        if spec["type"] == "string":
            return value.encode() + b"\0"
        if spec["name"] in ("id", "net"):
            fields = [int(field, 16) for field in value.split(":")]
            return b"".join(struct.pack(">H", field) for field in [0] * (8 - len(fields)) + fields)
        if spec["name"] == "key":
            return bytes.fromhex(value)
        if spec["name"] == "mac":
            return bytes.fromhex(value.replace(":", ""))
        return ipaddress.ip_address(value).packed

    def decode(self, set_name, data):
        names = {n: (name, spec) for name, (n, spec) in self.sets[set_name].items()}
        out = {}
        for number, value in attributes(data):
            name, spec = names[number]
            if spec["type"] == "nest":
                out[name] = self.decode(spec["nested-attributes"], value)
            elif spec["type"] in NUMBERS:
                out[name] = struct.unpack("=" + NUMBERS[spec["type"]], value)[0]
                if "enum" in spec:
                    out[name] = self.enums[spec["enum"]][out[name]]
            elif spec["type"] == "string":
                out[name] = value.rstrip(b"\0").decode()
            elif name in ("id", "net"):
                fields = value.hex(":", 2)
                out[name] = fields[-4:] if value[:14] == bytes(14) else fields
            elif name == "mac":
                out[name] = value.hex(":")
            else:
                out[name] = str(ipaddress.ip_address(value))
        return out

    def do(self, command, values=None, flags=ACK):
        op = self.operations[command]
        payload = struct.pack("=BBH", op["value"], 1, 0) + self.encode(op, values or {})
        return [self.decode(self.set_of(op), reply[4:]) for reply in self.request(self.family, flags, payload)]

    def dump(self, command, values=None):
        return self.do(command, values, DUMP)

    def join(self, group, leave=False):
        self.request(0x12 if leave else 0x11, ACK, struct.pack("=I", group))

    def notification(self):
        """The next notification: its name and what it says; None if some were lost."""
        while True:
            for kind, _, sequence, payload in self.receive():
                if kind == NLMSG_OVERRUN:
                    return None, {}
                if kind == self.family and sequence == 0:
                    op = self.by_number[payload[0]]
                    return op["name"], self.decode(self.set_of(op), payload[4:])


def main():
    path, command, *rest = sys.argv[1:]
    try:
        client = Client(path, timeout=None if command == "watch" else 10)
        if command == "watch":
            for group in rest:
                client.join(client.groups[group])
            print("joined", flush=True)
            while True:
                name, values = client.notification()
                print(json.dumps({"event": name, **values}), flush=True)
        listing = command == "dump"
        if listing:
            command, *rest = rest
        values = json.loads(rest[0]) if rest else {}
        for answer in client.dump(command, values) if listing else client.do(command, values):
            print(json.dumps(answer))
    except (Refused, OSError, EOFError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
