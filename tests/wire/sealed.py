#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Makes sealed.json: messages of sealed vnets, by another implementation than ours, from docs/protocol.md alone.

Needs the Python package `cryptography`; everything that it prints follows from what is written here:

    python3 tests/wire/sealed.py > tests/wire/sealed.json
"""

import hashlib
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MODES = {"auth": 1, "conf": 2}
CIPHERS = {"chacha20-poly1305": (1, ChaCha20Poly1305), "aes-256-gcm": (2, AESGCM)}


def derive(key, info, length):
    return HKDF(SHA256(), length, salt=b"vnet sealed 1", info=info).derive(key)


def vector(name, key, vnet, mode, cipher, sender, counter, plain):
    number, aead = CIPHERS[cipher]
    way = bytes([MODES[mode], number]) + vnet
    tag = derive(key, b"tag" + way, 8)
    sender_key = derive(key, b"key" + way + struct.pack(">Q", sender), 32)
    header = struct.pack(">HH", 4, 0) + tag + struct.pack(">QQ", sender, counter)
    nonce = bytes(4) + struct.pack("<Q", counter)
    if mode == "conf":
        body = aead(sender_key).encrypt(nonce, plain, header)
    else:
        body = plain + aead(sender_key).encrypt(nonce, b"", header + plain)
    return {
        "name": name,
        "key": key.hex(),
        "id": vnet.hex(),
        "mode": mode,
        "cipher": cipher,
        "sender": f"{sender:016x}",
        "counter": counter,
        "tag": tag.hex(),
        "sender-key": sender_key.hex(),
        "plain": plain.hex(),
        "message": (header + body).hex(),
    }


def main():
    def random(label, length):
        return hashlib.shake_256(b"vnet test vector " + label.encode()).digest(length)

    vnet = bytes(15) + b"\x05"
    mac = bytes.fromhex("020000050001")
    arp = b"\xff" * 6 + mac + bytes.fromhex("080600010800060400010200000500010a01010a0000000000000a010114")
    plains = {
        "the first frame of an ARP exchange": b"\x40\x00" + arp,
        "the shortest frame": b"\x40\x00" + random("frame", 14),
        "a full frame": b"\x40\x00" + random("full frame", 1412 + 14),
        "a VARP announcement": struct.pack(">HH", 1, 2) + vnet + mac + b"\x02" + bytes([192, 0, 2, 1]) + bytes(12),
        "a greeting": struct.pack(">HHQ", 5, 1, 0) + bytes(16),
        "a challenge": struct.pack(">HHQ", 5, 2, 0x1122334455667788) + random("cookie", 16),
    }
    vectors = []
    for number, (name, plain) in enumerate(plains.items()):
        for mode in MODES:
            for cipher in CIPHERS:
                label = f"{name} {mode} {cipher}"
                sender = int.from_bytes(random("sender " + label, 8), "big")
                counter = [1, 2**32 + 5, 2**60][number % 3]
                vectors.append(vector(name, random("key " + label, 32), vnet, mode, cipher, sender, counter, plain))
    print(json.dumps(vectors, indent=1))


if __name__ == "__main__":
    main()
