# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""vnetd beside other programs that carry Ethernet in UDP, on this machine's own kernel.

Two hosts are namespaces joined by veth; each contender has a TAP device in both, with the same MTU, and an address on it. All run at
the same time, and are measured in turn.
"""

import contextlib
import os
import signal
import subprocess
import time

from guests import BUILD, TOP, Failure, cpu_seconds, processes, reset

BENCH = "/kit/bench"
ENVIRONMENT = dict(os.environ, LD_LIBRARY_PATH=f"{BENCH}/usr/lib/x86_64-linux-gnu")
SOCKETS = f"{BUILD}/sockets"
VN = f"{TOP}/build/bin/vn"
# Third byte of the address, and the device.
CONTENDERS = {"veth": ("192.0.2", "eth0"), "vnetd": ("10.5.0", "vnif0005"), "tinc": ("10.8.0", "tinc0"), "openvpn": ("10.9.0", "ovpn0")}
OVERHEAD = 64


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Pair:
    """Two hosts, with everything between them."""

    def __init__(self, mtu):
        self.mtu, self.started, self.daemons = mtu, [], []
        self.names = [f"bench{os.getpid()}-{mtu}-{n}" for n in (1, 2)]
        self.work = f"{BUILD}/daemons-{mtu}"

    def on(self, number, *command):
        return ["nsenter", f"--net=/run/netns/{self.names[number - 1]}", "--", *command]

    def start(self, number, name, *command, daemon=True):
        with open(f"{self.work}/{name}{number}.log", "w") as log:
            process = subprocess.Popen(self.on(number, *command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT)
        self.started.append(process)
        if daemon:
            self.daemons.append((name, process.pid))

    def until(self, what, works, seconds=60):
        end = time.monotonic() + seconds
        while not works():
            if time.monotonic() > end:
                raise Failure(f"{what} did not come about: see {self.work}")
            time.sleep(0.05)

    def answers(self, number, *command):
        return subprocess.run(self.on(number, *command), capture_output=True).returncode == 0

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        reset(self.work)
        first, second = self.names
        for name in self.names:
            run("ip", "netns", "add", name)
            run(*self.on(self.names.index(name) + 1, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"))
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", first, "link", "add", "eth0", "mtu", str(self.mtu), "type", "veth", "peer", "name", "eth0", "netns", second, "mtu", str(self.mtu))
        for number in (1, 2):
            self.address(number, "veth")
        for number in (1, 2):
            self.vnetd(number)
            self.tinc_configure(number)
        for number in (1, 2):
            self.tinc(number)
            self.openvpn(number)
            for contender in ("vnetd", "tinc", "openvpn"):
                device = CONTENDERS[contender][1]
                self.until(f"{contender}'s device", lambda: self.answers(number, "ip", "link", "show", device))
                self.address(number, contender)
        self.start(2, "take", SOCKETS, "take", "0.0.0.0:5201", daemon=False)
        self.start(2, "echo", SOCKETS, "echo", "0.0.0.0:7", daemon=False)
        self.until("a server", lambda: b":5201" in subprocess.run(self.on(2, "ss", "-ltn"), capture_output=True).stdout)
        for contender, (prefix, _) in CONTENDERS.items():
            self.until(f"{contender}'s tunnel", lambda: self.answers(1, "ping", "-q", "-c", "1", "-W", "1", f"{prefix}.2"))

    def address(self, number, contender):
        prefix, device = CONTENDERS[contender]
        name = self.names[number - 1]
        mtu = self.mtu - (OVERHEAD if contender != "veth" else 0)
        run("ip", "-n", name, "link", "set", device, "mtu", str(mtu), "up")
        run("ip", "-n", name, "addr", "add", f"{prefix}.{number}/24", "dev", device)

    def vnetd(self, number):
        path = f"/tmp/{self.names[number - 1]}"
        self.start(number, "vnetd", f"{TOP}/build/bin/vnetd", "--socket", path, "--state", f"{self.work}/state{number}", "--device", "eth0",
                   "--group", "none")
        vn = [VN, "--via", "vnetd", "--vnetd-socket", path]
        self.until("vnetd", lambda: self.answers(number, *vn, "host", "status"))
        run(*self.on(number, *vn, "host", "set", "--flood", "peers"))
        run(*self.on(number, *vn, "peer", "add", f"192.0.2.{3 - number}"))
        run(*self.on(number, *vn, "net", "create", "0005"))

    def tinc_configure(self, number):
        place = f"{self.work}/tinc{number}"
        os.makedirs(f"{place}/hosts", exist_ok=True)
        with open(f"{place}/tinc.conf", "w") as conf:
            conf.write(f"Name = h{number}\nMode = switch\nInterface = tinc0\nDeviceType = tap\nPingTimeout = 30\nProcessPriority = normal\n")
            conf.write("ConnectTo = h1\n" if number == 2 else "")
        with open(f"{place}/hosts/h{number}", "w") as host:
            host.write(f"Address = 192.0.2.{number}\nCipher = none\nDigest = none\nMACLength = 0\nCompression = 0\n")
        run(f"{BENCH}/usr/sbin/tincd", "-c", place, "-K2048", stdin=subprocess.DEVNULL, env=ENVIRONMENT)

    def tinc(self, number):
        place, other = f"{self.work}/tinc{number}", f"{self.work}/tinc{3 - number}"
        with open(f"{other}/hosts/h{3 - number}") as theirs, open(f"{place}/hosts/h{3 - number}", "w") as copy:
            copy.write(theirs.read())
        self.start(number, "tinc", f"{BENCH}/usr/sbin/tincd", "-c", place, "-D", "-d1", f"--pidfile={place}/pid")

    def openvpn(self, number):
        # Without key and certificates there is no handshake, and nothing is signed or encrypted.
        self.start(number, "openvpn", f"{BENCH}/usr/sbin/openvpn", "--dev", "ovpn0", "--dev-type", "tap", "--proto", "udp", "--local",
                   f"192.0.2.{number}", "--remote", f"192.0.2.{3 - number}", "--port", "1194", "--cipher", "none", "--auth", "none", "--tun-mtu",
                   str(self.mtu - OVERHEAD), "--mssfix", "0", "--fast-io", "--verb", "3")

    def cpu_of(self, contender):
        """Seconds that the contender's daemons have used."""
        every = processes()
        return sum(every[pid][1] for name, pid in self.daemons if name == contender and pid in every)

    def measured(self, contender, measure):
        """The answer of a program, with the seconds that everything (cpu), and the daemons alone, have used."""
        before, theirs = cpu_seconds(os.getpid()), self.cpu_of(contender)
        figure = measure(CONTENDERS[contender][0] + ".2")
        figure["daemons"] = self.cpu_of(contender) - theirs
        # Programs that have ended are counted as children of this one.
        figure["cpu"] = cpu_seconds(os.getpid()) - before
        return figure

    def tcp(self, address, seconds, streams):
        size, nanos = run(*self.on(1, SOCKETS, "give", f"{address}:5201", str(seconds), str(streams))).split()
        return {"bytes": int(size), "ns": int(nanos)}

    def udp(self, address, seconds, size=64):
        port = "9"
        counter = subprocess.Popen(self.on(2, SOCKETS, "count", f"{address}:{port}", str(seconds)), stdout=subprocess.PIPE, text=True)
        try:
            self.until("the counter", lambda: f":{port} ".encode() in subprocess.run(self.on(2, "ss", "-lun"), capture_output=True).stdout)
            sent = run(*self.on(1, SOCKETS, "blast", f"{address}:{port}", str(seconds + 0.1), str(size)))
            arrived = int(counter.communicate(timeout=30)[0])
        finally:
            counter.kill()
            counter.wait()
        return {"sent": int(sent), "arrived": arrived, "seconds": seconds}

    def latency(self, address, count):
        p50, p99 = run(*self.on(1, SOCKETS, "ask", f"{address}:7", str(count))).split()
        return {"p50": int(p50), "p99": int(p99)}

    def __exit__(self, *_):
        for process in self.started:
            process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"/tmp/{name}")


def daemons(figures, rounds, length, say):
    """TCP, UDP and latency through each program, in turn."""
    if not os.path.exists("/dev/net/tun"):
        raise Failure("there is no /dev/net/tun: load the kernel's driver tun")
    seconds, count = (0.1, 100) if length == "short" else (1, 5000)
    mtus = (1500,) if length == "short" else (1500, 9000)
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(Pair(mtu)) for mtu in mtus]
        for number in range(1, rounds + 1):
            say(f"round {number}")
            for pair in pairs:
                for contender in CONTENDERS:
                    for streams in (1, 4):
                        figures.add(f"daemons/tcp/{pair.mtu}/{streams}/{contender}",
                                    pair.measured(contender, lambda address: pair.tcp(address, seconds, streams)))
            for contender in CONTENDERS:
                figures.add(f"daemons/udp/{contender}", pairs[0].measured(contender, lambda address: pairs[0].udp(address, seconds)))
                figures.add(f"daemons/latency/{contender}", pairs[0].measured(contender, lambda address: pairs[0].latency(address, count)))


