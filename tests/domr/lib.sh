# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What the cases share: a routing domain and what is around it, as namespaces.
#
#   guests ─ g1 10.1.1.11, g2 10.1.1.12 …
#      │
#   eth0 10.1.1.1   domr   eth1 192.168.1.33 ─ dom0 192.168.1.1
#                   eth2
#                203.0.113.33 ─ outside 203.0.113.1, and 198.51.100.1 behind it, with a name server
#
# A case runs in a mount namespace of its own. What vn-domr reads and writes is below /mnt.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BIN=${BIN:-/src/build/bin}
ROOT=/mnt
PUBLIC=203.0.113.33
SECOND=203.0.113.40
FAR=198.51.100.1
CMDLINE="quiet eth0ip=10.1.1.1 eth0mask=255.255.255.0 eth1ip=192.168.1.33 eth1mask=255.255.255.0 eth2ip=$PUBLIC \
eth2mask=255.255.255.0 gateway=203.0.113.1 dns1=$FAR domain=vmops.org"
export PUBLIC SECOND FAR HERE
WORK=$(mktemp -d)
# With this prefix, so that nothing of anybody else is touched.
NS=dr$$-

# shellcheck source=tests/case.sh
. "$HERE/../case.sh"
set -e
trap clean EXIT

clean() {
	trap - ERR
	set +e
	# shellcheck disable=SC2046 # numbers
	[ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null
	remove_namespaces
	wait
	rm -rf "$WORK"
}

# wire NAME DEVICE PEER_NAME PEER_DEVICE
wire() { ip -n "$NS$1" link add "$2" type veth peer name "$4" netns "$NS$3"; }

# world: everything but the routing domain's program.
world() {
	local n
	mount -t tmpfs -o mode=755 tmpfs $ROOT
	# With the namespaces' names.
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p $ROOT/etc/vn-domr
	for n in domr lan dom0 outside; do
		ip netns add "$NS$n"
		ip -n "$NS$n" link set lo up
	done
	wire domr eth0 lan domr
	wire domr eth1 dom0 eth0
	wire domr eth2 outside eth0
	ip -n "${NS}lan" link add lan type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	ip -n "${NS}lan" link set lan up
	ip -n "${NS}lan" link set domr master lan up
	ip -n "${NS}dom0" addr add 192.168.1.1/24 dev eth0
	ip -n "${NS}dom0" link set eth0 up
	ip -n "${NS}outside" addr add 203.0.113.1/24 dev eth0
	ip -n "${NS}outside" addr add $FAR/32 dev lo
	ip -n "${NS}outside" link set eth0 up
	ssh-keygen -q -t ed25519 -N '' -C dom0 -f "$WORK/key"
	ssh-keygen -q -t ed25519 -N '' -C domr -f "$WORK/host"
	cp "$WORK/host" $ROOT/etc/vn-domr/ssh_host_ed25519_key
	cp "$WORK/key.pub" $ROOT/etc/vn-domr/authorized_keys
	echo "[192.168.1.33]:3922 $(cat "$WORK/host.pub")" >"$WORK/known_hosts"
	cat >"$WORK/ssh_config" <<-END
		Host *
			Port 3922
			User root
			IdentityFile $WORK/key
			IdentitiesOnly yes
			UserKnownHostsFile $WORK/known_hosts
			GlobalKnownHostsFile /dev/null
			StrictHostKeyChecking yes
			BatchMode yes
			ConnectTimeout 10
			LogLevel ERROR
	END
	echo "$CMDLINE" >"$WORK/cmdline"
}

# start: vn-domr, without waiting for it.
start() {
	nsenter --net="/run/netns/${NS}domr" -- "$BIN/vn-domr" --root $ROOT run --cmdline "$WORK/cmdline" 2>>"$WORK/domr.log" &
	DOMR=$!
}
# domr: starts it and waits until it answers.
domr() {
	start
	wait_for 60 "the routing domain answers" both_run
}
both_run() { ctl status | jq -e '.running | .dnsmasq and .sshd and .rules'; }
# stop [SIGNAL]
stop() {
	local rc=0
	kill -"${1:-TERM}" "$DOMR"
	wait "$DOMR" || rc=$?
	return $rc
}

# ctl WORDS...: as dom0 says them.
ctl() { on dom0 ssh -F "$WORK/ssh_config" 192.168.1.33 "$@"; }
# here WORDS...: the same without ssh.
here() { on domr "$BIN/vn-domr" --root $ROOT ctl "$@"; }
# changes TEXT true|false WORDS...
changes() {
	local text=$1 wanted=$2 said
	shift 2
	said=$(ctl "$@") || fail "$text: $* said $said"
	[ "$(wc -l <<<"$said")" = 1 ] || fail "$text: $* said more than a line: $said"
	[ "$(jq .changed <<<"$said")" = "$wanted" ] || fail "$text: $* said $said"
	ok "$text"
}
# refuses TEXT PATTERN WORDS...
refuses() {
	local text=$1 pattern=$2 said rc=0
	shift 2
	said=$(ctl "$@") || rc=$?
	[ "$rc" = 1 ] || fail "$text: exit status $rc, not 1: $said"
	jq -r .error <<<"$said" | grep -qE -- "$pattern" || fail "$text: '$said', not /$pattern/"
	ok "$text: $said"
}

# guest NAME NUMBER: a guest without an address.
guest() {
	ip netns add "$NS$1"
	ip -n "$NS$1" link set lo up
	wire "$1" eth0 lan "$1"
	ip -n "$NS$1" link set eth0 address "02:00:00:05:00:$2"
	ip -n "${NS}lan" link set "$1" master lan up
	ip -n "$NS$1" link set eth0 up
}
# lease NAME [TRIES]: asks for an address as a guest does.
lease() {
	LEASE_FILE=$WORK/$1.lease on "$1" busybox udhcpc -q -n -f -i eth0 -t "${2:-10}" -T 1 -s "$HERE/udhcpc" -O domain -O mtu
}
# with_guest NAME NUMBER: a guest that has its address.
with_guest() {
	guest "$1" "$2"
	changes "a lease for $1" true lease add "02:00:00:05:00:$2" "10.1.1.$2" "$1"
	holds "$1 gets an address" lease "$1"
	equal "the one that it was given" "$(address "$1")" "10.1.1.$2"
}
address() { ip -n "$NS$1" -json addr show dev eth0 | jq -r '.[0].addr_info[] | select(.family == "inet") | .local'; }

# serve NAME tcp|udp PORT: says who asks and which port was asked, then repeats what it is told.
serve() {
	local listen=${2^^}-LISTEN:$3,fork
	[ "$2" = udp ] || listen+=,reuseaddr
	# shellcheck disable=SC2016 # for socat's shell
	on "$1" socat "$listen" SYSTEM:"echo $1 \$SOCAT_PEERADDR $3; exec cat" 2>>"$WORK/serve.log" &
	wait_for 20 "$1 serves $2 $3" listens "$1" "$2" "$3"
}
listens() { on "$1" ss -Hln "--$2" sport = ":$3" | grep .; }
# asks NAME ADDRESS PORT: what is answered.
asks() { on "$1" socat -T 10 -t 10 - "TCP:$2:$3,connect-timeout=${4:-10}" </dev/null; }
asks_udp() { echo | on "$1" socat -T 2 -t 2 - "UDP:$2:$3" | head -n 1; }
# who_answers NAME ADDRESS: the routing domain itself, or a guest, which is one hop further.
who_answers() {
	local said
	said=$(on "$1" ping -n -c 1 -W 10 "$2") || { echo nobody; return; }
	case $said in
	*ttl=64*) echo domr ;;
	*ttl=63*) echo guest ;;
	*) echo "$said" ;;
	esac
}
rules() { on domr nft list table inet vn-domr; }
