# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Frames for the pump, in hex, for the shell in the guest: what the contenders make of one small UDP packet.

    near   02:00:00:00:00:a1  10.0.0.1   on the host that is measured, 192.0.2.1
    far    02:00:00:00:00:b1  10.0.0.2   behind another one, 192.0.2.2
"""

import struct

NEAR, FAR = bytes.fromhex("0200000000a1"), bytes.fromhex("0200000000b1")
VNET_PORT, VXLAN_PORT, GENEVE_PORT = 1798, 4789, 6081
OUTER = 14 + 20 + 8


def address(text):
    return bytes(int(part) for part in text.split("."))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, source, destination)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp(source, destination, source_port, port, payload):
    length = 8 + len(payload)
    head = struct.pack(">HHHH", source_port, port, length, 0)
    pseudo = source + destination + struct.pack(">BBH", 0, 17, length)
    total = checksum(pseudo + head + payload) or 0xFFFF
    return ipv4(source, destination, 17, head[:6] + struct.pack(">H", total) + payload)


def ethernet(source, destination, payload, kind=0x0800):
    return destination + source + struct.pack(">H", kind) + payload


def inner(source, destination, subnet=0):
    """A frame of 60 bytes, the smallest there is on Ethernet."""
    hosts = {NEAR: address(f"10.{subnet}.0.1"), FAR: address(f"10.{subnet}.0.2")}
    hosts[b"\xff" * 6] = address(f"10.{subnet}.0.255")
    return ethernet(source, destination, udp(hosts[source], hosts[destination], 4000, 4001, bytes(18)))


def outer(port, message, source_port=None):
    """A packet that has come from the other host."""
    far, near = address("192.0.2.2"), address("192.0.2.1")
    return ethernet(FAR, NEAR, udp(far, near, source_port or port, port, message))


def vnet(number, frame):
    return outer(VNET_PORT, bytes.fromhex("000200000040") + number.to_bytes(16, "big") + frame)


def vxlan(number, frame):
    return outer(VXLAN_PORT, b"\x08\0\0\0" + number.to_bytes(3, "big") + b"\0" + frame, 50000)


def geneve(number, frame):
    return outer(GENEVE_PORT, b"\0\0\x65\x58" + number.to_bytes(3, "big") + b"\0" + frame, 50000)


def shell(text=""):
    """Assignments: OUT and FLOOD to be sent, IN_KIND_NUMBER as received, PLAIN_IN as without a tunnel, and where fields are."""
    values = {
        "OUT": inner(NEAR, FAR).hex(),
        "FLOOD": inner(NEAR, b"\xff" * 6).hex(),
        "PLAIN_IN": inner(FAR, NEAR).hex(),
        # For WireGuard: no Ethernet header.
        "OUT_IP": inner(NEAR, FAR, 4)[14:].hex(),
    }
    for kind, make in (("vnet", vnet), ("vxlan", vxlan), ("geneve", geneve)):
        for number in (5, 6, 0x10, 0x11, 0x12, 0x1000):
            values[f"IN_{kind}_{number:x}"] = make(number, inner(FAR, NEAR)).hex()
    # Where in a received packet the lowest bytes of the id, and of the inner source address, are.
    values["ID_vnet"], values["ID_vxlan"] = OUTER + 6 + 14, OUTER + 5
    values["MAC_vnet"], values["MAC_vxlan"] = OUTER + 22 + 6 + 2, OUTER + 8 + 6 + 2
    return "".join(f"{name}={value}\n" for name, value in values.items())


if __name__ == "__main__":
    print(shell(), end="")
