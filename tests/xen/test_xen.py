#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""test_xen.py [NAME...]: virtual machines and routing domains on real Xen. Each check is a function of cases.py, run in their order:
all of them, or those with a name and what must come before. What the hosts were told and said is in build/xen/."""

import sys

from hosts import Lab

import cases
import checks


def main():
    wanted = sys.argv[1:]

    def chosen(function):
        return not wanted or function.__name__ in wanted or getattr(function, "always", False)

    return checks.run(Lab(print), [check for check in cases.CHECKS if chosen(check[1])])


if __name__ == "__main__":
    sys.exit(main())
