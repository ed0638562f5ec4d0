# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What the first processes of the kernels under test share (tests/uml/init, tests/debug/init). The root is the kit's, read-only;
# what may be written is in memory.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for d in /dev/shm /tmp /run /var/tmp; do
	[ -d $d ] || mkdir $d
	mount -t tmpfs -o mode=1777 tmpfs $d
done
mkdir -p /run/netns
ln -s /proc/self/fd /dev/fd
ip link set lo up
echo 1 >/proc/sys/kernel/printk_devkmsg 2>/dev/null

# run_case CASE DIRECTORY: runs the case and cleans up after it; output, the kernel's log and the exit status go to the directory,
# the status last.
run_case() {
	local out=$2 p status
	cd /src/tests/uml || return 1
	timeout -k 5 "${VNET_CASE_TIMEOUT:-3600}" bash -eu "$1" >"$out/output" 2>&1 </dev/null
	status=$?
	# What the case left running ends first, then its namespaces go, then the module.
	{
		for p in /proc/[0-9]*; do
			[ "${p#/proc/}" -le 2 ] || [ ! -s "$p/cmdline" ] || [ "${p#/proc/}" = $$ ] || kill -9 "${p#/proc/}"
		done 2>/dev/null
		ip -all netns delete
		if [ -d /sys/module/vnet ] && ! rmmod vnet; then
			echo "not ok - the module cannot be unloaded after the case"
			status=1
		fi
		ip -o link | grep -v ' lo: '
	} >>"$out/output" 2>&1
	rm -rf /tmp/* /run/netns/*
	dmesg -c >"$out/dmesg"
	echo "$status" >"$out/status"
	sync
}
