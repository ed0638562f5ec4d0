# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What must work: the command lines of the old README, and the verbs of vn, on the real things."""

import json

from machines import GuestError

CHECKS = []
PUBLIC = "tank/volumes/demo/template/public"
OS = f"{PUBLIC}/os"
IMAGES = "/var/tmp/images"
USER = "tank/demo/vm/chiradeep"
# What the storage host has: nothing of it may be left behind, nothing may be missing.
LISTS = """zfs list -H -t all -o name,origin
find /sys/kernel/config/target/core /sys/kernel/config/target/iscsi -mindepth 1 -maxdepth 2 -name '*:*' 2>/dev/null | sort
ls /sys/kernel/config/target/core 2>/dev/null | grep -v alua
ls -A /etc/exports.d 2>/dev/null
exportfs -v"""


def check(text, always=False, short=False):
    """`always`: others build on it. `short`: of the short set, as are those that others build on."""

    def register(function):
        function.always = always
        function.short = short
        CHECKS.append((text, function))
        return function

    return register


def seed(guest, line, timeout=120):
    """A line as the old README has it, but for names and addresses: run where the scripts are, as ./NAME."""
    return guest.run(f"cd /usr/local/sbin && {line}", timeout)


def equal(got, expected, what):
    if got != expected:
        raise GuestError(f"{what}: got {got!r}, expected {expected!r}")


def refused(guest, command, *words, status=2, timeout=120):
    """The command must fail, say what is expected, and hint at what to do."""
    got, output = guest.status(command, timeout)
    if got != status:
        raise GuestError(f"'{command}' ended with {got}, not {status}:\n{output}")
    for word in words:
        if word not in output:
            raise GuestError(f"'{command}' does not say {word!r}:\n{output}")
    return output


def lists(lab):
    return lab.storage.status(LISTS)[1]


def snapshots(lab):
    return lab.storage.run(f"zfs list -H -r -t snapshot -o name {OS}").split()


def target(lab, image, which="-r"):
    """The target of a disk, as listvmdisk.sh tells it."""
    line = lab.storage.run(f"listvmdisk.sh -i {image} {which}")
    volume, iqn = line.split(",")
    if not volume.startswith(image + "/"):
        raise GuestError(f"listvmdisk.sh: {line}")
    return iqn


@check("createtmplt.sh makes a template from a raw image, as the old README has it", always=True)
def template(lab):
    s = lab.storage
    s.run(f"zfs create {PUBLIC}/download && cp --sparse=always {IMAGES}/small.img /{PUBLIC}/download/")
    equal(seed(s, f"./createtmplt.sh -t {OS}/small -f /{PUBLIC}/download/small.img -n small -s 12G"), "", "what it says to no terminal")
    equal(s.run(f"zfs get -Hp -o value volsize {OS}/small/vmi-root-small"), str(12 << 30), "size of the volume")
    s.run(f"cmp -n $((40<<20)) {IMAGES}/small.img /dev/zvol/{OS}/small/vmi-root-small")
    s.run(f"test -e /{OS}/small/pygrub && grep -qx name=small /{OS}/small/template.properties")
    equal(len(snapshots(lab)), 2, "snapshots of file system and volume")
    # Zeros were not written.
    used = int(s.run(f"zfs get -Hp -o value used {OS}/small/vmi-root-small"))
    if used > 10 << 20:
        raise GuestError(f"the volume takes {used} bytes: it is not sparse")


@check("templates from qcow2, gzip, bzip2, xz and zstd hold the same bytes; checksums; -h; sizes are rounded up")
def formats(lab):
    s = lab.storage
    before = lists(lab)
    sums = s.run(f"cat {IMAGES}/small.md5 {IMAGES}/small.sha256").split()
    for suffix, options in [
        ("qcow2", f"-c {sums[1]}"),
        ("img.gz", "-h"),
        ("img.bz2", ""),
        ("img.xz", ""),
        ("img.zst", "-d words"),
        ("img", f"-c {sums[0]}"),
    ]:
        name = suffix.replace(".", "-")
        # The image is larger than what is asked for: the volume becomes as large as it must.
        s.run(f"createtmplt.sh -t {OS}/{name} -f {IMAGES}/small.{suffix} -n x -s 8M {options}", 120)
        s.run(f"cmp -n $((40<<20)) {IMAGES}/small.img /dev/zvol/{OS}/{name}/vmi-root-x")
        size = int(s.run(f"zfs get -Hp -o value volsize {OS}/{name}/vmi-root-x"))
        if size < 40 << 20 or size % (1 << 20):
            raise GuestError(f"{suffix}: the volume has {size} bytes")
        equal(s.status(f"test -e /{OS}/{name}/pygrub")[0], 1 if options == "-h" else 0, f"{suffix}: pygrub")
        s.run(f"udevadm settle; zfs destroy -r {OS}/{name}")
    equal(lists(lab), before, "what is there")


@check("vn template create takes a kernel and its initrd")
def kernel(lab):
    s = lab.storage
    s.run("echo k >/var/tmp/vmlinuz-1; echo i >/var/tmp/initrd.img-1")
    s.run(
        f"vn template create {OS}/k --file {IMAGES}/small.img --name k --size 64M --kernel /var/tmp/vmlinuz-1 --initrd /var/tmp/initrd.img-1",
        120,
    )
    equal(s.run(f"ls /{OS}/k").split(), ["initrd.img-1", "template.properties", "vmlinuz-1"], "files of the template")
    s.run(f"udevadm settle; zfs destroy -r {OS}/k")


@check("createtmplt.sh where a template is: refused, whatever is asked for, and it is as it was")
def template_again(lab):
    s = lab.storage
    # All of 12 GiB need not be read: `referenced` tells of what is written behind the image.
    contents = (f"head -c 64M /dev/zvol/{OS}/small/vmi-root-small | sha256sum; find /{OS}/small -type f -exec sha256sum {{}} + | sort;"
                f" zfs get -Hp -o property,value guid,creation,referenced,volsize,vnet:template {OS}/small/vmi-root-small")
    s.run(f"cp --sparse=always {IMAGES}/small.img {IMAGES}/other.img && echo other | dd of={IMAGES}/other.img bs=1M seek=39 conv=notrunc status=none")
    before, there = lists(lab), s.run(contents, 120)
    for options in (
        f"-f {IMAGES}/small.img -n small -s 12G",
        f"-f {IMAGES}/other.img -n small -s 64M",
        f"-f {IMAGES}/other.img -n small -s 12G -h -d words",
        f"-f {IMAGES}/other.img -n other -s 64M",
    ):
        refused(s, f"createtmplt.sh -t {OS}/small {options}", "already", "nothing was changed")
    refused(s, f"createtmplt.sh -t {OS}/small -f {IMAGES}/none.img -n small -s 12G", "No such file")
    equal(lists(lab), before, "what is there")
    equal(s.run(contents, 120), there, "what is in the template")
    s.run(f"rm {IMAGES}/other.img")


template_again.short = True


@check("createvm.sh makes two images, with a clone of a data disk, with swap, and without")
def images(lab):
    s = lab.storage
    lab.before = lists(lab)
    s.run(f"vn image create {USER}/i0008 --template {OS}/small --data-size 32M", 120)
    s.run(f"zfs create -s -V 16M {OS}/small/fedora-swap && udevadm settle && zfs snapshot -r {OS}/small@swap")
    seed(s, f"./createvm.sh -t {OS}/small -d /{PUBLIC}/datadisk/ext3-8g/ -i /{USER}/i0007 -u /{USER}")
    equal(seed(s, "./listclones.sh -p tank/demo/vm").split(), [f"{USER}/i0007", f"{USER}/i0008"], "listclones.sh")
    listed = json.loads(s.run("vn -j image list tank/demo/vm"))
    equal([image["state"] for image in listed], ["ready", "ready"], "states")
    origin = s.run(f"zfs get -Hp -o value origin {USER}/i0007")
    equal(origin in snapshots(lab), True, "the origin is the template's snapshot")


images.always = True


@check("listvmdisk.sh and listvmdisksize.sh print what the old README shows", short=True)
def disks(lab):
    s = lab.storage
    image = f"{USER}/i0007"
    iqn = target(lab, image)
    equal(seed(s, f"./listvmdisk.sh -i {image} -r"), f"{image}/vmi-root-small,{iqn}", "-r")
    equal(seed(s, f"./listvmdisk.sh -i {image} -w").split(",")[0], f"{image}/fedora-swap", "-w")
    equal(s.run(f"listvmdisk.sh -i {image} -d 0"), f"{image}/vmi-root-small,{iqn}", "-d 0")
    equal(seed(s, f"./listvmdisk.sh -i {image} -d 1").split(",")[0], f"{image}/datadisk1-ext3-8g", "-d 1")
    refused(s, f"listvmdisk.sh -i {USER}/i0008 -w", "has no swap disk")
    refused(s, f"listvmdisk.sh -i {image} -d 10", "has no data disk 10")
    equal(seed(s, f"./listvmdisksize.sh -d {image}/datadisk1-ext3-8g -t"), "8589934592", "-t")
    used = s.run(f"zfs get -Hp -o value used {image}/datadisk1-ext3-8g")
    equal(seed(s, f"./listvmdisksize.sh -d {image}/datadisk1-ext3-8g -a"), used, "-a")
    refused(s, f"listvmdisksize.sh -d {image} -t", "is a filesystem, not a volume")
    refused(s, "listvmdisk.sh -i tank/nothing -r", "there is no filesystem tank/nothing")


@check("templates are listed, and removed only where nothing is made from them, and nobody uses them", short=True)
def templates(lab):
    s = lab.storage
    listed = json.loads(s.run("vn -j template"))
    equal([(one["name"], one["state"], one["size"]) for one in listed], [(f"{OS}/small", "ready", 12 << 30)], "templates")
    equal(listed[0]["images"], [f"{USER}/i0008", f"{USER}/i0007"], "images of it, those of the older snapshot first")
    equal(listed[0]["snapshots"][-1], "swap", "the newest snapshot")
    equal(json.loads(s.run("vn -j template list tank/demo")), [], "templates elsewhere")
    before = lists(lab)
    refused(s, f"vn template delete {OS}/small", f"{USER}/i0008 was made from")
    refused(s, f"vn template delete {OS}", "holds other file systems")
    refused(s, f"vn template delete {PUBLIC}/datadisk", "is no template that vn made")
    equal(lists(lab), before, "what is there")
    # As a removal leaves it that was killed after its volume had gone.
    s.run(f"zfs create -o vnet:template=g {OS}/gone")
    equal([one["state"] for one in json.loads(s.run(f"vn -j template list {OS}/gone"))], ["deleting"], "state")
    s.run(f"createtmplt.sh -t {OS}/gone -f {IMAGES}/small.img -n g -s 64M", 120)
    equal([one["state"] for one in json.loads(s.run(f"vn -j template list {OS}/gone"))], ["ready"], "state")
    equal(s.run(f"zfs get -H -s local -o value vnet:template {OS}/gone"), "", "the mark of a removal")
    there = lists(lab)
    s.run(f"udevadm settle; mkdir -p /mnt/g && mount /dev/zvol/{OS}/gone/vmi-root-g /mnt/g")
    refused(s, f"vn template delete {OS}/gone", "is in use", "nothing was changed")
    s.run("umount /mnt/g")
    told = s.run(f"vn template delete {OS}/gone --dry-run").splitlines()
    equal(len(told), 4, f"what would go: {told}")
    equal(lists(lab), there, "what is there after a rehearsal")
    s.run(f"vn template delete {OS}/gone", 120)
    equal(lists(lab), before, "what is there")
    refused(s, f"vn template delete {OS}/gone", "there is no")
    s.run(f"vn template delete {OS}/gone --if-exists")


@check("the newest snapshot is taken, by when it was made and not by its name", always=False)
def newest(lab):
    s = lab.storage
    s.run(f"zfs snapshot -r {OS}/small@12_16_2008 && zfs snapshot -r {OS}/small@12_3_2008 && zfs snapshot -r {OS}/small@01_02_2009")
    s.run(f"vn image create {USER}/i0009 --template {OS}/small", 120)
    equal(s.run(f"zfs get -H -o value origin {USER}/i0009"), f"{OS}/small@01_02_2009", "origin")
    s.run(f"vn image delete {USER}/i0009", 120)
    for name in ("12_16_2008", "12_3_2008", "01_02_2009"):
        s.run(f"zfs destroy -r {OS}/small@{name}")


@check("what is wrong is refused, and changes nothing")
def wrong(lab):
    s = lab.storage
    before = lists(lab)
    refused(s, f"createvm.sh -t {OS}/small -i tank/demo/vm/chiradeep2/i1 -u {USER}", "is not below the user's file system")
    refused(s, f"createvm.sh -t {OS}/small -i {USER}/i0007 -u {USER}", "is there already", "hint:")
    refused(s, f"createvm.sh -t {OS}/none -i {USER}/i1 -u {USER}", "there is no filesystem")
    refused(s, f"createvm.sh -t {OS}/small@no -i {USER}/i1 -u {USER}", "there is no snapshot")
    refused(s, f"createvm.sh -t {PUBLIC}/datadisk -i {USER}/i1 -u {USER}", "has no snapshot")
    refused(s, f"createtmplt.sh -t {OS}/small -f {IMAGES}/small.img -n small -s 1G", "is there already", "nothing was changed")
    refused(s, f"createtmplt.sh -t {OS}/y -f {IMAGES}/small.img -n y -s 1G -c {'0' * 32}", "has the checksum")
    refused(s, "createvm.sh -t a/b", "Usage", status=1)
    s.run(f"vn image create {USER}/i0007 --template {OS}/small --may-exist")
    equal(lists(lab), before, "what is there")


def mount_line(lab, name, image, swap=False):
    """As the old README has it; swap with its option of that list."""
    data = f" -1 {target(lab, image, '-d 1')}"
    if swap:
        data += f" -w {target(lab, image, '-w')}"
    local = "/images/" + image.split("/", 3)[3]
    return f"mountvm.sh -m -h 192.0.2.1 -t {target(lab, image)} -l {local} -n {name} -r {image}{data}"


@check("mountvm.sh mounts both on the dom0: NFS, iSCSI, names of the disks; and again, which changes nothing")
def mount(lab):
    d = lab.dom0
    for name, image in (("vm7", f"{USER}/i0007"), ("vm8", f"{USER}/i0008")):
        line = mount_line(lab, name, image, swap=name == "vm7")
        seed(d, f"./{line}", 180)
        links = d.run("ls -l /dev/disk/by-vm")
        d.run(line, 180)
        equal(d.run("ls -l /dev/disk/by-vm"), links, "links after mounting again")
    d.run("test -e /images/chiradeep/i0007/template.properties")
    equal(d.run("blockdev --getsize64 /dev/disk/by-vm/vm7-root /dev/disk/by-vm/vm7-swap").split(), [str(12 << 30), str(16 << 20)], "sizes")
    other = mount_line(lab, "vm9", f"{USER}/i0007").replace("/i0007 -n", "/other -n")
    refused(d, other, "is logged in to", "as vm7")


mount.always = True


@check("mapiscsi.sh tells which target is which disk; blank when it has no name", short=True)
def mapped(lab):
    d = lab.dom0
    iqns = {name: target(lab, f"{USER}/{image}") for name, image in (("vm7", "i0007"), ("vm8", "i0008"))}
    lines = seed(d, "./mapiscsi.sh").splitlines()
    equal(f"{target(lab, f'{USER}/i0007', '-w')} vm7-swap" in lines, True, f"a line of the swap disk in {lines}")
    for name, iqn in iqns.items():
        equal(f"{iqn} {name}-root" in lines, True, f"a line of {name} in {lines}")
    equal(len(lines), 5, "lines")
    d.run("mv /dev/disk/by-vm/vm7-root /run/kept")
    equal(iqns["vm7"] in d.run("mapiscsi.sh").splitlines(), True, "a line without a name")
    d.run("mv /run/kept /dev/disk/by-vm/vm7-root")
    equal(len(json.loads(d.run("vn -j iscsi map"))), 5, "as JSON")


@check("a file written in one image is not in the other; by iSCSI and by NFS", short=True)
def apart(lab):
    d = lab.dom0
    d.run("mkdir -p /mnt/a && mount /dev/disk/by-vm/vm7-root /mnt/a && echo mine >/mnt/a/mine && umount /mnt/a")
    d.run("mount /dev/disk/by-vm/vm8-root /mnt/a && test ! -e /mnt/a/mine && cat /mnt/a/etc/issue; r=$?; umount /mnt/a; exit $r")
    d.run("mount /dev/disk/by-vm/vm7-root /mnt/a && cat /mnt/a/mine; r=$?; umount /mnt/a; exit $r")
    d.run("echo x >/images/chiradeep/i0007/x && test ! -e /images/chiradeep/i0008/x")
    lab.storage.run(f"test -e /{USER}/i0007/x && test ! -e /{OS}/small/x")
    d.run("mount /dev/disk/by-vm/vm7-datadisk-1 /mnt/a && umount /mnt/a")


@check("nothing is deleted while it is in use, nor a user with other images", short=True)
def in_use(lab):
    s = lab.storage
    before = lists(lab)
    refused(s, f"delvm.sh -i {USER}/i0007", "iqn.1993-08.org.debian:01:dom0 is logged in", "host 192.0.2.2 has mounted")
    refused(s, f"delvm.sh -u {USER} -i {USER}/i0007", "still holds", f"{USER}/i0008")
    refused(s, f"vn image delete {USER}/i0007 --force", "this destroys, for good", "--yes")
    equal(lists(lab), before, "what is there")


@check("unmount while busy changes nothing, and the server still knows of the mount", short=True)
def busy(lab):
    d = lab.dom0
    d.run("mount /dev/disk/by-vm/vm7-root /mnt/a")
    refused(d, "mountvm.sh -u -l /images/chiradeep/i0007", "is in use", "Nothing was changed")
    d.run("umount /mnt/a")
    refused(d, "cd /images/chiradeep/i0007 && mountvm.sh -u -l /images/chiradeep/i0007", "is in use")
    d.run("test -e /images/chiradeep/i0007/x && test -e /dev/disk/by-vm/vm7-root")
    refused(lab.storage, f"delvm.sh -i {USER}/i0007", "host 192.0.2.2 has mounted")


@check("mountvm.sh -u unmounts, also a second time, and deletes nothing")
def unmounted(lab):
    d = lab.dom0
    d.run("echo x >/images/chiradeep/i0007/x")
    seed(d, "./mountvm.sh -u -l /images/chiradeep/i0007")
    seed(d, "./mountvm.sh -u -l /images/chiradeep/i0007")
    lab.storage.run(f"test -e /{USER}/i0007/x")
    d.run("test ! -e /images/chiradeep/i0007 && test ! -e /dev/disk/by-vm/vm7-root && test -e /dev/disk/by-vm/vm8-root")
    d.run("mountvm.sh -u -l /images/chiradeep/i0008 -n vm8", 120)
    equal(d.status("iscsiadm -m session")[0], 21, "no sessions")
    left = d.status("findmnt -n -t nfs,nfs4; ls /dev/disk/by-vm /run/vn/mounts 2>/dev/null | grep vm")[1]
    equal(left, "", "what is left")


unmounted.always = True


@check("CHAP: without the secret nobody gets in, with it one does; it is on no command line")
def chap(lab):
    s, d = lab.storage, lab.dom0
    for guest in (s, d):
        guest.run("umask 077; echo 'dom0 a-long-secret' >/root/chap")
    s.run(f"vn image create {USER}/i0010 --template {OS}/small --chap-file /root/chap", 120)
    iqn = target(lab, f"{USER}/i0010")
    line = f"vn image mount --host 192.0.2.1 --remote {USER}/i0010 --local /images/c --name c --root {iqn}"
    refused(d, line, "cannot log in", "--chap-file", timeout=200)
    d.run("chmod 644 /root/chap")
    refused(d, line + " --chap-file /root/chap", "others may read it")
    d.run("chmod 600 /root/chap")
    d.run(line + " --chap-file /root/chap", 120)
    d.run("test -b /dev/disk/by-vm/c-root && vn image unmount --local /images/c", 120)
    s.run(f"vn image delete {USER}/i0010", 120)


@check("an image is removed while the NFS server's caches are marked to be emptied later", short=True)
def remembered(lab):
    """The kernel removes nothing from a cache that is emptied more than once in a second."""
    s, d = lab.storage, lab.dom0
    image = f"{USER}/i0012"
    s.run(f"vn image create {image} --template {OS}/small", 120)
    s.run("for i in $(seq 10); do for c in nfsd.fh nfsd.export; do echo 1 >/proc/net/rpc/$c/flush; done; done")
    d.run(f"mkdir -p /tmp/i && mount -t nfs -o vers=3,nolock 192.0.2.1:/{image} /tmp/i && ls /tmp/i && umount /tmp/i && rmdir /tmp/i", 60)
    s.run(f"grep -w /{image} /proc/net/rpc/nfsd.export/content && vn image delete {image}", 120)


@check("over IPv6, and only at the addresses that vnet:portals tells")
def addresses(lab):
    s, d = lab.storage, lab.dom0
    image = f"{USER}/i0011"
    for guest, number in ((s, 1), (d, 2)):
        guest.run(f"ip addr add 2001:db8::{number}/64 dev eth0 nodad")
    s.run(f"vn image create {image} --template {OS}/small --host 2001:db8::2", 120)
    iqn = target(lab, image)
    line = f"vn image mount --host 2001:db8::1 --remote {image} --local /images/six --name six --root {iqn}"
    refused(d, line, "does not say what targets it has", timeout=200)
    s.run(f"zfs set vnet:portals=2001:db8::1 {image} && vn image restore", 120)
    equal(s.run(f"ls /sys/kernel/config/target/iscsi/{iqn}/tpgt_1/np"), "[2001:db8::1]:3260", "portals")
    d.run(line, 180)
    d.run("test -b /dev/disk/by-vm/six-root && test -e /images/six/pygrub")
    refused(s, f"vn image delete {image}", "host 2001:db8::2 has mounted", "is logged in")
    # All targets are told at every address, and where they are reached.
    offered = d.run("iscsiadm -m discovery -t sendtargets -p 192.0.2.1 -o nonpersistent").splitlines()
    equal([words.split(",")[0] for words in offered if words.endswith(f" {iqn}")], ["[2001:db8::1]:3260"], "where it is reached")
    d.run("vn image unmount --local /images/six", 120)
    s.run(f"zfs set vnet:portals=192.0.2.1 {image}")
    refused(s, "vn image restore", "has 192.0.2.1:3260", "on the pool")
    s.run(f"zfs set vnet:portals=192.0.2.99 {image}")
    refused(s, "vn image restore", "this host has no address for 192.0.2.99:3260", "vnet:portals")
    s.run(f"zfs set vnet:portals=storage {image}")
    refused(s, "vn image restore", "vnet:portals", "is not an IP address")
    s.run(f"zfs inherit vnet:portals {image} && vn image restore && vn image delete {image}", 200)
    for guest, number in ((s, 1), (d, 2)):
        guest.run(f"ip addr del 2001:db8::{number}/64 dev eth0")


@check("delvm.sh removes image and user; pool, targets and exports are what they were")
def deleted(lab):
    s = lab.storage
    seed(s, f"./delvm.sh -i {USER}/i0008")
    seed(s, f"./delvm.sh -u {USER} -i {USER}/i0007")
    s.run(f"udevadm settle; zfs destroy -r {OS}/small@swap && zfs destroy {OS}/small/fedora-swap")
    equal(lists(lab), lab.before, "what is there")
    # Either option alone is enough; a user goes without images only.
    s.run(f"zfs create {USER}")
    seed(s, f"./delvm.sh -u {USER}")
    refused(s, f"delvm.sh -u {USER}", "there is no")
    refused(s, f"delvm.sh -i {USER}/i0007", "there is no")
    s.run(f"vn image delete {USER}/i0007 --if-exists")


deleted.always = True
