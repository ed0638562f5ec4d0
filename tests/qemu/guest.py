# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A virtual machine with Debian's unmodified kernel, and commands run in it.

The kernel's console goes to a log; commands go by a second serial port to the agent in the guest. Runs inside the kit's
root, in a network namespace of its own: guests see each other and nothing else.
"""

import base64
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

# What must not stand in the kernel's log.
SPLAT = re.compile(
    r"WARNING:|BUG:|Oops|Call Trace|Kernel panic|refcount_t|unregister_netdevice: waiting|leaked|suspicious RCU"
    r"|rcu.*stall|blocked for more than|soft lockup|general protection|scheduling while atomic|panicked"
)
# What all of them are started with.
KERNEL_LINE = "loglevel=5 panic=-1 mitigations=off audit=0 net.ifnames=0"
DEAD = re.compile(r"Kernel panic|end Kernel panic|soft lockup|rcu.*stall|Attempted to kill init")


class GuestError(Exception):
    """The guest is dead, silent, or said no."""


def hardware_virtualisation():
    """/dev/kvm may be there and yet not able to run a kernel: the processor's flags decide."""
    with open("/proc/cpuinfo") as cpuinfo:
        flags = cpuinfo.read()
    return bool(re.search(r"\b(vmx|svm)\b", flags)) and os.access("/dev/kvm", os.R_OK | os.W_OK)


class Guest:
    """One guest. `STATE` is a command that tells how it is. `lan` is the path of a unix socket; the first guest listens on it. `more` are further arguments of QEMU; with
    `reboot` a guest that boots again stays what it is."""

    STATE = "ps; ip -d address; ip route; dmesg | tail -n 40"
    # Where in the kernel they wait who cannot be woken.
    STUCK = 'for p in /proc/[0-9]*; do [ "$(sed "s/.*) //; s/ .*//" $p/stat)" != D ] || { cat $p/comm; cat $p/stack; }; done 2>/dev/null'

    def __init__(
        self, name, number, lan, kernel, initramfs, directory, append=f"console=ttyS0 rdinit=/init {KERNEL_LINE}", memory=512, cpus=2,
        chipset="q35", cpu=None, nic="virtio-net-pci", more=(), reboot=False,
    ):
        self.name = name
        self.log = os.path.join(directory, f"{name}.console")
        self.transcript = open(os.path.join(directory, f"{name}.commands"), "w")
        self.path = os.path.join("/tmp", f"{name}.agent")
        self.buffer = b""
        self.count = 0
        self.agent = None
        peer = "server=on" if number == 1 else "server=off,reconnect-ms=100"
        accelerator, native = ("kvm", "host") if hardware_virtualisation() else ("tcg,thread=multi", "max")
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", chipset]
            + ([] if reboot else ["-no-reboot"])
            + ["-accel", accelerator, "-cpu", cpu or native]
            + ["-m", str(memory), "-smp", str(cpus), "-kernel", kernel, "-initrd", initramfs]
            + ["-append", append]
            + ["-serial", f"file:{self.log}"]
            + ["-chardev", f"socket,id=agent,path={self.path},server=on,wait=off", "-serial", "chardev:agent"]
            + ["-netdev", f"stream,id=lan,{peer},addr.type=unix,addr.path={lan}"]
            + ["-device", f"{nic},netdev=lan,mac=52:54:00:00:00:{number:02x},romfile="]
            + list(more),
            stdin=subprocess.DEVNULL,
            stdout=open(os.path.join(directory, f"{name}.qemu"), "w"),
            stderr=subprocess.STDOUT,
        )
        # Before the guest speaks: what it says to nobody is lost.
        self._connect()

    def console(self):
        try:
            with open(self.log, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def check_alive(self):
        dead = DEAD.search(self.console())
        if dead:
            raise GuestError(f"{self.name}: its kernel died: {dead.group(0)} (see {self.log})")
        if self.qemu.poll() is not None:
            raise GuestError(f"{self.name}: QEMU ended with status {self.qemu.returncode} (see {self.log})")

    def _line(self, deadline):
        while b"\n" not in self.buffer:
            if time.monotonic() > deadline:
                raise GuestError(f"{self.name}: no answer in time")
            try:
                data = self.agent.recv(65536)
            except TimeoutError:
                self.check_alive()
                continue
            if not data:
                self.check_alive()
                raise GuestError(f"{self.name}: QEMU closed the serial port")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def wait_up(self, timeout=120):
        """Until the agent in the guest is there."""
        deadline = time.monotonic() + timeout
        while not self._line(deadline).endswith("0=0"):
            pass

    def _connect(self):
        deadline = time.monotonic() + 10
        while self.agent is None:
            self.check_alive()
            agent = socket.socket(socket.AF_UNIX)
            try:
                agent.connect(self.path)
                self.agent = agent
            except OSError:
                agent.close()
                if time.monotonic() > deadline:
                    raise GuestError(f"{self.name}: QEMU opened no serial port")
                time.sleep(0.05)
        self.agent.settimeout(1)

    def start(self, command):
        """Gives the command to the guest; `finish` waits for it. Two guests can so work at the same time."""
        self.count += 1
        print(f"$ {command}", file=self.transcript, flush=True)
        self.agent.sendall(f"{self.count} {base64.b64encode(command.encode()).decode()}\n".encode())

    def finish(self, timeout=60):
        """(status, output) of the command that was started."""
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            line = self._line(deadline)
            if line.startswith(f"{self.count}|"):
                lines.append(line.split("|", 1)[1])
                print(lines[-1], file=self.transcript, flush=True)
            elif line.startswith(f"{self.count}="):
                status = int(line.split("=", 1)[1])
                print(f"[{status}]", file=self.transcript, flush=True)
                return status, "\n".join(lines)

    def status(self, command, timeout=60):
        self.start(command)
        return self.finish(timeout)

    def run(self, command, timeout=60):
        """Output of a command that must succeed."""
        status, output = self.status(command, timeout)
        if status != 0:
            raise GuestError(f"{self.name}: '{command}' ended with {status}:\n{output}")
        return output

    def wait_for(self, command, timeout=20):
        """Until the command succeeds, asked for again and again inside the guest."""
        self.run(f"end=$((SECONDS+{timeout})); until {command}; do [ $SECONDS -lt $end ] || exit 1; sleep 0.1; done", timeout + 30)

    def splats(self):
        """Lines of the kernel's log that must not be there."""
        text = self.console()
        if self.agent is not None and self.qemu.poll() is None:
            text += "\n" + self.status("dmesg")[1]
        return sorted({line.strip() for line in text.splitlines() if SPLAT.search(line)})

    def power_off(self):
        if self.qemu.poll() is None and self.agent is not None:
            try:
                self.start("busybox poweroff -f")
                self.qemu.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                pass
        self.kill()

    def kill(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()
        self.transcript.close()


class Bed:
    """Guests that belong together, and a directory for what they were told and said."""

    def __init__(self, directory):
        self.directory = directory
        self.guests = []
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)

    def add(self, guest):
        self.guests.append(guest)
        return guest

    def splats(self):
        """Lines of the kernels' logs that must not be there."""
        return [f"{guest.name}: {line}" for guest in self.guests for line in guest.splats()]

    def check_alive(self):
        for guest in self.guests:
            guest.check_alive()

    def explain(self):
        """After a failure: the guests say how they are, for those who read what was said."""
        for guest in self.guests:
            with contextlib.suppress(GuestError, OSError):
                guest.status(f"{guest.STUCK}; {guest.STATE}", 120)

    def close(self):
        for guest in self.guests:
            guest.kill()
