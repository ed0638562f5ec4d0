# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Checks one after the other, and what came of them. One failure does not hide others."""

import time
import traceback

from guest import GuestError


def run(bed, checks):
    """Runs the checks, which are pairs of a text and a function of the bed, and looks at the kernels' logs; closes the bed. Returns
    the exit status."""
    count = Count()
    try:
        for text, function in checks:
            count.check(text, function, bed)
            # A guest that is dead fails all that comes after.
            bed.check_alive()
        count.check("nothing in the kernels' logs", silent, bed)
    except GuestError as error:
        count.failed += 1
        print(f"FAIL {error}", flush=True)
    finally:
        bed.close()
    return count.end()


class Count:
    """Counts what passed and failed, and says each on a line."""

    def __init__(self):
        self.start = time.monotonic()
        self.passed = self.failed = 0

    def check(self, text, function, bed):
        began = time.monotonic()
        try:
            function(bed)
        except Exception as error:
            self.failed += 1
            why = f" {error}" if isinstance(error, GuestError) else f"\n{traceback.format_exc()}"
            print(f"FAIL {text}:{why}", flush=True)
            bed.explain()
        else:
            self.passed += 1
            print(f"ok   {text} ({time.monotonic() - began:.1f} s)", flush=True)

    def end(self):
        """Says the sum; returns the exit status."""
        print(f"{time.monotonic() - self.start:.0f} s\n{self.passed} passed, {self.failed} failed")
        return self.failed != 0 or self.passed == 0


def silent(bed):
    splats = bed.splats()
    if splats:
        raise GuestError("\n".join(splats))
