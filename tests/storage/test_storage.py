#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""test_storage.py [--short] [NAME...]: templates, images and disks on real OpenZFS, LIO, NFS and open-iscsi, in two guests.

Each check is a function of cases.py or faults.py, run in their order: all of them, or those with a name and what must come
before; with --short those of the short set. One failure does not hide others. What the guests were told and said is in build/storage/.
"""

import sys
import time
import traceback

from lab import TOP, GuestError, Lab

import cases
import faults


def main():
    short = "--short" in sys.argv[1:]
    wanted = [name for name in sys.argv[1:] if name != "--short"]
    start = time.monotonic()
    passed = failed = 0
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
