#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Measures vnet beside the kernel's own tunnels, and vnetd beside other programs. Runs in the kit's root (see run).

What was measured is in build/bench/results.json, tables in build/bench/results.md; --keep puts them into docs/performance.md.
"""

import argparse
import json
import os
import platform
import sys
import time

import check
import frames
from daemons import daemons
from guests import BUILD, TOP, Failure, Figures, count, uml
from report import Report

PARTS = ("tcp", "small", "latency", "macs", "vnets", "flood", "create", "count", "daemons")
BEGIN, END = "<!-- begin: made by make bench, do not edit -->\n", "<!-- end -->\n"
DOCUMENT = f"{TOP}/docs/performance.md"


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def machine():
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    with open("/kit/kernel/release") as file:
        release = file.read().strip()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model,
        "processors": os.cpu_count(),
        "host": platform.release(),
        "kernel": release,
        "load": os.getloadavg(),
    }


def described(about, rounds):
    return (
        f"{about['date']}, {about['processors']} × {about['processor']}, Linux {about['host']}; vnet in {about['kernel']}. {rounds} rounds: the median, "
        f"and (least–most). Load when it began: {about['load'][0]:.1f}{', so the times are not to be relied on' if about['load'][0] > 0.5 else ''}."
    )


def keep(text):
    """Puts the tables between the marks of the document."""
    with open(DOCUMENT) as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Failure(f"{DOCUMENT} has no marks to put the tables between")
    with open(DOCUMENT + ".new", "w") as file:
        file.write(before + begin + text + end + after)
    os.replace(DOCUMENT + ".new", DOCUMENT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="see only that it works: figures of no use")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (7; 1 with --short)")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of " + " ".join(PARTS))
    parser.add_argument("--keep", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {' '.join(sorted(unknown))}")
    length, rounds = ("short", arguments.rounds or 1) if arguments.short else ("long", arguments.rounds or 7)
    figures, about = Figures(), machine()
    with open(f"{BUILD}/frames.sh", "w") as file:
        file.write(frames.shell())
    try:
        if "count" in parts:
            say("counting instructions: Debian's kernel in QEMU")
            # Hash tables have another seed in each boot.
            for _ in range(1 if arguments.short else 3):
                count(figures, *((640, 0.02, 1) if arguments.short else (12800, 0.1, 2)))
        in_uml = [part for part in parts if part not in ("count", "daemons")]
        if in_uml:
            say("the kernel's tunnels: user-mode kernel")
            uml(figures, in_uml, rounds, length, say)
        if "daemons" in parts:
            say("programs: this machine's kernel")
            daemons(figures, rounds, length, say)
    except Failure as failure:
        say(failure)
        return 1
    finally:
        with open(f"{BUILD}/results.json", "w") as file:
            json.dump({"about": about, "rounds": rounds, "length": length, "figures": figures.by_key}, file, indent=1)
            file.write("\n")
    tables = described(about, rounds) + "\n\n" + Report(figures.by_key).everything()
    with open(f"{BUILD}/results.md", "w") as file:
        file.write(tables)
    print(tables, end="")
    if arguments.short:
        return check.check(figures.by_key, parts)
    if arguments.keep:
        keep(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
