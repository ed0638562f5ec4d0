# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What must fail well: nothing is lost, the error is clear, the same command again does it."""

import os
import re

from cases import IMAGES, OS, equal, lists, mount_line, refused, target
from machines import GuestError

CHECKS = []
USER = "tank/demo/vm/faults"
# Each is killed before it is carried out: programs are started by clone3 or vfork, steps of vn itself are the others.
CALLS = ["clone3", "mkdir", "symlink", "rename", "unlink", "rmdir"]
# Every n-th of them; 0 is one of all, in the middle.
STEP = int(os.environ.get("VNET_STORAGE_STEP", "8"))
SIGNALS = {"INT": 130, "TERM": 143}


def check(text, short=False):
    def register(function):
        function.short = short
        CHECKS.append((text, function))
        return function

    return register


@check("image truncated, or not an image: refused, nothing is left", short=True)
def not_whole(lab):
    s = lab.storage
    before = lists(lab)
    s.run(
        f"""set -e; cd {IMAGES}
        head -c 30000000 small.img >cut.img
        for packed in gz bz2 xz zst; do head -c 500000 small.img.$packed >cut.$packed; done
        head -c 2000000 small.qcow2 >cut.qcow2
        gzip <cut.img >short.gz
        seq 100000 >text.img
        : >empty.img"""
    )
    for name, words in [
        ("cut.img", "is truncated"),
        ("cut.gz", "unexpected end of file"),
        ("cut.zst", "premature end"),
        ("cut.xz", "Unexpected end of input"),
        ("cut.bz2", "ends unexpectedly"),
        ("cut.qcow2", "damaged or truncated"),
        ("short.gz", "is truncated"),
        ("text.img", "is not an image"),
        ("empty.img", "is not an image"),
        ("none.img", "No such file"),
        ("root", "is not a file"),
    ]:
        refused(s, f"createtmplt.sh -t {OS}/bad/deep -f {IMAGES}/{name} -n bad -s 64M", words)
    equal(lists(lab), before, "what is there")


@check("pool full in mid-copy: a clear error, only what this run made is removed, and it works when there is room")
def full(lab):
    s = lab.storage
    s.run(f"cd {IMAGES} && rm -f cut.* && cp small.img big.img && truncate -s 300M big.img && dd if=/dev/urandom of=big.img bs=1M seek=40 count=200 conv=notrunc status=none", 200)
    s.run(f"zfs create {OS}/mine && echo precious >/{OS}/mine/file && echo old >/{OS}/mine/template.properties")
    room = int(s.run("zfs get -Hp -o value available tank"))
    s.run(f"zfs create -V {(room - (120 << 20)) >> 20}M tank/ballast")
    before = lists(lab)
    for where in (f"{OS}/mine", f"{OS}/new/deep"):
        refused(s, f"createtmplt.sh -t {where} -f {IMAGES}/big.img -n big -s 300M", "is the pool tank full?", "hint: zpool list", timeout=400)
        equal(lists(lab), before, "what is there")
    equal(s.run(f"cat /{OS}/mine/file /{OS}/mine/template.properties"), "precious\nold", "files of the file system")
    s.run("udevadm settle; zfs destroy tank/ballast")
    told = s.run(f"script -qec 'createtmplt.sh -t {OS}/mine -f {IMAGES}/big.img -n big -s 300M' /dev/null", 400)
    if not re.search(r"\d MiB copied, [0-9.]+ MiB/s, \d+ %, \d+:\d\d left", told):
        raise GuestError(f"on a terminal it tells no progress: {told!r}")
    s.run(f"cmp -n $((300<<20)) {IMAGES}/big.img /dev/zvol/{OS}/mine/vmi-root-big && cat /{OS}/mine/file", 200)


@check("speed: a template as fast as qemu-img convert to the same volume, 1.2 x; an image of a larger template is no slower")
def speed(lab):
    s = lab.storage

    def seconds(command):
        return float(s.run(f"udevadm settle; sync; s=$EPOCHREALTIME; ({command}) >&2 || exit 1; e=$EPOCHREALTIME; "
                           "echo $(( (${e/./} - ${s/./}) / 1000 ))", 400).splitlines()[-1]) / 1000

    ours, theirs = [], []
    for _ in range(3):
        theirs.append(seconds(
            "zfs create -p -s -V 300M tank/q/v && udevadm wait --timeout=60 /dev/zvol/tank/q/v"
            f" && qemu-img convert -n -f raw -O raw {IMAGES}/big.img /dev/zvol/tank/q/v && sync /dev/zvol/tank/q/v"
        ))
        s.run("udevadm settle; zfs destroy -r tank/q")
        ours.append(seconds(f"createtmplt.sh -t {OS}/speed -f {IMAGES}/big.img -n v -s 300M"))
        s.run(f"udevadm settle; zfs destroy -r {OS}/speed")
    images = {}
    for name, template in (("small", "small"), ("big", "mine")):
        images[name] = min(seconds(f"vn image create tank/demo/vm/u/{name}{n} --template {OS}/{template}") for n in range(3))
    print(f"     template: vn {ours}, qemu-img {theirs}, ratio {min(ours) / min(theirs):.2f}; image: {images}")
    for name in ("small", "big"):
        for n in range(3):
            s.run(f"vn image delete tank/demo/vm/u/{name}{n}", 120)
    s.run("zfs destroy tank/demo/vm/u")
    if min(ours) > 1.2 * min(theirs):
        raise GuestError(f"a template took {min(ours)} s, qemu-img {min(theirs)} s")
    if images["big"] > 1.5 * images["small"]:
        raise GuestError(f"images: {images}")


@check("two creates of the same image at once: one is made, the other is refused", short=True)
def twice(lab):
    s = lab.storage
    before = lists(lab)
    line = f"vn image create {USER}/two --template {OS}/small"
    output = s.run(f"({line}; echo rc=$?) >/tmp/1 2>&1 & ({line}; echo rc=$?) >/tmp/2 2>&1 & wait; cat /tmp/1 /tmp/2", 120)
    equal(sorted(re.findall(r"rc=\d", output)), ["rc=0", "rc=2"], output)
    if "is there already" not in output:
        raise GuestError(output)
    target(lab, f"{USER}/two")
    s.run(f"delvm.sh -u {USER} -i {USER}/two", 120)
    equal(lists(lab), before, "what is there")


def calls(guest, command, timeout):
    """How often vn does each of CALLS while it does the whole of the work."""
    guest.run(f"strace -qq -o /tmp/calls -e trace={','.join(CALLS)} {command}", timeout)
    names = guest.run("cut -d'(' -f1 /tmp/calls").split()
    return {call: names.count(call) for call in CALLS if call in names}


def with_signal(guest, command, signal, call, when, timeout):
    return guest.status(f"strace -qq -o /dev/null -e trace={call} -e inject={call}:signal={signal}:when={when} {command}", timeout)


def killed_at_each_step(lab, guest, command, after, undone=None, timeout=300, start=None):
    """Runs it whole; then again and again, each time killed before a later call; then again, whole. After each whole run comes
    `after`, which looks and brings back what was. Where one kill stands for all, `start` says before which program.

    Then the same with the signals that people send: a command that takes its steps back says so, and `undone` looks whether it did."""

    def again(how):
        status, output = guest.status(command, timeout)
        # Killed after its last step: it is there.
        if status != 0 and not (status == 2 and "is there already" in output):
            raise GuestError(f"again after {how}: status {status}:\n{output}")
        try:
            after(lab)
        except GuestError as error:
            raise GuestError(f"after {how} and again: {error}") from error

    found = calls(guest, command, timeout)
    after(lab)
    most = found["clone3"]
    if STEP:
        points = [(call, when) for call, count in found.items() for when in range(1, count + 1, STEP)]
    else:
        points = [("clone3", start or most // 2)]
    killed = 0
    for call, when in points:
        status, output = with_signal(guest, command, "KILL", call, when, timeout)
        # It waits for others a little less or longer, and may have ended before.
        if status not in (0, 137):
            raise GuestError(f"killed at {call} {when}: status {status}:\n{output}")
        killed += status == 137
        again(f"KILL at {call} {when}")
    told = 0
    for signal, when in (("INT", most // 2), ("TERM", most * 3 // 4)) if STEP else (("TERM", most * 2 // 3),):
        status, output = with_signal(guest, command, signal, "clone3", when, timeout)
        if status == 2 and f"interrupted by SIG{signal}" in output:
            told += 1
        elif status not in (0, SIGNALS[signal]) or (undone and status):
            raise GuestError(f"SIG{signal} at clone3 {when}: status {status}:\n{output}")
        if undone and status == 2:
            undone(lab)
        again(f"SIG{signal} at clone3 {when}")
    print(f"     calls {found}; killed {killed} times, interrupted and undone {told} times")
    if killed == 0 or (undone and told == 0):
        raise GuestError("it was never killed, or never interrupted")


@check("vn killed at each step of template create, then the same command again", short=True)
def killed_template(lab):
    before = lists(lab)

    def after(lab):
        lab.storage.run(f"cmp -n $((40<<20)) {IMAGES}/small.img /dev/zvol/{OS}/kill/vmi-root-k && test -e /{OS}/kill/pygrub")
        lab.storage.run(f"udevadm settle; zfs destroy -r {OS}/kill")
        equal(lists(lab), before, "what is there")

    killed_at_each_step(lab, lab.storage, f"createtmplt.sh -t {OS}/kill -f {IMAGES}/small.img -n k -s 64M", after, lambda lab: equal(lists(lab), before, "what is there"))


@check("vn killed at each step of template delete, then the same command again")
def killed_template_delete(lab):
    s = lab.storage
    create = f"createtmplt.sh -t {OS}/kill -f {IMAGES}/small.img -n k -s 64M"
    before = lists(lab)
    s.run(create, 120)

    def after(lab):
        equal(lists(lab), before, "what is there")
        s.run(create, 120)

    killed_at_each_step(lab, s, f"vn template delete {OS}/kill --if-exists", after)
    s.run(f"vn template delete {OS}/kill", 120)


@check("vn killed at each step of image create, then the same command again", short=True)
def killed_image(lab):
    before = lists(lab)

    def after(lab):
        iqn = target(lab, f"{USER}/kill")
        offered = lab.dom0.run("iscsiadm -m discovery -t sendtargets -p 192.0.2.1 -o nonpersistent")
        equal(iqn in offered, True, "the target is offered")
        lab.storage.run(f"exportfs -v | grep -q {USER}/kill")
        lab.storage.run(f"delvm.sh -u {USER} -i {USER}/kill", 120)
        equal(lists(lab), before, "what is there")

    killed_at_each_step(lab, lab.storage, f"vn image create {USER}/kill --template {OS}/small", after, lambda lab: equal(lists(lab), before, "what is there"))


@check("vn killed at each step of image delete, then the same command again", short=True)
def killed_delete(lab):
    s = lab.storage
    before = lists(lab)
    delete = f"vn image delete {USER}/kill --if-exists"
    create = f"vn image create {USER}/kill --template {OS}/small --may-exist"
    s.run(create, 120)

    def after(lab):
        equal(s.status(f"zfs list {USER}/kill 2>/dev/null")[0], 1, "the image is gone")
        s.run(f"zfs destroy {USER}")
        equal(lists(lab), before, "what is there")
        s.run(create, 120)

    killed_at_each_step(lab, s, delete, after)
    s.run(f"delvm.sh -u {USER} -i {USER}/kill", 120)
    equal(lists(lab), before, "what is there")


def image(lab, name):
    lab.storage.run(f"vn image create {USER}/{name} --template {OS}/small --data-size 32M --may-exist", 120)
    return f"{USER}/{name}"


def clean(lab, name):
    """The dom0 has nothing of an image."""
    left = lab.dom0.status("iscsiadm -m session; iscsiadm -m node; findmnt -n -t nfs; ls /images/faults /dev/disk/by-vm /run/vn/mounts")[1]
    left = [line for line in left.splitlines() if not re.match(r"iscsiadm: No|ls: cannot|/.*:$|$", line)]
    equal(left, [], f"what {name} has left on the dom0")


@check("vn killed at each step of image mount, then the same command again; unmount leaves nothing", short=True)
def killed_mount(lab):
    d = lab.dom0
    line = mount_line(lab, "vmk", image(lab, "k"))

    def after(lab):
        d.run("test -b /dev/disk/by-vm/vmk-root && test -b /dev/disk/by-vm/vmk-datadisk-1 && test -e /images/faults/k/pygrub")
        d.run("mountvm.sh -u -l /images/faults/k", 120)
        clean(lab, "mount")

    killed_at_each_step(lab, d, line, after, lambda lab: clean(lab, "mount"))


@check("vn killed at each step of image unmount, then the same command again", short=True)
def killed_unmount(lab):
    d = lab.dom0
    line = mount_line(lab, "vmk", image(lab, "k"))
    d.run(line, 120)

    def after(lab):
        clean(lab, "unmount")
        d.run(line, 120)

    # Before umount: by then the kernel was asked whether it could be unmounted.
    killed_at_each_step(lab, d, "mountvm.sh -u -l /images/faults/k", after, start=1)
    d.run("mountvm.sh -u -l /images/faults/k", 120)


PORTS = "for t in /sys/kernel/config/target/iscsi/iqn.*; do {} $t/tpgt_1/np/0.0.0.0:3260; done"


@check("target port closed, or the target of one disk gone, during the mount: what was done is undone, and it works later")
def closed(lab):
    s, d = lab.storage, lab.dom0
    line = mount_line(lab, "vmk", image(lab, "k"))
    s.run(PORTS.format("rmdir"))
    refused(d, line, "does not say what targets it has", "3260", timeout=200)
    clean(lab, "mount")
    s.run(PORTS.format("mkdir"))
    data = target(lab, f"{USER}/k", "-d 1")
    s.run(f"rmdir /sys/kernel/config/target/iscsi/{data}/tpgt_1/np/0.0.0.0:3260")
    refused(d, line, "does not offer target", timeout=200)
    clean(lab, "mount")
    s.run("vn image restore", 120)
    # What is started before the login, and closes the port while iscsiadm logs in.
    port = f"/sys/kernel/config/target/iscsi/{data}/tpgt_1/enable"
    s.run(f"(end=$((SECONDS+100)); until grep -q 'InitiatorName' /sys/kernel/config/target/iscsi/{target(lab, f'{USER}/k')}/tpgt_1/acls/*/info"
          f" || [ $SECONDS -ge $end ]; do :; done; echo 0 >{port}) >/dev/null 2>&1 &")
    status, output = d.status(line, 300)
    if status == 0:
        # The port was closed only after the login.
        raise GuestError("the login was faster than the port was closed")
    if "cannot log in" not in output and "does not offer" not in output and "no disk of" not in output:
        raise GuestError(output)
    clean(lab, "mount")
    s.run("vn image restore", 120)
    d.run(line, 120)
    d.run("mountvm.sh -u -l /images/faults/k", 120)


# Writes record after record, each of them 4096 bytes with its number, and notes it when it is on the disk of the other side.
WRITER = """(n=0; while [ -e /tmp/write ]; do n=$((n+1))
    printf '%-4095s\\n' $n | dd of={to} bs=4096 seek=$(({start}+n-1)) iflag=fullblock conv=notrunc,fsync status=none || break
    echo $n >>/tmp/acked.{name}; done; echo end >>/tmp/ended) >/tmp/log.{name} 2>&1 &"""
RECORDS = "seq -f %-4095.0f {count} | cmp - <(dd if={of} bs=4096 skip={start} count={count} status=none)"


@check("storage host killed in mid-write and back: targets and exports come back, and what was acknowledged is there", short=True)
def power_cut(lab):
    s, d = lab.storage, lab.dom0
    image(lab, "cut")
    d.run(mount_line(lab, "vmk", f"{USER}/cut"), 120)
    # Name; where it is on the dom0, where on the storage host; the record at which it starts.
    root, data = (s.run(f"listvmdisk.sh -i {USER}/cut {which}").split(",")[0] for which in ("-r", "-d 1"))
    writers = [
        ("root", "/dev/disk/by-vm/vmk-root", f"/dev/zvol/{root}", 10240),
        ("data", "/dev/disk/by-vm/vmk-datadisk-1", f"/dev/zvol/{data}", 0),
        ("file", "/images/faults/cut/records", f"/{USER}/cut/records", 0),
    ]
    # To wait for the storage host is what is wanted here.
    d.run("echo 0 >/proc/sys/kernel/hung_task_timeout_secs; rm -f /tmp/acked.* /tmp/ended; touch /tmp/write")
    for name, here, _, start in writers:
        d.run(WRITER.format(to=here, name=name, start=start))
    d.wait_for("[ -e /tmp/acked.root ] && [ -e /tmp/acked.data ] && [ -e /tmp/acked.file ] && [ $(cat /tmp/acked.* | wc -l) -ge 60 ]", 200)
    # Made just before: what a verb has said to be done is there, too.
    s.run(f"vn image create {USER}/late --template {OS}/small", 120)
    acked = [int(d.run(f"tail -n 1 /tmp/acked.{name}")) for name, *_ in writers]
    s.reset()
    s.came_back()
    s.run("end=$((SECONDS+120)); until systemctl is-active -q vn-storage nfs-server; do [ $SECONDS -lt $end ] || exit 1; sleep 0.5; done", 200)
    # On the storage host itself: no initiator writes again what was acknowledged to it.
    for (name, _, there, start), count in zip(writers, acked):
        s.run(f"{RECORDS.format(of=there, start=start, count=count)} || {{ echo {name}: of {count} records; exit 1; }}", 120)
    late = target(lab, f"{USER}/late")
    s.run(f"test -d /sys/kernel/config/target/iscsi/{late}/tpgt_1/np/0.0.0.0:3260 && exportfs -s | grep -qE '^/{USER}/late([[:space:]]|$)'")
    # Each of them goes on, and none has seen an error.
    for (name, *_), count in zip(writers, acked):
        d.wait_for(f"[ -e /tmp/ended ] || [ $(tail -n 1 /tmp/acked.{name}) -gt {count + 2} ]", 300)
    d.run("rm /tmp/write")
    d.wait_for("[ $(cat /tmp/ended | wc -l) = 3 ]", 120)
    equal(d.run("cat /tmp/log.*"), "", "errors of the writers")
    d.run("echo 3 >/proc/sys/vm/drop_caches")
    counts = []
    for (name, here, _, start), count in zip(writers, acked):
        counts.append(int(d.run(f"tail -n 1 /tmp/acked.{name}")))
        if counts[-1] <= count:
            raise GuestError(f"{name} was not written on")
        d.run(RECORDS.format(of=here, start=start, count=counts[-1]), 120)
    print(f"     records acknowledged before {acked}, and in all {counts}")
    refused(s, f"delvm.sh -i {USER}/cut", "is logged in")
    d.run("mountvm.sh -u -l /images/faults/cut", 120)
    clean(lab, "mount")
    s.run(f"vn image delete {USER}/late && delvm.sh -i {USER}/cut", 120)
    if s.status(f"zfs list {USER}/k 2>/dev/null")[0] == 0:
        s.run(f"vn image delete {USER}/k", 120)
    s.run(f"delvm.sh -u {USER}")
