#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# The rights that the unit for systemd leaves to the daemon are enough, as far as they are capabilities.
# shellcheck source=tests/vnetd/lib.sh
. "$(dirname "$0")/lib.sh"

unit=$HERE/../../userland/vnetd/vnetd.service
rights=$(sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr 'A-Z ' 'a-z\n' | sed 's/^cap_/+/' | paste -sd,)
grep -q +net_admin <<<"$rights" || fail "the unit's capabilities: $rights"
cat >"$WORK/vnetd" <<-END
	#!/bin/sh
	exec setpriv --bounding-set=-all,$rights --inh-caps=-all --no-new-privs "$VNETD" "\$@"
END
chmod +x "$WORK/vnetd"
VNETD=$WORK/vnetd

two_customers
has() { sed -n 's/^CapEff:\t//p' "/proc/${PIDS[h1]}/status"; }
[ "$((16#$(has) & ~(1 << 12 | 1 << 13)))" = 0 ] || fail "the daemon has other rights: $(has)"
ok "the daemon has no other rights: $(has)"
holds "another vnet" ctl h1 net-new '{"id": "0006"}'
holds "and without it" ctl h1 net-del '{"id": "0006"}'
holds "another port" ctl h1 host-set '{"port": 1799}'
holds "and back" ctl h1 host-set '{"port": 1798}'
holds "a peer, for which packets are sent with addresses of others" ctl h1 peer-new '{"addr": "192.0.2.2"}'
reaches a1 10.0.0.2
stop h1 || fail "it ends well"
daemon h1
reaches a1 10.0.0.2
