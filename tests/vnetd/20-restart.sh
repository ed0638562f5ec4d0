#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The end of the daemon leaves no device, a restart brings back what was configured, whether it ended well or not.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

two_customers
ctl h1 peer-new '{"addr": "192.0.2.77"}'
ctl h1 net-set '{"id": "0005", "ageing": 77000, "unknown": "flood"}'
ctl h1 varp-new "{\"net\": \"0005\", \"mac\": \"$MAC3\", \"addr\": \"192.0.2.88\"}"
ctl h1 remote-new '{"net": "0005", "addr": "192.0.2.2"}'
ctl h1 host-set '{"ttl": 9, "dscp": 10}'
ctl h1 net-new '{"id": "1:2:3:4:5:6:7:8", "ifname": "other"}' >/dev/null
on h1 ip link set vnif0005 mtu 1400
shown() {
	# What is configured, without what is only so now.
	ctl "$1" host-get | jq -cS 'del(.stats)'
	list "$1" net-get | jq -cS 'del(.stats, .ifindex, .macs, .vifs, .held, .unresolved)'
	list "$1" peer-get
	list "$1" remote-get '{"net": "0005"}' | jq -cS 'del(.macs)'
	list "$1" varp-get '{"net": "0005"}' | jq -cS 'select(.state == "static")'
}
same() { [ "$(shown h1)" = "$before" ]; }
wait_for 5 "the MTU that the kernel was given is known" test "$(ctl h1 net-get '{"id": "0005"}' | jq .mtu)" = 1400
before=$(shown h1)

rc=0
stop h1 || rc=$?
equal "SIGTERM ends it without complaint" "$rc" 0
holds "no device is left" absent h1 vnif0005
holds "nor the other" absent h1 other
holds "but the bridge" on h1 ip link show vnbr0005
never "and no socket" test -e "$WORK/h1/control"
daemon h1
holds "all is as it was" same
equal "the device is a port of its bridge" "$(on h1 ip -j link show vnif0005 | jq -r '.[0].master')" vnbr0005
reaches a1 10.0.0.2

# The bridge is made later than the daemon is started.
is_port() { [ "$(on h1 ip -j link show vnif0005 | jq -r '.[0].master')" = "$1" ]; }
stop h1
on h1 ip link del vnbr0005
daemon h1
holds "without its bridge the device is no port" is_port null
stop h1
daemon h1
on h1 ip link add vnbr0005 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
wait_for 5 "the bridge is waited for over restarts" is_port vnbr0005
on h1 ip link set vnbr0005 addrgenmode none
on h1 ip link set vnbr0005 up
on h1 ip link set v-a1 master vnbr0005
stop h1
daemon h1
holds "and saved" is_port vnbr0005
on h1 ip link set vnif0005 nomaster
no_bridge() { ! grep -aq vnbr0005 "$WORK/h1/state"; }
wait_for 5 "who takes it out of the bridge is heeded" no_bridge
on h1 ip link set vnif0005 master vnbr0005
wait_for 5 "and who puts it back" grep -aq vnbr0005 "$WORK/h1/state"
reaches a1 10.0.0.2

kill -KILL "${PIDS[h1]}"
wait "${PIDS[h1]}" || true
holds "a killed daemon leaves no device either" absent h1 vnif0005
daemon h1
holds "all is as it was" same
reaches a1 10.0.0.2

# A change that is acknowledged in the same turn in which the daemon is told to end.
holds "a change and the end at once" python3 - "$HERE" "$WORK/h1/control" "${PIDS[h1]}" <<-'END'
	import os, signal, struct, sys, time
	sys.path.insert(0, sys.argv[1])
	import client
	daemon, pid = client.Client(sys.argv[2]), int(sys.argv[3])
	op = daemon.operations["host-set"]
	os.kill(pid, signal.SIGSTOP)
	while open(f"/proc/{pid}/stat").read().rsplit(") ")[1][0] != "T":
	    time.sleep(0.01)
	daemon.send(daemon.family, client.REQUEST | client.ACK, struct.pack("=BBH", op["value"], 1, 0) + daemon.encode(op, {"ttl": 77}))
	os.kill(pid, signal.SIGTERM)
	os.kill(pid, signal.SIGCONT)
	daemon.answer()
END
rc=0
wait "${PIDS[h1]}" || rc=$?
equal "it ends well" "$rc" 0
daemon h1
equal "the change is there" "$(ctl h1 host-get | jq .ttl)" 77
ctl h1 host-set '{"ttl": 9}'
holds "all is as it was" same

# Two at a time, a taken port, a damaged state.
rc=0
on h1 "$VNETD" --socket "$WORK/h1/control" --state "$WORK/x" 2>"$WORK/said" || rc=$?
equal "a second daemon is refused" "$rc" 1
grep -q 'another vnetd has' "$WORK/said" || fail "it says why: $(cat "$WORK/said")"
rc=0
on h1 "$VNETD" --socket "$WORK/h1/other" --state "$WORK/x" 2>"$WORK/said" || rc=$?
equal "a taken port is refused" "$rc" 1
grep -q "vnetd (process ${PIDS[h1]}) has UDP port 1798" "$WORK/said" || fail "it says who: $(cat "$WORK/said")"
ok "it says who has it: $(cat "$WORK/said")"
never "no socket is left of it" test -e "$WORK/h1/other"
stop h1
head -c 100 "$WORK/h1/state" >"$WORK/cut"
cp "$WORK/h1/state" "$WORK/whole"
cp "$WORK/cut" "$WORK/h1/state"
rc=0
on h1 "$VNETD" --socket "$WORK/h1/control" --state "$WORK/h1/state" 2>"$WORK/said" || rc=$?
equal "a damaged state is refused" "$rc" 1
ok "it says so: $(cat "$WORK/said")"
holds "and kept" cmp "$WORK/cut" "$WORK/h1/state"
holds "nothing is half made" absent h1 vnif0005
daemon h1 --no-restore
equal "--no-restore begins anew" "$(list h1 net-get)" ""
stop h1

# The configuration file of the original, and options that count more than the state.
cat >"$WORK/conf" <<-'END'
	# as for the original daemon
	(vnet.add (id 0000:0000:0000:0000:0000:0000:0000:0005) (vnetif vnif0005))
	(peer.add (addr 192.0.2.66))
	(varp.mcaddr (addr 224.10.0.9) (ttl 3))
END
daemon h1 --no-restore --device eth0 -f "$WORK/conf"
equal "the file's vnet" "$(list h1 net-get | jq -r .id)" 0005
equal "the file's peer" "$(list h1 peer-get | jq -r .addr)" 192.0.2.66
equal "the file's group" "$(ctl h1 host-get | jq -r '"\(.group) \(.ttl)"')" "224.10.0.9 3"
stop h1
daemon h1 -a 224.10.0.1 -f "$WORK/conf"
equal "an option counts more" "$(ctl h1 host-get | jq -r .group)" 224.10.0.1
on h1 ip link set vnif0005 master vnbr0005 up
reaches a1 10.0.0.2
