# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
# Makes, on the storage host, the pool and the images of the tests: a root file system that boots, in all formats.
set -eu
modprobe zfs
# A pool is imported at boot from the cache file.
zpool create -o cachefile=/etc/zfs/zpool.cache -O mountpoint=/tank tank /dev/vdb
systemctl enable --quiet zfs-import-cache.service zfs-mount.service zfs.target zfs-import.target zfs-volumes.target nfs-server.service
systemctl start zfs-volumes.target
dir=/var/tmp/images
rm -rf "$dir" && mkdir -p "$dir"
cd "$dir"
mkdir -p root/bin root/dev root/proc root/sys root/etc root/tmp root/boot
cp /usr/bin/busybox root/bin/busybox
for a in sh mount cat ls; do ln -s busybox "root/bin/$a"; done
ln -s bin root/sbin
printf '#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sys /sys\nexec sh\n' >root/bin/init
chmod 755 root/bin/init
echo "a small Linux" >root/etc/issue
truncate -s 40M small.img
mkfs.ext4 -q -F -L small -d root small.img
gzip -k small.img
bzip2 -k small.img
xz -1 -k small.img
zstd -q -k small.img
qemu-img convert -f raw -O qcow2 small.img small.qcow2
md5sum small.img | cut -d' ' -f1 >small.md5
sha256sum small.qcow2 | cut -d' ' -f1 >small.sha256
# A data disk to clone, as the old README has one.
zfs create -p tank/volumes/demo/template/public/datadisk
zfs create -s -V 8G tank/volumes/demo/template/public/datadisk/ext3-8g
udevadm wait --timeout=60 /dev/zvol/tank/volumes/demo/template/public/datadisk/ext3-8g
mkfs.ext4 -q -L data /dev/zvol/tank/volumes/demo/template/public/datadisk/ext3-8g 64M
udevadm settle
zfs snapshot tank/volumes/demo/template/public/datadisk/ext3-8g@one
zfs create -p tank/demo/vm
zfs create -p tank/volumes/demo/template/public/os
zfs set vnet:initiators=iqn.1993-08.org.debian:01:dom0 vnet:hosts=192.0.2.2 tank/demo/vm
# A test takes the power away.
sync
