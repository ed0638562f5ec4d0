# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Checks one after the other, and what came of them. One failure does not hide others."""

import time
import traceback

from guest import GuestError


class Checks:
    """Counts what passed and failed, and says each on a line."""

    def __init__(self):
        self.start = time.monotonic()
        self.passed = self.failed = 0

    def check(self, text, function, *arguments):
        began = time.monotonic()
        try:
            function(*arguments)
        except GuestError as error:
            self.failed += 1
            print(f"FAIL {text}: {error}", flush=True)
        except Exception:
            self.failed += 1
            print(f"FAIL {text}:\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {text} ({time.monotonic() - began:.1f} s)", flush=True)

    def kernels(self, lab):
        """The kernels' logs are looked at, too."""
        self.check("nothing in the kernels' logs", silent, lab)

    def end(self):
        """Says the sum; returns the exit status."""
        print(f"{time.monotonic() - self.start:.0f} s\n{self.passed} passed, {self.failed} failed")
        return self.failed != 0


def silent(lab):
    splats = lab.splats()
    if splats:
        raise GuestError("\n".join(splats))
