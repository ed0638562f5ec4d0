#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn export and vn apply: the whole configuration in one file; what is applied works, twice is no change, all or nothing.
#
# h1 with a1, h2 with a2, vnet 0005
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

load
hosts 3
apply() {
	local h=$1
	shift
	"$VN" -n "$h" apply "$@"
}
for i in 1 2; do
	cat >"/tmp/h$i.toml" <<-END
		[host]
		device = "eth0"
		ttl = 9
		peers = ["192.0.2.$((3 - i))"]

		[[net]]
		id = "0005"
		bridge = "vnbr0005"
		mtu = 1400
		ageing = 60000
		unknown = "drop"
		remotes = "listed"
		listed = ["192.0.2.$((3 - i))"]

		[net.static]
		"02:00:00:00:00:77" = "192.0.2.9"
	END
	apply "h$i" "/tmp/h$i.toml" >"/tmp/made$i"
	vm "a$i" "h$i" 0005 "10.0.0.$i" "02:00:00:00:00:0$i"
done
reaches a1 10.0.0.2
equal "what was done is said" "$(tr '\n' ';' </tmp/made1)" \
	"~ host device none -> eth0;~ host ttl 64 -> 9;+ peer 192.0.2.2;+ net 0005;+ bridge vnbr0005;"
equal "applied twice is no change" "$(apply h1 /tmp/h1.toml)" ""
equal "nor with --prune" "$(apply h1 --prune /tmp/h1.toml)" ""
"$VN" -n h1 export >/tmp/exported
equal "nor is what was exported" "$("$VN" -n h1 export | apply h1 --prune -)" ""
for line in 'device = "eth0"' 'ttl = 9' 'peers = \["192.0.2.2"\]' 'id = "0005"' 'bridge = "vnbr0005"' 'mtu = 1400' \
	'ageing = 60000' 'unknown = "drop"' 'listed = \["192.0.2.2"\]' '"02:00:00:00:00:77" = "192.0.2.9"'; do
	holds "exported: $line" grep -qx "$line" /tmp/exported
done
never "what is the default is not" grep -q 'max-macs\|probes\|ifname' /tmp/exported

# The same file makes the same elsewhere.
apply h3 /tmp/exported >/dev/null
equal "h3 is like h1" "$("$VN" -n h3 export)" "$(cat /tmp/exported)"
ip -n h3 link add other type dummy
echo '# nothing' | apply h3 - --prune --dry-run >/tmp/dry
equal "a dry run says what would go" "$(tr '\n' ';' </tmp/dry)" "- peer 192.0.2.2;- net 0005;- bridge vnbr0005;"
equal "and changes nothing" "$("$VN" -n h3 export)" "$(cat /tmp/exported)"
equal "an empty file removes nothing" "$(echo | apply h3 -)" ""
echo | apply h3 - --prune >/dev/null
equal "but with --prune" "$("$VN" -n h3 -j net list)$("$VN" -n h3 -j peer list)" "[][]"
holds "also the bridge" absent h3 vnbr0005
holds "and nothing else" ip -n h3 link show other

# A change while guests talk; and the guests' bridge is not taken away.
sed -e 's/^ttl.*/ttl = "inherit"/' -e 's/^ageing.*//' -e 's/"drop"/"flood"/' /tmp/h1.toml >/tmp/changed
equal "minimal changes" "$(apply h1 /tmp/changed | tr '\n' ';')" \
	"~ host ttl 9 -> inherit;~ net 0005 ageing 60000 -> 300000;~ net 0005 unknown drop -> flood;"
reaches a1 10.0.0.2
echo >/tmp/empty
refused "guests stay" 'vnbr0005.*v-a1' -n h1 apply /tmp/empty --prune
reaches a1 10.0.0.2

# What could not be restored is not begun.
printf '[[net]]\nid = "0008"\nbridge = "vnbr0008"\n' | apply h3 - >/dev/null
ip -n h3 addr add 10.8.0.1/24 dev vnbr0008
refused "a bridge with an address" 'vnbr0008 would be deleted, and has 10\.8\.0\.1' -n h3 apply /tmp/empty --prune
holds "it is still there" "$VN" -n h3 net show 0008
ip -n h3 addr flush dev vnbr0008
apply h3 /tmp/empty --prune >/dev/null
holds "and goes without it" absent h3 vnbr0008

# All or nothing: the last step fails, as the name of the device is taken.
ip -n h1 link add taken type dummy
"$VN" -n h1 export >/tmp/before
cat /tmp/before - >/tmp/bad <<-END
	[[net]]
	id = "0006"
	bridge = "vnbr0006"

	[[net]]
	id = "0007"
	ifname = "taken"
END
sed -i 's/^port.*/port = 11798/' /tmp/bad
refused "a device's name that is taken" 'nothing was changed: cannot create vnet 0007' -n h1 apply /tmp/bad
equal "nothing was changed" "$("$VN" -n h1 export)" "$(cat /tmp/before)"
holds "no bridge is left" absent h1 vnbr0006
reaches a1 10.0.0.2

# A signal that waits from the beginning is found before the first step.
cat /tmp/before - >/tmp/more <<-END
	[[net]]
	id = "0006"
	bridge = "vnbr0006"
END
rc=0
python3 -c 'import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])' "$VN" -n h1 apply /tmp/more >/tmp/said 2>&1 || rc=$?
equal "vn ends as when it is refused" "$rc" 2
holds "and says why: $(grep '^vn:' /tmp/said)" grep -q '^vn: nothing was changed: interrupted by SIGTERM' /tmp/said
equal "nothing was changed by it" "$("$VN" -n h1 export)" "$(cat /tmp/before)"

# Who made it was ended before it was done: the same again puts device and bridge up.
"$VN" -n h1 export >/tmp/same
ip -n h1 link set vnif0005 down
ip -n h1 link set vnbr0005 down
equal "what is down is put up" "$(apply h1 /tmp/same | tr '\n' ';')" "~ bridge vnbr0005 up;~ net 0005 up;"
reaches a1 10.0.0.2

refused "a wrong file" 'line 2: .*prot' -n h1 apply - < <(printf '[host]\nprot = 5\n')
refused "no file" 'no.such' -n h1 apply /no.such
echo | apply h1 - --prune --force >/dev/null
equal "all gone by force" "$("$VN" -n h1 -j net list)" "[]"
holds "the guest's interface stays" ip -n h1 link show v-a1

# Who reads what is said may be gone: it is done all the same.
printf '\n[[net]]\nid = "0099"\n' >/tmp/one.toml
python3 -c 'import os, subprocess, sys; r, w = os.pipe(); os.close(r); sys.exit(subprocess.call(sys.argv[1:], stdout=w))' \
	"$VN" -n h3 apply /tmp/one.toml
equal "applied, though nobody listens" "$("$VN" -n h3 -j net list | jq -r '.[].id')" 0099
