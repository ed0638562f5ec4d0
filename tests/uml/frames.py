#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Puts frames on a device, byte for byte.

frames.py sources IF COUNT                broadcast frames from COUNT source addresses 06:00:xx:xx:xx:xx
frames.py replay IF PCAP NUMBER...        these frames of a capture (from 1), without UDP checksum
frames.py udp IF SRC DST HEX [TOS]        a UDP 1798 packet from SRC to DST (broadcast MAC) with this payload
frames.py say DST HEX...                  UDP datagrams with these payloads to port 1798 of DST, in this order
frames.py flip DST HEX                    the payload as often as it has bits, each time with another one flipped
frames.py cut DST HEX                     the payload as often as it has bytes, with 0 of them, 1, and so on
frames.py send IF DST SRC COUNT           frames from one MAC address to another
frames.py ring IF COUNT                   VLAN-tagged IPv4 frames, of which only 14 bytes are in the packet's first piece
frames.py original DST ID MAC             the original, as far as DST sees it: a frame of this machine, then answers for it
frames.py payload PCAP NUMBER...          the UDP payloads of these frames of a capture, a line each
frames.py list PCAP                       number, source, destination, length of each frame
"""

import ipaddress
import mmap
import socket
import struct
import sys


def raw(device):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((device, 0))
    return sock


def read_pcap(path):
    with open(path, "rb") as file:
        data = file.read()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    offset = 24
    while offset < len(data):
        length = struct.unpack_from(order + "4I", data, offset)[2]
        yield data[offset + 16 : offset + 16 + length]
        offset += 16 + length


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def udp(source, destination, payload, port=1798, tos=0):
    source, destination = (ipaddress.IPv4Address(a).packed for a in (source, destination))
    header = struct.pack(">BBHHHBBH4s4s", 0x45, tos, 28 + len(payload), 1, 0, 64, 17, 0, source, destination)
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    return header + struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload


def ring(device, count):
    """Sends through a ring that is shared with the kernel, which takes the payload as pages."""
    level, version, tx_ring, v2, request, wrong = 263, 10, 13, 1, 1, 4
    frame_size, frames, data = 2048, 64, 32
    sock = raw(device)
    sock.setsockopt(level, version, struct.pack("i", v2))
    sock.setsockopt(level, tx_ring, struct.pack("4I", 4096, frames * frame_size // 4096, frame_size, frames))
    memory = mmap.mmap(sock.fileno(), frames * frame_size)
    inner = udp("10.7.0.1", "10.7.0.255", bytes(100), 9)
    frame = b"\xff" * 6 + bytes.fromhex("020000000077") + b"\x81\x00\x00\x07\x08\x00" + inner
    for n in range(count):
        offset = (n % frames) * frame_size
        memory[offset + data : offset + data + len(frame)] = frame
        struct.pack_into("3I", memory, offset, request, len(frame), 0)
        sock.send(b"")
        if struct.unpack_from("I", memory, offset)[0] & wrong:
            sys.exit("the kernel refuses the frame")


def main():
    command, *args = sys.argv[1:]
    if command == "sources":
        sock = raw(args[0])
        for n in range(int(args[1])):
            frame = b"\xff" * 6 + b"\x06\x00" + struct.pack(">I", n + 1) + b"\x88\xb5" + bytes(46)
            while True:
                try:
                    sock.send(frame)
                    break
                except OSError as error:
                    if error.errno != 105:  # ENOBUFS: once more
                        raise
    elif command == "replay":
        frames = list(read_pcap(args[1]))
        sock = raw(args[0])
        for number in args[2:]:
            frame = bytearray(frames[int(number) - 1])
            # The sums of the captures were left to a device that never was: 0 means none.
            frame[40:42] = bytes(2)
            sock.send(frame)
    elif command == "udp":
        device, source, destination, payload, *tos = args
        packet = udp(source, destination, bytes.fromhex(payload), tos=int(*tos or "0"))
        raw(device).send(b"\xff" * 6 + bytes.fromhex("020000000042") + b"\x08\x00" + packet)
    elif command == "say":
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for payload in args[1:]:
            sock.sendto(bytes.fromhex(payload), (args[0], 1798))
    elif command in ("flip", "cut"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        payload = bytes.fromhex(args[1])
        number = int.from_bytes(payload, "big")
        if command == "flip":
            changed = ((number ^ 1 << bit).to_bytes(len(payload), "big") for bit in range(8 * len(payload)))
        else:
            changed = (payload[:length] for length in range(len(payload)))
        for datagram in changed:
            sock.sendto(datagram, (args[0], 1798))
    elif command == "payload":
        frames = list(read_pcap(args[0]))
        for number in args[1:]:
            print(frames[int(number) - 1][42:].hex())
    elif command == "original":
        to, net, mac = (args[0], 1798), int(args[1], 16).to_bytes(16, "big"), bytes.fromhex(args[2].replace(":", ""))
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", 1798))
        # With what was in memory in the reserved bits.
        sock.sendto(bytes.fromhex("000200003140") + net + b"\xff" * 6 + mac + b"\x88\xb5" + bytes(46), to)
        route = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        route.connect(to)
        ours = ipaddress.IPv4Address(route.getsockname()[0]).packed
        while True:
            message, source = sock.recvfrom(65536)
            # The zero address is one like any other, which it has not.
            if message[:26] == bytes.fromhex("00010001") + net + mac:
                sock.sendto(bytes.fromhex("00010002") + net + mac + b"\x02" + ours + bytes(12), source)
    elif command == "send":
        device, destination, source, count = args
        sock = raw(device)
        for _ in range(int(count)):
            sock.send(bytes.fromhex(destination.replace(":", "") + source.replace(":", "")) + b"\x88\xb5" + bytes(46))
    elif command == "ring":
        ring(args[0], int(args[1]))
    elif command == "list":
        for number, frame in enumerate(read_pcap(args[0]), 1):
            source, destination = (ipaddress.IPv4Address(frame[o : o + 4]) for o in (26, 30))
            print(number, frame[:6].hex(":"), frame[6:12].hex(":"), source, destination, len(frame), frame[42:64].hex())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
