#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Who sees what is sealed, and can send what he likes: changed, repeated, thrown back or made up, it is refused and counted.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vnetd/sealed.sh
. "$(dirname "$0")/sealed.sh"

hosts 2
key one
for h in h1 h2; do
	net $h 0005 '{"seal": "conf"}'
	holds "$h has the key" vn $h key set 5 --file "$WORK/one.key"
	on $h sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
done
vm a1 h1 0005 10.0.0.1 $MAC1
vm a2 h2 0005 10.0.0.2 $MAC2
reaches a1 10.0.0.2
reaches a2 10.0.0.1
# Of frames only, all to h2: nothing else of this length is sent.
capture "$WORK/frames" h2 'udp dst port 1798 and src host 192.0.2.1 and dst host 192.0.2.2 and greater 150'
holds "what is recorded" on a1 ping -q -n -c 20 -i 0.01 -W 2 -s 64 10.0.0.2
captured "$WORK/frames"
# Nothing new shall come between.
ip -n "${NS}h1" link set v-a1 down
received=$(counter h2 0005 rx-packets)

message=$(host_counter h2 rx-bad-message) tag=$(host_counter h2 rx-unknown-key)
bad=$(counter h2 0005 rx-bad-seal) replay=$(counter h2 0005 rx-replay)
attacker flip h2 "$WORK/frames"
say "$printed"
eval "$printed"
rises "every bit of what is sealed counts: ${flip_sealed:?}" h2 rx-bad-seal "$bad" "$flip_sealed"

host_rises "another message number is no message" h2 rx-bad-message "$message" "${flip_message:?}"
host_rises "another tag is another key" h2 rx-unknown-key "$tag" "${flip_tag:?}"
rises "what only has a mark was there already" h2 rx-replay "$replay" "${flip_mark:?}"

replay=$(counter h2 0005 rx-replay)
attacker replay h2 "$WORK/frames"
rises "what was there is refused: $printed" h2 rx-replay "$replay" "$printed"
equal "nothing of all that was delivered" "$(counter h2 0005 rx-packets)" "$received"

# Thrown back at who has sealed it, who could open it: also what would have it believe itself.
capture "$WORK/own" h2 'udp dst port 1798 and src host 192.0.2.1'
ip -n "${NS}h1" link set vnif0005 down
ip -n "${NS}h1" link set vnif0005 up
ip -n "${NS}h1" link set v-a1 up
reaches a1 10.0.0.2
captured "$WORK/own"
replay=$(counter h1 0005 rx-replay) challenges=$(counter h1 0005 challenges)
attacker back h1 "$WORK/own"
rises "what is thrown back is refused: $printed" h1 rx-replay "$replay" "$printed"
equal "nobody is asked for it" "$(counter h1 0005 challenges)" "$challenges"
equal "nobody else is believed" "$(senders h1)" 1

# Not sealed.
id=00000000000000000000000000000005
unsealed=$(counter h2 0005 rx-not-sealed) macs=$(ctl h2 net-get '{"id": "0005"}' | jq .macs)
on lan "$FRAMES" udp h2 192.0.2.1 192.0.2.2 "000200000040${id}ffffffffffff02000000009988b5$(printf '0%.0s' {1..92})"
on lan "$FRAMES" udp h2 192.0.2.1 192.0.2.2 "00010002${id}02000000009802c0000201000000000000000000000000"
rises "what is not sealed is refused" h2 rx-not-sealed "$unsealed" 2
equal "and nothing learned from it" "$(ctl h2 net-get '{"id": "0005"}' | jq .macs)" "$macs"
short=$(host_counter h2 rx-short)
on lan "$FRAMES" udp h2 192.0.2.1 192.0.2.2 "00040000$(printf '0%.0s' {1..82})"
host_rises "half a sealed message is short" h2 rx-short "$short" 1

# After a restart nothing is remembered of what was there: it is refused all the same.
stop h2
daemon h2
on h2 ip link set vnbr0005 up
wait_for 5 "the setting is there again" test "$(ctl h2 net-get '{"id": "0005"}' | jq -r .seal)" = conf
equal "the keys are not" "$(list h2 key-get '{"net": "0005"}')" ""
refused=$(host_counter h2 rx-unknown-key)
attacker replay h2 "$WORK/frames"
host_rises "without a key nothing is understood" h2 rx-unknown-key "$refused" "$printed"
# Its sender is not there to vouch for it.
ip -n "${NS}h1" link set eth0 down
holds "h2 has the key again" vn h2 key set 5 --file "$WORK/one.key"
unknown=$(counter h2 0005 rx-unknown-sender)
attacker replay h2 "$WORK/frames"
rises "a recording is not believed: it does not answer" h2 rx-unknown-sender "$unknown" "$printed"
equal "so nobody is believed" "$(senders h2)" 0
ip -n "${NS}h1" link set eth0 up
reaches a1 10.0.0.2
replay=$(counter h2 0005 rx-replay)
attacker replay h2 "$WORK/frames"
rises "nor when its sender has answered" h2 rx-replay "$replay" "$printed"
never "no key in what is kept" grep -qaF "$(cat "$WORK/one.key")" "$WORK/h2/state"
python3 - "$WORK/one.key" "$WORK/h2/state" <<-'END' || fail "the key is in what is kept"
	import sys
	key = bytes.fromhex(open(sys.argv[1]).read())
	sys.exit(key in open(sys.argv[2], "rb").read())
END
ok "nor its bytes"
