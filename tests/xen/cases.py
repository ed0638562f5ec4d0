# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The checks of Xen's hosts, in their order. Host a has the routing domain and a guest, host b another guest of the same customer."""

import json

from guest import GuestError

IMAGE = "/images/chiradeep/i0007"
ROUTER = "/images/chiradeep/router"
GATEWAY = "192.168.1.33"
PUBLIC = "65.37.141.33"
# How a host that does not run the routing domain reaches it.
KEY = f"--gateway {GATEWAY} --gateway-key /tmp/domr.pub"
# As in the old README, but for the bridge of the public side.
RUN_DOMR = (
    'rundomr.sh  -v 0005 -m 192 -i 192.168.1.33   -g 65.37.141.1 -a aa:00:00:05:00:33  -l "domR-vnet0005" -A 06:01:02:03:04:05'
    " -p 02:01:02:03:04:05 -n 255.255.255.0 -I 65.37.141.33 -N 255.255.255.128 -b xenbr1"
    f' -d "dns1=192.168.1.254 dns2=207.69.188.186 domain=vmops.org" {ROUTER}'
)
RUN_VM = (
    "runvm.sh  -v 0005 -i 10.1.1.56  -m 256  -g 192.168.1.33 -a 02:00:00:05:00:56  -l \"centos5-2\" -c 11 -n 2 -u 66"
    f" {IMAGE}"
)
WORLD = """
xl list | awk 'NR > 1 {print $1}' | sort
ip -o link | sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/' | sort
nft list ruleset
find /etc/xen/vn /run/vn -type f 2>/dev/null | sort
pgrep -a qemu | grep -v xen-attach || true
"""


def require(condition, text):
    if not condition:
        raise GuestError(text)


def refused(host, command, words, timeout=120):
    status, output = host.status(command, timeout)
    require(status == 2 and words in output, f"{command}: status {status}, without {words!r}:\n{output}")


def listed(host):
    return {machine["name"]: machine for machine in json.loads(host.run("vn -j vm list"))}


def ask(host, address, command, timeout=60):
    """Output of a command in a guest, asked for by a plain machine on the same vnet."""
    query = command.encode().hex()
    said = host.run(f"ip netns exec probe busybox wget -q -T 20 -O- 'http://{address}/cgi-bin/run?{query}'", timeout)
    text, _, status = said.rstrip().rpartition("status ")
    require(status == "0", f"guest {address}: {command}: {said}")
    return text


def wait_guest(host, address, timeout=240):
    host.wait_for(f"ip netns exec probe busybox wget -q -T 2 -O /dev/null 'http://{address}/cgi-bin/run?{b'true'.hex()}'", timeout)


def start(lab):
    """What everything needs: what there was before, and the world outside."""
    for host in lab.guests:
        host.run("xl info >/dev/null", 300)
        host.before = host.run(WORLD, 300)
    require(lab.b.run("ping -c 2 192.168.1.101 >/dev/null && echo ok") == "ok", "no LAN")


def world_outside(lab):
    lab.a.run(
        """set -e
        ip netns add internet
        ip link add pub type veth peer name eth0 netns internet
        ip link set pub master xenbr1 up
        ip -n internet link set eth0 up
        ip -n internet link set lo up
        ip -n internet addr add 65.37.141.1/25 dev eth0
        ip -n internet addr add 8.8.8.8/32 dev lo
        mkdir -p /tmp/www; echo hello >/tmp/www/index.html
        ip netns exec internet busybox httpd -h /tmp/www -p 80"""
    )


def plain_machine(host):
    """A machine on the vnet that is no domain: a namespace on the bridge."""
    host.run(
        f"""set -e
        vn net create 5 --bridge --may-exist
        ip netns add probe
        ip link add vprobe type veth peer name eth0 netns probe
        vn port up vprobe vnbr0005
        ip -n probe link set eth0 mtu 1400 up
        ip -n probe addr add 10.1.1.{200 + host.number}/24 dev eth0"""
    )


def plain_machines(lab):
    for host in lab.guests:
        plain_machine(host)


def router(lab):
    host = lab.a
    host.run(RUN_DOMR, 400)
    machine = listed(host)["domR-vnet0005"]
    require(machine["state"] == "running" and machine["role"] == "domr" and len(machine["nics"]) == 3, str(machine))
    ports = host.run("ls /sys/class/net/vnbr0005/brif /sys/class/net/xenbr0/brif /sys/class/net/xenbr1/brif")
    for number in range(3):
        require(f"vif{machine['domid']}.{number}" in ports, ports)
    refused(host, RUN_DOMR, "there is a domain domR-vnet0005 already")
    second = RUN_DOMR.replace("-v 0005", "-v 0006").replace("domR-vnet0005", "r-2")
    refused(host, second, "domR-vnet0005 has the address 06:01:02:03:04:05 on xenbr0 already")
    # Duplicate address detection, with other MAC addresses on the same bridges.
    second = second.replace("06:01:02:03:04:05", "06:01:02:03:04:06").replace("02:01:02:03:04:05", "02:01:02:03:04:06")
    for address, words in (
        ("192.168.1.33", "192.168.1.33"),
        ("192.168.1.101", "192.168.1.101 is in use on xenbr0, by this host"),
        ("192.168.1.102", "192.168.1.102 is in use on xenbr0, by 52:54:00:00:00:02"),
    ):
        refused(host, second.replace("192.168.1.33", address), words)
    require("vnbr0006" not in host.run("ip -o link"), "the vnet of a refused start is left")


def guest_without_console(lab):
    """The shortest way: a guest on a vnet of its own, and gone again."""
    host = lab.a
    host.run(f"vn vm run {IMAGE} --net 9 --name plain-1 --mac 02:00:00:09:00:09 --ip 10.1.1.9 --memory 256 --cpus 1", 300)
    machine = listed(host)["plain-1"]
    require(machine["state"] == "running" and machine["type"] == "pv" and machine["vnet"] == "0009", str(machine))
    vif = f"vif{machine['domid']}.0"
    require(sorted(host.run("ls /sys/class/net/vnbr0009/brif").split()) == sorted(["vnif0009", vif]), "its bridge")
    require("police" in host.run(f"tc filter show dev {vif} ingress"), "there is no limit on floods")
    refused(host, "vn net cleanup -v 9", "attached to bridges")
    host.run("vn vm stop plain-1 --timeout 120 && vn net cleanup -v 9", 300)
    require("plain-1" not in listed(host), "it is still listed")


def guest_on_a(lab):
    host = lab.a
    said = host.run(RUN_VM, 300)
    require("the console has the old password" in said, said)
    machine = listed(host)["centos5-2"]
    require(machine["state"] == "running" and machine["vnet"] == "0005", str(machine))
    require(machine["console"] == {"listen": "0.0.0.0", "display": 11} and machine["type"] == "pv", str(machine))
    vif = f"vif{machine['domid']}.0"
    require(vif in host.run("ls /sys/class/net/vnbr0005/brif"), "the guest is not on its bridge")
    require("police" in host.run(f"tc filter show dev {vif} ingress"), "there is no limit on floods")
    require(host.run("stat -c %a /etc/xen/vn/centos5-2.cfg") == "600", "everybody can read the configuration")
    require("66" in host.run("xl sched-credit2 -d centos5-2 || xl sched-credit -d centos5-2"), "no cap")
    wait_guest(host, "10.1.1.56")
    # Those count that the guest's kernel has brought up.
    require(listed(host)["centos5-2"]["vcpus"] == 2, str(listed(host)))


def guest_by_dhcp(lab):
    lease = ask(lab.a, "10.1.1.56", "cat /lease").split()
    require(lease[:2] == ["10.1.1.56", "10.1.1.1"], str(lease))


def what_is_refused(lab):
    host = lab.a
    refused(host, RUN_VM, "there is a domain centos5-2 already")
    refused(host, RUN_VM.replace("centos5-2", "other"), "centos5-2 has the console 11 already")
    refused(host, RUN_VM.replace("centos5-2", "other").replace("-c 11", "-c 12"), "has the address 02:00:00:05:00:56 on vnbr0005 already")
    refused(host, RUN_VM.replace(IMAGE, "/images/none"), "cannot read the image directory")
    for wrong in ("10.1.1.1", "10.1.1.300"):
        status, said = host.status(RUN_VM.replace("10.1.1.56", wrong))
        require(status == 1, f"{wrong}: {status}: {said}")
    status, said = host.status(RUN_VM.replace("centos5-2", "gateway"))
    require(status == 1 and "gateway is the name of the routing domain" in said, said)


def console(lab):
    host = lab.a
    seen = host.run("python3 /vnc.py 127.0.0.1 11 password", 120)
    width, count = seen.split()
    require("x" in width and int(count) > 100000, seen)
    status, said = host.status("python3 /vnc.py 127.0.0.1 11 wrong", 120)
    require(status == 1 and "refused" in said, f"a wrong password: {status} {said}")
    status, said = host.status("python3 /vnc.py 127.0.0.1 11 ''", 120)
    require(status == 1, f"no password: {status} {said}")


def guest_on_b(lab):
    host = lab.b
    # The installation's keys are on all its hosts.
    keys = lab.a.run("tar -C /etc/xen/vn/keys -c id_ed25519 id_ed25519.pub domR-vnet0005.pub | base64 -w0")
    host.run(f"mkdir -p -m 700 /etc/xen/vn/keys; echo {keys} | base64 -d | tar -C /etc/xen/vn/keys -x; mv /etc/xen/vn/keys/domR-vnet0005.pub /tmp/domr.pub")
    said = host.run(
        f"vn -j vm run {IMAGE} --net 5 --name i-2 --mac 02:00:00:05:00:57 --ip 10.1.1.57 --memory 256 --cpus 1 --console 3 {KEY}", 300
    )
    started = json.loads(said.splitlines()[-1])
    require(len(started["password"]) == 8, said)
    require(host.run(f"python3 /vnc.py 127.0.0.1 3 {started['password']}", 120), "no screen")
    wait_guest(host, "10.1.1.57")


def between_hosts(lab):
    said = ask(lab.a, "10.1.1.56", "ping -c 3 -w 20 10.1.1.57 && wget -q -O- http://10.1.1.57/cgi-bin/run?" + b"echo from b".hex())
    require("from b" in said, said)
    require("0% packet loss" in ask(lab.b, "10.1.1.57", "ping -c 3 -w 20 10.1.1.56"), "b to a")
    require("10.1.1.56" in ask(lab.b, "10.1.1.56", "ip addr"), "a plain machine of b to a's guest")


def out_by_nat(lab):
    require("hello" in ask(lab.a, "10.1.1.56", "wget -q -T 20 -O- http://8.8.8.8/"), "a's guest has no way out")
    require("hello" in ask(lab.b, "10.1.1.57", "wget -q -T 20 -O- http://8.8.8.8/"), "b's guest has no way out")


def port_opened(lab):
    """Reached from outside and, by its public address, from inside; and closed again."""
    a = lab.a
    query = b"echo from a".hex()
    outside = f"ip netns exec internet busybox wget -q -T 10 -O- 'http://{PUBLIC}/cgi-bin/run?{query}'"
    status, said = a.status(outside)
    require(status != 0, f"it is open before anybody opened it: {said}")
    rule = f"-i {GATEWAY} -P tcp -p 80 -r 10.1.1.56 -l {PUBLIC} -d 80"
    a.run(f"firewall.sh -A {rule}")
    require("is there already" in a.run(f"firewall.sh -A {rule}"), "the second time is not told")
    require("from a" in a.run(outside), "it is not open")
    require("from a" in ask(lab.b, "10.1.1.57", f"wget -q -T 10 -O- 'http://{PUBLIC}/cgi-bin/run?{query}'"), "not open from inside")
    openings = json.loads(a.run("vn -j domr firewall list --domr domR-vnet0005"))
    require("10.1.1.56" in json.dumps(openings), str(openings))
    a.run(f"vn domr firewall del --domr domR-vnet0005 --proto tcp --public {PUBLIC} --port 80 --guest 10.1.1.56")
    status, said = a.status(outside)
    require(status != 0, f"it is still open: {said}")


def another_customer(lab):
    """The same addresses on another vnet; neither sees the other."""
    host = lab.a
    host.run(f"vn vm run {IMAGE} --net 6 --name c-2 --mac 02:00:00:05:00:56 --ip 10.1.1.56 --memory 256 --cpus 1", 300)
    machines = listed(host)
    require(machines["c-2"]["vnet"] == "0006" and machines["centos5-2"]["state"] == "running", str(machines))
    ports = host.run("ls /sys/class/net/vnbr0006/brif").split()
    require(sorted(ports) == sorted(["vnif0006", f"vif{machines['c-2']['domid']}.0"]), str(ports))
    require("10.1.1.56" in ask(host, "10.1.1.56", "ip addr"), "the first customer's guest is gone")
    host.run("vn vm stop c-2 --force && vn net cleanup -v 6", 120)


def reboot(lab):
    host = lab.a
    before = listed(host)["centos5-2"]["domid"]
    host.run("vn vm reboot centos5-2 --timeout 240", 300)
    after = listed(host)["centos5-2"]
    require(after["domid"] != before and after["state"] == "running", str(after))
    require("police" in host.run(f"tc filter show dev vif{after['domid']}.0 ingress"), "the limit on floods is gone")
    wait_guest(host, "10.1.1.56")


def fails(lab):
    """xl that fails, hangs, or is not there: nothing is left behind."""
    host = lab.a
    run = f"vn vm run {IMAGE} --net 7 --name f-1 --mac 02:00:00:07:00:01 --ip 10.1.1.7 --memory 256 --cpus 1"
    before = host.run(WORLD, 300)
    fake = "d=$(mktemp); cat >$d; chmod 755 $d; mount --bind $d /usr/sbin/xl; {}; s=$?; umount /usr/sbin/xl; exit $s"
    # A wrapper that goes by its own name.
    real = "mkdir -p /tmp/real && cp -L /usr/sbin/xl /tmp/real/xl"
    host.run(real)
    for script, words in (
        ("#!/bin/sh\\n[ $1 = create ] && { echo no memory >&2; exit 3; }\\nexec /tmp/real/xl \"$@\"", "no memory"),
        ("#!/bin/sh\\n[ $1 = list ] && exit 1\\nexec /tmp/real/xl \"$@\"", "does Xen run here"),
        ("#!/bin/sh\\necho nonsense", "did not print what is known"),
        ("#!/bin/sh\\nexec sleep 1000", "did not end within 30 s"),
    ):
        refused(host, f"printf '{script}\\n' | ( {fake.format(run)} )", words, 200)
        require(host.run(WORLD, 300) == before, f"something is left behind: {words}")
    # Xen's own refusal: more memory than there is; and a kernel that is none.
    refused(host, run.replace("256", "100000"), "xl create")
    require(host.run(WORLD, 300) == before, "something is left behind by Xen's refusal")
    host.run("mkdir -p /images/bad; echo x >/images/bad/vmlinuz-x; echo x >/images/bad/initrd-x")
    refused(host, run.replace(IMAGE, "/images/bad"), "xl create")
    require(host.run(WORLD, 300) == before, "something is left behind by a kernel that is none")
    refused(host, f"mv /usr/sbin/xl /usr/sbin/xl.away; {run}; s=$?; mv /usr/sbin/xl.away /usr/sbin/xl; exit $s", "xl is in none of")
    require(host.run(WORLD, 300) == before, "something is left behind without xl")


def killed(lab):
    """vn is killed in the middle; the same command again does all of it."""
    host = lab.a
    run = f"vn vm run {IMAGE} --net 7 --name k-1 --mac 02:00:00:07:00:01 --ip 10.1.1.7 --memory 256 --cpus 1"
    host.run(f"{run} & p=$!; until [ -e /etc/xen/vn/k-1.cfg ]; do kill -0 $p || exit 1; sleep 0.05; done; kill -9 $p; wait $p; true", 120)
    require(listed(host)["k-1"]["state"] == "half-made", "it was not cut off")
    said = host.run(run, 300)
    require("was cut off" in said, said)
    require(listed(host)["k-1"]["state"] == "running", "it does not run")
    host.run("vn vm stop k-1 --force && vn net cleanup -v 7", 120)


def was_ready(host, address):
    """When a guest was ready, by the host's clock, or a little earlier. The guest knows it by its own clock, which it is asked for:
    the question came when it was sent, or later."""
    times = []
    for _ in range(5):
        sent = float(host.run("echo $EPOCHREALTIME"))
        ready, now = ask(host, address, "cat /ready; cut -d' ' -f1 /proc/uptime").split()
        times.append(sent + float(ready) - float(now))
    return max(times)


def moved(lab):
    """Destroyed on one host and started on the other, it keeps its address, and what spoke to it finds it when it is up."""
    a, b = lab.a, lab.b
    require("10.1.1.56" in ask(a, "10.1.1.56", "ip addr"), "it does not run")
    # Who speaks to it knows its MAC address: that is found by the vnet, and not by ARP, which asks once a second.
    a.run("ip -n probe neigh replace 10.1.1.56 lladdr 02:00:00:05:00:56 dev eth0 nud permanent")
    a.run("stopvm.sh -f -l centos5-2", 120)
    a.start("ip netns exec probe python3 /reach.py 10.1.1.56 400")
    b.run(f"vn vm run {IMAGE} --net 5 --name centos5-2 --mac 02:00:00:05:00:56 --ip 10.1.1.56 --memory 256 --cpus 1 {KEY}", 300)
    status, said = a.finish(430)
    require(status == 0, "it was never reached")
    wait_guest(a, "10.1.1.56")
    require("10.1.1.56" in ask(a, "10.1.1.56", "cat /lease"), "it has another address")
    late = float(said) - was_ready(a, "10.1.1.56")
    print(f"     reached {late:.2f} s after it was ready, at the most", flush=True)
    require(late <= 1, f"reached late: {late}")
    require("192.168.1.102" in a.run("vn varp get 5 02:00:00:05:00:56"), "host a sends elsewhere")


def stop(lab):
    b = lab.b
    said = b.run("stopvm.sh -l centos5-2", 200)
    require("destroyed" not in said, f"it did not shut down by itself: {said}")
    require("centos5-2" not in listed(b), "it is still listed")
    require("does not exist: nothing to stop" in b.run("stopvm.sh -l centos5-2"), "a second stop")
    b.run("vn vm stop i-2", 200)


def as_before(lab):
    lab.a.run("stopvm.sh -f -l domR-vnet0005", 120)
    for host in lab.guests:
        host.run("ip netns del probe; ip link show vprobe >/dev/null 2>&1 && ip link del vprobe; vnetcleanup.sh -v 0005; true")
        host.run("ip netns del internet 2>/dev/null; ip link del pub 2>/dev/null; rm -f /etc/xen/vn/keys/id_ed25519*; true")
        after = host.run(WORLD, 300)
        require(after == host.before, f"{host.name} was\n{host.before}\nand is\n{after}")


for needed in (start, guest_without_console, world_outside, plain_machines, router, guest_on_a, guest_on_b):
    needed.always = True

CHECKS = [
    ("Xen runs, and the hosts see each other", start),
    ("vn vm run: a guest without a console", guest_without_console),
    ("a fake internet", world_outside),
    ("vn port up: a plain machine is on the vnet", plain_machines),
    ("rundomr.sh: a routing domain, and addresses in use", router),
    ("runvm.sh: a guest, its bridge, limits and files", guest_on_a),
    ("the guest has its address from the routing domain", guest_by_dhcp),
    ("what is refused", what_is_refused),
    ("VNC: the screen with the right password only", console),
    ("vn vm run: a guest on the other host", guest_on_b),
    ("guests of two hosts reach each other", between_hosts),
    ("guests reach the internet by source NAT", out_by_nat),
    ("a port opened for a guest, and closed again", port_opened),
    ("another customer with the same addresses", another_customer),
    ("vn vm reboot", reboot),
    ("xl fails, hangs, is missing: nothing is left", fails),
    ("vn is killed: the same command again", killed),
    ("a guest that moves to the other host", moved),
    ("stopvm.sh", stop),
    ("everything is as before", as_before),
]
