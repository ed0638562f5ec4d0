#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# What is opened is open, from outside and from inside; what is closed is closed, also for connections that are there.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

world
domr
with_guest g1 11
with_guest g2 12
serve g1 tcp 22
serve g1 udp 53
for port in 80 81 82; do serve g2 tcp $port; done
ssh="proto=tcp public=$PUBLIC ports=22 guest=10.1.1.11 to=22"

never "closed at first" asks outside $PUBLIC 22 1
# shellcheck disable=SC2086 # words
changes "a port is opened" true firewall add $ssh
equal "it is reached, and the guest sees who asks" "$(asks outside $PUBLIC 22)" "g1 203.0.113.1 22"
# shellcheck disable=SC2086
changes "opened again" false firewall add $ssh
equal "from inside, by the public address" "$(asks g2 $PUBLIC 22)" "g1 10.1.1.1 22"
equal "and by the guest itself" "$(asks g1 $PUBLIC 22)" "g1 10.1.1.1 22"
refuses "for another guest it is taken" 'that is taken: tcp .* 10.1.1.11' firewall add proto=tcp public=$PUBLIC ports=20-30 guest=10.1.1.12
refuses "closing more than was opened" 'open by another' firewall del proto=tcp public=$PUBLIC ports=20-30 guest=10.1.1.11

# A connection that stays.
coproc LONG { on outside socat - TCP:$PUBLIC:22; }
exec 5<&"${LONG[0]}" 6>&"${LONG[1]}"
read -r -t 20 line <&5
equal "a connection" "$line" "g1 203.0.113.1 22"
echo one >&6
read -r -t 20 line <&5
equal "goes both ways" "$line" one
# shellcheck disable=SC2086
changes "the port is closed" true firewall del $ssh
echo two >&6
never "the connection is dead" read -r -t 1 -u 5
never "no new one" asks outside $PUBLIC 22 1
# shellcheck disable=SC2086
changes "closed again" false firewall del $ssh
# shellcheck disable=SC2086
changes "the port is opened again" true firewall add $ssh
read -r -t 20 line <&5
equal "the connection lives on" "$line" two
# shellcheck disable=SC2086
changes "and closed" true firewall del $ssh
changes "it is the other guest's" true firewall add proto=tcp public=$PUBLIC ports=22 guest=10.1.1.12 to=80
echo three >&6
never "the first guest is not reached by it" read -r -t 1 -u 5
equal "but the other one" "$(asks outside $PUBLIC 22)" "g2 203.0.113.1 80"
exec 5<&- 6>&-

# Ranges.
changes "a range" true firewall add proto=tcp public=$PUBLIC ports=8000-8002 guest=10.1.1.12 to=80-82
for n in 0 1 2; do equal "port 800$n is port 8$n" "$(asks outside $PUBLIC 800$n)" "g2 203.0.113.1 8$n"; done
equal "from inside" "$(asks g1 $PUBLIC 8002)" "g2 10.1.1.1 82"
changes "a range whose ports stay" true firewall add proto=tcp public=$PUBLIC ports=80-82 guest=10.1.1.12
for n in 80 81 82; do equal "port $n is port $n" "$(asks outside $PUBLIC $n)" "g2 203.0.113.1 $n"; done
never "beside the range" asks outside $PUBLIC 83 1
refuses "a range and a port" 'mapped one to one' firewall add proto=tcp public=$PUBLIC ports=90-92 guest=10.1.1.12 to=80

# UDP.
never "closed" grep -q g1 <(asks_udp outside $PUBLIC 5353)
changes "a port of UDP" true firewall add proto=udp public=$PUBLIC ports=5353 guest=10.1.1.11 to=53
equal "is reached" "$(asks_udp outside $PUBLIC 5353)" "g1 203.0.113.1 53"

# ICMP: the routing domain answers for itself, unless a guest is to.
ping="proto=icmp public=$PUBLIC guest=10.1.1.11 icmp-type=echo-request"
equal "a ping ends here" "$(who_answers outside $PUBLIC)" domr
# shellcheck disable=SC2086
changes "a type of ICMP" true firewall add $ping
equal "a ping goes to the guest" "$(who_answers outside $PUBLIC)" guest
# From g1 it would come back to its own address.
equal "from inside, too" "$(who_answers g2 $PUBLIC)" guest
# shellcheck disable=SC2086
changes "is closed" true firewall del $ping
equal "a ping ends here again" "$(who_answers outside $PUBLIC)" domr
refuses "an answer cannot be opened" 'cannot be opened' firewall add proto=icmp public=$PUBLIC guest=10.1.1.11 icmp-type=echo-reply


# All of it, as a list and back.
ctl firewall list >"$WORK/rules"
equal "the list" "$(jq '.rules | length' "$WORK/rules")" 4
equal "as it was said" "$(jq -cS '.rules[0]' "$WORK/rules")" '{"guest":"10.1.1.12","ports":"22","proto":"tcp","public":"'$PUBLIC'","to":"80"}'
rules >"$WORK/before"
apply() { ctl firewall apply <"$1"; }
equal "the same set" "$(apply "$WORK/rules")" '{"changed":false}'
jq '.rules |= .[1:]' "$WORK/rules" >"$WORK/fewer"
equal "a smaller set" "$(apply "$WORK/fewer")" '{"changed":true}'
never "what it lacks is closed" asks outside $PUBLIC 22 1
equal "what it has is open" "$(asks outside $PUBLIC 81)" "g2 203.0.113.1 81"
jq '.rules[2].guest = "10.9.9.9"' "$WORK/rules" >"$WORK/wrong"
rc=0
said=$(apply "$WORK/wrong") || rc=$?
equal "a set with a wrong rule is refused" "$rc" 1
equal "with its reason" "$said" '{"error":"10.9.9.9 is no address of a guest in 10.1.1.1/24"}'
equal "and nothing of it is done" "$(ctl firewall list | jq -c .rules)" "$(jq -c .rules "$WORK/fewer")"
equal "the first set again" "$(apply "$WORK/rules")" '{"changed":true}'
rules >"$WORK/after"
holds "is what it was" cmp "$WORK/before" "$WORK/after"
