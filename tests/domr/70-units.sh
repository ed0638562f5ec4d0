#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The units for systemd that come with the programs: understood as a whole, and not more open than they were. They have nothing to
# do with a routing domain, but systemd is in this root.
# shellcheck source=tests/domr/lib.sh
. "$(dirname "$0")/lib.sh"

SRC=$(cd "$HERE/../.." && pwd)
# verify asks whether the programs are where the units say.
mount -t tmpfs none /usr/local/sbin
for p in vn vnetd; do ln -s "$BIN/$p" /usr/local/sbin/; done

# verified UNIT: systemd understands all of it. What it does not know it only tells.
verified() {
	local said rc=0
	said=$(systemd-analyze verify --man=no "$1" 2>&1) || rc=$?
	if [ "$rc" != 0 ] || [ -n "$said" ]; then
		say "$said"
		return 1
	fi
}
# closed UNIT TENTHS: its exposure, as systemd counts it from 0 to 10, is at most so many tenths.
closed() { systemd-analyze security --offline=yes --no-pager --threshold="$2" "$1"; }
documented() {
	local pages page
	read -ra pages < <(sed -n 's/^Documentation=//p' "$1")
	for page in "${pages[@]}"; do
		if ! [[ $page =~ ^man:([a-z-]+)\(([0-9])\)$ && -e $SRC/docs/man/${BASH_REMATCH[1]}.${BASH_REMATCH[2]} ]]; then
			say "no $page"
			return 1
		fi
	done
}

# Lower a figure when a unit is closed further. What exports images needs nearly everything.
while read -r unit tenths; do
	name=$(basename "$unit")
	holds "$name is understood" verified "$SRC/$unit"
	holds "$name is not more open than $tenths tenths" closed "$SRC/$unit" "$tenths"
	holds "the pages that $name names are there" documented "$SRC/$unit"
done <<-'END'
	userland/vnetd/vnetd.service 24
	userland/vn/vn-storage.service 94
END

# The checks can fail.
sed 's/^NoNewPrivileges=.*/NoNewPriviledges=yes/; s/^Documentation=.*/Documentation=man:nothing(8)/' "$SRC/userland/vnetd/vnetd.service" >"$WORK/vnetd.service"
never "a word that systemd does not know is told" verified "$WORK/vnetd.service"
never "a unit that is more open is told" closed "$WORK/vnetd.service" 24
never "so is a page that is not there" documented "$WORK/vnetd.service"
