#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What fails leaves everything as it was, and says so; what ends is started again; and all is kept.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

world

# What is wrong at the start is told.
wrong() {
	local text=$1 pattern=$2 rc=0
	timeout 20 nsenter --net="/run/netns/${NS}domr" -- "$BIN/vn-domr" --root $ROOT run --cmdline "$WORK/wrong" 2>"$WORK/said" || rc=$?
	[ "$rc" = 1 ] || fail "$text: exit status $rc"
	grep -qE -- "$pattern" "$WORK/said" || fail "$text: $(cat "$WORK/said")"
	ok "$text: $(cat "$WORK/said")"
}
echo quiet >"$WORK/wrong"
wrong "no words" 'lacks eth0ip, eth0mask, .*gateway'
sed 's/eth0ip=[^ ]*/eth0ip=10.1.1.0/' "$WORK/cmdline" >"$WORK/wrong"
wrong "a wrong address" 'eth0ip: 10.1.1.0/24 is not an address of a host'
cp "$WORK/cmdline" "$WORK/wrong"
mv $ROOT/etc/vn-domr/authorized_keys "$WORK/"
wrong "no key of dom0" 'authorized_keys is missing: dom0 puts it there'
mv "$WORK/authorized_keys" $ROOT/etc/vn-domr/
never "nothing was made" on domr nft list table inet vn-domr
rc=0
said=$(here status) || rc=$?
equal "and who asks is told" "$rc $(grep -c 'is not started' <<<"$said")" "1 1"

# Devices are found by their addresses, whatever they are called, and may come late.
mac() { on domr ip -j link show "$1" | jq -r '.[0].address'; }
macs=("$(mac eth0)" "$(mac eth1)" "$(mac eth2)")
for pair in eth0:x eth2:eth0 x:eth2; do ip -n "${NS}domr" link set "${pair%:*}" name "${pair#*:}"; done
ip -n "${NS}domr" link del eth1
sed -i "s/$/ eth0mac=${macs[0]} eth1mac=${macs[1]} eth2mac=${macs[2]}/" "$WORK/cmdline"
start
waits() { grep -q 'policy drop' <(rules); }
wait_for 30 "rules are there before the devices are" waits
wire domr late dom0 eth0
ip -n "${NS}dom0" addr add 192.168.1.1/24 dev eth0
ip -n "${NS}dom0" link set eth0 up
ip -n "${NS}domr" link set late address "${macs[1]}"
wait_for 60 "it goes on when they come" both_run
equal "each has its name" "$(mac eth0) $(mac eth1) $(mac eth2)" "${macs[*]}"

with_guest g1 11
serve g1 tcp 22
changes "a port" true firewall add proto=tcp public=$PUBLIC ports=22 guest=10.1.1.11
changes "an address" true ip add $SECOND
opened() { [ "$(asks outside $PUBLIC 22)" = "g1 203.0.113.1 22" ]; }
holds "it is open" opened
rules >"$WORK/rules"
cp $ROOT/var/lib/vn-domr/state.json "$WORK/state"
ip -n "${NS}domr" addr show dev eth2 >"$WORK/addresses"
as_before() {
	rules | cmp - "$WORK/rules" && cmp $ROOT/var/lib/vn-domr/state.json "$WORK/state" &&
		ip -n "${NS}domr" addr show dev eth2 | cmp - "$WORK/addresses" && opened
}

# fails TEXT PATTERN WORDS...: without ssh, as what fails does so here only.
fails() {
	local text=$1 pattern=$2 said rc=0
	shift 2
	said=$(here "$@") || rc=$?
	[ "$rc" = 1 ] || fail "$text: exit status $rc: $said"
	jq -r .error <<<"$said" | grep -qE -- "$pattern" || fail "$text: $said"
	ok "$text: $said"
	holds "everything is as it was" as_before
}
# broken PROGRAM SCRIPT
broken() {
	printf '#!/bin/bash\n%s\n' "$2" >"$WORK/broken"
	chmod 755 "$WORK/broken"
	cp "$(command -v "$1")" "$WORK/$1"
	mount --bind "$WORK/broken" "$(readlink -f "$(command -v "$1")")"
}
whole() { umount "$(readlink -f "$(command -v "$1")")"; }
other="proto=tcp public=$PUBLIC ports=23 guest=10.1.1.11"
nft=$(readlink -f "$(command -v nft)")
cp "$nft" "$WORK/nft"
# Not when it lists, which is how these tests look.
broken nft "[ \"\$1\" = -f ] || exec $WORK/nft \"\$@\"; echo 'Error: no memory' >&2; exit 1"
# shellcheck disable=SC2086 # words
fails "nftables refuses" 'nft -f .* failed: Error: no memory$' firewall add $other
fails "an address would need other rules" 'Error: no memory' ip add 203.0.113.41
whole nft
broken nft "[ \"\$1\" = -f ] || exec $WORK/nft \"\$@\"; sleep 100"
# shellcheck disable=SC2086
fails "nftables hangs" 'did not end within 10 s' firewall add $other
whole nft
broken ip "[ \"\$*\" != 'addr replace 203.0.113.41/32 dev eth2' ] || { echo 'RTNETLINK answers: no' >&2; exit 2; }; exec $WORK/ip \"\$@\""
fails "the address cannot be given" 'RTNETLINK answers: no' ip add 203.0.113.41
whole ip
mount --bind $ROOT/var/lib/vn-domr $ROOT/var/lib/vn-domr
mount -o remount,bind,ro $ROOT/var/lib/vn-domr
# shellcheck disable=SC2086
fails "the state cannot be written: rules" 'cannot write .*state.json.*Read-only' firewall add $other
fails "the state cannot be written: addresses" 'Read-only' ip add 203.0.113.41
fails "the state cannot be written: less of them" 'Read-only' ip del $SECOND
fails "the state cannot be written: leases" 'Read-only' lease add 02:00:00:05:00:12 10.1.1.12 g2
never "not even for dnsmasq" grep -q 10.1.1.12 $ROOT/run/vn-domr/leases
umount $ROOT/var/lib/vn-domr
# shellcheck disable=SC2086
changes "when it can, it does" true firewall add $other
# shellcheck disable=SC2086
changes "and back" true firewall del $other
holds "everything is as it was" as_before

# Daemons that end.
pid() { cat "$ROOT/run/vn-domr/$1.pid"; }
for name in dnsmasq sshd; do
	old=$(pid "$name")
	kill -KILL "$old"
	anew() { [ "$(pid "$name")" != "$old" ] && kill -0 "$(pid "$name")"; }
	wait_for 30 "$name is started again" anew
	wait_for 30 "and works" both_run
done
holds "it gives addresses" lease g1

# The end, and another start.
daemons="$(pid dnsmasq) $(pid sshd)"
gone() { for p in $daemons; do ! kill -0 "$p" 2>/dev/null || return 1; done; }
stop TERM || fail "its end: $?"
ok "it ends when it is told to"
holds "with its daemons" gone
domr
holds "it has kept everything" as_before
equal "leases, too" "$(ctl lease list | jq -c '.leases[].name')" '"g1"'
holds "which it gives" lease g1
daemons="$(pid dnsmasq) $(pid sshd)"
stop KILL || true
ip -n "${NS}domr" addr flush dev eth2
on domr nft delete table inet vn-domr
domr
wait_for 30 "and all is there again" opened
holds "also after it was killed: the old daemons are gone" gone
rules >"$WORK/again"
holds "as it was" cmp "$WORK/rules" "$WORK/again"
echo '{' >$ROOT/var/lib/vn-domr/state.json
stop TERM || true
cp "$WORK/cmdline" "$WORK/wrong"
wrong "a state that cannot be read is none to begin with" 'cannot read .*state.json'
