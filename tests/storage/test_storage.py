#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""test_storage.py [--short] [NAME...]: templates, images and disks on real OpenZFS, LIO, NFS and open-iscsi, in two guests.

Each check is a function of cases.py or faults.py, run in their order: all of them, or those with a name and what must come
before; with --short those of the short set. What the guests were told and said is in build/storage/.
"""

import sys

from machines import TOP, Lab

import cases
import checks
import faults


def main():
    short = "--short" in sys.argv[1:]
    wanted = [name for name in sys.argv[1:] if name != "--short"]
    # What others build on is done, too; the faults need no more than the template.
    of_cases = any(function.__name__ in wanted for _, function in cases.CHECKS)

    def chosen(function):
        always = getattr(function, "always", False)
        needed = function is cases.template or (of_cases and always)
        return (not wanted or function.__name__ in wanted or needed) and (not short or function.short or always)

    lab = Lab("short" if short else "test", print)
    try:
        with open(f"{TOP}/tests/storage/setup.sh") as script:
            lab.storage.run(script.read(), 300)
    except BaseException:
        lab.close()
        raise
    return checks.run(lab, [check for check in cases.CHECKS + faults.CHECKS if chosen(check[1])])


if __name__ == "__main__":
    sys.exit(main())
