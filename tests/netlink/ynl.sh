#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The kernel's own YNL client speaks with the module from module/uapi/vnet.yaml alone: the spec is valid by the kernel's
# schema, every operation does what it says, every dump and notification decodes, and vn sees the same.
cd /src/tests/uml || exit 1
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

KERNEL=/kit/kernel/src
SPEC=/src/module/uapi/vnet.yaml
ID5=00000000000000000000000000000005
ID9=00000000000000000000000000000009

# ynl HOST ARGUMENTS...: output as JSON.
ynl() {
	local ns=$1
	shift
	on "$ns" python3 "$KERNEL/tools/net/ynl/pyynl/cli.py" --spec "$SPEC" --schema "$KERNEL/Documentation/netlink/genetlink.yaml" \
		--output-json "$@"
}
# attributes SET: how many the specification has.
attributes() {
	python3 -c '
import sys, yaml
print(len(next(s for s in yaml.safe_load(open(sys.argv[1]))["attribute-sets"] if s["name"] == sys.argv[2])["attributes"]))' "$SPEC" "$1"
}
# same TEXT GOT-JSON FILTER EXPECTED
same() { equal "$1" "$(jq -c "$3" <<<"$2")" "$4"; }
# does TEXT OP JSON: in h1
does() { holds "$1" ynl h1 --do "$2" --json "$3"; }

load
hosts 2
net h2 0005

on h1 python3 -u "$KERNEL/tools/net/ynl/pyynl/cli.py" --spec "$SPEC" --schema "$KERNEL/Documentation/netlink/genetlink.yaml" \
	--output-json --subscribe config --duration 600 >/tmp/notifications 2>/tmp/ynl.err &
listener=$!
on h1 python3 -u "$KERNEL/tools/net/ynl/pyynl/cli.py" --spec "$SPEC" --schema "$KERNEL/Documentation/netlink/genetlink.yaml" \
	--output-json --subscribe events --duration 600 >/tmp/events 2>/tmp/ynl-events.err &
watcher=$!
# It has joined when what it is told appears: a change is repeated until then.
subscribed() {
	"$VN" -n h1 peer add 192.0.2.77 && "$VN" -n h1 peer del 192.0.2.77
	grep -q peer-del-ntf /tmp/notifications
}
wait_for 20 "YNL has joined the group" subscribed

does "net-new" net-new "{\"id\":\"$ID5\",\"ageing\":60000,\"max-macs\":100}"
r=$(ynl h1 --do net-get --json "{\"id\":\"$ID5\"}")
say "$r"
same "net-get: name, ageing, limit, MTU" "$r" '[.ifname,.ageing,."max-macs",.mtu,."underlay-mtu"]' '["vnif0005",60000,100,1436,1436]'
same "net-get: id" "$r" '.id | gsub("[: ]"; "")' "\"$ID5\""
same "net-get: every counter" "$r" '.stats | length' "$(attributes net-stats)"
same "net-get: settings have names" "$r" '[.unknown,.remotes,."source-port",.probes]' '["hold","any","fixed",5]'
does "net-set" net-set "{\"id\":\"$ID5\",\"mtu\":1400}"
equal "vn sees the change" "$(net_field h1 0005 mtu)" 1400
ip -n h1 link add vnbr0005 type bridge forward_delay 0
ip -n h1 link set vnbr0005 up
ip -n h1 link set vnif0005 master vnbr0005 up
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
ip -n a2 link set eth0 mtu 1400
reaches a1 10.0.0.2

does "host-set" host-set '{"ttl":9}'
r=$(ynl h1 --do host-get)
say "$r"
same "host-get" "$r" '[.port,.ttl,.nets,.device]' '[1798,9,1,0]'
same "host-get: every counter" "$r" '.stats | length' "$(attributes host-stats)"
does "peer-new" peer-new '{"addr":"c0000202"}'
same "peer-get" "$(ynl h1 --dump peer-get)" '[.[].addr | gsub("[: ]"; "")]' '["c0000202"]'
does "peer-del" peer-del '{"addr":"c0000202"}'

does "varp-new" varp-new "{\"net\":\"$ID5\",\"mac\":\"020000000077\",\"addr\":\"c0000202\"}"
r=$(ynl h1 --dump varp-get --json "{\"net\":\"$ID5\"}")
say "$r"
same "varp-get: the static one" "$r" '[.[] | select(.mac | gsub("[: ]"; "") == "020000000077") | .state]' '["static"]'
same "varp-get: the learned one" "$r" '[.[] | select(.mac | gsub("[: ]"; "") == "020000000002") | .state]' '["learned"]'
never "varp-get wants to know of which vnet" ynl h1 --dump varp-get
does "varp-del" varp-del "{\"net\":\"$ID5\",\"mac\":\"020000000077\"}"
r=$(ynl h1 --do varp-flush --json "{\"net\":\"$ID5\"}")
holds "varp-flush says how many: $r" jq -e '.count >= 1' <<<"$r"
does "remote-new" remote-new "{\"net\":\"$ID5\",\"addr\":\"c0000209\"}"
r=$(ynl h1 --dump remote-get --json "{\"net\":\"$ID5\"}")
same "remote-get: the listed one" "$r" '[.[] | select(.listed == 1) | .addr | gsub("[: ]"; "")]' '["c0000209"]'
does "remote-del" remote-del "{\"net\":\"$ID5\",\"addr\":\"c0000209\"}"
does "an IPv6 peer" peer-new '{"addr":"20010db8000000000000000000000002"}'
does "goes again" peer-del '{"addr":"20010db8000000000000000000000002"}'
does "probe" probe "{\"net\":\"$ID5\",\"mac\":\"020000000002\"}"
asked() {
	ynl h1 --do probe --json "{\"net\":\"$ID5\",\"mac\":\"020000000002\"}"
	grep -q probe-ntf /tmp/events
}
wait_for 20 "its answer is told of" asked
same "vif-get" "$(ynl h1 --dump vif-get --json "{\"net\":\"$ID5\"}")" '[.[] | select(.mac | gsub("[: ]"; "") == "020000000001")] | length' 1

does "another vnet" net-new "{\"id\":\"$ID9\",\"ifname\":\"other\"}"
same "net-get as a dump" "$(ynl h1 --dump net-get)" '[.[].ifname] | sort' '["other","vnif0005"]'
does "net-del" net-del "{\"id\":\"$ID9\"}"
never "what is gone is refused" ynl h1 --do net-get --json "{\"id\":\"$ID9\"}"

say "$(cat /tmp/ynl.err)"
for n in net-new-ntf net-set-ntf net-del-ntf host-set-ntf peer-new-ntf peer-del-ntf varp-new-ntf varp-del-ntf varp-flush-ntf remote-new-ntf remote-del-ntf; do
	wait_for 10 "notification $n" grep -q "$n" /tmp/notifications
done
equal "one net-del-ntf for one deletion" "$(grep -o net-del-ntf /tmp/notifications | wc -l)" 1
kill $listener $watcher
