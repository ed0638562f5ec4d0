#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""reach.py ADDRESS SECONDS: prints when somebody answers there, in seconds since 1970.

Fifty times a second it sends a datagram to a port where nobody listens: who is there says so.
"""

import socket
import sys
import time

PAUSE = 0.02


def main():
    end = time.monotonic() + float(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((sys.argv[1], 9))
        probe.settimeout(PAUSE)
        while time.monotonic() < end:
            try:
                probe.send(b"?")
                probe.recv(1)
            except ConnectionRefusedError:
                print(f"{time.time():.3f}")
                return 0
            except TimeoutError:
                pass
            except OSError:
                # No way there, for now.
                time.sleep(PAUSE)
    return 1


if __name__ == "__main__":
    sys.exit(main())
