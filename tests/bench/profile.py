#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where the instructions of a packet go: a table by function, for two contenders side by side.

    tests/kit/enter tests/bench/profile.py [--packets N] [--inside TEXT] RX:vxlan RX:vnet

--inside gives the offsets that were executed in functions whose symbol has the text in it, for objdump of the module.

Debian's kernel runs in QEMU, which writes down the address of each instruction while the pump sends. What was built by
tests/bench/run is measured.
"""

import argparse
import base64
import bisect
import collections
import gzip
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

from guests import TOP, counting_guest

class Monitor:
    """QEMU's monitor for people."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 20
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.wait()

    def wait(self):
        said = b""
        while not said.endswith(b"(qemu) "):
            said += self.socket.recv(65536)

    def do(self, command):
        self.socket.sendall(command.encode() + b"\n")
        self.wait()


def traces(wanted, packets, log):
    """Runs the guest; gives the symbols, and for each contender the file with its trace."""
    directory = tempfile.mkdtemp()
    found, coded, reading = {}, [], False
    with counting_guest(["VNET_TRACE=" + ",".join(wanted), f"VNET_PACKETS={packets}"]) as command:
        monitor = f"{directory}/monitor"
        qemu = subprocess.Popen(command + ["-chardev", f"socket,id=monitor,path={monitor},server=on,wait=off", "-mon", "monitor"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        try:
            hand = Monitor(monitor)
            for line in qemu.stdout:
                line = line.rstrip()
                if line == "@symbols end":
                    reading = False
                elif reading:
                    coded.append(line)
                    continue
                elif line == "@symbols":
                    reading = True
                print(line, file=log, flush=True)
                if line.startswith("@trace "):
                    name = line.split()[1]
                    found[name] = f"{directory}/{name.replace(':', '-')}"
                    for words in ("one-insn-per-tb on", f"logfile {found[name]}", "log exec,nochain"):
                        hand.do(words)
                elif line == "@traced":
                    for words in ("log none", "one-insn-per-tb off"):
                        hand.do(words)
                else:
                    continue
                qemu.stdin.write("\n")
                qemu.stdin.flush()
        finally:
            qemu.kill()
            qemu.wait()
    symbols = []
    for line in gzip.decompress(base64.b64decode("".join(coded))).decode().splitlines():
        address, _, name = line.split(None, 2)
        symbols.append((int(address, 16), name.replace("\t", " ")))
    symbols.sort()
    return symbols, found


def addresses(path):
    """The address of each instruction: Trace CPU: HOST [CS_BASE/PC/FLAGS/CFLAGS]."""
    with open(path) as file:
        for line in file:
            if line.startswith("Trace "):
                yield int(line.split("/", 2)[1], 16)


def by_function(path, symbols, packets):
    """Between the pump's first packet and its last, for each packet: instructions and calls of each function; and how often
    each place (function, offset) was executed."""
    starts = [address for address, _ in symbols]
    places, of = [], {}
    for address in addresses(path):
        place = of.get(address)
        if place is None:
            at = bisect.bisect_right(starts, address) - 1
            place = of[address] = (symbols[at][1], address - starts[at]) if at >= 0 else ("?", address)
        places.append(place)
    pump = [number for number, (name, _) in enumerate(places) if name.endswith("[pump]")]
    executed = collections.Counter(places[pump[0] : pump[-1] + 1])
    counts, calls = collections.Counter(), collections.Counter()
    for (name, offset), times in executed.items():
        counts[name] += times / packets
        calls[name] += times / packets if offset == 0 else 0
    return {name: (counts[name], calls[name]) for name in counts}, {place: times / packets for place, times in executed.items()}


def demangled(names):
    """As people write them: what c++filt or rustfilt would say is not in the kit; the last parts of a Rust path are enough."""
    short = {}
    for name in names:
        text, _, module = name.partition(" ")
        if text.startswith("_R"):
            rest, at = [], 0
            while at < len(text):
                size = re.match(r"([1-9]\d*)_?", text[at:])
                if size and int(size.group(1)) <= len(text) - at - size.end():
                    begin = at + size.end()
                    rest.append(text[begin : begin + int(size.group(1))])
                    at = begin + int(size.group(1))
                else:
                    at += 1
            text = "::".join(rest[-5:])
        short[name] = f"{text} {module}".strip()
    return short


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=256)
    parser.add_argument("--inside", help="part of a symbol")
    parser.add_argument("contender", nargs="+")
    arguments = parser.parse_args()
    os.makedirs(f"{TOP}/build/bench", exist_ok=True)
    with open(f"{TOP}/build/bench/profile.log", "w") as log:
        symbols, files = traces(arguments.contender, arguments.packets, log)
    measured = {name: by_function(path, symbols, arguments.packets) for name, path in files.items()}
    profiles = {name: functions for name, (functions, _) in measured.items()}
    every = sorted(set().union(*profiles.values()), key=lambda f: -max(p.get(f, (0, 0))[0] for p in profiles.values()))
    short = demangled(every)
    print("".join(f"{name:>18}" for name in profiles) + "   function (instructions, and calls, for each packet)")
    print("".join(f"{sum(n for n, _ in p.values()):18.0f}" for p in profiles.values()) + "   all")
    modules = collections.defaultdict(lambda: [0.0] * len(profiles))
    for number, profile in enumerate(profiles.values()):
        for function, (instructions, _) in profile.items():
            modules[function.partition(" ")[2].strip("[]") or "kernel"][number] += instructions
    for module, sums in sorted(modules.items()):
        print("".join(f"{n:18.0f}" for n in sums) + f"   in {module}")
    for function in every:
        cells = [p.get(function, (0, 0)) for p in profiles.values()]
        if max(n for n, _ in cells) >= 1:
            print("".join(f"{n:10.1f} ×{c:6.2f}" for n, c in cells) + f"   {short[function]}")
    for name, (_, executed) in measured.items():
        for (function, offset), times in sorted(executed.items()):
            if arguments.inside and arguments.inside in function and times >= 0.1:
                print(f"{name} {function} +{offset:#x} ×{times:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
