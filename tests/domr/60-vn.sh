#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# vn on a dom0 asks the routing domain: its verbs, and the old scripts' command lines.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

world
domr
# What vn domr run would have left.
mount -t tmpfs -o mode=755 tmpfs /etc/xen
mkdir -p /etc/xen/vn/keys
chmod 700 /etc/xen/vn /etc/xen/vn/keys
cp "$WORK/key" /etc/xen/vn/keys/id_ed25519
cp "$WORK/host.pub" /etc/xen/vn/keys/domR-vnet0007.pub
cat >/etc/xen/vn/domR-vnet0007.json <<'END'
{"name": "domR-vnet0007", "role": "domr", "vnet": "0007", "image": "/images/router", "memory": 128, "nics": [],
 "address": "192.168.1.33", "flood": 0, "complete": true}
END
mkdir "$WORK/bin"
for script in vn ipassoc.sh firewall.sh; do ln -s "$BIN/vn" "$WORK/bin/$script"; done
vn() { on dom0 "$WORK/bin/vn" "$@"; }
# old COMMAND_LINE: as the old README has it.
old() {
	local words
	read -ra words <<<"$1"
	words[0]=$WORK/bin/${words[0]}
	on dom0 "${words[@]}"
}
# refused TEXT PATTERN COMMAND...: exit status 2, with the reason.
refused() {
	local text=$1 pattern=$2 said rc=0
	shift 2
	said=$("$@" 2>&1) || rc=$?
	[ "$rc" = 2 ] || fail "$text: exit status $rc, not 2: $said"
	grep -qE -- "$pattern" <<<"$said" || fail "$text: '$said', not /$pattern/"
	ok "$text: $said"
}
with_guest g1 55
serve g1 tcp 22
serve outside tcp 80
here_domr=(--domr domR-vnet0007)

# The old command lines, verbatim but for addresses.
equal "section 6" "$(old "ipassoc.sh -A -r domR-vnet0007 -i 192.168.1.33 -l $SECOND -a 06:01:02:03:06:05")" "$SECOND: added"
equal "guests come from it" "$(asks g1 $FAR 80)" "outside $SECOND 80"
equal "again" "$(old "ipassoc.sh -A -r domR-vnet0007 -i 192.168.1.33 -l $SECOND -a 06:01:02:03:06:05")" "$SECOND: is there already"
ssh_line="-i 192.168.1.33 -P tcp -p 22 -r 10.1.1.55 -l $SECOND -d 22"
equal "section 7, ssh" "$(old "firewall.sh -A $ssh_line")" "tcp $SECOND port 22 to 10.1.1.55 port 22: added"
equal "is open" "$(asks outside $SECOND 22)" "g1 203.0.113.1 22"
equal "again" "$(old "firewall.sh -A $ssh_line")" "tcp $SECOND port 22 to 10.1.1.55 port 22: is there already"
ping_line="-i 192.168.1.33 -P icmp -t echo-request -r 10.1.1.55 -l $SECOND"
equal "section 7, ping" "$(old "firewall.sh -A $ping_line")" "icmp $SECOND echo-request to 10.1.1.55: added"
equal "goes to the guest" "$(who_answers outside $SECOND)" guest
equal "a range as it was written" "$(old "firewall.sh -A -i 192.168.1.33 -P tcp -p 8021:8023 -r 10.1.1.55 -l $SECOND -d 21:23")" \
	"tcp $SECOND port 8021-8023 to 10.1.1.55 port 21-23: added"
equal "maps" "$(asks outside $SECOND 8022)" "g1 203.0.113.1 22"
refused "in use" 'domR-vnet0007 refused ip del .* is in use' old "ipassoc.sh -D -r domR-vnet0007 -i 192.168.1.33 -l $SECOND"

equal "the list" "$(vn domr firewall list "${here_domr[@]}" | tail -n +2 | sed 's/  */ /g; s/ $//')" \
	"tcp $SECOND 22 10.1.1.55 22
icmp $SECOND echo-request 10.1.1.55 -
tcp $SECOND 8021-8023 10.1.1.55 21-23"
vn -j domr firewall list --addr 192.168.1.33 >"$WORK/all"
jq '.rules |= .[:1]' "$WORK/all" >"$WORK/one"
equal "fewer of them" "$(vn -j domr firewall apply "$WORK/one" "${here_domr[@]}")" '{"changed":true}'
equal "a ping ends here" "$(who_answers outside $SECOND)" domr
equal "all of them, from standard input" "$(vn domr firewall apply - "${here_domr[@]}" <"$WORK/all")" "-: made so"
equal "a ping goes to the guest" "$(who_answers outside $SECOND)" guest
equal "again" "$(vn domr firewall apply "$WORK/all" "${here_domr[@]}")" "$WORK/all: was so already"
equal "the addresses" "$(vn domr ip list "${here_domr[@]}" | tail -n 1 | sed 's/  */ /g')" "$SECOND/32 yes"

equal "closed" "$(old "firewall.sh -D $ssh_line")" "tcp $SECOND port 22 to 10.1.1.55 port 22: removed"
never "is closed" asks outside $SECOND 22 1
equal "again" "$(old "firewall.sh -D $ssh_line")" "tcp $SECOND port 22 to 10.1.1.55 port 22: is not there"
equal "ping, too" "$(old "firewall.sh -D $ping_line")" "icmp $SECOND echo-request to 10.1.1.55: removed"
equal "by the verbs" "$(vn -j domr firewall del --proto tcp --public $SECOND --port 8021-8023 --guest 10.1.1.55 --to 21-23 "${here_domr[@]}")" \
	'{"changed":true}'
equal "the address" "$(old "ipassoc.sh -D -r domR-vnet0007 -i 192.168.1.33 -l $SECOND")" "$SECOND: removed"
equal "again" "$(vn domr ip del $SECOND --addr 192.168.1.33)" "$SECOND: is not there"
equal "guests come from the first" "$(asks g1 $FAR 80)" "outside $PUBLIC 80"
equal "a dry run does nothing" "$(vn --dry-run domr ip add $SECOND "${here_domr[@]}")" "ask domR-vnet0007: ip add $SECOND"
equal "so" "$(vn -j domr ip list "${here_domr[@]}" | jq -c .addresses)" '[]'

refused "another name" 'has no routing domain domR-vnet0008' old "ipassoc.sh -A -r domR-vnet0008 -i 192.168.1.33 -l $SECOND"
refused "another address" 'has the private address 192.168.1.33, not 192.168.1.32' old "ipassoc.sh -A -r domR-vnet0007 -i 192.168.1.32 -l $SECOND"
refused "nobody's address" 'no routing domain of this host has the private address' old "firewall.sh -A -i 192.168.1.32 -P tcp -p 22 -r 10.1.1.55 -l $PUBLIC -d 22"
refused "unequal ranges" 'mapped one to one' old "firewall.sh -A -i 192.168.1.33 -P tcp -p 20:22 -r 10.1.1.55 -l $PUBLIC -d 22"
refused "no port" 'need a port' old "firewall.sh -A -i 192.168.1.33 -P tcp -r 10.1.1.55 -l $PUBLIC"
refused "an ICMP answer" 'cannot be opened' old "firewall.sh -A -i 192.168.1.33 -P icmp -t echo-reply -r 10.1.1.55 -l $PUBLIC"
refused "an address that it does not have" 'ip add 203.0.113.77' old "firewall.sh -A -i 192.168.1.33 -P tcp -p 22 -r 10.1.1.55 -l 203.0.113.77"
refused "a set that is none" 'is no rule set' vn domr firewall apply /etc/hostname "${here_domr[@]}"
refused "no file" 'No such file' vn domr firewall apply /nonexistent "${here_domr[@]}"
for line in "ipassoc.sh -A -r gateway -i 192.168.1.33 -l $SECOND" "firewall.sh -A -i 192.168.1.33 -P tcp -p 22 -r 10.1.1.1 -l $PUBLIC" \
	"firewall.sh -A -D -i 192.168.1.33 -P tcp -p 22 -r 10.1.1.55 -l $PUBLIC"; do
	rc=0
	old "$line" >/dev/null 2>&1 || rc=$?
	equal "$line is wrong" "$rc" 1
done

# Somebody else at its address, and nobody.
sed "s/ssh-ed25519 [^ ]*/$(sed 's/ [^ ]*$//; s,/,\\/,g' "$WORK/key.pub")/" "$WORK/host.pub" >/etc/xen/vn/keys/domR-vnet0007.pub
refused "another host key" 'cannot reach the routing domain domR-vnet0007 at 192.168.1.33: .*[Hh]ost key' vn domr ip list "${here_domr[@]}"
cp "$WORK/host.pub" /etc/xen/vn/keys/domR-vnet0007.pub
stop TERM || true
refused "it does not run" 'cannot reach the routing domain domR-vnet0007 at 192.168.1.33: ' vn domr ip add $SECOND "${here_domr[@]}"
refused "the same, old name" 'cannot reach' old "firewall.sh -A $ssh_line"
