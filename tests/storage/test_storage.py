#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""test_storage.py [--short] [NAME...]: templates, images and disks on real OpenZFS, LIO, NFS and open-iscsi, in two guests.

Each check is a function of cases.py or faults.py, run in their order: all of them, or those with a name and what must come
before; with --short those of the short set. What the guests were told and said is in build/storage/.
"""

import sys

from machines import TOP, Lab

import cases
import faults
from checks import Checks


def main():
    short = "--short" in sys.argv[1:]
    wanted = [name for name in sys.argv[1:] if name != "--short"]
    checks = Checks()
    lab = Lab("short" if short else "test", print)
    try:
        with open(f"{TOP}/tests/storage/setup.sh") as script:
            lab.storage.run(script.read(), 300)
        # What others build on is done, too; the faults need no more than the template.
        of_cases = any(function.__name__ in wanted for _, function in cases.CHECKS)
        for text, function in cases.CHECKS + faults.CHECKS:
            needed = function is cases.template or (of_cases and getattr(function, "always", False))
            if wanted and function.__name__ not in wanted and not needed:
                continue
            if short and not (function.short or getattr(function, "always", False)):
                continue
            checks.check(text, function, lab)
        checks.kernels(lab)
    finally:
        lab.close()
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
