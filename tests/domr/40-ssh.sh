#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Who comes by ssh says words, and nothing else; and comes from eth1, with the right key, to the right host.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

world
domr
equal "status" "$(ctl status | jq -c '[.eth0, .source, .running.sshd]')" '["10.1.1.1/24","203.0.113.33",true]'
listening() { on domr ss -Hltn sport = :3922 | awk '{ print $4 }'; }
equal "sshd listens on eth1 alone" "$(listening)" 192.168.1.33:3922

# All of these are words, and wrong ones.
said() { ctl "$@" </dev/null 2>/dev/null || true; }
# shellcheck disable=SC2016 # for the other side, if anybody
for words in 'lease list; touch /mnt/here' 'lease list && touch /mnt/here' '$(touch /mnt/here)' '`touch /mnt/here`' \
	'lease list | touch /mnt/here' '/bin/sh -c touch\ /mnt/here' 'status >/mnt/here' 'sh' 'sh -c id' 'status --help' 'ctl status' \
	"lease add 02:00:00:05:00:11 10.1.1.11 'a b'" '../../bin/touch /mnt/here' 'become -- /bin/touch /mnt/here' \
	'lease add 02:00:00:05:00:11 10.1.1.11 $(id)'; do
	equal "no more than words: $words" "$(said "$words" | jq -r 'keys[]')" error
done
equal "nor more lines" "$(said $'status\ntouch /mnt/here' | jq -c .)" '{"error":"the words are not plain text"}'
equal "nor none" "$(said | jq -r .error)" "no words: lease, ip, firewall or status"
equal "nor too many" "$(said "$(head -c 5000 /dev/zero | tr '\0' x)" | jq -r .error)" "more than 4096 bytes of words"
never "nothing was done by them" test -e /mnt/here
equal "and no lease was made" "$(ctl lease list | jq -c .leases)" '[]'

# shellcheck disable=SC2029 # nothing to expand
never "no terminal" grep -q domr <(on dom0 ssh -tt -F "$WORK/ssh_config" 192.168.1.33 'exec sh' </dev/null 2>/dev/null | grep -v '"error"')
never "no files" on dom0 sftp -F "$WORK/ssh_config" -b /dev/null 192.168.1.33
forward() {
	on dom0 ssh -F "$WORK/ssh_config" -o ExitOnForwardFailure=yes "$@" 192.168.1.33 status
}
never "no way into it" forward -R 127.0.0.1:9999:127.0.0.1:22
never "no way through it" on dom0 ssh -F "$WORK/ssh_config" -W 10.1.1.1:53 192.168.1.33
on dom0 ssh -F "$WORK/ssh_config" -o SetEnv=LD_PRELOAD=/mnt/x 192.168.1.33 status >"$WORK/said" 2>&1
equal "no surroundings" "$(jq -r .changed "$WORK/said")" false

ssh-keygen -q -t ed25519 -N '' -f "$WORK/stranger"
# Of key files, the command line's would only be one more.
sed "s,IdentityFile .*,IdentityFile $WORK/stranger," "$WORK/ssh_config" >"$WORK/stranger_config"
never "another key" on dom0 ssh -F "$WORK/stranger_config" 192.168.1.33 status
never "no password" on dom0 ssh -F "$WORK/ssh_config" -o PubkeyAuthentication=no -o PreferredAuthentications=password 192.168.1.33 status
sed "s/ssh-ed25519 .*/$(sed 's/ [^ ]*$//; s,/,\\/,g' "$WORK/stranger.pub")/" "$WORK/known_hosts" >"$WORK/others"
never "and another host is not believed" on dom0 ssh -F "$WORK/ssh_config" -o UserKnownHostsFile="$WORK/others" 192.168.1.33 status

# Many at once: each change is whole.
pids=()
for n in $(seq 20 27); do
	here lease add "02:00:00:05:00:$n" "10.1.1.$n" "g$n" >"$WORK/said.$n" &
	pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
equal "changes at the same time" "$(ctl lease list | jq '.leases | length')" 8
