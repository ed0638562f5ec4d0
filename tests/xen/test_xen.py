#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""test_xen.py [NAME...]: virtual machines and routing domains on real Xen. Each check is a function of cases.py, run in their order:
all of them, or those with a name and what must come before. What the hosts were told and said is in build/xen/."""

import os
import sys
import time
import traceback

from lab import GuestError, Lab

import cases


def main():
    wanted = sys.argv[1:]
    start = time.monotonic()
    passed = failed = 0
    lab = Lab(int(os.environ.get("VNET_XEN_HOSTS", "2")), print)
    try:
        for text, function in cases.CHECKS:
            if wanted and function.__name__ not in wanted and not getattr(function, "always", False):
                continue
            missing = cases.missing(lab, function)
            if missing:
                print(f"SKIP {text}: {missing}", flush=True)
                continue
            began = time.monotonic()
            try:
                function(lab)
                passed += 1
                print(f"ok   {text} ({time.monotonic() - began:.1f} s)", flush=True)
            except GuestError as error:
                failed += 1
                print(f"FAIL {text}: {error}", flush=True)
            except Exception:
                failed += 1
                print(f"FAIL {text}:\n{traceback.format_exc()}", flush=True)
        splats = lab.splats()
        if splats:
            failed += 1
            print("FAIL the kernels' logs have:\n" + "\n".join(splats))
        else:
            passed += 1
            print("ok   nothing in the kernels' logs")
    finally:
        lab.close()
    print(f"{time.monotonic() - start:.0f} s\n{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
