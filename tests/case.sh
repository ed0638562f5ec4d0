# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
#
# What a case of any of the suites says and asks. A line "ok - TEXT" for each check; the first that fails ends the case.
#
# NS is put before the names of namespaces, SLOW is by how much more time is given, and the ends of the logs in WORK are shown at a failure.

NS=${NS:-}
SLOW=${SLOW:-1}
WORK=${WORK:-}

say() { printf '# %s\n' "$*"; }
ok() { printf 'ok - %s\n' "$*"; }
fail() {
	printf 'not ok - %s\n' "$*"
	say "at $(caller 1 2>/dev/null || caller)"
	local log
	if [ -n "$WORK" ]; then
		for log in "$WORK"/*.log; do [ ! -s "$log" ] || { say "$log"; tail -n 20 "$log" | sed 's/^/#   /'; }; done
	fi
	exit 1
}
trap 'printf "not ok - line %s: %s (exit status %s)\n" "$LINENO" "$BASH_COMMAND" "$?"' ERR
set -E

# on NAMESPACE COMMAND...: runs it there.
on() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$NS$ns" -- "$@"
}

# wait_for SECONDS TEXT COMMAND...: until the command succeeds.
wait_for() {
	local end=$((SECONDS + $1 * SLOW)) text=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || fail "$text: not within the time given: $*"
		sleep 0.05
	done
	ok "$text"
}

# is_listening TEXT FILE: until a program has said so into the file, which then goes: what the last one said is not to be taken for what the
# next one says.
is_listening() {
	wait_for 10 "$1" grep -q listening "$2"
	rm "$2"
}

# holds TEXT COMMAND...; and that it does not.
holds() {
	local text=$1 said
	shift
	said=$("$@" 2>&1) || { say "$said"; fail "$text: $*"; }
	ok "$text"
}
never() {
	local text=$1
	shift
	! "$@" >/dev/null 2>&1 || fail "$text: $*"
	ok "$text"
}

# equal TEXT GOT EXPECTED
equal() {
	[ "$2" = "$3" ] || fail "$1: got '$2', expected '$3'"
	ok "$1"
}

# absent NAMESPACE DEVICE
absent() { ! on "$1" ip link show "$2" >/dev/null 2>&1; }

# pings FROM ADDRESS [SECONDS]: one question, answered.
pings() { on "$1" ping -q -n -c 1 -W "${3:-2}" "$2"; }
reaches() { wait_for 10 "$1 reaches $2" pings "$1" "$2" 1; }
# Three questions, none answered.
isolated() { never "$1 does not reach $2" on "$1" ping -q -n -c 3 -i 0.2 -W 1 "$2"; }

# remove_namespaces: those with our prefix, and who lives in them.
remove_namespaces() {
	local n p
	for n in $(ip netns list | awk '{ print $1 }' | grep "^${NS:?}"); do
		for p in $(ip netns pids "$n"); do kill -KILL "$p" 2>/dev/null; done
		ip netns del "$n"
	done
}
