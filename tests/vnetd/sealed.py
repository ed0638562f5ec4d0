#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What somebody on the underlay does with sealed messages that he sees.

sealed.py flip IF PCAP      sends the first sealed message of a capture again and again, each time with another bit changed;
                            prints how often each part of it was changed
sealed.py replay IF PCAP    sends all sealed messages of a capture again; prints how many
sealed.py back IF PCAP      sends them to their own senders, from another address; prints how many
sealed.py count PCAP TEXT   how many packets there are, and in how many of them this text is
"""

import ipaddress
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../uml"))
import frames

PARTS = {"message": (0, 2), "mark": (2, 4), "tag": (4, 12), "sealed": (12, None)}


def messages(path):
    """Source, destination and payload of each sealed message over IPv4."""
    for frame in frames.read_pcap(path):
        if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[42:44] == b"\x00\x04":
            source, destination = (str(ipaddress.IPv4Address(frame[o : o + 4])) for o in (26, 30))
            yield source, destination, frame[42:]


def send(sock, source, destination, payload):
    sock.send(b"\xff" * 6 + bytes.fromhex("020000000042") + b"\x08\x00" + frames.udp(source, destination, payload))


def main():
    command, *args = sys.argv[1:]
    if command == "count":
        packets = list(frames.read_pcap(args[0]))
        print(len(packets), sum(args[1].encode() in packet for packet in packets))
        return
    sock = frames.raw(args[0])
    found = list(messages(args[1]))
    if not found:
        sys.exit("there is no sealed message in it")
    if command == "flip":
        source, destination, payload = found[0]
        counts = []
        for name, (start, end) in PARTS.items():
            bits = range(start * 8, (len(payload) if end is None else end) * 8)
            for bit in bits:
                changed = bytearray(payload)
                changed[bit // 8] ^= 1 << (bit % 8)
                send(sock, source, destination, bytes(changed))
            counts.append(f"flip_{name}={len(bits)}")
        print(*counts)
    elif command == "replay":
        for source, destination, payload in found:
            send(sock, source, destination, payload)
        print(len(found))
    elif command == "back":
        for source, _, payload in found:
            send(sock, "192.0.2.66", source, payload)
        print(len(found))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
