#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""vnc.py HOST DISPLAY PASSWORD: asks a VNC server for its screen. Prints "WIDTHxHEIGHT BYTES", or "refused: WHY" and ends with 1."""

import socket
import struct
import sys

IP = [58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32, 24, 16, 8]
IP += [57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47, 39, 31, 23, 15, 7]
E = [(4 * i + j - 1) % 32 + 1 for i in range(8) for j in range(6)]
P = [16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25]
PC1 = [57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36]
PC1 += [63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4]
PC2 = [14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2]
PC2 += [41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32]
SHIFTS = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1]
S = """
e4d12fb83a6c5907 0f74e2d1a6cb9538 41e8d62bfc973a50 fc8249175b3ea06d
f18e6b34972dc05a 3d47f28ec01a69b5 0e7ba4d158c6932f d8a13f42b67c05e9
a09e63f51dc7b428 d709346a285ecbf1 d6498f30b12c5ae7 1ad069874fe3b52c
7de3069a1285bc4f d8b56f03472c1ae9 a690cb7df13e5284 3f06a1d8945bc72e
2c417ab6853fd0e9 eb2c47d150fa3986 421bad78f9c5630e b8c71e2d6f09a453
c1af92680d34e75b af427c9561de0b38 9ef528c3704a1db6 432c95fabe17608d
4b2ef08d3c975a61 d0b7491ae35c2f86 14bdc37eaf680592 6bd814a7950fe23c
d2846fb1a93e50c7 1fd8a374c56b0e92 7b419ce206adf358 21e74a8dfc90356b
""".split()
BOXES = [[[int(digit, 16) for digit in S[4 * box + row]] for row in range(4)] for box in range(8)]


def bits(data):
    return [byte >> (7 - i) & 1 for byte in data for i in range(8)]


def select(table, source):
    return [source[i - 1] for i in table]


def des(key, block):
    """One block of eight bytes."""
    halves = select(PC1, bits(key))
    c, d = halves[:28], halves[28:]
    text = select(IP, bits(block))
    left, right = text[:32], text[32:]
    for shift in SHIFTS:
        c, d = c[shift:] + c[:shift], d[shift:] + d[:shift]
        mixed = [a ^ b for a, b in zip(select(E, right), select(PC2, c + d))]
        out = []
        for box in range(8):
            six = mixed[6 * box : 6 * box + 6]
            value = BOXES[box][six[0] * 2 + six[5]][six[1] * 8 + six[2] * 4 + six[3] * 2 + six[4]]
            out += [value >> 3 & 1, value >> 2 & 1, value >> 1 & 1, value & 1]
        left, right = right, [a ^ b for a, b in zip(left, select(P, out))]
    last = right + left
    plain = [0] * 64
    for i, place in enumerate(IP):
        plain[place - 1] = last[i]
    return bytes(int("".join(map(str, plain[8 * i : 8 * i + 8])), 2) for i in range(8))


def response(password, challenge):
    """VNC takes the bits of each byte of the key from the other end."""
    key = password.encode()[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    return des(key, challenge[:8]) + des(key, challenge[8:])


class Server:
    def __init__(self, host, display):
        self.socket = socket.create_connection((host, 5900 + display), 30)
        self.socket.settimeout(60)

    def read(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError("the server has closed the connection")
            data += more
        return data

    def number(self):
        return struct.unpack(">I", self.read(4))[0]


def main(host, display, password):
    server = Server(host, int(display))
    server.read(12)
    server.socket.sendall(b"RFB 003.008\n")
    kinds = server.read(server.read(1)[0])
    if 2 not in kinds:
        return f"refused: the server wants no password, but one of {list(kinds)}"
    server.socket.sendall(b"\x02")
    server.socket.sendall(response(password, server.read(16)))
    if server.number() != 0:
        return f"refused: {server.read(server.number()).decode()}"
    server.socket.sendall(b"\x01")
    width, height = struct.unpack(">HH", server.read(4))
    depth = server.read(16)[0] // 8
    server.read(server.number())
    # Everything, uncompressed.
    server.socket.sendall(struct.pack(">BBHi", 2, 0, 1, 0))
    server.socket.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
    seen = 0
    while seen == 0:
        kind = server.read(1)[0]
        if kind != 0:
            return f"refused: a message {kind}"
        server.read(1)
        for _ in range(struct.unpack(">H", server.read(2))[0]):
            _x, _y, w, h, encoding = struct.unpack(">HHHHi", server.read(12))
            if encoding != 0:
                return f"refused: the encoding {encoding}"
            seen += len(server.read(w * h * depth))
    return f"{width}x{height} {seen}"


if __name__ == "__main__":
    # A known answer: FIPS 81.
    assert des(bytes.fromhex("0123456789abcdef"), b"Now is t").hex() == "3fa40e8a984d4815"
    said = main(*sys.argv[1:])
    print(said)
    sys.exit(said.startswith("refused"))
